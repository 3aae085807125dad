"""A peer that was frozen or cut off: what it missed meanwhile is told when it is back, exactly."""

from __future__ import annotations

import pytest

from mesh.engine import events as e
from mesh.engine.absent import COUNTED_FOR, MAX_ABSENT
from tests.sim import SimNode, Simulation
from tests.sim.test_delivery import pair


def gaps(node: SimNode, of: SimNode) -> list[int | None]:
    return [x.missed for x in node.saw(e.Gap, of) if isinstance(x, e.Gap)]


def publish_for(sim: Simulation, node: SimNode, seconds: float, first: int, step: float) -> int:
    """Numbered messages from ``first`` on; returns the next number."""
    end = sim.now + seconds
    while sim.now < end:
        node.publish("n", first)
        first += 1
        sim.run(step)
    return first


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("seconds", [1.0, 5.0, 30.0, 200.0])
def test_one_that_was_frozen_is_told_exactly_what_it_missed(seed: int, seconds: float) -> None:
    sim, one, two = pair(seed)
    heard = two.hear("n")
    counting = two.subscribe("n")
    sim.outcome(two.confirm())
    step = 0.01 if seconds < 100 else 0.1
    sent = publish_for(sim, one, 0.5, 0, step)
    sim.freeze(two)
    sent = publish_for(sim, one, seconds, sent, step)
    assert bool(one.saw(e.PeerFailed, two)) == (seconds > 8.0)
    sim.thaw(two)
    sent = publish_for(sim, one, 10.0, sent, step)
    assert one.knows(two)
    one.publish("n", sent)
    sim.run(0.1)
    numbers = [m.data for m in heard]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == sent
    missed = gaps(two, one)
    assert None not in missed, "it never took the publisher for dead"
    assert len(numbers) + sum(missed) == sent + 1
    assert one.engine.counters.get("dropped_for_slow_peers", 0) == counting.lost <= sum(missed)
    if seconds > 8.0:
        assert one.engine.counters["dropped_for_slow_peers"] > (seconds - 8.0) / step


@pytest.mark.parametrize("seed", range(5))
def test_after_a_partition_the_unknown_gap_is_settled_on_both_sides(seed: int) -> None:
    sim, one, two = pair(seed)
    heard = {node: node.hear("n", echo=False) for node in (one, two)}
    for node in (one, two):
        sim.outcome(node.confirm())
    sent = 0

    def both(seconds: float) -> None:
        nonlocal sent
        end = sim.now + seconds
        while sim.now < end:
            one.publish("n", sent)
            two.publish("n", sent)
            sent += 1
            sim.run(0.01)

    both(0.5)
    sim.partition([one], [two])
    both(20.0)
    sim.heal()
    both(15.0)
    for here, there in ((one, two), (two, one)):
        assert here.knows(there)
        numbers = [m.data for m in heard[here]]
        assert numbers == sorted(set(numbers))
        unknown, *settled = gaps(here, there)
        assert unknown is None
        assert len(numbers) + sum(gap or 0 for gap in settled) == sent
        assert None not in settled


def test_who_missed_nothing_while_it_counted_as_failed_is_told_that() -> None:
    sim, one, two = pair()
    two.hear("n")
    sim.outcome(two.confirm())
    one.publish("n", 1)
    sim.run(0.1)
    sim.partition([one], [two])
    sim.run(20.0)
    sim.heal()
    sim.run(15.0)
    assert two.knows(one)
    assert gaps(two, one) == [None, 0]
    assert two.engine.counters.get("messages_missed") is None


def test_what_does_not_match_its_interest_is_not_missed() -> None:
    sim, one, two = pair()
    two.hear("n.*")
    two.join("g")
    of_group = two.member("g")
    sim.outcome(two.confirm())
    one.publish("n.1", 1)
    sim.run(0.1)
    sim.freeze(two)
    sim.run(10.0)
    assert one.saw(e.PeerFailed, two)
    for _ in range(5):
        assert one.publish("n.1") == 0
        one.publish("m")
        one.engine.broadcast("g", None, None)
        one.engine.broadcast("h", None, None)
    sim.thaw(two)
    sim.run(10.0)
    assert gaps(two, one) == [10]
    assert of_group.missed == 5


def test_after_too_long_an_absence_the_gap_is_unknown() -> None:
    sim, one, two = pair()
    two.hear("n")
    sim.outcome(two.confirm())
    one.publish("n", 1)
    sim.run(0.1)
    sim.freeze(two)
    sim.run(COUNTED_FOR + 10.0)
    for number in range(5):
        one.publish("n", number)
    assert not one.engine.absent.nodes
    sim.thaw(two)
    sim.until(lambda: one.knows(two), 20.0)
    assert gaps(two, one) == [None]
    two.publish("n")
    one.publish("n", 7)
    sim.run(0.1)
    assert gaps(two, one) == [None], "from here on it is known again"


def test_for_one_that_is_proven_dead_nobody_counts() -> None:
    sim, one, two = pair()
    two.hear("n")
    sim.outcome(two.confirm())
    sim.kill(two)
    sim.until(lambda: bool(one.saw(e.PeerFailed, two)), 10.0)
    assert not one.engine.absent.nodes


def test_the_number_of_those_that_are_counted_for_is_bounded() -> None:
    sim, one, two = pair()
    two.hear("n")
    sim.outcome(two.confirm())
    sim.freeze(two)
    sim.until(lambda: bool(one.saw(e.PeerFailed, two)), 10.0)
    absent = one.engine.absent
    first = next(iter(absent.nodes))
    first.record = two.engine._core.record  # type: ignore[assignment]
    for _ in range(MAX_ABSENT):
        other = type(first)(first.core, sim.random.randbytes(16))
        other.record = type("Record", (), {"interest": {"n": None}})()
        absent.add(other, may_return=True)
    assert len(absent.nodes) == MAX_ABSENT
    assert first.is_uncounted
    assert first not in absent.nodes


@pytest.mark.parametrize("leaves", [False, True])
def test_what_is_kept_of_those_who_ended_is_given_up_with_the_last_memory_of_them(
    monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    monkeypatch.setattr("mesh.membership.table.MAX_ENDED", 3)
    sim = Simulation(0)
    (one,) = sim.meshed(1)
    for _ in range(12):
        two = sim.node(seeds=[one])
        sim.run(1.0)
        assert two.id in one.peers()
        if leaves:
            two.leave()
        else:
            sim.kill(two)
        sim.run(1.0)
    engine = one.engine
    assert len(engine._core.sessions) <= 4
    assert len(engine._work.receiver._sources) <= 5
    three = sim.node(seeds=[one])
    sim.run(1.0)
    assert three.id in one.peers()


def test_what_is_kept_of_those_who_never_joined_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mesh.engine.link_plane.MAX_UNJOINED", 3)
    sim = Simulation(0)
    (one,) = sim.meshed(1)
    sessions = one.engine._core.sessions
    most = 0
    for number in range(60):
        two = sim.node(seeds=[one])
        sim.run(number / 10_000)
        sim.kill(two)
        sim.run(20.0)
        unjoined = [session for session in sessions.values() if session.member is None]
        most = max(most, len(unjoined))
        for session in unjoined:  # as if it had come to that before it was killed
            one.engine._work.sender.on_held(session, 1, 0, [], [])
        remembered = {one.engine._local, *sessions.values()}
        assert remembered.issuperset(one.engine._work.sender._demand.eras)
    assert most == 3, "some were killed before they had joined"
