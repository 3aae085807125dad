"""What nodes hold for each other is bounded, and the largest that is allowed arrives.

Memory is measured as the resident size of a node's process, against what was sent to it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
import zmq

import mesh
from mesh.links import PARCEL_BYTES
from tests.net.processes import AgentError, NodeProcess, until, until_async
from tests.net.raw import RawPeer, Wire, descriptors, rss_bytes
from tests.net.test_async_node import runs

Start = Callable[..., NodeProcess]
Make = Callable[..., mesh.Node]
MakeAsync = Callable[..., mesh.AsyncNode]

MIB = 2**20
KEY = "mesh1-" + "a" * 52
MESSAGE_OVERHEAD = len(msgpack.packb(["s", bytes(PARCEL_BYTES - 100)])) - (PARCEL_BYTES - 100)


@pytest.fixture
def make(mesh_name: str) -> MakeAsync:
    return functools.partial(
        mesh.AsyncNode, mesh=mesh_name, discovery=("exchange",), host="127.0.0.1"
    )


class Unhandled:
    """Collects what reaches the loop's exception handler; at the end there must be nothing."""

    def __enter__(self) -> Unhandled:
        self.errors: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, told: self.errors.append(told.get("exception") or told["message"])
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            assert self.errors == []


@dataclasses.dataclass
class Choosy:
    """Refuses with an error of its author's liking."""

    x: int

    def __post_init__(self) -> None:
        raise KeyError(self.x)


def served(make: MakeAsync, received: list[tuple[int, int]], **settings: Any) -> mesh.AsyncNode:
    """A node with the methods and the subscription that the tests below use."""
    node = make("server", **settings)

    @node.rpc
    def size(value: bytes) -> int:
        return len(value)

    @node.rpc
    def made(count: int) -> bytes:
        return bytes(count)

    @node.rpc
    def unspeakable() -> None:
        raise OSError("no such file: \udc80")

    @node.rpc
    def choosy(value: Choosy) -> int:
        return value.x

    @node.rpc(concurrency=1)
    async def pause(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @node.subscriber("s")
    def on_message(message: mesh.Message) -> None:
        received.append((len(message.data), message.missed))

    return node


# Sizes.


@runs
async def test_messages_of_one_turn_never_make_a_frame_above_the_limit(make: MakeAsync) -> None:
    received: list[tuple[int, int]] = []
    async with served(make, received) as server, make(seeds=[server.me.address]) as client:
        await client.wait_for("server")
        sizes = [62_000, 240_000, 65_000, 65_000, 200_000, 10, 262_000, 10]
        with Unhandled():
            for size in sizes:
                client.publish("s", bytes(size))
            await until_async(lambda: len(received) == len(sizes))
        assert received == [(size, 0) for size in sizes]


@runs
async def test_requests_and_replies_of_one_turn_never_make_a_frame_above_the_limit(
    make: MakeAsync,
) -> None:
    large = 20 * MIB
    async with served(make, []) as server, make(seeds=[server.me.address]) as client:
        await client.wait_for("server")
        service = client.service("server", timeout=10.0)
        with Unhandled():
            sizes = [60_000, 50_000, large]
            assert await asyncio.gather(*(service.size(bytes(n)) for n in sizes)) == sizes
            made = await asyncio.gather(*(service.made(n) for n in sizes))
            assert [len(value) for value in made] == sizes
            assert await service.size(b"x") == 1


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "keyed"])
def test_what_just_fits_a_frame_and_what_just_does_not_arrive(
    make: MakeAsync, key: str | None
) -> None:
    @runs
    async def scenario() -> None:
        received: list[tuple[int, int]] = []
        async with (
            served(make, received, key=key) as server,
            make(seeds=[server.me.address], key=key) as client,
        ):
            await client.wait_for("server")
            largest = PARCEL_BYTES - MESSAGE_OVERHEAD
            service = client.service("server", timeout=10.0)
            for size in range(largest - 20, largest + 2):
                client.publish("s", bytes(size))
                assert await service.size(bytes(size)) == size
                assert len(await service.made(size)) == size
            expected = {(size, 0) for size in range(largest - 20, largest + 2)}
            await until_async(lambda: len(received) == len(expected))
            assert set(received) == expected

    scenario()


def test_a_large_change_of_interest_costs_no_link(start_process: Start, make_node: Make) -> None:
    target = start_process("target")
    node = make_node("changing").start()
    node.wait_for("target", timeout=20.0)

    long = "x" * 200

    async def change() -> list[mesh.Peer]:
        old = [node.aio.subscribe(f"old.{long}.{number}") for number in range(800)]
        await asyncio.gather(*(subscription.begin() for subscription in old))
        for subscription in old:
            subscription.close()
        for number in range(800):
            node.aio.subscriber(f"new.{long}.{number}")(lambda message: None)
        return (await node.aio.subscribe("last")).unconfirmed

    changing = asyncio.run_coroutine_threadsafe(change(), node.aio.host.loop)
    assert changing.result(30) == []
    kinds = [kind for _, kind, *_ in target.ask("seen", peer=node.id)]
    assert "PeerSuspected" not in kinds
    assert target.ask("publish", subject=f"new.{long}.7") == [1]
    assert target.ask("publish", subject=f"old.{long}.7") == [0]


# Outcomes.


@runs
async def test_an_error_that_cannot_be_told_or_foreseen_costs_no_other_call(
    make: MakeAsync,
) -> None:
    async with served(make, []) as server, make(seeds=[server.me.address]) as client:
        await client.wait_for("server")
        service = client.service("server", timeout=3.0)
        with Unhandled():
            for failing, kind in (
                (service.unspeakable, mesh.RemoteError),
                (functools.partial(service.choosy, {"x": 1}), mesh.BadRequest),
            ):
                outcomes = await asyncio.gather(
                    service.size(b"1"), failing(), service.size(b"22"), return_exceptions=True
                )
                assert [outcomes[0], outcomes[2]] == [1, 2]
                assert isinstance(outcomes[1], kind)


@runs
async def test_calls_that_were_given_up_take_no_place_in_the_line(make: MakeAsync) -> None:
    async with served(make, []) as server, make(seeds=[server.me.address]) as client:
        await client.wait_for("server")
        service = client.service("server", timeout=10.0)
        running = asyncio.ensure_future(service.pause(1.5))
        brief = client.service("server", timeout=0.3)
        outcomes = await asyncio.gather(
            *(brief.pause(0) for _ in range(1024)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {mesh.CallTimeout}
        assert await service.pause(0.0) == 0.0
        assert await running == 1.5


# Memory.


@pytest.fixture
def target(start_process: Start) -> NodeProcess:
    # Large blocks go back at once, so that what is measured is what it holds.
    prefix = ["env", "MALLOC_MMAP_THRESHOLD_=131072"]
    return start_process("target", discovery=["exchange"], prefix=prefix)


def test_replies_that_nobody_reads_are_not_kept_without_end(
    raw: RawPeer, target: NodeProcess
) -> None:
    id = raw.join(target)
    before = rss_bytes(target)
    call = msgpack.packb([1, "target.echo", 60_000, [bytes(MIB)]])
    with Wire(raw.records[id]["rpc"], b"DEALER") as wire:
        # In portions, so that what waits to be read there is not what is measured.
        for _ in range(100):
            for _ in range(10):
                wire.send(raw.request(id, call))
            raw.pump()
            target.ask("now")
        # 256 MiB of replies, four of the largest payload, and what is in the socket's queues.
        assert rss_bytes(target) - before < 400 * MIB


def test_requests_that_nobody_takes_are_not_kept_without_end(
    context: zmq.Context[Any], mesh_name: str, target: NodeProcess
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        raw = RawPeer(context, mesh_name, rpc_port=deaf.getsockname()[1])
        raw.join(target)
        until(lambda: raw.pump() or raw.id.hex() in target.ask("peers"))
        before = rss_bytes(target)
        for _ in range(150):
            with pytest.raises(AgentError) as raised:
                target.ask("call", method="raw.method", args=["x" * MIB], timeout=0.02)
            assert raised.value.kind in ("CallTimeout", "Overloaded", "PeerLost")
            raw.pump()
        assert rss_bytes(target) - before < 80 * MIB
        raw.close()


def test_a_stopped_receiver_costs_its_publisher_no_more_than_its_buffers(
    start_process: Start,
) -> None:
    receiver = start_process("receiver", subscribe=("news.>",))
    publisher = start_process("publisher")
    publisher.ask("wait_for", name="receiver")
    until(lambda: publisher.ask("publish", subject="news.x") == [1])
    receiver.signal(signal.SIGSTOP)
    try:
        before = rss_bytes(publisher)
        publisher.ask("publish", subject="news.x", count=1000, size=100_000)
        assert rss_bytes(publisher) - before < 48 * MIB
        assert publisher.ask("counters")["dropped_for_slow_peers"] > 700
    finally:
        receiver.signal(signal.SIGCONT)


READER = """
import sys, time, mesh
node = mesh.Node("reader", mesh=sys.argv[1], discovery=(), seeds=[sys.argv[2]]).start()
node.wait_for("publisher", timeout=10)
with node.subscribe("news.>") as unread:
    core = node.aio.host.engine.pubsub._subscriptions
    print("ready", flush=True)
    for line in sys.stdin:
        deadline = time.monotonic() + 10
        while sum(s.queued + s.missed for s in list(core)) < int(line) - 50:
            assert time.monotonic() < deadline, "the messages did not come"
            time.sleep(0.005)
        print(unread.missed, flush=True)
    node.close()
"""


def test_what_is_never_read_costs_its_node_no_more_than_a_bound(
    start_process: Start, run_script: Callable[..., Any], mesh_name: str
) -> None:
    publisher = start_process("publisher")
    reader = run_script(READER, mesh_name, publisher.address)
    pipes = reader.process
    assert pipes.stdout is not None
    assert pipes.stdin is not None
    assert pipes.stdout.readline() == "ready\n", reader.errors
    before = rss_bytes(reader)
    missed = 0
    for number in range(50, 751, 50):
        publisher.ask("publish", subject="news.x", count=50, size=200_000)
        pipes.stdin.write(f"{number}\n")
        pipes.stdin.flush()
        missed = int(pipes.stdout.readline() or -1)
        assert missed >= 0, reader.errors
    assert rss_bytes(reader) - before < 100 * MIB
    assert missed > 100, "what was dropped is counted"


# Tables and descriptors.


def test_peers_that_come_and_die_leave_bounded_tables(
    context: zmq.Context[Any], mesh_name: str, target: NodeProcess, make_node: Make
) -> None:
    before = descriptors(target)
    for _ in range(8):
        peers = [RawPeer(context, mesh_name) for _ in range(25)]
        for peer in peers:
            peer.dial(target.address)
        until(lambda peers=peers: [p.pump() for p in peers] and all(p.is_confirmed for p in peers))
        for peer in peers:
            peer.close()
    ended = until(lambda: len(target.ask("peers", all=True)) == 200 and target.ask("peers") == {})
    assert ended
    assert descriptors(target) < before + 150, "dead ones are redialled a few at a time"
    node = make_node("newcomer", discovery=(), seeds=[target.address]).start()
    node.wait_for("target", timeout=5.0)


def test_peers_that_leave_give_back_their_descriptors(make_node: Make, target: NodeProcess) -> None:
    before = descriptors(target)
    for _ in range(10):
        node = make_node("brief", discovery=(), seeds=[target.address]).start()
        node.wait_for("target")
        assert node.call("target.pid") == target.pid
        node.close()
    until(lambda: descriptors(target) <= before + 2, what="the end of their connections")


@runs
async def test_an_edge_that_one_side_has_lost_comes_back(make: MakeAsync) -> None:
    received: list[tuple[int, int]] = []
    async with served(make, received) as server, make("client") as client:
        client.host.engine.hint(None, [server.me.address])
        await client.wait_for("server")
        await until_async(lambda: [peer.id for peer in server.peers()] == [client.id])
        inner = server.host.engine
        session = inner.session_of(client.id)
        inner.on_bye(session.id, session.link)  # the server believes that the client is gone
        await until_async(lambda: [p.state for p in server.peers(all=True)] != ["alive"])
        await until_async(
            lambda: [p.state for p in (*server.peers(), *client.peers())] == ["alive", "alive"],
            within=25.0,
        )
        client.publish("s", os.urandom(3))
        await until_async(lambda: [size for size, _ in received] == [3])
