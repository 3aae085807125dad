"""Separate processes find each other by each source alone, and without any source they do not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

import mesh
from tests.net.processes import AgentError, NodeProcess, until

Start = Callable[..., NodeProcess]
Make = Callable[..., mesh.Node]

NOT_MET_AFTER = 1.5
"""Seconds after which processes that cannot meet have not met: ten times what meeting takes."""

FIRST_CALL = 0.15 * 10
"""Seconds from two cold nodes to the first answered call, with the slack of a busy machine."""


def sources(source: str, first: NodeProcess) -> dict[str, Any]:
    if source == "seed":
        return {"discovery": (), "seeds": [first.address]}
    return {"discovery": [source]}


@pytest.mark.parametrize("source", ["mdns", "local", "seed"])
def test_processes_meet_by_one_source_alone(start_process: Start, source: str) -> None:
    first = start_process("first", discovery=[source] if source != "seed" else ())
    second = start_process("second", **sources(source, first))
    assert second.ask("call", method="first.pid", wait=10.0, timeout=15.0) == first.pid
    assert first.ask("call", method="second.pid", wait=10.0, timeout=15.0) == second.pid


def test_processes_without_a_source_do_not_meet(start_process: Start) -> None:
    first = start_process("first", discovery=())
    second = start_process("second", discovery=())
    with pytest.raises(AgentError) as refusal:
        second.ask("call", method="first.pid", wait=NOT_MET_AFTER, timeout=15.0)
    assert refusal.value.kind == "NoProvider"
    assert first.ask("peers", all=True) == second.ask("peers", all=True) == {}


@pytest.mark.parametrize("source", ["mdns", "local", "seed"])
def test_one_side_with_a_source_is_enough_only_for_seeds(start_process: Start, source: str) -> None:
    first = start_process("first", discovery=())
    second = start_process("second", **sources(source, first))
    if source == "seed":
        assert second.ask("call", method="first.pid", wait=10.0, timeout=15.0) == first.pid
        return
    with pytest.raises(AgentError) as refusal:
        second.ask("call", method="first.pid", wait=NOT_MET_AFTER, timeout=15.0)
    assert refusal.value.kind == "NoProvider"


def test_one_seed_is_enough_with_peer_exchange(start_process: Start) -> None:
    first = start_process("first", discovery=["exchange"])
    others = [
        start_process("other", discovery=["exchange"], seeds=[first.address], wait=False)
        for _ in range(3)
    ]
    for other in others:
        other.wait_started()
    for node in (first, *others):
        assert len(node.ask("wait_for", name="other", count=3, timeout=10.0)) == 3


def test_without_peer_exchange_two_nodes_of_one_seed_stay_strangers(start_process: Start) -> None:
    first = start_process("first", discovery=())
    left, right = (start_process("other", discovery=(), seeds=[first.address]) for _ in range(2))
    assert len(first.ask("wait_for", name="other", count=2, timeout=10.0)) == 2
    with pytest.raises(AgentError) as missing:
        left.ask("wait_for", name="other", count=2, timeout=NOT_MET_AFTER)
    assert missing.value.kind == "Timeout"
    assert list(right.ask("peers")) == [first.id]


def test_a_seed_that_comes_later_is_found(start_process: Start, make_node: Make) -> None:
    reserved = make_node("reserved", discovery=()).start()
    port = int(reserved.me.address.rpartition(":")[2])
    reserved.close()
    early = start_process("early", discovery=(), seeds=[f"127.0.0.1:{port}"])
    late = start_process("late", discovery=(), port=port)
    assert early.ask("call", method="late.pid", wait=10.0, timeout=15.0) == late.pid


def test_two_cold_nodes_answer_the_first_call_in_time(make_node: Make) -> None:
    began = time.monotonic()
    calc = make_node("calc")
    calc.rpc("pid", inline=True)(os.getpid)
    calc.start()
    assert make_node("shop").start().call("calc.pid") == os.getpid()
    assert time.monotonic() - began < FIRST_CALL


def test_a_joined_peer_can_be_published_to_at_once(start_process: Start, make_node: Make) -> None:
    node = make_node("watcher").start()
    with node.watch() as events:
        process = start_process("listener", subscribe=("news.>",))
        joined = events.get(timeout=10.0)
        assert isinstance(joined, mesh.PeerJoined)
        assert joined.peer.id == process.id
        assert node.publish("news.first", 1) == 1
    assert process.ask("wait_received", count=1) == 1


def test_members_are_shown_as_they_describe_themselves(
    start_process: Start, make_node: Make
) -> None:
    process = start_process("calc", tags={"zone": "a"}, member=("workers",))
    node = make_node().start()
    (peer,) = until(node.peers)
    assert (peer.id, peer.name, peer.address) == (process.id, "calc", process.address)
    assert peer.services == {"calc": ("pid", "echo", "work", "pause")}
    assert peer.groups == {"workers"}
    assert peer.tags == {"zone": "a"}
    assert peer.state == "alive"
    assert peer.since.tzinfo is not None
