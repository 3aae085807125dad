"""The receiving half of a link: gaps, and what has been consumed of the window.

Numbers tell everything: a frame that starts past the expected number proves exactly how many
messages were lost before it; the first message of a new epoch proves it when nothing follows.
Frames of an older epoch are discarded unread, because the new one has already counted them.
"""

from __future__ import annotations

from mesh.links.outbox import MAX_WINDOW_BYTES, WINDOW_BYTES
from mesh.wire.frames import BadFrame

__all__ = ["ACK_BYTES", "MAX_UNCONSUMED_BYTES", "Inbox"]

ACK_BYTES = WINDOW_BYTES // 4
"""Consumed bytes after which the sender is told at once; the rest is told when the node idles."""

MAX_UNCONSUMED_BYTES = 2 * MAX_WINDOW_BYTES
"""Bytes of one epoch that are here and not consumed: twice what any sender of ours has on its way.
Whoever sends more does not mind the window, and would fill our memory."""


class Inbox:
    """What one peer sends us. ``link`` is the current epoch, None before the first."""

    __slots__ = ("acked", "arrived", "consumed", "expected", "link", "received", "untold")

    def __init__(self) -> None:
        self.link: int | None = None
        self.expected: int | None = None
        self.received = 0
        """Messages received, all epochs."""
        self.arrived = 0
        """Bytes of this epoch."""
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
        self.arrived = self.consumed = self.acked = 0
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

    def receive(self, link: int, first: int, count: int, size: int = 0) -> int | None:
        """A frame's header; returns how many were lost before it, None to discard the frame.

        Raises BadFrame for one that is beyond all windows.
        """
        expected = self.expected
        if link != self.link or expected is None or first < expected:
            return None
        self.arrived += size
        if self.arrived - self.consumed > MAX_UNCONSUMED_BYTES:
            raise BadFrame(f"{self.arrived - self.consumed} bytes are here and not consumed")
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
