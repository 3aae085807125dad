"""When each message or call is due, and when there are no more.

With a rate the n-th is due n / rate after the beginning, however long those before it take. Who
comes late for it must count its time from when it was due: else a system that stands still for a
second would show one slow call, and not the thousand that should have been made in that second
(coordinated omission). Without a rate each is due when it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

__all__ = ["SECONDS", "WARM_UP", "Plan", "Schedule"]

SECOND = 1_000_000_000
"""In ns."""

SECONDS = 5.0
WARM_UP = 1.0
"""Seconds when nothing is said: connections are made, routes and code are warm by then."""


class Schedule:
    """Hands out the times (ns) at which something is due.

    :param began: when the first one is due
    :param rate: so many a second; None: as fast as they are taken
    :param seconds: how long; None: until ``count``
    :param count: how many; None: until ``seconds`` are over
    """

    __slots__ = ("_began", "_count", "_ends", "_rate", "taken")

    def __init__(
        self, began: int, *, rate: float | None, seconds: float | None, count: int | None
    ) -> None:
        self._began = began
        self._rate = rate
        self._ends = began + round(seconds * SECOND) if seconds is not None else None
        self._count = count
        self.taken = 0

    @property
    def is_paced(self) -> bool:
        return self._rate is not None

    def take(self, now: int) -> int | None:
        """When the next one is due, now or before it if it is late; None at the end."""
        if self.taken == self._count:
            return None
        due = now if self._rate is None else self._due(self._rate)
        if self._ends is not None and (now >= self._ends or due >= self._ends):
            return None
        self.taken += 1
        return due

    def missed(self, now: int) -> int:
        """How many were due by now, or by the end, and have not been taken."""
        if self._rate is None:
            return 0
        until = now if self._ends is None else min(now, self._ends - 1)
        due = int((until - self._began) * self._rate / SECOND) + 1 if until >= self._began else 0
        return max(0, (due if self._count is None else min(due, self._count)) - self.taken)

    def _due(self, rate: float) -> int:
        return self._began + int(self.taken * SECOND / rate)


@dataclass(frozen=True)
class Plan:
    """How a bench is to go: what ``Schedule`` takes, and seconds of the same load before it."""

    rate: float | None
    seconds: float | None
    count: int | None
    warm_up: float

    @classmethod
    def of(
        cls, rate: float | None, seconds: float | None, count: int | None, warm_up: float | None
    ) -> Self:
        """With the defaults for what is None.

        A bench of so many has no warm-up: whoever counts what is sent means it.
        """
        if warm_up is None:
            warm_up = 0.0 if count is not None else WARM_UP
        if seconds is None and count is None:
            seconds = SECONDS
        return cls(rate, seconds, count, warm_up)

    def schedule(self, began: int) -> Schedule:
        """That of the bench, if it begins then (ns)."""
        return Schedule(began, rate=self.rate, seconds=self.seconds, count=self.count)

    def warm_up_schedule(self, began: int) -> Schedule:
        """That of the warm-up."""
        return Schedule(began, rate=self.rate, seconds=self.warm_up, count=None)
