"""Large payloads between processes of one host: through memory, with the guarantees of the link."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

import mesh
from mesh.engine.packing import PAYLOAD_PART_BYTES
from mesh.transport import shared
from mesh.wire import frames, sharing
from tests.net.processes import NodeProcess, until
from tests.net.raw import RawPeer

Make = Callable[..., mesh.Node]
Start = Callable[..., NodeProcess]

pytestmark = pytest.mark.skipif(not shared.SEALS, reason="Linux only")

KIB = 1024


def rings_of(node: mesh.Node) -> list[shared.Ring | None]:
    transport: Any = node.aio.host._transport
    return list(transport._rings._rings.values())


def positions(node: mesh.Node) -> list[int]:
    """How many bytes went into each ring, from some number on."""
    return [ring._position for ring in rings_of(node) if ring is not None]


class Heard:
    """A node that keeps the payloads of "big"."""

    def __init__(self, node: mesh.Node) -> None:
        self.node = node
        self.payloads: list[bytes] = []
        node.subscriber("big", inline=True)(lambda message: self.payloads.append(message.data))
        node.start()


@pytest.mark.parametrize("key", [None, "a key for this test"])
@pytest.mark.parametrize("count", [1, 3])
def test_payloads_of_any_size_arrive_as_they_were_and_in_order(
    make_node: Make, count: int, key: str | None
) -> None:
    publisher = make_node("publisher", key=key).start()
    receivers = [Heard(make_node(f"receiver{number}", key=key)) for number in range(count)]
    for receiver in receivers:
        publisher.wait_for(receiver.node.name, timeout=20.0)
    until(lambda: publisher.publish("big", bytes(PAYLOAD_PART_BYTES)) == count)
    until(
        lambda: (
            [ring is not None and ring.is_seen for ring in rings_of(publisher)] == [True] * count
        )
    )
    before = positions(publisher)
    chance = random.Random(7)
    sizes = [chance.randrange(8 * KIB, 255 * KIB) for _ in range(300)]
    payloads = [chance.randbytes(size) for size in sizes]
    for number, payload in enumerate(payloads):
        publisher.publish("big", payload)
        if number % 50 == 49:  # before the oldest give way
            publisher.flush(timeout=30.0)
    for receiver in receivers:
        until(lambda heard=receiver.payloads: len(heard) > len(payloads))
        assert receiver.payloads[-len(payloads) :] == payloads
    assert publisher.aio.counters() == {}
    large = sum(size for size in sizes if size >= PAYLOAD_PART_BYTES)
    through = [now - then for now, then in zip(positions(publisher), before, strict=True)]
    assert min(through) >= large, "not through memory"


def test_none_is_lost_while_one_process_writes_and_another_reads(
    make_node: Make, start_process: Start
) -> None:
    """At once, for both look at the same header: only two processes do that."""
    receiver = make_node("receiver")
    sizes: Counter[int] = Counter()
    receiver.subscriber("big", inline=True)(lambda message: sizes.update([len(message.data)]))
    receiver.start()
    process = start_process("publisher")
    receiver.wait_for("publisher", timeout=20.0)
    count, size = 10_000, 20_000
    process.ask("flood_bytes", subject="big", size=size, count=count, within=60.0)
    until(lambda: sizes[size] >= count)
    assert sizes == {size: count}
    assert receiver.counters() == {}


def test_where_memory_cannot_be_seen_payloads_arrive_all_the_same(
    make_node: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "LINKED_TO", "what no descriptor is")
    publisher = make_node("publisher").start()
    receiver = Heard(make_node("receiver"))
    publisher.wait_for("receiver", timeout=20.0)
    until(lambda: publisher.publish("big", bytes(PAYLOAD_PART_BYTES)))
    until(lambda: rings_of(publisher) == [None])
    payloads = [bytes([number]) * 64 * KIB for number in range(100)]
    for payload in payloads:
        publisher.publish("big", payload)
    until(lambda: len(receiver.payloads) > len(payloads))
    assert receiver.payloads[-len(payloads) :] == payloads


def test_a_killed_publisher_leaves_nothing_behind(make_node: Make, start_process: Start) -> None:
    receiver = Heard(make_node("receiver"))
    process = start_process("publisher")
    receiver.node.wait_for("publisher", timeout=20.0)

    def maps() -> int:
        with open("/proc/self/maps") as file:
            return file.read().count(shared.NAME)

    until(lambda: process.ask("publish_bytes", subject="big", size=64 * KIB) and maps() == 1)
    count = len(receiver.payloads)
    process.ask("publish_bytes", subject="big", size=64 * KIB)
    process.kill()
    until(lambda: not receiver.node.peers())
    assert len(receiver.payloads) >= count
    receiver.node.close()
    assert maps() == 0


# Whoever does not keep to the rules.


@pytest.fixture
def target(start_process: Start) -> NodeProcess:
    return start_process("target", discovery=["exchange"], subscribe=("news",))


IN_PLACE = frames.PUBLISH | frames.IN_PARTS | frames.IN_PLACE


@pytest.mark.parametrize(
    "end",
    [
        b"",
        b"short",
        bytes(sharing.PLACE_SIZE),
        sharing.pack_place(sharing.Place(1, 64, 2**32 - 1)),
        sharing.pack_place(sharing.Place(1, 2**32 - 1, 1)),
    ],
)
def test_a_place_where_nothing_is_is_a_gap_and_no_harm(
    raw: RawPeer, target: NodeProcess, end: bytes
) -> None:
    id = raw.join(target)
    header = frames.pack_link(id, raw.links[id], IN_PLACE, raw.id, 0, 1)
    raw.xpub.send(header + msgpack.packb(["news", None]) + end)
    raw.frame(id, frames.PUBLISH, 1, 1, msgpack.packb(["news", "after it"]))
    until(lambda: raw.pump() or target.ask("wait_received", count=1, timeout=0.1) == 1)
    assert target.ask("counters")["gaps"] == 1


@pytest.mark.parametrize("kind", ["garbage", "another host", "a pipe", "not sealed"])
def test_an_offer_that_is_no_memory_is_declined_and_its_payload_arrives(
    raw: RawPeer, target: NodeProcess, kind: str
) -> None:
    id = raw.join(target)
    token = os.urandom(sharing.TOKEN_SIZE)
    host, pid, size = shared.host_of(token), os.getpid(), shared.RING_BYTES
    reader, writer = os.pipe()
    fd = os.memfd_create(shared.NAME, os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    offer = {
        "garbage": b"no offer",
        "another host": sharing.pack_offer(sharing.Offer(bytes(16), token, pid, fd, size)),
        "a pipe": sharing.pack_offer(sharing.Offer(host, token, pid, reader, size)),
        "not sealed": sharing.pack_offer(sharing.Offer(host, token, pid, fd, size)),
    }[kind]
    header = frames.pack_link(id, raw.links[id], frames.PUBLISH | frames.IN_PARTS, raw.id, 0, 1)
    raw.xpub.send_multipart([header + msgpack.packb(["news", None]), b"payload", offer])
    if kind != "garbage":
        topics: list[bytes] = []

        def is_declined() -> bool:
            while raw.xpub.poll(0):
                topics.append(raw.xpub.recv())
            return b"\x01" + sharing.pack_answer(token, is_seen=False) in topics

        until(is_declined)
    until(lambda: raw.pump() or target.ask("wait_received", count=1, timeout=0.1) == 1)
    for one in (reader, writer, fd):
        os.close(one)
