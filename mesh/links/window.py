"""How much may be on its way to a peer: as much as is taken without a queue. Pure.

The window doubles in each round trip that is quick, and shrinks when what is sent has to wait. A
queue shows in what an acknowledgement takes more than the least that one took (as in LEDBAT, RFC
6817): the distance alone makes no link slow. Where an acknowledgement says *consumed*, a slow
consumer counts as a slow link, so what it makes us both hold stays small.

Counters and the least delay belong to one link epoch.
"""

from __future__ import annotations

import math
from collections import deque

__all__ = ["TARGET_DELAY", "Window"]

TARGET_DELAY = 0.1
"""Seconds that something may wait behind others before the window shrinks."""

MARK_BYTES = 32 * 1024
"""From one piece whose time is noted to the next, so that few are."""


class Window:
    """Between ``least`` and ``most`` bytes, ``first`` of them at the beginning of an epoch."""

    __slots__ = ("_first", "_least", "_least_delay", "_marks", "_most", "_timed", "acked", "sent",
                 "size")  # fmt: skip

    def __init__(self, first: int, least: int, most: int) -> None:
        self._first = first
        self._least = least
        self._most = most
        self._marks: deque[tuple[int, float]] = deque()
        self.open()

    def open(self) -> None:
        """A new epoch: nothing is on its way."""
        self.size = self._first
        self.sent = 0
        """Bytes in this epoch."""
        self.acked = 0
        """How many of them were acknowledged."""
        self._timed = 0
        """Of these, how many when a delay was known last."""
        self._least_delay = math.inf
        self._marks.clear()

    def fits(self, size: int, limit: int | None = None) -> bool:
        """Whether so many bytes may leave now, in a window of ``limit`` if that is given. When
        nothing is on its way, any piece may."""
        in_flight = self.sent - self.acked
        return not in_flight or in_flight + size <= (self.size if limit is None else limit)

    def send(self, size: int, now: float) -> None:
        """So many leave."""
        self.sent += size
        marks = self._marks
        if not marks or self.sent - marks[-1][0] >= MARK_BYTES:
            marks.append((self.sent, now))

    def acknowledge(self, total: int, now: float) -> int | None:
        """The peer has taken ``total`` bytes of this epoch; returns how many of them were not
        known, None if it cannot be."""
        if not self.acked <= total <= self.sent:
            return None
        taken = total - self.acked
        self.acked = total
        left_at = None
        while self._marks and self._marks[0][0] <= total:
            left_at = self._marks.popleft()[1]
        if left_at is not None:
            self._adapt(now - left_at, total - self._timed)
            self._timed = total
        return taken

    def _adapt(self, delay: float, taken: int) -> None:
        least = self._least_delay = min(delay, self._least_delay)
        if delay - least <= TARGET_DELAY / 2:
            self.size = min(self._most, self.size + taken)
        elif delay - least > TARGET_DELAY:
            self.size = max(self._least, int(self.size * (least + TARGET_DELAY) / delay))
