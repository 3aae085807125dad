"""Policies on real sockets and threads: who waits, who loses, and that nobody waits for itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import mesh
from mesh.engine.pressure import FULL_BYTES
from mesh.links.outbox import PENDING_BYTES
from tests.net.processes import until

Make = Callable[..., mesh.Node]

COUNT = 25_000
"""Messages of 1 KB: more than what waits for one peer at most."""

FILLING = "x" * 1000


def pair(make_node: Make) -> tuple[mesh.Node, mesh.Node]:
    one, two = make_node("one").start(), make_node("two").start()
    one.wait_for("two", timeout=20.0)
    two.wait_for("one", timeout=20.0)
    return one, two


def outbox_of(node: mesh.Node) -> Any:
    """What waits for its only peer."""
    return next(iter(node.aio.host.engine._core.sessions.values())).outbox


def test_a_publisher_waits_for_a_blocking_reader_and_nothing_is_lost(make_node: Make) -> None:
    one, two = pair(make_node)
    outbox, most = outbox_of(one), 0

    def publish() -> None:
        for number in range(COUNT):
            one.publish("n", [number, FILLING])

    with two.subscribe("n", policy="block") as blocking, two.subscribe("n", policy="latest") as new:
        publisher = threading.Thread(target=publish)
        publisher.start()
        until(lambda: outbox.queue.size > FULL_BYTES)
        time.sleep(0.5)
        assert publisher.is_alive(), "it waits for its reader"
        numbers = []
        for _ in range(COUNT):
            numbers.append(blocking.get(timeout=20.0).data[0])
            most = max(most, outbox.queue.size)
        publisher.join(20.0)
        assert numbers == list(range(COUNT))
        assert FULL_BYTES / 2 < most < PENDING_BYTES
        assert (blocking.missed, one.counters()) == (0, {})
        assert new.get(timeout=5.0).data[0] == COUNT - 1
        assert new.missed == COUNT - 1


def test_flush_waits_for_a_blocking_handler_however_slow(make_node: Make) -> None:
    one, two = make_node("one"), make_node("two")
    handled: list[int] = []

    @two.subscriber("n", policy="block", inline=False)
    def slow(message: mesh.Message) -> None:
        if message.data[0] % 1000 == 0:
            time.sleep(0.3)  # longer than what counts as stalled
        handled.append(message.data[0])

    one.start()
    two.start()
    one.wait_for("two", timeout=20.0)
    until(lambda: one.publish("n", [-1]) == 1)
    for number in range(5000):
        one.publish("n", [number, FILLING])
    one.flush(30.0)
    assert len(handled) > 3000, "what is left is in the window"
    until(lambda: handled[-1] == 4999)
    assert [n for n in handled if n >= 0] == list(range(5000))


def test_a_handler_that_publishes_to_its_own_blocking_subscription_never_waits(
    make_node: Make,
) -> None:
    node = make_node("one")
    again = 10_000
    handled = 0
    done = threading.Event()

    @node.subscriber("n", policy="block", inline=False)
    def publish_more(message: mesh.Message) -> None:
        nonlocal handled
        handled += 1
        if handled == 1:
            begin = time.monotonic()
            for number in range(again):
                node.publish("n", [number, FILLING])
            assert time.monotonic() - begin < 4.0, "it waited for itself"
            done.set()

    node.start()
    node.publish("n", [0])
    assert done.wait(20.0)
    until(lambda: handled == again + 1)


def test_on_its_own_loop_a_node_never_waits(make_node: Make) -> None:
    one, two = pair(make_node)
    with two.subscribe("n", policy="block"):

        @one.rpc
        async def flood() -> float:
            begin = time.monotonic()
            for number in range(10_000):
                one.publish("n", [number, FILLING])
            return time.monotonic() - begin

        assert two.service("one", timeout=30.0).flood() < 4.0


@pytest.mark.parametrize("policy", ["newest", None, ["latest"]])
def test_a_policy_that_there_is_not_is_refused_everywhere(make_node: Make, policy: Any) -> None:
    node = make_node("one").start()
    for verb in (node.subscribe, node.join, node.subscriber, node.member):
        with pytest.raises(mesh.ConfigError, match="policy="):
            verb("n", policy=policy)


def test_broadcast_and_send_wait_too(make_node: Make) -> None:
    one, two = pair(make_node)
    outbox, count = outbox_of(one), 6000
    with two.join("n", policy="block") as group, two.subscribe("n", policy="block") as direct:
        for verb, target, reader in (
            (one.broadcast, ("n",), group),
            (one.send, (two.id, "n"), direct),
        ):
            publisher = threading.Thread(
                target=lambda verb=verb, target=target: [
                    verb(*target, [number, FILLING]) for number in range(count)
                ]
            )
            publisher.start()
            until(lambda: outbox.queue.size > FULL_BYTES)
            time.sleep(0.2)
            assert publisher.is_alive(), "it waits for its reader"
            assert [reader.get(timeout=20.0).data[0] for _ in range(count)] == list(range(count))
            publisher.join(20.0)
        assert one.counters() == {}
