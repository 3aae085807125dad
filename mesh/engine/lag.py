"""How late the event loop is: the time from when a timer is due to when it runs.

The tick of ``Liveness`` comes every 0.25 s anyway and knows how late it is, so this costs no timer
of its own. A loop that is blocked now says nothing; it is found out by who asks and gets no answer.
"""

from __future__ import annotations

from patterns.rpc.measures import Histogram

__all__ = ["RECENT", "Lag"]

RECENT = 60.0
"""Seconds for which a late tick counts as recent, at least; twice as long at most."""


class Lag:
    """Of one node's loop, in seconds."""

    def __init__(self) -> None:
        self.last = 0.0
        self.histogram = Histogram()
        """Of all ticks."""
        self._largest = 0.0
        self._largest_before = 0.0
        self._since = 0.0

    def add(self, late: float, now: float) -> None:
        """A tick came, so late."""
        if now - self._since >= RECENT:
            self._largest_before, self._largest = self._largest, 0.0
            self._since = now
        self.last = late = max(0.0, late)
        self.histogram.add(late)
        if late > self._largest:
            self._largest = late

    @property
    def recent(self) -> float:
        """The largest of the last minute or two."""
        return max(self._largest, self._largest_before)
