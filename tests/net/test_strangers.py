"""What a program gets that speaks the wire protocol by hand: only what a member should."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

import mesh
from discovery import parse_address
from mesh.security import Credentials, MeshKey, NodeKey
from mesh.security.curve import bind_id
from mesh.security.knocking import Card, new_token
from mesh.transport.door import knock
from mesh.wire import frames
from mesh.wire.codec import Codec
from tests.net.processes import NodeProcess

Make = Callable[..., mesh.Node]
New = Callable[[int], zmq.Socket[bytes]]
Start = Callable[..., NodeProcess]

SILENCE_MS = 500
"""Milliseconds in which an answer would have come hundreds of times."""

ANSWER_MS = 10_000
KEY = "open sesame"


@pytest.fixture
def new_socket() -> Iterator[New]:
    """Sockets of a program that is no node."""
    with zmq.Context() as context:
        opened: list[zmq.Socket[bytes]] = []

        def new(kind: int) -> zmq.Socket[bytes]:
            socket = context.socket(kind)
            opened.append(socket)
            return socket

        yield new
        for socket in opened:
            socket.close(linger=0)


def listening_ports(pid: int) -> set[int]:
    """The TCP ports that a process listens at."""
    inodes = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            inodes.add(os.readlink(f"/proc/{pid}/fd/{number}"))
        except FileNotFoundError:
            continue  # closed since it was listed
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def connect_to_requests(socket: zmq.Socket[bytes], target: NodeProcess) -> None:
    """Its sockets for links and for work speak to no DEALER, and are given nothing then."""
    socket.set(zmq.IMMEDIATE, 1)
    for port in listening_ports(target.pid) - {int(target.address.rpartition(":")[2])}:
        socket.connect(f"tcp://127.0.0.1:{port}")


def test_a_request_meant_for_another_node_is_refused_and_not_started(
    start_process: Start, make_node: Make, new_socket: New
) -> None:
    target = start_process("target")
    caller = make_node("caller").start()
    caller.wait_for("target", timeout=20.0)
    assert caller.call("target.echo", 1) == 1, "the caller is known there"
    socket = new_socket(zmq.DEALER)
    connect_to_requests(socket, target)

    def ask(receiver: bytes, number: int) -> frames.DataHeader:
        sender = bytes.fromhex(caller.id)
        header = frames.pack_data(frames.REQUEST, sender, receiver, 0, 1)
        socket.send(header + Codec().pack([number, "target.work", 5000, [number]]))
        assert socket.poll(ANSWER_MS), "no answer"
        return frames.unpack_data(socket.recv())

    assert ask(secrets.token_bytes(16), 1).kind != frames.REPLY
    assert target.ask("started") == []
    assert ask(bytes.fromhex(target.id), 2).kind == frames.REPLY
    assert target.ask("started") == [2]


def test_a_request_of_a_node_that_is_not_known_is_refused_and_not_started(
    start_process: Start, new_socket: New
) -> None:
    target = start_process("target")
    socket = new_socket(zmq.DEALER)
    connect_to_requests(socket, target)
    sender, receiver = secrets.token_bytes(16), bytes.fromhex(target.id)
    header = frames.pack_data(frames.REQUEST, sender, receiver, 0, 1)
    socket.send(header + Codec().pack([1, "target.work", 5000, [1]]))
    assert socket.poll(ANSWER_MS), "no answer"
    assert frames.unpack_data(socket.recv()).kind != frames.REPLY
    assert target.ask("started") == []


def test_nobody_can_subscribe_to_what_goes_to_others(make_node: Make, new_socket: New) -> None:
    speaker, listener = make_node("speaker").start(), make_node("listener").start()
    speaker.wait_for("listener", timeout=20.0)
    listener.wait_for("speaker", timeout=20.0)
    socket = new_socket(zmq.SUB)
    socket.connect(f"tcp://{speaker.me.address}")
    for topic in (b"", b"\x00", b"\x00" + bytes.fromhex(listener.id)[:8]):
        socket.subscribe(topic)
    for link in range(4):
        socket.subscribe(frames.link_prefix(bytes.fromhex(listener.id), link))
    with listener.subscribe("news") as subscription:
        for number in range(100):
            assert speaker.publish("news", number) == 1
        assert [subscription.get(timeout=10.0).data for _ in range(100)] == list(range(100))
        assert not socket.poll(SILENCE_MS), "somebody else's frame"


@pytest.mark.parametrize(
    "knows",
    [
        "nothing",
        "the node's key",
        "the mesh key, and was at the door",
        "all, and is another",
    ],
)
def test_only_a_member_gets_a_link_and_only_in_its_own_name(
    make_node: Make, mesh_name: str, new_socket: New, knows: str
) -> None:
    node = make_node("keyed", key=KEY, host="127.0.0.1").start()
    insider = Credentials(bytes(16), mesh_name, [MeshKey(KEY, mesh_name)], NodeKey.generate())
    insider.id = bind_id(insider.node.public)
    token = new_token()
    question = insider.question(insider.key, token)
    host, port = parse_address(node.me.address)
    answer = asyncio.run(knock(host, port, lambda: question))
    card = insider.take_answer(answer, insider.key, token)
    assert isinstance(card, Card)
    client, id = insider.node, insider.id
    if knows in ("nothing", "the node's key"):
        client = NodeKey.generate()
    if knows == "all, and is another":
        id = secrets.token_bytes(16)
    socket = new_socket(zmq.SUB)
    if knows != "nothing":
        client.meet(socket, card.key)
    info: Any = {"v": frames.PROTOCOL_VERSION, "mesh": mesh_name, "link": ["127.0.0.1:1"]}
    socket.connect(f"tcp://127.0.0.1:{card.port}")
    socket.subscribe(frames.pack_hello(id, 1))
    socket.subscribe(frames.pack_info(id, info | {"rpc": 1}))
    is_welcome = knows == "the mesh key, and was at the door"
    assert bool(socket.poll(ANSWER_MS if is_welcome else SILENCE_MS)) is is_welcome
    assert node.peers(all=True) == []
    strange = node.counters().get("strange_frames", 0)
    assert bool(strange) is (knows == "all, and is another")
