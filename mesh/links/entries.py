"""Packed entries of one kind, numbered, cut into frames when they are sent.

Cheaper than a ``BatchQueue``, which must know at each entry what kind the one before was.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, islice

from mesh.links.batches import BATCH_BYTES, BATCH_ENTRIES

__all__ = ["EntryQueue"]


class EntryQueue:
    """Append to ``entries``; an entry's number is ``first`` and its index."""

    __slots__ = ("entries", "first")

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.first = 0

    @property
    def next_number(self) -> int:
        """The number that the next entry gets; numbers are never given twice."""
        return self.first + len(self.entries)

    def head(self) -> list[bytes]:
        """The entries for the next frame: one at least, then as many as its limits allow."""
        entries = self.entries
        sizes = accumulate(map(len, islice(entries, BATCH_ENTRIES)))
        return entries[: bisect_right(list(sizes), BATCH_BYTES) or 1]

    def drop(self, count: int) -> None:
        """The first ``count`` are sent."""
        del self.entries[:count]
        self.first += count

    def clear(self) -> None:
        """Drop everything; the numbers stay used."""
        self.drop(len(self.entries))
