"""Surveys under every fault: who was asked, who answered, and that the rest is named."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, get_args

import pytest

import mesh
from mesh.engine.config import GRACE, LISTEN
from mesh.engine.surveys import Audience
from mesh.membership import Peer
from mesh.testing import SimMesh
from mesh.testing.connections import Plane
from patterns.deadlines import TICK
from patterns.errors import (
    ConfigError,
    MeshError,
    NodeClosed,
    NoProvider,
    PeerLost,
    RemoteError,
)
from patterns.survey import Question, Survey, as_until, first, quorum
from tests.sim import SimNode, Simulation
from tests.sim.runner import sleep
from tests.sim.simulation import all_know_all

TIMEOUT = 0.5


def ask(
    node: SimNode,
    method: str = "calc.health",
    *args: Any,
    timeout: float = TIMEOUT,
    until: object = "all",
    group: str | None = None,
    peers: Sequence[Peer | str] | None = None,
) -> Survey:
    survey = Survey(Question(method, args, {}, timeout), as_until(until))
    node.engine.surveys.begin(survey, Audience(method, group, peers))
    return survey


def finish(sim: Simulation, survey: Survey, within: float = TIMEOUT + 2 * TICK) -> Survey:
    sim.until(lambda: survey.is_over, within)
    return survey


def served(count: int = 5, seed: int = 0) -> tuple[Simulation, SimNode, list[SimNode]]:
    """An asker, and nodes that serve ``calc.health``, which takes as long as it is told."""
    sim = Simulation(seed)
    asker, *servers = sim.meshed(count + 1)
    for number, server in enumerate(servers):

        async def health(seconds: float = 0.0, number: int = number) -> int:
            await sleep(seconds)
            return number

        server.serve("health", health, service="calc")
    sim.run(1.5)
    return sim, asker, servers


def ids(peers: Any) -> set[str]:
    return {peer.id for peer in peers}


def of(nodes: Sequence[SimNode]) -> set[str]:
    return {node.id for node in nodes}


def values(survey: Survey) -> list[Any]:
    return sorted(reply.value for reply in survey.replies)


def test_all_that_serve_it_answer_and_are_named() -> None:
    sim, asker, servers = served()
    survey = finish(sim, ask(asker))
    assert survey.is_complete
    assert values(survey) == [0, 1, 2, 3, 4]
    assert ids(survey.asked) == ids(r.peer for r in survey.replies) == of(servers)
    assert (survey.missing, survey.failed) == ([], {})
    assert all(0 < reply.latency < 0.01 for reply in survey.replies)


def test_it_asks_itself_if_it_serves_it_and_the_members_of_a_group() -> None:
    sim, asker, servers = served()
    asker.serve("health", lambda: "own", service="calc")
    for node in (asker, servers[0], servers[1]):
        node.member("crew", lambda message: None)
    sim.run(0.1)
    assert ids(finish(sim, ask(asker)).asked) == of([asker, *servers])
    survey = finish(sim, ask(asker, group="crew"))
    assert ids(r.peer for r in survey.replies) == of([asker, servers[0], servers[1]])


def test_any_service_asks_each_node_once() -> None:
    sim, asker, servers = served(2)
    servers[0].serve("health", lambda: "its own", service=servers[0].name)
    asker.serve("health", lambda: "other", service="shop")
    asker.serve("other", lambda: 0)
    sim.run(0.1)
    survey = finish(sim, ask(asker, "*.health"))
    assert sorted(str(r.value) for r in survey.replies) == ["1", "its own", "other"]
    assert ids(survey.asked) == of([asker, *servers])


def test_who_is_named_and_does_not_serve_it_has_failed() -> None:
    sim, asker, servers = served(3)
    idle = sim.node("idle", seeds=[asker])
    idle.member("crew", lambda message: None)
    servers[0].member("crew", lambda message: None)
    sim.until(lambda: all_know_all([asker, idle]), 5.0)
    sim.run(0.5)
    for method in ("calc.health", "*.health"):
        survey = finish(sim, ask(asker, method, group="crew"))
        assert ids(r.peer for r in survey.replies) == {servers[0].id}
        assert {p.id: type(e) for p, e in survey.failed.items()} == {idle.id: NoProvider}


def test_peers_are_asked_once_each_and_those_that_are_gone_have_failed() -> None:
    sim, asker, servers = served(3)
    sim.kill(servers[2])
    sim.until(lambda: servers[2].id not in asker.peers(), 10.0)
    unknown = "0" * 32
    named = [servers[0].id, servers[2].id, unknown, servers[0].id]
    survey = finish(sim, ask(asker, peers=named))
    assert ids(r.peer for r in survey.replies) == {servers[0].id}
    assert ids(survey.failed) == {servers[2].id, unknown}
    assert len(survey.asked) == 3
    assert {type(e) for e in survey.failed.values()} == {PeerLost}
    for wrong in ("n1", 7):
        with pytest.raises(ConfigError):
            ask(asker, peers=[wrong])  # type: ignore[list-item]


def test_nobody_to_ask_is_no_provider_at_once() -> None:
    sim, asker, _ = served(1)
    at = sim.now
    for method, text in (
        ("nobody.health", "no reachable node provides the service 'nobody'"),
        ("calc.nothing", "its methods: health"),
        ("*.nothing", "no reachable node serves a method 'nothing'"),
    ):
        with pytest.raises(NoProvider, match=text):
            ask(asker, method)
    with pytest.raises(NoProvider, match="nobody is in the group 'crew'"):
        ask(asker, group="crew")
    with pytest.raises(NoProvider, match="nobody to ask"):
        ask(asker, peers=[])
    assert sim.now == at


def test_after_start_it_waits_for_all_that_were_heard_of_and_asks_them_all() -> None:
    sim, _, servers = served(6)
    late = sim.node("late", seeds=servers[:1])
    began = sim.now
    survey = ask(late)
    assert survey.asked == []
    finish(sim, survey, GRACE + TIMEOUT)
    assert values(survey) == [0, 1, 2, 3, 4, 5]
    assert sim.now - began >= LISTEN


def test_after_start_with_nobody_there_it_ends_with_no_provider_as_a_call_does() -> None:
    sim = Simulation()
    lone = sim.node("lone")
    survey = ask(lone)
    finish(sim, survey, GRACE + 0.1)
    assert isinstance(survey.error, NoProvider)
    assert sim.now == pytest.approx(GRACE, abs=0.1)


def test_the_end_of_the_node_ends_it_also_while_it_waits_whom_to_ask() -> None:
    sim, asker, _ = served(1)
    survey = ask(asker, "calc.health", 5.0, timeout=10.0)
    sim.run(0.1)
    asker.leave()
    finish(sim, survey)
    assert isinstance(survey.error, NodeClosed)
    lone = sim.node("lone")
    waiting = ask(lone)
    lone.engine.close()
    assert isinstance(waiting.error, NodeClosed)


def test_what_still_runs_when_enough_have_answered_is_cancelled_there() -> None:
    sim, asker, servers = served(5)
    ended: list[str] = []
    for number, server in enumerate(servers):

        async def slow(number: int = number) -> None:
            try:
                await sleep(number * 0.1)
            finally:
                ended.append(f"{number} at {sim.now - began:.1f}")

        server.serve("slow", slow, service="calc")
    sim.run(0.1)
    began = sim.now
    survey = finish(sim, ask(asker, "calc.slow", until=quorum(0.4)))
    assert len(survey.replies) == 2
    sim.run(0.01)
    assert sorted(ended) == [f"{n} at {'0.0' if n == 0 else '0.1'}" for n in range(5)]
    assert all(len(server.engine.server) == 0 for server in servers)


def test_a_peer_that_dies_has_failed_at_once_and_the_survey_goes_on() -> None:
    sim, asker, servers = served(3)
    survey = ask(asker, "calc.health", 0.4, timeout=5.0)
    sim.run(0.1)
    sim.kill(servers[1])
    sim.until(lambda: bool(survey.failed), 0.1)
    assert {p.id: type(e) for p, e in survey.failed.items()} == {servers[1].id: PeerLost}
    assert not survey.is_over
    finish(sim, survey)
    assert values(survey) == [0, 2]


def test_the_frozen_and_the_cut_off_are_missing_at_the_timeout_and_named() -> None:
    sim, asker, servers = served(6)
    sim.freeze(servers[0])
    sim.block(servers[1])
    sim.partition([asker, *servers[:2], *servers[3:]], [servers[2]])
    began = sim.now
    survey = finish(sim, ask(asker))
    assert TIMEOUT <= sim.now - began <= TIMEOUT + 2 * TICK
    assert ids(survey.missing) == of(servers[:3])
    assert ids(r.peer for r in survey.replies) == of(servers[3:])


def test_members_in_doubt_are_asked_too_and_shown_in_their_state() -> None:
    sim, asker, servers = served(4)
    sim.partition([asker, *servers[1:]], [servers[0]])
    sim.block(servers[1])
    doubted = {servers[0].id: "suspect", servers[1].id: "unresponsive"}
    sim.until(lambda: doubted.items() <= asker.peers().items(), 7.0)
    survey = finish(sim, ask(asker, until=quorum(0.6)))
    assert ids(survey.asked) == of(servers)
    assert not survey.is_complete, "3 of 4 are wanted, whoever is in doubt"
    assert {peer.id: peer.state for peer in survey.missing} == doubted


def test_who_joins_in_the_middle_is_not_asked() -> None:
    sim, asker, servers = served(2)
    survey = ask(asker, "calc.health", 0.4)
    newcomer = sim.node("newcomer", seeds=[asker])
    newcomer.serve("health", lambda: "new", service="calc")
    finish(sim, survey)
    assert ids(survey.asked) == of(servers)
    sim.until(lambda: all_know_all([asker, newcomer]), 5.0)
    sim.run(0.5)
    assert len(finish(sim, ask(asker)).replies) == 3


def test_who_drains_ends_what_runs_and_is_not_asked_again() -> None:
    sim, asker, servers = served(3)
    survey = ask(asker, "calc.health", 0.3)
    sim.run(0.05)
    servers[0].drain()
    sim.run(0.1)
    assert ids(ask(asker).asked) == of(servers[1:])
    finish(sim, survey)
    assert values(survey) == [0, 1, 2]


def test_a_request_that_meets_a_draining_node_has_failed() -> None:
    sim, asker, servers = served(2)
    servers[0].serve("one", lambda: None, service="calc")
    sim.partition([asker], [servers[0]])
    sim.run(0.01)
    servers[0].drain()
    survey = ask(asker, timeout=3.0)
    sim.run(0.1)
    sim.heal()
    finish(sim, survey, 3.5)
    assert {p.id: type(e) for p, e in survey.failed.items()} == {servers[0].id: NoProvider}


def test_handlers_that_raise_have_failed_with_their_error() -> None:
    sim, asker, servers = served(2)

    def sick() -> None:
        raise ValueError("sick")

    for server in servers:
        server.serve("sick", sick, service="calc")
    sim.run(0.1)
    survey = finish(sim, ask(asker, "calc.sick"))
    assert ids(survey.failed) == of(servers)
    assert {type(error) for error in survey.failed.values()} == {RemoteError}


def befall(sim: Simulation, asker: SimNode, server: SimNode) -> None:
    """Something happens between the two, drawn by the simulation's seed."""
    fault = sim.random.choice(["kill", "freeze", "thaw", "partition", "heal", "cut", "drain"])
    if fault == "kill" and server.process.is_alive:
        sim.kill(server)
    elif fault in ("freeze", "thaw"):
        getattr(sim, fault)(server)
    elif fault == "partition":
        sim.partition([asker], [server])
    elif fault == "heal":
        sim.heal()
    elif fault == "cut":
        for plane in get_args(Plane):
            with contextlib.suppress(LookupError):
                sim.cut(asker, server, plane)
    elif fault == "drain" and server.process.is_alive:
        server.drain()


@pytest.mark.parametrize("seed", range(40))
def test_every_node_asked_is_accounted_for_by_the_timeout_whatever_happens(seed: int) -> None:
    sim, asker, servers = served(6, seed)
    random = sim.random
    surveys: list[tuple[float, float, Survey]] = []

    def ask_some() -> None:
        for _ in range(random.randrange(1, 4)):
            timeout = random.choice([0.05, 0.5, 2.0])
            until = random.choice(["all", first(2), quorum(0.5)])
            seconds = random.choice([0.0, 0.01, 0.3])
            with contextlib.suppress(NoProvider):
                survey = ask(asker, "calc.health", seconds, timeout=timeout, until=until)
                surveys.append((sim.now, timeout, survey))

    for _ in range(5):
        ask_some()
        sim.run(random.random() * 0.1)
        befall(sim, asker, random.choice(servers))
        ask_some()
        sim.run(random.choice([0.01, 0.5, 3.0]))
    sim.run(3.0)
    for began, timeout, survey in surveys:
        assert survey.is_over
        assert survey.error is None
        parts = [r.peer.id for r in survey.replies]
        parts += [peer.id for peer in survey.failed] + [peer.id for peer in survey.missing]
        assert sorted(parts) == sorted(peer.id for peer in survey.asked)
        assert len(set(parts)) == len(parts)
        assert all(reply.latency <= timeout + 2 * TICK for reply in survey.replies)
        assert all(isinstance(error, MeshError) for error in survey.failed.values())
        assert began + timeout <= sim.now
    assert len(asker.engine._client) == 0
    assert all(s.outstanding == 0 for s in asker.engine._core.sessions.values())


# The face, on virtual time.


def replica() -> mesh.AsyncNode:
    node = mesh.AsyncNode("calc")

    @node.rpc
    def health() -> str:
        return node.id

    return node


def test_the_async_face_reads_answers_as_they_come() -> None:
    with SimMesh(seed=3) as sim:
        replicas = [sim.add(replica) for _ in range(5)]
        asker = sim.node("asker")

        async def body() -> None:
            await asker.wait_for("calc", count=5)
            sim.freeze(replicas[0])
            async with asker.survey("calc.health", timeout=0.5) as survey:
                seen = [reply.value async for reply in survey]
            assert sorted(seen) == sorted(node.id for node in replicas[1:])
            assert [peer.id for peer in survey.missing] == [replicas[0].id]
            with pytest.raises(mesh.Incomplete):
                survey.raise_for_missing()

        sim.run(body())


def test_a_survey_in_a_handler_ends_with_the_call_that_it_serves() -> None:
    ended: list[float] = []

    def front() -> mesh.AsyncNode:
        node = mesh.AsyncNode("front")

        @node.rpc
        async def overview() -> list[str]:
            survey = await node.survey("calc.health", timeout=60.0).wait()
            ended.append(sim.now)
            return [peer.id for peer in survey.missing]

        return node

    with SimMesh(seed=4) as sim:
        frozen = sim.add(replica)
        sim.add(replica)
        sim.add(front)
        asker = sim.node("asker")

        async def body() -> None:
            await asker.wait_for("front")
            await asker.wait_for("calc", count=2)
            sim.advance(1.5)
            sim.freeze(frozen)
            began = sim.now
            call = asyncio.create_task(asker.service("front", timeout=0.4).overview())
            await asyncio.sleep(0.1)
            sim.freeze(asker)  # so that no cancellation of the call comes
            await asyncio.sleep(1.0)
            assert [at - began for at in ended] == [pytest.approx(0.4, abs=0.05)]
            sim.thaw(asker)
            assert await call == [frozen.id]

        sim.run(body())


def test_a_reader_that_is_cancelled_ends_the_survey() -> None:
    started: list[str] = []
    ended: list[str] = []

    def slow() -> mesh.AsyncNode:
        node = mesh.AsyncNode("calc")

        @node.rpc
        async def health() -> None:
            started.append(node.id)
            try:
                await asyncio.sleep(60.0)
            finally:
                ended.append(node.id)

        return node

    with SimMesh(seed=5) as sim:
        sim.add(slow)
        sim.add(slow)
        asker = sim.node("asker")

        async def body() -> None:
            await asker.wait_for("calc", count=2)
            survey = asker.survey("calc.health", timeout=60.0)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2.0):
                    await survey.wait()
            await asyncio.sleep(0.1)
            assert survey.is_over
            assert len(started) == 2
            assert sorted(ended) == sorted(started)

        sim.run(body())
