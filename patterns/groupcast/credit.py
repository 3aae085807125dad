"""Credit: how much of one member's capacity each of its senders may use. Pure bookkeeping.

A member can hold ``capacity`` casts of one pool at once, running or waiting: a total over all its
senders. A sender may send as many as it was *granted* and no more, so the member never holds more.

Rules of the split:

* Who says that it has work (``wish`` > 0) holds at least one when the capacity allows that; what
  remains is divided by wish, nobody getting more than it wished for (max-min fair).
* With more senders than capacity, what becomes free goes to whoever has waited longest.
* What was granted is taken back only by being used or returned: a promise is never broken. When
  somebody who has work holds nothing, the others are asked for what they do not use.

Grants and returns are told as totals of a share, so a repeated message does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["CreditBook", "Share"]


class Share:
    """One sender's part. ``held`` is what it may still use and what it has here, unfinished."""

    __slots__ = ("carried", "granted", "is_recalled", "number", "returned", "settled", "wish")

    def __init__(self, number: int) -> None:
        self.number = number
        """No other share has it: a sender's totals are not mistaken for those of a new one."""
        self.granted = 0
        self.returned = 0
        self.settled = 0
        """Casts of this link epoch that are off our hands."""
        self.carried = 0
        """Casts of older epochs that still run."""
        self.wish = 0
        self.is_recalled = False
        """Whether the sender has been asked for what it does not use, and has not answered."""

    @property
    def held(self) -> int:
        return self.granted - self.returned - self.settled + self.carried


class CreditBook:
    """The shares of one pool at one member, by sender, who waited longest first.

    ``numbers`` gives each share its own, whatever pool it is of.
    """

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers
        self.shares: dict[Any, Share] = {}

    def want(self, sender: Any, wish: int) -> None:
        """``sender`` would have ``wish`` casts here; 0 ends its interest."""
        share = self.shares.get(sender)
        if share is None:
            if not wish:
                return
            share = self.shares[sender] = Share(next(self._numbers))
        share.wish = wish

    def give_back(self, sender: Any, number: int, total: int, wish: int, open_: int) -> bool:
        """So much of the grants of that share went unused so far; False when that cannot be.

        ``open_`` of its casts are here.
        """
        share = self.shares.get(sender)
        if share is None or share.number != number:
            return True
        if not share.returned <= total <= share.granted - share.settled - open_:
            return False
        share.returned = total
        share.wish = wish
        share.is_recalled = False
        return True

    def settle(self, sender: Any, is_of_this_epoch: bool, count: int = 1) -> None:
        """``count`` casts of that sender are off our hands."""
        share = self.shares.get(sender)
        if share is None:
            return
        if is_of_this_epoch:
            share.settled += count
        else:
            share.carried -= count

    def begin_epoch(self, sender: Any, carried: int) -> None:
        """Its link began anew: all grants are void, ``carried`` casts still run here."""
        share = self.shares.get(sender)
        if share is not None or carried:
            share = self.shares[sender] = Share(next(self._numbers))
            share.carried = carried

    def allocate(self, capacity: int) -> Iterator[tuple[Any, Share]]:
        """Hand out what is free; gives (sender, share) for each that gets some."""
        shares = self.shares
        active = []
        free = capacity
        for sender, share in list(shares.items()):
            held = share.held
            free -= held
            if share.wish:
                active.append((sender, share))
            elif not held:
                del shares[sender]
        if free <= 0 or not active:
            return
        for sender, share, level in _levels(active, capacity):
            more = min(level - share.held, free)
            if more > 0:
                free -= more
                share.granted += more
                share.is_recalled = False
                # To the end of the line: the others have waited longer now.
                shares[sender] = shares.pop(sender)
                yield sender, share

    def recall(self, is_unused: Callable[[Any, Share], bool]) -> Iterator[tuple[Any, Share]]:
        """Whom to ask for what they do not use: when somebody who has work holds nothing.

        ``is_unused`` says whether a sender holds more than is here.
        """
        shares = self.shares
        if all(share.held or not share.wish for share in shares.values()):
            return
        for sender, share in shares.items():
            if share.held > 0 and not share.is_recalled and is_unused(sender, share):
                share.is_recalled = True
                yield sender, share


def _levels(active: list[tuple[Any, Share]], capacity: int) -> Iterator[tuple[Any, Share, int]]:
    """What each may hold at most, in the order in which they are served."""
    if len(active) == 1:
        sender, share = active[0]
        yield sender, share, min(share.wish, capacity)
        return
    if len(active) > capacity:
        # One each, as far as it goes; who holds something already has had its turn.
        for sender, share in active:
            yield sender, share, 1
        return
    left, count = capacity, len(active)
    level_of: dict[Any, int] = {}
    for sender, share in sorted(active, key=lambda pair: pair[1].wish):
        level = level_of[sender] = min(share.wish, left // count)
        left -= level
        count -= 1
    # Who holds nothing comes first, so that nobody is left without while others get more.
    for sender, share in active:
        if not share.held:
            yield sender, share, 1
    for sender, share in active:
        yield sender, share, level_of[sender]
