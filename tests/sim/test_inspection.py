"""What nodes tell of themselves, asked by one another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import mesh
from mesh.engine.inspection import MEASURE_FOR
from mesh.inspection import state
from mesh.inspection.state import PARTS
from mesh.testing import SimMesh


@pytest.fixture
def sim() -> Iterator[SimMesh]:
    with SimMesh(seed=1) as sim:
        yield sim


class Greeter:
    def greet(self) -> str:
        return "hello"


def pair(sim: SimMesh, **options: Any) -> tuple[mesh.AsyncNode, mesh.AsyncNode]:
    """A service, and somebody who looks at it."""
    calc = sim.node("calc", **options)

    @calc.rpc
    def add(a: int, b: int) -> int:
        return a + b

    @calc.rpc
    async def nap(seconds: float) -> None:
        await asyncio.sleep(seconds)

    looker = sim.node("looker", observer=True)
    sim.until(lambda: len(looker.peers()) == len(calc.peers(all=True)) == 1, within=10.0)
    return calc, looker


def ask(sim: SimMesh, looker: mesh.AsyncNode, peer: str, *parts: str) -> Any:
    state = looker.service("_mesh", peer=peer)["state"]
    return sim.run(state(list(parts)) if parts else state())


def test_a_node_tells_all_parts_and_those_asked_for(sim: SimMesh) -> None:
    calc, looker = pair(sim)
    state = ask(sim, looker, calc.id)
    assert tuple(state) == PARTS
    assert state["node"]["name"] == "calc"
    assert state["node"]["services"] == {"calc": ["add", "nap"]}
    assert [one["id"] for one in state["peers"]] == [looker.id]
    assert state["peers"][0]["hears_us"]
    assert state["peers"][0]["is_heard"]
    assert list(ask(sim, looker, calc.id, "node")) == ["node"]


def test_an_observer_tells_as_well_and_nobody_is_listed_as_serving_it(sim: SimMesh) -> None:
    calc, looker = pair(sim)
    assert ask(sim, calc, looker.id, "node")["node"]["is_observer"]
    assert all("_mesh" not in peer.services for peer in looker.peers(all=True))
    with pytest.raises(mesh.NoProvider):
        sim.run(looker.service("_mesh")["state"]())


def test_calls_are_measured_from_the_first_question_on(sim: SimMesh) -> None:
    calc, looker = pair(sim)
    sim.run(looker.call("calc.add", 1, 2))
    before = ask(sim, looker, calc.id, "methods")["methods"]
    assert [one["succeeded"] for one in before] == [0, 0]
    sim.run(looker.call("calc.nap", 0.1))
    with pytest.raises(mesh.RemoteError):
        sim.run(looker.call("calc.add", 1, "b"))
    add, nap = ask(sim, looker, calc.id, "methods")["methods"]
    assert (add["name"], add["succeeded"], add["failed"]) == ("calc.add", 0, 1)
    assert (nap["name"], nap["succeeded"], nap["failed"]) == ("calc.nap", 1, 0)
    assert 0.1 <= nap["latency"]["p50"] <= 0.15
    assert ask(sim, looker, looker.id, "calls")["calls"] == []
    sim.run(looker.call("calc.nap", 0.1))
    (called,) = ask(sim, looker, looker.id, "calls")["calls"]
    assert (called["method"], called["succeeded"], called["in_flight"]) == ("calc.nap", 1, 0)


def test_what_runs_and_waits_is_told(sim: SimMesh) -> None:
    calc, looker = pair(sim)

    @calc.rpc(concurrency=1)
    async def one(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def busy() -> list[Any]:
        await looker.wait_for("calc")
        await asyncio.sleep(0.1)
        calls = [asyncio.ensure_future(looker.call("calc.one", 2.0)) for _ in range(3)]
        await asyncio.sleep(0.1)
        state = await looker.service("_mesh", peer=calc.id)["state"](["methods"])
        for call in calls:
            call.cancel()
        methods: list[Any] = state["methods"]
        return methods

    told = {method["name"]: method for method in sim.run(busy())}
    assert (told["calc.one"]["running"], told["calc.one"]["waiting"]) == (1, 2)


def test_a_drained_node_still_tells_that_it_is(sim: SimMesh) -> None:
    calc, looker = pair(sim)
    sim.run(calc.drain())
    node = ask(sim, looker, calc.id, "node")["node"]
    assert node["is_draining"]
    assert node["services"] == {}


def test_what_a_node_does_not_allow_is_denied_with_what_to_do(sim: SimMesh) -> None:
    calc, looker = pair(sim, allow=["operate"])
    with pytest.raises(mesh.AccessDenied, match="does not let others inspect it") as denied:
        ask(sim, looker, calc.id)
    assert "MESH_ALLOW gives operate" in str(denied.value)


def test_an_unknown_part_is_told_with_those_there_are(sim: SimMesh) -> None:
    calc, looker = pair(sim)
    with pytest.raises(mesh.RemoteError, match="parts: give a list of node, process"):
        ask(sim, looker, calc.id, "weather")


def test_a_part_is_made_once_however_often_it_is_asked_for(
    sim: SimMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    calc, looker = pair(sim)
    made: list[Any] = []

    def make(host: Any, _: Any) -> dict[str, int]:
        made.append(host)
        return {}

    monkeypatch.setitem(state._MAKERS, "counters", make)
    assert ask(sim, looker, calc.id, *["counters"] * 1000) == {"counters": {}}
    assert len(made) == 1


@pytest.mark.parametrize("make", [mesh.Node, mesh.AsyncNode])
def test_the_service_of_the_mesh_is_nobodys_name(make: Any) -> None:
    with pytest.raises(mesh.BadName, match="the mesh's own"):
        make("_mesh")
    with pytest.raises(mesh.BadName, match="the mesh's own"):
        make("calc").serve(Greeter(), service="_mesh")


def test_a_peer_that_has_failed_is_told_as_failed_with_where_it_was(sim: SimMesh) -> None:
    calc, looker = pair(sim)
    address = calc.me.address
    sim.kill(calc)
    sim.until(lambda: looker.peers() == [], within=30.0)
    (told,) = ask(sim, looker, looker.id, "peers")["peers"]
    assert (told["state"], told["address"]) == ("failed", address)
    assert not told["hears_us"]
    assert not told["is_heard"]


def test_questions_wait_for_one_another_and_calls_do_not_wait_for_them(sim: SimMesh) -> None:
    calc, looker = pair(sim)
    ended: list[str] = []

    async def flood() -> None:
        async def one(what: str, call: Any) -> None:
            await call
            ended.append(what)

        state = looker.service("_mesh", peer=calc.id)["state"]
        await asyncio.gather(
            *(one("state", state()) for _ in range(50)), one("add", looker.call("calc.add", 1, 2))
        )

    sim.run(flood())
    assert ended.count("state") == 50
    assert ended[0] == "add"


def test_measuring_ends_when_nobody_has_asked_for_long(sim: SimMesh) -> None:
    calc, looker = pair(sim)
    ask(sim, looker, calc.id, "methods")
    sim.advance(MEASURE_FOR / 2)
    sim.run(looker.call("calc.add", 1, 2))
    assert ask(sim, looker, calc.id, "methods")["methods"][0]["succeeded"] == 1
    sim.advance(MEASURE_FOR / 2 + 1.0)
    assert calc.host.engine.server.measures is not None, "it was asked since"
    sim.advance(MEASURE_FOR)
    assert calc.host.engine.server.measures is None


def test_a_name_that_nobody_serves_is_not_measured(sim: SimMesh) -> None:
    _, looker = pair(sim)
    ask(sim, looker, looker.id, "calls")

    async def call(name: str) -> None:
        with pytest.raises(mesh.NoProvider):
            await looker.service("calc", wait=0.1)[name]()

    sim.run(call("nothing"))
    assert ask(sim, looker, looker.id, "calls")["calls"] == []


def test_an_answer_gives_way_before_each_of_its_parts(sim: SimMesh) -> None:
    calc, _ = pair(sim)

    async def turns() -> int:
        answer = asyncio.ensure_future(calc.host._inspector.state())
        count = 0
        while not answer.done():
            await asyncio.sleep(0)
            count += 1
        return count

    assert sim.run(turns()) >= len(PARTS)
