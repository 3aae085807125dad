"""Deaths, stops, splits and returns: who is believed alive, when, and what survives it."""

from __future__ import annotations

import pytest

from mesh.engine import events as e
from patterns.errors import PeerLost
from tests.sim import SimNode, Simulation
from tests.sim.runner import sleep
from tests.sim.simulation import all_know_all

HEAL_BOUND = 7.0
"""Seconds from a healed path to equal views: a redial every 0.5 to 2 s, an answer's 2 s, and what
libzmq needs to connect."""


def pair(seed: int = 0) -> tuple[Simulation, SimNode, SimNode]:
    sim = Simulation(seed)
    one, two = sim.meshed(2)
    sim.run(0.5)
    return sim, one, two


def story(node: SimNode, of: SimNode) -> list[str]:
    """Names of the events about a peer, without updates and gaps."""
    ignored = (e.PeerUpdated, e.Gap)
    return [
        type(x).__name__ for x in node.events if x.peer.id == of.id and not isinstance(x, ignored)
    ]


@pytest.mark.parametrize("seed", range(10))
def test_a_killed_process_is_suspect_at_once_and_failed_in_well_under_a_second(seed: int) -> None:
    sim = Simulation(seed)
    nodes = sim.meshed(5)
    sim.run(1)
    victim = nodes[sim.random.randrange(5)]
    others = [node for node in nodes if node is not victim]
    killed_at = sim.now
    sim.kill(victim)
    sim.run(0.5)
    for node in others:
        assert node.time_of(e.PeerSuspected, victim) - killed_at < 0.01
        assert node.time_of(e.PeerFailed, victim) - killed_at < 0.2
        assert victim.id not in node.peers()
    assert all_know_all(others)


def test_a_frozen_process_is_suspect_after_3_s_and_failed_before_8_s() -> None:
    sim, one, two = pair()
    start = sim.now
    sim.freeze(two)
    sim.run(10)
    assert story(one, two) == ["PeerJoined", "PeerSuspected", "PeerFailed"]
    assert 2.5 < one.time_of(e.PeerSuspected, two) - start < 3.5
    assert 6.0 < one.time_of(e.PeerFailed, two) - start < 8.0


@pytest.mark.parametrize("seed", range(10))
def test_a_suspect_that_comes_back_is_alive_again_and_loses_no_membership(seed: int) -> None:
    sim, one, two = pair(seed)
    heard = two.hear("n")
    sim.outcome(two.confirm())
    sim.freeze(two)
    sim.until(lambda: bool(one.saw(e.PeerSuspected, two)), 3.5)
    sim.run(sim.random.random() * 3)
    sim.thaw(two)
    sim.until(lambda: one.knows(two), 2.0)
    sim.run(5)
    assert story(one, two) == ["PeerJoined", "PeerSuspected", "PeerRecovered"]
    assert story(two, one) == ["PeerJoined"]
    one.publish("n", 1)
    sim.run(0.1)
    assert [m.data for m in heard][-1:] == [1]


@pytest.mark.parametrize("seconds", [2.0, 20.0, 3600.0])
def test_a_node_that_was_stopped_itself_judges_nobody(seconds: float) -> None:
    sim = Simulation()
    nodes = sim.meshed(3)
    sim.run(1)
    sim.freeze(nodes[0])
    sim.run(seconds)
    before = len(nodes[0].events)
    sim.thaw(nodes[0])
    sim.run(0.5)
    kinds = {type(x) for x in nodes[0].events[before:]}
    assert e.PeerFailed not in kinds
    assert e.PeerUnresponsive not in kinds
    sim.until(lambda: all_know_all(nodes), HEAL_BOUND + 5)
    assert e.PeerFailed not in {type(x) for x in nodes[0].events}


def test_who_is_found_lost_after_a_long_sleep_is_judged_by_the_usual_time() -> None:
    sim = Simulation()
    sleeper, lost = sim.meshed(2)
    sim.freeze(sleeper)
    sim.run(10)
    sim.kill(lost)
    sim.run(3600)
    sim.partition([sleeper], [lost])
    sim.thaw(sleeper)
    sim.until(lambda: bool(sleeper.saw(e.PeerFailed, lost)), 8.0)


def test_all_asleep_and_awake_again_is_no_death() -> None:
    sim = Simulation()
    nodes = sim.meshed(4)
    sim.run(1)
    for node in nodes:
        sim.freeze(node)
    sim.run(3600)
    for node in nodes:
        sim.thaw(node)
    sim.run(10)
    assert all_know_all(nodes)
    for node in nodes:
        assert not any(isinstance(x, e.PeerFailed) for x in node.events)


def test_a_blocked_python_is_unresponsive_after_5_s_avoided_and_back_when_it_answers() -> None:
    sim = Simulation()
    client, busy, idle = sim.meshed(3)
    for node in (busy, idle):
        node.serve("who", lambda node=node: node.id, service="calc")
    sim.run(1)
    sim.block(busy)
    sim.until(lambda: client.peers()[busy.id] == "unresponsive", 6.0)
    assert story(client, busy) == ["PeerJoined", "PeerUnresponsive"]
    answers = [client.call("calc.who", timeout=1.0) for _ in range(20)]
    assert {sim.outcome(answer) for answer in answers} == {idle.id}
    sim.run(60)
    assert client.peers()[busy.id] == "unresponsive", "kept for as long as its link is up"
    sim.unblock(busy)
    sim.until(lambda: client.knows(busy), 0.1)
    assert story(client, busy) == ["PeerJoined", "PeerUnresponsive", "PeerRecovered"]


def test_a_python_that_blocks_for_4_s_now_and_then_is_not_even_noticed() -> None:
    sim, one, two = pair()
    for _ in range(5):
        sim.block(two)
        sim.run(4.0)
        sim.unblock(two)
        sim.run(1.0)
    assert story(one, two) == ["PeerJoined"]
    assert story(two, one) == ["PeerJoined"]


def test_an_idle_mesh_stays_as_it_is_for_an_hour() -> None:
    sim = Simulation()
    nodes = sim.meshed(3)
    sim.run(3600)
    for node in nodes:
        assert {type(x) for x in node.events} == {e.PeerJoined}


def test_a_goodbye_is_left_and_is_not_redialled() -> None:
    sim = Simulation()
    nodes = sim.meshed(3)
    leaver, others = nodes[2], nodes[:2]  # not the seed: who else has its address is asked
    sim.run(0.5)
    leaver.leave()
    for _ in range(60):
        sim.run(1.0)
        for node in others:
            assert story(node, leaver) == ["PeerJoined", "PeerLeft"]
            assert leaver.address not in [dial.address for dial in node.transport.dials]
    assert all_know_all(others)


@pytest.mark.parametrize("seed", range(10))
def test_views_agree_within_a_bound_after_a_partition_heals(seed: int) -> None:
    sim = Simulation(seed)
    nodes = sim.meshed(7)
    for _ in range(3):
        count = sim.random.randrange(1, 7)
        sim.random.shuffle(nodes)
        sim.partition(nodes[:count], nodes[count:])
        sim.run(sim.random.choice([1.0, 3.0, 6.0, 9.0, 40.0]))
        sim.heal()
        sim.until(lambda: all_know_all(nodes), HEAL_BOUND)
        sim.run(2.0)
        assert all_know_all(nodes)
        heard = [node.hear("healed") for node in nodes]
        for node in nodes:
            sim.outcome(node.confirm())
        for node in nodes:
            assert node.publish("healed", node.id) == 7
        sim.run(0.5)
        for messages in heard:
            assert sorted(m.data for m in messages) == sorted(node.id for node in nodes)


def test_nodes_that_could_not_reach_each_other_when_they_came_meet_when_they_can() -> None:
    sim = Simulation()
    hub = sim.node("hub")
    one, two = sim.node("one", open=False), sim.node("two", open=False)
    sim.partition([one], [two])
    for node in (one, two):
        node.open([hub.address])
    sim.run(300)
    assert one.peers().keys() == two.peers().keys() == {hub.id}
    sim.heal()
    sim.until(lambda: all_know_all([hub, one, two]), 120.0)


def test_a_failed_peer_that_returns_joins_again_and_its_numbers_go_on() -> None:
    sim, one, two = pair()
    heard = two.hear("n")
    sim.outcome(two.confirm())
    for i in range(5):
        one.publish("n", i)
    sim.run(0.1)
    sim.partition([one], [two])
    sim.run(0.1)
    for i in range(5, 12):
        one.publish("n", i)
    sim.until(lambda: bool(two.saw(e.PeerFailed, one) and one.saw(e.PeerFailed, two)), 8.0)
    assert one.publish("n", -1) == 0, "to no member, and yet the one that is away misses it"
    sim.heal()
    sim.until(lambda: all_know_all([one, two]), HEAL_BOUND)
    one.publish("n", 12)
    sim.run(0.5)
    numbers = [m.data for m in heard]
    assert numbers == sorted(set(numbers))
    known = sum(x.missed or 0 for x in two.saw(e.Gap, one) if isinstance(x, e.Gap))
    assert len(numbers) + known == 14
    expected = ["PeerJoined", "PeerSuspected", "PeerFailed", "PeerJoined"]
    assert story(one, two) == story(two, one) == expected


@pytest.mark.parametrize("seed", range(10))
def test_a_restarted_node_is_a_new_member_and_the_old_one_failed(seed: int) -> None:
    sim = Simulation(seed)
    nodes = sim.meshed(4)
    old, others = nodes[0], nodes[1:]
    for node in others:
        node.serve("echo", lambda x: x, service="echo")
    sim.run(0.5)
    sim.kill(old)
    sim.run(sim.random.random() * 0.3)
    new = sim.restart(old)
    sim.until(lambda: all_know_all([new, *others]), HEAL_BOUND)
    for node in others:
        assert node.saw(e.PeerFailed, old)
        assert old.id not in node.peers()
    heard = [node.hear("n") for node in (new, *others)]
    for node in (new, *others):
        sim.outcome(node.confirm())
    for i in range(100):
        for node in (new, *others):
            assert node.publish("n", i) == 4
        sim.run(0.03)
    sim.run(1)
    for messages in heard:
        for node in (new, *others):
            mine = [m.data for m in messages if m.sender.id == node.id]
            assert mine == list(range(100)), "nothing is lost between nodes that stay up"


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("knows_us", [False, True])
def test_what_was_meant_for_a_dead_node_is_never_handled_by_its_successor(
    seed: int, knows_us: bool
) -> None:
    sim, client, old = pair(seed)
    old.serve("add", lambda x: x, service="calc")
    sim.outcome(old.confirm())
    assert sim.outcome(client.call("calc.add", 1)) == 1
    handled: list[int] = []
    sim.network.end(old.process)
    pending = []
    for i in range(20):
        pending.append(client.call("calc.add", i, peer=old))
        client.publish("n", i)
        sim.run(0.0001)
    new = sim.restart(old, open=False)
    new.serve("add", lambda x: handled.append(x), service="calc")
    heard = new.hear("n")
    sim.run(sim.random.random() * 0.01)
    new.open([client.address] if knows_us else [])
    for i in range(20):
        pending.append(client.call("calc.add", i, peer=old))
        sim.run(0.005)
    sim.run(10)
    for waiter in pending:
        assert isinstance(waiter.error, PeerLost)
    assert handled == []
    assert heard == []


@pytest.mark.parametrize("seed", range(10))
def test_calls_with_retry_survive_a_death(seed: int) -> None:
    sim = Simulation(seed)
    client, *servers = sim.meshed(4)

    async def work(x: int) -> int:
        await sleep(0.2)
        return x * x

    for server in servers:
        server.serve("square", work, service="calc")
    sim.run(1.2)
    waiters = [client.call("calc.square", i, retry=True) for i in range(60)]
    sim.run(sim.random.random() * 0.2)
    sim.kill(servers[0])
    assert [sim.outcome(waiter) for waiter in waiters] == [i * i for i in range(60)]


def test_calls_with_retry_leave_a_suspect_before_it_has_failed() -> None:
    sim = Simulation()
    client, *servers = sim.meshed(3)
    for server in servers:
        server.serve("who", lambda server=server: server.id, service="calc")
    sim.run(1.5)
    sim.freeze(servers[0])
    waiters = [client.call("calc.who", retry=True, timeout=4.0) for _ in range(20)]
    sim.run(0.1)
    assert not all(waiter.done() for waiter in waiters)
    assert {sim.outcome(waiter) for waiter in waiters} == {servers[1].id}
    assert client.peers()[servers[0].id] == "suspect"


def test_calls_without_retry_fail_within_milliseconds_of_a_death() -> None:
    sim, client, server = pair()

    async def work() -> None:
        await sleep(60)

    server.serve("work", work, service="calc")
    sim.run(0.1)
    waiter = client.call("calc.work", timeout=60)
    sim.run(0.1)
    killed_at = sim.now
    sim.kill(server)
    with pytest.raises(PeerLost):
        sim.outcome(waiter)
    assert sim.now - killed_at < 0.2


def test_new_calls_avoid_a_suspect_while_another_member_is_there() -> None:
    sim = Simulation()
    client, doubtful, good = sim.meshed(3)
    for node in (doubtful, good):
        node.serve("who", lambda node=node: node.id, service="calc")
    sim.run(1.0)
    sim.freeze(doubtful)
    sim.until(lambda: client.peers()[doubtful.id] == "suspect", 4.0)
    answers = [client.call("calc.who") for _ in range(20)]
    assert {sim.outcome(answer) for answer in answers} == {good.id}


def test_a_cut_in_one_direction_is_healed_without_a_failure() -> None:
    sim, one, two = pair()
    for _ in range(5):
        sim.cut(two, one)
        sim.run(1.0)
        sim.cut(one, two)
        sim.run(1.0)
    assert all_know_all([one, two])
    assert "PeerFailed" not in story(one, two) + story(two, one)


def test_a_dead_connection_that_nobody_notices_costs_no_life() -> None:
    """Of a pair's two connections one is dead: what one side says is not heard, nor answered."""
    sim, one, two = pair()
    sim.strand(one, two)
    sim.run(30.0)
    assert e.PeerFailed not in {type(x) for x in (*one.events, *two.events)}
    assert all_know_all([one, two])
    heard = one.hear("x"), two.hear("x")
    sim.run(0.1)
    assert (one.publish("x"), two.publish("x")) == (2, 2)
    sim.run(0.1)
    assert [len(messages) for messages in heard] == [2, 2]


def test_an_answer_on_a_new_connection_settles_the_question_on_the_old() -> None:
    sim, one, two = pair()
    session = one.engine._core.sessions[two.engine.config.id]
    session.pinged_at = sim.now
    one.engine._links.renew(session)
    sim.run(0.05)
    assert session.pinged_at is None


@pytest.mark.parametrize("seed", range(20))
def test_who_leaves_as_soon_as_it_is_a_member_has_left_and_not_failed(seed: int) -> None:
    """Each side joins the other at its own moment; whoever is one already may not know it."""
    sim = Simulation(seed)
    one = sim.node("one")
    two = sim.node("two", seeds=[one])
    sim.until(lambda: one.knows(two), 5.0)
    two.leave()
    sim.run(5.0)
    assert story(one, two) == ["PeerJoined", "PeerLeft"]
