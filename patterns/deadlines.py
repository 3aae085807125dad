"""Many deadlines, one timer: 10 ms buckets instead of a timer for each call.

A timer per call costs more than the call's own bookkeeping. Here adding and removing is a set
operation, and the clock wakes only while something waits. An entry expires at most one tick late
and never early.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from heapq import heappop, heappush
from math import floor

from patterns.port import Timer

__all__ = ["TICK", "Deadlines"]

TICK = 0.01
"""Seconds a bucket spans: fine enough for time-outs, coarse enough to share one timer."""


class Deadlines:
    """Calls ``expire(key)`` once for each key whose time has come and that was not discarded.

    ``call_later`` and ``now`` come from the embedding clock; keys are whatever the caller uses.
    """

    def __init__(
        self,
        now: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], Timer],
        expire: Callable[[Hashable], None],
    ) -> None:
        self._now = now
        self._call_later = call_later
        self._expire = expire
        self._buckets: dict[int, set[Hashable]] = {}
        self._ticks: list[int] = []
        self._known_ticks: set[int] = set()
        """What is in the heap; a tick stays there when its bucket has become empty."""
        self._timer: Timer | None = None
        self._timer_tick = 0

    def add(self, key: Hashable, at: float) -> int:
        """Watch ``key`` until ``at`` (seconds on the clock); returns the tick for ``discard``."""
        tick = floor(at / TICK) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = {key}
            if tick not in self._known_ticks:
                self._known_ticks.add(tick)
                heappush(self._ticks, tick)
            if self._timer is None or tick < self._timer_tick:
                self._arm()
        else:
            bucket.add(key)
        return tick

    def discard(self, key: Hashable, tick: int) -> None:
        """Stop watching ``key``, which ``add`` put at ``tick``; unknown ones are ignored."""
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.discard(key)
            if not bucket:
                del self._buckets[tick]

    def close(self) -> None:
        """Forget all; nothing expires afterwards."""
        self._buckets.clear()
        self._ticks.clear()
        self._known_ticks.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_tick = self._ticks[0]
        self._timer = self._call_later(
            max(0.0, self._timer_tick * TICK - self._now()), self._on_timer
        )

    def _on_timer(self) -> None:
        self._timer = None
        now = self._now()
        # Judged by the expression that armed the timer: another rounding could never be reached.
        while self._ticks and self._ticks[0] * TICK <= now:
            bucket = self._buckets.pop(self._pop_tick(), None)
            for key in tuple(bucket or ()):
                self._expire(key)
        # Ticks whose keys were all discarded cost nothing more than their place in the heap.
        while self._ticks and self._ticks[0] not in self._buckets:
            self._pop_tick()
        if self._ticks and self._timer is None:
            self._arm()

    def _pop_tick(self) -> int:
        tick = heappop(self._ticks)
        self._known_ticks.discard(tick)
        return tick
