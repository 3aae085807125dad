"""Packed entries on their way into frames: one kind per batch, closed by size or count.

Python pays a few µs per ZeroMQ message whatever its size, so all entries for one destination in
one turn of the loop share a frame. A batch closes when the kind changes or a limit is reached;
otherwise the end of the turn closes it. Entries are joined once, when the frame is made.

A batch can wait in several queues, one for each node that gets the same messages: then an entry is
appended once for all of them. Whoever closes it, by taking it out or putting something behind it,
closes it for all. Only its numbers differ, so they are the queue's.
"""

from __future__ import annotations

from collections import deque

from mesh.wire.split import split

__all__ = ["BATCH_BYTES", "BATCH_ENTRIES", "Batch", "BatchQueue"]

BATCH_BYTES = 64 * 1024
"""A frame's size: past this batching gains nothing, and the receiver's turns get long. An entry
above it travels alone, so a frame is never larger than this or than its one entry."""

BATCH_ENTRIES = 1024
"""Entries in a frame: bounds one decode at the receiver to about a millisecond."""


class Batch:
    """Entries of one kind. ``is_shared`` says that it may wait in several queues.

    With ``payload`` it is one entry, of which that is a part which is never copied.
    """

    __slots__ = ("_body", "_count", "_entries", "is_open", "is_shared", "kind", "payload", "size")

    def __init__(
        self, kind: int, entry: bytes, payload: bytes = b"", *, is_shared: bool = False
    ) -> None:
        self.kind = kind
        self.is_shared = is_shared
        self.payload = payload
        self.size = len(entry) + len(payload)
        self.is_open = not payload and self.size < BATCH_BYTES
        self._entries = [entry]
        self._body: bytes | None = None
        self._count = 0

    def append(self, entry: bytes) -> bool:
        """One more at its end; False when it is closed, or would get too large."""
        size = self.size + len(entry)
        if not self.is_open or size > BATCH_BYTES:
            return False
        # Before the append: a signal handler that publishes comes in there.
        self.size = size
        entries = self._entries
        entries.append(entry)
        if len(entries) >= BATCH_ENTRIES:
            self.is_open = False
        return True

    def extend(self, entries: list[bytes]) -> bool:
        """All of them at its end; False, and none is, when it is closed, or would get too large."""
        more = sum(map(len, entries))
        size = self.size + more
        if not self.is_open or size > BATCH_BYTES:
            return False
        if len(self._entries) + len(entries) > BATCH_ENTRIES:
            return False
        self.size = size
        self._entries += entries
        if len(self._entries) >= BATCH_ENTRIES:
            self.is_open = False
        return True

    @property
    def count(self) -> int:
        """How many entries."""
        return len(self._entries) or self._count

    @property
    def entries(self) -> list[bytes]:
        """Each of them, without a payload of its own; not to be changed."""
        if self._body is None:
            return self._entries
        return [bytes(entry) for entry in split(self._body, self._count)]

    def frame(self, header: bytes = b"") -> bytes:
        """All of it but ``payload`` behind ``header``. Closes it."""
        self.is_open = False
        if not self.is_shared:
            return b"".join((header, *self._entries))
        if self._body is None:
            self._body = b"".join(self._entries)
            # What waits for a slow one is not kept twice.
            self._count, self._entries = len(self._entries), []
        return header + self._body


class BatchQueue:
    """Batches in order, each with the number of its first entry; numbers are never given twice.

    ``append`` is on the hot path of every call, ``Batch.append`` on that of every publish.
    """

    __slots__ = ("_next_number", "_open", "_size", "batches")

    def __init__(self) -> None:
        self.batches: deque[tuple[int, Batch]] = deque()
        self._open: Batch | None = None
        """The last one, while it may grow: not in ``_size`` and ``_next_number``."""
        self._size = 0
        self._next_number = 0

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return self._size + (self._open.size if self._open is not None else 0)

    @property
    def next_number(self) -> int:
        """The number that the next entry gets."""
        return self._next_number + (self._open.count if self._open is not None else 0)

    def append(self, kind: int, entry: bytes) -> None:
        """Queue one packed entry behind all others; not beside ``add``."""
        batch = self._open
        if batch is None or batch.kind != kind or not batch.append(entry):
            self.add(Batch(kind, entry))

    def add(self, batch: Batch) -> None:
        """Queue a batch behind all others; it may still grow."""
        self.seal()
        self.batches.append((self._next_number, batch))
        self._open = batch

    def skip(self, count: int) -> None:
        """So many numbers are given to entries that are lost: what follows tells the gap."""
        self.seal()
        self._next_number += count

    def seal(self) -> int:
        """Let what comes from now on begin a new batch; returns how many there are."""
        batch = self._open
        if batch is not None:
            batch.is_open = False
            self._open = None
            self._size += batch.size
            self._next_number += batch.count
        return len(self.batches)

    def pop(self) -> tuple[int, Batch] | None:
        """The oldest batch, closed, and the number of its first; None when there is none."""
        if not self.batches:
            return None
        first, batch = self.batches.popleft()
        if batch is self._open:
            self.seal()
        self._size -= batch.size
        return first, batch

    def clear(self) -> int:
        """Drop everything; returns how many entries that were. Their numbers stay used."""
        self.seal()
        lost = sum(batch.count for _, batch in self.batches)
        self.batches.clear()
        self._size = 0
        return lost
