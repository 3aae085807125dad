"""Members that follow the protocol and take more than their share: time, memory, lines of log."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
import zmq

import mesh
from mesh.engine import control as c
from mesh.engine.control_lane import MAX_RECORDS
from mesh.engine.telling import BURST
from mesh.links.inbox import MAX_UNCONSUMED_BYTES
from mesh.transport.hellos import MAX_PIPES
from mesh.wire import frames
from tests.net.processes import NodeProcess, until
from tests.net.raw import RawPeer, Wire, rss_bytes

Start = Callable[..., NodeProcess]
Make = Callable[..., mesh.Node]

PATIENT = 2.0
"""Seconds within which a call is answered whatever others do; alone it takes a millisecond."""


def served(friend: mesh.Node, target: NodeProcess) -> float:
    """The seconds that a call took."""
    began = time.monotonic()
    assert friend.service("target", timeout=PATIENT).echo(7) == 7
    target.check()
    return time.monotonic() - began


def test_questions_whom_one_knows_are_answered_now_and_then(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess
) -> None:
    id = raw.join(target)
    for _ in range(20):
        raw.pump()
        time.sleep(0.01)
    raw.received.clear()
    for number in range(10):
        raw.control(id, *[[c.DIGEST, number + 1], [c.PEERS, [], True]] * 500)
    until(lambda: raw.pump() or target.ask("counters").get("questions_unanswered", 0) > 4900)
    answers = sum(c.PEERS in kinds_of(body) for _, body in raw.received)
    assert answers <= 10, "a thousand questions a frame, and an answer of each kind a second"
    served(friend, target)


def kinds_of(body: bytes) -> list[Any]:
    unpacker = msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(body)
    return [entry[0] for entry in unpacker if isinstance(entry, list)]


def test_whoever_does_not_mind_the_window_is_cut_off_alone(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess
) -> None:
    id = raw.join(target)
    target.ask("subscribe_unread", pattern="flood", policy="block")
    before = rss_bytes(target)
    message = msgpack.packb(["flood", "x" * 200_000])
    sent = 0
    while id in raw.links and sent < 8 * MAX_UNCONSUMED_BYTES:
        raw.frame(id, frames.PUBLISH, sent // len(message), 1, message)
        sent += len(message)
    until(lambda: target.ask("counters").get("link_resets"))
    assert rss_bytes(target) - before < 3 * MAX_UNCONSUMED_BYTES
    served(friend, target)
    assert target.ask("peers")[friend.id] == "alive"
    assert "not consumed" in target.errors


def test_a_member_that_changes_its_record_without_end_leaves_others_their_calls(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess
) -> None:
    queues = {f"g{number}": [f"p{number}.{i}" for i in range(100)] for number in range(150)}
    raw.record["queues"] = queues
    raw.record["interest"] = [f"i{number}" for number in range(5000)]
    id = raw.join(target)
    slowest, version = 0.0, 1
    for _ in range(30):
        changes = [[c.DELTA, {"version": version + n + 1}] for n in range(MAX_RECORDS)]
        version += len(changes)
        if id in raw.links:
            raw.control(id, *changes)
        raw.pump()
        slowest = max(slowest, served(friend, target))
    assert slowest < PATIENT
    assert "link_resets" not in target.ask("counters")
    raw.control(id, *[[c.DELTA, {"version": version + n + 1}] for n in range(MAX_RECORDS + 1)])
    until(lambda: raw.pump() or target.ask("counters").get("link_resets"))


def test_payloads_beyond_the_limit_fill_no_log(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess
) -> None:
    id = raw.join(target)
    total = 2**40
    for number in range(1000):
        chunk = frames.pack_chunk(frames.PUBLISH, number, total, 0) + b"x"
        raw.frame(id, frames.CHUNK, 0, 0, chunk)
    until(lambda: raw.pump() or target.ask("counters").get("parcels_refused", 0) == 1000)
    assert target.errors.count("a payload of") <= BURST + 10
    served(friend, target)


def test_a_goodbye_writes_no_second_line_into_the_log(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess
) -> None:
    id = raw.join(target)
    raw.control(id, [c.GOODBYE, "tired\nERROR the disk is full\x1b[2J" + "x" * 10_000])
    until(lambda: raw.id.hex() not in target.ask("peers"))
    reasons = [str(event) for event in target.ask("seen", peer=raw.id.hex())]
    assert reasons
    assert not any("\\n" in reason or "\\x1b" in reason for reason in reasons)


def test_a_node_with_thousands_of_addresses_is_known_by_a_few(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess
) -> None:
    raw.record["addresses"] += [f"127.0.0.9:{port}" for port in range(10_000, 15_000)]
    raw.join(target)
    until(lambda: raw.pump() or raw.id.hex() in target.ask("peers"))
    served(friend, target)


def test_more_hellos_than_are_counted_keep_no_newcomer_out(
    context: zmq.Context[Any], make_node: Make, friend: mesh.Node, target: NodeProcess
) -> None:
    xsub = context.socket(zmq.XSUB)
    xsub.linger = 0
    xsub.sndhwm = 0
    xsub.connect(f"tcp://{target.address}")
    for number in range(MAX_PIPES + 2000):
        xsub.send(b"\1" + frames.pack_hello(os.urandom(16), number))
    xsub.send(b"\1\1garbage, to see that what is before it was read")
    until(lambda: target.ask("counters").get("bad_frames"), within=30.0)
    served(friend, target)
    node = make_node("newcomer", discovery=(), seeds=[target.address]).start()
    node.wait_for("target", timeout=10.0)
    assert target.ask("peers")[friend.id] == "alive"
    xsub.close(0)


@pytest.mark.parametrize("port", ["rpc", "work"])
def test_a_message_of_a_million_parts_stops_no_loop(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess, port: str
) -> None:
    """At the request socket other requests wait behind it, for ZeroMQ reads one message at a time;
    all else goes on."""
    id = raw.join(target)
    kind = b"DEALER" if port == "rpc" else b"PUSH"
    with Wire(raw.records[id][port], kind) as wire:
        wire.tcp.sendall(b"\x01\x00" * 1_000_000 + b"\x00\x00")
        slowest = max(friend.ping(target.id, timeout=PATIENT) for _ in range(200))
    assert slowest < 0.5
    assert friend.service("target", timeout=20.0).echo(1) == 1
    target.check()
