"""What a node said of itself, and what has changed from one time to the next.

Nothing is taken for granted: a node of another version has other fields, one that was restarted
counts from 0 again, and what another node says may be of any type. What is not known is None, which
is shown as such; it is never 0. Time is the looker's monotonic clock, so clocks that step, here or
there, change no rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mesh.cli.reading import items_of, number_of, value_of
from patterns.rpc.measures import BOUNDS, quantile

__all__ = ["LEAST_SECONDS", "Change", "Sample", "added", "latency", "together"]

LEAST_SECONDS = 0.05
"""Between two samples; what happened in less says nothing of a second."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer: ``state`` is what ``_mesh.state`` gave, ``at`` when, in monotonic seconds."""

    at: float
    state: Any


def added(numbers: Sequence[float | None]) -> float | None:
    """The sum of those that are known; None if none is."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


class Change:
    """From ``before`` to ``after``; without ``before``, or after a restart, nothing has changed."""

    __slots__ = ("_after", "_before", "seconds")

    def __init__(self, before: Any, after: Any, seconds: float | None) -> None:
        self._before = before
        self._after = after
        self.seconds = seconds
        """How long it took; None when the two cannot be compared."""

    @classmethod
    def between(cls, before: Sample | None, after: Sample) -> Change:
        """Of two samples of one node."""
        if before is None or after.at - before.at < LEAST_SECONDS:
            return cls(None, after.state, None)
        born = [value_of(sample.state, "totals", "since") for sample in (before, after)]
        if born[0] != born[1]:
            return cls(None, after.state, None)
        return cls(before.state, after.state, after.at - before.at)

    def of(self, part: str, **where: Any) -> Change:
        """The same for an item of a list, the one with these fields; new ones have no past."""

        def find(state: Any) -> Any:
            for one in items_of(state, part):
                if all(one.get(key) == value for key, value in where.items()):
                    return one
            return None

        before = find(self._before)
        return Change(before, find(self._after), None if before is None else self.seconds)

    def now(self, *path: str) -> float | None:
        """The number as it is."""
        return number_of(self._after, *path)

    def grown(self, *path: str, start: float | None = None) -> float | None:
        """By how much a number has grown; None if that cannot be known, or it went back.

        ``start`` is what a counter is before it appears.
        """
        if self.seconds is None:
            return None
        before, after = (number_of(state, *path) for state in (self._before, self._after))
        before, after = (start if n is None else n for n in (before, after))
        if before is None or after is None or after < before:
            return None
        return after - before

    def rate(self, *path: str) -> float | None:
        """The same a second."""
        grown = self.grown(*path)
        return None if grown is None or self.seconds is None else grown / self.seconds

    def counts(self, *path: str) -> list[int] | None:
        """What came into a histogram; None if that cannot be known."""
        if self.seconds is None:
            return None
        after = _counts(value_of(self._after, *path))
        # A histogram over no method at all is empty.
        before = _counts(value_of(self._before, *path)) or ([0] * len(after) if after else None)
        if before is None or after is None or len(before) != len(after):
            return None
        new = [b - a for a, b in zip(before, after, strict=True)]
        return None if min(new, default=0) < 0 else new


def _counts(value: Any) -> list[int] | None:
    if not isinstance(value, list) or not all(type(count) is int for count in value):
        return None
    return value


def together(histograms: Sequence[list[int] | None]) -> list[int] | None:
    """The sum of those that are known."""
    known = [one for one in histograms if one and len(one) == len(BOUNDS) + 1]
    return [sum(column) for column in zip(*known, strict=True)] if known else None


def latency(counts: list[int] | None, share: float) -> float | None:
    """Seconds below which that share of the calls took; None without any."""
    return None if counts is None else quantile(counts, share)
