"""Waits: each ends once, by its condition or by its deadline."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.engine.waits import NOT_YET, Waits
from mesh.testing.clock import SimClock
from tests.sim.waiter import SimWaiter
from tests.unit.mesh.engine.harness import run


class World:
    def __init__(self) -> None:
        self.clock = SimClock()
        self.waits = Waits(self.clock)
        self.value: Any = NOT_YET
        self.asked = 0

    def check(self) -> Any:
        self.asked += 1
        return self.value

    def wait(self, timeout: float = 1.0, outcome: Any = "late") -> SimWaiter:
        waiter = SimWaiter(self.clock.now)
        self.waits.add(self.check, waiter, timeout, lambda: outcome)
        return waiter


def test_what_holds_already_ends_the_wait_at_once() -> None:
    world = World()
    world.value = 5
    assert world.wait().result() == 5
    assert not world.clock.step(100.0), "no timer is left"


@pytest.mark.parametrize("value", [5, None, [], False])
def test_a_change_ends_the_wait_at_the_end_of_the_turn(value: Any) -> None:
    world = World()
    waiter = world.wait()
    world.value = value
    world.waits.poke()
    assert not waiter.done()
    run(world.clock, 0)
    assert waiter.result() == value
    run(world.clock, 10)


def test_many_changes_of_one_turn_ask_once() -> None:
    world = World()
    world.wait()
    asked = world.asked
    for _ in range(100):
        world.waits.poke()
    run(world.clock, 0)
    assert world.asked == asked + 1


def test_the_deadline_gives_its_result_or_its_error() -> None:
    world = World()
    late, failed = world.wait(0.5), world.wait(0.5, KeyError("x"))
    run(world.clock, 0.4)
    assert not late.done()
    run(world.clock, 0.2)
    assert late.result() == "late"
    assert isinstance(failed.error, KeyError)
    assert late.at == 0.5


def test_what_holds_at_the_deadline_wins_over_it() -> None:
    world = World()
    waiter = world.wait(0.5)
    world.value = "just in time"
    run(world.clock, 1)
    assert waiter.result() == "just in time"


def test_a_deadline_in_the_past_ends_the_wait_in_the_next_turn() -> None:
    world = World()
    waiter = world.wait(-5.0)
    run(world.clock, 0)
    assert waiter.result() == "late"


def test_a_wait_whose_owner_gave_up_is_let_go() -> None:
    world = World()
    waiter = world.wait()
    waiter.is_cancelled = True
    world.value = 5
    world.waits.poke()
    run(world.clock, 10)
    assert waiter.at is None


def test_closing_fails_what_is_left() -> None:
    world = World()
    waiter = world.wait()
    world.waits.close(KeyError("closed"))
    assert isinstance(waiter.error, KeyError)
    run(world.clock, 10)
