"""Who gets what: broadcast once, nothing missed after subscribe, nobody starved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import mesh
from tests.net.processes import NodeProcess, until

Start = Callable[..., NodeProcess]
Make = Callable[..., mesh.Node]


def test_a_broadcast_reaches_every_member_exactly_once(start_process: Start) -> None:
    rounds = 50
    members = [start_process("m", member=("workers",), wait=False) for _ in range(4)]
    outsider = start_process("outsider", subscribe=(">",), member=("others",))
    for process in members:
        process.wait_started()
    senders = [*members, outsider]
    for sender in senders:
        sender.ask("wait_for", group="workers", count=len(members))
    for number in range(rounds):
        for sender in senders:
            assert sender.ask("broadcast", group="workers", data=number) == len(members)
    sent = Counter((sender.id, number) for sender in senders for number in range(rounds))
    for member in members:
        member.ask("wait_received", count=len(senders) * rounds)
    for sender in senders:
        sender.ask("flush")
    for member in members:
        received = member.ask("received")
        assert {(kind, group) for kind, group, *_ in received} == {("broadcast", "workers")}
        assert Counter((sender, number) for *_, number, sender in received) == sent
        for sender in senders:
            assert member_order(received, sender.id) == list(range(rounds))
    assert outsider.ask("received") == []


def member_order(received: list[list[object]], sender: str) -> list[object]:
    return [data for _, _, data, who in received if who == sender]


def test_nothing_published_after_subscribe_returned_is_missed(start_process: Start) -> None:
    publishers = [start_process("publisher", wait=False) for _ in range(5)]
    subscriber = start_process("subscriber")
    for process in publishers:
        process.wait_started()
    subscriber.ask("wait_for", name="publisher", count=len(publishers))
    for number in range(20):
        subject = f"round.{number}"
        subscriber.ask("forget")
        for publisher in publishers:
            publisher.ask("begin_flow", subject=subject)
        assert subscriber.ask("subscribe", pattern=subject) == []
        returned = subscriber.ask("subscribed_at")
        until(lambda: len(subscriber.ask("numbers")) > 20 * len(publishers))
        all_stamps = [publisher.ask("end_flow") for publisher in publishers]
        for publisher, stamps in zip(publishers, all_stamps, strict=True):
            first = next((n for n, stamp in enumerate(stamps) if stamp > returned), None)
            assert first is not None, "it had ended before: the test proves nothing"
            expected = list(range(first, len(stamps)))
            until(
                lambda p=publisher, e=expected: numbers_of(subscriber, p)[-len(e) :] == e,
                what=f"message {first} and all after it in round {number}",
            )
        subscriber.ask("unsubscribe", pattern=subject)


def numbers_of(subscriber: NodeProcess, publisher: NodeProcess) -> list[int]:
    return list(subscriber.ask("numbers", sender=publisher.id))


def test_a_publisher_stops_sending_what_nobody_wants_any_more(start_process: Start) -> None:
    publisher, subscriber = start_process("publisher"), start_process("subscriber")
    publisher.ask("wait_state", peer=subscriber.id, states=["alive"])
    subscriber.ask("wait_state", peer=publisher.id, states=["alive"])
    assert publisher.ask("publish", subject="news") == [0]
    subscriber.ask("subscribe", pattern="news")
    assert publisher.ask("publish", subject="news") == [1]
    subscriber.ask("unsubscribe", pattern="news")
    until(lambda: publisher.ask("publish", subject="news") == [0])


def test_a_reader_that_keeps_reading_loses_nothing(start_process: Start, make_node: Make) -> None:
    count = 20_000
    publisher = start_process("publisher")
    node = make_node("reader").start()
    node.wait_for("publisher", timeout=20.0)
    with node.subscribe("flow") as subscription:
        publishing = publisher.begin("publish_apart", subject="flow", count=count)
        numbers = [subscription.get(timeout=20.0).data[0] for _ in range(count)]
        assert publishing(60.0) == count
        assert subscription.missed == 0
    assert numbers == list(range(count))


def test_an_unread_subscription_starves_no_other_of_its_node(
    start_process: Start, make_node: Make
) -> None:
    count = 60_000
    handled: list[int] = []
    node = make_node("reader")
    node.subscriber("flow.>", buffer=2 * count)(lambda message: handled.append(message.data[0]))
    node.start()
    publisher = start_process("publisher")
    until(lambda: publisher.id in {peer.id for peer in node.peers()})
    with (
        node.subscribe("flow.a") as unread,
        node.subscribe("flow.a", buffer=10) as unread_and_small,
        node.subscribe("flow.a", buffer=2 * count) as read,
    ):
        assert read.unconfirmed == []
        publishing = publisher.begin("publish", subject="flow.a", count=count, size=100)
        numbers = [read.get(timeout=20.0).data[0] for _ in range(count)]
        assert publishing(20.0) == [1]
        assert numbers == list(range(count))
        assert (read.missed, publisher.ask("counters")) == (0, {})
        assert until(lambda: len(handled) == count, 20.0)
        until(lambda: unread_and_small.missed == count - 10, 20.0)
        until(lambda: unread.missed == count - 10_000, 20.0)
        left = [unread_and_small.get(timeout=1.0).data[0] for _ in range(10)]
        assert left == list(range(count - 10, count))
    assert node.counters().get("gaps", 0) == 0


def test_a_stuck_node_starves_no_other_node(start_process: Start) -> None:
    count = 30_000
    publisher = start_process("publisher")
    stuck, free = (start_process(name, subscribe=("flow",)) for name in ("stuck", "free"))
    for process in (stuck, free):
        publisher.ask("wait_state", peer=process.id, states=["alive"])
    stuck.ask("block", seconds=3.0)
    assert publisher.ask("publish", within=30, subject="flow", count=count, size=400) == [2]
    assert free.ask("wait_received", within=30, count=count) == count
    assert len(stuck.ask("numbers")) == 1, "it was not stuck for long enough"
    assert stuck.ask("wait_received", within=30, count=count, timeout=20) == count
    for process in (stuck, free):
        assert process.ask("numbers", within=30) == list(range(count))
        assert process.ask("gaps") == []


def test_what_a_stuck_node_loses_is_told_exactly(start_process: Start) -> None:
    count = 80_000
    publisher = start_process("publisher")
    stuck = start_process("stuck", subscribe=("flow",))
    publisher.ask("wait_state", peer=stuck.id, states=["alive"])
    stuck.ask("block", seconds=2.0)
    publisher.ask("publish", within=60, subject="flow", count=count, size=1000)
    publisher.ask("publish", subject="flow", first=count)

    def last() -> bool:
        numbers = stuck.ask("numbers", within=60)
        return bool(numbers) and numbers[-1] == count

    until(last, 60.0)
    numbers = stuck.ask("numbers", within=60)
    gaps = stuck.ask("gaps")
    assert gaps, "nothing was lost: the test proves nothing"
    assert len(numbers) + sum(gaps) == count + 1
    assert numbers == sorted(numbers)
