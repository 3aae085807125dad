"""``Fence``: when a lease ends, on the clock of the worker, and always in time.

A lease is counted on its home's clock, and the two clocks have nothing to do with each other. From
messages that come from the home alone one cannot learn how late they come. So the worker asks
(TOUCH) at ``asked`` on its own clock, and is answered with ``home``, the home's: when it read
``home`` there, it was ``asked`` or later here. So ``home + x`` there is ``asked + x`` here or
later, whatever the delays are, and of several such answers the quickest is the best one. It is as
Gray and Cheriton, "Leases" (SOSP 1989) have it: a lease counts from when it was asked for.

Clocks drift (some 20 to 100 ppm between two machines), so answers are forgotten after one to two
times ``WINDOW``, and a job is fenced ``margin`` before the end: this also is what its handler has
to stop in.
"""

from __future__ import annotations

__all__ = ["ASK_AGAIN", "LEAST_MARGIN", "MARGIN", "WINDOW", "Fence", "margin_of", "warning_of"]

WINDOW = 300.0
"""Seconds: in that time two bad clocks drift 30 ms apart, which the margin covers."""

ASK_AGAIN = 100.0
"""Seconds: each window has some answers, so that one slow one does no harm."""

MARGIN = 0.05
"""Of the lease."""

LEAST_MARGIN = 0.05
"""Seconds."""

_WARN_SECONDS = 1.0
_WARN_PART = 0.1


def margin_of(lease: float) -> float:
    """Seconds before the end of a lease in which its job is fenced."""
    return max(LEAST_MARGIN, MARGIN * lease)


def warning_of(lease: float) -> float:
    """Seconds before the fence in which the job is warned: 1 s, or a tenth of a longer lease; half
    of a very short one."""
    return min(max(_WARN_SECONDS, _WARN_PART * lease), lease / 2)


class Fence:
    """What is known of the clock of one home. Seconds everywhere."""

    __slots__ = ("_before", "_began", "_lead", "_span", "asked_at")

    def __init__(self, lease: float) -> None:
        self._span = lease - margin_of(lease)
        self._lead: float | None = None
        """The worker's clock is at least so far before the home's: the best of this window, and of
        the one before."""
        self._before: float | None = None
        self._began = 0.0
        self.asked_at: float | None = None
        """When what is not answered yet was asked."""

    @property
    def is_known(self) -> bool:
        """Whether there was an answer: before that nothing can be fenced."""
        return self._lead is not None

    def answered(self, now: float, home: float) -> float:
        """The home has answered what was asked; returns when a lease is fenced that began then."""
        asked, self.asked_at = self.asked_at, None
        if asked is None:
            raise ValueError("an answer that nobody asked for")
        lead = asked - home
        best = self._best()
        if best is None or best > now - home:
            # The first one; or one of the clocks has stood still, and all that was known is wrong.
            self._lead, self._before, self._began = lead, None, now
        elif now - self._began >= WINDOW:
            self._before = self._lead if now - self._began < 2 * WINDOW else None
            self._lead, self._began = lead, now
        else:
            self._lead = lead if self._lead is None else max(self._lead, lead)
        return self.fence_at(now, home)

    def fence_at(self, now: float, home: float) -> float:
        """When a lease is fenced that began at ``home`` there, of which a message tells now."""
        best = self._best()
        if best is None:
            raise ValueError("the home's clock is not known yet")
        # It cannot have begun after its message came.
        return min(home + best, now) + self._span

    def _best(self) -> float | None:
        if self._lead is None or self._before is None:
            return self._lead
        return max(self._lead, self._before)
