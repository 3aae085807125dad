"""Running the jobs of a worker: on the loop, as tasks, or in threads of the pool; one by one or in
batches. What is held waits in one line, whoever runs it.

Threads take from that line themselves, for as long as there is something, and put what came of it
on another; the loop is woken once for all that is there. So a short job costs no switch of threads.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mesh.queues.held import HeldJob, data_of, unreadable
from mesh.queues.observing import timed
from mesh.runtime.thread_codec import thread_codec
from patterns.errors import NodeClosed, Timeout

if TYPE_CHECKING:
    from mesh.queues.working import Desk
    from patterns.port import Running, Timer
    from patterns.queues.worker import Held
    from patterns.rpc.measures import Histogram

__all__ = ["Handling"]

TURN = 0.005
"""Seconds of jobs on the loop before others have their turn."""

Unit = list["Held"]
"""The jobs of one call of the handler."""


class Handling:
    """Runs what ``hand`` brings; ``desk.settle(held, result, error)`` hears of each end.

    ``most`` jobs go into one call of the handler, which then gets a list; None: one, as such.
    """

    def __init__(
        self,
        desk: Desk,
        function: Callable[[Any], Any],
        *,
        is_async: bool,
        inline: bool,
        concurrency: int,
        most: int | None,
        linger: float,
        time_limit: float | None,
    ) -> None:
        self._desk = desk
        self._function = function
        self._is_async = is_async
        self._is_inline = inline and not is_async
        self._concurrency = 1 if self._is_inline else concurrency
        self._most = most
        self._linger = linger
        self._time_limit = time_limit
        self._waiting: deque[Held] = deque()
        self._units: deque[Unit] = deque()
        self.durations: dict[str, Histogram] | None = None
        self._running: dict[int, tuple[Unit, Running | None]] = {}
        """Tasks, by a number of their own; and threads, which hold none."""
        self._next = 0
        self._timer: Timer | None = None
        self._finished: deque[tuple[Held, Any, BaseException | None]] = deque()
        self._is_collecting = False
        self._is_pumping = False
        self.is_closed = False

    def measure(self) -> dict[str, Histogram]:
        """How long calls of the handler took, by queue, from the first time this is asked on."""
        if self.durations is None:
            self.durations = {}
            self._function = timed(self._function, self._desk.now, self.durations, self._is_async)
        return self.durations

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not (self._waiting or self._units or self._running or self._finished)

    def hand(self, held: list[Held]) -> None:
        """These are here to be run."""
        self._waiting.extend(held)
        self._pump_soon()

    def fence(self, held: Held) -> None:
        """It is not ours any more: what runs of it is cancelled, if that can be."""
        for unit, running in list(self._running.values()):
            if running is not None and held in unit and all(one.is_lost for one in unit):
                running.cancel()

    def close(self) -> None:
        """Begin nothing more, and cancel what can be."""
        self.is_closed = True
        self._waiting.clear()
        self._units.clear()
        if self._timer is not None:
            self._timer.cancel()
        for _, running in list(self._running.values()):
            if running is not None:
                running.cancel()

    # On the loop.

    def _pump_soon(self) -> None:
        if not self._is_pumping:
            self._is_pumping = True
            self._desk.host.loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._is_pumping = False
        if self.is_closed:
            return
        if self._most is not None:
            self._gather(self._most)
        if self._is_inline:
            self._run_inline()
        else:
            # No more threads than there is work for: one may take all of it.
            more = len(self._waiting if self._most is None else self._units)
            for _ in range(min(self._concurrency - len(self._running), more)):
                self._begin()

    def _gather(self, most: int) -> None:
        """Full batches are ready; a part of one when it has waited for long enough."""
        waiting = self._waiting
        while len(waiting) >= most:
            self._units.append([waiting.popleft() for _ in range(most)])
        if not waiting or self._timer is not None:
            return
        if self._linger <= 0:
            self._gather_rest(most)
        else:
            later = self._desk.host.clock.call_later
            self._timer = later(self._linger, functools.partial(self._linger_over, most))

    def _linger_over(self, most: int) -> None:
        self._timer = None
        self._gather_rest(most)
        self._pump_soon()

    def _gather_rest(self, most: int) -> None:
        """All of it; more than one batch if it came in this turn."""
        waiting = list(self._waiting)
        self._waiting.clear()
        self._units += [waiting[first : first + most] for first in range(0, len(waiting), most)]

    def _take(self) -> Unit | None:
        """What is next, on any thread; None: nothing."""
        try:
            return self._units.popleft() if self._most is not None else [self._waiting.popleft()]
        except IndexError:
            return None

    def _run_inline(self) -> None:
        now = self._desk.host.clock.now
        until = now() + TURN
        if self._most is None:
            self._run_each(now, until)
        else:
            while self._units and now() < until:
                self._work(self._units.popleft())
        if self._waiting or self._units:
            self._pump_soon()
        self._collect()

    def _run_each(self, now: Callable[[], float], until: float) -> None:
        """One by one. This is the hot path: what is done and returns nothing, as most do, is told
        all together."""
        desk, function, waiting = self._desk, self._function, self._waiting
        unpack = thread_codec().unpack_all
        done: list[Held] = []
        while waiting and now() < until:
            held = waiting.popleft()
            if held.state:
                self._report([held], None, None)
                continue
            try:
                try:
                    data = unpack(held.body, 1)[0]
                except (ValueError, IndexError) as error:
                    raise unreadable(held, error) from None
                value = function(HeldJob(held, data, desk))
            except BaseException as error:  # noqa: BLE001  as in ``_work``
                self._report([held], None, error)
                continue
            if value is None:
                done.append(held)
            else:
                self._report([held], value, None)
        for held in desk.worker.done_many(done):
            desk.settle(held, None, None)

    def _begin(self) -> None:
        runner = self._desk.host.runner
        number = self._next
        self._next += 1
        if not self._is_async:
            self._running[number] = [], None
            runner.start(self._work_all, (), {}, False, functools.partial(self._worked, number))
            return
        unit = self._take()
        if unit is None:
            return
        self._running[number] = unit, None
        done = functools.partial(self._ended, number)
        running = runner.start(self._await, (unit,), {}, True, done)
        if number in self._running:
            self._running[number] = unit, running

    def _ended(self, number: int, value: Any, error: BaseException | None) -> None:
        unit, _ = self._running.pop(number)
        self._report(unit, value, error)
        self._collect()
        self._pump_soon()

    def _worked(self, number: int, value: Any, error: BaseException | None) -> None:
        del self._running[number]
        self._collect()
        self._pump_soon()

    def _collect(self) -> None:
        """Tell what has come of jobs."""
        self._is_collecting = False
        finished, settle = self._finished, self._desk.settle
        while finished:
            settle(*finished.popleft())

    # The handler itself.

    def _jobs(self, unit: Unit) -> Any:
        """What the handler is given; those that cannot be decoded have ended with that."""
        desk = self._desk
        if self._most is None:
            held = unit[0]
            return HeldJob(held, data_of(held), desk)
        jobs = []
        for held in list(unit):
            if held.is_lost:
                continue
            try:
                jobs.append(HeldJob(held, data_of(held), desk))
            except Exception as error:  # noqa: BLE001  a registered decoder may raise anything
                unit.remove(held)
                self._finished.append((held, None, error))
        return jobs

    def _work(self, unit: Unit) -> None:
        """Run a plain handler here."""
        if self._most is None and unit[0].is_lost:
            self._report(unit, None, None)
            return
        try:
            jobs = self._jobs(unit)
            value = self._function(jobs) if jobs else None
        except BaseException as error:  # noqa: BLE001  sys.exit(), too, goes to the retry policy
            self._report(unit, None, error)
        else:
            self._report(unit, value, None)

    def _work_all(self) -> None:
        """In a thread of the pool: one unit after the other, while there are any."""
        while not self.is_closed and (unit := self._take()) is not None:
            self._work(unit)
            if not self._is_collecting:
                self._is_collecting = True
                try:
                    self._desk.host.hand_over(self._collect)
                except NodeClosed:
                    return

    async def _await(self, unit: Unit) -> Any:
        """Run an async handler."""
        if self._most is None and unit[0].is_lost:
            return None  # while it waited for its turn
        jobs = self._jobs(unit)
        if self._time_limit is None:
            return await self._function(jobs) if jobs else None
        try:
            async with asyncio.timeout(self._time_limit) as limit:
                return await self._function(jobs) if jobs else None
        except TimeoutError:
            if not limit.expired():
                raise
            raise Timeout(f"the handler took longer than {self._time_limit:g} s") from None

    def _report(self, unit: Unit, value: Any, error: BaseException | None) -> None:
        """What has come of a call of the handler. In a batch, of those that it has not settled."""
        if self._most is not None:
            value = None  # of a batch nobody waits for one result
        packed = None
        if value is not None:
            try:
                packed = thread_codec().pack(value)
            except Exception as failure:  # noqa: BLE001  what it returned cannot travel
                error = failure
        for held in unit:
            if not held.is_settled:
                self._finished.append((held, packed, error))
