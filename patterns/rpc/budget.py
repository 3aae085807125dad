"""A budget for what is sent besides the calls that were asked for: retries, hedges.

What cures a single fault kills what is overloaded, so it may only ever be a share of the calls
that are made, and what is not used is kept for a time and no longer (Finagle's ``RetryBudget``; the
chapter on overload of Google's SRE book). A token bucket whose size follows the rate of calls.
"""

from __future__ import annotations

__all__ = ["Budget"]

_AT_LEAST = 0.1
"""Seconds between looks at how many calls were made: a rate over less says nothing."""


class Budget:
    """``share`` of the calls, and ``per_second`` whatever is called; kept for ``window`` seconds.

    ``floor`` is what it begins with, and may keep however little is called. So over any time no
    more is allowed than ``floor + per_second * seconds + share * calls``.
    """

    __slots__ = ("_calls", "_left", "_looked_at", "denied", "floor", "made", "per_second", "share",
                 "window")  # fmt: skip

    def __init__(
        self, now: float, *, share: float, per_second: float, window: float, floor: float
    ) -> None:
        self.share = share
        self.per_second = per_second
        self.window = window
        self.floor = floor
        self._left = floor
        self._looked_at = now
        self._calls = 0
        self.made = 0
        """What was allowed."""
        self.denied = 0
        """What was not."""

    def take(self, now: float, calls: int, *, is_free: bool = False) -> bool:
        """Whether one more is allowed, when ``calls`` calls have been made so far.

        One that ``is_free`` always is; it takes from what is left for the others.
        """
        self._earn(now, calls)
        if self._left < 1 and not is_free:
            self.denied += 1
            return False
        self._left = max(0.0, self._left - 1)
        self.made += 1
        return True

    def _earn(self, now: float, calls: int) -> None:
        seconds = now - self._looked_at
        if seconds < _AT_LEAST:
            return
        earned = self.per_second * seconds + self.share * (calls - self._calls)
        most = max(self.floor, earned / seconds * self.window)
        self._left = min(self._left + earned, most)
        self._looked_at, self._calls = now, calls
