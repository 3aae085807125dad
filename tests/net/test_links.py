"""Links that break: replaced under a blocked receiver, and publishers that die and come back."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.net.processes import NodeProcess, until
from tests.net.proxy import Proxy

Start = Callable[..., NodeProcess]

LINK_BACK = 20.0
"""Seconds for ZeroMQ to reconnect: 0.1 to 0.2 s when nobody else wants the CPU."""

MESSAGES = 1_000
"""Bytes: more than a heartbeat, so there are messages among them."""

LONGER_THAN_SUSPICION = 5.0
"""Seconds of blocked Python after which a peer without any link is given up without evidence."""


def lose_messages(proxy: Proxy) -> None:
    """From now on nothing gets through, and something was on its way already."""
    swallowed = proxy.swallowed
    proxy.swallow()
    until(lambda: proxy.swallowed > swallowed + MESSAGES, LINK_BACK, "messages to lose")


def replace_link(proxy: Proxy) -> None:
    """Cut, and wait until the publisher's ZeroMQ has spoken on a new connection.

    No message can follow: a SUB subscribes anew only when its blocked Python is back.
    """
    before, sent = proxy.accepted, proxy.forwarded
    proxy.cut()
    until(lambda: proxy.accepted > before, LINK_BACK, "a new connection")
    until(lambda: proxy.forwarded > sent, LINK_BACK, "life on the new connection")


@pytest.mark.parametrize(
    ("blocks", "seconds", "cuts"),
    [
        pytest.param(1, 2.5, 8, id="8 cuts"),
        pytest.param(7, 2.5, 8, id="8 cuts in each of 7 blocks", marks=pytest.mark.slow),
        pytest.param(
            1, LONGER_THAN_SUSPICION, 1, id="1 cut in a long block", marks=pytest.mark.slow
        ),
        pytest.param(1, 13.0, 50, id="50 cuts in one block", marks=pytest.mark.slow),
    ],
)
def test_the_gap_is_exact_when_links_are_replaced_behind_a_blocked_subscriber(
    start_process: Start, blocks: int, seconds: float, cuts: int
) -> None:
    publisher = start_process("publisher", discovery=())
    with Proxy(publisher.address) as proxy:
        subscriber = start_behind(proxy, publisher, start_process)
        published = 0
        for _ in range(blocks):
            subscriber.ask("block", seconds=seconds)
            flowing = publisher.begin(
                "publish_for", subject="flow", seconds=seconds + 0.5, pause=0.0002
            )
            until(lambda: subscriber.ask("is_blocked"))
            lose_messages(proxy)
            for _ in range(cuts):
                replace_link(proxy)
            count, receivers = flowing(30.0)
            assert receivers == count, "it was not a receiver for a while"
            published += count
            publisher.ask("wait_state", peer=subscriber.id, states=["alive"])
            publisher.ask("flush")
        until(
            lambda: accounted(subscriber) >= published,
            20.0,
            f"an account of all {published} messages",
        )
        assert proxy.accepted > blocks * cuts
    numbers = subscriber.ask("numbers")
    gaps = subscriber.ask("gaps")
    assert len(numbers) + sum(gaps) == published
    assert sum(gaps) > 0, "nothing was lost: the test proves nothing"
    kinds = {kind for _, kind, *_ in publisher.ask("seen", peer=subscriber.id)}
    assert "PeerFailed" not in kinds
    assert {kind for _, kind, *_ in subscriber.ask("seen", peer=publisher.id)} <= {
        "PeerJoined",
        "Gap",
    }


def start_behind(proxy: Proxy, publisher: NodeProcess, start: Start) -> NodeProcess:
    """A subscriber that is linked through the proxy.

    The publisher dials back and tells its own address, which sometimes answers first.
    """
    for _ in range(10):
        subscriber = start("subscriber", discovery=(), seeds=[proxy.address], subscribe=("flow",))
        publisher.ask("wait_state", peer=subscriber.id, states=["alive"])
        address = until(lambda s=subscriber: s.ask("address_of", peer=publisher.id))
        if address == proxy.address:
            return subscriber
        subscriber.close()
    raise AssertionError("no subscriber was linked through the proxy")


def accounted(subscriber: NodeProcess) -> int:
    gaps = subscriber.ask("gaps")
    assert None not in gaps, "a gap of a publisher that lives is known"
    return len(subscriber.ask("numbers")) + sum(gaps)


@pytest.mark.parametrize(
    "restarts",
    [pytest.param(6, id="6"), pytest.param(50, id="50", marks=pytest.mark.slow)],
)
@pytest.mark.timeout(300)
def test_a_publisher_restarted_on_its_port_is_a_new_peer_and_its_gap_unknown(
    start_process: Start, restarts: int
) -> None:
    subscriber = start_process("subscriber", discovery=(), subscribe=("flow",))
    port = free_port()
    for _ in range(restarts):
        publisher = start_process("publisher", port=port, seeds=[subscriber.address], discovery=())
        publisher.ask("wait_state", peer=subscriber.id, states=["alive"], timeout=30.0)
        assert publisher.ask("publish", subject="flow", count=100) == [1]
        until(lambda p=publisher: len(subscriber.ask("numbers", sender=p.id)) == 100)
        # Killed with a full pipe: what the blocked subscriber has not read is lost or not.
        subscriber.ask("block", seconds=0.3)
        publisher.begin("publish", subject="flow", count=20_000, size=200, first=100)
        until(lambda p=publisher: len(subscriber.ask("numbers", sender=p.id)) > 100)
        publisher.kill()
        subscriber.ask("wait_state", peer=publisher.id, states=["failed"], timeout=30.0)
        numbers = subscriber.ask("numbers", sender=publisher.id)
        assert numbers == list(range(len(numbers)))
        # A state is told before the consumer of the events has had its turn.
        until(lambda p=publisher: latest_two(subscriber, p) == [("PeerFailed", 0), ("Gap", None)])
    assert subscriber.process.poll() is None
    assert set(subscriber.ask("gaps")) == {None}


def latest_two(witness: NodeProcess, peer: NodeProcess) -> list[tuple[str, int | None]]:
    return [(kind, missed) for _, kind, _, missed in witness.ask("seen", peer=peer.id)][-2:]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
