"""``Handles``: producers' ends of jobs, which hear what becomes of these while somebody has them.

That costs less than a watch, and nothing for a job whose producer does not want to know. Jobs that
were put together have one handle together.

Surprise: a handle may be let go of in any thread, at any time. So what that changes are dicts, by
one step each; the list of the batches is tidied up later, on the home's thread.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from typing import Protocol
from weakref import ref

from patterns.queues.outcome import Outcome

__all__ = ["Follower", "Handle", "Handles"]

SPARE = 64
"""Batches that nobody has any more whose first numbers are kept at least until they are tidied
up; and so with followers of a job."""


class Handle(Protocol):
    """A producer's end of one job, or of several. Others have it by a weak reference."""

    def tell(self, outcome: Outcome) -> object:
        """Something has become of it."""


class Follower:
    """Tells a handle, as a watcher of its job, for as long as somebody has the handle."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = ref(handle)

    @property
    def is_over(self) -> bool:
        """Whether nobody has it any more."""
        return self._handle() is None

    def __call__(self, outcome: Outcome) -> None:
        handle = self._handle()
        if handle is not None:
            handle.tell(outcome)


class _Ref(ref[Handle]):
    """``number`` is that of the job, or of the first of ``count``."""

    __slots__ = ("count", "number")
    number: int
    count: int


class Handles:
    """Of one home's jobs, by their numbers."""

    def __init__(self) -> None:
        self._single: dict[int, _Ref] = {}
        self._batches: dict[int, _Ref] = {}
        """By the first number of each."""
        self._firsts: list[int] = []
        """Their first numbers, in order; also of some that are gone."""
        self._single_gone = lambda gone: self._single.pop(gone.number, None)
        self._batch_gone = lambda gone: self._batches.pop(gone.number, None)

    def __bool__(self) -> bool:
        return bool(self._single or self._batches)

    def add(self, number: int, handle: Handle) -> None:
        """Of one job, instead of the batch that it is in."""
        added = self._single[number] = _Ref(handle, self._single_gone)
        added.number = number

    def add_batch(self, numbers: range, handle: Handle) -> None:
        """Of jobs whose numbers follow each other."""
        if len(self._firsts) > 2 * len(self._batches) + SPARE:
            self._firsts = sorted(self._batches.copy())
        insort(self._firsts, numbers.start)
        added = _Ref(handle, self._batch_gone)
        added.number, added.count = numbers.start, len(numbers)
        self._batches[numbers.start] = added

    def drop_batch(self, first: int) -> None:
        """It does not want to know any more."""
        self._batches.pop(first, None)

    def among(self, numbers: Sequence[int]) -> list[int]:
        """Those of these, which are in order, that somebody waits for."""
        single = self._single
        found = [number for number in numbers if number in single] if single else []
        if self._batches and numbers:
            at = bisect_right(self._firsts, numbers[0])
            end = bisect_right(self._firsts, numbers[-1], lo=at)
            for first in self._firsts[max(0, at - 1) : end]:
                batch = self._batches.get(first)
                if batch is not None:
                    behind = first + batch.count
                    found += [n for n in numbers if first <= n < behind and n not in single]
        return found

    def of(self, number: int) -> Handle | None:
        """Who waits for a job."""
        known = self._single.get(number)
        if known is not None:
            return known()
        at = bisect_right(self._firsts, number)
        batch = self._batches.get(self._firsts[at - 1]) if at else None
        return None if batch is None or number >= batch.number + batch.count else batch()
