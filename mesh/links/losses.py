"""What was dropped before it was sent, by subject: for the subscriptions that will not get it.

Numbers tell the receiver how many messages it misses, but not which of its subscriptions would
have got them. The sender still has them when it drops them, so it can say.
"""

from __future__ import annotations

from mesh.links.batches import Batch
from mesh.wire.frames import BROADCAST

__all__ = ["MAX_SUBJECTS", "Losses"]

MAX_SUBJECTS = 512
"""Subjects that are told apart, so that all fit a control frame; what is lost of others is in the
gap, and in no subscription's count."""


class Losses:
    """Counts by subject, until they are told."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[bytes, int] = {}

    def add(self, subject: bytes, count: int = 1) -> None:
        counts = self.counts
        if subject in counts:
            counts[subject] += count
        elif len(counts) < MAX_SUBJECTS:
            counts[subject] = count

    def add_batch(self, batch: Batch) -> None:
        """All messages of a batch; other kinds than messages have no subject."""
        if batch.kind <= BROADCAST:
            for entry in batch.entries:
                self.add(_subject_of(entry))

    def take(self) -> list[tuple[str, int]]:
        """``[[subject, count], ...]``, and begin anew."""
        counts, self.counts = self.counts, {}
        return [(subject.decode(), count) for subject, count in counts.items()]


def _subject_of(entry: bytes) -> bytes:
    """What an entry of ours begins with: a small array, and in it a text of up to 255 bytes."""
    if len(entry) < 3:
        return b""  # of no verb: these have a subject and a payload
    head = entry[1]
    return entry[2 : 2 + (head & 31)] if head < 0xC0 else entry[3 : 3 + entry[2]]
