"""The way from user threads to the loop's thread, and back.

Out: a deque and a wake-up if the loop is asleep. A thread that publishes in a loop wakes it once
and then only appends; the loop takes everything that is there in one turn. The deque is bounded
in bytes: past that the thread waits, which is the back-pressure of a publisher that outruns its
own node.

Back: a ``ThreadWaiter`` per blocking verb, a lock that the loop releases.

Nothing here holds a lock that two threads share. A signal handler runs in the middle of any of
these functions, may call any verb and wait for the loop there: a lock that the interrupted
function held would never be given back. What is shared is a deque, whose ends are atomic.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from mesh.logs import get_logger
from patterns.errors import NodeClosed

__all__ = ["MAX_HANDOVER_BYTES", "Gate", "Handover", "ThreadWaiter", "call_in_thread"]

logger = get_logger("mesh.node")

MAX_HANDOVER_BYTES = 8 * 1024 * 1024
"""Handed over and not yet taken by the loop: some 20 ms of the fastest publisher."""

Item = tuple[Callable[..., Any], tuple[Any, ...], int]


class Gate:
    """Holds threads until it is opened, once, for all. ``threading.Event`` for signal handlers."""

    __slots__ = ("_held", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        self._held: deque[threading.Lock] = deque()

    def open(self) -> None:
        """Let everybody through from now on."""
        self.is_open = True
        while self._held:
            with contextlib.suppress(IndexError):  # it has just given up waiting
                self._held.popleft().release()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it is open, or ``timeout`` seconds; returns whether it is."""
        lock = threading.Lock()
        lock.acquire()
        # Append first, then look: ``open`` sets the flag before it empties the deque.
        self._held.append(lock)
        try:
            if not self.is_open:
                lock.acquire(timeout=-1 if timeout is None else timeout)
        finally:
            with contextlib.suppress(ValueError):  # ``open`` had it
                self._held.remove(lock)
        return self.is_open


class Handover:
    """Calls from any thread, run on the loop's thread in the order they were put."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.items: deque[Item] = deque()
        """What waits, in order; for who has to know whether anything was put behind it."""
        self._size = 0
        """Bytes in ``items``, about: the bound is soft, so nobody locks for it."""
        self._room = Gate()
        self._is_awake = False
        self._waking: set[int] = set()
        self._is_refusing = False
        self._is_closed = False
        self.carry: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None
        """What runs instead of a function that is put now: the same, within what the thread is
        within. Not for what has a size, which is complete."""

    def put(self, function: Callable[..., Any], args: tuple[Any, ...], size: int = 0) -> None:
        """Run ``function(*args)`` on the loop soon; waits while too many bytes are under way.

        What it raises is logged. A ``ThreadWaiter`` among ``args`` fails with NodeClosed if the
        node ends first. Raises NodeClosed once the node closes.
        """
        if size:
            if self._size > MAX_HANDOVER_BYTES:
                self._wait_for_room()
            self._size += size
        elif self.carry is not None:
            function = self.carry(function)
        if self._is_refusing:
            raise NodeClosed("this node is closed")
        self.items.append((function, args, size))
        # A signal handler may come between the flag and the wake-up: then it wakes the loop itself.
        if not self._is_awake or self._waking:
            self._wake()
        # And once more: who closed in between may have been by before the append.
        if self._is_closed:
            self._give_up()
            raise NodeClosed("this node is closed")

    def _wake(self) -> None:
        me = threading.get_ident()
        try:
            self._waking.add(me)
            self._is_awake = True
            # Not in the context of this thread: others' functions run in that callback as well.
            self._loop.call_soon_threadsafe(self.drain, context=Context())
        except RuntimeError:  # the loop was closed, and the node was not
            self.close()
        except BaseException:  # Ctrl-C: the next one wakes it
            self._is_awake = False
            raise
        finally:
            self._waking.discard(me)

    def _wait_for_room(self) -> None:
        while not self._is_refusing:
            room = self._room
            if self._size <= MAX_HANDOVER_BYTES:
                return
            self._wake()
            room.wait()

    def drain(self) -> None:
        """Run what is there; on the loop's thread."""
        self._is_awake = False
        if self._size:
            self._size = 0
            room, self._room = self._room, Gate()
            room.open()
        items = self.items
        is_through = False
        try:
            for _ in range(len(items)):
                try:
                    function, args, _ = items.popleft()
                except IndexError:
                    break  # a function drained in its turn, or another thread gives up
                try:
                    function(*args)
                except Exception:
                    logger.exception("what a thread handed over raised")
            is_through = True
        finally:
            # Ctrl-C came in: what is left must not wait for who comes next.
            if not is_through and items:
                self._wake()

    def refuse(self) -> None:
        """From now on ``put`` raises, so that the loop's last turns are not those of threads that
        know of no end. What was put before still runs."""
        self._is_refusing = True
        self.items.append((_nothing, (), 0))  # and what was put before grows no more
        self._room.open()

    def close(self) -> None:
        """Give up what is left; from now on ``put`` raises, and threads that wait are let go."""
        self._is_closed = True
        self.refuse()
        self._give_up()

    def _give_up(self) -> None:
        while self.items:
            try:
                _, args, _ = self.items.popleft()
            except IndexError:
                return  # another thread gives up as well
            for waiter in args:
                if isinstance(waiter, ThreadWaiter):
                    waiter.set_exception(NodeClosed("this node is closed"))


def _nothing() -> None:
    pass


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

    Not ``asyncio.to_thread``: the default executor's threads outlive the node. Cancelled, it does
    not wait: the function goes on to its end, and its result goes nowhere. Where no thread can be
    started (a limit, the interpreter's end since Python 3.12) the loop has to wait.
    """
    outcome: asyncio.Future[Any] = loop.create_future()

    def finish(result: Any, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)

    def work() -> None:
        try:
            result, error = function(), None
        except Exception as caught:  # noqa: BLE001  raised where it is awaited
            result, error = None, caught
        # A loop that was closed in between: nobody waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, result, error)

    thread = threading.Thread(target=work, name="mesh-once")
    try:
        thread.start()
    except RuntimeError:
        return function()
    result = await outcome
    thread.join()
    return result
