"""Permissions between whole nodes: each verb allowed, denied where it arrives, and denied early.

``free`` has no policy of its own, so whatever stops it is the receiver's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mesh
from mesh.engine.audit import MAX_TOLD, SUMMARY_EVERY
from mesh.engine.guard import MAX_DECISIONS
from mesh.publishing import GuardedThreadPublisher
from mesh.testing import SimMesh

IDENTITIES = {
    "shop": mesh.Identity("shop", frozenset({"seller"})),
    "free": mesh.Identity("free", frozenset()),
    "orders": mesh.Identity("orders", frozenset({"server"})),
    "spare": mesh.Identity("spare", frozenset({"server"})),
}
"""Nodes named "nobody" prove nothing."""

POLICY = mesh.Policy.from_toml("""
[[rule]]
name = "servers"
who = ["role:server"]
allow.call = [">"]
allow.publish = [">"]
allow.subscribe = [">"]
allow.join = ["*"]
allow.broadcast = ["*"]
allow.groupcast = ["*"]

[[rule]]
name = "no-refunds"
who = ["*"]
deny.call = ["orders.refund"]

[[rule]]
name = "sellers"
who = ["role:seller"]
allow.call = ["orders.*"]
allow.publish = ["orders.>"]
allow.subscribe = ["status.>"]
allow.join = ["sellers"]
allow.broadcast = ["packers"]
allow.groupcast = ["packers"]
""")

OPEN = mesh.Policy(
    [
        mesh.Rule(
            "everything",
            ["*"],
            allow={
                "call": [">"],
                "publish": [">"],
                "subscribe": [">"],
                "join": ["*"],
                "broadcast": ["*"],
                "groupcast": ["*"],
            },
        )
    ]
)


@pytest.fixture
def sim() -> Iterator[SimMesh]:
    with SimMesh(seed=3, identities=IDENTITIES) as sim:
        yield sim


def orders_of(sim: SimMesh, policy: mesh.Policy | None = POLICY, name: str = "orders") -> Any:
    """A node with everything to be asked for; ``heard`` is what its handlers were given."""
    node: Any = sim.node(name, policy=policy)
    node.heard = heard = []

    @node.rpc
    def create(what: str) -> str:
        heard.append(("create", what))
        return what

    @node.rpc
    def refund(what: str) -> str:
        heard.append(("refund", what))
        return what

    node.subscriber("orders.>")(lambda msg: heard.append((msg.subject, msg.data)))
    node.subscriber("secrets.*")(lambda msg: heard.append((msg.subject, msg.data)))
    node.member("packers")(lambda msg: heard.append((msg.kind, msg.data)))
    node.member("bosses")(lambda msg: heard.append((msg.kind, msg.data)))
    return node


def met(sim: SimMesh, *nodes: mesh.AsyncNode) -> None:
    sim.until(lambda: all(len(node.peers()) == len(nodes) - 1 for node in nodes), within=10.0)
    sim.advance(1.5)  # no grace is left


def denied(sim: SimMesh, verb: Callable[[], Any]) -> mesh.AccessDenied:
    """The error of a verb that is denied, and well before it could time out."""

    async def body() -> Any:
        value = verb()
        return await value if asyncio.iscoroutine(value) or hasattr(value, "__await__") else value

    began = sim.now
    with pytest.raises(mesh.AccessDenied) as raised:
        sim.run(body())
    assert sim.now - began < 1.0
    return raised.value


def audited(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "mesh.audit"]


# Calls


def test_a_call_that_is_allowed_is_served(sim: SimMesh) -> None:
    orders, shop = orders_of(sim), sim.node("shop", policy=POLICY)
    met(sim, orders, shop)
    assert sim.run(shop.call("orders.create", "x")) == "x"
    assert "denied_call" not in orders.counters()


@pytest.mark.parametrize("is_retried", [False, True])
def test_a_call_that_is_denied_is_not_begun_anywhere(
    sim: SimMesh, caplog: pytest.LogCaptureFixture, is_retried: bool
) -> None:
    orders, again = orders_of(sim), orders_of(sim)
    free = sim.node("free")
    met(sim, orders, again, free)
    error = denied(sim, lambda: free.service("orders", retry=is_retried).refund("x"))
    assert error.rule == "no-refunds"
    assert "does not let 'free' call 'orders.refund': rule 'no-refunds'" in str(error)
    assert denied(sim, lambda: free.call("orders.create", "x")).rule == "default"
    assert orders.heard == again.heard == []
    counts = [node.counters().get("denied_call", 0) for node in (orders, again)]
    assert sum(counts) == 2
    lines = audited(caplog)
    assert f"denied: call 'orders.refund' by {free.me} as 'free', rule 'no-refunds'" in lines


def test_a_large_call_is_denied_like_a_small_one(sim: SimMesh) -> None:
    orders, free = orders_of(sim), sim.node("free")
    met(sim, orders, free)
    assert denied(sim, lambda: free.call("orders.create", "x" * 600_000)).rule == "default"
    assert orders.heard == []


def test_calls_of_one_frame_are_judged_each_by_itself(sim: SimMesh) -> None:
    orders, free = orders_of(sim), sim.node("shop")
    met(sim, orders, free)

    async def body() -> list[Any]:
        calls = [free.call(f"orders.{method}", "x") for method in ("create", "refund", "create")]
        return await asyncio.gather(*calls, return_exceptions=True)

    first, second, third = sim.run(body())
    assert (first, third) == ("x", "x")
    assert isinstance(second, mesh.AccessDenied)


def test_a_call_that_the_own_policy_denies_does_not_leave(
    sim: SimMesh, caplog: pytest.LogCaptureFixture
) -> None:
    orders, shop = orders_of(sim, OPEN), sim.node("shop", policy=POLICY)
    met(sim, orders, shop)
    assert denied(sim, lambda: shop.call("orders.refund", "x")).rule == "no-refunds"
    assert orders.heard == []
    assert shop.counters()["denied_here"] == 1
    assert audited(caplog) == [
        "denied: call 'orders.refund' by this node as 'shop', rule 'no-refunds'"
    ]
    with pytest.raises(mesh.BadName):
        sim.run(shop.call("orders"))


def test_a_survey_is_as_many_calls_and_each_node_decides_for_itself(sim: SimMesh) -> None:
    strict, open_, shop = orders_of(sim), orders_of(sim, OPEN), sim.node("shop")
    met(sim, strict, open_, shop)

    async def body() -> Any:
        return await shop.survey("orders.refund", "x").wait()

    survey = sim.run(body())
    assert [reply.peer.id for reply in survey.replies] == [open_.id]
    assert {peer.id: error.rule for peer, error in survey.failed.items()} == {
        strict.id: "no-refunds"
    }
    assert strict.heard == []


def test_a_survey_that_the_own_policy_denies_does_not_leave(sim: SimMesh) -> None:
    orders, shop = orders_of(sim, OPEN), sim.node("shop", policy=POLICY)
    met(sim, orders, shop)
    for method in ("orders.refund", "*.refund"):
        assert denied(sim, lambda method=method: shop.survey(method, "x")).rule == "no-refunds"
    assert orders.heard == []


def test_a_node_without_an_identity_may_nothing(sim: SimMesh) -> None:
    orders, nobody = orders_of(sim), sim.node("nobody")
    met(sim, orders, nobody)
    error = denied(sim, lambda: nobody.call("orders.create", "x"))
    assert error.rule == "no-identity"
    nobody.publish("orders.new", 1)
    sim.advance(1.0)
    assert orders.heard == []
    assert orders.counters()["denied_publish"] == 1


# Publish, send, broadcast


def test_what_may_be_published_is_delivered_and_the_rest_of_the_frame_is_not(
    sim: SimMesh, caplog: pytest.LogCaptureFixture
) -> None:
    orders, shop = orders_of(sim), sim.node("shop")
    met(sim, orders, shop)

    async def body() -> None:
        shop.publish("orders.new", 1)
        shop.publish("secrets.key", 2)
        shop.publish("secrets.key", 3)
        shop.publish("orders.new", 4)
        assert shop.send(orders.me, "secrets.key", 5)
        assert shop.broadcast("packers", 6) == 1
        assert shop.broadcast("bosses", 7) == 1
        shop.publish("secrets.large", b"x" * 100_000)
        shop.publish("secrets.larger", b"x" * 600_000)
        shop.publish("orders.large", b"x" * 600_000)
        await shop.flush()

    sim.run(body())
    sim.advance(1.0)
    subjects = [(what, data) for what, data in orders.heard if what != "orders.large"]
    assert subjects == [("orders.new", 1), ("orders.new", 4), ("broadcast", 6)]
    assert [what for what, _ in orders.heard].count("orders.large") == 1
    counters = orders.counters()
    assert counters["denied_publish"] == 5
    assert counters["denied_broadcast"] == 1
    lines = audited(caplog)
    assert f"denied: publish 'secrets.key' by {shop.me} as 'shop', rule 'default'" in lines
    assert len([line for line in lines if "'secrets.key'" in line]) == 1


def test_what_is_denied_takes_no_window_for_ever(sim: SimMesh) -> None:
    """More than a window of it, and the link goes on."""
    orders, shop = orders_of(sim), sim.node("shop")
    met(sim, orders, shop)

    async def body() -> None:
        for _ in range(300):
            shop.publish("secrets.key", b"x" * 16_000)
        shop.publish("orders.new", "through")
        await shop.flush()

    sim.run(body())
    sim.advance(1.0)
    assert orders.heard == [("orders.new", "through")]


def test_publishing_is_denied_early(sim: SimMesh) -> None:
    orders, shop = orders_of(sim, OPEN), sim.node("shop", policy=POLICY)
    met(sim, orders, shop)
    assert denied(sim, lambda: shop.publish("secrets.key", 1)).rule == "default"
    assert denied(sim, lambda: shop.send(orders.me, "secrets.key", 1)).rule == "default"
    assert denied(sim, lambda: shop.broadcast("bosses", 1)).rule == "default"
    with pytest.raises(mesh.BadName):
        shop.publish("secrets..key", 1)
    with pytest.raises(mesh.BadName):
        shop.publish(7, 1)  # type: ignore[arg-type]
    shop.publish("orders.new", 1)
    sim.advance(1.0)
    assert orders.heard == [("orders.new", 1)]
    assert shop.counters()["denied_here"] == 3


def test_publishing_from_another_thread_is_denied_early(
    sim: SimMesh, caplog: pytest.LogCaptureFixture
) -> None:
    orders, shop = orders_of(sim, OPEN), sim.node("shop", policy=POLICY)
    met(sim, orders, shop)
    guard = shop.host.engine.guard
    assert guard is not None
    publisher = GuardedThreadPublisher(shop.host, guard)

    async def body() -> None:
        with pytest.raises(mesh.AccessDenied, match="secrets"):
            publisher.publish("secrets.key", 1, None)
        publisher.publish("orders.new", 1, None)
        shop.host.handover.drain()
        await shop.flush()

    sim.run(body())
    sim.advance(1.0)
    assert orders.heard == [("orders.new", 1)]
    assert shop.counters()["denied_here"] == 1
    assert len(audited(caplog)) == 1


def test_a_group_is_not_reached_by_way_of_its_subject(sim: SimMesh) -> None:
    """A node that keeps no rules may send any subject in any kind of frame."""
    orders, shop = orders_of(sim), sim.node("shop")
    met(sim, orders, shop)
    engine = shop.host.engine
    targets = (engine.session_of(orders.me),)

    async def body() -> None:
        for subject, kind in (("_mesh.g.bosses", 1), ("secrets.key", 3), ("_mesh.g.packers", 1)):
            entry = engine._core.codec.pack((subject, "sly"))
            engine.send(kind, targets, entry)
        await shop.flush()

    sim.run(body())
    sim.advance(1.0)
    assert orders.heard == [("publish", "sly")]


# Subscribe, queue groups, join


def test_what_a_peer_may_not_hear_is_not_sent_to_it(
    sim: SimMesh, caplog: pytest.LogCaptureFixture
) -> None:
    """It is as if it had not subscribed, to all that it asks for at once and later."""
    shop: Any = sim.node("shop")
    heard: list[Any] = []
    for pattern in (">", "status.*", "secrets.key", "status.>"):
        shop.subscriber(pattern)(lambda msg: heard.append(msg.data))
    shop.member("bosses")(heard.append)
    orders = orders_of(sim)
    met(sim, orders, shop)
    assert orders.publish("status.up", 1) == 1
    assert orders.publish("secrets.key", 2) == 1  # its own
    assert orders.publish("secrets.key.deep", 2) == 0
    assert orders.broadcast("bosses", 3) == 1
    assert not orders.send(shop.me, "secrets.key", 4)
    sim.advance(1.0)
    assert set(heard) == {1}
    (seen,) = orders.peers()
    assert seen.groups == frozenset()
    lines = audited(caplog)
    assert f"denied: subscribe '>' by {shop.me} as 'shop', rule 'default'" in lines
    assert f"denied: join 'bosses' by {shop.me} as 'shop', rule 'default'" in lines
    before = orders.counters()
    assert before["denied_subscribe"] == 2
    assert before["denied_join"] == 1

    late: list[Any] = []
    shop.subscriber("secrets.*")(late.append)
    shop.subscriber("status.late")(late.append)
    shop.member("sellers")(late.append)
    sim.advance(1.0)
    assert orders.publish("secrets.other", 1) == 1
    assert orders.publish("status.late", 1) == 1
    assert orders.broadcast("sellers", 1) == 1
    assert orders.counters()["denied_subscribe"] == 3
    (seen,) = orders.peers()
    assert seen.groups == {"sellers"}
    sim.advance(1.0)
    assert {msg.kind for msg in late} == {"publish", "broadcast"}


def test_a_denied_subscription_that_ends_changes_nothing(sim: SimMesh) -> None:
    orders, shop = orders_of(sim), sim.node("shop")
    met(sim, orders, shop)

    async def body() -> None:
        async with shop.subscribe("secrets.>"), shop.subscribe("status.>"):
            assert orders.publish("status.up", 1) == 1
        await asyncio.sleep(1.0)
        assert orders.publish("status.up", 1) == 0

    sim.run(body())
    # The link goes on: a record that was not the same on both sides would have been sent anew.
    assert "link_resets" not in orders.counters()


def test_a_link_that_begins_anew_lets_no_more_in(sim: SimMesh) -> None:
    orders, shop = orders_of(sim), sim.node("shop")
    shop.subscriber("secrets.>")(lambda msg: None)
    shop.subscriber("status.>")(lambda msg: None)
    met(sim, orders, shop)
    sim.cut(orders, shop)
    sim.advance(3.0)
    assert orders.publish("status.up", 1) == 1
    assert orders.publish("secrets.a.b", 1) == 0


def test_copies_go_to_the_members_of_a_queue_group_that_may_hear_them(sim: SimMesh) -> None:
    shop: Any = sim.node("shop")
    heard: list[Any] = []
    shop.subscriber("secrets.>", group="billing")(lambda msg: heard.append(msg.subject))
    shop.subscriber("status.>", group="billing")(lambda msg: heard.append(msg.subject))
    orders = orders_of(sim)
    met(sim, orders, shop)

    async def body() -> None:
        assert orders.publish("secrets.a.b", 1) == 0
        assert orders.publish("status.a", 1) == 1
        await orders.flush()

    sim.run(body())
    assert heard == ["status.a"]
    assert orders.counters()["denied_subscribe"] == 1


def test_subscribing_and_joining_are_denied_early(sim: SimMesh) -> None:
    orders, shop = orders_of(sim, OPEN), sim.node("shop", policy=POLICY)
    met(sim, orders, shop)
    assert denied(sim, lambda: shop.subscribe("secrets.>")).rule == "default"
    assert denied(sim, lambda: shop.subscribe("secrets.>", group="g")).rule == "default"
    assert denied(sim, lambda: shop.join("bosses")).rule == "default"
    with pytest.raises(mesh.AccessDenied):
        shop.member("bosses")(lambda msg: None)
    assert orders.publish("secrets.a.b", 1) == 0

    async def body() -> None:
        async with shop.subscribe("status.*") as heard, shop.join("sellers") as joined:
            orders.publish("status.up", 1)
            orders.broadcast("sellers", 2)
            assert (await heard.get(1)).data == 1
            assert (await joined.get(1)).data == 2

    sim.run(body())


def test_a_handler_that_the_policy_denies_keeps_its_node_from_starting(sim: SimMesh) -> None:
    shop = mesh.AsyncNode("shop", policy=POLICY)
    shop.subscriber("secrets.>")(lambda msg: None)
    with pytest.raises(mesh.AccessDenied, match=r"subscribe 'secrets\.>'"):
        sim.add(shop)


# Groupcast


@pytest.mark.parametrize("key", [None, "user:7"])
def test_work_that_is_allowed_is_done(sim: SimMesh, key: str | None) -> None:
    orders, shop = orders_of(sim), sim.node("shop", policy=POLICY)
    met(sim, orders, shop)

    async def body() -> None:
        assert (await shop.groupcast("packers", 1, key=key)).id == orders.id
        await shop.flush()

    sim.run(body())
    assert orders.heard == [("groupcast", 1)]


@pytest.mark.parametrize("key", [None, "user:7"])
def test_work_that_no_member_may_be_given_ends_with_what_they_say(
    sim: SimMesh, caplog: pytest.LogCaptureFixture, key: str | None
) -> None:
    orders, spare = orders_of(sim), orders_of(sim, name="spare")
    free = sim.node("free")
    met(sim, orders, spare, free)
    for _ in range(3):
        assert denied(sim, lambda: free.groupcast("packers", 1, key=key)).rule == "default"
    sim.advance(5.0)
    assert orders.heard == spare.heard == []
    assert orders.counters()["denied_groupcast"] == 1
    assert f"denied: groupcast 'packers' by {free.me} as 'free', rule 'default'" in audited(caplog)
    sim.run(free.flush(1))


def test_in_the_grace_after_start_it_is_told_at_once_too(sim: SimMesh) -> None:
    orders, free = orders_of(sim), sim.node("free")
    sim.until(lambda: len(free.peers()) == 1, within=0.5)
    sim.advance(0.05)
    began = sim.now
    for _ in range(2):
        assert denied(sim, lambda: free.groupcast("packers", 1)).rule == "default"
    assert sim.now - began < 0.1
    assert orders.heard == []


def test_who_is_somebody_else_on_a_new_link_is_asked_anew(sim: SimMesh) -> None:
    orders, free = orders_of(sim), sim.node("free")
    met(sim, orders, free)
    denied(sim, lambda: free.groupcast("packers", 1))
    sim.world.network.identities[bytes.fromhex(free.id)] = IDENTITIES["shop"]
    sim.cut(free, orders)
    sim.advance(3.0)
    assert sim.run(free.groupcast("packers", 2)).id == orders.id
    sim.run(free.flush())
    assert orders.heard == [("groupcast", 2)]


def test_what_a_member_that_is_gone_denied_is_forgotten(sim: SimMesh) -> None:
    orders, free = orders_of(sim), sim.node("free")
    met(sim, orders, free)
    denied(sim, lambda: free.groupcast("packers", 1))
    denials = free.host.engine._work.sender._denials
    assert denials._by_pool
    sim.kill(orders)
    sim.until(lambda: not free.peers(), within=20.0)
    assert not denials._by_pool
    with pytest.raises(mesh.NoProvider):
        sim.run(free.groupcast("packers", 1))


def test_a_queue_group_cannot_be_denied_as_a_whole(sim: SimMesh) -> None:
    """Its copies are judged each by its subject; what a member says of all of them is nonsense."""
    orders, shop = orders_of(sim), sim.node("shop")
    heard: list[Any] = []
    orders.subscriber("orders.>", group="billing")(lambda msg: heard.append(msg.data))
    met(sim, orders, shop)
    engine = shop.host.engine

    async def body() -> None:
        shop.publish("orders.new", 1)
        await shop.flush()
        engine._work.sender.on_deny(engine.session_of(orders.me), "_mesh.q.billing", "r", "no")
        assert not engine._work.sender._denials._by_pool
        shop.publish("orders.new", 2)
        await shop.flush()

    sim.run(body())
    assert heard == [1, 2]


def test_many_that_wait_are_all_told(sim: SimMesh) -> None:
    orders, free = orders_of(sim), sim.node("free")
    met(sim, orders, free)

    async def body() -> list[Any]:
        casts = [free.groupcast("packers", n, key=n if n % 2 else None) for n in range(200)]
        return await asyncio.gather(*casts, return_exceptions=True)

    assert {type(outcome) for outcome in sim.run(body())} == {mesh.AccessDenied}


def test_a_group_with_more_members_than_are_asked_at_once(sim: SimMesh) -> None:
    members = [orders_of(sim) for _ in range(12)]
    free = sim.node("free")
    met(sim, *members, free)
    assert denied(sim, lambda: free.groupcast("packers", 1)).rule == "default"


@pytest.mark.parametrize("key", [None, "user:7"])
def test_work_goes_to_the_member_that_takes_it(sim: SimMesh, key: str | None) -> None:
    strict, lenient = orders_of(sim), orders_of(sim, OPEN, "spare")
    free = sim.node("free")
    met(sim, strict, lenient, free)

    async def body() -> None:
        for number in range(20):
            peer = await free.groupcast("packers", number, key=f"{key}:{number}" if key else None)
            assert peer.id == lenient.id
        await free.flush()

    sim.run(body())
    assert strict.heard == []
    assert len(lenient.heard) == 20


def test_a_member_that_may_not_join_is_given_no_work(sim: SimMesh) -> None:
    shop = sim.node("shop")
    heard: list[Any] = []
    shop.member("bosses")(heard.append)
    spare = sim.node("spare", policy=POLICY)
    met(sim, shop, spare)
    with pytest.raises(mesh.NoProvider):
        sim.run(spare.groupcast("bosses", 1))
    with pytest.raises(mesh.NoProvider):
        spare.owner(group="bosses", key="x")
    assert heard == []


def test_giving_work_is_denied_early(sim: SimMesh) -> None:
    orders, shop = orders_of(sim, OPEN), sim.node("shop", policy=POLICY)
    met(sim, orders, shop)
    assert denied(sim, lambda: shop.groupcast("bosses", 1)).rule == "default"
    assert denied(sim, lambda: shop.groupcast("bosses", 1, key="x")).rule == "default"
    with pytest.raises(mesh.BadName):
        sim.run(shop.groupcast("no such", 1))
    sim.advance(1.0)
    assert orders.heard == []


def test_credit_for_one_group_does_not_make_work_of_another_welcome(sim: SimMesh) -> None:
    """A node that keeps no rules may send any cast in the credit that it has."""
    orders, shop = orders_of(sim), sim.node("shop")
    met(sim, orders, shop)
    engine = shop.host.engine
    sly = [
        ("_mesh.g.packers", "good"),
        ("_mesh.g.bosses", "sly"),
        ("_mesh.q.billing", "sly", {}, 0, None, "secrets.x"),
        ("_mesh.g.packers", "good, too"),
    ]

    async def body() -> None:
        for fields in sly:
            entry, waiting = engine._core.codec.pack(fields), asyncio.Future[Any]()
            engine._work.sender.wait("_mesh.g.packers", entry, None, 5.0, waiting)
            await waiting
        await shop.flush()

    sim.run(body())
    assert [data for _, data in orders.heard] == ["good", "good, too"]
    # Passed on to nobody else, as there is nobody, and given up.
    assert orders.counters()["denied_groupcast"] == 4
    assert orders.counters()["denied_publish"] == 4
    assert shop.counters()["casts_given_up"] == 2


def test_copies_of_what_its_publisher_may_not_publish_are_not_handled(sim: SimMesh) -> None:
    orders = orders_of(sim)
    heard: list[Any] = []
    orders.subscriber(">", group="billing")(lambda msg: heard.append(msg.subject))
    shop = sim.node("shop")
    met(sim, orders, shop)

    async def body() -> None:
        shop.publish("secrets.key", 1)
        shop.publish("orders.new", 2)
        await shop.flush()

    sim.run(body())
    sim.advance(1.0)
    assert heard == ["orders.new"]


# To itself


def test_a_node_does_to_itself_what_it_may(sim: SimMesh) -> None:
    orders = orders_of(sim)
    sim.advance(1.5)

    async def body() -> None:
        assert await orders.call("orders.create", "x") == "x"
        assert orders.publish("secrets.key", 1) == 1
        assert orders.broadcast("packers", 2) == 1
        assert (await orders.groupcast("packers", 3)).id == orders.id
        await orders.flush()

    sim.run(body())
    assert {data for _, data in orders.heard} == {"x", 1, 2, 3}
    assert not [name for name in orders.counters() if name.startswith("denied")]


# The node, its log and its memory


def test_a_policy_without_an_identity_is_refused(sim: SimMesh) -> None:
    with pytest.raises(mesh.ConfigError, match="a policy needs identities: give identity="):
        sim.node("nobody", policy=POLICY)


def test_a_node_without_a_policy_has_no_guard(sim: SimMesh) -> None:
    free = sim.node("free")
    assert free.host.engine.guard is None
    assert type(free.host.engine).__name__ == "Engine"


def test_the_audit_log_is_not_flooded(sim: SimMesh, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "mesh.audit")
    orders, shop = orders_of(sim), sim.node("shop")
    met(sim, orders, shop)

    async def body() -> None:
        for number in range(2 * MAX_TOLD):
            shop.publish(f"secrets.{number}", number)
            shop.publish(f"secrets.{number % 3}", number)
        await shop.flush()

    sim.run(body())
    sim.advance(1.0)
    assert len(audited(caplog)) == MAX_TOLD
    assert orders.counters()["denied_publish"] == 4 * MAX_TOLD
    caplog.clear()
    sim.advance(SUMMARY_EVERY)
    lines = audited(caplog)
    assert len(lines) == 4
    assert f"denied {MAX_TOLD} times more: other names, or to others" in lines
    told = sum(int(line.split()[1]) for line in lines)
    assert told == 3 * MAX_TOLD
    # Whoever goes on is told of once a minute; who has stopped, at once when he begins anew.
    caplog.clear()
    shop.publish("secrets.0", 0)
    shop.publish("secrets.100", 0)
    sim.advance(1.0)
    assert [line.partition(" by ")[0] for line in audited(caplog)] == [
        "denied: publish 'secrets.100'"
    ]
    sim.advance(3 * SUMMARY_EVERY)
    caplog.clear()
    shop.publish("secrets.0", 0)
    sim.advance(1.0)
    assert len(audited(caplog)) == 1


def test_decisions_are_remembered_within_bounds(
    sim: SimMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.engine.guard.MAX_DECISIONS", 16)
    orders, shop = orders_of(sim), sim.node("shop")
    met(sim, orders, shop)
    asked: list[str] = []
    decide = POLICY.decide
    guard = orders.host.engine.guard

    class Counting:
        def decide(self, identity: Any, right: str, name: str) -> Any:
            asked.append(name)
            return decide(identity, right, name)

    guard._policy = Counting()

    async def body() -> None:
        for _ in range(10):
            shop.publish("secrets.key", 1)
            await asyncio.sleep(0.1)
        assert asked == ["secrets.key"]
        for number in range(100):
            shop.publish(f"secrets.{number}", 1)
        await shop.flush()

    sim.run(body())
    sim.advance(1.0)
    assert sum(map(len, guard._known.values())) <= 16
    assert MAX_DECISIONS > 1000
