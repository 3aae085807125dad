"""The contract of ``AsyncNode``: what is awaited, what is not, and what cancelling does."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import mesh
from tests.net.processes import until_async

Make = Callable[..., mesh.AsyncNode]
WITHIN = 60.0


def runs(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine as a test, on a loop of its own, and leave no task behind."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def main() -> None:
            before = asyncio.all_tasks()
            await test(*args, **kwargs)
            assert asyncio.all_tasks() == before

        asyncio.run(asyncio.wait_for(main(), WITHIN))

    return run


@pytest.fixture
def make(mesh_name: str) -> Make:
    """Nodes of this test's mesh; each test closes its own."""
    return functools.partial(mesh.AsyncNode, mesh=mesh_name, discovery=("local",))


@runs
async def test_the_verbs_that_wait_are_awaited(make: Make) -> None:
    server = make("calc")

    @server.rpc
    async def add(a: int, b: int) -> int:
        return a + b

    async with server, make("shop") as client:
        assert await client.call("calc.add", 2, 3) == 5
        assert await client.service("calc", timeout=5.0).add(2, b=3) == 5
        assert await client.service("calc")["add"](2, 3) == 5
        (peer,) = await client.wait_for("calc")
        assert peer.id == server.id
        subscription = await client.subscribe("news")
        async with client.join("crew") as group:
            assert server.publish("news", 1) == 1
            assert server.broadcast("crew", 2) == 1
            assert (await subscription.get(timeout=10.0)).data == 1
            assert (await group.get(timeout=10.0)).data == 2
        await server.flush()
        subscription.close()
        with pytest.raises(mesh.NodeClosed):
            await subscription.get()


@runs
async def test_start_and_close_may_be_repeated(make: Make) -> None:
    node = make("calc")
    assert await node.start() is node
    address = node.me.address
    assert await node.start() is node
    assert node.me.address == address
    await asyncio.gather(*(node.close() for _ in range(4)))
    await node.close()
    with pytest.raises(mesh.NodeClosed):
        await node.start()


@runs
async def test_verbs_before_start_and_after_close_are_node_closed(make: Make) -> None:
    verbs: list[Callable[[mesh.AsyncNode], Any]] = [
        lambda node: node.call("calc.add"),
        lambda node: node.service("calc").add(),
        lambda node: node.publish("a"),
        lambda node: node.broadcast("a"),
        lambda node: node.send("0" * 32, "a"),
        lambda node: node.subscribe("a"),
        lambda node: node.join("a"),
        lambda node: node.wait_for("a"),
        lambda node: node.flush(),
        lambda node: node.peers(),
        lambda node: node.watch(),
        lambda node: node.me,
    ]
    never, ended = make("calc"), await make("calc").start()
    await ended.close()
    for node in (never, ended):
        for verb in verbs:
            with pytest.raises(mesh.NodeClosed):
                await outcome(verb, node)


async def outcome(verb: Callable[[mesh.AsyncNode], Any], node: mesh.AsyncNode) -> Any:
    """Of a verb, which is awaited on this face or not."""
    result = verb(node)
    return await result if inspect.isawaitable(result) else result


@runs
async def test_plain_handlers_run_on_the_loop_unless_told_otherwise(make: Make) -> None:
    here = threading.current_thread().name
    async with make("calc") as node:
        node.rpc("inline")(lambda: threading.current_thread().name)
        node.rpc("pool", inline=False)(lambda: threading.current_thread().name)
        assert await node.call("calc.inline") == here
        assert await node.call("calc.pool") != here


@runs
async def test_a_blocking_handler_in_the_pool_does_not_stop_the_loop(make: Make) -> None:
    gate = threading.Event()
    async with make("calc") as node:
        node.rpc("wait", inline=False)(lambda: gate.wait(20.0))
        call = asyncio.ensure_future(node.call("calc.wait"))
        await asyncio.sleep(0)
        node.rpc("free")(lambda: "free")
        assert await node.call("calc.free") == "free"
        gate.set()
        assert await call is True


@runs
async def test_iteration_ends_when_the_node_closes(make: Make) -> None:
    node = await make("calc").start()
    subscription = await node.subscribe("news")
    for number in range(3):
        node.publish("news", number)

    async def read() -> list[Any]:
        return [message.data async for message in subscription]

    async def watch() -> list[Any]:
        return [event async for event in node.watch()]

    reading, watching = asyncio.ensure_future(read()), asyncio.ensure_future(watch())
    await node.flush()
    await asyncio.sleep(0.05)
    await node.close()
    assert await reading == [0, 1, 2]
    assert await watching == []


@runs
async def test_a_cancelled_get_loses_nothing(make: Make) -> None:
    async with make("calc") as node, node.subscribe("news") as subscription:
        for _ in range(5):
            getting = asyncio.ensure_future(subscription.get())
            await asyncio.sleep(0)
            node.publish("news", 1)
            getting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await getting
            assert (await subscription.get(timeout=10.0)).data == 1
        with pytest.raises(mesh.Timeout):
            await subscription.get(timeout=0.01)


@runs
async def test_waits_can_be_cancelled(make: Make) -> None:
    async with make("calc") as node:
        waits = [
            asyncio.ensure_future(node.wait_for("nobody", timeout=60.0)),
            asyncio.ensure_future(node.service("nobody", wait=60.0, timeout=60.0).add()),
        ]
        await asyncio.sleep(0.01)
        for wait in waits:
            wait.cancel()
        assert [type(e) for e in await asyncio.gather(*waits, return_exceptions=True)] == [
            asyncio.CancelledError
        ] * 2
        assert node.peers() == []


@runs
async def test_waits_end_with_node_closed_when_the_node_closes(make: Make) -> None:
    server = make("calc")

    @server.rpc
    async def hang() -> None:
        await asyncio.Event().wait()

    async with server:
        node = await make("shop").start()
        await node.wait_for("calc", timeout=20.0)
        waits = [
            asyncio.ensure_future(node.wait_for("nobody", timeout=60.0)),
            asyncio.ensure_future(node.service("nobody", wait=60.0, timeout=60.0).add()),
            asyncio.ensure_future(node.service("calc", timeout=60.0).hang()),
        ]
        subscription = await node.subscribe("never")
        waits.append(asyncio.ensure_future(subscription.get()))
        await asyncio.sleep(0.01)
        await node.close()
        outcomes = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [mesh.NodeClosed] * 4


@runs
async def test_publish_broadcast_and_send_may_come_from_any_thread(make: Make) -> None:
    listener = make("listener")
    received: list[tuple[str, int]] = []
    for kind in (listener.subscriber("flow"), listener.member("crew")):
        kind(lambda message: received.append((message.kind, message.data)))
    async with listener, make("speaker") as speaker:
        (peer,) = await speaker.wait_for("listener", timeout=20.0)

        def speak() -> list[Any]:
            return [
                [speaker.publish("flow", n), speaker.broadcast("crew", n)] for n in range(200)
            ] + [speaker.send(peer, "flow", n) for n in range(200)]

        answers = await asyncio.to_thread(speak)
        assert answers == [[1, 1]] * 200 + [True] * 200
        await until_async(lambda: len(received) == 600)
    for name in ("publish", "broadcast", "send"):
        assert [n for kind, n in received if kind == name] == list(range(200))


@runs
async def test_errors_in_another_thread_are_raised_there(make: Make) -> None:
    async with make("speaker") as node:
        for error, speak in (
            (mesh.BadName, lambda: node.publish("a.*")),
            (mesh.BadPayload, lambda: node.publish("a", object())),
            (mesh.BadPayload, lambda: node.broadcast("a", object())),
            (mesh.PeerLost, lambda: node.send("0" * 32, "a")),
        ):
            with pytest.raises(error):
                await asyncio.to_thread(speak)


@runs
async def test_leaving_by_an_exception_closes_without_a_flush(make: Make) -> None:
    node = make("calc")
    with pytest.raises(ZeroDivisionError):
        async with node:
            raise ZeroDivisionError
    assert "closed" in repr(node)


@runs
async def test_start_that_is_cancelled_leaves_nothing_behind(make: Make) -> None:
    threads = threading.active_count()
    for _ in range(5):
        node = make("calc", key="a passphrase takes its time", host="127.0.0.1")
        starting = asyncio.ensure_future(node.start())
        await asyncio.sleep(0.01)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await node.close()
    await until_async(lambda: threading.active_count() == threads)


@runs
async def test_a_thousand_calls_at_once_are_all_answered(make: Make) -> None:
    server = make("calc")

    @server.rpc
    async def echo(value: int) -> int:
        await asyncio.sleep(0)
        return value

    async with server, make("shop") as client:
        await client.wait_for("calc", timeout=20.0)
        calls = (client.service("calc", timeout=30.0).echo(n) for n in range(1000))
        assert await asyncio.gather(*calls) == list(range(1000))


@runs
async def test_watch_tells_of_a_peer_that_comes_and_goes(make: Make) -> None:
    async with make("node") as node, node.watch() as events:
        other = await make("other").start()
        joined = await events.get(timeout=10.0)
        assert (type(joined), joined.peer.id) == (mesh.PeerJoined, other.id)
        await other.close()
        left = await events.get(timeout=10.0)
        assert (type(left), left.peer.id) == (mesh.PeerLeft, other.id)


@runs
async def test_two_nodes_of_one_loop_start_and_answer_in_time(make: Make) -> None:
    began = time.monotonic()
    server = make("calc")
    server.rpc("add")(lambda a, b: a + b)
    async with server, make("shop") as client:
        assert await client.call("calc.add", 2, 3) == 5
        assert time.monotonic() - began < 0.15 * 10
