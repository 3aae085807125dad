"""Packed entries on their way into frames: one kind per batch, closed by size or count.

Python pays a few µs per ZeroMQ message whatever its size, so all entries for one destination in
one turn of the loop share a frame. A batch closes when the kind changes or a limit is reached;
otherwise the end of the turn closes it. Entries are joined once, when the frame is made.
"""

from __future__ import annotations

from collections import deque

__all__ = ["BATCH_BYTES", "BATCH_ENTRIES", "Batch", "BatchQueue"]

BATCH_BYTES = 64 * 1024
"""A frame's size: past this batching gains nothing, and the receiver's turns get long. An entry
above it travels alone, so a frame is never larger than this or than its one entry."""

BATCH_ENTRIES = 1024
"""Entries in a frame: bounds one decode at the receiver to about a millisecond."""


class Batch:
    """Entries of one kind. ``first`` is the number of its first message."""

    __slots__ = ("entries", "first", "kind", "size")

    def __init__(self, kind: int, first: int) -> None:
        self.kind = kind
        self.first = first
        self.entries: list[bytes] = []
        self.size = 0


class BatchQueue:
    """Batches in order; ``append`` is on the hot path of every publish and every call."""

    __slots__ = ("batches", "next_number", "open", "size")

    def __init__(self) -> None:
        self.batches: deque[Batch] = deque()
        self.open: Batch | None = None
        self.size = 0
        self.next_number = 0
        """The number that the next message gets; numbers are never given twice."""

    def append(self, kind: int, entry: bytes) -> None:
        """Queue one packed entry behind all others."""
        batch = self.open
        size = len(entry)
        if batch is None or batch.kind != kind or batch.size + size > BATCH_BYTES:
            batch = self.open = Batch(kind, self.next_number)
            self.batches.append(batch)
        batch.entries.append(entry)
        batch.size += size
        self.size += size
        self.next_number += 1
        if batch.size >= BATCH_BYTES or len(batch.entries) >= BATCH_ENTRIES:
            self.open = None

    def skip(self, count: int) -> None:
        """So many numbers are given to messages that are lost: what follows tells the gap."""
        self.open = None
        self.next_number += count

    def seal(self) -> int:
        """Let what is appended from now on begin a new batch; returns how many there are."""
        self.open = None
        return len(self.batches)

    def pop(self) -> Batch | None:
        """The oldest batch, closed; None when there is none."""
        if not self.batches:
            return None
        batch = self.batches.popleft()
        if batch is self.open:
            self.open = None
        self.size -= batch.size
        return batch

    def push_back(self, batch: Batch) -> None:
        """Undo a ``pop``."""
        self.batches.appendleft(batch)
        self.size += batch.size

    def clear(self) -> int:
        """Drop everything; returns how many messages that were. Their numbers stay used."""
        lost = sum(len(batch.entries) for batch in self.batches)
        self.batches.clear()
        self.open = None
        self.size = 0
        return lost
