"""The flight recorder: the last spans of this node, kept here, for ``meshctl trace``.

It needs no collector. A span is kept when it ends, if its trace is sampled; the oldest gives way.
Each takes some 1 KiB, however it was made: names are cut, attributes are a few fixed ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime
from itertools import islice
from random import Random
from typing import Any

from patterns.traces import MAX_EVENTS, MAX_TEXT, Span, TraceContext, now_traced

__all__ = ["MAX_SPANS", "MAX_TRACES_TOLD", "Recorder", "Ring"]

MAX_SPANS = 4096
"""Spans that are kept: some 4 MiB at most, and minutes of what people look at."""

MAX_TRACES_TOLD = 1000
"""Of one node at once, the newest first: more than fits a screen, or a minute of reading."""


class Ring:
    """The spans that have ended, and how many there have been."""

    def __init__(self) -> None:
        self.spans: deque[Span] = deque(maxlen=MAX_SPANS)
        self.recorded = 0

    def add(self, span: Span) -> None:
        self.spans.append(span)
        self.recorded += 1

    def of_trace(self, prefix: str) -> list[dict[str, Any]]:
        """Those of the traces whose id begins like this, as they can be packed, oldest first."""
        return [
            _document(span)
            for span in tuple(self.spans)
            if span.context.trace_id.startswith(prefix)
        ]

    def traces(self, limit: int) -> list[dict[str, Any]]:
        """The traces that spans are kept of, the one that ended last first."""
        found: dict[str, dict[str, Any]] = {}
        for span in reversed(tuple(self.spans)):
            end = span.start + (span.seconds or 0.0)
            known = found.get(span.context.trace_id)
            if known is None:
                known = found[span.context.trace_id] = _new_trace(span, end)
            known["spans"] += 1
            known["errors"] += bool(span.error)
            known["end"] = max(known["end"], end)
            if span.start <= known["start"]:
                known["start"], known["name"] = span.start, span.name
            known["has_root"] = known["has_root"] or not span.parent_id
        return list(islice(found.values(), min(limit, MAX_TRACES_TOLD)))


def _new_trace(span: Span, end: float) -> dict[str, Any]:
    return {
        "trace": span.context.trace_id,
        "name": span.name,
        "start": span.start,
        "end": end,
        "spans": 0,
        "errors": 0,
        "has_root": False,
    }


def _document(span: Span) -> dict[str, Any]:
    return {
        "trace": span.context.trace_id,
        "span": span.context.span_id,
        "parent": span.parent_id or None,
        "kind": span.kind,
        "name": span.name,
        "peer": span.peer or None,
        "start": span.start,
        "seconds": span.seconds,
        "error": span.error or None,
        "attributes": dict(span.attributes),
        "events": [list(event) for event in span.events],
    }


class Recorder:
    """``patterns.traces.Tracer`` of a node by itself. ``now`` and ``wall_clock`` on any thread."""

    is_foreign = False
    """Whether another library begins traces in this process, so that verbs must look for them."""

    def __init__(
        self,
        ring: Ring,
        now: Callable[[], float],
        wall_clock: Callable[[], datetime],
        random: Random,
    ) -> None:
        self.ring = ring
        self.now = now
        self.wall_clock = wall_clock
        self.random = random
        self.open: set[Span] = set()
        """Those that last; each belongs to a call in flight or a handler that runs."""
        self.used_at = now()

    def current(self) -> TraceContext | None:
        return now_traced.get()

    def enter(self, context: TraceContext | None) -> Any:
        return now_traced.set(context)

    def leave(self, token: Any) -> bool:
        """False where there is nothing to leave: the garbage collector closes a coroutine that
        nobody will go on with, in whatever context it is in."""
        try:
            now_traced.reset(token)
        except ValueError:
            return False
        return True

    def begin(
        self,
        kind: str,
        name: str,
        parent: TraceContext | None,
        attributes: dict[str, Any],
        peer: str = "",
    ) -> Span:
        bits = self.random.getrandbits
        span_id = f"{bits(64) or 1:016x}"
        if parent is None:
            context = TraceContext(f"{bits(128) or 1:032x}", span_id)
        else:
            context = TraceContext(
                parent.trace_id, span_id, parent.is_sampled, parent.state, parent.baggage
            )
        return self.opened(context, parent, kind, name, peer, attributes)

    def opened(
        self,
        context: TraceContext,
        parent: TraceContext | None,
        kind: str,
        name: str,
        peer: str,
        attributes: dict[str, Any],
    ) -> Span:
        """A span with this context, from now on."""
        parent_id = "" if parent is None else parent.span_id
        self.used_at = now = self.now()
        start = self.wall_clock().timestamp()
        span = Span(context, parent_id, kind, name, peer, attributes, start, now)
        self.open.add(span)
        return span

    def note(self, span: Span, text: str) -> None:
        if len(span.events) < MAX_EVENTS:
            span.events.append((self.now() - span.began_at, text[:MAX_TEXT]))

    def end(self, span: Span, error: BaseException | None) -> None:
        self.open.discard(span)
        if span.seconds is not None:
            return
        self.used_at = now = self.now()
        span.seconds = now - span.began_at
        if error is not None:
            span.error = error_type(error)
        if span.context.is_sampled:
            span.native = None
            # What may go on within it needs all of the context; who looks at it, where it was.
            span.context = TraceContext(span.context.trace_id, span.context.span_id)
            self.ring.add(span)


def error_type(error: BaseException) -> str:
    """What it is called: of an error from another node, what that called it."""
    kind = getattr(error, "type", None)
    name = kind if isinstance(kind, str) and kind else type(error).__name__
    return name[:MAX_TEXT]
