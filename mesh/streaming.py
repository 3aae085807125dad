"""Streams and streaming calls: the verbs of both faces, and what runs at the side that is asked."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mesh.iterating import AsyncIteration, IterateOptions, Iteration
from mesh.membership import Peer
from mesh.tunnels import AsyncStream, Stream, wait_on_loop
from patterns import streams
from patterns.errors import ConfigError, NodeClosed
from patterns.keys import Key
from patterns.rpc import CallOptions
from patterns.rpc.inherited import inherited_deadline
from patterns.streams import MAX_WINDOW_BYTES, MIN_WINDOW_BYTES, WINDOW_BYTES, StreamMethod
from patterns.streams.method import is_generator, method_of
from patterns.streams.serving import StreamRequest

if TYPE_CHECKING:
    from mesh.aio import AsyncNode
    from mesh.host import Host

__all__ = ["AsyncStreaming", "BlockingStreaming", "generator_method", "handler_method"]

THREADED_STREAMS = 32
"""Streams of one plain handler, or generator, at once: each has a thread of the pool for as long as
it lives, and half of those are for others."""

ITEMS_A_TURN = 64
"""Items of a plain generator on the loop before others have their turn."""


def check_window(window: int | None) -> int:
    """Bytes that one side takes of a stream. Raises ConfigError."""
    if window is None:
        return WINDOW_BYTES
    if not isinstance(window, int) or not MIN_WINDOW_BYTES <= window <= MAX_WINDOW_BYTES:
        raise ConfigError(
            f"window={window!r}: give bytes from {MIN_WINDOW_BYTES} to {MAX_WINDOW_BYTES}"
        )
    return window


class AsyncStreaming(ABC):
    """The verbs of ``AsyncNode``."""

    @property
    @abstractmethod
    def host(self) -> Host:
        """What the running node is made of. Raises NodeClosed when it does not run."""

    @abstractmethod
    def call_options(
        self,
        timeout: float,
        retry: bool,
        peer: Peer | str | None,
        wait: float | None,
        headers: dict[str, str] | None,
        key: Key | None,
    ) -> CallOptions:
        """Options of a call, checked."""

    async def open_stream(
        self,
        name: str,
        *,
        headers: dict[str, str] | None = None,
        key: Key | None = None,
        peer: Peer | str | None = None,
        timeout: float = 5.0,
        wait: float | None = None,
        window: int | None = None,
    ) -> AsyncStream:
        """An ordered way both ways to one node that serves the stream ``name``.

        To any of them, to the owner of ``key``, or to ``peer``. ``async with await
        node.open_stream("files") as stream``: then ``send`` and ``receive`` messages, or ``write``
        and ``read`` bytes of any length; either side ``end``s its direction or ``abort``s both.
        ``window`` is how many bytes this side takes that are not read (1 MiB): the other waits.

        Raises as a call does: NoProvider, Overloaded, CallTimeout, PeerLost, AccessDenied.
        """
        options = self.call_options(timeout, False, peer, wait, headers, key)
        return await self._open(method_of(name), (), {}, options, check_window(window))

    async def _open(
        self,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: CallOptions,
        window: int,
    ) -> AsyncStream:
        host = self.host
        engine = host.engine
        opened: asyncio.Future[streams.Stream] = host.loop.create_future()
        call = engine.call, method, args, kwargs
        core = engine.streams.open(*call, options, window, opened, inherited_deadline())
        try:
            return AsyncStream(await opened, host)
        except asyncio.CancelledError:
            engine.streams.abandon(core)
            raise

    def iterate(self, method: str, /, *args: Any, **kwargs: Any) -> AsyncIteration:
        """The results of a generator method: ``async for line in node.iterate("logs.tail", 10)``.

        Items come as they are made, no faster than they are taken; to stop early cancels the
        generator. Options go by ``service(...).iterate(...)``. Raises as a call, and PeerLost or
        RemoteError between items.
        """
        return self._iterate(method, args, kwargs, CallOptions(), IterateOptions())

    def _iterate(
        self,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: CallOptions,
        iterate: IterateOptions,
    ) -> AsyncIteration:
        window = check_window(iterate.window)
        open_stream = functools.partial(self._open, method, args, kwargs, options, window)
        return AsyncIteration(method, open_stream, iterate, self.host)


class BlockingStreaming(ABC):
    """The verbs of ``Node``."""

    aio: AsyncNode

    @abstractmethod
    def _check_thread(self, verb: str) -> None:
        """Raises RuntimeError where the verb would wait for itself."""

    def open_stream(
        self,
        name: str,
        *,
        headers: dict[str, str] | None = None,
        key: Key | None = None,
        peer: Peer | str | None = None,
        timeout: float = 5.0,
        wait: float | None = None,
        window: int | None = None,
    ) -> Stream:
        """An ordered way both ways to one node that serves the stream ``name``."""
        self._check_thread("open_stream")
        opening = functools.partial(
            self.aio.open_stream,
            name,
            headers=headers,
            key=key,
            peer=peer,
            timeout=timeout,
            wait=wait,
            window=window,
        )
        stream: AsyncStream = wait_on_loop(self.aio.host, opening)
        return stream.blocking()

    def iterate(self, method: str, /, *args: Any, **kwargs: Any) -> Iteration:
        """The results of a generator method: ``for line in node.iterate("logs.tail", 10)``."""
        return self._iterate(method, args, kwargs, CallOptions(), IterateOptions())

    def _iterate(self, method: str, *rest: Any) -> Iteration:
        self._check_thread("iterate")
        return Iteration(self.aio._iterate(method, *rest), self.aio.host)


# What runs at the side that is asked.


def generator_method(
    name: str,
    function: Callable[..., Any],
    host: Callable[[], Host],
    *,
    concurrency: int,
    inline: bool,
) -> StreamMethod:
    """A generator as a method."""
    inner = inspect.unwrap(function)
    serve: Callable[..., Any]
    if inspect.isasyncgenfunction(inner):
        serve, is_async = _generate, True
    else:
        serve, is_async = (_generate_on_loop, True) if inline else (_generate_in_thread, False)

    def run(core: streams.Stream, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        return serve(AsyncStream(core, host()), function, args, kwargs)

    return StreamMethod(
        name,
        function,
        run,
        concurrency=concurrency if is_async else min(concurrency, THREADED_STREAMS),
        serves_async=is_async,
        window=WINDOW_BYTES,
    )


def handler_method(
    name: str,
    function: Callable[..., Any],
    host: Callable[[], Host],
    *,
    concurrency: int,
    window: int | None,
) -> StreamMethod:
    """``function(stream)`` as a method: a coroutine function on the loop, a plain one in the pool.

    Raises ConfigError for what is no handler of a stream.
    """
    if not callable(function) or is_generator(function):
        raise ConfigError(f"{name}: {function!r} is no handler of a stream")
    is_async = inspect.iscoroutinefunction(inspect.unwrap(function))

    def nothing() -> None:
        """What the call that opens it may bring along."""

    def run_async(core: streams.Stream, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        return function(AsyncStream(core, host()))

    def run_in_thread(core: streams.Stream, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        stream = AsyncStream(core, host()).blocking()
        try:
            function(stream)
        finally:
            settle(stream)

    return StreamMethod(
        name,
        nothing,
        run_async if is_async else run_in_thread,
        concurrency=concurrency if is_async else min(concurrency, THREADED_STREAMS),
        serves_async=is_async,
        window=check_window(window),
    )


async def _generate(
    stream: AsyncStream, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> None:
    _give_stream(stream, args, kwargs)
    generator = function(*args, **kwargs)
    try:
        async for item in generator:
            await stream.send(item)
    finally:
        await generator.aclose()


async def _generate_on_loop(
    stream: AsyncStream, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> None:
    _give_stream(stream, args, kwargs)
    generator = function(*args, **kwargs)
    try:
        for number, item in enumerate(generator):
            await stream.send(item)
            if number % ITEMS_A_TURN == ITEMS_A_TURN - 1:
                await asyncio.sleep(0)
    finally:
        generator.close()


def _generate_in_thread(
    stream: AsyncStream, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> None:
    blocking = stream.blocking()
    _give_stream(blocking, args, kwargs)
    generator = function(*args, **kwargs)
    try:
        for item in generator:
            blocking.send(item)
    finally:
        generator.close()
        settle(blocking)


def settle(stream: Stream) -> None:
    """What its thread has sent is with the loop when the handler's end comes there."""
    with contextlib.suppress(NodeClosed):
        stream.settle()


def _give_stream(stream: AsyncStream | Stream, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    """A generator with a parameter annotated ``Request`` finds its stream there."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, StreamRequest):
            value.stream = stream
