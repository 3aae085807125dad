"""What leaves a node while somebody looks: the verbs, with a span or a line of a tap around each.

A call is one span, however often it is sent: another try, a move to the owner of its key and a
hedge are told as events of it, and the nodes that served it have a span each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mesh.engine.observing.attributes import call_attributes, message_attributes
from mesh.engine.packing import check_headers
from patterns.names import is_reserved_method
from patterns.port import Handle, Waiter
from patterns.rpc import CallOptions
from patterns.rpc.pending import Pending
from patterns.subscription import Subscription
from patterns.traces import CLIENT, PRODUCER, TRACEPARENT, Span, headers_with

if TYPE_CHECKING:
    from mesh.engine.engine import Engine
    from mesh.engine.observing.incoming import Incoming
    from mesh.engine.observing.observing import Observing
    from mesh.engine.publisher import Publisher
    from mesh.membership import Peer
    from patterns.keys import Key

__all__ = ["ObservedPublisher", "Outgoing"]

Headers = dict[str, str] | None


class Cancelled(Exception):
    """What a call ends with whose caller gave up; it is raised nowhere."""


GAVE_UP = Cancelled("the caller gave up")


class Outgoing:
    """The verbs of one engine; ``inner`` are those that they stand for."""

    def __init__(self, observing: Observing, engine: Engine, incoming: Incoming) -> None:
        self.observing = observing
        self._incoming = incoming
        self._engine = engine
        self._client = engine._client
        self._inner: dict[str, Callable[..., Any]] = {}
        self._calls: dict[int, _Call] = {}
        self._casts: dict[Waiter, _Cast] = {}

    def verbs(self) -> dict[str, Callable[..., Any]]:
        """By the names that they have at an engine."""
        return {
            "call": self.call,
            "cancel": self.cancel,
            "publish": ObservedPublisher(self._engine.publisher, self).publish,
            "cast": self.cast,
            "groupcast": self.groupcast,
            "abandon": self.abandon,
            "broadcast": self.broadcast,
            "send_to": self.send_to,
            "subscribe": self.subscribe,
            "unsubscribe": self.unsubscribe,
        }

    def begin(self, inner: dict[str, Callable[..., Any]]) -> None:
        self._inner = inner
        self._client.sent_again = self._on_sent_again

    def end(self) -> None:
        self._client.sent_again = None
        # Nobody asks how what was only tapped ends; nor would ``cancel`` and ``abandon`` tell.
        self._calls = {id: call for id, call in self._calls.items() if call.span is not None}
        self._casts = {key: cast for key, cast in self._casts.items() if cast.span is not None}

    # What all have in common.

    def sees(self, headers: Headers) -> bool:
        """Whether what is sent now with these headers is looked at, or is in a trace."""
        observing = self.observing
        tracer = observing.tracer
        if observing.taps:
            return True
        if tracer is None or (headers and TRACEPARENT in headers):
            return False
        return observing.begins or tracer.current() is not None

    def start(
        self, kind: str, name: str, headers: Headers, attributes: dict[str, Any]
    ) -> tuple[Span | None, Headers]:
        """The span of what is sent now, if it is to have one, and the headers to send.

        Raises BadPayload for headers that are none.
        """
        observing = self.observing
        tracer = observing.tracer
        if headers is not None:
            check_headers(headers)
        if tracer is None or (headers and TRACEPARENT in headers):
            return None, headers
        parent = tracer.current()
        if parent is None and not observing.begins:
            return None, headers
        if parent is not None and not parent.is_sampled:
            return None, headers_with(headers, parent)
        span = tracer.begin(kind, name, parent, attributes)
        return span, headers_with(headers, span.context)

    def finish(self, span: Span | None, error: BaseException | None, **attributes: Any) -> None:
        if span is not None and self.observing.tracer is not None:
            span.attributes.update(attributes)
            self.observing.tracer.end(span, error)

    def send(self, span: Span | None, verb: Callable[[], Any], attribute: str = "") -> Any:
        """Run a verb that is over at once; its result goes into the span."""
        try:
            result = verb()
        except BaseException as error:
            self.finish(span, error)
            raise
        self.finish(span, None, **({attribute: result} if attribute else {}))
        return result

    # Calls.

    def call(
        self,
        method: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        options: CallOptions,
        waiter: Waiter,
        until: float | None = None,
    ) -> int:
        inner: Callable[..., int] = self._inner["call"]
        is_seen = self.sees(options.headers) and isinstance(method, str)
        if not is_seen or is_reserved_method(method):
            return inner(method, args, kwargs, options, waiter, until)
        span, headers = self.start(CLIENT, method, options.headers, call_attributes(method))
        if headers is not options.headers and headers is not None:
            options = options.with_headers(headers)
        is_tapped = self.observing.taps.wants("calls", method)
        if span is None and not is_tapped:
            return inner(method, args, kwargs, options, waiter, until)
        if span is not None and options.key is not None:
            span.attributes["mesh.keyed"] = True
        call = _Call(self, method, waiter, span, (args, kwargs) if is_tapped else None)
        try:
            call_id = inner(method, args, kwargs, options, call, until)
        except BaseException as error:
            call.end(error)
            raise
        call.call_id = call_id
        call.pending = self._client.pending(call_id)
        self._calls[call_id] = call
        return call_id

    def cancel(self, call_id: int) -> None:
        call = self._calls.get(call_id)
        if call is not None:
            call.end(GAVE_UP)
        self._inner["cancel"](call_id)

    def forget(self, call_id: int) -> None:
        self._calls.pop(call_id, None)

    def _on_sent_again(self, call_id: int, to: Handle, after: Handle | None) -> None:
        call, tracer = self._calls.get(call_id), self.observing.tracer
        if call is None or call.span is None or tracer is None:
            return
        before = "" if after is None else f", after {after.peer}"
        tracer.note(call.span, f"sent to {to.peer}{before}")

    # Messages.

    def broadcast(self, group: str, data: Any, headers: Headers) -> int:
        attributes = message_attributes("broadcast", "send", group)
        span, headers = self.start(PRODUCER, f"broadcast {group}", headers, attributes)
        verb = self._inner["broadcast"]
        count = int(self.send(span, lambda: verb(group, data, headers), "mesh.nodes"))
        self.tell("publishes", group, "broadcast", "", data, nodes=count)
        return count

    def send_to(self, peer: Peer | str, subject: str, data: Any, headers: Headers) -> bool:
        attributes = message_attributes("send", "send", subject)
        span, headers = self.start(PRODUCER, f"send {subject}", headers, attributes)
        if span is not None:
            span.peer = str(peer)
        verb = self._inner["send_to"]
        is_sent = bool(self.send(span, lambda: verb(peer, subject, data, headers)))
        self.tell("publishes", subject, "send", str(peer), data, nodes=int(is_sent))
        return is_sent

    def cast(self, group: str, data: Any) -> Any:
        # The long way, by ``groupcast``, for what is seen.
        return None if self.sees(None) else self._inner["cast"](group, data)

    def groupcast(
        self,
        group: str,
        data: Any,
        key: Key | None,
        headers: Headers,
        timeout: float,
        waiter: Waiter,
    ) -> None:
        attributes = message_attributes("groupcast", "send", group)
        if key is not None:
            attributes["mesh.keyed"] = True
        span, headers = self.start(PRODUCER, f"groupcast {group}", headers, attributes)
        inner = self._inner["groupcast"]
        is_tapped = self.observing.taps.wants("casts", group)
        if span is None and not is_tapped:
            inner(group, data, key, headers, timeout, waiter)
            return
        cast = self._casts[waiter] = _Cast(self, group, waiter, span, data if is_tapped else None)
        try:
            inner(group, data, key, headers, timeout, cast)
        except BaseException as error:
            cast.end(error)
            raise

    def abandon(self, waiter: Waiter) -> None:
        cast = self._casts.get(waiter)
        if cast is not None:
            cast.end(GAVE_UP)
        self._inner["abandon"](cast or waiter)

    def forget_cast(self, waiter: Waiter) -> None:
        self._casts.pop(waiter, None)

    def subscribe(self, subscription: Subscription) -> None:
        self._inner["subscribe"](subscription)
        self._incoming.wrap(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        self._inner["unsubscribe"](subscription)
        self._incoming.unwrap(subscription)

    def tell(self, kind: str, name: str, what: str, peer: str, data: Any, **more: Any) -> None:
        taps = self.observing.taps
        if taps:
            taps.tell(kind, name, what, False, peer, data, **more)


class ObservedPublisher:
    """``Publisher`` while somebody looks; on any thread."""

    def __init__(self, inner: Publisher, outgoing: Outgoing) -> None:
        self._inner = inner
        self._outgoing = outgoing

    def publish(self, subject: str, data: Any, headers: Headers) -> int:
        outgoing, inner = self._outgoing, self._inner
        if not outgoing.sees(headers):
            return inner.publish(subject, data, headers)
        attributes = message_attributes("publish", "send", subject)
        span, headers = outgoing.start(PRODUCER, f"publish {subject}", headers, attributes)
        if span is None:
            count = inner.publish(subject, data, headers)
        else:
            verb = inner.publish
            count = outgoing.send(span, lambda: verb(subject, data, headers), "mesh.nodes")
        outgoing.tell("publishes", subject, "publish", "", data, nodes=count)
        return count


class _Call:
    """The waiter of a call that is observed."""

    __slots__ = ("_began_at", "_carried", "_is_over", "_method", "_outgoing", "_waiter", "call_id",
                 "pending", "span")  # fmt: skip

    def __init__(
        self, outgoing: Outgoing, method: str, waiter: Waiter, span: Span | None, carried: Any
    ) -> None:
        self._outgoing = outgoing
        self._method = method
        self._waiter = waiter
        self.span = span
        self._carried = carried
        """Arguments, for taps; None when there was none."""
        self._began_at = outgoing.observing.now()
        self._is_over = False
        self.call_id = 0
        self.pending: Pending | None = None

    def done(self) -> bool:
        is_done = self._waiter.done()
        if is_done:
            self.end(GAVE_UP)
        return is_done

    def set_result(self, result: Any, /) -> None:
        self.end(None)
        self._waiter.set_result(result)

    def set_exception(self, exception: BaseException, /) -> None:
        self.end(exception)
        self._waiter.set_exception(exception)

    def end(self, error: BaseException | None) -> None:
        """Once."""
        if self._is_over:
            return
        self._is_over = True
        outgoing, pending = self._outgoing, self.pending
        outgoing.forget(self.call_id)
        handle = pending.handle if pending is not None else None
        peer = str(handle.peer) if handle is not None else ""
        if self.span is not None:
            self.span.peer = peer
            if pending is not None and pending.tries:
                self.span.attributes["mesh.retries"] = pending.tries
            outgoing.finish(self.span, error)
        if self._carried is not None:
            outgoing.observing.tell_call(
                self._method, False, peer, self._carried, self._began_at, error
            )


class _Cast:
    """The waiter of a groupcast that is observed."""

    __slots__ = ("_data", "_group", "_is_over", "_outgoing", "_waiter", "span")

    def __init__(
        self, outgoing: Outgoing, group: str, waiter: Waiter, span: Span | None, data: Any
    ) -> None:
        self._outgoing = outgoing
        self._group = group
        self._waiter = waiter
        self.span = span
        self._data = data
        self._is_over = False

    def __eq__(self, other: object) -> bool:
        """It stands for the waiter, also for who abandons that when nobody looks any more."""
        return other is self or other is self._waiter

    def __hash__(self) -> int:
        return hash(self._waiter)

    def done(self) -> bool:
        return self._waiter.done()

    def set_result(self, result: Any, /) -> None:
        if self.span is not None:
            self.span.peer = str(result)
        self.end(None)
        self._outgoing.tell("casts", self._group, "groupcast", str(result), self._data)
        self._waiter.set_result(result)

    def set_exception(self, exception: BaseException, /) -> None:
        self.end(exception)
        self._waiter.set_exception(exception)

    def end(self, error: BaseException | None) -> None:
        """Once."""
        if not self._is_over:
            self._is_over = True
            self._outgoing.forget_cast(self._waiter)
            self._outgoing.finish(self.span, error)
