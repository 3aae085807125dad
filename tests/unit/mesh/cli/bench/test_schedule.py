"""When each is due, on virtual time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.cli.bench.core.schedule import SECOND, Plan, Schedule

BEGAN = 7 * SECOND


def taken(schedule: Schedule, every: int, began: int = BEGAN) -> list[tuple[int, int]]:
    """(now, due) of somebody who asks again ``every`` ns after it was due, or after now if late."""
    found, now = [], began
    while (due := schedule.take(now)) is not None:
        found.append((now, due))
        now = max(now, due) + every
    return found


def test_without_a_rate_each_is_due_when_it_is_asked_for() -> None:
    schedule = Schedule(BEGAN, rate=None, seconds=1, count=None)
    found = taken(schedule, SECOND // 10)
    assert [due for _, due in found] == [now for now, _ in found]
    assert len(found) == schedule.taken == 10
    assert schedule.missed(BEGAN + 9 * SECOND) == 0
    assert not schedule.is_paced


@given(st.floats(0.1, 1e6), st.integers(1, 300))
def test_at_a_rate_they_are_due_at_equal_distances(rate: float, count: int) -> None:
    found = taken(Schedule(BEGAN, rate=rate, seconds=None, count=count), 0)
    dues = [due for _, due in found]
    assert len(dues) == count
    assert dues[0] == BEGAN
    assert dues[-1] - BEGAN == pytest.approx((count - 1) * SECOND / rate, abs=1)
    assert all(0 <= one <= other for one, other in pairwise(dues))


def test_who_stands_still_is_late_for_all_that_was_due_meanwhile() -> None:
    """The law against coordinated omission: a pause does not move what is due after it."""
    schedule = Schedule(BEGAN, rate=1000, seconds=None, count=1000)
    assert schedule.take(BEGAN) == BEGAN
    awake = BEGAN + SECOND // 2
    dues = [schedule.take(awake) for _ in range(500)]
    assert dues == [BEGAN + number * SECOND // 1000 for number in range(1, 501)]


def test_a_rate_that_is_too_high_ends_in_time_and_tells_what_was_not_begun() -> None:
    schedule = Schedule(BEGAN, rate=1000, seconds=2, count=None)
    found = taken(schedule, SECOND // 100)  # a hundred a second are possible
    assert len(found) == pytest.approx(200, abs=1)
    assert all(now < BEGAN + 2 * SECOND for now, _ in found)
    assert schedule.missed(BEGAN + 60 * SECOND) == 2000 - len(found)


def test_a_rate_that_is_held_leaves_nothing() -> None:
    schedule = Schedule(BEGAN, rate=1000, seconds=2, count=None)
    assert len(taken(schedule, 1)) == 2000
    assert schedule.missed(BEGAN + 60 * SECOND) == 0


def test_what_is_interrupted_counts_as_missed_up_to_then() -> None:
    schedule = Schedule(BEGAN, rate=100, seconds=60, count=1000)
    for _ in range(10):
        schedule.take(BEGAN)
    assert schedule.missed(BEGAN - 1) == 0
    assert schedule.missed(BEGAN + SECOND) == 101 - 10
    assert schedule.missed(BEGAN + 60 * SECOND) == 1000 - 10


@pytest.mark.parametrize("rate", [None, 10.0])
def test_the_earlier_of_count_and_seconds_ends_it(rate: float | None) -> None:
    def number(seconds: float, count: int) -> int:
        schedule = Schedule(BEGAN, rate=rate, seconds=seconds, count=count)
        return len(taken(schedule, SECOND // 10))

    assert number(1, 1000) == pytest.approx(10, abs=1)
    assert number(1000, 3) == 3


def test_the_defaults_of_a_plan() -> None:
    assert Plan.of(None, None, None, None) == Plan(None, 5.0, None, 1.0)
    assert Plan.of(None, None, 10, None) == Plan(None, None, 10, 0.0)
    assert Plan.of(5, 2, 10, 0.5) == Plan(5, 2, 10, 0.5)
    schedule = Plan.of(5, 2, 10, 0.5).warm_up_schedule(BEGAN)
    assert len(taken(schedule, 0)) == 3, "half a second of the same rate, however many"
