"""Owners of keys on real nodes: the same everywhere, and kept over a restart."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import mesh
from mesh.ring import Ring
from patterns.keys import key_bytes
from tests.net.processes import NodeProcess, until

Start = Callable[..., NodeProcess]
Make = Callable[..., mesh.Node]

KEYS = [f"user:{number}" for number in range(300)]
WEIGHTS = {"calc-0": 1.0, "calc-1": 1.0, "calc-2": 2.0}


def owners(nodes: list[NodeProcess], **where: Any) -> list[list[str]]:
    """Instances by key, best first, once all of them say the same."""

    def agreed() -> list[list[str]] | None:
        first, *others = (node.ask("owners", keys=KEYS, **where) for node in nodes)
        return first if all(other == first for other in others) else None

    return until(agreed, what="the agreement")


def all_meet(nodes: list[NodeProcess]) -> None:
    for node in nodes:
        node.ask("wait_for", name="calc", count=len(nodes))


def test_nodes_agree_and_a_restart_with_the_same_instance_brings_the_keys_back(
    start_process: Start,
) -> None:
    def start(instance: str) -> NodeProcess:
        return start_process(
            "calc", instance=instance, weight=WEIGHTS[instance], member=("crew",), wait=False
        )

    nodes = [start(instance).wait_started() for instance in WEIGHTS]
    all_meet(nodes)
    before = owners(nodes, name="calc")
    assert before == computed(WEIGHTS)
    assert owners(nodes, group="crew") == before
    shares = Counter(order[0] for order in before)
    assert shares["calc-2"] > max(shares["calc-0"], shares["calc-1"]) > 0

    gone = nodes.pop(1)
    gone.kill()
    for node in nodes:
        node.ask("wait_state", peer=gone.id, states=["failed"])
    left = [[name for name in order if name != "calc-1"] for order in before]
    assert owners(nodes, name="calc") == left

    nodes.append(start("calc-1").wait_started())
    all_meet(nodes)
    assert nodes[-1].id != gone.id
    assert owners(nodes, name="calc") == before
    assert owners(nodes, group="crew") == before


def computed(weights: dict[str, float]) -> list[list[str]]:
    """What another program would name, from the instances and weights alone."""

    class Named(str):
        __slots__ = ()

        @property
        def id(self) -> str:
            return self

    ring = Ring([(Named(name), name, weight) for name, weight in weights.items()])
    return [ring.owners(key_bytes(key)) for key in KEYS]


def test_a_suspect_keeps_its_keys(start_process: Start) -> None:
    nodes = [start_process("calc", instance=instance) for instance in WEIGHTS]
    all_meet(nodes)
    before = owners(nodes, name="calc")
    frozen, *others = nodes
    frozen.signal(signal.SIGSTOP)
    try:
        for node in others:
            node.ask("wait_state", peer=frozen.id, states=["suspect"])
        assert owners(others, name="calc") == before
    finally:
        frozen.signal(signal.SIGCONT)
    for node in others:
        node.ask("wait_state", peer=frozen.id, states=["alive"])
    assert owners(nodes, name="calc") == before


def test_both_faces_name_the_same_owner_and_it_may_be_the_node_itself(make_node: Make) -> None:
    one, two = make_node("calc", instance="a"), make_node("calc", instance="b")
    for node in (one, two):
        node.member("crew")(print)
        node.start()
    for node in (one, two):
        node.wait_for("calc", count=2)
        node.wait_for(group="crew", count=2)
    assert {one.owner("calc", key) for key in KEYS} == {one.me, two.me}
    for key in KEYS[:20]:
        assert one.owner("calc", key) == two.owner("calc", key)
        assert one.owners("calc", key)[0] == one.owner("calc", key)
        assert one.owner(key=key, group="crew") == two.owner(key=key, group="crew")
        assert len(one.owners("calc", key, 1)) == 1
        assert one.aio.owner("calc", key) == one.owner("calc", key)
        assert one.aio.owners(key=key, group="crew") == one.owners(key=key, group="crew")


def test_an_async_node_names_owners_without_await(mesh_name: str) -> None:
    async def run() -> None:
        async with mesh.AsyncNode("calc", mesh=mesh_name, discovery=("local",)) as node:
            assert node.owner("calc", 7) == node.me
            assert node.owners("calc", b"7") == [node.me]
            assert (node.me.instance, node.me.weight) == (node.id, 1.0)

    asyncio.run(run())


def test_instance_and_weight_are_shown_to_others(make_node: Make) -> None:
    named = make_node("calc", instance="ünï-1", weight=2.5).start()
    plain = make_node("calc").start()
    plain.wait_for("calc", count=2)
    named.wait_for("calc", count=2)
    [seen] = plain.peers()
    assert (seen.instance, seen.weight) == ("ünï-1", 2.5)
    assert (named.me.instance, named.me.weight) == ("ünï-1", 2.5)
    assert (named.peers()[0].instance, named.peers()[0].weight) == (plain.id, 1.0)


def test_observers_own_nothing_and_see_owners(make_node: Make) -> None:
    observer, calc = make_node("calc", observer=True).start(), make_node("calc").start()
    observer.wait_for("calc")
    assert {observer.owner("calc", key) for key in KEYS[:50]} == {calc.me}
    assert len(calc.owners("calc", "k")) == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"name": "nobody", "key": "k"}, mesh.NoProvider),
        ({"group": "nobody", "key": "k"}, mesh.NoProvider),
        ({"key": "k"}, mesh.ConfigError),
        ({"name": "calc", "group": "calc", "key": "k"}, mesh.ConfigError),
        ({"name": "calc"}, mesh.BadName),
        ({"name": "calc", "key": 1.5}, mesh.BadName),
        ({"name": "no good", "key": "k"}, mesh.BadName),
        ({"group": "no good", "key": "k"}, mesh.BadName),
    ],
)
def test_a_question_without_an_answer_is_an_error_on_both_verbs(
    make_node: Make, arguments: dict[str, Any], error: type[Exception]
) -> None:
    node = make_node("calc").start()
    for ask in (node.owner, node.owners):
        with pytest.raises(error):
            ask(**arguments)


def test_owners_are_asked_of_running_nodes_only(make_node: Make) -> None:
    node = make_node("calc")
    with pytest.raises(mesh.NodeClosed):
        node.owner("calc", "k")
    node.start()
    assert node.owner("calc", "k") == node.me
    node.close()
    with pytest.raises(mesh.NodeClosed):
        node.owners("calc", "k")


@pytest.mark.parametrize("settings", [{"instance": ""}, {"weight": 0}, {"weight": "1"}])
def test_an_instance_or_weight_that_cannot_work_is_refused_at_once(
    settings: dict[str, Any],
) -> None:
    for face in (mesh.Node, mesh.AsyncNode):
        with pytest.raises(mesh.ConfigError):
            face("calc", **settings)
