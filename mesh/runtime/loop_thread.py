"""A thread with an event loop for one coroutine, which nothing but its own end ends.

What waits for the thread waits at a ``Gate``, for it may be a signal handler that does. Whatever
happens on the loop, the gates open: a caller is never left behind by a loop that died.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from mesh.logs import get_logger
from mesh.runtime.runner import CLOSE_WAIT
from mesh.runtime.threads import Gate
from patterns.errors import NodeClosed

__all__ = ["LoopThread"]

logger = get_logger("mesh.node")


class LoopThread:
    """Runs ``live`` on a loop of its own; ``live`` opens ``started`` when it has begun."""

    def __init__(self, name: str, live: Callable[[LoopThread], Coroutine[Any, Any, None]]) -> None:
        self.loop = _new_loop()
        self.started = Gate()
        self.ended = Gate()
        self.error: BaseException | None = None
        """Why it did not start, or ended by itself."""
        self._is_forgotten = False
        self._live = live
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_current(self) -> bool:
        """Whether the caller is on this thread."""
        return threading.current_thread() is self.thread

    def call_soon(self, function: Callable[[], object]) -> None:
        """Run a function on the loop, unless that has ended."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function)

    def forget(self) -> None:
        """In a forked child. One that was forked on this thread, by a coroutine, and comes back
        to the loop ends there: every socket and descriptor of the loop is the parent's."""
        self._is_forgotten = True
        if self.is_current:
            self.loop.call_soon(_end_of_child)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self._complete(self.loop.create_task(self._live(self)))
        except BaseException as error:
            self.error = error  # told to whoever waits for the start
            if self.started.is_open and not self._is_forgotten:
                logger.exception("%s: closing went wrong", self.thread.name)
        finally:
            try:
                if not self._is_forgotten:
                    self._end_tasks()
                    self.loop.close()
            except Exception:
                logger.exception("%s: its loop did not end well", self.thread.name)
            self.error = self.error or NodeClosed("this node is closed")
            self.started.open()
            self.ended.open()

    def _complete(self, work: asyncio.Future[Any]) -> None:
        """Run the loop until ``work`` is done, through what would end a loop of asyncio.

        That is SystemExit and KeyboardInterrupt of any task or callback, and ``loop.stop()``.
        """
        while not work.done():
            try:
                self.loop.run_until_complete(work)
            except (SystemExit, KeyboardInterrupt, RuntimeError) as error:
                if work.done() or self.loop.is_closed() or self._is_forgotten:
                    raise
                logger.error(
                    "%s: %r does not end its loop", self.thread.name, error, exc_info=error
                )

    def _end_tasks(self) -> None:
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        left.add(self.loop.create_task(self.loop.shutdown_asyncgens()))
        waiting = self.loop.create_task(_wait(left))
        self._complete(waiting)
        if pending := waiting.result():
            logger.warning(
                "%s: %d coroutines do not end when they are cancelled: %r",
                self.thread.name,
                len(pending),
                pending,
            )
            for task in pending:
                # Said above, once; asyncio would say it again for each.
                task._log_destroy_pending = False  # type: ignore[attr-defined]


def _end_of_child() -> None:
    raise SystemExit


async def _wait(tasks: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    done, pending = await asyncio.wait(tasks, timeout=CLOSE_WAIT)
    for task in done:
        if not task.cancelled():
            task.exception()  # looked at: what a task of the user's raised at its end is its own
    return pending


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
