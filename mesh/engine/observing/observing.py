"""One hook for all who look at what passes a node: traces and taps.

A node that nobody looks at is *asleep*: its verbs, handlers and paths are what they are without
this, but for a test of the headers of what has headers. It wakes up when

* something comes whose headers have a ``traceparent``, so every node takes part in a trace that
  somebody began, whatever it is set to but ``tracing=False``;
* a tap is opened; or from its start on, if it begins traces itself (``tracing=True``) or has a
  tracer of another library.

Then the verbs of its engine are replaced, in ``attach`` and nowhere else, by those of ``Outgoing``,
and its handlers by those that ``Incoming`` makes of them. It falls asleep again when no trace has
come by for ``IDLE`` seconds and no tap is open.

Surprise: what a handler leaves behind, a task that goes on after it say, is part of its trace only
as long as the node is awake.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any

from mesh.engine.observing.incoming import Incoming
from mesh.engine.observing.outgoing import ObservedPublisher, Outgoing
from mesh.engine.observing.recorder import Recorder, Ring, error_type
from mesh.engine.observing.taps import Taps
from patterns.traces import TRACEPARENT, TraceContext, read_context

if TYPE_CHECKING:
    from mesh.engine.engine import Engine
    from mesh.engine.publisher import Publisher, Publishing
    from patterns.port import Timer

__all__ = ["IDLE", "MakeTracer", "Observing"]

IDLE = 60.0
"""Seconds without a trace until a node that begins none looks for them no more."""

MakeTracer = Callable[[Ring, Callable[[], float], Callable[[], datetime], Random], Recorder]


class Observing:
    """Of one node; on the loop's thread, but for what ``Outgoing`` and handlers do on others.

    ``make_tracer`` is asked at each awakening: another library may have come meanwhile. None of
    ``tracing=False``. ``begins`` says whether what follows from nothing begins a trace.
    """

    def __init__(
        self,
        engine: Engine,
        make_tracer: MakeTracer | None,
        wall_clock: Callable[[], datetime],
        *,
        begins: bool,
    ) -> None:
        core = engine._core
        self._engine = engine
        self._clock = core.clock
        self._random = core.random
        self._wall_clock = wall_clock
        self.count = core.count
        self._make_tracer = make_tracer
        self.ring = Ring()
        self.tracer: Recorder | None = None
        self.begins = begins
        self.taps = Taps(wall_clock)
        self.taps.changed = self._reconsider
        self.is_awake = False
        self._is_tracing = False
        """Whether a trace has come by lately, or this node begins some."""
        self.changed: Callable[[], None] = lambda: None
        """Called when the node has awoken, and when it has fallen asleep."""
        self._incoming = Incoming(self, engine)
        self._outgoing = Outgoing(self, engine, self._incoming)
        self._replaced: dict[str, Any] = {}
        self._timer: Timer | None = None

    def open(self) -> None:
        """Look for traces from now on."""
        if self._make_tracer is None:
            return
        self.tracer = self._new_tracer(self._make_tracer)
        self._incoming.listen()
        if self.begins or self.tracer.is_foreign:
            self._trace()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.begins = self._is_tracing = False
        self._reconsider()

    def publisher(self, publisher: Publisher) -> Publishing:
        """The same, or one around it while somebody looks."""
        return ObservedPublisher(publisher, self._outgoing) if self.is_awake else publisher

    @property
    def now(self) -> Callable[[], float]:
        return self._clock.now

    def tell_call(
        self,
        method: str,
        is_in: bool,
        peer: str,
        carried: tuple[Any, Any],
        began_at: float,
        error: BaseException | None,
    ) -> None:
        """A call has ended, for those who tap calls; ``carried`` are its arguments."""
        args, kwargs = carried
        payload = [*args, kwargs] if kwargs else list(args)
        seconds = self._clock.now() - began_at
        outcome = None if error is None else error_type(error)
        self.taps.tell(
            "calls", method, "call", is_in, peer, payload, seconds=seconds, error=outcome
        )

    # Traces.

    def notice(self, headers: dict[str, Any]) -> None:
        """Something has come with these headers: wake up for a trace."""
        if not self._is_tracing and TRACEPARENT in headers and read_context(headers) is not None:
            self._trace()

    def read(self, headers: dict[str, Any]) -> TraceContext | None:
        """The context in headers; an invalid one is counted, and none."""
        if TRACEPARENT not in headers or self.tracer is None:
            return None
        context = read_context(headers)
        if context is None:
            self.count("bad_traceparents")
        return context

    def _trace(self) -> None:
        if self._make_tracer is None:
            return
        self._is_tracing = True
        self.tracer = self._new_tracer(self._make_tracer)
        if not (self.begins or self.tracer.is_foreign):
            self._timer = self._clock.call_later(IDLE, self._on_timer)
        self._reconsider()

    def _new_tracer(self, make: MakeTracer) -> Recorder:
        return make(self.ring, self._clock.now, self._wall_clock, self._random)

    def _on_timer(self) -> None:
        self._timer = None
        tracer = self.tracer
        if tracer is None:
            return
        left = tracer.used_at + IDLE - self._clock.now()
        if tracer.open or left > 0:
            self._timer = self._clock.call_later(max(left, 1.0), self._on_timer)
        else:
            self._is_tracing = False
            self._reconsider()

    # Awake and asleep.

    def _reconsider(self) -> None:
        is_awake = self._is_tracing or bool(self.taps)
        if is_awake and not self.is_awake:
            self._attach()
        elif self.is_awake and not is_awake:
            self._detach()
        self._incoming.tap(bool(self.taps))

    def _attach(self) -> None:
        self.is_awake = True
        engine = self._engine
        verbs = self._outgoing.verbs()
        self._replaced = {name: getattr(engine, name) for name in verbs}
        self._outgoing.begin(self._replaced)
        for name, verb in verbs.items():
            setattr(engine, name, verb)
        self._incoming.begin()
        self.changed()

    def _detach(self) -> None:
        self.is_awake = False
        for name, verb in self._replaced.items():
            setattr(self._engine, name, verb)
        self._outgoing.end()
        self._incoming.end()
        self.changed()
