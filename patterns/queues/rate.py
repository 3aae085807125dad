"""``Rate``: a token bucket, on any clock."""

from __future__ import annotations

from math import isfinite

from patterns.errors import ConfigError

__all__ = ["BURST_SECONDS", "Rate"]

BURST_SECONDS = 0.1
"""What an idle worker may catch up on: long enough for whole batches, too short to be felt where
the rate protects something."""


class Rate:
    """In any t seconds at most ``rate * t + burst`` may be spent.

    ``burst`` is what comes in a tenth of a second, and at least one. Raises ConfigError.
    """

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, now: float) -> None:
        if not (isfinite(rate) and rate > 0):
            raise ConfigError(f"rate={rate!r}: jobs in a second, more than 0")
        self.rate = rate
        self.burst = max(1.0, rate * BURST_SECONDS)
        self._tokens = self.burst
        self._at = now

    def tokens(self, now: float) -> float:
        """What may be spent now."""
        if now > self._at:
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
            self._at = now
        return self._tokens

    def spend(self, count: int, now: float) -> None:
        """So much less; who spends more than there is has to wait the longer."""
        self._tokens = self.tokens(now) - count

    def wait_for(self, tokens: float, now: float) -> float:
        """Seconds until there are so many, which is at most ``burst``."""
        return max(0.0, (tokens - self.tokens(now)) / self.rate)
