"""Times on a logarithmic scale for people: 1, 2, 5, 10, 20, 50, ..."""

from __future__ import annotations

from itertools import pairwise

from mesh.cli.bench.core.histogram import Histogram

__all__ = ["Step", "steps"]

Step = tuple[int, int, int]
"""Above so many ns, up to so many, and how many times there are."""

EDGES = (0, *(digit * 10**power for power in range(14) for digit in (1, 2, 5)))


def steps(histogram: Histogram) -> list[Step]:
    """From the first step with a time to the last one, those between that are empty included.

    A time within 0.8 % of an edge may be counted on its far side.
    """
    counts = dict.fromkeys(EDGES[1:], 0)
    edges = iter(EDGES[1:])
    edge = next(edges)
    for upper, count in histogram.buckets():
        while upper > edge and edge < EDGES[-1]:
            edge = next(edges)
        counts[edge] += count
    found = [(low, high, counts[high]) for low, high in pairwise(EDGES)]
    filled = [place for place, (_, _, count) in enumerate(found) if count]
    return found[filled[0] : filled[-1] + 1] if filled else []
