"""Deadlines: each key once, never early, at most a tick late, whatever is added and discarded."""

from __future__ import annotations

from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.testing.clock import SimClock
from patterns.deadlines import TICK, Deadlines

EPSILON = 1e-9


class Watched:
    """Deadlines on virtual time, and when each key expired."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.expired: list[tuple[Hashable, float]] = []
        self.deadlines = Deadlines(self.clock.now, self.clock.call_later, self.note)

    def note(self, key: Hashable) -> None:
        self.expired.append((key, self.clock.now()))

    def run(self, seconds: float) -> None:
        until = self.clock.now() + seconds
        while self.clock.step(until):
            pass


moments = st.one_of(
    st.floats(0, 5, allow_nan=False),
    st.integers(0, 500).map(lambda i: i * TICK),
    st.integers(0, 500).map(lambda i: i * TICK - 0.005),
)


@given(
    st.lists(st.tuples(st.floats(0, 0.5), moments, st.booleans()), max_size=30),
    st.floats(0, 1e6),
)
def test_each_key_expires_once_never_early_and_at_most_a_tick_late(
    adds: list[tuple[float, float, bool]], start: float
) -> None:
    watched = Watched()
    watched.run(start)
    due: dict[int, float] = {}
    for key, (pause, after, is_discarded) in enumerate(adds):
        watched.run(pause)
        at = watched.clock.now() + after
        tick = watched.deadlines.add(key, at)
        if is_discarded:
            watched.deadlines.discard(key, tick)
        else:
            due[key] = at
    watched.run(10)
    assert sorted(number for number, _ in watched.expired) == sorted(due)  # type: ignore[type-var]
    for number, when in watched.expired:
        at = due[number]  # type: ignore[index]
        assert at - EPSILON <= when <= at + TICK + EPSILON


@pytest.mark.parametrize("tick", range(1, 300))
def test_a_tick_that_floats_cannot_hold_expires_all_the_same(tick: int) -> None:
    watched = Watched()
    watched.deadlines.add("key", tick * TICK - 0.005)
    watched.run(5)
    assert [key for key, _ in watched.expired] == ["key"]


def test_a_nearer_deadline_that_is_added_later_is_not_late() -> None:
    watched = Watched()
    watched.deadlines.add("far", 4.0)
    watched.deadlines.add("near", 0.5)
    watched.run(0.5 + 2 * TICK)
    assert [key for key, _ in watched.expired] == ["near"]


def test_what_is_added_while_another_expires_expires_too() -> None:
    watched = Watched()

    def expire(key: Hashable) -> None:
        watched.note(key)
        if len(watched.expired) < 5:
            deadlines.add(len(watched.expired), watched.clock.now() + 0.1)

    deadlines = Deadlines(watched.clock.now, watched.clock.call_later, expire)
    deadlines.add(0, 0.1)
    watched.run(2)
    assert [key for key, _ in watched.expired] == [0, 1, 2, 3, 4]


def test_the_clock_is_left_alone_while_nothing_waits() -> None:
    watched = Watched()
    tick = watched.deadlines.add("key", 1.0)
    watched.deadlines.discard("key", tick)
    watched.run(2.0)
    assert not watched.clock.step(1e9), "no timer is left"


def test_nothing_expires_after_close() -> None:
    watched = Watched()
    watched.deadlines.add("key", 0.1)
    watched.deadlines.close()
    watched.run(1)
    assert watched.expired == []
