"""Producers' ends hear what becomes of their jobs, for as long as somebody has them."""

from __future__ import annotations

from patterns.queues.handles import SPARE, Handles
from patterns.queues.outcome import Outcome


class End:
    def tell(self, outcome: Outcome) -> None:
        """Nothing is told here."""


def test_a_job_has_its_own_handle_or_that_of_its_batch() -> None:
    handles, one, many, other = Handles(), End(), End(), End()
    assert not handles
    handles.add(1, one)
    handles.add_batch(range(2, 5), many)
    handles.add_batch(range(7, 9), other)
    handles.add(3, one)
    found = [handles.of(number) for number in range(10)]
    assert found == [None, one, many, one, many, None, None, other, other, None]
    assert sorted(handles.among(range(10))) == [1, 2, 3, 4, 7, 8]
    assert handles.among([3, 5, 6]) == [3]
    assert handles.among([]) == []


def test_a_handle_that_nobody_has_hears_nothing_and_takes_no_room() -> None:
    handles, kept = Handles(), End()
    handles.add_batch(range(2), kept)
    for first in range(2, 10 * SPARE, 2):
        gone = End()
        handles.add_batch(range(first, first + 2), gone)
        handles.add(first + 1, gone)
        del gone
    assert list(handles.among(range(20 * SPARE))) == [0, 1]
    assert handles.of(2) is None
    assert len(handles._firsts) <= SPARE + 3
    handles.drop_batch(0)
    assert not handles
