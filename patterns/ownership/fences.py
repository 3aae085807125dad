"""Fencing tokens: numbers that a store compares to refuse an owner that is one no more.

A token is 64 bits: the wall clock in milliseconds, moved left, with 20 bits of the node's own
below. The next one is above all that this node has made or heard of, whatever its clock says, and
owners tell each other: a hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", OPODIS
2014). So a later owner that has heard of an earlier one is above it, always; one that has not,
because the earlier one died without a word, is above it unless its clock is behind.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["MAX_AHEAD_MS", "MAX_FENCE", "Fences"]

_OWN_BITS = 20
"""Two nodes that cannot hear each other do not make the same token but once in a million."""

MAX_FENCE = (1 << 62) - 1
"""The greatest that is believed: the wall clock of 2109."""

MAX_AHEAD_MS = 24 * 3600 * 1000
"""Ahead of this node's clock, what is believed: the clocks of honest nodes are less than a day
apart, and a liar must not use up the numbers."""


class Fences:
    """The tokens of one node. ``wall_ms()`` is the wall clock; ``salt`` is random and its own."""

    __slots__ = ("_salt", "_wall_ms", "highest")

    def __init__(self, wall_ms: Callable[[], int], salt: int) -> None:
        self._wall_ms = wall_ms
        self._salt = salt & ((1 << _OWN_BITS) - 1)
        self.highest = 0
        """Of all that were made here or heard of."""

    def mint(self) -> int:
        """A new one, above all before."""
        tick = max((self.highest >> _OWN_BITS) + 1, self._wall_ms())
        self.highest = tick << _OWN_BITS | self._salt
        return self.highest

    def heard(self, fence: int) -> bool:
        """Somebody has told of this one; False if it is not believed."""
        if fence > MAX_FENCE or (fence >> _OWN_BITS) - self._wall_ms() > MAX_AHEAD_MS:
            return False
        self.highest = max(self.highest, fence)
        return True
