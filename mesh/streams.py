"""Iterators of both faces: subscriptions and the watch.

The engine's side is a ``Subscription`` or a ``Watcher`` that lives on the loop's thread and hands
out portions. The faces here take a portion, give its items one by one, and come back for more;
coming back is what says that the portion before is consumed.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator
from time import monotonic
from types import TracebackType
from typing import Any, Generic, NoReturn, Self, TypeVar

from mesh.engine.engine import Engine
from mesh.engine.events import Event
from mesh.membership import Peer
from mesh.runtime import Gate, forget_in_child, started_before_fork
from patterns.errors import NodeClosed, Timeout
from patterns.messages import Message
from patterns.subscription import Subscription

__all__ = ["AsyncSubscription", "AsyncWatch", "BlockingSubscription", "BlockingWatch"]

T = TypeVar("T")


def _raise_forked() -> NoReturn:
    raise started_before_fork("the node of this subscription")


class _AsyncStream(Generic[T]):
    """Items for ``async for`` and ``get``. ``take`` gives the next portion or None."""

    def __init__(self, loop: asyncio.AbstractEventLoop, take: Callable[[], Any]) -> None:
        self._loop = loop
        self._take = take
        self._items: deque[T] = deque()
        self._waiting: set[asyncio.Future[None]] = set()
        """One for each task that reads and has nothing."""
        self._is_closed = False
        self._is_forgotten = False
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: what comes is the parent's."""
        self._is_forgotten = True
        self._items = deque()
        self._take = _raise_forked

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def _next(self) -> T | None:
        while True:
            if self._items:
                return self._items.popleft()
            taken = self._take()
            if taken:
                self._items = deque(taken) if isinstance(taken, list) else taken
                continue
            if self._is_ended():
                return None
            waiting = self._loop.create_future()
            self._waiting.add(waiting)
            try:
                await waiting
            finally:
                self._waiting.discard(waiting)

    def _is_ended(self) -> bool:
        return self._is_closed

    async def get(self, timeout: float | None = None) -> T:
        """The next one; None waits for ever. Raises Timeout, and NodeClosed at the end."""
        try:
            async with asyncio.timeout(timeout):
                item = await self._next()
        except TimeoutError:
            raise Timeout(f"nothing came within {timeout:g} s") from None
        if item is None:
            raise NodeClosed("the subscription has ended")
        return item

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        item = await self._next()
        if item is None:
            raise StopAsyncIteration
        return item


class AsyncSubscription(_AsyncStream[Message]):
    """A subscription to iterate. Await it or enter it to begin; leaving it closes it.

    ``missed`` counts the messages that it did not get: what gave way here by its policy, and what
    its senders had to drop for this node. ``unconfirmed`` lists the peers that had not confirmed
    it in time.
    """

    def __init__(
        self,
        engine: Engine,
        core: Subscription,
        loop: asyncio.AbstractEventLoop,
        timeout: float,
    ) -> None:
        super().__init__(loop, core.take)
        self._engine = engine
        self.core = core
        self._timeout = timeout
        self._is_started = False
        self.unconfirmed: list[Peer] = []
        core.on_ready = self._wake
        core.on_end = self._end

    @property
    def missed(self) -> int:
        """How many messages it did not get."""
        return self.core.missed

    async def begin(self) -> Self:
        """Subscribe, and wait until every alive peer has confirmed or the time is over."""
        if self._is_forgotten:
            _raise_forked()
        if not self._is_started:
            self._is_started = True
            try:
                self._engine.subscribe(self.core)
                confirmed = self._loop.create_future()
                self._engine.confirm(self._timeout, confirmed)
                self.unconfirmed = await confirmed
            except BaseException:
                self.close()
                raise
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self.begin().__await__()

    async def __aenter__(self) -> Self:
        return await self.begin()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take no more; iteration ends. Idempotent."""
        if not self._is_forgotten:
            self._engine.unsubscribe(self.core)
        self._end()

    def _end(self) -> None:
        self._is_closed = True
        self._wake()


class AsyncWatch(_AsyncStream[Event]):
    """Events to iterate: the known peers first, then changes. Registered when it is made."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self.watcher = engine.watch()
        super().__init__(loop, self.watcher.take)
        self._engine = engine
        self.watcher.on_ready = self._wake

    def _is_ended(self) -> bool:
        return self._is_closed or self.watcher.is_closed

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hear of no more; iteration ends. Idempotent."""
        if not self._is_forgotten:
            self._engine.unwatch(self.watcher)
        self._is_closed = True
        self._wake()


class _BlockingStream(ABC, Generic[T]):
    """Items for ``for`` and ``get``, from any thread, one reader at a time.

    ``take`` runs the engine's take on the loop's thread. ``_ready`` is opened by the loop's thread.
    ``check_thread`` raises RuntimeError on that one, for it would wait for itself.
    """

    def __init__(self, take: Callable[[], Any], check_thread: Callable[[str], None]) -> None:
        self._take = take
        self._check_thread = check_thread
        self._items: deque[T] = deque()
        self._ready = Gate()
        self._reading = threading.Lock()
        self._is_closed = False
        self._is_forgotten = False
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: what comes is the parent's, and so is who reads it."""
        self._is_forgotten = True
        self._items = deque()
        self._take = _raise_forked
        self._reading = threading.Lock()
        self._ready.open()

    def _wake(self) -> None:
        self._ready.open()

    def _end(self) -> None:
        self._is_closed = True
        self._ready.open()

    def get(self, timeout: float | None = None) -> T:
        """The next one; None waits for ever. Raises Timeout, and NodeClosed at the end."""
        self._check_thread("get")
        deadline = None if timeout is None else monotonic() + timeout
        reading = self._reading
        if not reading.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            raise Timeout(f"nothing came within {timeout:g} s")
        try:
            while not self._items:
                ready = self._ready = Gate()
                taken = self._take()
                if taken:
                    self._items = deque(taken) if isinstance(taken, list) else taken
                elif self._is_closed:
                    raise NodeClosed("the subscription has ended")
                elif not ready.wait(None if deadline is None else max(0.0, deadline - monotonic())):
                    raise Timeout(f"nothing came within {timeout:g} s")
            return self._items.popleft()
        finally:
            reading.release()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return self.get()
        except NodeClosed:
            if self._is_forgotten:
                raise
            raise StopIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Take no more; iteration ends. Idempotent."""


class BlockingSubscription(_BlockingStream[Message]):
    """A subscription to iterate; see ``AsyncSubscription``."""

    # ``on_loop`` runs a function on the node's loop, and waits for it.
    def __init__(
        self,
        source: AsyncSubscription,
        on_loop: Callable[..., Any],
        check_thread: Callable[[str], None],
    ) -> None:
        self._source = source
        self._on_loop = on_loop
        super().__init__(lambda: self._try_on_loop(source.core.take), check_thread)
        source.core.on_ready = self._wake
        source.core.on_end = self._end

    def _try_on_loop(self, function: Callable[[], Any]) -> Any:
        try:
            return self._on_loop(function)
        except NodeClosed:
            self._is_closed = True
            return None

    @property
    def missed(self) -> int:
        """How many messages it did not get."""
        return self._source.missed

    @property
    def unconfirmed(self) -> list[Peer]:
        """The peers that had not confirmed it in time."""
        return self._source.unconfirmed

    def close(self) -> None:
        """Take no more; iteration ends. Idempotent."""
        self._end()
        self._try_on_loop(self._source.close)


class BlockingWatch(_BlockingStream[Event]):
    """Events to iterate; see ``AsyncWatch``."""

    def __init__(
        self,
        source: AsyncWatch,
        on_loop: Callable[..., Any],
        check_thread: Callable[[str], None],
    ) -> None:
        self._source = source
        self._on_loop = on_loop
        self._watcher = source.watcher
        super().__init__(self._take_on_loop, check_thread)
        self._watcher.on_ready = self._on_ready

    def _on_ready(self) -> None:
        self._is_closed = self._is_closed or self._watcher.is_closed
        self._ready.open()

    def _take_on_loop(self) -> Any:
        try:
            return self._on_loop(self._watcher.take)
        except NodeClosed:
            self._is_closed = True
            return None

    def close(self) -> None:
        """Hear of no more; iteration ends. Idempotent."""
        self._end()
        try:
            self._on_loop(self._source.close)
        except NodeClosed:
            return
