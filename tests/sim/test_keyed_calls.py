"""Keyed calls while views differ, owners fall silent, die and come: one node serves each call."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from patterns.deadlines import TICK
from patterns.errors import MeshError, PeerLost
from patterns.rpc import Request
from tests.sim import SimNode, Simulation, SimWaiter
from tests.sim.runner import sleep

KEYS = [f"user:{number}" for number in range(200)]
SILENCE = 3.5
"""Seconds until a silent peer is suspect, with some to spare."""


class Service:
    """``calc`` on some nodes; ``started`` is who started what, in order: (node, key, number)."""

    def __init__(self) -> None:
        self.started: list[tuple[SimNode, Any, Any]] = []

    def add(self, node: SimNode) -> None:
        def who(request: Request, number: int = 0) -> str:
            self.started.append((node, request.key, number))
            return node.id

        async def work(request: Request, number: int = 0, seconds: float = 0.2) -> str:
            self.started.append((node, request.key, number))
            await sleep(seconds)
            return node.id

        node.serve("who", who, service="calc")
        node.serve("work", work, service="calc")


def served(count: int, seed: int = 0) -> tuple[Simulation, SimNode, list[SimNode], Service]:
    """A client, and so many nodes that serve ``calc``; everybody knows that."""
    sim = Simulation(seed)
    client, *servers = sim.meshed(count + 1)
    service = Service()
    for server in servers:
        service.add(server)
    sim.run(1.5)
    return sim, client, servers, service


def owners(node: SimNode, key: str) -> list[str]:
    """Ids in order of preference, by that node's view."""
    return [peer.id for peer in node.engine.rings.owners("calc", key)]


def owner(node: SimNode, key: str) -> str:
    return owners(node, key)[0]


def handled(sim: Simulation, client: SimNode, keys: Sequence[str] = KEYS) -> dict[str, str]:
    """Key to the id of the node that handles it now."""
    waiters = {key: client.call("calc.who", key=key) for key in keys}
    return {key: sim.outcome(waiter) for key, waiter in waiters.items()}


def owned_by(client: SimNode, node: SimNode) -> list[str]:
    return [key for key in KEYS if owner(client, key) == node.id]


def moved(nodes: Sequence[SimNode]) -> int:
    return sum(node.engine.server.moved for node in nodes)


def served_for_others(nodes: Sequence[SimNode]) -> int:
    return sum(node.engine.server.served_for_others for node in nodes)


def followed(node: SimNode) -> int:
    return node.engine._client.redirects_followed


class View:
    """An order of preference that a node believes in, whatever the key."""

    def __init__(self, node: SimNode, *order: SimNode) -> None:
        handle_of = node.engine._calls.handle_of
        self._order = [handle_of(bytes.fromhex(other.id)) for other in order]
        node.engine._calls.rings = self  # type: ignore[assignment]

    def service_owners(self, service: str, key: bytes) -> list[Any]:
        return self._order


def test_every_key_is_handled_by_the_one_node_that_all_name() -> None:
    sim, client, servers, service = served(4)
    answers = handled(sim, client)
    for node in (client, *servers):
        assert answers == {key: owner(node, key) for key in KEYS}
    assert set(answers.values()) == {server.id for server in servers}
    assert answers == {key: node.id for node, key, _ in service.started}
    assert handled(sim, servers[0]) == answers, "also for a caller that owns some itself"
    assert (moved(servers), served_for_others(servers)) == (0, 0)


@pytest.mark.parametrize("key", ["7", b"7", 7])
def test_one_key_in_whatever_type_has_one_owner_and_the_handler_sees_the_type(key: Any) -> None:
    sim, client, _, service = served(4)
    assert sim.outcome(client.call("calc.who", key=key)) == owner(client, "7")
    assert [type(seen) for _, seen, _ in service.started] == [type(key)]


@pytest.mark.parametrize("fault", ["freeze", "block"])
def test_the_keys_of_a_silent_owner_go_to_the_next_no_others_move_and_they_come_back(
    fault: str,
) -> None:
    sim, client, servers, _ = served(4)
    before = handled(sim, client)
    silent = servers[0]
    if fault == "freeze":
        sim.freeze(silent)
        sim.until(lambda: client.peers()[silent.id] == "suspect", SILENCE)
    else:
        sim.block(silent)
        sim.until(lambda: client.peers()[silent.id] == "unresponsive", 10)
    meanwhile = handled(sim, client)
    for key in KEYS:
        first, second, *_ = owners(client, key)
        assert first == before[key], "it is not re-hashed"
        assert meanwhile[key] == (second if first == silent.id else first)
    sim.thaw(silent)
    sim.unblock(silent)
    sim.until(lambda: client.peers()[silent.id] == "alive", 10)
    assert handled(sim, client) == before
    assert moved(servers) == 0


def test_an_owner_that_only_the_caller_has_lost_is_passed_over_and_others_serve_for_it() -> None:
    sim, client, servers, _ = served(3)
    cut_off = servers[0]
    sim.partition([client], [cut_off])
    sim.until(lambda: client.peers()[cut_off.id] == "suspect", SILENCE)
    keys = owned_by(client, cut_off)
    assert handled(sim, client, keys) == {key: owners(client, key)[1] for key in keys}
    assert served_for_others(servers) == len(keys), "the others see the owner alive"
    assert moved(servers) == 0, "what was passed over is not named again"


def test_a_dying_owner_costs_its_calls_in_flight_and_with_retry_none() -> None:
    sim, client, servers, service = served(4)
    victim = servers[0]
    keys = owned_by(client, victim)[:20]
    next_ones = {key: owners(client, key)[1] for key in keys}
    lost = [client.call("calc.work", 1, key=key) for key in keys]
    kept = {key: client.call("calc.work", 2, key=key, retry=True) for key in keys}
    sim.run(0.1)
    sim.kill(victim)
    sim.run(2.0)
    assert {type(waiter.error) for waiter in lost} == {PeerLost}
    assert {key: waiter.result() for key, waiter in kept.items()} == next_ones
    again = Counter(key for node, key, number in service.started if number == 2)
    assert set(again.values()) == {2}, "begun at the victim, and once more"
    assert Counter(key for *_, key, number in service.started if number == 1) == Counter(keys)


def test_after_an_owner_has_died_only_its_keys_have_moved_each_to_the_next() -> None:
    sim, client, servers, _ = served(4)
    before = {key: owners(client, key) for key in KEYS}
    victim = servers[0]
    sim.kill(victim)
    sim.until(lambda: victim.id not in client.peers(), 5)
    for key, now in handled(sim, client).items():
        first, second, *_ = before[key]
        assert now == (second if first == victim.id else first)


def newcomer(sim: Simulation, service: Service) -> SimNode:
    """A node that serves ``calc``, not opened yet."""
    new = sim.node("new", open=False)
    service.add(new)
    return new


def test_a_caller_that_does_not_know_a_new_owner_yet_is_served_by_the_old_one() -> None:
    sim, client, servers, service = served(3)
    before = handled(sim, client)
    new = newcomer(sim, service)
    sim.partition([client], [new])
    new.open([servers[0].address])
    sim.until(lambda: all(server.knows(new) for server in servers), 5)
    keys = {key for key in KEYS if owner(servers[0], key) == new.id}
    assert keys
    assert handled(sim, client) == before
    assert moved(servers) == followed(client) == served_for_others(servers) == len(keys)
    sim.heal()
    sim.until(lambda: client.knows(new), 10)
    after = handled(sim, client)
    assert {key for key in KEYS if after[key] != before[key]} == keys
    assert {after[key] for key in keys} == {new.id}
    assert moved(servers) == len(keys), "once views agree nobody is redirected"


def test_a_caller_that_knows_a_new_owner_before_the_others_is_served_by_it() -> None:
    sim, client, servers, service = served(3)
    before = handled(sim, client)
    new = newcomer(sim, service)
    sim.partition(servers, [new])
    new.open([client.address])
    sim.until(lambda: client.knows(new), 5)
    for key, now in handled(sim, client).items():
        assert now == (new.id if owner(client, key) == new.id else before[key])
    assert moved([new, *servers]) == 0


def test_a_redirect_leads_a_caller_to_the_owner_that_it_comes_to_know_meanwhile() -> None:
    sim, client, servers, service = served(3)
    new = newcomer(sim, service)
    sim.partition([client], [new])
    new.open([servers[0].address])
    sim.until(lambda: all(server.knows(new) for server in servers), 5)
    keys = [key for key in KEYS if owner(servers[0], key) == new.id]
    waiters = [client.call("calc.who", key=key, timeout=20.0) for key in keys]
    for server in servers:
        sim.network.set_latency(server.host, client.host, 5.0)
    sim.heal()
    sim.until(lambda: client.knows(new), 10)
    assert not any(waiter.done() for waiter in waiters)
    assert {sim.outcome(waiter) for waiter in waiters} == {new.id}
    assert followed(client) == moved(servers) == len(keys)
    assert served_for_others([new, *servers]) == 0


def test_two_that_each_believe_the_other_owns_a_key_are_asked_three_times_in_all() -> None:
    sim, client, servers, service = served(2)
    a, b = servers
    View(client, a, b)
    View(a, b, a)
    View(b, a, b)
    assert sim.outcome(client.call("calc.who", key="k")) == a.id
    assert [node for node, *_ in service.started] == [a]
    assert (a.engine.server.moved, b.engine.server.moved) == (1, 1)
    assert (a.engine.server.served_for_others, followed(client)) == (1, 2)


def test_a_chain_of_redirects_ends_at_the_third_node() -> None:
    sim, client, servers, service = served(4)
    a, b, c, d = servers
    View(client, a, b, c, d)
    View(a, b, a, c, d)
    View(b, c, a, b, d)
    View(c, d, a, b, c)
    assert sim.outcome(client.call("calc.who", key="k")) == c.id
    assert [node for node, *_ in service.started] == [c]
    assert (moved(servers), served_for_others(servers), followed(client)) == (2, 1, 2)
    assert client.engine.counters["redirects_followed"] == 2
    assert [node.engine.counters["moved_calls"] for node in (a, b)] == [1, 1]
    assert c.engine.counters["keyed_served_for_others"] == 1


def test_a_node_that_sees_another_owner_of_its_own_call_is_redirected_as_well() -> None:
    sim, _, servers, _ = served(2)
    a, b = servers
    View(b, a, b)
    assert sim.outcome(a.call("calc.who", key="k", peer=None)) in (a.id, b.id)
    View(a, a, b)
    assert sim.outcome(b.call("calc.who", key="k")) == a.id
    View(b, b, a)
    assert sim.outcome(b.call("calc.who", key="k")) == b.id


def test_a_redirect_to_one_that_dies_meanwhile_moves_on_with_retry() -> None:
    sim, client, servers, service = served(3)
    a, b, c = servers
    View(client, a, c, b)
    View(a, b, a, c)
    sim.block(b)
    plain = client.call("calc.work", 1, key="k")
    kept = client.call("calc.work", 2, key="k", retry=True)
    sim.run(0.1)
    sim.kill(b)
    assert sim.outcome(kept) == a.id, "a redirect is no failed try"
    with pytest.raises(PeerLost):
        sim.outcome(plain)
    assert [(node, number) for node, _, number in service.started] == [(a, 2)]


def test_only_who_is_joined_can_be_named_by_its_id() -> None:
    sim, client, servers, _ = served(2)
    handle_of = client.engine._calls.handle_of
    a, b = (bytes.fromhex(server.id) for server in servers)
    assert [handle.id for handle in map(handle_of, (a, b)) if handle is not None] == [a, b]
    assert handle_of(bytes.fromhex(client.id)) is client.engine._local
    assert handle_of(bytes(16)) is None
    sim.kill(servers[0])
    sim.until(lambda: servers[0].id not in client.peers(), 5)
    assert handle_of(a) is None


def test_a_method_that_few_members_serve_has_its_owner_among_those() -> None:
    sim, client, servers, _ = served(12)
    few = servers[:2]
    for node in few:
        node.serve("rare", lambda node=node: node.id, service="calc")
    sim.run(0.1)
    waiters = {key: client.call("calc.rare", key=key) for key in KEYS}
    for key, waiter in waiters.items():
        first = next(id for id in owners(client, key) if id in [node.id for node in few])
        assert sim.outcome(waiter) == first
    assert (moved(servers), served_for_others(servers)) == (0, 0)


def test_without_a_provider_a_keyed_call_waits_for_its_owner_in_the_grace() -> None:
    sim = Simulation()
    client = sim.node("client")
    waiter = client.call("calc.who", key="k")
    service = Service()
    server = sim.node("calc", open=False)
    service.add(server)
    sim.run(0.3)
    server.open([client.address])
    assert sim.outcome(waiter) == server.id
    assert [(key, node) for node, key, _ in service.started] == [("k", server)]


@pytest.mark.parametrize("seed", range(40))
def test_every_keyed_call_has_one_outcome_by_its_deadline_and_one_start_unless_repeatable(
    seed: int,
) -> None:
    sim, client, servers, service = served(4, seed)
    random = sim.random
    calls: list[tuple[float, float, bool, SimWaiter]] = []

    def call_some() -> None:
        for _ in range(random.randrange(1, 6)):
            timeout, is_retry = random.choice([0.05, 0.5, 2.0, 6.0]), random.random() < 0.5
            seconds = random.choice([0.0, 0.01, 0.3, 1.0])
            waiter = client.call(
                "calc.work",
                len(calls),
                seconds,
                key=random.choice(KEYS),
                timeout=timeout,
                retry=is_retry,
            )
            calls.append((sim.now, timeout, is_retry, waiter))

    for _ in range(6):
        call_some()
        sim.run(random.random() * 0.1)
        befall(sim, client, servers, service)
        call_some()
        sim.run(random.choice([0.01, 0.5, 3.0]))
    sim.run(7.0)
    starts = Counter(number for *_, number in service.started)
    for number, (began, timeout, is_retry, waiter) in enumerate(calls):
        assert waiter.at is not None, "every call ends"
        assert waiter.at - began <= timeout + 2 * TICK
        assert waiter.error is None or isinstance(waiter.error, MeshError)
        assert is_retry or starts[number] <= 1
    assert len(client.engine._client) == 0
    assert all(s.outstanding == 0 for s in client.engine._core.sessions.values())


def befall(sim: Simulation, client: SimNode, servers: list[SimNode], service: Service) -> None:
    """Something that makes views differ, drawn by the simulation's seed."""
    one, other = sim.random.sample([client, *servers], 2)
    fault = sim.random.randrange(6)
    if fault == 0 and one is not client:
        sim.kill(one)
    elif fault == 1 and one is not client:
        sim.freeze(one)
    elif fault == 2:
        for node in servers:
            sim.thaw(node)
    elif fault == 3:
        sim.partition([one], [other])
    elif fault == 4:
        sim.heal()
    else:
        servers.append(newcomer(sim, service).open([one.address]))
        with contextlib.suppress(LookupError):
            sim.cut(client, other)
