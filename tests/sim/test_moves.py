"""Nodes whose addresses change while they run, on virtual time."""

from __future__ import annotations

import pytest

from mesh.engine import events as e
from mesh.engine.dialer import STAGGER
from tests.sim import SimNode, Simulation
from tests.sim.simulation import LINK_PORT, all_know_all

ELSEWHERE = "10.99.0.1"


def moving(count: int = 3) -> tuple[Simulation, SimNode, list[SimNode]]:
    """A node that also listens elsewhere, and does not say so yet; and others."""
    sim = Simulation()
    mover = sim.node("mover", aliases=(ELSEWHERE,))
    home = mover.address
    mover.engine.moves.readdress([home])
    others = [sim.node(f"n{i}", seeds=[mover]) for i in range(count)]
    sim.until(lambda: all_know_all([mover, *others]), 5.0)
    sim.run(1.0)
    return sim, mover, others


def move(mover: SimNode) -> str:
    there = f"{ELSEWHERE}:{LINK_PORT}"
    mover.engine.moves.readdress([there])
    mover.engine.moves.network_is_back()
    return there


def address_at(node: SimNode, of: SimNode) -> str:
    return next(peer.address for peer in node.engine.peers() if peer.id == of.id)


def test_peers_follow_a_node_to_its_new_address_and_never_doubt_it() -> None:
    sim, mover, others = moving()
    there = move(mover)
    assert mover.engine.me.address == there
    sim.until(lambda: all(address_at(n, mover) == there for n in others), 4 * STAGGER)
    sim.run(30.0)
    for node in others:
        assert node.saw(e.PeerSuspected, mover) == []
        assert node.saw(e.PeerUpdated, mover)
        assert address_at(node, mover) == there


def test_nothing_is_lost_or_told_twice_in_a_move() -> None:
    sim, mover, others = moving(1)
    heard = others[0].hear("tick")
    answered = mover.hear("tock")
    sim.run(1.0)
    for number in range(200):
        if number == 100:
            move(mover)
        mover.publish("tick", number)
        others[0].publish("tock", number)
        sim.run(0.01)
    sim.run(5.0)
    assert [message.data for message in heard] == list(range(200))
    assert [message.data for message in answered] == list(range(200))


def test_calls_work_after_a_move_in_both_directions() -> None:
    sim, mover, others = moving(1)
    mover.serve("add", lambda a, b: a + b)
    others[0].serve("add", lambda a, b: a + b)
    sim.run(1.0)
    assert sim.outcome(others[0].call("mover.add", 1, 2)) == 3
    move(mover)
    sim.run(2.0)
    assert sim.outcome(others[0].call("mover.add", 1, 2)) == 3
    assert sim.outcome(mover.call("n0.add", 3, 4)) == 7


def test_newcomers_are_told_of_the_new_address() -> None:
    sim, mover, others = moving(2)
    there = move(mover)
    sim.run(3.0)
    late = sim.node("late", seeds=[others[0]])
    sim.until(lambda: late.knows(mover, *others), 5.0)
    assert address_at(late, mover) == there


@pytest.mark.parametrize("times", [1, 20])
def test_a_network_that_comes_back_again_and_again_costs_one_link_at_a_time(times: int) -> None:
    sim, mover, others = moving()
    for _ in range(times):
        mover.engine.moves.network_is_back()
        sim.run(0.05)
    sim.run(5.0)
    assert all_know_all([mover, *others])
    for node in others:
        assert len(node.engine._core.sessions[mover.engine.config.id].links) == 1
        assert node.saw(e.PeerSuspected, mover) == []


def reached_elsewhere() -> tuple[Simulation, SimNode, SimNode]:
    """A node with two addresses, and one that has reached it at the second."""
    sim = Simulation()
    mover, witness = sim.node("mover", aliases=(ELSEWHERE,)), sim.node("witness")
    witness.engine.hint(mover.engine.config.id, [f"{ELSEWHERE}:{LINK_PORT}"])
    sim.until(lambda: all_know_all([mover, witness]), 5.0)
    sim.run(1.0)
    assert address_at(witness, mover) == f"{ELSEWHERE}:{LINK_PORT}"
    return sim, mover, witness


def test_a_peer_whose_link_was_lost_is_reached_at_another_address_before_it_fails() -> None:
    sim, mover, witness = reached_elsewhere()
    sim.network.take_away(ELSEWHERE)
    for one, other in ((mover, witness), (witness, mover)):
        sim.network.cut(sim.network.pipe_between(one.process, other.process))
    sim.until(lambda: address_at(witness, mover) == mover.address, 2.0)
    sim.until(lambda: witness.knows(mover), 2.0)
    assert witness.saw(e.PeerFailed, mover) == []


def test_who_has_moved_dials_everybody_anew_at_once() -> None:
    sim, mover, others = moving()
    before = {n.id: mover.engine._core.sessions[n.engine.config.id].dial for n in others}
    move(mover)
    sim.run(4 * STAGGER)
    after = {n.id: mover.engine._core.sessions[n.engine.config.id].dial for n in others}
    assert None not in after.values()
    assert all(after[id] is not dial for id, dial in before.items())


@pytest.mark.parametrize("asleep", [0.5, 2.0, 3.0, 4.5, 8.0, 20.0])
def test_who_slept_while_a_peer_moved_has_it_again_soon_after(asleep: float) -> None:
    sim, mover, [sleeper] = moving(1)
    sim.freeze(sleeper)
    sim.network.strand(mover.process)
    there = move(mover)
    sim.run(asleep)
    sim.thaw(sleeper)

    def are_right() -> bool:
        return all_know_all([mover, sleeper]) and address_at(sleeper, mover) == there

    sim.until(are_right, 1.5)
    heard = [mover.hear("x", echo=False), sleeper.hear("x", echo=False)]
    sim.run(0.1)
    assert (mover.publish("x"), sleeper.publish("x")) == (1, 1)
    sim.run(0.1)
    assert [len(messages) for messages in heard] == [1, 1]
    failures = [*mover.saw(e.PeerFailed, sleeper), *sleeper.saw(e.PeerFailed, mover)]
    assert bool(failures) is (asleep > 6.0)


def test_a_node_that_is_put_out_is_failed_at_once_and_nothing_is_kept_of_its_links() -> None:
    """Its connections may stay up: they must neither carry anything nor keep it remembered."""
    sim, node, others = moving(2)
    out, stays = others
    out.hear("tick")
    stays.hear("tick")
    sim.run(1.0)
    assert node.publish("tick") == 2
    node.engine.on_expelled(bytes.fromhex(out.id), "its certificate is revoked")
    assert node.publish("tick") == 1
    session = node.engine._core.sessions[bytes.fromhex(out.id)]
    assert session.is_gone
    assert (session.link, session.is_accepted) == (None, False)
    sim.run(0.001)
    assert [event.reason for event in node.saw(e.PeerFailed, out)] == ["its certificate is revoked"]
    assert node.saw(e.PeerFailed, stays) == []
