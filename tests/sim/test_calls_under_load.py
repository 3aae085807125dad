"""Calls when callers die, peers are in doubt, or more is asked for than can be done."""

from __future__ import annotations

from typing import Any

import pytest

from patterns.errors import CallTimeout, Overloaded
from patterns.rpc import CallOptions
from patterns.rpc.inherited import inherited_deadline
from tests.sim import SimNode, Simulation, SimWaiter
from tests.sim.runner import sleep


def fleet(servers: int, seed: int = 0) -> tuple[Simulation, SimNode, list[SimNode]]:
    """A client and others; the client's grace is over."""
    sim = Simulation(seed)
    client, *others = sim.meshed(servers + 1)
    sim.run(1.5)
    return sim, client, others


@pytest.mark.parametrize("end", ["kill", "leave", "cut off"])
def test_when_a_caller_is_gone_its_handlers_are_cancelled_and_nothing_more_is_started(
    end: str,
) -> None:
    sim, client, (server, other) = fleet(2)
    begun: list[str] = []
    ended: list[str] = []

    async def work(caller: str) -> None:
        begun.append(caller)
        try:
            await sleep(30)
            ended.append(caller)
        except GeneratorExit:
            ended.append(f"{caller} cancelled")
            raise

    server.serve("work", work, service="calc", concurrency=2)
    sim.run(0.5)
    survivor = other.call("calc.work", "other", timeout=60)
    sim.run(0.01)
    for _ in range(3):
        client.call("calc.work", "client", timeout=60)
    sim.run(0.1)
    assert begun == ["other", "client"]
    if end == "kill":
        sim.kill(client)
    elif end == "leave":
        client.leave()
    else:
        sim.partition([client], [server, other])
    sim.run(12)
    assert ended == ["client cancelled"]
    sim.outcome(survivor, 40)
    assert begun == ["other", "client"]
    assert not len(server.engine.server)


@pytest.mark.parametrize("state", ["unresponsive", "suspect"])
def test_a_peer_in_doubt_gets_no_new_calls(state: str) -> None:
    sim, client, servers = fleet(3)
    served: list[str] = []

    def serve(server: SimNode) -> None:
        server.serve("who", lambda: served.append(server.id), service="calc")

    for server in servers:
        serve(server)
    sim.run(0.5)
    sim.block(servers[0]) if state == "unresponsive" else sim.freeze(servers[0])
    sim.until(lambda: client.peers()[servers[0].id] == state, 20)
    for number in range(100):
        key = number if number % 2 else None
        sim.outcome(client.call("calc.who", timeout=0.5, key=key))
    assert client.peers()[servers[0].id] == state
    assert set(served) == {servers[1].id, servers[2].id}


def test_what_a_handler_calls_has_the_time_that_is_left_and_no_more() -> None:
    sim, client, (middle, last) = fleet(2)
    lefts: list[float] = []
    outcomes: list[SimWaiter] = []

    def call(timeout: float) -> SimWaiter:
        waiter = middle.waiter()
        options = CallOptions(timeout)
        middle.engine.call("last.work", (), {}, options, waiter, inherited_deadline())
        return waiter

    async def pass_on() -> None:
        await sleep(0.2)
        outcomes.append(call(5.0))
        outcomes.append(call(0.1))
        await sleep(60)

    async def work() -> None:
        until = inherited_deadline()
        assert until is not None
        lefts.append(until - sim.now)
        await sleep(60)

    middle.serve("pass_on", pass_on, service="middle")
    last.serve("work", work, service="last")
    sim.run(0.5)
    outer = client.call("middle.pass_on", timeout=1.0)
    with pytest.raises(CallTimeout):
        sim.outcome(outer)
    assert lefts == [pytest.approx(0.8, abs=0.01), pytest.approx(0.1, abs=0.01)]
    for waiter in outcomes:
        with pytest.raises(CallTimeout):
            sim.outcome(waiter, 0.1)
    assert inherited_deadline() is None


@pytest.mark.parametrize("factor", [1, 3, 10])
def test_under_overload_what_is_accepted_is_in_time_and_the_capacity_is_used(factor: int) -> None:
    sim, client, (server,) = fleet(1)
    seconds, concurrency, lasts = 0.02, 4, 4.0

    async def work() -> None:
        await sleep(seconds)

    server.serve("work", work, service="calc", concurrency=concurrency)
    sim.run(0.5)
    capacity = concurrency / seconds
    calls: list[tuple[float, SimWaiter]] = []
    end = sim.now + lasts

    def call_on() -> None:
        calls.append((sim.now, client.call("calc.work", timeout=0.5)))
        if sim.now < end:
            sim.clock.call_later(1 / (capacity * factor), call_on)

    call_on()
    sim.run(lasts + 2)
    good: list[float] = []
    refused: list[Any] = []
    for began, waiter in calls:
        try:
            waiter.result()
            assert waiter.at is not None
            good.append(waiter.at - began)
        except Overloaded:
            refused.append(waiter)
            assert waiter.at is not None
            assert waiter.at - began < 0.1, "at once"
    assert len(good) + len(refused) == len(calls), "nothing that was accepted came too late"
    assert max(good) <= 0.5
    assert len(good) / lasts >= 0.9 * capacity * min(1, factor)
