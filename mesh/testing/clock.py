"""Virtual time: a heap of callbacks, and a clock for each process that can be stopped.

Nothing waits. Time jumps from one callback to the next; callbacks of one instant run in the order
in which they were scheduled. A process that is stopped keeps what falls due until it goes on:
what came from the network first, then its timers, as an event loop would do it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush

__all__ = ["ProcessClock", "SimClock", "SimTimer"]

MAX_CALLBACKS_PER_INSTANT = 200_000
"""More than any honest simulation does without time passing; beyond it is an endless loop."""

Callback = Callable[[], None]


class SimTimer:
    """A scheduled callback; ``cancel`` may come twice, or late."""

    __slots__ = ("_callback", "owner")

    def __init__(self, callback: Callback, owner: ProcessClock | None = None) -> None:
        self._callback: Callback | None = callback
        self.owner = owner
        """The process that it runs in; None for the world's."""

    @property
    def is_pending(self) -> bool:
        """Whether it is still to run."""
        return self._callback is not None

    def cancel(self) -> None:
        self._callback = None

    def run(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class SimClock:
    """The one clock of a simulation, in seconds from 0."""

    def __init__(self) -> None:
        self._now = 0.0
        self._heap: list[tuple[float, int, SimTimer]] = []
        self._scheduled = 0
        self._at_this_instant = 0

    def now(self) -> float:
        return self._now

    def call_at(self, at: float, callback: Callback, owner: ProcessClock | None = None) -> SimTimer:
        timer = SimTimer(callback, owner)
        self._scheduled += 1
        heappush(self._heap, (max(self._now, at), self._scheduled, timer))
        return timer

    def call_later(self, delay: float, callback: Callback) -> SimTimer:
        return self.call_at(self._now + delay, callback)

    def call_soon(self, callback: Callback) -> SimTimer:
        return self.call_at(self._now, callback)

    def pending_of(self, owner: ProcessClock) -> list[SimTimer]:
        """The timers of a process that are still to run."""
        return [timer for _, _, timer in self._heap if timer.owner is owner and timer.is_pending]

    def step(self, until: float) -> bool:
        """Run the next callback that is due by ``until``; False, and it is ``until``, if none.

        Raises RuntimeError when callbacks follow each other without end at one instant.
        """
        if not self._heap or self._heap[0][0] > until:
            self._now = max(self._now, until)
            self._at_this_instant = 0
            return False
        at, _, timer = heappop(self._heap)
        if at > self._now:
            self._now = at
            self._at_this_instant = 0
        self._at_this_instant += 1
        if self._at_this_instant > MAX_CALLBACKS_PER_INSTANT:
            raise RuntimeError(f"callbacks follow each other without end at {self._now} s")
        owner = timer.owner
        if owner is None:
            timer.run()
        else:
            owner.run(timer)
        return True


class ProcessClock:
    """``patterns.port.Clock`` as one process sees it: stopped with it, and silent after its end."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self._arrived: deque[Callback] = deque()
        self._due: deque[SimTimer] = deque()
        self.is_stopped = False
        self.has_ended = False

    def now(self) -> float:
        return self._clock.now()

    def call_later(self, delay: float, callback: Callback) -> SimTimer:
        return self._clock.call_at(self._clock.now() + delay, callback, self)

    def call_soon(self, callback: Callback) -> SimTimer:
        return self.call_later(0.0, callback)

    def arrive(self, callback: Callback) -> None:
        """Something came from the network: handle it now, or when the process goes on."""
        if self.has_ended:
            return
        if self.is_stopped or self._arrived:
            self._arrived.append(callback)
        else:
            callback()

    def stop(self) -> None:
        self.is_stopped = True

    def go_on(self) -> None:
        """Everything that fell due meanwhile runs now."""
        self.is_stopped = False
        self._clock.call_soon(self._catch_up)

    def end(self) -> None:
        self.has_ended = True
        self._arrived.clear()
        self._due.clear()

    def run(self, timer: SimTimer) -> None:
        """A timer is due: run it now, or when the process goes on."""
        if self.has_ended:
            return
        if self.is_stopped or self._due:
            self._due.append(timer)
        else:
            timer.run()

    def _catch_up(self) -> None:
        while self._arrived and not self.is_stopped:
            self._arrived.popleft()()
        while self._due and not self.is_stopped:
            self._due.popleft().run()
