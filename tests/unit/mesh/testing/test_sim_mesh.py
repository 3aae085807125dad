"""Whole nodes in a simulation: every verb once, each fault seen to have its effect, the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

import mesh
from mesh.testing import LeftBehind, SimMesh

HOUR = 3600.0


@pytest.fixture
def sim() -> Iterator[SimMesh]:
    with SimMesh(1) as sim:
        yield sim


def make_calc() -> mesh.Node:
    """A service as a user writes it: blocking face, plain and coroutine handlers."""
    node = mesh.Node("calc")
    node.lines = []  # type: ignore[attr-defined]

    @node.rpc
    def add(a: int, b: int) -> int:
        return a + b

    @node.rpc
    async def wait(seconds: float) -> float:
        await asyncio.sleep(seconds)
        node.lines.append(seconds)  # type: ignore[attr-defined]
        return seconds

    @node.rpc
    def blocked() -> int:
        return int(node.call("calc.add", 1, 1))

    @node.member("jobs")
    def work(message: mesh.Message) -> None:
        node.lines.append(message.data)  # type: ignore[attr-defined]

    @node.subscriber("orders.*")
    async def order(message: mesh.Message) -> None:
        node.lines.append(message.data)  # type: ignore[attr-defined]

    return node


def pair(sim: SimMesh) -> tuple[mesh.Node, mesh.AsyncNode]:
    calc, shop = sim.add(make_calc), sim.node("shop")
    sim.until(lambda: any(peer.name == "calc" for peer in shop.peers()))
    return calc, shop


def state(node: mesh.AsyncNode, name: str) -> str:
    return next((peer.state for peer in node.peers(all=True) if peer.name == name), "unknown")


def test_every_verb_works_in_the_simulation(sim: SimMesh) -> None:
    calc, shop = sim.add(make_calc), sim.node("shop")
    lines: list[object] = calc.lines  # type: ignore[attr-defined]

    async def body() -> None:
        (peer,) = await shop.wait_for("calc")
        assert await shop.call("calc.add", 2, 3) == 5
        assert await shop.service("calc", key="k", retry=True, timeout=1).add(1, 1) == 2
        with pytest.raises(mesh.CallTimeout):
            await shop.service("calc", timeout=0.5).wait(2)
        assert shop.owner("calc", "k") == peer
        assert 0 < await shop.ping(peer) < 0.01
        assert shop.publish("orders.new", "published") == 1
        assert shop.send(peer, "orders.sent", "sent")
        assert shop.broadcast("jobs", "broadcast") == 1
        assert await shop.groupcast("jobs", "cast") == peer
        await shop.flush()
        assert sorted(map(str, lines)) == ["broadcast", "cast", "published", "sent"]
        async with shop.subscribe("news") as news, shop.join("readers") as readers:
            calc.publish("news", 1)
            calc.aio.broadcast("readers", 2)
            assert (await news.get(1)).data == 1
            async for message in readers:
                assert message.data == 2
                break
        async with shop.watch() as events:
            assert isinstance(await anext(events), mesh.PeerJoined)
            await calc.aio.close()
            assert isinstance(await events.get(1), mesh.PeerLeft)

    sim.run(body())


def test_asyncio_runs_on_virtual_time(sim: SimMesh) -> None:
    async def body() -> list[float]:
        ticks: asyncio.Queue[float] = asyncio.Queue()

        async def tick(after: float) -> None:
            await asyncio.sleep(after)
            await ticks.put(sim.now)

        async with asyncio.TaskGroup() as group:
            for hours in (3, 1, 2):
                group.create_task(tick(hours * 100.0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(50):
                await asyncio.Event().wait()
        return [await ticks.get() for _ in range(3)] + [sim.now]

    assert sim.run(body()) == pytest.approx([100, 200, 300, 350])


@pytest.mark.parametrize("seconds", [120.0, pytest.param(HOUR, marks=pytest.mark.slow)])
def test_time_of_idle_nodes_passes_at_once(sim: SimMesh, seconds: float) -> None:
    nodes = [sim.node(f"n{i}") for i in range(5)]
    began = time.monotonic()
    sim.advance(seconds)
    assert time.monotonic() - began < seconds / 10
    assert all(len(node.peers()) == 4 for node in nodes)


def test_a_program_with_nodes_of_its_own_runs_as_it_is(sim: SimMesh) -> None:
    async def main() -> None:
        async with mesh.AsyncNode("clock") as one, mesh.AsyncNode("other") as other:
            one.rpc("now")(lambda: sim.now)
            await other.close()
            await one.stopping.wait()

    async def body() -> None:
        async with mesh.AsyncNode("probe") as probe:
            await probe.wait_for("clock")
            assert await probe.call("clock.now") > 0

    process = sim.spawn(main)
    sim.run(body())
    sim.kill(process)


def test_nodes_are_found_as_by_multicast_and_by_seeds(sim: SimMesh) -> None:
    first = sim.node("first", host="10.9.9.9", port=7100, discovery=["exchange"])
    second = sim.node("second", seeds=["10.9.9.9:7100"], discovery=["exchange"])
    third = sim.node("third")
    near = sim.node("near", host="here", discovery=["local"])
    same = sim.node("same", host="here", discovery=["local"])
    sim.until(lambda: len(first.peers()) == 1 and len(near.peers()) == 1, within=6)
    assert second.discovery()["seeds"].status == "working"
    assert third.discovery()["mdns"].found == ()
    assert same.peers()[0].name == "near"
    assert third.peers() == []


def test_nodes_of_another_key_or_mesh_do_not_meet(sim: SimMesh) -> None:
    one = sim.node("one", key="some words")
    for options in ({"key": "other words"}, {}, {"key": "some words", "mesh": "other"}):
        sim.node("other", **options)
    friend = sim.node("friend", key="some words")
    sim.advance(30)
    assert [peer.id for peer in one.peers()] == [friend.id]


# What is refused


def test_what_would_block_or_leave_the_simulation_is_refused(sim: SimMesh) -> None:
    calc, shop = pair(sim)
    with pytest.raises(RuntimeError, match="blocks"):
        calc.call("calc.add", 1, 1)
    with pytest.raises(RuntimeError, match="blocks"):
        calc.start()

    async def body() -> None:
        with pytest.raises(mesh.RemoteError, match="blocks"):
            await shop.call("calc.blocked")
        with pytest.raises(NotImplementedError, match="stand in"):
            await asyncio.to_thread(time.sleep, 1)
        with pytest.raises(NotImplementedError, match="stand-in"):
            await asyncio.open_connection("127.0.0.1", 1)

    sim.run(body())
    with pytest.raises(mesh.ConfigError, match="plain"):
        sim.node("gate", plain=True)
    with pytest.raises(mesh.ConfigError, match="started before"):
        sim.add(shop)


def test_a_simulation_within_another_loop_is_refused(sim: SimMesh) -> None:
    async def outer() -> None:
        sim.advance(1)

    with pytest.raises(RuntimeError, match="drives its own loop"):
        asyncio.run(outer())


def test_a_body_that_does_not_end_is_told(sim: SimMesh) -> None:
    async def body() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match="within 5 s"):
        sim.run(body(), within=5)
    assert sim.now == pytest.approx(5, abs=1)


# Faults


def test_a_killed_node_fails_at_once_and_who_awaits_it_is_told(sim: SimMesh) -> None:
    calc, shop = pair(sim)

    async def body() -> None:
        inside = asyncio.create_task(calc.aio.service("shop", timeout=60, wait=60).none())
        outside = asyncio.create_task(shop.service("calc", timeout=60).wait(30))
        await asyncio.sleep(1)
        sim.kill(calc)
        with pytest.raises(mesh.PeerLost):
            await outside
        with pytest.raises((mesh.NodeClosed, mesh.MeshError)):
            await inside

    sim.run(body())
    assert sim.now < 5
    assert state(shop, "calc") == "failed"
    with pytest.raises(mesh.NodeClosed):
        calc.publish("orders.x")


def test_the_tasks_of_a_killed_process_never_run_again(sim: SimMesh) -> None:
    seen: list[str] = []

    async def main() -> None:
        try:
            while True:
                await asyncio.sleep(1)
                seen.append("tick")
        finally:
            await asyncio.sleep(1)
            seen.append("end")

    process = sim.spawn(main)
    sim.advance(3.5)
    sim.kill(process)
    sim.advance(10)
    sim.close()
    assert seen == ["tick"] * 3


def test_a_restarted_node_has_a_new_memory_at_the_old_address(sim: SimMesh) -> None:
    calc, shop = pair(sim)
    address = shop.peers()[0].address
    again = sim.restart(calc)
    sim.until(lambda: again.id in [peer.id for peer in shop.peers()], within=10)
    assert shop.peers()[0].address == address
    assert again.id != calc.id
    assert sim.run(shop.call("calc.add", 1, 2)) == 3


def test_a_frozen_node_stands_still_and_goes_on_when_it_is_thawed(sim: SimMesh) -> None:
    calc, shop = pair(sim)

    async def body() -> float:
        waiting = asyncio.create_task(shop.service("calc", timeout=60).wait(1))
        await asyncio.sleep(0.5)
        sim.freeze(calc)
        sim.advance(3)
        assert state(shop, "calc") == "suspect"
        assert calc.lines == []  # type: ignore[attr-defined]
        assert not waiting.done()
        sim.thaw(calc)
        return float(await waiting)

    assert sim.run(body()) == 1
    assert 3.5 < sim.now < 7


def test_a_blocked_node_is_unresponsive(sim: SimMesh) -> None:
    calc, shop = pair(sim)
    sim.block(calc)
    sim.until(lambda: state(shop, "calc") == "unresponsive", within=30)
    sim.unblock(calc)
    sim.until(lambda: state(shop, "calc") == "alive", within=30)


def test_a_partition_separates_and_heals(sim: SimMesh) -> None:
    calc, shop = pair(sim)
    sim.partition([calc], [shop])
    sim.until(lambda: state(shop, "calc") == "failed", within=60)
    late = sim.node("late", host=None)
    sim.until(lambda: len(late.peers()) == 2)
    sim.heal()
    sim.until(lambda: state(shop, "calc") == "alive", within=60)


def test_nodes_do_not_hear_of_each_other_over_a_blocked_path(sim: SimMesh) -> None:
    one, far = sim.node("one", discovery=["mdns"]), sim.node("far", host="far", discovery=[])
    sim.partition([one], [far])
    other = sim.node("other", host="far", discovery=["mdns"])
    sim.advance(20)
    assert one.peers() == [] == other.peers()
    assert one.discovery()["mdns"].found == ()
    sim.heal()
    sim.until(lambda: len(one.peers()) == 1, within=20)


def test_one_way_is_enough_to_lose_a_peer(sim: SimMesh) -> None:
    calc, shop = pair(sim)
    sim.block_path(calc, shop)
    sim.until(lambda: state(shop, "calc") in ("suspect", "failed"), within=60)


@pytest.mark.parametrize("fault", ["cut", "replace"])
def test_a_link_that_is_lost_is_made_again_and_what_was_lost_is_told(
    sim: SimMesh, fault: str
) -> None:
    calc, shop = pair(sim)

    async def body() -> None:
        async with shop.subscribe("news") as news, shop.watch() as events:
            sim.set_latency(calc, shop, 0.5)
            calc.publish("news", "lost")
            sim.advance(0.1)
            getattr(sim, fault)(shop, calc)
            sim.set_latency(calc, shop, 0.001)
            sim.advance(10)
            calc.publish("news", "heard")
            assert (await news.get(1)).data == "heard"
            await asyncio.sleep(0)
            told = [await events.get(1) for _ in range(2)]
            assert [event.missed for event in told if isinstance(event, mesh.Gap)] == [1]

    sim.run(body())


def test_latency_and_wall_clock_are_as_set(sim: SimMesh) -> None:
    calc, shop = pair(sim)
    sim.set_latency(shop, calc, 0.2)
    peer = shop.peers()[0]
    assert 0.2 <= sim.run(shop.ping(peer)) < 0.4
    sim.set_wall_clock(86_400)
    late = sim.node("late")
    sim.until(lambda: len(late.peers()) == 2)
    assert (late.peers()[0].since - peer.since).days == 1


# The end


def test_a_task_that_is_left_is_told(sim: SimMesh) -> None:
    async def body() -> None:
        globals()["kept"] = asyncio.create_task(asyncio.Event().wait(), name="forgotten")

    sim.run(body())
    with pytest.raises(LeftBehind, match="forgotten"):
        sim.close()
    globals().pop("kept")


def test_an_error_that_nobody_sees_is_told(sim: SimMesh) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)

    sim.spawn(main)
    sim.advance(1)
    with pytest.raises(LeftBehind, match="ZeroDivisionError"):
        sim.close()


def test_the_end_closes_what_runs_and_says_goodbye() -> None:
    with SimMesh(2) as sim:
        calc, shop = pair(sim)
    for node in (calc.aio, shop):
        with pytest.raises(mesh.NodeClosed):
            node.peers()
    with pytest.raises(RuntimeError, match="closed"):
        sim.advance(1)
