"""What is in flight to one member, by number.

Nearly all casts have neither key nor caller. They are kept as they were sent, in *runs* of bare
entries: what is handled leaves in slices, not one by one, and a garbage collector has nothing to
walk. The others are ``Cast`` objects in a dictionary.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patterns.groupcast.accounts import Account, Cast

__all__ = ["Flight", "Run"]

RUN_ENTRIES = 1024
"""Entries in a run: one that is never handled keeps a list of this size, and no more."""


class Run:
    """Entries of one account with consecutive numbers; None where one has landed."""

    __slots__ = ("account", "entries", "first", "left")

    def __init__(self, first: int, entries: list[bytes | None], account: Account) -> None:
        self.first = first
        self.entries = entries
        self.account = account
        self.left = len(entries)

    @property
    def end(self) -> int:
        """The number after the last."""
        return self.first + len(self.entries)

    def cut(self, start: int, end: int) -> list[bytes]:
        """Take out those of these numbers that are left."""
        entries = self.entries
        i, j = max(start - self.first, 0), min(end - self.first, len(entries))
        cut = [entry for entry in entries[i:j] if entry is not None]
        if i == 0:
            del entries[:j]
            self.first += j
        else:
            entries[i:j] = [None] * (j - i)
        self.left -= len(cut)
        self.account.in_flight -= len(cut)
        return cut


class Flight:
    """Runs in order of their numbers, and casts by number."""

    __slots__ = ("casts", "runs")

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.casts: dict[int, Cast] = {}

    def __bool__(self) -> bool:
        return bool(self.runs or self.casts)

    def add(self, first: int, entries: list[bytes], account: Account) -> None:
        """Plain ones, the first of them with that number; above all that were added before."""
        last = self.runs[-1] if self.runs else None
        if (
            last is not None
            and last.account is account
            and last.end == first
            and len(last.entries) < RUN_ENTRIES
        ):
            last.entries += entries
            last.left += len(entries)
        else:
            self.runs.append(Run(first, list(entries), account))

    def land(self, first: int, count: int) -> tuple[list[tuple[Account, list[bytes]]], list[Cast]]:
        """Take out all of these numbers; their accounts have less in flight."""
        end = first + count
        plain: list[tuple[Account, list[bytes]]] = []
        runs = self.runs
        index = max(bisect_right(runs, first, key=_first_of) - 1, 0)
        while index < len(runs) and runs[index].first < end:
            run = runs[index]
            entries = run.cut(first, end) if run.end > first else []
            if entries:
                plain.append((run.account, entries))
            if run.left:
                index += 1
            else:
                del runs[index]
        return plain, self._land_casts(first, end) if self.casts else []

    def _land_casts(self, first: int, end: int) -> list[Cast]:
        casts = self.casts
        if len(casts) < end - first:
            numbers = [number for number in casts if first <= number < end]
        else:
            numbers = [number for number in range(first, end) if number in casts]
        landed = [casts.pop(number) for number in numbers]
        for cast in landed:
            if cast.account is not None:
                cast.account.in_flight -= 1
        return landed

    def __len__(self) -> int:
        return sum(run.left for run in self.runs) + len(self.casts)

    def numbers(self) -> Iterator[int]:
        """Of all, in no order."""
        for run in self.runs:
            for number, entry in enumerate(run.entries, run.first):
                if entry is not None:
                    yield number
        yield from self.casts


def _first_of(run: Run) -> int:
    return run.first
