"""How streams end, and begin: what the parts beneath do where no fault of the network is needed, or
where one must come at a certain moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import mesh
from mesh.links import Arrivals
from patterns.rpc import CallOptions
from patterns.streams import WINDOW_BYTES
from tests.sim.streams import CANCELLED, is_idle, place, soon


def session_of(node: Any, other: Any) -> Any:
    return node.host.engine.session_of(other.id)


def test_a_side_that_alone_gives_the_other_up_ends_its_streams_there_too() -> None:
    sim, _, (server,), reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        stream = await reader.open_stream("echo")
        await stream.send(1)
        assert await stream.receive() == 1
        server.host.engine._liveness.fail(session_of(server, reader), "it was said so")
        with pytest.raises(mesh.PeerLost):
            await stream.receive(timeout=30)
        await soon(lambda: is_idle(server, reader))
        await reader.wait_for("echo")
        async with await reader.open_stream("echo") as after:
            await after.send("after")
            assert await after.receive(timeout=5) == "after"

    with sim:
        sim.run(body())


def test_a_side_that_has_forgotten_the_other_says_so_and_both_begin_anew() -> None:
    sim, _, (server,), reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        stream = await reader.open_stream("echo")
        await stream.send(1)
        assert await stream.receive() == 1
        session_of(server, reader).streams.arrivals = Arrivals()
        with pytest.raises(mesh.PeerLost, match="forgotten"):
            await keep_sending(stream)
        async with await reader.open_stream("echo") as after:
            await after.send("after")
            assert await after.receive(timeout=5) == "after"

    async def keep_sending(stream: mesh.AsyncStream) -> None:
        for number in range(100):
            await stream.send(number)
            await asyncio.sleep(0.1)

    with sim:
        sim.run(body())


def test_a_stream_whose_opener_has_gone_when_it_is_accepted_is_ended() -> None:
    sim, logs, (server,), reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        engine = reader.host.engine
        asked = engine.call, "logs.count", (1.0,), {}, CallOptions(), WINDOW_BYTES
        gone = reader.host.loop.create_future()
        gone.cancel()
        engine.streams.open(*asked, gone, None)
        await soon(lambda: logs.ends == [CANCELLED])
        waiter = reader.host.loop.create_future()
        core = engine.streams.open(*asked, waiter, None)
        await waiter
        engine.streams.abandon(core)
        await soon(lambda: logs.ends == [CANCELLED] * 2)
        await soon(lambda: is_idle(server, reader))

    with sim:
        sim.run(body())


def test_what_is_sent_in_the_turn_in_which_a_link_begins_is_behind_its_beginning() -> None:
    sim, _, (server,), reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        stream = await reader.open_stream("echo")
        engine, core = reader.host.engine, stream._core
        link_up = engine.on_hello

        def on_hello(id: bytes, link: int) -> None:
            # The lane is to be flushed before the session, which has the beginning to say.
            assert core.offer_message(reader.host.engine.streams.pack("first"))
            link_up(id, link)

        engine.on_hello = on_hello
        sim.replace(server, reader)
        assert await stream.receive(timeout=30) == "first"
        stream.close()
        await soon(lambda: is_idle(server, reader))
        assert "stale_frames" not in server.counters()

    with sim:
        sim.run(body())


def test_a_side_that_has_never_sent_anything_tells_that_it_gave_the_other_up() -> None:
    sim, logs, (server,), reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        items = reader.iterate("logs.count", pause=0.5)
        assert await anext(items) == 0
        assert session_of(reader, server).streams.outgoing.next_number == 0
        reader.host.engine._liveness.fail(session_of(reader, server), "it was said so")
        with pytest.raises(mesh.PeerLost):
            await anext(items)
        await soon(lambda: logs.ends == [CANCELLED])
        assert is_idle(server, reader)

    with sim:
        sim.run(body())


def test_that_a_side_gave_the_other_up_is_told_again_when_the_link_breaks_that_told_it() -> None:
    sim, _, (server,), reader = place()
    sim.set_latency(server, reader, 0.2)

    async def body() -> None:
        await reader.wait_for("logs")
        stream = await reader.open_stream("echo")
        session_of(server, reader).streams.reset()  # which is on its way now
        server.host.engine.streams.streams.on_lost(session_of(server, reader), "it was said so")
        await asyncio.sleep(0.1)
        sim.replace(reader, server)
        with pytest.raises(mesh.PeerLost):
            await stream.receive(timeout=30)

    with sim:
        sim.run(body())


def slow_sink(name: str, pause: float, received: list[Any]) -> Callable[[], mesh.AsyncNode]:
    def make() -> mesh.AsyncNode:
        node = mesh.AsyncNode(name)

        @node.stream(name)
        async def sink(stream: mesh.AsyncStream) -> None:
            async for item in stream:
                received.append(item[0])
                await asyncio.sleep(pause)

        return node

    return make


def test_leaving_waits_for_what_waits_for_credit_and_the_other_side_reads_it_all() -> None:
    sim, _, _, _ = place()
    received: list[Any] = []
    sim.add(slow_sink("sink", 0.01, received))

    async def body() -> None:
        node = mesh.AsyncNode("sender")
        async with node:
            await node.wait_for("sink")
            async with await node.open_stream("sink") as stream:
                for number in range(130):
                    await stream.send([number, bytes(10_000)])
            await node.flush(30)
        await soon(lambda: len(received) == 130)
        assert received == list(range(130))

    with sim:
        sim.run(body())


def test_a_drain_waits_until_what_a_generator_made_has_been_taken() -> None:
    sim, _, (server,), reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        items = reader.service("logs").iterate(window=128 * 1024).count(size=10_000)
        taken = [await anext(items)]
        draining = asyncio.create_task(server.drain(60))
        await asyncio.sleep(0.5)
        assert not draining.done()
        items.close()
        await draining
        assert taken[0][0] == 0
        few = reader.iterate("logs.few", 20)
        with pytest.raises(mesh.NoProvider):
            await anext(few)

    with sim:
        sim.run(body())


def test_an_iteration_is_opened_once_and_not_again_when_it_is_over() -> None:
    sim, _, (server,), reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        items = reader.iterate("logs.few", 20)
        await asyncio.gather(items.stream(), *[anext(items) for _ in range(5)])
        assert len(server.host.engine.streams.streams) <= 1
        items.close()
        with pytest.raises(mesh.StreamAborted, match="over"):
            await items.stream()
        slow = reader.iterate("logs.count", pause=1.0)
        opening = asyncio.create_task(slow.stream())
        await asyncio.sleep(0)
        slow.close()
        with pytest.raises(mesh.StreamAborted, match="over"):
            await opening
        await soon(lambda: is_idle(server, reader))

    with sim:
        sim.run(body())


def test_a_reader_that_is_cancelled_as_it_is_woken_leaves_the_message_to_the_next() -> None:
    sim, _, _, reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        stream = await reader.open_stream("echo")
        first = asyncio.create_task(stream.receive())
        await asyncio.sleep(0.1)
        second = asyncio.create_task(stream.receive())
        await asyncio.sleep(0.1)
        streams = reader.host.engine.streams.streams
        deliver = streams.on_messages

        def on_messages(handle: Any, entries: Any) -> int:
            malformed: int = deliver(handle, entries)
            first.cancel()
            return malformed

        streams.on_messages = on_messages
        await stream.send("for whoever is there")
        assert await asyncio.wait_for(second, 10) == "for whoever is there"
        assert first.cancelled()
        stream.close()

    with sim:
        sim.run(body())


def test_the_time_for_all_of_an_iteration_has_its_opening_in_it() -> None:
    sim, _, (server,), reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        sim.block(server)
        started = sim.now
        with pytest.raises(mesh.CallTimeout):
            await anext(reader.service("logs").iterate(total=0.5).few(3))
        assert sim.now - started < 1
        sim.unblock(server)
        await asyncio.sleep(10)
        assert is_idle(server, reader)

    with sim:
        sim.run(body())
