"""Casts in line. Those whose callers gave up stay a while, so that giving up costs next to nothing
wherever in the line they are."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patterns.groupcast.accounts import Cast

__all__ = ["Waitlist"]

MIN_DEAD = 64
"""Given up casts that may stay; beyond, no more than there are others."""


class Waitlist:
    """In order of ``append``; what comes back goes to the front. True when one waits."""

    __slots__ = ("_casts", "_dead")

    def __init__(self) -> None:
        self._casts: deque[Cast] = deque()
        self._dead = 0
        """How many of them are over."""

    def __bool__(self) -> bool:
        return self.head() is not None

    def __len__(self) -> int:
        return len(self._casts) - self._dead

    def __iter__(self) -> Iterator[Cast]:
        return (cast for cast in self._casts if not cast.is_given_up)

    def append(self, cast: Cast) -> None:
        self._casts.append(cast)
        cast.waits_in = self

    def put_back(self, casts: Iterable[Cast]) -> None:
        """To the front, in this order."""
        for cast in reversed(list(casts)):
            self._casts.appendleft(cast)
            cast.waits_in = self

    def insert(self, cast: Cast) -> None:
        """To its place in the order of acceptance, which is that of all others here."""
        insort(self._casts, cast, key=_seq)
        cast.waits_in = self

    def head(self) -> Cast | None:
        """The first whose caller has not given up."""
        casts = self._casts
        while casts:
            cast = casts[0]
            if not cast.is_given_up:
                return cast
            casts.popleft()
            cast.waits_in = None
            self._dead -= cast.is_over
        return None

    def pop(self) -> Cast | None:
        """Take the head."""
        cast = self.head()
        if cast is not None:
            self._casts.popleft()
            cast.waits_in = None
        return cast

    def note_over(self, cast: Cast) -> None:
        """One in it is over now."""
        if cast.waits_in is not self:
            return
        self._dead += 1
        if self._dead > MIN_DEAD and 2 * self._dead > len(self._casts):
            for dead in self._casts:
                if dead.is_given_up:
                    dead.waits_in = None
            self._casts = deque(self)
            self._dead = 0


def _seq(cast: Cast) -> int:
    return cast.seq
