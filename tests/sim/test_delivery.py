"""What is published arrives: in order, once, and every loss is counted."""

from __future__ import annotations

import pytest

from mesh.engine import events as e
from mesh.engine.config import MAX_PAYLOAD_BYTES
from patterns.errors import PayloadTooLarge
from tests.sim import SimNode, Simulation
from tests.sim.simulation import all_know_all


def pair(seed: int = 0, latency: float = 0.0003) -> tuple[Simulation, SimNode, SimNode]:
    sim = Simulation(seed, latency=latency)
    one, two = sim.meshed(2)
    return sim, one, two


def missed_by(node: SimNode, of: SimNode) -> int:
    """The sum of the gaps it was told of; an unknown one fails the test."""
    gaps = [x.missed for x in node.saw(e.Gap, of) if isinstance(x, e.Gap)]
    assert None not in gaps
    return sum(gap for gap in gaps if gap is not None)


@pytest.mark.parametrize("seed", range(20))
def test_after_a_confirmed_subscribe_nothing_published_is_missed(seed: int) -> None:
    sim = Simulation(seed, latency=0.01, jitter=3.0)
    nodes = sim.meshed(5)
    listener, publishers = nodes[0], nodes[1:]
    counter = {node.id: 0 for node in publishers}

    def publish_all() -> None:
        for node in publishers:
            counter[node.id] += 1
            node.publish("tick", counter[node.id])

    for _ in range(10):
        publish_all()
        sim.run(sim.random.random() * 0.01)
    heard = listener.hear("tick")
    confirmed = listener.confirm()
    while not confirmed.done():
        publish_all()
        sim.run(sim.random.random() * 0.01)
    assert confirmed.result() == []
    since = dict(counter)
    for _ in range(20):
        publish_all()
        sim.run(sim.random.random() * 0.01)
    sim.run(1)
    for node in publishers:
        numbers = [m.data for m in heard if m.sender.id == node.id]
        assert numbers == list(range(numbers[0], counter[node.id] + 1))
        assert numbers[0] <= since[node.id] + 1


def test_a_peer_that_does_not_confirm_in_time_is_listed() -> None:
    sim, one, two = pair()
    sim.block(two)
    one.hear("x")
    started = sim.now
    assert [p.id for p in sim.outcome(one.confirm(timeout=1.0))] == [two.id]
    assert sim.now - started == pytest.approx(1.0)


def test_a_peer_that_becomes_suspect_is_no_longer_waited_for() -> None:
    sim, one, two = pair()
    sim.freeze(two)
    one.hear("x")
    confirmed = one.confirm(timeout=5.0)
    assert sim.outcome(confirmed) == []
    assert confirmed.at is not None
    assert one.peers()[two.id] == "suspect"
    sim.thaw(two)
    sim.until(lambda: one.knows(two), 2.0)
    assert two.publish("x", 1) == 1, "it caught up before it counted as alive again"


@pytest.mark.parametrize("seed", range(10))
def test_order_holds_per_sender_across_subjects_and_verbs(seed: int) -> None:
    sim = Simulation(seed, latency=0.002, jitter=3.0)
    nodes = sim.meshed(4)
    receiver, senders = nodes[0], nodes[1:]
    heard = [receiver.hear(">"), receiver.join("g")]
    order: list[tuple[str, int]] = []
    receiver.hear("a.*")
    for messages in heard:
        assert messages == []
    receiver.hear("z")
    sim.outcome(receiver.confirm())
    sim.run(0.01)
    for i in range(200):
        for node in senders:
            match sim.random.randrange(4):
                case 0:
                    node.publish("a.b", i)
                case 1:
                    node.publish("z", i)
                case 2:
                    node.engine.send_to(receiver.id, "c", i, None)
                case 3:
                    node.engine.broadcast("g", i, None)
        if sim.random.random() < 0.3:
            sim.run(sim.random.random() * 0.002)
    sim.run(1)
    order = [(m.sender.id, m.data) for m in heard[0]]
    for node in senders:
        plain = [i for sender, i in order if sender == node.id]
        grouped = [m.data for m in heard[1] if m.sender.id == node.id]
        assert plain == sorted(plain)
        assert grouped == sorted(grouped)
        assert sorted(plain + grouped) == list(range(200))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("fault", ["cut", "replace"])
def test_after_a_replaced_link_the_gap_is_exact_and_nothing_comes_twice(
    seed: int, fault: str
) -> None:
    sim, one, two = pair(seed, latency=0.003)
    heard = two.hear("n")
    sim.outcome(two.confirm())
    sent = 0
    for _ in range(5):
        for _ in range(sim.random.randrange(1, 40)):
            one.publish("n", sent)
            sent += 1
            sim.run(sim.random.random() * 0.002)
        getattr(sim, fault)(two, one)
        for _ in range(sim.random.randrange(1, 40)):
            one.publish("n", sent)
            sent += 1
            sim.run(sim.random.random() * 0.002)
        sim.run(4.0)
        assert one.knows(two)
        assert two.knows(one)
    numbers = [m.data for m in heard]
    assert numbers == sorted(set(numbers))
    assert sent - len(numbers) == missed_by(two, one)
    assert sum(m.missed for m in heard) <= missed_by(two, one)
    gap_before = [b - a - 1 for a, b in zip([-1, *numbers], numbers, strict=False)]
    assert sum(gap_before) + sent - 1 - numbers[-1] == missed_by(two, one)


def test_a_link_that_is_replaced_while_idle_loses_nothing() -> None:
    sim, one, two = pair()
    heard = two.hear("n")
    sim.outcome(two.confirm())
    for i in range(5):
        one.publish("n", i)
        sim.run(0.1)
        sim.cut(two, one)
        sim.run(1)
    assert [m.data for m in heard] == list(range(5))
    assert missed_by(two, one) == 0


def test_what_is_published_while_the_link_is_down_arrives_by_the_next() -> None:
    sim, one, two = pair()
    heard = two.hear("n")
    sim.outcome(two.confirm())
    sim.cut(two, one)
    sim.run(0.001)
    for i in range(1000):
        assert one.publish("n", i) == 1
    sim.run(1)
    assert [m.data for m in heard] == list(range(1000))
    assert missed_by(two, one) == 0


def test_a_short_partition_loses_nothing_and_suspects_nobody() -> None:
    sim, one, two = pair()
    heard = two.hear("n")
    sim.outcome(two.confirm())
    sim.partition([one], [two])
    for i in range(200):
        one.publish("n", i)
        sim.run(0.01)
    sim.heal()
    sim.run(1)
    assert [m.data for m in heard] == list(range(200))
    assert one.saw(e.PeerSuspected, two) == two.saw(e.PeerSuspected, one) == []


def test_a_slow_link_delays_and_loses_nothing() -> None:
    sim, one, two = pair()
    heard = two.hear("n")
    sim.outcome(two.confirm())
    sim.network.set_latency(one.host, two.host, 0.5)
    for i in range(100):
        one.publish("n", bytes(50_000) if i % 2 else i)
    sim.run(20)
    assert [m.data for m in heard] == [bytes(50_000) if i % 2 else i for i in range(100)]
    assert missed_by(two, one) == 0


def test_a_failed_senders_gap_is_unknown() -> None:
    sim, one, two = pair()
    two.hear("n")
    sim.outcome(two.confirm())
    one.publish("n", 1)
    sim.run(0.1)
    sim.kill(one)
    sim.until(lambda: bool(two.saw(e.PeerFailed, one)), 1.0)
    assert [x.missed for x in two.saw(e.Gap, one) if isinstance(x, e.Gap)] == [None]


def test_a_failed_sender_from_whom_nothing_ever_came_leaves_no_gap() -> None:
    sim, one, two = pair()
    sim.kill(one)
    sim.until(lambda: bool(two.saw(e.PeerFailed, one)), 1.0)
    assert two.saw(e.Gap, one) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_blocked_receiver_gets_all_that_fits_and_an_exact_count_of_the_rest(seed: int) -> None:
    sim, one, two = pair(seed)
    heard = two.hear("n")
    sim.outcome(two.confirm())
    sim.block(two)
    sent = 2000
    for i in range(sent):
        one.publish("n", [i, bytes(12_000)])
        if i % 50 == 0:
            sim.run(0.001)
    sim.run(0.5)
    sim.unblock(two)
    sim.run(2)
    numbers = [m.data[0] for m in heard]
    assert numbers == sorted(set(numbers))
    assert 0 < len(numbers) < sent, "24 MB do not fit into the bound"
    assert len(numbers) + missed_by(two, one) == sent
    assert sum(m.missed for m in heard) == missed_by(two, one)


def test_one_blocked_receiver_costs_the_others_nothing() -> None:
    sim = Simulation()
    nodes = sim.meshed(4)
    heard = [node.hear("n", echo=False) for node in nodes]
    for node in nodes:
        sim.outcome(node.confirm())
    sim.block(nodes[3])
    for i in range(3000):
        assert nodes[0].publish("n", [i, bytes(10_000)]) == 3
        if i % 20 == 0:
            sim.run(0.001)
    sim.run(0.05)
    for messages in heard[1:3]:
        assert [m.data[0] for m in messages] == list(range(3000))
    assert heard[3] == []


def test_an_iterator_that_nobody_reads_starves_no_handler() -> None:
    sim, one, two = pair()
    unread = two.subscribe("n", buffer=100)
    heard = two.hear("n")
    sim.outcome(two.confirm())
    for i in range(300):
        one.publish("n", [i, bytes(10_000)])
        sim.run(0.01)
    sim.run(1)
    assert [m.data[0] for m in heard] == list(range(300))
    assert unread.queued <= 100
    assert unread.queued + unread.missed == 300


def test_flush_ends_when_all_is_in_the_windows_and_does_not_wait_for_a_stalled_peer() -> None:
    sim = Simulation(latency=0.01)
    one, two, three = sim.meshed(3)
    two.hear("n")
    three.hear("n")
    sim.outcome(two.confirm())
    sim.outcome(three.confirm())
    for _ in range(100):
        one.publish("n", bytes(100_000))
    waiter = one.waiter()
    one.engine.flush(5.0, waiter)
    sim.run(0.02)
    assert not waiter.done()
    sim.outcome(waiter, 2.0)
    sim.block(three)
    for _ in range(100):
        one.publish("n", bytes(100_000))
    waiter = one.waiter()
    one.engine.flush(5.0, waiter)
    sim.outcome(waiter, 1.0)


def test_a_message_above_the_limit_is_the_publishers_error() -> None:
    sim, one, two = pair()
    two.hear("n")
    sim.outcome(two.confirm())
    with pytest.raises(PayloadTooLarge):
        one.publish("n", bytes(MAX_PAYLOAD_BYTES))
    assert two.engine.counters == {}


def test_an_own_subscriber_gets_own_messages_in_order_with_the_others() -> None:
    sim, one, two = pair()
    heard = one.hear("n")
    silent = one.hear("n", echo=False)
    sim.outcome(one.confirm())
    one.publish("n", 1)
    two.publish("n", 2)
    sim.run(0.1)
    assert [m.data for m in heard] == [1, 2]
    assert [m.data for m in silent] == [2]


def test_unsubscribing_stops_the_flow_and_subscribing_again_starts_it() -> None:
    sim, one, two = pair()
    subscription = two.subscribe("n")
    sim.outcome(two.confirm())
    assert one.publish("n") == 1
    two.engine.unsubscribe(subscription)
    sim.run(0.1)
    assert one.publish("n") == 0
    heard = two.hear("n")
    sim.outcome(two.confirm())
    assert one.publish("n", 5) == 1
    sim.run(0.1)
    assert [m.data for m in heard] == [5]
    assert all_know_all([one, two])


def test_a_handler_that_publishes_to_itself_does_not_stop_the_node() -> None:
    sim, one, two = pair()
    count = 0

    def again(message: object) -> None:
        nonlocal count
        count += 1
        if count < 5000:
            one.publish("loop")

    one.subscribe("loop", again, inline=True)
    heard = one.hear("other")
    sim.outcome(one.confirm())
    one.publish("loop")
    two.publish("other")
    sim.run(0.01)
    assert len(heard) == 1
    assert count == 5000


def test_acknowledgements_that_a_lost_link_took_with_it_are_told_again() -> None:
    sim, one, two = pair(latency=0.05)
    heard = two.hear("n")
    sim.outcome(two.confirm())
    for number in range(40):
        one.publish("n", [number, bytes(60_000)])
    sim.until(lambda: len(heard) >= 17, 1)
    sim.run(0.01)
    sim.cut(one, two)
    sim.until(lambda: len(heard) == 40, 5)


def test_the_first_message_on_a_new_link_says_what_was_lost_with_the_old() -> None:
    sim, one, two = pair(latency=0.01)
    heard = two.hear("n")
    sim.run(1.0)
    for number in range(10):
        one.publish("n", number)
    sim.run(0.001)
    sim.cut(two, one)
    sim.run(1.0)
    assert heard == []
    one.publish("n", 10)
    one.publish("n", 11)
    sim.run(1.0)
    assert [(message.data, message.missed) for message in heard] == [(10, 10), (11, 0)]
    assert missed_by(two, one) == 10
