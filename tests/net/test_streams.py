"""Streams and streaming calls on real sockets: both faces, threads, deaths, permissions."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mesh
from mesh.finding import Finding
from mesh.streaming import THREADED_STREAMS
from patterns.streams import WINDOW_BYTES
from tests.net.identities import Mint
from tests.net.processes import Script, free_ports, until

Make = Callable[..., mesh.Node]
MakeAsync = Callable[..., mesh.AsyncNode]

SERVER = """
import asyncio, sys
import mesh

node = mesh.AsyncNode("logs", mesh=sys.argv[1], discovery=("local",))

@node.rpc
async def count(pause):
    number = 0
    while True:
        yield number
        number += 1
        await asyncio.sleep(pause)

@node.stream("sink")
async def sink(stream):
    async for _ in stream:
        pass
    stream.end({"done": "yes"})

asyncio.run(node.run())
"""

READER = """
import sys
import mesh

with mesh.Node(mesh=sys.argv[1], discovery=("local",)) as node:
    node.wait_for("logs")
    for number in node.iterate("logs.count"):
        print(number, flush=True)
"""


class Logs:
    """What a blocking node serves; ``ends`` is what became of its generators."""

    def __init__(self, node: mesh.Node) -> None:
        self.node = node
        self.made = 0
        self.ends: list[str] = []
        node.rpc(self.count)
        node.rpc(self.slow)
        node.rpc(self.fail)
        node.stream("hash", window=WINDOW_BYTES)(self.hash)
        node.start()

    def count(self, most: int = 1 << 30) -> Iterator[int]:
        try:
            for number in range(most):
                self.made += 1
                yield number
        finally:
            self.ends.append("closed")

    async def slow(self, pause: float) -> AsyncIterator[int]:
        try:
            number = 0
            while True:
                yield number
                number += 1
                await asyncio.sleep(pause)
        finally:
            self.ends.append("cancelled")

    def fail(self) -> Iterator[int]:
        yield 1
        raise LookupError("no such log")

    def hash(self, stream: mesh.Stream) -> None:
        digest = hashlib.sha256()
        while data := stream.read(timeout=20):
            digest.update(data)
        stream.end({"sha256": digest.hexdigest(), "from": stream.headers["name"]})


@pytest.fixture
def logs(make_node: Make) -> Logs:
    return Logs(make_node("logs"))


@pytest.fixture
def reader(make_node: Make, logs: Logs) -> mesh.Node:
    node = make_node("reader").start()
    node.wait_for("logs")
    return node


def exhaust(items: Any) -> None:
    for _ in items:
        pass


def is_idle(node: mesh.Node) -> bool:
    return node.aio.host.on_loop(lambda: len(node.aio.host.engine.streams.streams)) == 0


def test_a_plain_generator_in_a_thread_is_iterated_by_a_thread(
    logs: Logs, reader: mesh.Node
) -> None:
    assert list(reader.iterate("logs.count", 5000)) == list(range(5000))
    assert list(reader.service("logs").iterate.count(most=3)) == [0, 1, 2]
    until(lambda: logs.ends == ["closed"] * 2)
    until(lambda: is_idle(reader) and is_idle(logs.node))


def test_who_stops_early_ends_the_generator(logs: Logs, reader: mesh.Node) -> None:
    for number in reader.iterate("logs.count"):
        if number == 10:
            break
    until(lambda: logs.ends == ["closed"])
    with reader.iterate("logs.slow", 0.01) as items:
        assert next(items) == 0
    until(lambda: logs.ends == ["closed", "cancelled"])
    until(lambda: is_idle(reader) and is_idle(logs.node))


def test_a_generator_waits_for_who_is_slow(logs: Logs, reader: mesh.Node) -> None:
    items = reader.iterate("logs.count")
    assert next(items) == 0
    last = -1

    def stands_still() -> bool:
        nonlocal last
        before, last = last, logs.made
        time.sleep(0.3)
        return logs.made == before

    until(stands_still, 20)
    # Of one byte each, and what an entry costs: on the way, in the window, and waiting here.
    assert logs.made < 3 * WINDOW_BYTES / 60
    assert [next(items) for _ in range(1000)] == list(range(1, 1001))
    items.close()
    until(lambda: logs.ends == ["closed"])


def test_what_a_generator_raises_comes_behind_its_items(logs: Logs, reader: mesh.Node) -> None:
    items = reader.iterate("logs.fail")
    assert next(items) == 1
    with pytest.raises(mesh.RemoteError, match="LookupError: no such log"):
        next(items)


def test_a_thread_streams_bytes_to_a_thread(logs: Logs, reader: mesh.Node) -> None:
    data = bytes(range(256)) * 40_000
    with reader.open_stream("hash", headers={"name": "letter"}) as stream:
        assert stream.peer.id == logs.node.id
        for start in range(0, len(data), 1_000_003):
            stream.write(data[start : start + 1_000_003])
        stream.end()
        assert stream.read(timeout=20) == b""
        assert stream.trailers == {"sha256": hashlib.sha256(data).hexdigest(), "from": "letter"}
    until(lambda: is_idle(reader) and is_idle(logs.node))


def test_many_threads_have_streams_at_once(logs: Logs, reader: mesh.Node) -> None:
    digests: dict[int, Any] = {}

    def send(number: int) -> None:
        with reader.open_stream("hash", headers={"name": str(number)}) as stream:
            stream.write(bytes([number]) * 300_000)
            stream.end()
            stream.read(timeout=20)
            digests[number] = stream.trailers

    threads = [threading.Thread(target=send, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for number in range(20):
        digest = hashlib.sha256(bytes([number]) * 300_000).hexdigest()
        assert digests[number] == {"sha256": digest, "from": str(number)}


def test_a_timeout_leaves_the_stream_as_it_is(logs: Logs, reader: mesh.Node) -> None:
    with reader.open_stream("hash", headers={"name": "x"}) as stream:
        with pytest.raises(mesh.Timeout, match="nothing came"):
            stream.receive(timeout=0.05)
        stream.end()
        assert stream.read(timeout=20) == b""


def test_a_blocking_stream_on_the_loop_is_refused(logs: Logs, reader: mesh.Node) -> None:
    stream = reader.open_stream("hash", headers={"name": "x"})

    async def misuse() -> None:
        stream.receive()

    with pytest.raises(RuntimeError, match="block"):
        reader._wait(misuse)
    stream.abort()


def test_a_closed_node_ends_its_streams_on_both_sides(
    make_node: Make, logs: Logs, reader: mesh.Node
) -> None:
    items = reader.iterate("logs.slow", 0.01)
    assert next(items) == 0
    reader.close()
    with pytest.raises(mesh.NodeClosed):
        exhaust(items)
    until(lambda: logs.ends == ["cancelled"])
    until(lambda: is_idle(logs.node))


def test_what_was_sent_before_a_node_closes_arrives(make_node: Make, mesh_name: str) -> None:
    received: list[Any] = []
    server = make_node("store")

    @server.stream("store")
    def store(stream: mesh.Stream) -> None:
        received.extend(stream)

    server.start()
    with mesh.Node(mesh=mesh_name, discovery=("local",)) as client:
        client.wait_for("store")
        with client.open_stream("store") as stream:
            for number in range(200):
                stream.send([number, bytes(1000)])
    until(lambda: len(received) == 200)


def test_what_a_thread_sends_keeps_its_order_and_the_end_is_behind_it(
    make_node: Make, reader: mesh.Node
) -> None:
    received: list[Any] = []
    server = make_node("slow")

    @server.stream("slow")
    async def slow(stream: mesh.AsyncStream) -> None:
        await asyncio.sleep(1)
        async for number, _ in stream:
            received.append(number)

    server.start()
    reader.wait_for("slow")
    # The window and the queue take some 1,213; the last ones are handed over and find no room.
    for count in (1210, 1220, 1235):
        received.clear()
        with reader.open_stream("slow") as stream:
            for number in range(count):
                stream.send([number, bytes(1000)])
        until(lambda: len(received) == count)  # noqa: B023
        assert received == list(range(count))


@pytest.mark.parametrize("count", [1, 31, 1239])
def test_a_plain_handler_ends_behind_all_that_it_has_sent(
    count: int, make_node: Make, reader: mesh.Node
) -> None:
    server = make_node("letters")

    @server.rpc
    def letters() -> Iterator[list[Any]]:
        for number in range(count):
            yield [number, bytes(1000)]

    @server.stream("tunnel")
    def tunnel(stream: mesh.Stream) -> None:
        for number in range(count):
            stream.send([number, bytes(1000)])

    server.start()
    reader.wait_for("tunnel")
    items = reader.iterate("letters.letters")
    time.sleep(0.3)  # it is as far as it can be, and the last ones find no room
    assert [item[0] for item in items] == list(range(count))
    with reader.open_stream("tunnel") as stream:
        time.sleep(0.3)
        assert [item[0] for item in stream] == list(range(count))


def test_trailers_that_are_too_long_harm_nothing(make_node: Make, reader: mesh.Node) -> None:
    server = make_node("long")

    @server.stream("long")
    async def long(stream: mesh.AsyncStream) -> None:
        stream.end({"all": "x" * 300_000})

    server.start()
    reader.wait_for("long")
    for _ in range(2):
        with (
            reader.open_stream("long") as stream,
            pytest.raises(mesh.RemoteError, match="trailers"),
        ):
            stream.receive(timeout=20)
    assert "link_resets" not in reader.counters()


def test_plain_handlers_leave_threads_for_others(make_node: Make, reader: mesh.Node) -> None:
    server = make_node("plain")
    server.stream("wait", concurrency=1000)(lambda stream: stream.read())
    server.rpc("ping")(lambda: "pong")
    server.start()
    reader.wait_for("wait")
    streams = [reader.open_stream("wait") for _ in range(THREADED_STREAMS)]
    with pytest.raises(mesh.Overloaded, match="streams of it"):
        reader.open_stream("wait")
    assert reader.call("plain.ping") == "pong"
    for stream in streams:
        stream.close()


def test_a_thread_that_sends_behind_its_end_is_told(logs: Logs, reader: mesh.Node) -> None:
    with reader.open_stream("hash", headers={"name": "x"}) as stream:
        stream.end()
        with pytest.raises(mesh.StreamAborted, match="before end"):
            stream.send(1)


def test_an_iteration_has_one_stream_for_all_threads(logs: Logs, reader: mesh.Node) -> None:
    items = reader.iterate("logs.count", 5000)
    taken: list[int] = []
    threads = [threading.Thread(target=lambda: taken.extend(items)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(taken) == list(range(5000))
    until(lambda: logs.ends == ["closed"])


@pytest.mark.parametrize("victim", ["server", "reader"])
def test_a_process_that_is_killed_is_lost_at_once_to_the_other(
    victim: str, make_async: MakeAsync, mesh_name: str, run_script: Callable[..., Script]
) -> None:
    async def body() -> None:
        ended = asyncio.Event()
        async with make_async("logs" if victim == "reader" else "reader") as node:
            if victim == "reader":

                @node.rpc
                async def count() -> AsyncIterator[int]:
                    try:
                        for number in range(1 << 30):
                            yield number
                            await asyncio.sleep(0.01)
                    finally:
                        ended.set()

                process = run_script(READER, mesh_name)
                await asyncio.to_thread(process.process.stdout.readline)  # type: ignore[union-attr]
                process.kill()
                await asyncio.wait_for(ended.wait(), 10)
                return
            process = run_script(SERVER, mesh_name)
            await node.wait_for("logs", timeout=30)
            items = node.iterate("logs.count", 0.01)
            assert await anext(items) == 0
            process.kill()
            killed_at = time.monotonic()
            with pytest.raises(mesh.PeerLost):
                await asyncio.gather(*[anext(items) for _ in range(1000)])
            assert time.monotonic() - killed_at < 5

    asyncio.run(body())


def test_handlers_have_their_node_before_start_has_returned(
    make_async: MakeAsync, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        (port,) = free_ports(1)
        late = make_async("late", port=port, discovery=())

        @late.rpc
        async def few(count: int) -> AsyncIterator[int]:
            for number in range(count):
                yield number

        @late.rpc
        async def ask() -> Any:
            return await late.call("late.answer", len(late.peers()))

        @late.rpc
        def answer(peers: int) -> int:
            return peers

        may_start = asyncio.Event()
        start = Finding.start

        async def slow_start(finding: Finding, *rest: Any) -> None:
            await may_start.wait()
            await start(finding, *rest)

        async with make_async("reader", discovery=(), seeds=[f"127.0.0.1:{port}"]) as reader:
            monkeypatch.setattr(Finding, "start", slow_start)
            starting = asyncio.create_task(late.start())
            await reader.wait_for("late", timeout=20)
            assert not starting.done()
            assert [item async for item in reader.iterate("late.few", 3)] == [0, 1, 2]
            assert await reader.call("late.ask") == 1
            may_start.set()
            await starting
            await late.close()

    asyncio.run(body())


def test_who_may_not_call_opens_no_stream(tmp_path: Path, mesh_name: str) -> None:
    mint = Mint(tmp_path, mesh_name)
    policy = mesh.Policy(
        [mesh.Rule("readers", who=["reader"], allow={"call": ["files.*"]})], default="deny"
    )
    given = {"host": "127.0.0.1", "discovery": ("local",)}

    async def body() -> None:
        node = mesh.AsyncNode("files", identity=mint.identity("files"), policy=policy, **given)
        served: list[str] = []

        @node.stream
        async def files(stream: mesh.AsyncStream) -> None:
            served.append(stream.peer.name)

        reader = mesh.AsyncNode("a", identity=mint.identity("reader"), **given)
        guest = mesh.AsyncNode("b", identity=mint.identity("guest"), **given)
        async with node, reader, guest:
            for one in (reader, guest):
                await one.wait_for("files")
            async with await reader.open_stream("files") as stream:
                assert await stream.read() == b""
            with pytest.raises(mesh.AccessDenied):
                await guest.open_stream("files")
            assert served == ["a"]

    asyncio.run(body())


def test_what_cannot_be_a_stream_is_refused_where_it_is_written(make_node: Make) -> None:
    node = make_node("odd")
    with pytest.raises(mesh.ConfigError, match="no handler"):

        @node.stream("numbers")
        def numbers(stream: mesh.Stream) -> Iterator[int]:
            yield 1

    with pytest.raises(mesh.BadName):
        node.stream("no such name")(print)
    with pytest.raises(mesh.ConfigError, match="window"):
        node.stream("files", window=1)(print)
    node.stream("files")(print)
    with pytest.raises(mesh.ConfigError, match="already"):
        node.stream("files")(print)
    observer = make_node("eye", observer=True)
    with pytest.raises(mesh.ConfigError, match="observer"):
        observer.stream("files")(print)
