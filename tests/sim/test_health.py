"""The health of whole nodes: cut off, alone, lagging, losing; and what they say in their logs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

import mesh
from mesh.testing import SimMesh


@pytest.fixture
def sim() -> Iterator[SimMesh]:
    with SimMesh(seed=1) as sim:
        yield sim


def trio(sim: SimMesh) -> list[mesh.AsyncNode]:
    nodes = [sim.node("calc") for _ in range(3)]
    sim.until(lambda: all(len(node.peers()) == 2 for node in nodes), within=10.0)
    sim.advance(6.0)
    return nodes


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, int]]:
    records = [record for record in caplog.records if record.name == "mesh.health"]
    fields = [(getattr(record, "mesh"), record.levelno) for record in records]  # noqa: B009
    return [(field["node"], field["status"], level) for field, level in fields]


def test_a_first_node_is_ready_and_says_that_it_is_alone(sim: SimMesh) -> None:
    node = sim.node("first")
    sim.advance(60.0)
    health = node.health()
    assert (health.status, health.reasons) == ("ready", ("nobody else was heard of",))


def test_a_node_that_is_cut_off_knows_and_says_so_once_and_those_that_are_not_do_not(
    sim: SimMesh, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mesh.health")
    cut, *others = trio(sim)
    assert [node.health().status for node in (cut, *others)] == ["ready"] * 3
    sim.partition([cut], others)
    took = sim.until(lambda: cut.health().status == "isolated", within=60.0)
    assert took < 20.0
    assert cut.health().problems == ("peers_silent",)
    sim.advance(120.0)
    assert cut.health().is_ready, "from there the others may have ended"
    assert all(node.health().is_ready for node in others)
    title = f"calc/{cut.id[:8]}"
    assert [one for one in told(caplog) if one[0] == title][-1:] == [
        (title, "isolated", logging.WARNING)
    ]
    sim.heal()
    sim.until(lambda: cut.health().status == "ready", within=60.0)
    sim.advance(60.0)
    assert told(caplog)[-1] == (title, "ready", logging.INFO)
    assert len([one for one in told(caplog) if one[0] == title]) <= 4


def test_the_last_node_of_a_mesh_that_ended_well_is_ready(sim: SimMesh) -> None:
    first, *others = trio(sim)
    for node in others:
        sim.run(node.close())
    sim.advance(60.0)
    assert first.health().status == "ready"


def test_the_last_node_when_the_others_were_killed_is_not_isolated(sim: SimMesh) -> None:
    first, *others = trio(sim)
    for node in others:
        sim.kill(node)
    sim.advance(60.0)
    assert first.health().is_ready


def test_of_two_the_one_that_hears_nothing_goes_on(sim: SimMesh) -> None:
    """The other machine may have lost its power; then this one is all there is."""
    one, two = (sim.node("calc") for _ in range(2))
    sim.until(lambda: len(one.peers()) == len(two.peers()) == 1, within=10.0)
    sim.partition([one], [two])
    sim.advance(60.0)
    assert one.health().is_ready


def test_an_observer_that_falls_silent_says_nothing_about_this_node(sim: SimMesh) -> None:
    """A suspended meshctl, or the laptop of who looks on, whose lid is shut."""
    one, two = (sim.node("calc") for _ in range(2))
    looker = sim.node("looker", observer=True)
    sim.until(lambda: len(one.peers(all=True)) == len(two.peers(all=True)) == 2, within=10.0)
    sim.advance(6.0)
    sim.freeze(looker)
    for _ in range(30):
        sim.advance(1.0)
        assert [one.health().status, two.health().status] == ["ready", "ready"]
    sim.thaw(looker)
    sim.until(lambda: len(one.peers(all=True)) == 2, within=30.0)
    sim.partition([one], [two, looker])
    sim.advance(60.0)
    assert one.health().is_ready  # it may be the last node that works


def test_a_peer_that_does_not_answer_degrades_a_small_mesh(sim: SimMesh) -> None:
    first, second, _ = trio(sim)
    sim.block(second)
    sim.until(lambda: first.health().status == "degraded", within=20.0)
    assert first.health().problems == ("peers_in_doubt",)
    assert f"calc/{second.id[:8]}" in first.health().reasons[0]
    sim.unblock(second)
    sim.until(lambda: first.health().status == "ready", within=20.0)


def test_a_draining_node_is_not_ready(sim: SimMesh) -> None:
    first, *_ = trio(sim)
    sim.run(first.drain())
    assert first.health().status == "draining"
    assert not first.health().is_ready


def test_a_loop_that_was_blocked_shows_as_lag(sim: SimMesh) -> None:
    first, *_ = trio(sim)
    sim.block(first)
    sim.advance(3.0)
    sim.unblock(first)
    sim.advance(1.0)
    health = first.health()
    assert "loop_lagging" in health.problems
    assert first.host.engine.inspection.lag()["recent"] >= 2.0
    sim.advance(180.0)
    assert first.health().status == "ready"


def test_lost_messages_degrade_for_a_minute(sim: SimMesh) -> None:
    first, second, _ = trio(sim)

    async def lose() -> None:
        async with second.subscribe("news", buffer=10):
            for number in range(1000):
                first.publish("news", number)
            await asyncio.sleep(2.0)

    sim.run(lose())
    health = second.health()
    assert health.problems == ("messages_lost",)
    assert "dropped_by_slow_subscriptions" in health.reasons[0]
    sim.advance(120.0)
    assert second.health().status == "ready"


def test_an_observer_does_not_warn(sim: SimMesh, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mesh.health")
    looker = sim.node("looker", observer=True)
    nodes = [sim.node("calc") for _ in range(2)]
    sim.until(lambda: len(looker.peers()) == 2, within=10.0)
    sim.advance(6.0)
    sim.partition([looker], nodes)
    sim.advance(60.0)
    assert looker.health().status == "isolated"
    assert (f"looker/{looker.id[:8]}", "isolated", logging.INFO) in told(caplog)


def test_health_is_in_the_state_that_others_ask_for(sim: SimMesh) -> None:
    first, second, _ = trio(sim)
    state = sim.run(second.service("_mesh", peer=first.id)["state"](["health", "process"]))
    assert state["health"] == {"status": "ready", "reasons": [], "problems": []}
    assert state["process"]["lag"]["recent"] < 0.01
    assert sum(state["process"]["lag"]["counts"]) > 10
