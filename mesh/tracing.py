"""Which tracer a node has: its own recorder, and OpenTelemetry where that is configured.

This is the one place that knows of OpenTelemetry, and it is imported only when the program has
done so itself or asks for it: its API takes 50 ms. Its spans and those of the recorder are the same
ones, with the same ids: what a collector does not have, ``meshctl trace`` may.

=============  ==================================================================================
``tracing=``   the node
=============  ==================================================================================
None           takes part in what others began: a ``traceparent`` in headers, or the current span
               of a program that has configured OpenTelemetry before the node starts
True           begins traces as well, with each call and message that follows from nothing
a provider     the same, with that ``TracerProvider``
False          neither looks at ``traceparent`` nor sends any
=============  ==================================================================================
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any

from mesh.engine.observing import MakeTracer, Recorder, Ring
from mesh.logs import get_logger
from patterns.errors import ConfigError
from patterns.traces import BAGGAGE, STATE, TRACEPARENT, Span, TraceContext, now_traced

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import TracerProvider

__all__ = ["TracingInput", "begins_traces", "carried_by", "check_tracing", "tracer_maker"]

TracingInput = Any
"""None, a bool, or an ``opentelemetry.trace.TracerProvider``."""

logger = get_logger("mesh.tracing")

_NAME = "mesh"


def check_tracing(tracing: TracingInput) -> TracingInput:
    """``tracing=`` as it was given. Raises ConfigError."""
    if tracing is None or isinstance(tracing, bool) or hasattr(tracing, "get_tracer"):
        return tracing
    raise ConfigError(f"tracing={tracing!r:.60}: give True, False or a TracerProvider")


def begins_traces(tracing: TracingInput) -> bool:
    """Whether what follows from nothing begins a trace."""
    return tracing is not None and tracing is not False


def tracer_maker(tracing: TracingInput) -> MakeTracer | None:
    """Makes the tracer of a node; None if it is to have none."""
    if tracing is False:
        return None

    def make(
        ring: Ring, now: Callable[[], float], wall_clock: Callable[[], datetime], random: Random
    ) -> Recorder:
        provider = _provider(tracing)
        if provider is None:
            return Recorder(ring, now, wall_clock, random)
        return OpenTelemetryTracer(provider, ring, now, wall_clock, random)

    return make


def carried_by(tracer: Recorder) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """What a thread hands over to the loop takes the trace along in which the thread is."""

    def carry(function: Callable[..., Any]) -> Callable[..., Any]:
        context = tracer.current()
        if context is None:
            return function

        def within(*args: Any) -> None:
            token = tracer.enter(context)
            try:
                function(*args)
            finally:
                tracer.leave(token)

        return within

    return carry


def _provider(tracing: TracingInput) -> TracerProvider | None:
    """The provider to use; None where there is none that does anything."""
    if tracing is not None and tracing is not True:
        return tracing  # type: ignore[no-any-return]
    if not tracing and "opentelemetry.trace" not in sys.modules:
        return None
    try:
        from opentelemetry import trace
    except ImportError:
        return None  # it is not installed: the node's own recorder it is
    provider = trace.get_tracer_provider()
    idle = trace.ProxyTracerProvider, trace.NoOpTracerProvider
    return None if isinstance(provider, idle) else provider


class OpenTelemetryTracer(Recorder):
    """Each span is one of OpenTelemetry, too, and the context of handlers is its context.

    What a provider, its sampler or processor raises is logged: a trace is never a reason to refuse
    work.
    """

    is_foreign = True

    def __init__(self, provider: TracerProvider, *parts: Any) -> None:
        super().__init__(*parts)
        from opentelemetry import context, trace
        from opentelemetry.baggage.propagation import W3CBaggagePropagator
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._context = context
        self._trace = trace
        self._baggage = W3CBaggagePropagator()
        self._traces = TraceContextTextMapPropagator()
        self._tracer = provider.get_tracer(_NAME)
        self._kinds = {kind.name.lower(): kind for kind in trace.SpanKind}

    def current(self) -> TraceContext | None:
        """Of this thread, or task: the user's own spans come before ours, as they lie within."""
        current = self._context.get_current()
        return self._ours(current) or now_traced.get()

    def enter(self, context: TraceContext | None) -> Any:
        native = self._context.Context() if context is None else self._native(context)
        return super().enter(context), self._context.attach(native)

    def leave(self, token: Any) -> bool:
        own, native = token
        if super().leave(own):
            self._context.detach(native)
            return True
        return False

    def begin(
        self,
        kind: str,
        name: str,
        parent: TraceContext | None,
        attributes: dict[str, Any],
        peer: str = "",
    ) -> Span:
        context = None
        try:
            within = self._context.Context() if parent is None else self._native(parent)
            native = self._tracer.start_span(
                name,
                context=within,
                kind=self._kinds[kind],
                attributes=attributes | ({"mesh.peer": peer} if peer else {}),
            )
            context = self._ours(self._trace.set_span_in_context(native, within))
        except Exception:
            logger.exception("the tracer provider could not begin a span")
        if context is None:  # it makes none: then there is that of the node, and no other
            return super().begin(kind, name, parent, attributes, peer)
        span = self.opened(context, parent, kind, name, peer, attributes)
        span.native = native
        return span

    def note(self, span: Span, text: str) -> None:
        super().note(span, text)
        if span.native is not None:
            span.native.add_event(text)

    def end(self, span: Span, error: BaseException | None) -> None:
        native = span.native
        super().end(span, error)
        if native is None:
            return
        try:
            native.set_attributes(span.attributes)
            if span.peer:
                native.set_attribute("mesh.peer", span.peer)
            if error is not None:
                native.set_attribute("error.type", span.error)
                native.set_status(self._trace.Status(self._trace.StatusCode.ERROR, span.error))
            native.end()
        except Exception:
            logger.exception("the tracer provider could not end a span")

    # Their contexts and ours.

    def _ours(self, native: Context) -> TraceContext | None:
        """None without a span in it."""
        found = self._trace.get_current_span(native).get_span_context()
        if not found.is_valid:
            return None
        carrier: dict[str, str] = {}
        self._baggage.inject(carrier, native)
        return TraceContext(
            self._trace.format_trace_id(found.trace_id),
            self._trace.format_span_id(found.span_id),
            found.trace_flags.sampled,
            found.trace_state.to_header(),
            carrier.get(BAGGAGE, ""),
            native,
        )

    def _native(self, context: TraceContext) -> Context:
        if context.native is None:
            carrier = {TRACEPARENT: context.traceparent}
            carrier |= {STATE: context.state} if context.state else {}
            carrier |= {BAGGAGE: context.baggage} if context.baggage else {}
            made = self._traces.extract(carrier, self._context.Context())
            context.native = self._baggage.extract(carrier, made)
        native: Context = context.native
        return native
