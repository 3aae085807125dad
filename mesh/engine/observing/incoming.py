"""What comes to a node while somebody looks: handlers within the trace of what they handle.

While the node is awake each handler runs within its own trace, or outside of any: it may run in a
callback of the loop, whose context is that of whoever made it, and that is somebody else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

from mesh.engine.observing.attributes import call_attributes, message_attributes
from patterns.groupcast.casts import FLAG_REDELIVERED, CastMessage
from patterns.groupcast.sources import Source
from patterns.messages import Message
from patterns.names import group_of, is_reserved_method, queue_of
from patterns.port import Handle
from patterns.rpc.job import Ended, Job
from patterns.streams.method import StreamMethod
from patterns.subscription import Subscription
from patterns.traces import CONSUMER, SERVER, Span, TraceContext

if TYPE_CHECKING:
    from mesh.engine.engine import Engine
    from mesh.engine.observing.observing import Observing

__all__ = ["Incoming"]

Function = Callable[..., Any]


class Incoming:
    """The handlers of one engine, and the paths to them."""

    def __init__(self, observing: Observing, engine: Engine) -> None:
        self._observing = observing
        self._server = engine.server
        self._pubsub = engine.pubsub
        self._receiver = engine._work.receiver
        self._handlers: dict[Subscription, Function] = {}
        """What was the handler of each that has another now."""
        self._is_tapped = False
        self._hand_out = self._pubsub.hand_out
        self._take = self._receiver.take
        self._read = self._receiver.read

    def listen(self) -> None:
        """Notice traces from now on, also asleep: look at the headers of what has some."""
        self._server.observe = self._serve
        self._server.streams.observe = self._serve_stream
        self._pubsub.on_headers = self._observing.notice
        self._receiver.read = self._read_cast

    def begin(self) -> None:
        """The node has awoken."""
        self.listen()
        self._server.is_observed = self._server.streams.is_observed = True
        for subscription in self._pubsub.subscriptions:
            self.wrap(subscription)

    def end(self) -> None:
        """It falls asleep."""
        self._server.is_observed = self._server.streams.is_observed = False
        for subscription, handler in self._handlers.items():
            subscription.handler = handler
        self._handlers.clear()

    def tap(self, is_tapped: bool) -> None:
        """Whether there is a tap: then what comes is told as it comes, handled or not."""
        if is_tapped is self._is_tapped:
            return
        self._is_tapped = is_tapped
        pairs: tuple[tuple[Any, str, Function, Function], ...] = (
            (self._pubsub, "hand_out", self._hand_out, self._tapped_hand_out),
            (self._receiver, "take", self._take, self._tapped_take),
        )
        for owner, name, plain, tapped in pairs:
            setattr(owner, name, tapped if is_tapped else plain)

    # Spans.

    def _span_of(
        self, kind: str, name: str, headers: dict[str, Any], peer: str, attributes: dict[str, Any]
    ) -> tuple[Span | None, TraceContext | None]:
        """The span of what is handled now, if it is to have one, and what it runs within."""
        observing = self._observing
        tracer = observing.tracer
        if tracer is None:
            return None, None
        context = observing.read(headers) if headers else None
        if context is None and not observing.begins:
            return None, None
        if context is not None and not context.is_sampled:
            return None, context
        span = tracer.begin(kind, name, context, attributes, peer)
        return span, span.context

    def _within(self, context: TraceContext | None, function: Function, is_async: bool) -> Function:
        tracer = self._observing.tracer
        if tracer is None:
            return function
        enter, leave = tracer.enter, tracer.leave

        async def run_async(*args: Any, **kwargs: Any) -> Any:
            token = enter(context)
            try:
                return await function(*args, **kwargs)
            finally:
                leave(token)

        def run(*args: Any, **kwargs: Any) -> Any:
            token = enter(context)
            try:
                return function(*args, **kwargs)
            finally:
                leave(token)

        return run_async if is_async else run

    # Calls.

    def _serve(self, job: Job, function: Function) -> Function:
        """``RpcServer.observe``."""
        observing, method = self._observing, job.method.full_name
        if is_reserved_method(method):
            return function
        observing.notice(job.headers)
        if not observing.is_awake:
            return function
        peer = str(job.caller.peer)
        attributes = call_attributes(method)
        if job.key is not None:
            attributes["mesh.keyed"] = True
        span, context = self._span_of(SERVER, method, job.headers, peer, attributes)
        job.observed = self._ended(method, peer, span, (job.args, job.kwargs))
        return self._within(context, function, job.method.is_async)

    def _serve_stream(
        self, name: str, caller: Handle, headers: dict[str, str], call: Any, method: StreamMethod
    ) -> tuple[Function, Ended | None]:
        """``StreamServer.observe``."""
        observing = self._observing
        if is_reserved_method(name):
            return method.serve, None
        observing.notice(headers)
        if not observing.is_awake:
            return method.serve, None
        peer = str(caller.peer)
        attributes = call_attributes(name) | {"mesh.stream": True}
        span, context = self._span_of(SERVER, name, headers, peer, attributes)
        ended = self._ended(name, peer, span, call)
        return self._within(context, method.serve, method.serves_async), ended

    def _ended(self, method: str, peer: str, span: Span | None, carried: Any) -> Ended | None:
        observing = self._observing
        is_tapped = observing.taps.wants("calls", method)
        if span is None and not is_tapped:
            return None
        began_at = observing.now()

        def ended(error: BaseException | None) -> None:
            if span is not None and observing.tracer is not None:
                observing.tracer.end(span, error)
            if is_tapped:
                observing.tell_call(method, True, peer, carried, began_at, error)

        return ended

    # Messages.

    def wrap(self, subscription: Subscription) -> None:
        """Its handler runs within the trace of each message from now on."""
        handler = subscription.handler
        if handler is None or subscription in self._handlers or self._observing.tracer is None:
            return
        self._handlers[subscription] = handler
        begin, end = self._begin, self._end

        async def handle_async(message: Message) -> None:
            delivery = begin(message)
            try:
                await handler(message)
            except BaseException as error:
                end(delivery, error)
                raise
            end(delivery, None)

        def handle(message: Message) -> None:
            delivery = begin(message)
            try:
                handler(message)
            except BaseException as error:
                end(delivery, error)
                raise
            end(delivery, None)

        made: Function = handle_async if subscription.is_async else handle
        subscription.handler = update_wrapper(made, handler)

    def unwrap(self, subscription: Subscription) -> None:
        """It has ended."""
        self._handlers.pop(subscription, None)

    def _begin(self, message: Message) -> Any:
        tracer = self._observing.tracer
        if tracer is None:
            return None
        if not message.headers and not self._observing.begins:
            return tracer, tracer.enter(None), None
        destination = message.subject or message.group or ""
        attributes = message_attributes(message.kind, "process", destination)
        if message.subject is not None and message.group is not None:
            attributes["messaging.consumer.group.name"] = message.group
        if message.redelivered:
            attributes["mesh.redelivered"] = True
        if message.key is not None:
            attributes["mesh.keyed"] = True
        name = f"process {destination}"
        span, context = self._span_of(
            CONSUMER, name, message.headers, str(message.sender), attributes
        )
        return tracer, tracer.enter(context), span

    def _end(self, delivery: Any, error: BaseException | None) -> None:
        if delivery is None:
            return
        tracer, token, span = delivery
        tracer.leave(token)
        if span is not None:
            tracer.end(span, error)

    def _read_cast(self, entry: Sequence[Any], source: Source, number: int) -> CastMessage:
        """``CastReceiver.read``."""
        message = self._read(entry, source, number)
        if message.headers:
            self._observing.notice(message.headers)
        return message

    # Taps.

    def _tapped_hand_out(
        self, cls: type[Message], sender: Handle, entries: Sequence[Any], missed: int
    ) -> list[Subscription]:
        for entry in entries:
            if isinstance(entry, list) and len(entry) > 1 and isinstance(entry[0], str):
                name = group_of(entry[0]) or entry[0]
                self._tell("publishes", name, cls.kind, sender, entry[1])
        return self._hand_out(cls, sender, entries, missed)

    def _tapped_take(self, source: Source, first: int, entries: Sequence[Any]) -> None:
        for entry in entries:
            if not (isinstance(entry, list) and len(entry) > 1 and isinstance(entry[0], str)):
                continue
            flags = entry[3] if len(entry) > 3 and type(entry[3]) is int else 0
            more: dict[str, Any] = {"redelivered": bool(flags & FLAG_REDELIVERED)}
            group = group_of(entry[0])
            if group is not None:
                self._tell("casts", group, "groupcast", source.handle, entry[1], **more)
            elif len(entry) > 5 and isinstance(entry[5], str):
                more["group"] = queue_of(entry[0])
                self._tell("publishes", entry[5], "publish", source.handle, entry[1], **more)
        self._take(source, first, entries)

    def _tell(
        self, kind: str, name: str, what: str, sender: Handle, data: Any, **more: Any
    ) -> None:
        taps = self._observing.taps
        if taps.wants(kind, name):
            taps.tell(kind, name, what, True, str(sender.peer), data, **more)
