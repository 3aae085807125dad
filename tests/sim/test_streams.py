"""Streams and streaming calls under faults: links that break, peers that die, readers that stop."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import mesh
from patterns.streams import WINDOW_BYTES
from tests.sim.streams import CANCELLED, is_idle, place, soon


@pytest.mark.parametrize("seed", range(3))
def test_links_that_are_replaced_lose_nothing_and_repeat_nothing(seed: int) -> None:
    sim, _, (server,), reader = place(seed)

    async def body() -> None:
        await reader.wait_for("logs")
        async with await reader.open_stream("echo") as stream:
            received: list[int] = []

            async def read() -> None:
                received.extend([item[0] async for item in stream])

            reading = asyncio.create_task(read())
            for number in range(300):
                await stream.send([number, bytes(number * 50)])
                if number % 25 == 10:
                    ends = (reader, server) if number % 50 == 10 else (server, reader)
                    with contextlib.suppress(LookupError):  # it is being made again already
                        sim.replace(*ends) if number % 3 else sim.cut(*ends)
                    await asyncio.sleep(sim.random.random() / 10)
            stream.end()
            await reading
            assert received == list(range(300))
            assert stream.trailers == {"by": server.id}
        await soon(lambda: is_idle(server, reader))

    with sim:
        sim.run(body())


def test_a_server_that_dies_is_lost_to_who_iterates() -> None:
    sim, _, (server,), reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        numbers = []

        async def read() -> None:
            async for number in reader.iterate("logs.count", pause=0.1):
                numbers.append(number)
                if number == 5:
                    sim.kill(server)

        with pytest.raises(mesh.PeerLost):
            await read()
        assert numbers == list(range(6))
        assert is_idle(reader)

    with sim:
        sim.run(body())


@pytest.mark.parametrize("end", ["break", "close", "cancel", "kill"])
def test_a_generator_ends_when_nobody_wants_its_items(end: str) -> None:
    sim, logs, (server,), reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        iteration = reader.iterate("logs.count", pause=0.1)
        async for number in iteration:
            if number == 5:
                break
        if end == "cancel":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(iteration), 0.01)
        if end == "close":
            iteration.close()
        elif end == "kill":
            sim.kill(reader)
        del iteration
        await soon(lambda: logs.ends == [CANCELLED])
        assert is_idle(server)
        assert logs.made <= 15

    with sim:
        sim.run(body())


def test_a_generator_is_no_further_ahead_than_the_window() -> None:
    sim, logs, (server,), reader = place()
    size = 10_000

    async def body() -> None:
        await reader.wait_for("logs")
        async with reader.iterate("logs.count", size=size) as items:
            async for number, _ in items:
                await asyncio.sleep(0.2)
                ahead = (logs.made - number) * size
                assert ahead <= WINDOW_BYTES + 1024 * 1024 + 4 * size
                if number == 300:
                    break
        await soon(lambda: is_idle(server, reader))

    with sim:
        sim.run(body())


def test_nodes_that_gave_each_other_up_have_no_stream_left_and_open_new_ones() -> None:
    sim, _, (server,), reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        before = await reader.open_stream("echo")
        await before.send("before")
        assert await before.receive() == "before"
        sim.partition([reader], [server])
        with pytest.raises(mesh.PeerLost):
            await before.receive()
        await soon(lambda: is_idle(server))
        sim.heal()
        await reader.wait_for("logs", timeout=60)
        async with await reader.open_stream("echo") as after:
            await after.send("after")
            assert await after.receive() == "after"
        with pytest.raises(mesh.PeerLost):
            await before.send("again")
        await soon(lambda: is_idle(server, reader))

    with sim:
        sim.run(body())


@pytest.mark.parametrize("way", ["there", "back"])
def test_when_one_side_alone_gives_up_the_other_is_told_when_it_hears_of_it(way: str) -> None:
    sim, _, (server,), reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        stream = await reader.open_stream("echo")
        await stream.send(1)
        assert await stream.receive() == 1
        ends = (reader, server) if way == "there" else (server, reader)
        sim.block_path(*ends)
        await asyncio.sleep(30)
        sim.heal()
        await reader.wait_for("logs", timeout=60)
        with pytest.raises(mesh.PeerLost):
            await stream.receive(timeout=60)
        await soon(lambda: is_idle(server, reader))
        async with await reader.open_stream("echo") as after:
            await after.send("after")
            assert await after.receive() == "after"

    with sim:
        sim.run(body())


def test_a_frozen_peer_that_wakes_goes_on_where_it_was() -> None:
    sim, _, (server,), reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        numbers = []
        async for number in reader.iterate("logs.count", pause=0.1):
            numbers.append(number)
            if number == 5:
                sim.freeze(server)
                sim.advance(1.5)
                sim.thaw(server)
            if number == 20:
                break
        assert numbers == list(range(21))

    with sim:
        sim.run(body())


def test_what_a_generator_raises_comes_behind_its_items() -> None:
    sim, _, (_,), reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        few = reader.iterate("logs.few", 13)
        assert [await anext(few) for _ in range(13)] == list(range(13))
        with pytest.raises(mesh.RemoteError, match="ValueError: bad luck"):
            await anext(few)
        assert [item async for item in reader.iterate("logs.few", 0)] == []

    with sim:
        sim.run(body())


def test_a_generator_is_sent_arguments_while_it_runs() -> None:
    sim, _, (server,), reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        totals = reader.iterate("logs.total")
        stream = await totals.stream()
        for item in (1, 2, 3):
            await stream.send(item)
        stream.end()
        assert [total async for total in totals] == [1, 3, 6]
        await soon(lambda: is_idle(server, reader))

    with sim:
        sim.run(body())


def test_an_item_and_a_whole_iteration_have_deadlines() -> None:
    sim, logs, (server,), reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        logs_service = reader.service("logs")
        with pytest.raises(mesh.CallTimeout, match="no item"):
            async for _ in logs_service.iterate(item_timeout=0.5).count(pause=5):
                pass
        started = sim.now
        with pytest.raises(mesh.CallTimeout):
            async for _ in logs_service.iterate(total=3).count(pause=0.1):
                pass
        assert 2.9 < sim.now - started < 3.5
        await soon(lambda: logs.ends == [CANCELLED, CANCELLED])
        assert is_idle(server, reader)

    with sim:
        sim.run(body())


@pytest.mark.parametrize("fault", ["cancel", "timeout", "kill"])
def test_an_opening_that_nobody_waits_for_leaves_nothing(fault: str) -> None:
    sim, _, (server,), reader = place()
    sim.set_latency(server, reader, 0.5)

    async def body() -> None:
        await reader.wait_for("logs")
        opening = asyncio.create_task(reader.open_stream("echo", timeout=0.3))
        await asyncio.sleep(0.2)
        if fault == "cancel":
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
        elif fault == "timeout":
            with pytest.raises(mesh.CallTimeout):
                await opening
        else:
            sim.kill(server)
            with pytest.raises(mesh.MeshError):
                await opening
        await asyncio.sleep(5)
        assert is_idle(reader)
        assert fault == "kill" or is_idle(server)

    with sim:
        sim.run(body())


def test_a_keyed_stream_goes_to_the_owner_of_its_key() -> None:
    sim, _, _, reader = place(servers=5)

    async def body() -> None:
        await reader.wait_for("echo", count=5)
        for number in range(20):
            async with await reader.open_stream("echo", key=number) as stream:
                assert stream.peer == reader.owner("echo", number)
                stream.end()
                with pytest.raises(mesh.EndOfStream):
                    await stream.receive()
                assert stream.trailers == {"by": reader.owner("echo", number).id}

    with sim:
        sim.run(body())


def test_a_node_that_drains_ends_its_streams_and_takes_no_new_ones() -> None:
    sim, _, (first, second), reader = place(servers=2)

    async def body() -> None:
        await reader.wait_for("echo", count=2)
        old = await reader.open_stream("echo", peer=first.me)
        draining = asyncio.create_task(first.drain(30))
        await asyncio.sleep(1)
        for _ in range(10):
            async with await reader.open_stream("echo") as stream:
                assert stream.peer.id == second.id
        assert not draining.done()
        await old.send("still")
        assert await old.receive() == "still"
        old.close()
        await draining

    with sim:
        sim.run(body())


def test_a_drain_that_is_over_time_says_which_streams_run() -> None:
    sim, _, (server,), reader = place()

    async def body() -> None:
        await reader.wait_for("echo")
        stream = await reader.open_stream("echo")
        with pytest.raises(mesh.Timeout, match="1 of echo"):
            await server.drain(2)
        stream.close()

    with sim:
        sim.run(body())


def test_nobody_serves_it() -> None:
    sim, _, (_,), reader = place()

    async def body() -> None:
        await reader.wait_for("logs")
        await asyncio.sleep(2)
        with pytest.raises(mesh.NoProvider):
            await reader.open_stream("nothing")
        with pytest.raises(mesh.BadRequest, match="stream"):
            await reader.call("logs.few", 3)
        with pytest.raises(mesh.NoProvider):
            async for _ in reader.iterate("logs.none"):
                pass
        with pytest.raises(mesh.ConfigError, match="window"):
            await reader.open_stream("echo", window=10)

    with sim:
        sim.run(body())


def test_flush_waits_for_what_was_sent_on_streams() -> None:
    sim, _, (server,), reader = place()

    async def body() -> None:
        await reader.wait_for("echo")
        sim.set_latency(reader, server, 1.0)
        stream = await reader.open_stream("echo")
        await stream.send(bytes(100_000))
        started = sim.now
        await reader.flush()
        assert sim.now - started > 0.9
        stream.close()

    with sim:
        sim.run(body())


def test_a_node_streams_to_itself() -> None:
    sim, _, (server,), _ = place()

    async def body() -> None:
        assert [item async for item in server.iterate("logs.few", 5)] == list(range(5))
        async with await server.open_stream("echo") as stream:
            for size in (0, 10, 100_000):
                await stream.send(bytes(size))
                assert len(await stream.receive()) == size
        await soon(lambda: is_idle(server))

    with sim:
        sim.run(body())


def test_many_streams_at_once_and_each_has_its_own() -> None:
    sim, _, (server,), reader = place()

    async def one(number: int) -> None:
        async with await reader.open_stream("echo") as stream:
            for item in range(20):
                await stream.send([number, item, bytes(5000)])
            stream.end()
            assert [i[:2] async for i in stream] == [[number, item] for item in range(20)]

    async def body() -> None:
        await reader.wait_for("echo")
        await asyncio.gather(*(one(number) for number in range(100)))
        await soon(lambda: is_idle(server, reader))

    with sim:
        sim.run(body())
