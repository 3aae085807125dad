"""The contract of publish, broadcast, send and subscriptions on real sockets."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import mesh
from tests.net.processes import until

Make = Callable[..., mesh.Node]


@pytest.fixture
def pair(make_node: Make) -> tuple[mesh.Node, mesh.Node]:
    """Two nodes that know each other: one that listens, one that speaks."""
    listener, speaker = make_node("listener").start(), make_node("speaker").start()
    speaker.wait_for("listener", timeout=20.0)
    listener.wait_for("speaker", timeout=20.0)
    return listener, speaker


Pair = tuple[mesh.Node, mesh.Node]


def drained(subscription: Any, count: int) -> list[Any]:
    return [subscription.get(timeout=10.0).data for _ in range(count)]


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("a.b", ["a.b"], ["a", "a.b.c", "a.c"]),
        ("a.*", ["a.b", "a.c"], ["a", "a.b.c", "b.a"]),
        ("*.b", ["a.b", "b.b"], ["b", "a.b.b"]),
        ("a.>", ["a.b", "a.b.c"], ["a", "b.a"]),
        (">", ["a", "a.b.c"], []),
        ("a.*.c", ["a.b.c"], ["a.c", "a.b.b.c"]),
    ],
)
def test_a_subscription_gets_the_subjects_that_match_its_pattern(
    pair: Pair, pattern: str, matching: list[str], other: list[str]
) -> None:
    listener, speaker = pair
    with listener.subscribe(pattern) as subscription:
        assert [speaker.publish(subject) for subject in other] == [0] * len(other)
        assert [speaker.publish(subject) for subject in matching] == [1] * len(matching)
        assert [subscription.get(timeout=10.0).subject for _ in matching] == matching


def test_a_message_tells_all_about_itself(pair: Pair) -> None:
    listener, speaker = pair
    with listener.subscribe("news.*") as subscription:
        speaker.publish("news.today", {"n": 1}, headers={"lang": "en"})
        message = subscription.get(timeout=10.0)
    assert (message.kind, message.subject, message.group) == ("publish", "news.today", None)
    assert (message.data, message.headers) == ({"n": 1}, {"lang": "en"})
    assert (message.sender.id, message.sender.name) == (speaker.id, "speaker")
    assert (message.key, message.redelivered, message.missed) == (None, False, 0)


@pytest.mark.parametrize("key", [None, "some words"])
def test_bytes_of_every_size_come_as_they_were(make_node: Make, key: str | None) -> None:
    listener, speaker = make_node("listener", key=key), make_node("speaker", key=key)
    kib = 1024
    sizes = [0, 16 * kib - 1, 16 * kib, 64 * kib - 1, 64 * kib, 255 * kib, 300 * kib]
    sent = [os.urandom(size) for size in sizes]
    listener.start()
    speaker.start()
    speaker.wait_for("listener", timeout=20.0)
    with listener.subscribe("news") as theirs, speaker.subscribe("news") as own:
        for data in sent:
            assert speaker.publish("news", data, headers={"size": str(len(data))}) == 2
        for subscription in (theirs, own):
            messages = [subscription.get(timeout=10.0) for _ in sizes]
            assert [m.data for m in messages] == sent
            assert {type(m.data) for m in messages} == {bytes}
            assert [m.headers["size"] for m in messages] == list(map(str, sizes))


def test_a_broadcast_tells_its_group(pair: Pair) -> None:
    listener, speaker = pair
    with listener.join("workers") as membership:
        assert speaker.broadcast("workers", "go", headers={"a": "b"}) == 1
        message = membership.get(timeout=10.0)
    assert (message.kind, message.subject, message.group) == ("broadcast", None, "workers")
    assert (message.data, message.headers, message.sender.id) == ("go", {"a": "b"}, speaker.id)
    assert (message.key, message.redelivered, message.missed) == (None, False, 0)


def test_data_is_none_when_there_is_none(pair: Pair) -> None:
    listener, speaker = pair
    with listener.subscribe("news") as subscription:
        speaker.publish("news")
        message = subscription.get(timeout=10.0)
        assert (message.data, message.headers) == (None, {})


def test_own_subscriptions_get_own_messages_unless_they_refuse(pair: Pair) -> None:
    node, other = pair
    with node.subscribe("news") as echoing, node.subscribe("news", echo=False) as quiet:
        assert node.publish("news", "own") == 1
        assert other.publish("news", "foreign") == 1, "nodes are counted, not subscriptions"
        assert {*drained(echoing, 2)} == {"own", "foreign"}
        assert drained(quiet, 1) == ["foreign"]
        with pytest.raises(mesh.Timeout):
            quiet.get(timeout=0.05)
    with node.subscribe("news", echo=False):
        assert node.publish("news", "own") == 0


def test_publish_returns_the_number_of_distinct_nodes(make_node: Make) -> None:
    speaker = make_node("speaker").start()
    assert speaker.publish("news") == 0
    for count in range(1, 4):
        listener = make_node("listener")
        listener.subscriber("news")(lambda message: None)
        listener.subscriber("news")(lambda message: None)
        listener.subscriber(">")(lambda message: None)
        listener.start()
        speaker.wait_for("listener", count=count, timeout=20.0)
        assert speaker.publish("news") == count


def test_send_reaches_one_peer_and_says_whether_it_listens(make_node: Make) -> None:
    received: dict[str, list[Any]] = {"a": [], "b": []}
    for name, messages in received.items():
        node = make_node(name)
        node.subscriber("hello.*")(messages.append)
        node.start()
    speaker = make_node("speaker").start()
    (a,) = speaker.wait_for("a", timeout=20.0)
    speaker.wait_for("b", timeout=20.0)
    assert speaker.send(a, "hello.you", 1, headers={"x": "y"}) is True
    assert speaker.send(a.id, "hello.you", 2) is True
    assert speaker.send(a, "other", 3) is False
    until(lambda: len(received["a"]) == 2)
    message = received["a"][0]
    assert (message.kind, message.subject, message.data) == ("send", "hello.you", 1)
    assert (message.headers, message.sender.id) == ({"x": "y"}, speaker.id)
    speaker.flush()
    assert received["b"] == []
    with pytest.raises(mesh.PeerLost):
        speaker.send("f" * 32, "hello.you")
    with pytest.raises(mesh.ConfigError):
        speaker.send("a", "hello.you")


def test_send_to_oneself_is_delivered(make_node: Make) -> None:
    node = make_node("self").start()
    with node.subscribe("hello") as subscription:
        assert node.send(node.me, "hello", 1) is True
        assert subscription.get(timeout=10.0).kind == "send"


def test_groups_subjects_and_services_of_one_name_do_not_mix(make_node: Make) -> None:
    name = "same"
    node, other = make_node(name).start(), make_node("other").start()
    other.wait_for(name, timeout=20.0)
    node.wait_for("other", timeout=20.0)
    assert other.broadcast(name) == 0, "no node is in a group by its name"
    with node.subscribe(name) as subjects, node.join(name) as group, node.join("*") as everyone:
        assert other.publish(name, "subject") == 1
        assert other.broadcast(name, "group") == 1
        assert other.broadcast("*", "all") == 1
        assert drained(subjects, 1) == ["subject"]
        assert drained(group, 1) == ["group"]
        assert drained(everyone, 1) == ["all"]
        other.flush()
        for subscription in (subjects, group, everyone):
            with pytest.raises(mesh.Timeout):
                subscription.get(timeout=0.05)


def test_member_without_a_name_joins_the_group_of_the_node(make_node: Make) -> None:
    received: list[Any] = []
    node = make_node("crew")
    node.member()(received.append)
    node.start()
    other = make_node("other").start()
    assert [p.id for p in other.wait_for(group="crew", timeout=20.0)] == [node.id]
    assert other.broadcast("crew", 1) == 1
    until(lambda: received)
    assert received[0].group == "crew"


def test_an_unread_subscription_keeps_the_newest_and_counts_the_rest(pair: Pair) -> None:
    listener, speaker = pair
    count, buffer = 5_000, 100
    with listener.subscribe("flow", buffer=buffer) as unread:
        for number in range(count):
            speaker.publish("flow", number)
        until(lambda: unread.missed == count - buffer, 20.0)
        assert drained(unread, buffer) == list(range(count - buffer, count))
        assert unread.missed == count - buffer
        speaker.publish("flow", "next")
        assert drained(unread, 1) == ["next"]


def test_one_senders_messages_arrive_in_order_over_mixed_subjects_and_verbs(pair: Pair) -> None:
    listener, speaker = pair
    count = 3_000
    peer = next(p for p in speaker.peers() if p.id == listener.id)
    received: list[int] = []
    for pattern in ("a.*", "b"):
        listener.subscriber(pattern, inline=True)(lambda m: received.append(m.data))
    listener.member("group", inline=True)(lambda m: received.append(m.data))
    until(lambda: speaker.publish("a.x", -1) and speaker.publish("b", -1))
    speaker.wait_for(group="group", timeout=20.0)
    for number in range(count):
        match number % 4:
            case 0:
                speaker.publish(f"a.{number % 7}", number)
            case 1:
                speaker.publish("b", number)
            case 2:
                speaker.broadcast("group", number)
            case 3:
                speaker.send(peer, "b", number)
    until(lambda: received and received[-1] == count - 1, 20.0)
    assert [number for number in received if number >= 0] == list(range(count))


def test_eight_threads_can_publish_at_once(pair: Pair) -> None:
    listener, speaker = pair
    threads, count = 8, 2_000
    with listener.subscribe("flow.*", buffer=threads * count) as subscription:

        def publish(thread: int) -> set[int]:
            return {speaker.publish(f"flow.{thread}", [thread, n]) for n in range(count)}

        with ThreadPoolExecutor(threads) as pool:
            reached = set().union(*pool.map(publish, range(threads)))
        assert reached == {1}
        received = drained(subscription, threads * count)
        assert subscription.missed == 0
    for thread in range(threads):
        assert [n for t, n in received if t == thread] == list(range(count))


def test_handlers_of_one_node_share_the_data_and_a_raising_one_harms_none(
    make_node: Make, caplog: pytest.LogCaptureFixture
) -> None:
    received: list[Any] = []
    node = make_node("reader")

    @node.subscriber("news")
    def bad(message: mesh.Message) -> None:
        raise ValueError("a bug of the user")

    node.subscriber("news")(received.append)
    node.start()
    with node.subscribe("news") as subscription:
        for number in range(3):
            node.publish("news", [number])
        messages = [subscription.get(timeout=10.0) for _ in range(3)]
    until(lambda: len(received) == 3)
    assert [m.data for m in received] == [[0], [1], [2]]
    assert all(m.data is n.data for m, n in zip(received, messages, strict=True))
    until(lambda: caplog.text.count("ValueError: a bug of the user") == 3)


def test_a_handler_runs_one_message_at_a_time_unless_it_says_otherwise(make_node: Make) -> None:
    gate, running = threading.Event(), {"one": 0, "four": 0}
    most = dict(running)
    lock = threading.Lock()

    def handler(name: str) -> Callable[[mesh.Message], None]:
        def handle(message: mesh.Message) -> None:
            with lock:
                running[name] += 1
                most[name] = max(most[name], running[name])
            gate.wait(10.0)
            with lock:
                running[name] -= 1

        return handle

    node = make_node("reader")
    node.subscriber("flow")(handler("one"))
    node.subscriber("flow", concurrency=4)(handler("four"))
    node.start()
    for _ in range(12):
        node.publish("flow")
    until(lambda: running == {"one": 1, "four": 4})
    gate.set()
    until(lambda: running == {"one": 0, "four": 0})
    assert most == {"one": 1, "four": 4}


def test_async_handlers_run_in_order_on_a_blocking_node(make_node: Make) -> None:
    received: list[int] = []
    node = make_node("reader")

    @node.subscriber("flow")
    async def handle(message: mesh.Message) -> None:
        received.append(message.data)

    node.start()
    for number in range(500):
        node.publish("flow", number)
    until(lambda: len(received) == 500)
    assert received == list(range(500))


def test_a_closed_subscription_ends_its_iteration(pair: Pair) -> None:
    listener, speaker = pair
    subscription = listener.subscribe("news")
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: [m.data for m in subscription])
        speaker.publish("news", 1)
        until(lambda: listener.publish("news", 2))
        subscription.close()
        assert set(reading.result(10.0)) <= {1, 2}
    subscription.close()
    with pytest.raises(mesh.NodeClosed):
        subscription.get(timeout=1.0)
    until(lambda: speaker.publish("news") == 0)


def test_a_closed_node_ends_iterations_and_watches(pair: Pair) -> None:
    listener, _ = pair
    watch = listener.watch()
    assert isinstance(watch.get(timeout=10.0), mesh.PeerJoined)
    streams: list[Any] = [listener.subscribe("news"), listener.join("group"), watch]
    with ThreadPoolExecutor(3) as pool:
        reading = [pool.submit(list, stream) for stream in streams]
        listener.close()
        assert [result.result(10.0) for result in reading] == [[], [], []]


def test_get_times_out(pair: Pair) -> None:
    listener, _ = pair
    with listener.subscribe("never") as subscription, pytest.raises(mesh.Timeout):
        subscription.get(timeout=0.05)
    with listener.watch() as events:
        assert isinstance(events.get(timeout=1.0), mesh.PeerJoined)
        with pytest.raises(mesh.Timeout):
            events.get(timeout=0.05)


def test_flush_returns_when_everything_is_on_its_way(pair: Pair) -> None:
    listener, speaker = pair
    with listener.subscribe("flow", buffer=20_000) as subscription:
        for number in range(20_000):
            speaker.publish("flow", number)
        speaker.flush(timeout=20.0)
        speaker.close()
        assert drained(subscription, 20_000) == list(range(20_000))


def test_leaving_with_normally_sends_what_was_published(pair: Pair, make_node: Make) -> None:
    listener, _ = pair
    with listener.subscribe("last.words", buffer=10_000) as subscription:
        with make_node("shortlived") as node:
            node.wait_for("listener", timeout=20.0)
            reached = {node.publish("last.words", number) for number in range(5_000)}
        assert reached == {1}
        assert drained(subscription, 5_000) == list(range(5_000))


@pytest.mark.parametrize(
    "subject", ["", ".", "a..b", "a.", ".a", "a.*", "a.>", "*", ">", "a b", "_mesh.x", 7, None]
)
def test_a_bad_subject_is_refused_at_once(make_node: Make, subject: Any) -> None:
    node = make_node("speaker").start()
    with pytest.raises(mesh.BadName):
        node.publish(subject)
    with pytest.raises(mesh.BadName):
        node.send(node.me, subject)


@pytest.mark.parametrize("pattern", ["", "a..b", "a.>.b", ">.a", "a.b*", "_mesh.>", 7])
def test_a_bad_pattern_is_refused_at_once(make_node: Make, pattern: Any) -> None:
    node = make_node("reader")
    with pytest.raises(mesh.BadName):
        node.subscriber(pattern)
    node.start()
    with pytest.raises(mesh.BadName):
        node.subscribe(pattern)


@pytest.mark.parametrize("group", ["", "a.b", "a b", "_mesh.x", ">", 7])
def test_a_bad_group_is_refused_at_once(make_node: Make, group: Any) -> None:
    node = make_node("reader")
    with pytest.raises(mesh.BadName):
        node.member(group)
    node.start()
    for verb in (node.join, node.broadcast):
        with pytest.raises(mesh.BadName):
            verb(group)


def test_what_cannot_travel_is_the_publishers_error_and_nothing_is_sent(pair: Pair) -> None:
    listener, speaker = pair
    with listener.subscribe("news") as subscription:
        for bad in (object(), {"x": [object()]}, 2**70):
            with pytest.raises(mesh.BadPayload):
                speaker.publish("news", bad)
        with pytest.raises(mesh.BadPayload):
            speaker.publish("news", headers={"n": 1})  # type: ignore[dict-item]
        with pytest.raises(mesh.PayloadTooLarge):
            speaker.publish("news", bytes(64 * 1024 * 1024))
        with pytest.raises(mesh.PayloadTooLarge):
            speaker.broadcast("group", bytes(64 * 1024 * 1024))
        speaker.publish("news", "good")
        assert drained(subscription, 1) == ["good"]


def test_later_mutation_is_not_sent(pair: Pair) -> None:
    listener, speaker = pair
    data = [1]
    with listener.subscribe("news") as theirs, speaker.subscribe("news") as own:
        speaker.publish("news", data)
        data.append(2)
        assert drained(theirs, 1) == drained(own, 1) == [[1]]


def test_subscribe_waits_no_longer_than_its_timeout_for_a_silent_peer(
    pair: Pair, make_node: Make
) -> None:
    listener, _ = pair
    began = time.monotonic()
    with listener.subscribe("news", timeout=5.0) as subscription:
        assert subscription.unconfirmed == []
    assert time.monotonic() - began < 5.0


def test_an_unconfirmed_peer_is_listed(make_node: Make) -> None:
    blocked, node = make_node("blocked"), make_node("node")
    release, entered = threading.Event(), threading.Event()

    @blocked.subscriber("block", inline=True)
    def block(message: mesh.Message) -> None:
        entered.set()
        release.wait(20.0)

    blocked.start()
    node.start()
    node.wait_for("blocked", timeout=20.0)
    try:
        assert node.publish("block") == 1
        assert entered.wait(10.0)
        subscription = node.subscribe("news", timeout=0.2)
        assert [peer.id for peer in subscription.unconfirmed] == [blocked.id]
    finally:
        release.set()
    with node.subscribe("more", timeout=20.0) as confirmed:
        assert confirmed.unconfirmed == []
