"""The turn: what is sent in one goes out at its end, each destination once."""

from __future__ import annotations

import pytest

from mesh.engine.core import Core
from tests.unit.mesh.engine.harness import make_core, run


class Item:
    def __init__(self, core: Core, log: list[str], name: str, fails: bool = False) -> None:
        self.core = core
        self.is_dirty = False
        self.log = log
        self.name = name
        self.fails = fails

    def send(self) -> None:
        if not self.is_dirty:
            self.core.mark(self)

    def send_soonest(self) -> None:
        if not self.is_dirty:
            self.core.flush_soonest(self)

    def flush(self) -> None:
        self.log.append(self.name)
        if self.fails:
            raise RuntimeError("no")


def test_a_turn_flushes_each_destination_once_at_its_end_in_order() -> None:
    core, clock, _ = make_core()
    log: list[str] = []
    a, b = Item(core, log, "a"), Item(core, log, "b")
    for item in (a, b, a, b, a):
        item.send()
    assert log == []
    run(clock, 0)
    assert log == ["a", "b"]
    a.send()
    run(clock, 0)
    assert log == ["a", "b", "a"]


def test_the_first_urgent_one_of_a_turn_goes_now_and_those_after_it_at_the_end() -> None:
    core, clock, _ = make_core()
    log: list[str] = []
    item = Item(core, log, "x")
    for _ in range(5):
        item.send_soonest()
    assert log == ["x"]
    run(clock, 0)
    assert log == ["x", "x"]


def test_what_a_drain_causes_leaves_at_its_end() -> None:
    core, clock, _ = make_core()
    log: list[str] = []
    item = Item(core, log, "x")
    core.begin_drain()
    item.send_soonest()
    item.send()
    assert log == []
    core.flush()
    assert log == ["x"]
    run(clock, 0)
    assert log == ["x"]


def test_what_is_sent_while_flushing_leaves_too() -> None:
    core, clock, _ = make_core()
    log: list[str] = []

    class Relay(Item):
        def flush(self) -> None:
            super().flush()
            if len(log) < 5:
                self.send()

    Relay(core, log, "x").send()
    run(clock, 0)
    assert log == ["x"] * 5


def test_one_destination_that_fails_keeps_no_other_from_being_sent_to() -> None:
    core, clock, _ = make_core()
    log: list[str] = []
    good, bad, last = Item(core, log, "good"), Item(core, log, "bad", True), Item(core, log, "last")
    for item in (good, bad, last):
        item.send()
    with pytest.raises(RuntimeError):
        run(clock, 0)
    run(clock, 1)
    for item in (good, last):
        item.send()
    run(clock, 1)
    assert log.count("last") == 2
