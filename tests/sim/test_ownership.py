"""Ownership in motion, singletons and actors: whole nodes on simulated networks with faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import pytest

import mesh
from mesh.engine import control
from mesh.testing import SimMesh
from patterns.ownership import MAX_FENCE, pack_slots
from tests.sim.owners import Churn, Run, fences_that_fell, overlaps

PATIENCE = 6.0
"""Seconds that a new owner waits: HANDOVER and HANDOVER_SLACK."""

WAYS = {
    False: ("join", "drain", "close", "kill"),
    True: ("join", "drain", "kill"),  # a node that is closed at once does not stop its actors
}


def churn(seed: int, moves: int, actors: bool) -> Churn:
    with SimMesh(seed=seed) as sim:
        churn = Churn(sim, seed, actors)
        churn.run(moves, WAYS[actors])
    return churn


def check(churn: Churn) -> None:
    assert churn.errors == []
    assert overlaps(churn.runs) == []
    assert fences_that_fell(churn.runs) == []
    assert max(churn.waits) < PATIENCE / 2
    assert churn.most_at_work <= 1


@pytest.mark.parametrize("actors", [False, True], ids=["calls", "actors"])
def test_no_key_is_handled_by_two_nodes_while_members_come_and_go(actors: bool) -> None:
    check(churn(1, 15, actors))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_no_key_is_handled_by_two_nodes_in_two_hundred_moves(seed: int) -> None:
    check(churn(seed, 200, seed % 2 == 1))


class Cart:
    """Members of "cart" whose handlers run until they are let go, and write down their runs."""

    def __init__(self, sim: SimMesh, **options: Any) -> None:
        self.sim = sim
        self.options = options
        self.runs: list[Run] = []
        self.changes: list[tuple[str, mesh.OwnershipChange]] = []
        self.let_go = asyncio.Event()
        self.handler: Callable[[str, mesh.OwnershipChange], Any] | None = None

    def add(self, instance: str) -> mesh.AsyncNode:
        def make() -> mesh.AsyncNode:
            node = mesh.AsyncNode("cart", instance=instance)

            @node.on_ownership("cart", **self.options)
            async def moved(change: mesh.OwnershipChange) -> None:
                self.changes.append((instance, change))
                if self.handler is not None:
                    await self.handler(instance, change)

            @node.rpc
            async def work(seconds: float, request: mesh.Request) -> str:
                run = Run(str(request.key), instance, self.sim.now, request.fence)
                self.runs.append(run)
                try:
                    await asyncio.sleep(seconds)
                finally:
                    run.ended = self.sim.now
                return instance

            return node

        return self.sim.add(make)

    def starting(self, count: int, *names: str) -> list[mesh.AsyncNode]:
        nodes = [self.add(name) for name in names]
        self.sim.until(lambda: all(len(node.peers()) == count - 1 for node in nodes))
        self.sim.advance(1.5)
        return nodes


def key_of(node: mesh.AsyncNode, first: str, second: str) -> str:
    """A key that belongs to the instance ``first``, then to ``second``."""
    for number in range(10_000):
        best = [peer.instance for peer in node.owners("cart", f"k{number}", 2)]
        if best == [first, second]:
            return f"k{number}"
    raise AssertionError("no such key")


def call(caller: mesh.AsyncNode, key: str, seconds: float, timeout: float = 60.0) -> Any:
    return asyncio.ensure_future(
        caller.service("cart", key=key, timeout=timeout, retry=True).work(seconds)
    )


def test_the_new_owner_begins_when_the_old_one_has_ended_what_ran() -> None:
    with SimMesh(seed=1) as sim:
        cart = Cart(sim)
        a, _ = cart.starting(2, "a", "b")
        caller = sim.node("caller")

        async def body() -> None:
            await caller.wait_for("cart", count=2)
            await asyncio.sleep(1)
            key = key_of(caller, "a", "b")
            running = call(caller, key, 2.0)
            await asyncio.sleep(0.5)
            leaving = asyncio.ensure_future(a.drain(30))
            await asyncio.sleep(0.1)
            waiting = call(caller, key, 0.1)
            assert await waiting == "b"
            assert await running == "a"
            await leaving
            await a.close()

        sim.run(body())
        first, second = cart.runs
        assert first.ended is not None
        assert first.ended <= second.began <= first.ended + 0.1
        assert second.fence is not None
        assert first.fence is not None
        assert second.fence > first.fence


def test_what_runs_at_a_node_that_closes_has_ended_before_its_heir_begins() -> None:
    with SimMesh(seed=12) as sim:
        cart = Cart(sim)
        a, b = cart.starting(2, "a", "b")

        async def body() -> None:
            # The heir asks itself, as soon as it hears the goodbye.
            running = call(b, key_of(b, "a", "b"), 2.0)
            await asyncio.sleep(0.5)
            await a.close()
            assert await running == "b"

        sim.run(body())
        first, second = cart.runs
        assert first.ended is not None
        assert first.ended <= second.began


def test_an_old_owner_that_dies_in_the_middle_is_not_waited_for() -> None:
    with SimMesh(seed=2) as sim:
        cart = Cart(sim)
        (a,) = cart.starting(1, "a")
        caller = sim.node("caller")

        async def body() -> None:
            await caller.wait_for("cart")
            keys = [f"k{number}" for number in range(8)]
            running = [call(caller, key, 4.0) for key in keys]
            await asyncio.sleep(0.5)
            cart.add("b")
            await asyncio.sleep(1.5)
            key = next(k for k in keys if caller.owner("cart", k).instance == "b")
            waiting = call(caller, key, 0.0)
            await asyncio.sleep(0.5)
            assert not waiting.done()  # "a" is at it
            sim.kill(a)
            killed = sim.now
            assert await waiting == "b"
            assert sim.now - killed < 1.0
            assert set(await asyncio.gather(*running)) == {"b"}

        sim.run(body())


def test_when_the_new_owner_dies_in_the_middle_the_old_one_goes_on() -> None:
    with SimMesh(seed=3) as sim:
        cart = Cart(sim)
        cart.starting(1, "a")
        caller = sim.node("caller")

        async def body() -> None:
            await caller.wait_for("cart")
            keys = [f"k{number}" for number in range(8)]
            running = [call(caller, key, 4.0) for key in keys]
            await asyncio.sleep(0.5)
            b = cart.add("b")
            await asyncio.sleep(1.0)
            waiting = [call(caller, key, 0.0) for key in keys]
            await asyncio.sleep(0.2)
            sim.kill(b)
            assert set(await asyncio.gather(*running, *waiting)) == {"a"}

        sim.run(body())


def test_three_moves_in_a_row_are_waited_for_by_the_last_owner() -> None:
    with SimMesh(seed=4) as sim:
        cart = Cart(sim)
        cart.starting(1, "a")
        caller = sim.node("caller")

        async def body() -> None:
            await caller.wait_for("cart")
            keys = [f"k{number}" for number in range(30)]
            running = [call(caller, key, 3.0) for key in keys]
            await asyncio.sleep(0.2)
            b = cart.add("b")
            cart.add("c")
            await asyncio.sleep(0.6)
            drained = asyncio.ensure_future(b.drain(30))
            cart.add("d")
            await asyncio.sleep(0.6)
            waiting = [call(caller, key, 0.01) for key in keys]
            served = await asyncio.gather(*waiting)
            assert len(set(served)) == 3
            await asyncio.gather(*running)
            await drained
            await b.close()

        sim.run(body())
        assert overlaps(cart.runs) == []
        assert fences_that_fell(cart.runs) == []


def test_nobody_waits_longer_than_the_bound_for_a_call_that_does_not_end() -> None:
    with SimMesh(seed=5) as sim:
        cart = Cart(sim, handover=2.0)
        a, _ = cart.starting(2, "a", "b")
        caller = sim.node("caller")

        async def body() -> None:
            await caller.wait_for("cart", count=2)
            key = key_of(caller, "a", "b")
            call(caller, key, 20.0)
            await asyncio.sleep(0.5)
            leaving = asyncio.ensure_future(a.drain(60))
            began = sim.now
            assert await call(caller, key, 0.0) == "b"
            assert 1.5 < sim.now - began < 3.5
            await leaving
            await a.close()

        sim.run(body())
        first, second = cart.runs
        assert first.fence is not None
        assert second.fence is not None
        assert second.fence > first.fence  # by which a store can refuse the first


def test_what_was_written_out_at_a_loss_is_there_at_the_gain_and_calls_come_after_it() -> None:
    with SimMesh(seed=6) as sim:
        cart = Cart(sim)
        store: dict[str, str] = {}
        order: list[tuple[str, str]] = []

        async def handler(instance: str, change: mesh.OwnershipChange) -> None:
            assert not (change.gained and change.lost)
            if change.lost.contains_key(key):
                await asyncio.sleep(0.5)
                store[key] = f"written by {instance}"
                order.append(("lost", instance))
            if change.gained.contains_key(key):
                order.append((store.get(key, "nothing"), instance))
                await asyncio.sleep(0.5)

        key = "k0"
        cart.handler = handler
        a, b = cart.starting(2, "a", "b")
        caller = sim.node("caller")

        async def body() -> None:
            await caller.wait_for("cart", count=2)
            nonlocal key
            old, new = caller.owners("cart", key)
            leaver = a if old.instance == "a" else b
            order.clear()
            await asyncio.gather(leaver.drain(10), call(caller, key, 0.0))
            written = f"written by {old.instance}"
            assert order == [("lost", old.instance), (written, new.instance)]
            await leaver.close()

        sim.run(body())
        (run,) = cart.runs
        assert run.began >= 1.0


def test_a_change_names_slots_and_peers() -> None:
    with SimMesh(seed=7) as sim:
        cart = Cart(sim)
        cart.starting(2, "a", "b")
        cart.changes.clear()
        c = cart.add("c")
        sim.advance(3.0)
        assert sorted(name for name, _ in cart.changes) == ["a", "b", "c"]
        lost = {name: change for name, change in cart.changes if name != "c"}
        (gained,) = (change for name, change in cart.changes if name == "c")
        c_peer = c.me
        assert all(change.lost_to.keys() == {c_peer} for change in lost.values())
        assert some(lost["a"].lost) | some(lost["b"].lost) == some(gained.gained)
        assert not some(lost["a"].lost) & some(lost["b"].lost)
        by_peer = {peer.instance: some(slots) for peer, slots in gained.gained_from.items()}
        assert by_peer == {"a": some(lost["a"].lost), "b": some(lost["b"].lost)}
        assert not gained.lost
        assert lost["a"].lost
        cart.changes.clear()
        sim.kill(c)
        sim.advance(1.0)
        back = dict(cart.changes)
        assert back.keys() == {"a", "b"}
        assert all(some(back[name].gained) == some(lost[name].lost) for name in back)
        assert all(change.gained_from.keys() == {c_peer} for change in back.values())


def some(slots: mesh.Slots) -> set[int]:
    """One in 37 of them: all take a while."""
    return {slot for slot in range(0, 65_536, 37) if slot in slots}


def test_a_handler_is_never_called_twice_at_once_and_gets_the_sum() -> None:
    with SimMesh(seed=8) as sim:
        cart = Cart(sim)
        at_once: dict[str, int] = {}
        most = 0

        async def handler(instance: str, change: mesh.OwnershipChange) -> None:
            nonlocal most
            at_once[instance] = at_once.get(instance, 0) + 1
            most = max(most, at_once[instance])
            await asyncio.sleep(2.0)
            at_once[instance] -= 1

        cart.handler = handler
        cart.starting(1, "a")
        sim.advance(3.0)
        cart.changes.clear()
        for name in ("b", "c", "d", "e"):
            cart.add(name)
            sim.advance(0.4)
        sim.advance(20.0)
        told = [change for name, change in cart.changes if name == "a"]
        assert most == 1
        assert len(told) < 4
        owned = set(range(0, 65_536, 37))
        for change in told:
            owned -= some(change.lost)
        assert 0 < len(owned) < 65_536 / 37 / 3


def test_after_a_partition_has_healed_a_key_is_at_one_node_again() -> None:
    with SimMesh(seed=9) as sim:
        cart = Cart(sim)
        nodes = cart.starting(4, "a", "b", "c", "d")
        callers = [sim.node("caller-1"), sim.node("caller-2")]
        stop = False

        async def load(caller: mesh.AsyncNode, number: int) -> None:
            turn = 0
            while not stop:
                turn += 1
                key = f"k{(turn * 7 + number) % 20}"
                try:
                    await caller.service("cart", key=key, timeout=2.0).work(0.05)
                except mesh.MeshError:
                    await asyncio.sleep(0.05)

        async def body() -> None:
            nonlocal stop
            for caller in callers:
                await caller.wait_for("cart", count=4)
            await asyncio.sleep(1)
            tasks = [asyncio.ensure_future(load(c, n)) for c in callers for n in range(6)]
            await asyncio.sleep(1)
            sim.partition([*nodes[:2], callers[0]], [*nodes[2:], callers[1]])
            await asyncio.sleep(20)
            sim.heal()
            await asyncio.sleep(20)
            stop = True
            await asyncio.gather(*tasks)

        sim.run(body())
        healed = sim.now - 20
        split = healed - 20
        late = [(a, b) for a, b in overlaps(cart.runs) if b.began > healed + 12]
        early = [(a, b) for a, b in overlaps(cart.runs) if b.began < split]
        assert late == []
        assert early == []
        settled = [run for run in cart.runs if run.began > healed + 12]
        assert fences_that_fell(settled) == []
        highest = {k: max(r.fence or 0 for r in cart.runs if r.key == k and r.began < healed)
                   for k in {r.key for r in settled}}  # fmt: skip
        # A key that changed hands has a fence above both sides'; one that stayed keeps its own.
        assert all((r.fence or 0) >= highest[r.key] for r in settled)


def test_an_owner_is_not_passed_over_by_a_caller_that_cannot_reach_it() -> None:
    with SimMesh(seed=10) as sim:
        cart = Cart(sim)
        a, _ = cart.starting(2, "a", "b")
        caller = sim.node("caller")

        async def body() -> None:
            await caller.wait_for("cart", count=2)
            key = key_of(caller, "a", "b")
            sim.block_path(caller, a)
            sim.block_path(a, caller)
            await asyncio.sleep(10)  # "a" has failed for the caller, and lives for "b"
            with pytest.raises(mesh.MeshError):
                await caller.service("cart", key=key, timeout=3.0).work(0.0)
            sim.heal()

        sim.run(body())
        assert cart.runs == []


def test_a_node_knows_its_fence_of_a_key_and_none_of_others() -> None:
    with SimMesh(seed=11) as sim:
        cart = Cart(sim)
        a, b = cart.starting(2, "a", "b")

        async def body() -> None:
            key = key_of(a, "a", "b")
            fence = a.fence("cart", key)
            assert fence is not None
            assert a.fence("cart", key) == fence
            assert b.fence("cart", key) is None
            with pytest.raises(mesh.ConfigError):
                a.fence("other", key)

        sim.run(body())


# Singletons.


class Bills:
    def __init__(self, sim: SimMesh) -> None:
        self.sim = sim
        self.runs: list[Run] = []
        self.nodes: dict[str, mesh.AsyncNode] = {}

    def add(self, instance: str, **options: Any) -> mesh.AsyncNode:
        def make() -> mesh.AsyncNode:
            node = mesh.AsyncNode("bills", instance=instance)

            @node.singleton("billing-run", **options)
            async def bill(active: mesh.Active) -> None:
                run = Run("billing-run", instance, self.sim.now, active.fence)
                self.runs.append(run)
                try:
                    await asyncio.sleep(1e9)
                finally:
                    await asyncio.sleep(0.5)
                    run.ended = run.ended if run.ended is not None else self.sim.now

            return node

        node = self.nodes[instance] = self.sim.add(make)
        return node

    @property
    def active(self) -> list[str]:
        return [run.node for run in self.runs if run.ended is None]

    def kill(self, instance: str) -> None:
        self.sim.kill(self.nodes.pop(instance))
        for run in self.runs:
            if run.node == instance and run.ended is None:
                run.ended = self.sim.now


@pytest.fixture
def bills() -> Any:
    with SimMesh(seed=21) as sim:
        bills = Bills(sim)
        for name in "abc":
            bills.add(name)
        sim.advance(3.0)
        assert len(bills.active) == 1
        yield bills


def test_a_singleton_moves_when_its_node_dies_or_drains_and_never_runs_twice(bills: Bills) -> None:
    sim = bills.sim
    bills.kill(bills.active[0])
    sim.until(lambda: len(bills.active) == 1, within=2.0)
    bills.add("d")
    bills.add("e")
    sim.advance(3.0)
    (active,) = bills.active

    async def leave() -> None:
        await bills.nodes[active].drain(10)
        await bills.nodes[active].close()

    sim.run(leave())
    sim.until(lambda: len(bills.active) == 1, within=2.0)
    assert overlaps(bills.runs) == []
    assert fences_that_fell(bills.runs) == []


def test_a_singleton_that_sees_fewer_than_half_stops_before_another_begins(bills: Bills) -> None:
    sim = bills.sim
    (active,) = bills.active
    others = [node for name, node in bills.nodes.items() if name != active]
    sim.partition([bills.nodes[active]], others)
    sim.advance(120.0)
    assert len(bills.active) == 1
    assert bills.active != [active]
    sim.heal()
    sim.advance(20.0)
    assert len(bills.active) == 1
    assert overlaps(bills.runs) == []
    assert fences_that_fell(bills.runs) == []


def test_the_last_of_three_runs_it_though_the_others_were_killed(bills: Bills) -> None:
    for _ in range(2):
        bills.kill(bills.active[0])
        bills.sim.until(lambda: len(bills.active) == 1, within=2.0)
    assert len(bills.nodes) == 1


def test_a_singleton_that_raises_begins_again_later_and_later_and_one_that_returns_does_not() -> (
    None
):
    with SimMesh(seed=22) as sim:
        began: list[float] = []
        done: list[float] = []

        def make() -> mesh.AsyncNode:
            node = mesh.AsyncNode("bills")

            @node.singleton("raises")
            async def fails(active: mesh.Active) -> None:
                began.append(sim.now)
                raise ValueError("no")

            @node.singleton("returns")
            def returns(active: mesh.Active) -> None:
                done.append(sim.now)

            return node

        sim.add(make)
        sim.advance(17.0)
        pauses = [round(b - a) for a, b in pairwise(began)]
        assert pauses == [1, 2, 4, 8]
        assert len(done) == 1


# Actors.


class Basket:
    """An actor that says what becomes of it."""

    story: ClassVar[list[tuple[str, str]]] = []

    def __init__(self, key: str) -> None:
        self.key = key
        self.things: list[str] = []
        self.busy = False

    async def on_start(self) -> None:
        self.story.append(("start", self.key))

    async def on_stop(self) -> None:
        self.story.append(("stop", self.key))

    async def add(self, thing: str, *, seconds: float = 0.1) -> list[str]:
        assert not self.busy
        self.busy = True
        await asyncio.sleep(seconds)
        self.busy = False
        self.things.append(thing)
        return self.things

    def count(self) -> int:
        return len(self.things)


def baskets(sim: SimMesh, **options: Any) -> mesh.AsyncNode:
    Basket.story = []

    def make() -> mesh.AsyncNode:
        node = mesh.AsyncNode("cart")
        node.actor("cart", **options)(Basket)
        return node

    return sim.add(make)


def test_an_actor_keeps_its_state_takes_one_call_at_a_time_and_others_do_not_wait() -> None:
    with SimMesh(seed=31) as sim:
        baskets(sim)
        caller = sim.node("caller")

        async def body() -> None:
            await caller.wait_for("cart")
            await asyncio.sleep(1)
            mine = caller.service("cart", key="user:7")
            began = sim.now
            await asyncio.gather(
                *(mine.add(thing) for thing in "abc"),
                caller.service("cart", key="user:8").add("x", seconds=0.3),
            )
            assert 0.3 <= sim.now - began < 0.4
            assert sorted(await mine.add("d")) == ["a", "b", "c", "d"]
            assert await mine.count() == 4
            with pytest.raises(mesh.BadRequest):
                await mine.add()
            with pytest.raises(mesh.RemoteError, match="key="):
                await caller.call("cart.count")

        sim.run(body())
        assert Basket.story == [("start", "user:7"), ("start", "user:8")]


def test_an_idle_actor_is_stopped_and_beyond_the_limit_the_one_idle_for_longest() -> None:
    with SimMesh(seed=32) as sim:
        baskets(sim, idle=10.0, max_instances=2)
        caller = sim.node("caller")

        async def body() -> None:
            await caller.wait_for("cart")
            await asyncio.sleep(1)
            for key in ("a", "b", "c"):
                await caller.service("cart", key=key).add("x")
            assert Basket.story[-2:] in (
                [("stop", "a"), ("start", "c")],
                [("start", "c"), ("stop", "a")],
            )
            slow = [call_at(caller, key) for key in ("b", "c")]
            await asyncio.sleep(0.1)
            with pytest.raises(mesh.RemoteError, match="at work"):
                await caller.service("cart", key="d").count()
            await asyncio.gather(*slow)
            await asyncio.sleep(21)
            assert sorted(Basket.story[-2:]) == [("stop", "b"), ("stop", "c")]

        def call_at(node: mesh.AsyncNode, key: str) -> Any:
            return asyncio.ensure_future(node.service("cart", key=key).add("y", seconds=2.0))

        sim.run(body())


def test_an_actor_is_stopped_at_its_old_node_before_it_is_started_at_its_new_one() -> None:
    with SimMesh(seed=33) as sim:
        node = baskets(sim)
        caller = sim.node("caller")

        async def body() -> None:
            await caller.wait_for("cart")
            await asyncio.sleep(1)
            keys = [f"k{number}" for number in range(10)]
            for key in keys:
                await caller.service("cart", key=key).add("x")
            node_b = sim.add(lambda: _basket_node())
            await asyncio.sleep(2)
            moved = {key for key in keys if caller.owner("cart", key).id == node_b.id}
            assert moved
            assert {key for what, key in Basket.story if what == "stop"} == moved
            await node.drain(10)
            assert {key for what, key in Basket.story if what == "stop"} == set(keys)
            await node.close()
            assert await caller.service("cart", key="k0").count() == 0

        sim.run(body())


def test_a_drain_that_waits_for_an_actor_says_so() -> None:
    with SimMesh(seed=34) as sim:

        def make() -> mesh.AsyncNode:
            node = mesh.AsyncNode("cart")

            @node.actor("cart")
            class Slow:
                async def on_stop(self) -> None:
                    await asyncio.sleep(20)

                def touch(self) -> None: ...

            return node

        node = sim.add(make)

        async def body() -> None:
            await asyncio.sleep(1)
            await node.service("cart", key="k").touch()
            with pytest.raises(mesh.Timeout, match="1 of Slow is not handed over"):
                await node.drain(10)
            await node.drain(20)

        sim.run(body())


def _basket_node() -> mesh.AsyncNode:
    node = mesh.AsyncNode("cart")
    node.actor("cart")(Basket)
    return node


def test_a_member_that_says_for_ever_that_slots_are_not_free_is_waited_for_once() -> None:
    with SimMesh(seed=3) as sim:
        liar = sim.node("liar")
        sim.advance(2)
        core = liar.host.engine._core
        core.record.own("cart", True)  # it serves nothing of it
        liar.host.engine._control.record_changed()
        sim.advance(1)

        def make() -> mesh.AsyncNode:
            node = mesh.AsyncNode("cart")
            node.on_ownership("cart")(lambda change: None)
            node.rpc("hi")(lambda: 1)
            return node

        sim.add(make)
        caller = sim.node("caller")

        async def lie() -> None:
            for number in range(1000):
                for session in list(core.sessions.values()):
                    slots = pack_slots(frozenset([5] if number % 2 else [5, 6]))
                    session.control(control.OWNED, "cart", slots, True, MAX_FENCE)
                await asyncio.sleep(2)

        async def body() -> None:
            lying = asyncio.create_task(lie())
            await caller.wait_for("cart")
            assert await caller.service("cart", key="k", timeout=15).hi() == 1
            for number in range(20):
                await asyncio.sleep(1)
                assert await caller.service("cart", key=number, timeout=1).hi() == 1
            lying.cancel()

        sim.run(body(), within=1000)


def test_an_actors_method_may_have_a_request_and_dataclasses() -> None:
    with SimMesh(seed=3) as sim:

        def make() -> mesh.AsyncNode:
            node = mesh.AsyncNode("cart")

            @node.actor("cart")
            class Cart:
                def add(self, item: Item, request: mesh.Request, count: int = 1) -> list[Any]:
                    return [item.name, request.key, request.caller.name, count]

            return node

        sim.add(make)
        caller = sim.node("caller")

        async def body() -> None:
            await caller.wait_for("cart")
            cart = caller.service("cart", key="user:7", timeout=15)
            assert await cart.add({"name": "tea"}) == ["tea", "user:7", "caller", 1]
            assert await cart.add({"name": "tea"}, count=3) == ["tea", "user:7", "caller", 3]

        sim.run(body())


@dataclass
class Item:
    name: str


def test_a_drain_does_not_wait_for_a_call_whose_actor_has_been_stopped() -> None:
    with SimMesh(seed=1) as sim:

        def make() -> mesh.AsyncNode:
            node = mesh.AsyncNode("cart")

            @node.actor("cart", idle=5)
            class Cart:
                async def on_stop(self) -> None:
                    await asyncio.sleep(2)

                def hi(self) -> int:
                    return 1

            return node

        owner = sim.add(make)
        caller = sim.node("caller")

        async def body() -> None:
            await caller.wait_for("cart")
            cart = caller.service("cart", key="k", timeout=100)
            assert await cart.hi() == 1
            await asyncio.sleep(5.5)
            waiting = asyncio.create_task(cart.hi())
            await asyncio.sleep(0.2)
            started = sim.now
            await owner.drain(30)
            assert sim.now - started < 5
            with pytest.raises(mesh.NoProvider):
                await waiting

        sim.run(body())
