"""Whom to dial and when to stop."""

from __future__ import annotations

import pytest

from mesh.engine.control import REFUSED_FULL, REFUSED_MESH
from mesh.engine.dialer import (
    ANSWER_TIMEOUT,
    DIALS_PER_SECOND,
    FULL_REST,
    MAX_ADDRESSES,
    REFUSED_REST,
    SHORTAGE_TOLD_EVERY,
    SLOWEST_PACE,
    STAGGER,
    Dialer,
)
from mesh.engine.targets import Why
from mesh.testing.clock import SimClock
from tests.unit.mesh.engine.harness import FakeTransport, make_core, run

ID = b"p" * 16
OTHER = b"q" * 16


class World:
    def __init__(self) -> None:
        self.clock: SimClock
        self.transport: FakeTransport
        self.core, self.clock, self.transport = make_core()
        self.linked: set[bytes] = set()
        self.dialer = Dialer(self.core, lambda id: id in self.linked)
        self.dialer.open(["me:1"], 2)

    @property
    def dialled(self) -> list[str]:
        return [dial.address for dial in self.transport.dials]

    def answer(self, id: bytes) -> None:
        """Whoever was dialled last answers with this id."""
        self.linked.add(id)
        self.dialer.answered(self.transport.dials[-1], id)


def test_a_hint_is_dialled_at_once_and_only_once() -> None:
    world = World()
    for _ in range(5):
        world.dialer.hint(ID, ["a:1"])
    assert world.dialled == ["a:1"]
    world.answer(ID)
    world.dialer.hint(ID, ["a:1", "b:1"])
    run(world.clock, 60)
    assert world.dialled == ["a:1"]
    assert world.transport.up == ["a:1"]


def test_own_id_and_own_address_are_not_dialled() -> None:
    world = World()
    world.dialer.hint(world.core.id, ["a:1"])
    world.dialer.hint(None, ["me:1"])
    world.dialer.hint(None, [])
    run(world.clock, 10)
    assert world.dialled == []


def test_addresses_are_dialled_one_after_the_other_each_for_its_time() -> None:
    world = World()
    world.dialer.hint(ID, ["a:1", "b:1", "c:1"])
    run(world.clock, STAGGER - 0.05)
    assert world.dialled == ["a:1"]
    run(world.clock, STAGGER)
    assert world.dialled == ["a:1", "b:1"]
    assert world.transport.up == ["a:1", "b:1"]
    run(world.clock, ANSWER_TIMEOUT - 2 * STAGGER + 0.1)
    assert world.dialled == ["a:1", "b:1", "c:1"]
    assert world.transport.up == ["b:1", "c:1"], "the first has had its time"


def test_the_first_that_answers_wins_and_the_others_are_hung_up() -> None:
    world = World()
    world.dialer.hint(ID, ["a:1", "b:1", "c:1"])
    run(world.clock, STAGGER + 0.05)
    world.answer(ID)
    run(world.clock, 60)
    assert world.dialled == ["a:1", "b:1"]
    assert world.transport.up == ["b:1"]


def test_the_address_that_answered_goes_first_the_next_time() -> None:
    world = World()
    world.dialer.hint(ID, ["a:1", "b:1"])
    run(world.clock, STAGGER + 0.05)
    world.answer(ID)
    world.linked.clear()
    world.dialer.forget_address("b:1")
    world.dialer.hint(ID, ["a:1", "b:1"], Why.REDIAL)
    run(world.clock, 1.0)
    assert world.dialled[2] == "b:1"


def test_an_address_that_is_heard_of_in_the_middle_of_a_round_is_dialled_in_it() -> None:
    world = World()
    world.dialer.hint(ID, ["a:1"])
    world.dialer.hint(ID, ["b:1"])
    run(world.clock, STAGGER + 0.05)
    assert world.dialled == ["a:1", "b:1"]


@pytest.mark.parametrize("how", ["hint", "hurry"])
def test_what_rests_is_dialled_at_once_when_it_was_heard_or_the_network_is_back(how: str) -> None:
    world = World()
    world.dialer.hint(ID, ["a:1"], Why.REDIAL)
    run(world.clock, 60)
    world.clock.call_later(0, lambda: None)
    while world.transport.up:
        run(world.clock, 0.1)
    count = len(world.dialled)
    if how == "hint":
        world.dialer.hint(ID, ["a:1"])
    else:
        world.dialer.hurry()
    assert len(world.dialled) == count + 1


def test_an_own_address_that_was_given_up_may_be_anothers() -> None:
    world = World()
    world.dialer.open(["moved:1"], 2)
    world.dialer.hint(None, ["moved:1"])
    world.dialer.hint(None, ["me:1"])
    run(world.clock, 0.1)
    assert world.dialled == ["me:1"]


def test_a_hint_is_given_up_after_some_attempts_and_followed_anew_later() -> None:
    world = World()
    known = world.dialer.known
    world.dialer.hint(ID, ["a:1"])
    assert world.dialer.known == known + 1
    run(world.clock, 120)
    attempts = len(world.dialled)
    assert 2 <= attempts <= 6
    assert world.dialer.known == known
    assert world.transport.up == []
    world.dialer.hint(ID, ["a:1"])
    assert len(world.dialled) == attempts + 1


def test_a_failed_member_is_redialled_for_hours_at_growing_intervals() -> None:
    world = World()
    world.dialer.hint(ID, ["a:1"], Why.REDIAL)
    run(world.clock, 0.4)
    assert world.dialled == [], "it rests first"
    run(world.clock, 0.2)
    assert world.dialled == ["a:1"]
    run(world.clock, 600)
    first = len(world.dialled)
    assert 600 / 6 < first < 600 / 2
    run(world.clock, 3600)
    assert 3600 / 15 < len(world.dialled) - first < 3600 / 10


def test_who_fails_while_its_renewal_is_under_way_is_redialled_for_hours_all_the_same() -> None:
    world = World()
    world.linked.add(ID)
    world.dialer.hint(ID, ["a:1"], Why.RENEWAL)
    world.linked.clear()
    world.dialer.hint(ID, ["a:1"], Why.REDIAL)
    run(world.clock, 3600)
    assert len(world.dialled) > 3600 / 15


def test_somebody_else_at_one_address_does_not_end_the_search_at_the_others() -> None:
    world = World()
    world.dialer.hint(ID, ["a:1", "b:1", "c:1"])
    run(world.clock, STAGGER + 0.05)
    world.answer(OTHER)
    run(world.clock, STAGGER)
    assert world.dialled == ["a:1", "b:1", "c:1"]
    assert world.transport.up == ["a:1", "b:1", "c:1"]
    world.answer(ID)
    assert world.transport.up == ["b:1", "c:1"]


def test_hints_with_ever_new_addresses_are_bounded_and_do_not_push_out_what_is_known() -> None:
    world = World()
    world.dialer.hint(ID, ["silent:1", "right:1"])
    for i in range(1000):
        world.dialer.hint(ID, [f"lie{i}:1"], Why.TOLD)
    run(world.clock, STAGGER + 0.05)
    assert world.dialled == ["silent:1", "right:1"]
    run(world.clock, 60)
    assert len(set(world.dialled)) <= MAX_ADDRESSES


def test_dials_are_paced() -> None:
    world = World()
    for i in range(1000):
        world.dialer.hint(i.to_bytes(16, "big") + b"", [f"a{i}:1"])
    run(world.clock, 1.0)
    assert abs(len(world.dialled) - DIALS_PER_SECOND) <= 2


def test_while_nobody_answers_dials_are_slower_and_who_answers_makes_them_fast_again() -> None:
    """Announcements may be forged, and each dial costs."""
    world = World()
    for number in range(2000):
        world.dialer.hint(number.to_bytes(16, "big"), [f"{number}:1"])
    run(world.clock, 10)
    before = len(world.dialled)
    run(world.clock, 10)
    assert 0.9 * SLOWEST_PACE <= (len(world.dialled) - before) / 10 <= 1.5 * SLOWEST_PACE
    for number in range(200):
        world.dialer.answered(world.transport.dials[-1], (10_000 + number).to_bytes(16, "big"))
    before = len(world.dialled)
    run(world.clock, 0.3)
    assert (len(world.dialled) - before) / 0.3 > 2 * SLOWEST_PACE


def test_who_was_dialled_in_vain_gives_way_to_who_comes_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or forged announcements would keep out every newcomer."""
    monkeypatch.setattr("mesh.engine.dialer.MAX_TARGETS", 10)
    world = World()
    for number in range(1000, 1010):
        world.dialer.hint(number.to_bytes(16, "big"), [f"{number}:1"])
    world.dialer.hint(OTHER, ["early:1"])
    assert world.core.counters["hints_dropped"] == 1, "nobody gives way who has not been tried"
    run(world.clock, ANSWER_TIMEOUT + 0.2)
    world.dialer.hint(ID, ["new:1"])
    run(world.clock, 0.2)
    assert "new:1" in world.dialled
    assert "early:1" not in world.dialled


def test_an_address_that_refused_rests_whatever_hints_say() -> None:
    world = World()
    world.dialer.hint(None, ["a:1"])
    world.dialer.refused(world.transport.dials[0], REFUSED_MESH, "another mesh")
    assert world.transport.up == []
    for _ in range(10):
        world.dialer.hint(None, ["a:1"])
        world.dialer.hint(ID, ["a:1"])
        run(world.clock, REFUSED_REST / 11)
    assert world.dialled == ["a:1"]
    assert world.dialer.refusals["a:1"][:2] == (REFUSED_MESH, "another mesh")
    run(world.clock, REFUSED_REST / 5)
    world.dialer.hint(None, ["a:1"])
    assert world.dialled == ["a:1", "a:1"]


def test_a_target_whose_address_refused_goes_on_to_its_next() -> None:
    world = World()
    world.dialer.hint(ID, ["a:1", "b:1"])
    world.dialer.refused(world.transport.dials[0], REFUSED_MESH, "no")
    run(world.clock, 0.1)
    assert world.dialled == ["a:1", "b:1"]


def test_an_address_of_a_linked_peer_is_not_dialled_for_another() -> None:
    world = World()
    world.dialer.hint(ID, ["a:1"])
    world.answer(ID)
    world.dialer.hint(None, ["a:1"])
    world.dialer.hint(OTHER, ["a:1"])
    run(world.clock, 60)
    assert world.dialled == ["a:1"]
    world.dialer.forget_address("a:1")
    world.dialer.hint(OTHER, ["a:1"])
    assert world.dialled == ["a:1", "a:1"]


def test_an_address_is_dialled_once_at_a_time() -> None:
    world = World()
    world.dialer.hint(None, ["a:1"])
    world.dialer.hint(ID, ["a:1"])
    run(world.clock, 1.0)
    assert world.dialled == ["a:1"]
    world.answer(ID)
    run(world.clock, 60)
    assert world.dialled == ["a:1"]


def test_an_address_that_is_our_own_is_remembered() -> None:
    world = World()
    world.dialer.hint(None, ["alias:1"])
    world.dialer.reached_self(world.transport.dials[0])
    world.dialer.hint(None, ["alias:1"])
    run(world.clock, 10)
    assert world.dialled == ["alias:1"]
    assert world.transport.up == []


def test_settled_means_answered_refused_or_silent_once() -> None:
    world = World()
    assert world.dialer.is_settled
    world.dialer.hint(ID, ["a:1"])
    assert not world.dialer.is_settled
    run(world.clock, ANSWER_TIMEOUT + 0.1)
    assert world.dialer.is_settled


def test_what_is_remembered_is_bounded() -> None:
    world = World()
    for i in range(10_000):
        world.dialer.hint(i.to_bytes(16, "big"), [f"a{i}:1"])
    assert world.dialer.known <= 4096 + 1, "targets, and ourselves"
    assert world.core.counters["hints_dropped"] > 0


def test_after_close_nothing_is_dialled_and_nothing_is_up() -> None:
    world = World()
    world.dialer.hint(ID, ["a:1"])
    world.dialer.close()
    world.dialer.hint(OTHER, ["b:1"])
    run(world.clock, 60)
    assert world.dialled == ["a:1"]
    assert world.transport.up == []


def test_who_has_no_room_is_dialled_again_sooner_than_who_refuses() -> None:
    world = World()
    world.dialer.hint(None, ["a:1"])
    world.dialer.refused(world.transport.dials[-1], REFUSED_FULL, "no descriptors")
    world.dialer.hint(None, ["a:1"])
    run(world.clock, FULL_REST - 0.1)
    world.dialer.hint(None, ["a:1"])
    assert world.dialled == ["a:1"]
    run(world.clock, 0.2)
    world.dialer.hint(None, ["a:1"])
    assert world.dialled == ["a:1", "a:1"]


def test_who_dials_us_has_room_again_and_is_dialled_at_once() -> None:
    world = World()
    world.dialer.hint(ID, ["a:1"])
    world.dialer.refused(world.transport.dials[-1], REFUSED_FULL, "no descriptors")
    run(world.clock, 0.1)
    world.dialer.hint(ID, ["a:1"])
    run(world.clock, 0.1)
    assert world.dialled == ["a:1"], "it rests"
    world.dialer.invited(["a:1"])
    world.dialer.hint(ID, ["a:1"])
    assert world.dialled == ["a:1", "a:1"]


def test_without_room_nothing_is_dialled_and_that_is_told_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    world.transport.lacking = "too few descriptors"
    for number in range(50):
        world.dialer.hint(None, [f"a:{number + 1}"])
    run(world.clock, 2.0)
    assert world.dialled == []
    assert world.core.counters["dials_failed"] >= 50
    (told,) = caplog.messages
    assert "too few descriptors" in told
    run(world.clock, SHORTAGE_TOLD_EVERY)
    world.dialer.hint(None, ["b:1"])
    run(world.clock, 1.0)
    assert len(caplog.messages) == 2


def test_what_could_not_be_dialled_for_want_of_room_is_dialled_when_there_is_some() -> None:
    world = World()
    world.transport.lacking = "too few descriptors"
    world.dialer.hint(ID, ["a:1"])
    assert not world.dialer.is_dialling(ID)
    world.transport.lacking = None
    run(world.clock, 2.0)
    assert world.dialled == ["a:1"]
    assert world.dialer.is_dialling(ID)
