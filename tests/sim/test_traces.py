"""Traces across simulated nodes: one id, the right parents, and nothing where there is no trace."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import mesh
from mesh.engine.observing.observing import IDLE
from mesh.testing import SimMesh
from patterns.traces import Span, TraceContext, now_traced

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
UNSAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-00"}


@pytest.fixture
def sim() -> Iterator[SimMesh]:
    with SimMesh(seed=1) as sim:
        yield sim


def spans_of(node: mesh.AsyncNode) -> list[Span]:
    return list(node.host.observing.ring.spans)


def told(node: mesh.AsyncNode) -> list[tuple[str, str, str]]:
    return [(span.kind, span.name, span.error) for span in spans_of(node)]


def settle(sim: SimMesh, *nodes: mesh.AsyncNode) -> None:
    sim.until(lambda: all(len(node.peers()) == len(nodes) - 1 for node in nodes), within=10.0)
    sim.advance(1.0)


class Chain:
    """shop calls stock, which calls depot, which publishes; ledger listens and gives work."""

    def __init__(self, sim: SimMesh, **options: Any) -> None:
        self.handled: list[Any] = []
        self.shop = shop = sim.node("shop", **options)
        self.stock = stock = sim.node("stock", **options)
        self.depot = depot = sim.node("depot", **options)
        self.ledger = ledger = sim.node("ledger", **options)
        self.clerk = clerk = sim.node("clerk", **options)

        @stock.rpc
        async def take(item: str) -> str:
            return str(await stock.call("depot.fetch", item))

        @depot.rpc
        def fetch(item: str) -> str:  # inline, as plain functions of an AsyncNode are
            depot.publish("moved.today", item, headers={"colour": "red"})
            return item

        @ledger.subscriber("moved.*")
        async def note(message: mesh.Message) -> None:
            await ledger.groupcast("clerks", message.data)

        @clerk.member("clerks")
        def write(message: mesh.Message) -> None:
            if not self.handled:
                self.handled.append(dict(message.headers))
                raise mesh.Refuse
            self.handled.append(dict(message.headers))

        settle(sim, shop, stock, depot, ledger, clerk)

    @property
    def nodes(self) -> list[mesh.AsyncNode]:
        return [self.shop, self.stock, self.depot, self.ledger, self.clerk]

    def spans(self) -> list[Span]:
        return [span for node in self.nodes for span in spans_of(node)]


HOPS = [
    ("client", "stock.take", None),
    ("server", "stock.take", 0),
    ("client", "depot.fetch", 1),
    ("server", "depot.fetch", 2),
    ("producer", "publish moved.today", 3),
    ("consumer", "process moved.today", 4),
    ("producer", "groupcast clerks", 5),
    ("consumer", "process clerks", 6),
]
"""Kind, name, and which of these is the parent; the last one twice, as it was refused once."""


def check_hops(spans: list[Span], root: str) -> None:
    parent_ids = [root]
    for kind, name, _ in HOPS:
        found = [span for span in spans if (span.kind, span.name) == (kind, name)]
        assert len(found) == (2 if name == "process clerks" else 1), (kind, name)
        assert {span.parent_id for span in found} == {parent_ids[-1]}, (kind, name)
        parent_ids.append(found[0].context.span_id)
    assert len(spans) == len(HOPS) + 1


def test_a_trace_over_four_hops_has_one_id_and_the_right_parents(sim: SimMesh) -> None:
    chain = Chain(sim)
    # Nobody has to be told to trace: the first message of a trace wakes each node up.
    sim.run(chain.shop.service("stock", headers=SAMPLED).take("nail"))
    sim.until(lambda: len(chain.handled) == 2, within=5.0)
    sim.advance(0.1)
    spans = chain.spans()
    assert {span.context.trace_id for span in spans} == {TRACE}
    # The shop's own call has the user's header as it is, so it has no span.
    spans.append(Span(TraceContext(TRACE, PARENT), "", "client", "stock.take", "", {}, 0.0, 0.0))
    check_hops(spans, "")
    refused, taken = [span for span in spans if span.name == "process clerks"]
    assert (refused.error, taken.error) == ("Refuse", "")
    assert chain.handled[0]["traceparent"] == chain.handled[1]["traceparent"]


def test_a_node_that_begins_traces_has_the_root(sim: SimMesh) -> None:
    chain = Chain(sim, tracing=True)
    sim.run(chain.shop.call("stock.take", "nail"))
    sim.until(lambda: len(chain.handled) == 2, within=5.0)
    sim.advance(0.1)
    spans = chain.spans()
    assert len({span.context.trace_id for span in spans}) == 1
    check_hops(spans, "")
    (root,) = [span for span in spans if not span.parent_id]
    assert root.peer == f"stock/{chain.stock.id[:8]}"
    assert root.attributes == {"rpc.system": "mesh", "rpc.service": "stock", "rpc.method": "take"}


def test_user_headers_arrive_and_are_not_changed(sim: SimMesh) -> None:
    one, other = sim.node("one", tracing=True), sim.node("other")
    heard: list[dict[str, str]] = []
    other.subscriber("news")(lambda message: heard.append(message.headers))
    settle(sim, one, other)
    given = {"colour": "red"}
    one.publish("news", 1, headers=given)
    one.publish("news", 2, headers=SAMPLED)
    sim.advance(0.1)
    assert given == {"colour": "red"}
    assert heard[0]["colour"] == "red"
    assert TRACE not in heard[0]["traceparent"]
    assert heard[1] == SAMPLED


def test_what_is_not_sampled_is_passed_on_and_not_recorded(sim: SimMesh) -> None:
    one, other = sim.node("one"), sim.node("other")
    heard: list[dict[str, str]] = []

    @other.rpc
    async def ask() -> None:
        other.publish("news", 1)

    one.subscriber("news")(lambda message: heard.append(message.headers))
    settle(sim, one, other)
    state = {"tracestate": "vendor=1", "baggage": "who=me"}
    sim.run(one.service("other", headers=UNSAMPLED | state).ask())
    sim.advance(0.1)
    assert heard == [UNSAMPLED | state]
    assert spans_of(one) == spans_of(other) == []


def test_state_and_baggage_go_along(sim: SimMesh) -> None:
    one, other = sim.node("one"), sim.node("other")
    heard: list[dict[str, str]] = []

    @other.rpc
    async def ask() -> None:
        await asyncio.sleep(0.1)
        other.broadcast("crew", 1)
        other.send(one.id, "news", 2)

    one.member("crew")(lambda message: heard.append(message.headers))
    one.subscriber("news")(lambda message: heard.append(message.headers))
    settle(sim, one, other)
    state = {"tracestate": "vendor=1", "baggage": "who=me"}
    sim.run(one.service("other", headers=SAMPLED | state).ask())
    sim.advance(0.1)
    assert [{k: h[k] for k in state} for h in heard] == [state, state]
    assert [h["traceparent"][:35] for h in heard] == [f"00-{TRACE}"] * 2
    assert ("producer", "broadcast crew", "") in told(other)
    assert ("producer", "send news", "") in told(other)


def test_an_invalid_traceparent_is_ignored_and_counted(sim: SimMesh) -> None:
    one, other = sim.node("one"), sim.node("other", tracing=True)
    other.rpc("ask")(lambda: 1)
    settle(sim, one, other)
    for text in ("", "00-xyz", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01"):
        assert sim.run(one.service("other", headers={"traceparent": text}).ask()) == 1
    assert other.counters()["bad_traceparents"] == 4
    assert {span.parent_id for span in spans_of(other)} == {""}


def test_without_a_trace_nothing_wakes_up_and_it_falls_asleep_again(sim: SimMesh) -> None:
    one, other = sim.node("one"), sim.node("other")
    other.rpc("ask")(lambda: 1)
    heard: list[Any] = []
    other.subscriber("news")(heard.append)
    settle(sim, one, other)
    handlers = {s.handler for s in other.host.engine.pubsub.subscriptions}
    ask = one.service("other", headers={"colour": "red"})
    sim.run(ask.ask())
    one.publish("news", 1, headers={"colour": "red"})
    sim.advance(0.1)
    assert not other.host.observing.is_awake
    one.publish("news", 2, headers=SAMPLED)
    sim.advance(0.1)
    assert other.host.observing.is_awake
    sim.advance(IDLE + 2)
    assert not other.host.observing.is_awake
    assert {s.handler for s in other.host.engine.pubsub.subscriptions} == handlers
    assert "call" not in other.host.observing._replaced or (
        other.host.engine.call == other.host.observing._replaced["call"]
    )
    one.publish("news", 3, headers=SAMPLED)
    sim.advance(0.1)
    assert [name for _, name, _ in told(other)] == ["process news"] * 2
    assert len(heard) == 3


def test_with_tracing_off_a_node_neither_records_nor_passes_on(sim: SimMesh) -> None:
    one, other = sim.node("one"), sim.node("other", tracing=False)
    heard: list[dict[str, str]] = []

    @other.rpc
    async def ask() -> None:
        other.publish("news", 1)

    one.subscriber("news")(lambda message: heard.append(message.headers))
    settle(sim, one, other)
    sim.run(one.service("other", headers=SAMPLED).ask())
    sim.advance(0.1)
    assert heard == [{}]
    assert not other.host.observing.is_awake


def test_an_untraced_handler_is_in_no_trace(sim: SimMesh) -> None:
    """Also inline, where the context of the loop's callback may be anybody's."""
    one, other = sim.node("one"), sim.node("other")
    seen: list[str | None] = []

    def look(*_: Any) -> None:
        context = now_traced.get()
        seen.append(context.trace_id if context is not None else None)

    other.rpc("ask")(look)
    other.subscriber("news")(look)
    settle(sim, one, other)
    sim.run(one.service("other", headers=SAMPLED).ask())
    token = now_traced.set(TraceContext("f" * 32, PARENT))
    sim.run(one.call("other.ask"))
    one.publish("news", 1)
    sim.advance(0.1)
    now_traced.reset(token)
    assert seen == [TRACE, None, None]


def test_a_retry_is_one_client_span_and_a_server_span_for_each_that_began(sim: SimMesh) -> None:
    one = sim.node("one", tracing=True)
    crew = [sim.node("crew") for _ in range(2)]
    for member in crew:

        @member.rpc
        async def work() -> str:
            await asyncio.sleep(1.0)
            return "done"

    settle(sim, one, *crew)

    async def body() -> Any:
        call = asyncio.ensure_future(one.service("crew", retry=True).work())
        await asyncio.sleep(0.5)
        (victim,) = [m for m in crew if m.host.engine.server.running()]
        sim.kill(victim)
        return await call

    assert sim.run(body()) == "done"
    (client,) = [span for span in spans_of(one) if span.kind == "client"]
    assert client.error == ""
    assert client.attributes["mesh.retries"] == 1
    ((after, text),) = client.events
    assert 0.5 <= after < 0.6
    assert text.startswith("sent to crew/")
    (survivor,) = [m for m in crew if m.id in {p.id for p in one.peers()}]
    (server,) = spans_of(survivor)
    assert server.parent_id == client.context.span_id
    assert client.peer == f"crew/{survivor.id[:8]}"


def test_a_hedge_is_told_in_the_span_of_its_call(sim: SimMesh) -> None:
    one = sim.node("one", tracing=True)
    crew = [sim.node("crew") for _ in range(2)]
    for member in crew:

        @member.rpc
        async def work() -> None:
            await asyncio.sleep(1.0)

    settle(sim, one, *crew)
    sim.run(one.service("crew", hedge=0.1).work())
    sim.advance(0.1)
    (client,) = spans_of(one)
    ((after, _),) = client.events
    assert after == pytest.approx(0.1, abs=0.05)
    servers = [span for member in crew for span in spans_of(member)]
    assert [span.parent_id for span in servers] == [client.context.span_id] * 2
    assert sorted(span.error for span in servers) == ["", "CancelledError"]


def test_how_a_call_fails_is_told_at_both_ends(sim: SimMesh) -> None:
    one, other = sim.node("one", tracing=True), sim.node("other")

    @other.rpc
    async def fail() -> None:
        raise KeyError("no")

    @other.rpc
    async def nap() -> None:
        await asyncio.sleep(9)

    settle(sim, one, other)
    with pytest.raises(mesh.RemoteError):
        sim.run(one.call("other.fail"))
    with pytest.raises(mesh.CallTimeout):
        sim.run(one.service("other", timeout=0.1).nap())
    with pytest.raises(mesh.NoProvider):
        sim.run(one.call("nobody.there"))

    async def give_up() -> None:
        call = asyncio.ensure_future(one.call("other.nap"))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    sim.run(give_up())
    sim.advance(0.1)
    assert [error for _, _, error in told(one)] == [
        "KeyError", "CallTimeout", "NoProvider", "Cancelled",
    ]  # fmt: skip
    assert [error for _, _, error in told(other)] == [
        "KeyError", "CancelledError", "CancelledError",
    ]  # fmt: skip
    assert not one.host.observing.tracer.open  # type: ignore[union-attr]


def test_a_copy_that_goes_to_another_member_is_marked_and_has_the_same_parent(sim: SimMesh) -> None:
    one = sim.node("one", tracing=True)
    crew = [sim.node("crew") for _ in range(2)]
    for member in crew:

        @member.subscriber("orders", group="billing")
        async def bill(message: mesh.Message) -> None:
            await asyncio.sleep(1.0)

    settle(sim, one, *crew)
    one.publish("orders", 1)
    sim.advance(0.5)
    (victim,) = [m for m in crew if m.host.engine.pubsub.busy()]
    sim.kill(victim)
    sim.advance(10.0)
    (survivor,) = [m for m in crew if m is not victim]
    (again,) = spans_of(survivor)
    (sent,) = spans_of(one)
    assert again.parent_id == sent.context.span_id
    assert again.attributes["mesh.redelivered"]
    assert again.attributes["messaging.consumer.group.name"] == "billing"


def test_streams_and_surveys_take_part(sim: SimMesh) -> None:
    one, other = sim.node("one"), sim.node("other")
    seen: list[dict[str, str]] = []

    @other.rpc
    async def count(request: mesh.Request) -> Any:
        seen.append(request.headers)
        yield 1
        await other.call("one.note")
        yield 2

    @other.rpc
    async def spread() -> int:
        return len((await other.survey("*.note").wait()).replies)

    one.rpc("note")(lambda: None)
    settle(sim, one, other)

    async def body() -> list[Any]:
        return [item async for item in one.service("other", headers=SAMPLED).iterate.count()]

    assert sim.run(body()) == [1, 2]
    assert sim.run(one.service("other", headers=SAMPLED).spread()) == 1
    sim.advance(0.1)
    assert told(other) == [
        ("client", "one.note", ""),
        ("server", "other.count", ""),
        ("client", "one.note", ""),
        ("server", "other.spread", ""),
    ]
    assert [span.parent_id for span in spans_of(other)][1::2] == [PARENT, PARENT]
    assert [span.context.trace_id for span in spans_of(one)] == [TRACE] * 2


def test_what_is_kept_tells_no_payload_key_or_header(sim: SimMesh) -> None:
    one, other = sim.node("one", tracing=True), sim.node("other")
    other.rpc("ask")(lambda what: what)
    other.member("crew")(lambda message: None)
    settle(sim, one, other)
    secret = "hunter2"
    service = one.service("other", key=secret, headers={"password": secret, "baggage": secret})
    sim.run(service.ask(secret))
    sim.run(one.groupcast("crew", secret, key=secret, headers={"password": secret}))
    sim.advance(0.1)
    ring = one.host.observing.ring.of_trace("") + other.host.observing.ring.of_trace("")
    assert len(ring) == 4
    assert secret not in repr(ring)
    assert all(span["attributes"]["mesh.keyed"] for span in ring)


def test_others_can_ask_for_spans_and_traces(sim: SimMesh) -> None:
    one, other = sim.node("one", tracing=True), sim.node("other")
    other.rpc("ask")(lambda: 1)
    settle(sim, one, other)
    for _ in range(3):
        sim.run(one.call("other.ask"))
    asked = one.service("_mesh", peer=other.id)
    told = sim.run(asked["traces"](2))
    assert told["recorded"] == 3
    newest = told["traces"][0]
    assert (newest["name"], newest["spans"], newest["errors"]) == ("other.ask", 1, 0)
    assert len(told["traces"]) == 2
    (span,) = sim.run(asked["spans"](newest["trace"][:8]))["spans"]
    assert (span["kind"], span["name"]) == ("server", "other.ask")
    assert span["peer"] == f"one/{one.id[:8]}"
    with pytest.raises(mesh.RemoteError, match="hex digits"):
        sim.run(asked["spans"]("*"))


def test_a_publish_to_many_is_one_producer_and_a_child_for_each_handler(sim: SimMesh) -> None:
    one = sim.node("one", tracing=True)
    crew = [sim.node("crew") for _ in range(3)]
    for member in crew:
        member.subscriber("news")(lambda message: None)
        member.subscriber("*")(lambda message: None)
    settle(sim, one, *crew)
    for _ in range(2):  # in one turn, so in one frame
        one.publish("news", 1)
    sim.advance(0.1)
    sent = spans_of(one)
    assert [span.attributes["mesh.nodes"] for span in sent] == [3, 3]
    for member in crew:
        parents = [span.parent_id for span in spans_of(member)]
        assert sorted(parents) == sorted([span.context.span_id for span in sent] * 2)


def test_a_call_that_follows_its_key_is_one_span_with_the_move_told(sim: SimMesh) -> None:
    one = sim.node("one", tracing=True)
    crew = [sim.node("crew") for _ in range(2)]
    for member in crew:
        member.rpc("ask")(lambda: 1)
    settle(sim, one, *crew)
    key = next(str(n) for n in range(99) if one.owner("crew", str(n)).id == crew[0].id)
    # The first one sees the other as the owner, who does so, too: as when views differ.
    first, second = (member.host.engine for member in crew)
    other = first._core.sessions[bytes.fromhex(crew[1].id)]
    first.server._placement.better = lambda *_: other  # type: ignore[method-assign]
    second.server._placement.better = lambda *_: None  # type: ignore[method-assign]
    assert sim.run(one.service("crew", key=key).ask()) == 1
    sim.advance(0.1)
    (client,) = spans_of(one)
    ((_, text),) = client.events
    assert text == f"sent to crew/{crew[1].id[:8]}, after crew/{crew[0].id[:8]}"
    assert spans_of(crew[0]) == []
    assert spans_of(crew[1])[0].parent_id == client.context.span_id
    assert client.peer == f"crew/{crew[1].id[:8]}"
