"""The transport's work plane on real sockets: what arrives, what does not, what is given back."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from mesh.engine.ports import Lane
from mesh.security import Credentials, MeshKey, NodeKey, generate_key
from mesh.security.curve import bind_id
from mesh.transport import ZmqTransport
from mesh.transport import sockets as options
from mesh.wire import frames
from tests.net.processes import until, until_async
from tests.net.raw import Wire
from tests.net.test_async_node import runs

MIB = 1024 * 1024
LARGEST = frames.MAX_DATA_FRAME_BYTES
AT_ONCE = 0.1
"""Seconds: half of what a socket that lingers would take."""

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x05READY\x0bSocket-Type\0\0\0\4PULL"

Listen = Callable[..., "zmq.Socket[bytes]"]


class End:
    """One transport, and what it told."""

    def __init__(self, key: str | None = None) -> None:
        node = NodeKey.generate()
        self.id = bind_id(node.public)
        self.credentials = (
            None if key is None else Credentials(self.id, "mesh", [MeshKey(key, "mesh")], node)
        )
        loop = asyncio.get_running_loop()
        self.transport = ZmqTransport(loop, credentials=self.credentials)
        self.strangers = 0
        self.frames: list[bytes] = []
        self.ready: list[Lane] = []
        self.links: list[str] = []
        self.is_draining = False
        self.bound = self.transport.open(self)
        self.link_address = self.bound.addresses[0]
        self.work_address = f"127.0.0.1:{self.bound.work_port}"

    async def __aenter__(self) -> End:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        self.transport.close()
        await asyncio.wait_for(self.transport.wait_closed(), 5.0)

    def begin_drain(self) -> None:
        self.is_draining = True

    def end_drain(self) -> None:
        self.is_draining = False

    def on_hello(self, id: bytes, link: int) -> None:
        self.links.append("hello")

    def on_info(self, topic: bytes) -> None: ...

    def on_bye(self, id: bytes, link: int) -> None:
        self.links.append("bye")

    def on_link_frame(self, dial: object, frame: bytes, payload: bytes) -> None: ...

    def on_request_frame(self, route: bytes, frame: bytes) -> None: ...

    def on_reply_frame(self, lane: Lane, frame: bytes) -> None: ...

    def on_work_frame(self, frame: bytes) -> None:
        assert self.is_draining
        self.frames.append(frame)

    def on_refused(self, dial: object, code: str, text: str) -> None: ...

    def on_expelled(self, id: bytes, reason: str) -> None: ...

    def is_member(self, id: bytes) -> bool:
        return False

    def on_stranger(self) -> None:
        self.strangers += 1

    def on_work_ready(self, lane: Lane) -> None:
        assert self.is_draining
        self.ready.append(lane)

    def frame(self, body: bytes) -> bytes:
        """A frame of work with this sender."""
        return frames.pack_link(bytes(16), 0, frames.CAST, self.id, 0, 1) + body

    def send(self, lane: Lane, frame: bytes) -> bool:
        return self.transport.send_work(lane, frame)

    def open_lane(self, address: str, id: bytes = b"") -> Lane:
        return self.transport.open_work_lane(address, id)

    async def lane_to(self, address: str, id: bytes = b"", first: bytes = b"first") -> Lane:
        """A lane that is connected, and has sent ``first``."""
        lane = self.open_lane(address, id)
        await until_async(lambda: self.send(lane, first), what="a connection")
        self.ready.clear()
        return lane


def introduce(*ends: End, is_mutual: bool = True) -> None:
    """Let them know each other as from the door; without ``is_mutual`` the first one alone."""
    for knower in ends if is_mutual else ends[:1]:
        assert knower.credentials is not None
        for known in ends:
            assert known.credentials is not None
            public, hint = known.credentials.node.public, known.credentials.key.hint
            knower.credentials.members.add(known.id, public, None, hint)


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Makes bare sockets bound at a port of 127.0.0.1: 0 is any."""
    context: zmq.Context[Any] = zmq.Context()
    made: list[zmq.Socket[bytes]] = []

    def make(port: int = 0, most: int = 1000) -> zmq.Socket[bytes]:
        pull: zmq.Socket[bytes] = context.socket(zmq.PULL)
        pull.set(zmq.LINGER, 0)
        pull.set(zmq.RCVHWM, most)
        made.append(pull)
        # libzmq's thread may not have let go of the port yet.
        until(lambda: is_bound(pull, port), what="the port")
        return pull

    yield make
    for pull in made:
        pull.close()
    context.destroy(linger=0)


def is_bound(pull: zmq.Socket[bytes], port: int) -> bool:
    try:
        pull.bind(f"tcp://127.0.0.1:{port or '*'}")
    except zmq.ZMQError as error:
        if error.errno != zmq.EADDRINUSE:
            raise
        return False
    return True


def address_of(pull: zmq.Socket[bytes]) -> str:
    endpoint = pull.last_endpoint
    assert isinstance(endpoint, bytes)
    return endpoint.decode().removeprefix("tcp://")


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def take(pull: zmq.Socket[bytes]) -> bytes:
    assert pull.poll(10_000), "nothing came"
    return pull.recv()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# What arrives.


@runs
async def test_frames_arrive_in_order_whatever_their_size() -> None:
    async with End() as member, End() as sender:
        lane = await sender.lane_to(member.work_address)
        sent = [b"first"] + [os.urandom(size) for size in (1, 70_000, 3, 65_536, 65_535) * 200]
        for frame in sent[1:]:
            assert sender.send(lane, frame)
        await until_async(lambda: len(member.frames) >= len(sent))
        assert member.frames == sent


@runs
async def test_the_largest_frame_arrives_and_a_larger_one_ends_its_connection() -> None:
    async with End() as member, End() as sender:
        lane = await sender.lane_to(member.work_address)
        largest = os.urandom(LARGEST)
        assert sender.send(lane, largest)
        await until_async(lambda: largest in member.frames)
        assert sender.send(lane, largest + bytes(options.WIRE_OVERHEAD_BYTES + 1))
        await until_async(lambda: not sender.send(lane, b"lost"), what="the end of the connection")
        await until_async(lambda: sender.ready == [lane])
        assert sender.send(lane, b"next")
        await until_async(lambda: b"next" in member.frames)
        assert max(map(len, member.frames)) == LARGEST


@runs
async def test_with_a_key_frames_of_the_largest_size_arrive_as_well() -> None:
    key = generate_key()
    async with End(key) as member, End(key) as sender:
        introduce(member, sender)
        first = sender.frame(b"first")
        lane = await sender.lane_to(member.work_address, member.id, first)
        largest = sender.frame(os.urandom(LARGEST - frames.LINK_HEADER_SIZE))
        assert sender.send(lane, largest)
        await until_async(lambda: member.frames == [first, largest])


@runs
async def test_with_a_key_nobody_can_give_work_in_the_name_of_another_member() -> None:
    key = generate_key()
    async with End(key) as member, End(key) as sender, End(key) as other:
        introduce(member, sender, other)
        first = sender.frame(b"first")
        lane = await sender.lane_to(member.work_address, member.id, first)
        for forged in (other.frame(b"forged"), os.urandom(60), b"", b"x"):
            assert sender.send(lane, forged)
        last = sender.frame(b"last")
        assert sender.send(lane, last)
        await until_async(lambda: last in member.frames)
        assert member.frames == [first, last]
        assert member.strangers == 4


@runs
async def test_a_part_too_many_does_not_shift_what_follows() -> None:
    async with End() as member, End() as sender:
        lane = await sender.lane_to(member.work_address)
        with Wire(member.bound.work_port, b"PUSH") as wire:
            for _ in range(100):
                wire.send(b"stranger's", more=True)
                wire.send(b"second", more=True)
                wire.send(b"third")
            for number in range(100):
                assert sender.send(lane, b"%d" % number)
            await until_async(lambda: len(member.frames) >= 201)
        assert [f for f in member.frames if f.isdigit()] == [b"%d" % i for i in range(100)]
        assert set(member.frames) - {b"%d" % i for i in range(100)} == {b"first", b"stranger's"}


# What does not.


@runs
async def test_nothing_is_queued_for_an_endpoint_where_nobody_listens(listen: Listen) -> None:
    with socket.socket() as vacant:
        vacant.bind(("127.0.0.1", 0))
        port = vacant.getsockname()[1]
    async with End() as sender:
        lane = sender.open_lane(f"127.0.0.1:{port}")
        for _ in range(100):
            assert not sender.send(lane, b"queued")
            await asyncio.sleep(0)
        with listen(port) as pull:
            await until_async(lambda: sender.ready == [lane])
            assert sender.send(lane, b"sent")
            assert take(pull) == b"sent"


@runs
async def test_frames_for_one_process_do_not_reach_the_next_at_its_port(listen: Listen) -> None:
    stuck = listen(most=1)
    address = address_of(stuck)
    async with End() as sender:
        lane = await sender.lane_to(address)
        for _ in range(20):
            assert sender.send(lane, bytes(MIB))
        stuck.close()
        await until_async(lambda: not sender.send(lane, b"old"), what="the end of the connection")
        with listen(port_of(address)) as successor:
            await until_async(lambda: sender.ready == [lane])
            assert sender.send(lane, b"new")
            assert take(successor) == b"new"


@runs
async def test_a_lane_is_ready_once_and_only_after_it_took_no_frame() -> None:
    async with End() as member, End() as sender:
        unasked = sender.open_lane(member.work_address)
        asked = sender.open_lane(member.work_address)
        while sender.send(asked, b"x"):  # libzmq's thread was faster than we are
            asked = sender.open_lane(member.work_address)
        await until_async(lambda: sender.ready)
        refused = 0
        while not sender.send(unasked, b"unasked"):
            refused += 1
            await asyncio.sleep(0)
        assert sender.send(asked, b"asked")
        await until_async(lambda: {b"asked", b"unasked"} <= set(member.frames))
        assert sender.ready.count(asked) == 1
        assert sender.ready.count(unasked) <= refused


@runs
async def test_with_a_key_strangers_get_nothing_through_and_are_given_nothing() -> None:
    key = generate_key()
    async with End(key) as member, End(key) as friend, End(key) as thief, End() as plain:
        introduce(member, friend)
        # He knows the public keys of both, as only members do, and nobody has let him in.
        introduce(thief, friend, member, is_mutual=False)
        barred = [
            (thief, thief.open_lane(member.work_address, member.id)),
            (plain, plain.open_lane(member.work_address)),
            (friend, friend.open_lane(plain.work_address, member.id)),
            (friend, friend.open_lane(thief.work_address, member.id)),
        ]
        lane = await friend.lane_to(member.work_address, member.id, friend.frame(b"first"))
        for number in range(200):
            assert not any(end.send(strange, end.frame(b"strange")) for end, strange in barred)
            last = friend.frame(b"%d" % number)
            assert friend.send(lane, last)
            await until_async(lambda: member.frames[-1:] == [last])  # noqa: B023
        assert len(member.frames) == 201
        assert not thief.frames + plain.frames + friend.ready


@runs
async def test_no_lane_goes_to_a_node_that_has_not_shown_its_key() -> None:
    key = generate_key()
    async with End(key) as member, End(key) as sender:
        with pytest.raises(OSError, match="key"):
            sender.open_lane(member.work_address, member.id)


@runs
async def test_what_a_work_socket_says_is_not_kept() -> None:
    connected = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(
        lambda reader, writer: connected.set_result((reader, writer)), "127.0.0.1", 0
    )
    async with server, End() as sender:
        port = server.sockets[0].getsockname()[1]
        lane = sender.open_lane(f"127.0.0.1:{port}")
        _, writer = await connected
        writer.write(GREETING + bytes([4, len(READY)]) + READY)
        await until_async(lambda: sender.send(lane, b"work"), what="a connection")
        said = 0
        while said < 64 * MIB:
            writer.write((b"\0\xff" + bytes(255)) * 1000)
            try:
                await asyncio.wait_for(writer.drain(), 1.0)
            except TimeoutError:
                break
            said += 257_000
        assert said < 32 * MIB, "it takes more than a kernel's buffers hold"
        writer.transport.abort()


@runs
async def test_what_nobody_reads_of_a_sender_is_bounded() -> None:
    async with End() as member:
        with zmq.Context() as context, context.socket(zmq.PUSH) as push:
            push.set(zmq.LINGER, 0)
            push.set(zmq.SNDHWM, 1)
            push.connect(f"tcp://{member.work_address}")
            sent = 0
            # The loop does not run meanwhile, so nothing is read.
            while sent < 2000 and push.poll(1000, zmq.POLLOUT):
                push.send(bytes(MIB // 4))
                sent += 1
            assert options.MAX_UNSERVED_FRAMES <= sent < 2 * options.MAX_UNSERVED_FRAMES + 100
            await until_async(lambda: len(member.frames) == sent)


# What is given back.


@runs
async def test_closing_a_lane_with_unsent_frames_is_done_at_once_and_leaves_nothing(
    listen: Listen,
) -> None:
    listen()  # what a context needs of its own
    frame = os.urandom(MIB)
    async with End() as sender:
        before, held = descriptors(), sys.getrefcount(frame)
        stuck = listen(most=1)
        lanes = [await sender.lane_to(address_of(stuck)) for _ in range(5)]
        for lane in lanes:
            for _ in range(20):
                assert sender.send(lane, frame)
        assert sys.getrefcount(frame) > held
        start = time.perf_counter()
        for lane in lanes:
            sender.transport.close_lane(lane)
            sender.transport.close_lane(lane)
        assert time.perf_counter() - start < AT_ONCE
        assert not sender.send(lanes[0], frame)
        # The other ends are in this process too, and notice nothing while their pipes are full.
        stuck.close()
        await until_async(lambda: descriptors() == before, what="the end of the connections")
        await until_async(lambda: sys.getrefcount(frame) == held, what="the end of the frames")


@runs
async def test_a_lane_that_nobody_uses_lets_go_of_frames_when_its_connection_ends(
    listen: Listen,
) -> None:
    stuck = listen(most=1)
    frame = os.urandom(MIB)
    held = sys.getrefcount(frame)
    async with End() as sender:
        lane = await sender.lane_to(address_of(stuck))
        for _ in range(20):
            assert sender.send(lane, frame)
        assert sys.getrefcount(frame) > held
        stuck.close()
        await until_async(lambda: sys.getrefcount(frame) == held, what="the end of the frames")


@runs
async def test_a_transport_with_unsent_work_ends_at_once(listen: Listen) -> None:
    listen()
    before = descriptors()
    stuck = listen(most=1)
    sender = End()
    lane = await sender.lane_to(address_of(stuck))
    sender.open_lane("127.0.0.1:1")
    sender.open_lane("no address")
    for _ in range(20):
        assert sender.send(lane, bytes(MIB))
    sender.transport.close()
    assert not sender.send(lane, b"too late")
    start = time.perf_counter()
    await sender.close()
    assert time.perf_counter() - start < options.CLOSE_LINGER_MS / 1000 + AT_ONCE
    stuck.close()
    await until_async(lambda: descriptors() <= before, what="the end of the connections")
