"""Pings that users send: what they measure, and how they end when the peer or the link does."""

from __future__ import annotations

import pytest

from mesh.engine import control as c
from mesh.engine.pings import MAX_PINGS
from patterns.errors import NodeClosed, Overloaded, PeerLost, Timeout
from tests.sim import SimNode, Simulation
from tests.sim.simulation import JITTER, LATENCY


def pair(**settings: float) -> tuple[Simulation, SimNode, SimNode]:
    sim = Simulation(**settings)
    one, two = sim.meshed(2)
    sim.run(0.5)
    return sim, one, two


@pytest.mark.parametrize("latency", [LATENCY, 0.02])
def test_a_ping_takes_the_way_there_and_back(latency: float) -> None:
    sim, one, two = pair(latency=latency)
    seconds = sim.outcome(one.ping(two))
    assert 2 * latency * (1 - JITTER) <= seconds <= 2 * latency * (1 + JITTER) + 0.001


def test_a_ping_includes_the_time_for_which_its_python_was_busy() -> None:
    sim, one, two = pair()
    sim.block(two)
    answer = one.ping(two)
    sim.run(0.7)
    assert not answer.done()
    sim.unblock(two)
    assert 0.7 <= sim.outcome(answer) < 0.71


def test_a_node_can_ping_itself() -> None:
    sim, one, _ = pair()
    assert sim.outcome(one.ping(one)) < LATENCY


def test_a_ping_without_an_answer_ends_in_time_and_a_late_answer_is_nothing() -> None:
    sim, one, two = pair()
    sim.block(two)
    start = sim.now
    answer = one.ping(two, timeout=0.5)
    with pytest.raises(Timeout, match=r"no answer from n1/\w+ within 0\.5 s$"):
        sim.outcome(answer)
    assert answer.at == pytest.approx(start + 0.5)
    sim.unblock(two)
    sim.run(0.1)
    assert sim.outcome(one.ping(two)) < 0.01


def test_who_is_in_doubt_is_said_to_be() -> None:
    sim, one, two = pair()
    sim.block(two)
    sim.until(lambda: one.peers()[two.id] == "unresponsive", 6.0)
    with pytest.raises(Timeout, match="it is unresponsive"):
        sim.outcome(one.ping(two, timeout=1.0))


def test_a_peer_that_dies_or_leaves_meanwhile_is_lost_at_once() -> None:
    sim = Simulation()
    one, two, three = sim.meshed(3)
    sim.run(0.5)
    for node in (two, three):
        sim.block(node)
    answers = [one.ping(two, timeout=60), one.ping(three, timeout=60)]
    sim.run(0.1)
    sim.kill(two)
    sim.unblock(three)
    three.leave()
    sim.run(0.5)
    for answer, what in zip(answers, ("has failed", "has left"), strict=True):
        with pytest.raises(PeerLost, match=what):
            sim.outcome(answer)
    for gone in (two, three):
        with pytest.raises(PeerLost):
            sim.outcome(one.ping(gone))


def test_a_ping_is_lost_with_its_link_and_the_next_one_is_not() -> None:
    sim, one, two = pair()
    sim.block(two)
    answer = one.ping(two, timeout=1.0)
    sim.cut(two, one)
    sim.unblock(two)
    with pytest.raises(Timeout):
        sim.outcome(answer)
    sim.until(lambda: one.knows(two), 10)
    assert sim.outcome(one.ping(two)) < 0.01


def test_the_number_of_pings_on_their_way_is_bounded() -> None:
    sim, one, two = pair()
    answers = [one.ping(two) for _ in range(MAX_PINGS)]
    with pytest.raises(Overloaded):
        sim.outcome(one.ping(two))
    for answer in answers:
        assert sim.outcome(answer) < 0.01
    assert sim.outcome(one.ping(two)) < 0.01


def test_a_cancelled_ping_makes_room() -> None:
    sim, one, two = pair()
    sim.block(two)
    session = one.engine.session_of(two.id)
    numbers = [one.engine.pings.ping(session, 1e9, one.waiter()) for _ in range(MAX_PINGS)]
    one.engine.pings.cancel(numbers[3])
    answer = one.ping(two, timeout=60)
    sim.unblock(two)
    assert sim.outcome(answer) < 1.0


def test_pings_that_wait_end_with_their_node() -> None:
    sim, one, two = pair()
    sim.block(two)
    answer = one.ping(two)
    one.engine.close()
    with pytest.raises(NodeClosed):
        sim.outcome(answer)


def test_only_the_peer_that_was_asked_can_answer() -> None:
    sim = Simulation()
    one, two, three = sim.meshed(3)
    sim.block(two)
    answer = one.ping(two)
    session = three.engine.session_of(one.id)
    for number in (c.FIRST_PING, c.FIRST_PING + 1, 1, c.FIRST_QUESTION):
        session.control(c.PONG, number)
    three.engine.end_drain()
    sim.run(0.5)
    assert not answer.done()
    assert one.knows(three), "a stray answer harms nothing"
