"""The side that is asked for streams: each is taken by a call, and served until its handler ends.

The call is answered at once, with the window of this side. When its handler returns the stream is
ended; when it raises, ended with that. When the other side aborts or is lost, the handler is
cancelled; one that runs in a thread finds out when it sends or reads next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from patterns.errors import BadRequest, Overloaded
from patterns.keys import Key
from patterns.logs import get_logger
from patterns.port import Handle, Runner
from patterns.rpc.job import Ended
from patterns.rpc.method import Method, Request
from patterns.streams import messages as m
from patterns.streams.desk import Streams
from patterns.streams.method import StreamMethod, shown_name
from patterns.streams.stream import MIN_WINDOW_BYTES, Stream
from patterns.texts import error_texts

__all__ = ["StreamRequest", "StreamServer"]

logger = get_logger("mesh.streams")

Observe = Callable[
    [str, Handle, dict[str, str], Any, StreamMethod], tuple[Callable[..., Any], Ended | None]
]
"""(name, caller, headers, arguments, method) -> what serves it, and who wants to know its end."""


class StreamRequest(Request):
    """What a generator can know of the iteration it serves. ``stream`` is its core."""

    __slots__ = ("stream",)

    def __init__(self, stream: Stream, deadline: float, caller: Any) -> None:
        super().__init__(caller, deadline, stream.headers, stream.key)
        self.stream: Any = stream


class StreamServer:
    """Takes streams and runs their handlers."""

    def __init__(self, streams: Streams, runner: Runner) -> None:
        self._streams = streams
        self._runner = runner
        self.running: dict[Stream, str] = {}
        """Those whose handler has not ended, and their names; a broken one may be here."""
        self.is_observed = False
        """Whether somebody looks at each stream; else only at those with headers."""
        self.observe: Observe = _as_it_is

    def start(
        self,
        name: str,
        method: Method,
        caller: Handle,
        number: int,
        opener: Any,
        call: tuple[Sequence[Any], dict[str, Any], dict[str, str], Key | None],
        deadline: float,
    ) -> list[int]:
        """Take a stream of "service.method" and serve it; returns this side's window and era.

        ``opener`` is the other's window and era, ``call`` arguments, keywords, headers and key.
        Raises BadRequest, Overloaded, NodeClosed.
        """
        args, kwargs, headers, key = call
        if not isinstance(method, StreamMethod):
            raise BadRequest(f"{method.name} has one answer, it is no stream: call it")
        try:
            peer_window, era = m.read_terms(opener)
        except ValueError as error:
            raise BadRequest(str(error)) from None
        args, kwargs = method.check_stream(args, kwargs)
        if method.running >= method.concurrency:
            raise Overloaded(f"{method.name}: {method.running} streams of it are served already")
        windows = max(peer_window, MIN_WINDOW_BYTES), method.window
        name = shown_name(name)
        stream = self._streams.accept(caller, number, name, windows, headers, key, era)
        if method.wants_request:
            args, kwargs = method.inject(args, kwargs, StreamRequest(stream, deadline, caller.peer))
        method.running += 1
        self.running[stream] = name
        serve, ended = method.serve, None
        if headers or self.is_observed:
            serve, ended = self.observe(name, caller, headers, (args, kwargs), method)

        def done(value: Any, error: BaseException | None) -> None:
            method.running -= 1
            del self.running[stream]
            if ended is not None:
                ended(error)
            self._end(stream, error)

        stream.running = self._runner.start(
            serve, (stream, args, kwargs), {}, method.serves_async, done
        )
        return [stream.window, self._streams.era]

    def _end(self, stream: Stream, error: BaseException | None) -> None:
        """Its handler has ended. What it was told by the stream itself is no failure of its own."""
        stream.running = None
        is_fault = isinstance(error, Exception) and error is not stream.error
        if error is not None and (is_fault or stream.error is None):
            kind, text, trace = error_texts(error)
            if not getattr(error, "is_answer", False):
                logger.warning("%s raised %s: %s", stream.name, kind, text, exc_info=error)
            if stream.is_ended:
                self._streams.abort(stream, f"{kind}: {text}")
            stream.end(None, kind, text, trace)
        stream.end()
        stream.stop()

    def give_up(self, caller: bytes, number: int) -> None:
        """Its opener has gone before it knew that it was taken."""
        self._streams.give_up(caller, number)

    def close(self) -> None:
        """Cancel the handlers that run."""
        for stream in list(self.running):
            if stream.running is not None:
                stream.running.cancel()


def _as_it_is(
    name: str, caller: Handle, headers: dict[str, str], call: Any, method: StreamMethod
) -> tuple[Callable[..., Any], Ended | None]:
    return method.serve, None
