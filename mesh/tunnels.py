"""Streams as users hold them: ``AsyncStream`` to be awaited, ``Stream`` for threads.

Both are faces of a ``patterns.streams.Stream``, which lives on the loop's thread. A thread's verbs
run there and wait; what was received is fetched in portions, so that small messages do not cost a
switch of threads each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from mesh.engine.packing import check_headers
from mesh.membership import Peer
from mesh.runtime import ThreadWaiter
from mesh.runtime.thread_codec import thread_codec
from patterns import streams
from patterns.errors import BadPayload, EndOfStream, MeshError, NodeClosed, Timeout
from patterns.keys import Key
from patterns.streams import EMPTY, PIECE_BYTES
from patterns.streams.messages import ENTRY_COST

if TYPE_CHECKING:
    from mesh.host import Host

__all__ = ["PORTION", "AsyncStream", "Stream", "wait_on_loop"]

T = TypeVar("T")

PORTION = 256
"""Items that a thread fetches at once; they count as consumed, which is less than a window."""


AHEAD_BYTES = 32 * 1024
"""What a thread hands over before it waits for the loop: a switch of threads for some hundred
messages, and less than is queued for the link anyway."""


class _Stream:
    """What both faces know of a stream."""

    def __init__(self, core: streams.Stream, host: Host) -> None:
        self._core = core
        self._host = host

    @property
    def core(self) -> streams.Stream:
        """What it is a face of, for the loop's thread."""
        return self._core

    @property
    def name(self) -> str:
        """What was opened: "service", or "service.method"."""
        return self._core.name

    @property
    def peer(self) -> Peer:
        """The node at the other end."""
        handle = self._core.handle
        if handle is None:
            raise NodeClosed(f"the stream {self.name!r} is not open")
        peer: Peer = handle.peer
        return peer

    @property
    def headers(self) -> dict[str, str]:
        """What it was opened with."""
        return self._core.headers

    @property
    def key(self) -> Key | None:
        """The key that chose its node, as it was given."""
        return self._core.key

    @property
    def trailers(self) -> dict[str, str] | None:
        """What the other side said at its end; None until that is here."""
        return self._core.trailers

    @property
    def is_broken(self) -> bool:
        """Whether it was aborted, by either side, or its peer is lost."""
        return self._core.error is not None

    def __repr__(self) -> str:
        handle = self._core.handle
        state = "broken" if self.is_broken else "ended" if self._core.is_ended else "open"
        return f"<{type(self).__name__} {self.name!r} with {handle and handle.peer}, {state}>"


class AsyncStream(_Stream):
    """An ordered way both ways to one peer; see ``AsyncNode.open_stream``.

    Leaving ``async with`` normally is ``close()``, by an exception ``abort()``. Nothing is sent
    twice or out of order, and nothing is lost unless the stream breaks, which both sides are told:
    PeerLost, StreamAborted. That it was *sent* does not say that it was read: have the other side
    say so, in its trailers for instance.
    """

    def __init__(self, core: streams.Stream, host: Host) -> None:
        super().__init__(core, host)
        self._blocking: Stream | None = None

    def blocking(self) -> Stream:
        """The same stream for threads: always the same, for what it has fetched."""
        if self._blocking is None:
            self._blocking = Stream(self, self._core, self._host)
        return self._blocking

    async def send(self, value: Any) -> None:
        """One message, of anything that a call can carry; waits while the other side is behind.

        Raises BadPayload, PayloadTooLarge (above the other side's window), StreamAborted, PeerLost.
        """
        self._core.check_may_send()
        await self.send_packed(self._host.engine.streams.pack(value))

    async def send_packed(self, packed: bytes) -> None:
        """One message that is packed already."""
        core = self._core
        core.check_size(len(packed))
        while not core.offer_message(packed):
            await self._until(core.when_writable)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes of any length, without boundaries; waits while the other side is behind."""
        core = self._core
        view = memoryview(data)
        view = (view if view.contiguous else memoryview(view.tobytes())).cast("B")
        core.check_may_send()
        for start in range(0, len(view), PIECE_BYTES):
            while not core.offer_bytes(view[start : start + PIECE_BYTES]):
                await self._until(core.when_writable)

    async def receive(self, timeout: float | None = None) -> Any:
        """The next message, or the next bytes as they came.

        Raises EndOfStream after the last one, Timeout after ``timeout`` seconds, RemoteError when
        the other side's handler has raised, StreamAborted, PeerLost.
        """
        core = self._core
        item = core.take()
        if item is not EMPTY:
            return item
        try:
            async with asyncio.timeout(timeout):
                while (item := core.take()) is EMPTY:
                    await self._until(core.when_readable)
        except TimeoutError:
            raise Timeout(f"nothing came on {self.name!r} within {timeout:g} s") from None
        return item

    async def receive_some(self, most: int = PORTION) -> list[Any]:
        """What is there, at least one and at most ``most``. Raises as ``receive``."""
        items = [await self.receive()]
        core = self._core
        while len(items) < most and not core.is_empty:
            try:
                item = core.take()
            except MeshError:
                break  # and again, when these have been read
            if item is EMPTY:
                break
            items.append(item)
        return items

    async def read(self, timeout: float | None = None) -> bytes:
        """The next bytes, as many as came together; empty at the end. Raises as ``receive``, and
        BadPayload for a message that is no bytes."""
        try:
            while not (data := _as_bytes(await self.receive(timeout))):
                continue  # an empty message is no end
        except EndOfStream:
            return b""
        return data

    def end(self, trailers: dict[str, str] | None = None) -> None:
        """Send nothing more; the other direction goes on. ``trailers`` go behind all data."""
        self._core.end(trailers and check_headers(trailers))

    def abort(self, reason: str = "given up") -> None:
        """End both ways at once; what is on its way is void. The other side is told why."""
        self._host.engine.streams.streams.abort(self._core, reason)

    def close(self) -> None:
        """End this side, and read no more. What was sent goes on its way."""
        self._core.end()
        self._core.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort(_reason(error))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except EndOfStream:
            raise StopAsyncIteration from None

    async def _until(self, when: Callable[[asyncio.Future[None]], None]) -> None:
        waiting: asyncio.Future[None] = self._host.loop.create_future()
        when(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self._core.nudge()
            raise


class Stream(_Stream):
    """An ordered way both ways to one peer; see ``Node.open_stream`` and ``AsyncStream``."""

    def __init__(self, aio: AsyncStream, core: streams.Stream, host: Host) -> None:
        super().__init__(core, host)
        self._aio = aio
        self._fetched: deque[Any] = deque()
        self._ahead = 0
        """Bytes that were handed over and not waited for, about."""

    def send(self, value: Any) -> None:
        """One message; waits while the other side is behind.

        A few are on their way to the loop when this returns: what breaks the stream meanwhile is
        raised by a later one.
        """
        packed = thread_codec().pack(value)
        core = self._core
        core.check_may_send()
        core.check_size(len(packed))
        self._ahead += len(packed) + ENTRY_COST
        if self._ahead > AHEAD_BYTES:
            self._ahead = 0
            self._wait(lambda: self._aio.send_packed(packed))
        else:
            self._host.hand_over(core.put_message, packed)

    def settle(self) -> None:
        """Until the loop has all that was sent: what it does next is behind that."""
        self._host.on_loop(self._core.nudge)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes of any length, without boundaries; waits while the other side is behind."""
        self._wait(lambda: self._aio.write(data))

    def receive(self, timeout: float | None = None) -> Any:
        """The next message, or the next bytes as they came. Raises as ``AsyncStream.receive``."""
        while True:
            try:
                return self._fetched.popleft()
            except IndexError:  # nothing, or another thread was quicker
                self._fetched.extend(self._wait(lambda: self._fetch(timeout)))

    async def _fetch(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            return await self._aio.receive_some()
        return [await self._aio.receive(timeout)]

    def read(self, timeout: float | None = None) -> bytes:
        """The next bytes, as many as came together; empty at the end."""
        try:
            while not (data := _as_bytes(self.receive(timeout))):
                continue  # an empty message is no end
        except EndOfStream:
            return b""
        return data

    def end(self, trailers: dict[str, str] | None = None) -> None:
        """Send nothing more; the other direction goes on. ``trailers`` go behind all data."""
        self._host.on_loop(self._aio.end, trailers)

    def abort(self, reason: str = "given up") -> None:
        """End both ways at once; what is on its way is void. The other side is told why."""
        self._host.on_loop(self._aio.abort, reason)

    def close(self) -> None:
        """End this side, and read no more. What was sent goes on its way."""
        self._host.on_loop(self._aio.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.close()
            else:
                self.abort(_reason(error))
        except NodeClosed:
            return  # and with it the stream

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            return self.receive()
        except EndOfStream:
            raise StopIteration from None

    def _wait(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return wait_on_loop(self._host, make)


def wait_on_loop(host: Host, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on the node's loop, and wait for its outcome in another thread."""
    if host.is_own_thread:
        raise RuntimeError("this would block the node's own loop: in a coroutine use 'node.aio'")
    waiter = ThreadWaiter()
    host.hand_over(host.spawn, make, waiter)
    result: T = waiter.wait()
    return result


def _as_bytes(item: Any) -> bytes:
    if isinstance(item, bytes):
        return item
    raise BadPayload(f"a message of type {type(item).__name__} came where bytes are read: receive")


def _reason(error: BaseException) -> str:
    if isinstance(error, MeshError | OSError):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__
