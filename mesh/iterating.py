"""Streaming calls: the results of a generator at another node, one by one.

An iteration is a stream whose other side runs the generator. It opens when the first item is asked
for. Whoever stops early (``break``, an exception, ``close()``) aborts it, and the generator is
cancelled; so does an iteration that nobody holds any more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mesh.membership import Peer
from mesh.tunnels import PORTION, AsyncStream, Stream, wait_on_loop
from patterns.errors import CallTimeout, ConfigError, EndOfStream, NodeClosed, StreamAborted

if TYPE_CHECKING:
    from mesh.host import Host

__all__ = ["AsyncIteration", "IterateOptions", "Iteration"]


class IterateOptions:
    """``item_timeout`` and ``total`` are seconds, None for no limit; ``window`` is bytes.

    Raises ConfigError for a limit that is none.
    """

    __slots__ = ("item_timeout", "total", "window")

    def __init__(
        self,
        item_timeout: float | None = None,
        total: float | None = None,
        window: int | None = None,
    ) -> None:
        for name, value in (("item_timeout", item_timeout), ("total", total)):
            if value is not None and not (isinstance(value, int | float) and value >= 0):
                raise ConfigError(f"{name}={value!r}: give seconds, 0 or more")
        self.item_timeout = item_timeout
        self.total = total
        self.window = window


class AsyncIteration:
    """The results of one streaming call: ``async for item in node.iterate("logs.tail", 10)``.

    ``stream()`` is the way to the generator, for what it shall be sent (``Request.stream``).
    """

    def __init__(
        self,
        method: str,
        open_stream: Callable[[], Awaitable[AsyncStream]],
        options: IterateOptions,
        host: Host,
    ) -> None:
        self._method = method
        self._open = open_stream
        self._options = options
        self._host = host
        self._stream: AsyncStream | None = None
        self._until: float | None = None
        self._is_over = False
        self._opening = asyncio.Lock()

    async def stream(self) -> AsyncStream:
        """The stream beneath, opened at the first use; hold the iteration as long as you use it.

        Raises as a call, and StreamAborted when the iteration is over.
        """
        if self._stream is None:
            async with self._opening:
                if self._stream is None and not self._is_over:
                    self._stream = await self._open()
        stream = self._stream
        if stream is None or self._is_over:
            self.close()
            raise StreamAborted(f"the iteration of {self._method} is over")
        return stream

    @property
    def peer(self) -> Peer | None:
        """Who runs the generator; None before the first item was asked for."""
        return None if self._stream is None else self._stream.peer

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        items = await self.next_some(1)
        if not items:
            raise StopAsyncIteration
        return items[0]

    async def next_some(self, most: int = PORTION) -> list[Any]:
        """At least one item and at most ``most``; none at the end.

        Raises CallTimeout for one that did not come in time; then the generator is cancelled.
        """
        if self._is_over:
            return []
        try:
            return await self._take(most)
        except EndOfStream:
            self._is_over = True
            if self._stream is not None:
                self._stream.close()
            return []
        except StreamAborted:
            was_over = self._is_over  # by another reader of it
            self.close()
            if was_over:
                return []
            raise
        except TimeoutError as error:
            self.close()
            if isinstance(error, CallTimeout):
                raise
            raise CallTimeout(f"{self._method}: no item came in time; it was cancelled") from None
        except BaseException:
            self.close()
            raise

    async def _take(self, most: int) -> list[Any]:
        if self._stream is None:
            await self._begin()
        stream = await self.stream()
        if self._until is None and self._options.item_timeout is None:
            return await _receive(stream, most)
        async with asyncio.timeout_at(self._deadline()):
            return await _receive(stream, most)

    async def _begin(self) -> None:
        """The opening has a deadline of its own, and that of the whole."""
        if self._options.total is None:
            await self.stream()
            return
        self._until = self._host.loop.time() + self._options.total
        async with asyncio.timeout_at(self._until):
            await self.stream()

    def _deadline(self) -> float:
        item = self._options.item_timeout
        ends = (self._until, None if item is None else self._host.loop.time() + item)
        return min(end for end in ends if end is not None)

    def close(self) -> None:
        """Want no more: the generator is cancelled. Idempotent."""
        self._is_over = True
        stream, self._stream = self._stream, None
        if stream is not None and not self._host.is_closed:
            stream.abort("no more is wanted")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # ``break`` leaves no other trace. It may run on any thread, and in the midst of anything.
        stream = self._stream
        if stream is None or self._is_over or self._host.is_closed:
            return
        try:
            self._host.hand_over(stream.abort, "no more is wanted")
        except NodeClosed:
            return


class Iteration:
    """The results of one streaming call: ``for item in node.iterate("logs.tail", 10)``."""

    def __init__(self, source: AsyncIteration, host: Host) -> None:
        self._aio = source
        self._host = host
        self._items: deque[Any] = deque()

    def stream(self) -> Stream:
        """The stream beneath, opened at the first use. Raises as a call."""
        return wait_on_loop(self._host, self._aio.stream).blocking()

    @property
    def peer(self) -> Peer | None:
        """Who runs the generator; None before the first item was asked for."""
        return self._aio.peer

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        while True:
            try:
                return self._items.popleft()
            except IndexError:  # nothing, or another thread was quicker
                some = wait_on_loop(self._host, self._aio.next_some)
            if not some:
                raise StopIteration
            self._items.extend(some)

    def close(self) -> None:
        """Want no more: the generator is cancelled. Idempotent."""
        try:
            self._host.on_loop(self._aio.close)
        except NodeClosed:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


async def _receive(stream: AsyncStream, most: int) -> list[Any]:
    return [await stream.receive()] if most == 1 else await stream.receive_some(most)
