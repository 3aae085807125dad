"""Traces: which calls and messages followed from one another, across nodes.

The context of a trace travels in the headers of a call or a message, as W3C Trace Context writes
it (https://www.w3.org/TR/trace-context/): ``traceparent``, and with it ``tracestate`` and
``baggage``, which are passed on and not looked into.

Rules:

* A ``traceparent`` that is none is ignored, and counted; a trace is never a reason to refuse work.
* One that says "not sampled" is passed on as it is: nothing is recorded of it.
* Headers that a user gave are never changed, and a ``traceparent`` among them goes before ours.
* A span tells names, times and outcomes: never a payload, a key, or the value of a header.

What is here is pure. Who makes spans is a ``Tracer``: ``mesh.engine.recorder`` keeps them at the
node, ``mesh.tracing`` gives them to OpenTelemetry as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Protocol

__all__ = [
    "BAGGAGE",
    "CLIENT",
    "CONSUMER",
    "MAX_CARRIED",
    "MAX_EVENTS",
    "MAX_TEXT",
    "PRODUCER",
    "SERVER",
    "STATE",
    "TRACEPARENT",
    "Span",
    "TraceContext",
    "Tracer",
    "headers_with",
    "now_traced",
    "read_context",
]

TRACEPARENT = "traceparent"
STATE = "tracestate"
BAGGAGE = "baggage"

CLIENT, SERVER, PRODUCER, CONSUMER = "client", "server", "producer", "consumer"
"""The kinds of spans, as OpenTelemetry names them."""

MAX_TEXT = 256
"""Characters of a name in a span: a method has at most 129, a subject may have more."""

MAX_EVENTS = 16
"""What is told of one span besides its end: a call is tried a few times, not more."""

MAX_CARRIED = 8192
"""Characters of ``tracestate``, and of ``baggage``: W3C asks for 512 and 8192. All that follows
from a message takes them along, so what is longer is left behind."""

_SAMPLED = 1
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


class TraceContext:
    """Where in which trace something happens: what a ``traceparent`` says, and what goes with it.

    ``trace_id``    32 hex digits
    ``span_id``     16 hex digits: the span that what is sent from here follows from
    ``is_sampled``  whether spans are to be recorded
    ``state``       ``tracestate`` as it came; empty without
    ``baggage``     likewise
    ``native``      the same for another library, if that made it
    """

    __slots__ = ("baggage", "is_sampled", "native", "span_id", "state", "trace_id")

    def __init__(
        self,
        trace_id: str,
        span_id: str,
        is_sampled: bool = True,
        state: str = "",
        baggage: str = "",
        native: Any = None,
    ) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.is_sampled = is_sampled
        self.state = state
        self.baggage = baggage
        self.native = native

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.is_sampled:02x}"

    def __repr__(self) -> str:
        return f"<TraceContext {self.traceparent}>"


now_traced: ContextVar[TraceContext | None] = ContextVar("mesh_now_traced", default=None)
"""What the code that runs here follows from; None outside of any trace."""


def read_context(headers: Mapping[str, Any]) -> TraceContext | None:
    """The context that headers from outside bring; None without, and for one that is invalid.

    A version that is newer than ours is read as far as we know it, as the standard wants.
    """
    text = headers.get(TRACEPARENT)
    found = _FORM.fullmatch(text) if isinstance(text, str) and len(text) <= MAX_TEXT else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or trace_id == _NO_TRACE:
        return None
    if span_id == _NO_SPAN:
        return None
    return TraceContext(
        trace_id,
        span_id,
        bool(int(flags, 16) & _SAMPLED),
        _carried(headers.get(STATE)),
        _carried(headers.get(BAGGAGE)),
    )


def _carried(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= MAX_CARRIED else ""


def headers_with(headers: Mapping[str, str] | None, context: TraceContext) -> dict[str, str]:
    """New headers: those given, with the context. What the user gave goes before."""
    made = {TRACEPARENT: context.traceparent}
    if context.state:
        made[STATE] = context.state
    if context.baggage:
        made[BAGGAGE] = context.baggage
    if headers:
        made.update(headers)
    return made


class Span:
    """One call or message at one side of it.

    ``context``    its own: what follows from it has that as its parent
    ``parent_id``  the span that it follows from; empty for the first of a trace
    ``kind``       ``CLIENT``, ``SERVER``, ``PRODUCER`` or ``CONSUMER``
    ``peer``       the other side, as text; empty while that is not known
    ``start``      seconds since 1970 by this node's clock
    ``seconds``    how long it took; None while it lasts
    ``error``      the type of what it ended with; empty if that was a value
    ``events``     (seconds after the start, text)
    """

    __slots__ = ("attributes", "began_at", "context", "error", "events", "kind", "name", "native",
                 "parent_id", "peer", "seconds", "start")  # fmt: skip

    def __init__(
        self,
        context: TraceContext,
        parent_id: str,
        kind: str,
        name: str,
        peer: str,
        attributes: dict[str, Any],
        start: float,
        began_at: float,
    ) -> None:
        self.context = context
        self.parent_id = parent_id
        self.kind = kind
        self.name = name[:MAX_TEXT]
        self.peer = peer
        self.attributes = attributes
        self.start = start
        self.began_at = began_at
        self.seconds: float | None = None
        self.error = ""
        self.events: list[tuple[float, str]] = []
        self.native: Any = None


class Tracer(Protocol):
    """Makes spans. Its methods may be called on any thread."""

    def current(self) -> TraceContext | None:
        """What the code that runs here follows from."""

    def enter(self, context: TraceContext | None) -> Any:
        """What runs here follows from ``context`` from now on; returns what ``leave`` needs."""

    def leave(self, token: Any) -> bool:
        """The end of that; returns whether it is the same thread and task that entered."""

    def begin(
        self,
        kind: str,
        name: str,
        parent: TraceContext | None,
        attributes: dict[str, Any],
        peer: str = "",
    ) -> Span:
        """A new span; without a parent the first of a new trace."""

    def note(self, span: Span, text: str) -> None:
        """Something happened in the course of it."""

    def end(self, span: Span, error: BaseException | None) -> None:
        """It is over."""
