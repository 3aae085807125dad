"""Runs handlers on virtual time. Handlers that take time are coroutines that ``await sleep(s)``.

Plain functions run in a turn of their own, as in a pool of threads that is never short.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextvars import copy_context
from typing import Any

from mesh.testing.clock import ProcessClock, SimTimer
from patterns.rpc.inherited import Serving, now_serving

__all__ = ["SimRunner", "sleep"]

Done = Callable[[Any, BaseException | None], None]


class Cancelled(BaseException):
    """What a cancelled handler is thrown."""


class sleep:
    """``await sleep(seconds)`` of virtual time, in a handler that a ``SimRunner`` runs."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __await__(self) -> Generator[sleep, None, None]:
        yield self


class _Task:
    def __init__(
        self,
        clock: ProcessClock,
        work: Coroutine[Any, Any, Any],
        done: Done,
        serving: Serving | None = None,
    ) -> None:
        self._clock = clock
        self._work = work
        self._done = done
        self._timer: SimTimer | None = None
        self.is_over = False
        self._context = copy_context()
        self._context.run(now_serving.set, serving)

    def step(self) -> None:
        value, error = None, None
        try:
            waits_for = self._context.run(self._work.send, None)
        except StopIteration as end:
            value = end.value
        except Exception as caught:  # noqa: BLE001  goes to whoever asked
            error = caught
        else:
            self._timer = self._clock.call_later(waits_for.seconds, self.step)
            return
        self._end(value, error)

    def cancel(self) -> None:
        if self.is_over:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._work.close()
        self._clock.call_soon(lambda: self._end(None, Cancelled()))

    def _end(self, value: Any, error: BaseException | None) -> None:
        self.is_over = True
        self._done(value, error)


class SimRunner:
    """``patterns.port.Runner`` of one process. ``failures`` are what subscribers raised."""

    def __init__(self, clock: ProcessClock) -> None:
        self._clock = clock
        self.failures: list[Exception] = []

    def start(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        is_async: bool,
        done: Done,
        serving: Serving | None = None,
    ) -> _Task | None:
        if not is_async:

            async def plain() -> Any:
                return function(*args, **kwargs)

            self._clock.call_soon(_Task(self._clock, plain(), done, serving).step)
            return None
        return self._start(function(*args, **kwargs), done, serving)

    def start_each(
        self,
        function: Callable[[Any], Any],
        messages: deque[Any],
        is_async: bool,
        done: Callable[[], None],
    ) -> _Task | None:
        async def each() -> None:
            while messages:
                message = messages.popleft()
                try:
                    result = function(message)
                    if is_async:
                        await result
                except Exception as error:  # noqa: BLE001  a test looks at them
                    self.failures.append(error)

        return self._start(each(), lambda value, error: done())

    def _start(
        self, work: Coroutine[Any, Any, Any], done: Done, serving: Serving | None = None
    ) -> _Task | None:
        task = _Task(self._clock, work, done, serving)
        task.step()
        return None if task.is_over else task
