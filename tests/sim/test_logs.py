"""What the mesh logs never has in it: a payload, an argument, a header. Everything fails here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mesh
from mesh.testing import SimMesh

SECRET = "s3cr3t-payload"


@pytest.fixture
def sim() -> Iterator[SimMesh]:
    with SimMesh(seed=1) as sim:
        yield sim


class Unsendable:
    """Its text is the secret, in case somebody shows it."""

    def __repr__(self) -> str:
        return SECRET


def bad_service(node: mesh.AsyncNode) -> None:
    """Whatever a service can do wrong with what it is given."""

    @node.rpc
    def fail(value: Any = None, **more: Any) -> None:
        raise ValueError("on purpose")

    @node.rpc(inline=False)
    def fail_in_pool(value: Any) -> None:
        raise ValueError("on purpose")

    @node.rpc
    async def fail_later(value: Any) -> None:
        await asyncio.sleep(0)
        raise ValueError("on purpose")

    @node.rpc
    def unsendable(value: Any) -> Any:
        return Unsendable()

    @node.rpc
    def count(value: Any) -> Iterator[Any]:
        yield value
        raise ValueError("on purpose")

    @node.subscriber("inline", inline=True)
    @node.subscriber("pool", inline=False)
    @node.member("crew")
    def handle(message: mesh.Message) -> None:
        raise ValueError("on purpose")

    @node.subscriber("later")
    @node.subscriber("work", group="billing")
    async def handle_later(message: mesh.Message) -> None:
        raise ValueError("on purpose")

    @node.member("refusers")
    def refuse(message: mesh.Message) -> None:
        raise mesh.Refuse


async def misuse(node: mesh.AsyncNode, secret: Any) -> None:
    """Every verb, with the secret in all places for data, and most of them fail."""
    service = node.service("bad", timeout=1.0, headers={"token": SECRET})
    for method in ("fail", "fail_in_pool", "fail_later", "unsendable", "no_such_method"):
        with pytest.raises(mesh.MeshError):
            await service[method](secret)
    with pytest.raises(mesh.BadRequest):
        await service["fail_later"](secret, secret, x=secret)
    with pytest.raises(mesh.MeshError):
        async for _ in node.iterate("bad.count", secret):
            pass
    for subject in ("inline", "pool", "later", "work"):
        node.publish(subject, secret, headers={"token": SECRET})
    node.broadcast("crew", secret, headers={"token": SECRET})
    await node.groupcast("crew", secret)
    await node.groupcast("crew", secret, headers={"token": SECRET})
    await node.groupcast("refusers", secret)
    for peer in node.peers():
        node.send(peer, "inline", secret)
    for verb in (
        lambda: node.publish("inline", Unsendable()),
        lambda: node.broadcast("crew", {1j}),
    ):
        with pytest.raises(mesh.BadPayload):
            verb()
    with pytest.raises(mesh.BadPayload):
        await service["fail"](Unsendable())
    await asyncio.sleep(2.0)


def said(records: list[logging.LogRecord]) -> str:
    """The mesh's own words; the tracebacks are those of the user's code."""
    fields = [getattr(record, "mesh", None) for record in records]
    return "\n".join([record.getMessage() for record in records] + list(map(repr, fields)))


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    wrapped=st.recursive(
        st.just(SECRET) | st.just(SECRET.encode()),
        lambda inner: (
            st.lists(inner, min_size=1, max_size=3)
            | st.dictionaries(st.just(SECRET), inner, min_size=1)
        ),
        max_leaves=4,
    )
)
def test_no_record_has_a_payload_an_argument_or_a_header(
    caplog: pytest.LogCaptureFixture, wrapped: Any
) -> None:
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    with SimMesh(seed=1) as sim:
        bad, node = sim.node("bad"), sim.node("shop")
        bad_service(bad)
        sim.until(lambda: len(node.peers()) == len(bad.peers()) == 1, within=10.0)
        sim.advance(1.0)
        sim.run(misuse(node, wrapped))
        assert bad.counters()["handler_errors"] >= 8
    records = [r for r in caplog.records if r.name.partition(".")[0] in ("mesh", "discovery")]
    events = {record.__dict__["mesh"]["event"] for record in records}
    assert {"method_failed", "handler_failed", "cast_given_up", "peer_joined"} <= events
    assert "other" not in events
    assert SECRET not in said(records)


def test_the_end_of_a_slow_reader_and_of_a_node_say_numbers_only(
    sim: SimMesh, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    reader, node = sim.node("reader"), sim.node("shop")
    sim.until(lambda: len(node.peers()) == len(reader.peers()) == 1, within=10.0)

    async def overflow() -> None:
        async with reader.subscribe("news", buffer=10):
            for _ in range(1000):
                node.publish("news", SECRET)
            await asyncio.sleep(2.0)
        sim.block(reader)
        for _ in range(1000):
            node.publish("other", SECRET)
        sim.unblock(reader)
        await node.close()

    sim.run(overflow())
    events = {
        record.__dict__["mesh"]["event"] for record in caplog.records if "mesh" in record.name
    }
    assert "subscription_dropping" in events
    assert SECRET not in said(caplog.records)
