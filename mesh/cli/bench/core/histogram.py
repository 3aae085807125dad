"""A histogram of times: of fixed size, however many are added, and exact to within 1/128.

Log-linear, as HdrHistogram is: each power of two is divided into 128 buckets of the same width, so
a bucket is as wide as 1/128 of the times in it. A percentile is told as the upper end of its
bucket: never too low, and at most 0.8 % too high. Least, greatest and mean are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

__all__ = ["Histogram"]

PRECISION_BITS = 7
"""Buckets per power of two, as a power of two: 3 digits cannot tell 0.8 % apart."""

MAX_BITS = 43
"""Times of 2**43 ns (146 min) and more share the last bucket: no call waits for so long."""

BUCKETS = (MAX_BITS - PRECISION_BITS + 1) << PRECISION_BITS

PER_MILLE = 1000


class Histogram:
    """Times in ns. What is below 0, as clocks may have it that are not quite one, counts as 0."""

    __slots__ = ("_counts", "count", "greatest", "least", "total")

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self.count = 0
        self.total = 0
        self.least = 0
        """0 while there is none, and so is ``greatest``."""
        self.greatest = 0

    def add(self, value: int) -> None:
        """Count one."""
        if value < 0:
            value = 0
        shift = value.bit_length() - PRECISION_BITS - 1
        index = value if shift <= 0 else (shift << PRECISION_BITS) + (value >> shift)
        self._counts[index if index < BUCKETS else BUCKETS - 1] += 1
        if value > self.greatest:
            self.greatest = value
        if value < self.least or not self.count:
            self.least = value
        self.total += value
        self.count += 1

    @property
    def mean(self) -> float:
        """0 when there is none."""
        return self.total / self.count if self.count else 0.0

    def at(self, per_mille: int) -> int:
        """The time that this share, in thousandths, does not exceed; 0 when there is none.

        990 is the 99th percentile, 999 the 99.9th.
        """
        rank = max(1, -(-per_mille * self.count // PER_MILLE))
        seen = 0
        for upper, count in self.buckets():
            seen += count
            if seen >= rank:
                return upper
        return self.greatest

    def buckets(self) -> Iterator[tuple[int, int]]:
        """The greatest time of each bucket that is not empty, and how many are in it."""
        for index, count in enumerate(self._counts):
            if count:
                is_last = index == BUCKETS - 1
                yield self.greatest if is_last else min(_upper(index), self.greatest), count

    def merge(self, other: Histogram) -> None:
        """Count what another one has counted, too."""
        if not other.count:
            return
        self.least = min(self.least, other.least) if self.count else other.least
        self.greatest = max(self.greatest, other.greatest)
        self.total += other.total
        self.count += other.count
        for index, count in enumerate(other._counts):
            self._counts[index] += count

    def packed(self) -> list[Any]:
        """For a message: ``[least, greatest, total, [[index, count], ...]]``."""
        counts = [[index, count] for index, count in enumerate(self._counts) if count]
        return [self.least, self.greatest, self.total, counts]

    @classmethod
    def unpacked(cls, packed: Any) -> Self:
        """The other way. Raises ValueError for what is no packed histogram."""
        made = cls()
        try:
            made.least, made.greatest, made.total, counts = map(_checked, packed)
            for index, count in counts:
                made._counts[_index(index)] += _number(count)
        except (TypeError, ValueError):
            raise ValueError("this is no histogram") from None
        made.count = sum(made._counts)
        return made


def _upper(index: int) -> int:
    """The greatest time that belongs to a bucket."""
    shift = (index >> PRECISION_BITS) - 1
    if shift <= 0:
        return index
    mantissa = index - (shift << PRECISION_BITS)
    return ((mantissa + 1) << shift) - 1


def _checked(part: Any) -> Any:
    return part if isinstance(part, list | tuple) else _number(part)


def _number(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(value)
    return value


def _index(value: Any) -> int:
    if _number(value) >= BUCKETS:
        raise ValueError(value)
    return int(value)
