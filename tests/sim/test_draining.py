"""Leaving well: a node that drains starts nothing, and costs nobody anything."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.testing.world import JITTER, LATENCY
from patterns.errors import NodeClosed, NoProvider, Timeout
from patterns.messages import Message
from tests.sim import SimNode, Simulation, SimWaiter
from tests.sim.runner import sleep


def fleet(
    count: int, seed: int = 0, latency: float = LATENCY, jitter: float = JITTER
) -> tuple[Simulation, SimNode, list[SimNode]]:
    """A client and others; its grace is over."""
    sim = Simulation(seed, latency=latency, jitter=jitter)
    client, *servers = sim.meshed(count + 1)
    sim.run(1.5)
    return sim, client, servers


def serve(server: SimNode, seconds: float = 0.05, concurrency: int = 64) -> list[Any]:
    """Serve "calc.work"; returns the numbers it has begun."""
    begun: list[Any] = []

    async def work(number: Any) -> str:
        begun.append(number)
        await sleep(seconds)
        return server.id

    server.serve("work", work, service="calc", concurrency=concurrency)
    return begun


@pytest.mark.parametrize(("latency", "jitter"), [(LATENCY, JITTER), (0.01, 10.0)])
@pytest.mark.parametrize("seed", range(4))
def test_no_call_fails_without_retry_while_servers_drain_and_leave_one_by_one(
    seed: int, latency: float, jitter: float
) -> None:
    sim, client, servers = fleet(4, seed, latency, jitter)
    begun = [serve(server) for server in servers]
    sim.run(0.5)
    calls: list[SimWaiter] = []

    def call() -> None:
        key = len(calls) % 5 if seed % 2 else None
        calls.append(client.call("calc.work", len(calls), key=key))

    def call_on() -> None:
        call()
        if sim.now < end:
            sim.clock.call_later(0.01, call_on)

    end = sim.now + 3
    call_on()
    for server in servers[:3]:
        sim.run(0.3)
        for _ in range(16):  # on their way when it begins
            call()
        drained = server.drain()
        if jitter > JITTER:
            # Requests that were sent before it is known may come behind the confirmation.
            sim.clock.call_later(latency * jitter / 4, lambda: [call() for _ in range(16)])
        sim.outcome(drained)
        server.leave()
    sim.until(lambda: sim.now > end, 10)
    for waiter in calls:
        sim.outcome(waiter)
    ran = sorted(number for numbers in begun for number in numbers)
    assert ran == list(range(len(calls))), "each call was begun once"
    assert client.engine.counters["calls_taken_elsewhere"] > 0, "nothing was handed on"


def test_what_runs_ends_and_what_waits_goes_to_another_node() -> None:
    sim, client, (first, second) = fleet(2)
    began_first = serve(first, 2.0, concurrency=2)
    sim.run(0.5)
    calls = [client.call("calc.work", number) for number in range(10)]
    sim.run(0.5)
    began_second = serve(second, 0.1)
    sim.run(0.1)
    assert began_first == [0, 1]
    drained = first.drain()
    sim.run(0.5)
    assert sorted(began_second) == list(range(2, 10))
    assert not drained.done()
    sim.outcome(drained)
    assert [sim.outcome(call) for call in calls] == [first.id] * 2 + [second.id] * 8
    assert began_first == [0, 1]


def test_a_drain_that_takes_too_long_says_what_runs_and_leaving_is_possible() -> None:
    sim, client, (server, _) = fleet(2)
    serve(server, 60.0)
    group: list[Message] = []

    async def hold(message: Message) -> None:
        group.append(message)
        await sleep(60)

    server.member("crew", hold)
    server.subscribe("slow.*", hold)
    sim.run(0.5)
    client.call("calc.work", 1)
    client.groupcast("crew", 1)
    client.publish("slow.one")
    sim.run(0.1)
    assert len(group) == 2
    with pytest.raises(Timeout, match=r"work\(\) run.*crew.*slow\.\*"):
        sim.outcome(server.drain(2.0))
    with pytest.raises(Timeout, match=r"work\(\) run"):
        sim.outcome(server.drain(0.0))
    server.leave()
    sim.until(lambda: client.peers().get(server.id) is None, 5)


def test_own_verbs_work_after_a_drain_and_new_work_is_refused() -> None:
    sim, client, (first, second) = fleet(2)
    serve(first)
    serve(second)
    heard = second.hear("news")
    crew = second.join("crew")
    sim.run(0.5)
    sim.outcome(first.drain())
    sim.outcome(first.drain())
    assert sim.outcome(first.call("calc.work", 1)) == second.id
    assert sim.outcome(first.groupcast("crew", 1)).id == second.id
    assert first.publish("news") == 1
    sim.outcome(first.flush())
    assert (len(heard), len(crew)) == (1, 1)
    assert first.engine.me.services == {}
    with pytest.raises(NodeClosed, match="draining"):
        serve(first)
    with pytest.raises(NodeClosed, match="draining"):
        first.member("crew")
    with pytest.raises(NodeClosed, match="draining"):
        first.hear("news")
    assert client.knows(first), "it is up"


def test_casts_that_were_not_begun_go_to_others_unmarked() -> None:
    sim, client, members = fleet(3)
    handled: dict[int, list[tuple[str, bool]]] = {}
    draining: list[SimNode] = []

    def join(member: SimNode) -> None:
        async def work(message: Message) -> None:
            handled.setdefault(message.data, []).append((member.id, message.redelivered))
            assert member not in draining, "begun by a node that drains"
            await sleep(0.01)

        member.member("crew", work)
        member.subscribe("jobs.*", work, group="queue")

    for member in members:
        join(member)
    sim.run(0.5)
    sent = 0
    drained: list[SimWaiter] = []
    for round_ in range(60):
        for _ in range(3):
            client.groupcast("crew", sent, key=sent % 3 if sent % 2 else None)
            client.publish("jobs.one", sent + 100_000)
            sent += 1
        if round_ in (20, 40):
            draining.append(members[round_ // 20 - 1])
            drained.append(draining[-1].drain())
        sim.run(0.03)  # so that members have credit to give
        for number, waiter in enumerate(drained):
            if waiter.done() and members[number].engine.is_open:
                waiter.result()
                members[number].leave()
    sim.outcome(client.flush(30), 40)
    assert len(handled) == 2 * sent
    assert not any(member.runner.failures for member in members)
    assert all(len(runs) == 1 and not runs[0][1] for runs in handled.values())


@pytest.mark.parametrize("seed", range(5))
def test_what_was_published_to_a_node_until_it_withdrew_is_handled(seed: int) -> None:
    sim, client, (server, _) = fleet(2, seed)
    handled: list[int] = []

    async def on_news(message: Message) -> None:
        handled.append(message.data)
        await sleep(0.02)

    server.subscribe("news", on_news)
    sim.run(0.5)
    sent: list[int] = []

    def publish() -> None:
        for number in range(3):
            if client.publish("news", len(sent)):
                sent.append(number)
        sim.clock.call_later(0.01, publish)

    publish()
    sim.run(0.3)
    sim.outcome(server.drain())
    assert len(sent) > 90, "more than it handles meanwhile"
    assert handled == list(range(len(sent)))
    assert client.publish("news", None) == 0


def test_without_another_provider_a_call_waits_for_the_next_if_it_may() -> None:
    sim, client, (first, second) = fleet(2)
    serve(first)
    sim.run(0.5)
    drained = first.drain()
    hasty, patient = client.call("calc.work", 1), client.call("calc.work", 2, wait=5.0)
    sim.outcome(drained)
    with pytest.raises(NoProvider):
        sim.outcome(hasty)
    first.leave()
    serve(second)
    assert sim.outcome(patient) == second.id


def test_a_call_to_a_chosen_peer_that_drains_is_an_error_that_says_so() -> None:
    sim, client, (first, second) = fleet(2)
    serve(first)
    serve(second)
    sim.run(0.5)
    drained = first.drain()
    with pytest.raises(NoProvider, match="leaving"):
        sim.outcome(client.call("calc.work", 1, peer=first))
    sim.outcome(drained)


def test_a_drain_waits_until_each_alive_peer_knows() -> None:
    sim, client, (first, _) = fleet(2)
    serve(first)
    sim.run(0.5)
    sim.block(client)
    drained = first.drain()
    sim.run(1.5)
    assert not drained.done()
    sim.unblock(client)
    sim.outcome(drained, 1.0)
    assert client.engine.publish("anything", None, None) == 0
    assert not any(peer.services.get("calc") for peer in client.engine.peers())


def test_a_peer_that_does_not_answer_holds_a_drain_up_until_it_is_in_doubt() -> None:
    sim, client, (first, second) = fleet(2)
    serve(first)
    sim.freeze(client)
    began = sim.now
    sim.outcome(first.drain(30))
    assert sim.now - began < 10
    assert first.knows(second)
