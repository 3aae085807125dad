"""How many calls of each method there were, how many failed, and how long they took.

Nothing is measured, and nothing paid, until somebody asks: then ``RpcServer.measures`` and
``RpcClient.measures`` are set. So the first look at a node sees no latencies yet. What is measured
at a server is its handlers; a caller's latency has the wait in line, too.

Latencies go into a histogram of fixed size, whose bounds grow by the square root of two: a
percentile is never too low, and at most 41 % too high, however long it runs. Two that were made
one after the other can be subtracted, which is what a rate over the last seconds needs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

__all__ = ["BOUNDS", "MAX_MEASURED", "OTHERS", "Histogram", "Measure", "Measures", "quantile"]

BOUNDS = tuple(2 ** (step / 2) * 16e-6 for step in range(45))
"""Upper bounds in seconds, from 16 µs to 67 s; what is longer is beyond the last."""

MAX_MEASURED = 256
"""Methods that are measured each; peers and callers choose names, and each takes some 700 bytes."""

OTHERS = ""
"""Under this name are all methods beyond that, together."""


class Histogram:
    """Seconds. ``counts`` has one more than ``BOUNDS``."""

    __slots__ = ("counts", "largest", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0
        self.largest = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds
        if seconds > self.largest:
            self.largest = seconds


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The bound below which that share is, in seconds; None of nothing, ``inf`` beyond the last.

    ``counts`` are those of a histogram, or the difference of two.
    """
    total = sum(counts)
    if total <= 0:
        return None
    rank = share * total
    seen = 0
    for bound, count in zip(BOUNDS, counts, strict=False):
        seen += count
        if seen >= rank and count:
            return bound
    return float("inf")


class Measure:
    """One method. ``latency`` is of calls that have a value."""

    __slots__ = ("failed", "latency", "succeeded")

    def __init__(self) -> None:
        self.succeeded = 0
        self.failed = 0
        self.latency = Histogram()


class Measures:
    """All methods of one side of one node, by name."""

    __slots__ = ("by_method",)

    def __init__(self) -> None:
        self.by_method: dict[str, Measure] = {}

    def succeeded(self, method: str, seconds: float) -> None:
        """A call gave a value after so long."""
        measure = self.by_method.get(method) or self._new(method)
        measure.succeeded += 1
        measure.latency.add(seconds)

    def failed(self, method: str) -> None:
        """A call ended without."""
        measure = self.by_method.get(method) or self._new(method)
        measure.failed += 1

    def _new(self, method: str) -> Measure:
        if len(self.by_method) >= MAX_MEASURED:
            method = OTHERS
        return self.by_method.setdefault(method, Measure())
