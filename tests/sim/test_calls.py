"""Calls under every fault: each has exactly one outcome, by its deadline."""

from __future__ import annotations

import contextlib
from typing import get_args

import pytest

from mesh.engine.call_plane import SERVED_AT_ONCE
from mesh.testing.connections import Plane
from patterns.deadlines import TICK
from patterns.errors import (
    BadRequest,
    CallTimeout,
    MeshError,
    NodeClosed,
    NoProvider,
    Overloaded,
    PeerLost,
    RemoteError,
)
from patterns.rpc import CallOptions
from tests.sim import SimNode, Simulation, SimWaiter
from tests.sim.runner import sleep
from tests.sim.simulation import all_know_all


def served(count: int = 2, seed: int = 0) -> tuple[Simulation, SimNode, list[SimNode]]:
    """A client, and nodes that serve ``calc``; the client's grace is over."""
    sim = Simulation(seed)
    client, *servers = sim.meshed(count)

    async def wait(seconds: float) -> float:
        await sleep(seconds)
        return seconds

    def fail() -> None:
        raise ValueError("no")

    for server in servers:
        server.serve("wait", wait, service="calc")
        server.serve("add", lambda a, b=1: a + b, service="calc")
        server.serve("fail", fail, service="calc")
    sim.run(1.5)
    return sim, client, servers


def befall(sim: Simulation, client: SimNode, server: SimNode) -> None:
    """Something happens between the two, drawn by the simulation's seed."""
    fault = sim.random.randrange(7)
    if fault == 0 and server.process.is_alive:
        sim.kill(server)
    elif fault == 1:
        sim.freeze(server)
    elif fault == 2:
        sim.thaw(server)
    elif fault == 3:
        sim.partition([client], [server])
    elif fault == 4:
        sim.heal()
    elif fault == 5:
        for plane in get_args(Plane):
            with contextlib.suppress(LookupError):
                sim.cut(client, server, plane)
    elif fault == 6:
        sim.block(server)


@pytest.mark.parametrize("seed", range(60))
def test_every_call_has_exactly_one_outcome_by_its_deadline_whatever_happens(seed: int) -> None:
    sim, client, servers = served(4, seed)
    random = sim.random
    calls: list[tuple[float, float, SimWaiter]] = []

    def call_some() -> None:
        for _ in range(random.randrange(1, 6)):
            timeout = random.choice([0.05, 0.5, 2.0, 6.0])
            seconds = random.choice([0.0, 0.01, 0.3, 1.0])
            is_retry = random.random() < 0.5
            waiter = client.call("calc.wait", seconds, timeout=timeout, retry=is_retry)
            calls.append((sim.now, timeout, waiter))

    for _ in range(6):
        call_some()
        sim.run(random.random() * 0.1)
        server = random.choice(servers)
        befall(sim, client, server)
        call_some()
        sim.run(random.choice([0.01, 0.5, 3.0]))
        if random.random() < 0.5:
            sim.unblock(server)
    sim.run(7.0)
    for started, timeout, waiter in calls:
        assert waiter.at is not None, "every call ends"
        assert waiter.at - started <= timeout + 2 * TICK
        assert waiter.error is None or isinstance(waiter.error, MeshError)
    assert len(client.engine._client) == 0
    assert all(s.outstanding == 0 for s in client.engine._core.sessions.values())


def test_a_value_comes_back() -> None:
    sim, client, _ = served()
    assert sim.outcome(client.call("calc.add", 2, kwargs={"b": 3})) == 5


def test_what_the_handler_raises_is_a_remote_error_with_its_type_and_text() -> None:
    sim, client, servers = served()
    with pytest.raises(RemoteError) as caught:
        sim.outcome(client.call("calc.fail"))
    assert (caught.value.type, caught.value.message) == ("ValueError", "no")
    assert caught.value.peer.id == servers[0].id  # type: ignore[attr-defined]


def test_wrong_arguments_are_a_bad_request() -> None:
    sim, client, _ = served()
    with pytest.raises(BadRequest):
        sim.outcome(client.call("calc.add"))


def test_without_a_provider_a_call_fails_at_once_after_the_grace() -> None:
    sim, client, _ = served()
    started = sim.now
    for method in ("nobody.add", "calc.nothing"):
        with pytest.raises(NoProvider):
            sim.outcome(client.call(method))
    assert sim.now == started


def test_a_call_in_the_grace_waits_for_its_provider_and_keeps_its_deadline() -> None:
    sim = Simulation()
    client = sim.node("client")

    async def slow() -> str:
        await sleep(3.0)
        return "done"

    waiter = client.call("calc.slow", timeout=5.0)
    server = sim.node("calc", seeds=[client], open=False)
    server.serve("slow", slow)
    sim.run(0.3)
    server.open([client.address])
    assert sim.outcome(waiter) == "done"


def test_a_call_in_the_grace_for_which_nobody_comes_fails_when_the_grace_ends() -> None:
    sim = Simulation()
    client = sim.node("client")
    with pytest.raises(NoProvider):
        sim.outcome(client.call("calc.add"))
    assert sim.now == pytest.approx(1.0, abs=2 * TICK)


def test_a_call_that_gets_no_answer_times_out_at_its_deadline() -> None:
    sim, client, _ = served()
    started = sim.now
    with pytest.raises(CallTimeout):
        sim.outcome(client.call("calc.wait", 10.0, timeout=0.5))
    assert 0.5 <= sim.now - started <= 0.5 + 2 * TICK


@pytest.mark.parametrize("calls", [1, 100])
def test_calls_that_have_timed_out_are_not_started_by_a_server_that_was_busy(calls: int) -> None:
    sim, client, servers = served()
    started: list[int] = []
    servers[0].serve("note", started.append, service="calc")
    sim.run(0.1)
    sim.outcome(client.call("calc.note", -1))
    sim.block(servers[0])
    waiters = []
    for i in range(calls):
        waiters.append(client.call("calc.note", i, timeout=0.2))
        sim.run(0.001)
    sim.run(0.5)
    assert all(isinstance(waiter.error, CallTimeout) for waiter in waiters)
    sim.unblock(servers[0])
    sim.run(1)
    assert started == [-1]


def test_a_caller_goes_on_while_the_rest_of_its_frame_is_served() -> None:
    sim, client, servers = served()
    ran: list[int] = []
    had_run: list[int] = []
    servers[0].serve("note", ran.append, service="calc")
    sim.run(0.1)
    send = servers[0].transport.send_reply

    def spy(route: bytes, frame: bytes) -> str:
        had_run.append(len(ran))
        return send(route, frame)

    servers[0].transport.send_reply = spy  # type: ignore[method-assign]
    waiters = [client.call("calc.note", number) for number in range(2 * SERVED_AT_ONCE + 1)]
    sim.run(0.1)
    assert all(waiter.done() for waiter in waiters)
    assert ran == list(range(2 * SERVED_AT_ONCE + 1))
    # The first does not wait for the others, which share a frame.
    assert had_run == [1, 1 + SERVED_AT_ONCE, 1 + 2 * SERVED_AT_ONCE]


def test_the_deadlines_of_a_frame_count_from_its_arrival() -> None:
    sim, client, servers = served()
    started: list[int] = []

    def slow(number: int) -> None:
        started.append(number)
        sim.clock._now += 0.01

    servers[0].serve("slow", slow, service="calc")
    sim.run(0.1)
    waiters = [client.call("calc.slow", number, timeout=0.5) for number in range(100)]
    sim.run(2.0)
    late = [waiter for waiter in waiters if isinstance(waiter.error, CallTimeout)]
    assert late
    assert len(started) <= 55


def test_more_calls_than_run_and_wait_at_once_are_refused_as_overloaded() -> None:
    sim, client, servers = served()

    async def slow() -> None:
        await sleep(1.0)

    servers[0].serve("one", slow, service="calc", concurrency=1)
    sim.run(0.1)
    waiters = [client.call("calc.one", timeout=2000) for _ in range(1030)]
    sim.run(0.5)
    assert [type(w.error) for w in waiters if w.done()] == [Overloaded] * 5
    sim.run(1100)
    assert sum(w.done() and w.error is None for w in waiters) == 1025


def test_calls_are_shared_out_over_equal_members() -> None:
    sim, client, servers = served(5)
    counts: dict[str, int] = {server.id: 0 for server in servers}

    def handler(id: str) -> object:
        async def work() -> None:
            counts[id] += 1
            await sleep(0.1)

        return work

    for server in servers:
        server.serve("work", handler(server.id), service="calc")  # type: ignore[arg-type]
    sim.run(0.1)
    for _ in range(100):
        client.call("calc.work")
        sim.run(0.005)
    sim.run(1)
    assert sum(counts.values()) == 100
    assert min(counts.values()) > 10


def test_a_reply_whose_connection_is_gone_comes_back_over_the_link() -> None:
    sim, client, servers = served()
    waiter = client.call("calc.wait", 0.5)
    sim.run(0.1)
    sim.cut(client, servers[0], "request")
    assert sim.outcome(waiter) == 0.5


def test_a_call_whose_request_was_lost_with_its_connection_fails_after_the_link_is_renewed() -> (
    None
):
    sim, client, servers = served()
    server = servers[0]
    sim.outcome(client.call("calc.add", 1))
    waiter = client.call("calc.wait", 0.5, timeout=20.0)
    sim.clock.step(sim.now)
    sim.cut(client, server, "request")
    sim.cut(server, client)
    with pytest.raises(PeerLost):
        sim.outcome(waiter, 3.0)


def test_a_cancelled_call_is_forgotten_here_and_ends_there() -> None:
    sim, client, servers = served()
    ended: list[int] = []

    async def work() -> None:
        await sleep(0.1)
        ended.append(1)

    servers[0].serve("work", work, service="calc")
    sim.run(0.1)
    waiter = client.waiter()
    call_id = client.engine.call("calc.work", (), {}, CallOptions(), waiter)
    sim.run(0.01)
    client.engine.cancel(call_id)
    waiter.is_cancelled = True
    sim.run(1)
    assert waiter.at is None
    assert ended == []
    assert len(servers[0].engine.server) == 0
    assert all(s.outstanding == 0 for s in client.engine._core.sessions.values())


def test_a_node_calls_itself_like_any_other() -> None:
    sim, client, _ = served()
    client.serve("own", lambda x: x + 1)
    assert sim.outcome(client.call("n0.own", 1)) == 2


def test_closing_ends_what_waits() -> None:
    sim, client, _ = served()
    waiter = client.call("calc.wait", 10.0)
    sim.run(0.1)
    client.leave()
    with pytest.raises(NodeClosed):
        sim.outcome(waiter, 0.5)


def test_after_the_goodbye_nothing_new_begins() -> None:
    sim, client, _ = served()
    client.leave()
    for begin in (lambda: client.subscribe("news"), lambda: client.member("crew")):
        with pytest.raises(NodeClosed):
            begin()
    sim.run(0.5)


def test_a_call_that_is_given_up_as_lost_with_its_link_does_not_run_on() -> None:
    sim = Simulation(latency=0.05)
    one, two = sim.meshed(2)
    ended: list[float] = []

    async def take_long() -> None:
        try:
            await sleep(60.0)
        finally:
            ended.append(sim.now)

    two.serve("take_long", take_long)
    sim.run(1.0)
    # Its first call connects, so what is asked on the new link overtakes it.
    waiter = one.call("n1.take_long", timeout=30.0)
    sim.run(0.001)
    one.engine._control.open_link(one.engine._core.sessions[two.engine.config.id])
    with pytest.raises(PeerLost):
        sim.outcome(waiter, 5.0)
    sim.run(1.0)
    assert len(ended) == 1
    assert len(two.engine.server) == 0


def test_a_sleep_of_the_machine_does_not_count_as_work_and_nobody_is_refused_for_it() -> None:
    sim = Simulation()
    one, two = sim.meshed(2)

    async def work() -> None:
        await sleep(0.1)

    two.serve("work", work, concurrency=1)
    sim.run(1.0)
    one.call("n1.work", timeout=0.5)
    sim.run(0.05)
    sim.freeze(two)
    sim.run(60.0)
    sim.thaw(two)
    sim.until(lambda: all_know_all([one, two]), 10.0)
    sim.run(1.0)
    waiters = [one.call("n1.work", timeout=10.0) for _ in range(5)]
    assert [sim.outcome(waiter) for waiter in waiters] == [None] * 5
