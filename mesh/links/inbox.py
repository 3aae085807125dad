"""The receiving half of a link: gaps, and what has been consumed of the window.

Numbers tell everything: a frame that starts past the expected number proves exactly how many
messages were lost before it; the first message of a new epoch proves it when nothing follows.
Frames of an older epoch are discarded unread, because the new one has already counted them.
"""

from __future__ import annotations

from mesh.links.outbox import WINDOW_BYTES

__all__ = ["ACK_BYTES", "Inbox"]

ACK_BYTES = WINDOW_BYTES // 4
"""Consumed bytes after which the sender is told at once; the rest is told when the node idles."""


class Inbox:
    """What one peer sends us. ``link`` is the current epoch, None before the first."""

    __slots__ = ("acked", "consumed", "expected", "link", "received", "untold")

    def __init__(self) -> None:
        self.link: int | None = None
        self.expected: int | None = None
        self.received = 0
        """Messages received, all epochs."""
        self.consumed = 0
        self.acked = 0
        self.untold = 0
        """Messages lost before this epoch, until the next message says so."""

    def open(self, link: int, next_number: int) -> int | None:
        """A new epoch; returns how many messages were lost before it, None when unknown.

        Unknown means that the sender has counted anew: it lost its memory of us.
        """
        expected = self.expected
        self.link = link
        self.expected = next_number
        self.consumed = self.acked = 0
        if expected is None:
            return 0
        if next_number < expected:
            return None
        self.untold += next_number - expected
        return next_number - expected

    def take_untold(self) -> int:
        """What the next message must say that it comes after."""
        untold, self.untold = self.untold, 0
        return untold

    def receive(self, link: int, first: int, count: int) -> int | None:
        """A frame's header; returns how many were lost before it, None to discard the frame."""
        expected = self.expected
        if link != self.link or expected is None or first < expected:
            return None
        self.expected = first + count
        self.received += count
        return first - expected

    def consume(self, link: int, size: int) -> bool:
        """``size`` bytes of epoch ``link`` are consumed; True when the sender should hear now."""
        if link != self.link:
            return False
        self.consumed += size
        return self.consumed - self.acked >= ACK_BYTES

    def take_ack(self) -> int | None:
        """The count to acknowledge; None when the sender knows already."""
        if self.consumed == self.acked:
            return None
        self.acked = self.consumed
        return self.consumed
