"""Slow receivers: what each policy does to messages, to the publisher, and to the others."""

from __future__ import annotations

import pytest

from mesh.engine.pressure import BLOCK_WAIT, FULL_BYTES, ROOM_BYTES
from mesh.links.outbox import PENDING_BYTES
from patterns.errors import Timeout
from patterns.subscription import MAX_LAG, Subscription
from tests.sim import SimNode, Simulation
from tests.sim.test_delivery import missed_by
from tests.sim.waiter import SimWaiter

KIB = bytes(1024)


def read(subscription: Subscription) -> list[int]:
    """What an iterator gets now."""
    numbers: list[int] = []
    while (messages := subscription.take()) is not None:
        numbers += [m.data[0] for m in messages]
    return numbers


def publish(node: SimNode, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        node.publish("n", [number, KIB])


def read_until_flushed(sim: Simulation, node: SimNode, subscription: Subscription) -> list[int]:
    """Read on until nothing waits at the publisher, and what is on the way."""
    numbers: list[int] = []
    waiter = node.flush(60.0)
    while not waiter.done():
        sim.run(0.01)
        numbers += read(subscription)
    waiter.result()
    sim.run(0.1)
    return numbers + read(subscription)


def hold(node: SimNode) -> SimWaiter | None:
    """What a thread does that has published; None: it does not wait."""
    targets = node.engine.pubsub.route("n")
    full = node.engine.pressure.full(targets, spare_own=False)
    if not full:
        return None
    waiter = node.waiter()
    node.engine.pressure.wait(full, waiter)
    return waiter


def blocked_pair(seed: int = 0) -> tuple[Simulation, SimNode, SimNode, Subscription]:
    sim = Simulation(seed, latency=0.0003)
    one, two = sim.meshed(2)
    blocking = two.subscribe("n", policy="block")
    sim.outcome(two.confirm())
    return sim, one, two, blocking


def test_what_a_blocking_reader_does_not_take_holds_up_flush() -> None:
    sim, one, _, blocking = blocked_pair()
    publish(one, 3000)
    with pytest.raises(Timeout, match="bytes for"):
        sim.outcome(one.flush(3 * MAX_LAG), 3 * MAX_LAG + 1)
    numbers = read(blocking)
    assert 0 < len(numbers) <= 1024, "a window of messages is all that it was sent"
    numbers += read_until_flushed(sim, one, blocking)
    assert numbers == list(range(3000))
    assert blocking.missed == 0
    assert one.engine.counters == {}


def test_a_thread_that_publishes_waits_until_there_is_room() -> None:
    sim, one, two, blocking = blocked_pair()
    outbox = one.engine.session_of(two.id).outbox
    numbers: list[int] = []
    most, waits, count = 0, 0, 20_000
    for first in range(0, count, 100):
        publish(one, 100, first)
        most = max(most, outbox.queue.size)
        waiter = hold(one)
        if waiter is not None:
            waits += 1
            while not waiter.done():
                sim.run(0.01)
                numbers += read(blocking)
            assert outbox.queue.size <= ROOM_BYTES
    numbers += read_until_flushed(sim, one, blocking)
    assert numbers == list(range(count))
    assert waits > 2
    assert FULL_BYTES < most < PENDING_BYTES / 2
    assert one.engine.counters == {}


def test_a_publish_waits_a_bounded_time_and_then_takes_its_chance() -> None:
    sim, one, two, blocking = blocked_pair()
    two.hear("other", echo=False)
    sim.outcome(two.confirm())
    publish(one, 5000)
    waiter = hold(one)
    assert waiter is not None
    started = sim.now
    assert sim.outcome(waiter) is None
    assert sim.now - started == pytest.approx(BLOCK_WAIT)
    publish(one, 20_000, 5000)
    numbers = read_until_flushed(sim, one, blocking)
    assert len(numbers) + missed_by(two, one) == 25_000
    assert one.engine.counters["dropped_for_slow_peers"] == missed_by(two, one) > 0


@pytest.mark.parametrize("fault", ["freeze", "kill", "unsubscribe"])
def test_nobody_waits_for_one_that_is_in_doubt_or_blocks_no_more(fault: str) -> None:
    sim, one, two, blocking = blocked_pair()
    publish(one, 5000)
    waiter, flushed = hold(one), one.flush(60.0)
    assert waiter is not None
    sim.run(1.0)
    assert not waiter.done()
    assert not flushed.done()
    if fault == "unsubscribe":
        two.engine.unsubscribe(blocking)
    else:
        getattr(sim, fault)(two)
    sim.outcome(waiter, 3.0)
    sim.outcome(flushed, 3.0)


def test_only_publishers_to_that_node_wait_and_nobody_else_is_held_up() -> None:
    sim = Simulation(latency=0.0003)
    one, two, three = sim.meshed(3)
    two.subscribe("n", policy="block")
    heard = three.hear("n")
    elsewhere = three.hear("m")
    two.serve("add", lambda a, b: a + b)
    work = two.member("workers")
    for node in (two, three):
        sim.outcome(node.confirm())
    publish(one, 6000)
    sim.run(0.2)
    assert hold(one) is not None
    assert len(heard) == 6000, "the other one has all of them"
    one.publish("m", [1])
    assert not one.engine.pressure.full(one.engine.pubsub.route("m"), spare_own=False)
    three.publish("n", [0, b""])
    assert hold(three) is None, "each publisher has a window of its own"
    assert sim.outcome(one.call("n1.add", 2, 3), 0.1) == 5
    assert sim.outcome(one.groupcast("workers", 1), 0.1).id == two.id
    sim.run(0.01)
    assert len(elsewhere) == 1
    assert work.take() is not None


def test_other_subscriptions_of_that_node_wait_behind_it() -> None:
    sim, one, two, blocking = blocked_pair()
    heard = two.hear("m")
    sim.outcome(two.confirm())
    publish(one, 3000)
    one.publish("m", 1)
    sim.run(2 * MAX_LAG)
    assert heard == []
    assert read_until_flushed(sim, one, blocking) == list(range(3000))
    assert [m.data for m in heard] == [1]


def test_to_itself_a_node_waits_but_not_in_its_own_handlers() -> None:
    sim = Simulation()
    one = sim.node("one")
    blocking = one.subscribe("n", policy="block")
    publish(one, 6000)
    sim.run(0.01)
    targets = one.engine.pubsub.route("n")
    assert one.engine.pressure.full(targets, spare_own=True) == []
    waiter = hold(one)
    assert waiter is not None
    numbers = read(blocking)
    while not waiter.done():
        sim.run(0.001)
        numbers += read(blocking)
    assert numbers + read_until_flushed(sim, one, blocking) == list(range(6000))


def test_latest_gets_the_newest_and_holds_nobody() -> None:
    sim = Simulation(latency=0.0003)
    one, two = sim.meshed(2)
    latest = two.subscribe("s.*", policy="latest")
    heard = two.hear("s.*")
    sim.outcome(two.confirm())
    for number in range(20_000):
        one.publish(f"s.{number % 7}", [number, KIB])
        if number % 100 == 0:
            sim.run(0.001)
    sim.run(0.1)
    assert len(heard) == 20_000
    assert sorted(read(latest)) == list(range(19_993, 20_000))
    assert latest.missed == 20_000 - 7
    assert two.engine.counters == {"replaced_by_newer": 20_000 - 7}


def test_what_a_sender_drops_counts_for_the_subscriptions_that_would_have_got_it() -> None:
    sim = Simulation(latency=0.0003)
    one, two = sim.meshed(2)
    heard = {pattern: two.hear(pattern) for pattern in ("a", "b", ">")}
    counted = {pattern: two.subscribe(pattern) for pattern in heard}
    other = two.subscribe("c")
    sim.outcome(two.confirm())
    sim.block(two)
    sent = {"a": 0, "b": 0}
    for number in range(60_000):
        subject = "a" if number % 3 else "b"
        sent[subject] += 1
        one.publish(subject, [number, KIB])
        if number % 100 == 0:
            sim.run(0.0001)
    sim.unblock(two)
    sim.run(2.0)
    assert one.engine.counters["dropped_for_slow_peers"] == missed_by(two, one) > 20_000
    for pattern, subscription in counted.items():
        expected = sum(sent.values()) if pattern == ">" else sent[pattern]
        assert subscription.lost == expected - len(heard[pattern]) > 0
        assert subscription.missed == subscription.lost + subscription.dropped
    assert other.missed == 0


def test_what_a_node_cannot_take_of_its_own_counts_as_well() -> None:
    sim = Simulation()
    one = sim.node("one")
    blocking = one.subscribe("n", policy="block")
    publish(one, 30_000)
    numbers = read_until_flushed(sim, one, blocking)
    assert len(numbers) + blocking.missed == 30_000
    assert one.engine.counters == {"dropped_for_slow_peers": blocking.missed}
