"""Runs handlers: coroutines on the loop, plain functions in a bounded pool of threads.

A coroutine becomes a task, for its author may use everything that asks for the current one
(``asyncio.timeout``, task groups). From Python 3.12 on the task starts eagerly, so that a handler
that does not wait ends where it stands and costs no turn of the loop.

The pool is our own and not ``run_in_executor``: work goes out by ``SimpleQueue``, a subscription's
batch as one item, and results come back together, which costs the loop 1 µs a call instead of 16.
Threads start when all others are busy, up to ``MAX_THREADS``, and end at ``close``.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from queue import SimpleQueue
from time import monotonic
from typing import Any

from mesh.logs import get_logger
from mesh.runtime.threads import call_in_thread
from patterns.rpc.inherited import Serving, now_serving

__all__ = ["MAX_THREADS", "LoopRunner"]

logger = get_logger("mesh.handlers")

MAX_THREADS = 64
"""As many as the default concurrency of a method; each costs about 0.1 MB while it exists."""

CLOSE_WAIT = 0.5
"""Seconds that ``close`` waits for handlers; Python cannot stop one that goes on."""

Done = Callable[[Any, BaseException | None], None]


def _new_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]
) -> asyncio.Task[Any]:
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=loop, eager_start=True)
    return loop.create_task(coroutine)


async def _outcome(
    function: Callable[..., Coroutine[Any, Any, Any]],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    serving: Serving | None,
) -> tuple[Any, BaseException | None]:
    """What it returns, and what it raises, which must not be the task's own end.

    SystemExit and KeyboardInterrupt of a task would pass the loop and end it.
    """
    now_serving.set(serving)  # in the task's own context
    try:
        return await function(*args, **kwargs), None
    except BaseException as error:  # noqa: BLE001  goes to whoever asked
        return None, error


def _report(task: asyncio.Task[tuple[Any, BaseException | None]], done: Done) -> None:
    if task.cancelled():  # before it began
        outcome: tuple[Any, Any] = None, asyncio.CancelledError("the handler was cancelled")
    else:
        outcome = task.result()
    _finish(lambda: done(*outcome))


def _finish(finish: Callable[[], None]) -> None:
    """Deliver an outcome; an error there is ours, and must not hold up those behind it."""
    try:
        finish()
    except Exception:
        logger.exception("the outcome of a handler could not be delivered")


def _tell(message: Any) -> None:
    """A handler raised: with the traceback, which is the user's, and without the message's data."""
    logger.exception("a handler raised on %s", getattr(message, "title", "a message"))


class LoopRunner:
    """``patterns.port.Runner`` for one node."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[Any]] = set()
        self._work: SimpleQueue[Callable[[], Callable[[], None]] | None] = SimpleQueue()
        self._finished: deque[Callable[[], None]] = deque()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._is_collecting = False
        self._closed = False
        self.handler_errors = 0
        """Handlers of messages that raised."""

    # Coroutines.

    def start(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        is_async: bool,
        done: Done,
        serving: Serving | None = None,
    ) -> asyncio.Task[Any] | None:
        if is_async:
            return self._run_coroutine(function, args, kwargs, done, serving)

        def work() -> Callable[[], None]:
            now_serving.set(serving)  # in the context of this thread, until its next run
            try:
                value, error = function(*args, **kwargs), None
            except BaseException as caught:  # noqa: BLE001  goes to whoever asked
                value, error = None, caught
            return lambda: done(value, error)

        self._to_pool(work, lambda error: done(None, error))
        return None

    def start_each(
        self,
        function: Callable[[Any], Any],
        messages: deque[Any],
        is_async: bool,
        done: Callable[[], None],
    ) -> asyncio.Task[Any] | None:
        if is_async:
            return self._run_coroutine(
                self._each, (function, messages), {}, lambda value, error: done()
            )

        def work() -> Callable[[], None]:
            now_serving.set(None)
            failed = 0
            while not self._closed:
                try:
                    message = messages.popleft()
                except IndexError:
                    # Not asked before: the loop's thread may take back what has not begun.
                    break
                try:
                    function(message)
                except BaseException:  # noqa: BLE001  told at once, with its traceback
                    failed += 1
                    _tell(message)
            return functools.partial(self._count, failed, done) if failed else done

        def refuse(error: RuntimeError) -> None:
            logger.error("no thread can be started, %d messages are lost", len(messages))
            done()

        self._to_pool(work, refuse)
        return None

    async def _each(self, function: Callable[[Any], Any], messages: deque[Any]) -> None:
        # A handler that swallowed its cancellation does not get the rest.
        while messages and not self._closed:
            message = messages.popleft()
            try:
                await function(message)
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError) and self._is_cancelled():
                    raise
                self.handler_errors += 1
                _tell(message)

    def _count(self, failed: int, done: Callable[[], None]) -> None:
        self.handler_errors += failed
        done()

    def _is_cancelled(self) -> bool:
        """Whether the current task is, and not just something that its handler awaited."""
        task = asyncio.current_task(self._loop)
        return self._closed or (task is not None and task.cancelling() > 0)

    def _run_coroutine(
        self,
        function: Callable[..., Coroutine[Any, Any, Any]],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        done: Done,
        serving: Serving | None = None,
    ) -> asyncio.Task[Any] | None:
        task = _new_task(self._loop, _outcome(function, args, kwargs, serving))
        if task.done():
            _report(task, done)
            return None
        self._tasks.add(task)

        def ended(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            _report(task, done)

        task.add_done_callback(ended)
        return task

    # The pool.

    @property
    def is_worker(self) -> bool:
        """Whether the caller is one of the pool's threads: a plain handler of this node."""
        return threading.current_thread() in self._threads

    def _to_pool(
        self, work: Callable[[], Callable[[], None]], refuse: Callable[[RuntimeError], None]
    ) -> None:
        if self._closed:
            return
        if self._busy >= len(self._threads) and len(self._threads) < MAX_THREADS:
            name = f"mesh-worker-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                # The machine has no more: those that are there take it, if there are any.
                if not self._threads:
                    refuse(error)
                    return
            else:
                self._threads.append(thread)
        self._busy += 1
        self._work.put(work)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None and not self._closed:
            finish = work()
            self._finished.append(finish)
            # Append first, then look: the loop clears the flag before it empties the deque.
            if not self._is_collecting:
                self._is_collecting = True
                try:
                    self._loop.call_soon_threadsafe(self._collect)
                except RuntimeError:
                    return  # the loop is closed; nobody waits for results any more

    def _collect(self) -> None:
        self._is_collecting = False
        finished = self._finished
        while finished:
            self._busy -= 1
            _finish(finished.popleft())

    # The end.

    def stop(self) -> None:
        """Start nothing more, cancel coroutines, let threads end; idempotent."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        for _ in self._threads:
            self._work.put(None)

    def forget(self) -> None:
        """In a forked child: start nothing; a thread of the pool ends with what it does now."""
        self._closed = True
        self._work.put(None)

    async def close(self) -> list[str]:
        """``stop``, and wait for what runs, a bounded time; returns what goes on even so."""
        self.stop()
        lost = []
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=CLOSE_WAIT)
            if left:
                lost.append(f"{len(left)} handlers that do not end when they are cancelled")
        threads, self._threads = self._threads, []
        if threads:
            await call_in_thread(self._loop, lambda: _join_all(threads))
        if still_running := sum(thread.is_alive() for thread in threads):
            lost.append(f"{still_running} handlers still run in threads")
        return lost


def _join_all(threads: list[threading.Thread]) -> None:
    deadline = monotonic() + CLOSE_WAIT
    for thread in threads:
        thread.join(max(0.0, deadline - monotonic()))
