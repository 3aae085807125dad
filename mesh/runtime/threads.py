"""The way from user threads to the loop's thread, and back.

Out: a deque and a wake-up if the loop is asleep. A thread that publishes in a loop wakes it once
and then only appends; the loop takes everything that is there in one turn. The deque is bounded
in bytes: past that the thread waits, which is the back-pressure of a publisher that outruns its
own node.

Back: a ``ThreadWaiter`` per blocking verb, a lock that the loop releases.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from patterns.errors import NodeClosed

__all__ = ["MAX_HANDOVER_BYTES", "Handover", "ThreadWaiter"]

MAX_HANDOVER_BYTES = 8 * 1024 * 1024
"""Handed over and not yet taken by the loop: some 20 ms of the fastest publisher."""

Item = tuple[Callable[..., Any], tuple[Any, ...], int]


class Handover:
    """Calls from any thread, run on the loop's thread in the order they were put."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[Item] = deque()
        self._size = 0
        self._is_awake = False
        self._is_closed = False
        self._changed = threading.Condition(threading.Lock())

    def put(self, function: Callable[..., Any], args: tuple[Any, ...], size: int = 0) -> None:
        """Run ``function(*args)`` on the loop soon; waits while too many bytes are under way.

        ``function`` must not raise. Raises NodeClosed once the node is closed.
        """
        with self._changed:
            while self._size > MAX_HANDOVER_BYTES and not self._is_closed:
                self._changed.wait()
            if self._is_closed:
                raise NodeClosed("this node is closed")
            self._size += size
            self._items.append((function, args, size))
            if self._is_awake:
                return
            self._is_awake = True
        self._loop.call_soon_threadsafe(self.drain)

    def drain(self) -> None:
        """Run what is there; on the loop's thread."""
        with self._changed:
            items, self._items = self._items, deque()
            self._is_awake = False
            if self._size:
                self._size = 0
                self._changed.notify_all()
        for function, args, _ in items:
            function(*args)

    def close(self) -> None:
        """Run what is left; from now on ``put`` raises, and threads that wait there are let go."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self.drain()


class ThreadWaiter:
    """``patterns.port.Waiter`` for one blocked thread."""

    __slots__ = ("_error", "_is_done", "_lock", "_result")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._result: Any = None
        self._error: BaseException | None = None
        self._is_done = False

    def done(self) -> bool:
        return self._is_done

    def set_result(self, result: Any) -> None:
        self._result = result
        self._is_done = True
        self._lock.release()

    def set_exception(self, error: BaseException) -> None:
        self._error = error
        self._is_done = True
        self._lock.release()

    def wait(self) -> Any:
        """Block until it is completed; the node's close completes what is left."""
        self._lock.acquire()
        if self._error is not None:
            raise self._error
        return self._result


async def call_in_thread(loop: asyncio.AbstractEventLoop, function: Callable[[], Any]) -> Any:
    """Run a slow function off the loop, in a thread that ends with it.

    Not ``asyncio.to_thread``: the default executor's threads outlive the node.
    """
    outcome = loop.create_future()
    waiter = ThreadWaiter()

    def work() -> None:
        try:
            waiter.set_result(function())
        except Exception as error:  # noqa: BLE001  raised where it is awaited
            waiter.set_exception(error)
        loop.call_soon_threadsafe(outcome.set_result, None)

    thread = threading.Thread(target=work, name="mesh-once")
    thread.start()
    try:
        await outcome
    finally:
        thread.join()
    return waiter.wait()
