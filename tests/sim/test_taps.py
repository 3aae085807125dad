"""Taps: what passes a node, shown to who may look, and paid for by nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import mesh
from mesh.engine.observing.taps import MAX_BUFFERED, MAX_SHOWN, MAX_TAPS
from mesh.inspection.observed import TAP_PERIOD
from mesh.testing import SimMesh

TAP = ["inspect", "tap"]


@pytest.fixture
def sim() -> Iterator[SimMesh]:
    with SimMesh(seed=1) as sim:
        yield sim


def settle(sim: SimMesh, *nodes: mesh.AsyncNode) -> None:
    count = len(nodes) - 1
    sim.until(lambda: all(len(node.peers(all=True)) == count for node in nodes), within=10.0)
    sim.advance(1.0)


class Place:
    """A node that may be tapped, its neighbour, and one who looks."""

    def __init__(self, sim: SimMesh, **options: Any) -> None:
        self.sim = sim
        self.calc = calc = sim.node("calc", **{"allow": TAP} | options)
        self.shop = sim.node("shop")
        self.looker = sim.node("looker", observer=True)

        @calc.rpc
        async def add(a: int, b: int) -> int:
            await asyncio.sleep(0.5)
            return a + b

        @calc.rpc
        def fail() -> None:
            raise ValueError("no")

        calc.subscriber("news.*")(lambda message: None)
        calc.subscriber("orders", group="billing")(lambda message: None)
        calc.member("crew")(lambda message: None)
        self.shop.rpc("ask")(lambda: 1)
        self.shop.subscriber("next")(lambda message: None)
        settle(sim, calc, self.shop, self.looker)

    def look(self, act: Any, **arguments: Any) -> tuple[list[dict[str, Any]], int]:
        """What the tap shows of what ``act`` does, and how much was dropped."""

        async def body() -> tuple[list[dict[str, Any]], int]:
            events: list[dict[str, Any]] = []
            dropped = 0
            service = self.looker.service("_mesh", peer=self.calc.id)
            async with service.iterate["tap"](**arguments) as items:
                assert (await anext(items)) == {"events": [], "dropped": 0}
                await act()
                # ``asyncio.timeout`` would end the iteration: a last event ends it instead.
                self.calc.publish("next", "the end")
                async for item in items:
                    events += item["events"]
                    dropped += item["dropped"]
                    if events and events[-1]["name"] == "next":
                        return events[:-1], dropped
            raise AssertionError("it ended")

        return self.sim.run(body())


def test_a_tap_shows_calls_and_messages_both_ways(sim: SimMesh) -> None:
    place = Place(sim)
    calc, shop = place.calc, place.shop

    async def act() -> None:
        await shop.call("calc.add", 1, b=2)
        with pytest.raises(mesh.RemoteError):
            await shop.call("calc.fail")
        await calc.call("shop.ask")
        shop.publish("news.today", 1)
        shop.publish("orders", 2)
        shop.broadcast("crew", 3)
        shop.send(calc.id, "news.now", 4)
        await shop.groupcast("crew", 5)
        await calc.groupcast("crew", 6)
        await asyncio.sleep(0.1)

    events, dropped = place.look(act)
    shown = {(e["direction"], e["kind"], e["name"]): e for e in events}
    assert dropped == 0
    assert set(shown) == {
        ("in", "call", "calc.add"),
        ("in", "call", "calc.fail"),
        ("out", "call", "shop.ask"),
        ("in", "publish", "news.today"),
        ("in", "publish", "orders"),
        ("in", "broadcast", "crew"),
        ("in", "send", "news.now"),
        ("in", "groupcast", "crew"),
        ("out", "groupcast", "crew"),
    }
    add, fail = shown["in", "call", "calc.add"], shown["in", "call", "calc.fail"]
    assert add["peer"] == f"shop/{shop.id[:8]}"
    assert 0.5 <= add["seconds"] < 0.6
    assert (add["error"], fail["error"]) == (None, "ValueError")
    assert shown["in", "publish", "orders"]["group"] == "billing"
    assert shown["in", "groupcast", "crew"]["redelivered"] is False
    assert shown["in", "publish", "news.today"]["size"] == 1
    assert not any("payload" in event for event in events)


def test_kinds_and_a_pattern_choose_and_payloads_are_cut(sim: SimMesh) -> None:
    place = Place(sim)

    async def act() -> None:
        await place.shop.call("calc.add", 1, 2)
        place.shop.publish("news.today", {"long": "x" * 10_000, "bytes": b"y" * 10_000})
        place.shop.publish("news.now", 1)
        await asyncio.sleep(0.1)

    place.calc.subscriber("next")(lambda message: None)
    events, _ = place.look(act, kinds=["publishes"], match=">", payload=True)
    assert [e["name"] for e in events if e["direction"] == "in"] == ["news.today", "news.now"]
    assert len(events[0]["payload"]) <= MAX_SHOWN
    assert events[0]["payload"].startswith("{'bytes': b'yyy")
    assert events[0]["size"] > 20_000
    assert events[1]["payload"] == "1"


def test_who_reads_slowly_loses_and_is_told_and_nobody_waits(sim: SimMesh) -> None:
    place = Place(sim)
    more = 100

    async def act() -> None:
        # In one turn, so that the reader has no chance; these take no time at all.
        for _ in range(MAX_BUFFERED + more):
            place.calc.publish("news.today", 1)
        await asyncio.sleep(10 * TAP_PERIOD)

    events, dropped = place.look(act, kinds=["publishes"])
    # Each goes out, and comes in again, for it has a subscription itself.
    assert len(events) == MAX_BUFFERED
    assert dropped == 2 * (MAX_BUFFERED + more) - MAX_BUFFERED


def test_a_tap_ends_with_its_reader_and_then_nothing_is_paid(sim: SimMesh) -> None:
    place = Place(sim)
    engine = place.calc.host.engine
    before = engine.call, engine.pubsub.hand_out, engine._work.receiver.take

    async def act() -> None:
        assert place.calc.host.observing.is_awake
        assert (engine.call, engine.pubsub.hand_out, engine._work.receiver.take) != before

    place.look(act)
    sim.advance(1.0)
    assert not place.calc.host.observing.is_awake
    assert not place.calc.host.observing.taps
    assert (engine.call, engine.pubsub.hand_out, engine._work.receiver.take) == before


def test_several_tap_at_once_and_no_more_than_allowed(sim: SimMesh) -> None:
    place = Place(sim)

    async def body() -> list[str]:
        service = place.looker.service("_mesh", peer=place.calc.id)
        open_ = [service.iterate["tap"]() for _ in range(MAX_TAPS)]
        for one in open_:
            await anext(one)
        with pytest.raises(mesh.RemoteError, match="8 taps are open") as refused:
            await anext(service.iterate["tap"]())
        place.shop.publish("news.today", 1)
        seen = [(await anext(one))["events"][0]["name"] for one in open_]
        for one in open_:
            one.close()
        assert refused.value.type == "Overloaded"
        return seen

    assert sim.run(body()) == ["news.today"] * MAX_TAPS


def test_a_node_that_does_not_allow_it_says_what_to_do(sim: SimMesh) -> None:
    place = Place(sim, allow=None)
    with pytest.raises(mesh.AccessDenied, match="does not let others tap it"):
        place.look(None)


@pytest.mark.parametrize(
    "arguments", [{"kinds": ["all"]}, {"kinds": "calls"}, {"match": "a..b"}, {"match": 1}]
)
def test_what_makes_no_tap_is_told(sim: SimMesh, arguments: dict[str, Any]) -> None:
    place = Place(sim)
    with pytest.raises(mesh.RemoteError) as told:
        place.look(None, **arguments)
    assert told.value.type == "BadRequest"


def test_a_tap_works_without_tracing(sim: SimMesh) -> None:
    place = Place(sim, tracing=False)

    async def act() -> None:
        await place.shop.call("calc.add", 1, 2)

    events, _ = place.look(act)
    assert [event["name"] for event in events] == ["calc.add"]


GUARDED = mesh.Policy.from_toml("""
[[rule]]
name = "watchmen"
who = ["watchman"]
allow.call = ["_mesh.*"]

[[rule]]
name = "servers"
who = ["calc", "shop"]
allow.call = ["calc.*", "shop.*"]
allow.publish = [">"]
allow.subscribe = [">"]
""")


def test_with_a_policy_it_says_who_may_tap() -> None:
    names = ("calc", "shop", "watchman", "thief")
    identities = {name: mesh.Identity(name, frozenset()) for name in names}
    with SimMesh(seed=3, identities=identities) as sim:
        calc = sim.node("calc", policy=GUARDED, allow=TAP, tracing=True)
        shop, watchman, thief = (sim.node(name) for name in names[1:])
        calc.rpc("add")(lambda a, b: a + b)
        calc.subscriber("news")(lambda message: None)
        settle(sim, calc, shop, watchman, thief)

        async def look(looker: mesh.AsyncNode) -> list[str]:
            service = looker.service("_mesh", peer=calc.id)
            async with service.iterate["tap"]() as items:
                await anext(items)
                assert await shop.call("calc.add", 1, 2) == 3
                with pytest.raises(mesh.AccessDenied):
                    await thief.call("calc.add", 1, 2)
                shop.publish("news", 1)
                await asyncio.sleep(0.1)
                return [event["name"] for event in (await anext(items))["events"]]

        # What is denied never comes as far as that.
        assert sim.run(look(watchman)) == ["calc.add", "news"]
        with pytest.raises(mesh.AccessDenied):
            sim.run(look(thief))


def test_what_outlasts_a_tap_and_is_given_up_leaves_nothing(sim: SimMesh) -> None:
    place = Place(sim)
    calc, shop = place.calc, place.shop
    busy = asyncio.Event()

    @shop.rpc
    async def wait() -> None:
        await busy.wait()

    @shop.member("lazy", concurrency=1)
    async def work(message: mesh.Message) -> None:
        await busy.wait()

    sim.advance(1.0)
    left: list[asyncio.Task[Any]] = []

    async def act() -> None:
        left.extend(asyncio.ensure_future(calc.call("shop.wait")) for _ in range(3))
        left.extend(asyncio.ensure_future(calc.groupcast("lazy", n)) for n in range(9))
        await asyncio.sleep(0.5)

    async def give_up() -> None:
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    place.look(act)
    sim.advance(2.0)
    observing, sender = calc.host.observing, calc.host.engine._work.sender
    assert not observing.is_awake
    assert len(sender._callers) > 0
    sim.run(give_up())
    assert observing._outgoing._calls == observing._outgoing._casts == {}
    assert len(sender._callers) == 0
    assert not calc.host.engine._client._pending
    busy.set()


def test_a_trace_that_came_while_a_tap_was_open_goes_on_when_it_ends(sim: SimMesh) -> None:
    place = Place(sim)
    calc, shop = place.calc, place.shop

    @calc.rpc
    async def later() -> None:
        await asyncio.sleep(3.0)
        await calc.call("shop.ask")

    sim.advance(1.0)
    headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    begun: list[asyncio.Task[Any]] = []

    async def act() -> None:
        begun.append(asyncio.ensure_future(shop.service("calc", headers=headers).later()))
        await asyncio.sleep(0.5)

    async def end() -> None:
        await begun[0]

    place.look(act)
    sim.run(end())
    kinds = [(span.kind, span.name) for span in calc.host.observing.ring.spans]
    assert kinds == [("client", "shop.ask"), ("server", "calc.later")]
