"""What travels between processes, by call and by publish, and how it arrives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

import mesh
from tests.net.processes import NodeProcess

Make = Callable[..., mesh.Node]
Start = Callable[..., NodeProcess]


@dataclass
class Point:
    x: int
    y: int = 0
    tags: set[str] = field(default_factory=set)


class Money:
    """Not a dataclass: it travels because it is registered."""

    def __init__(self, cents: int) -> None:
        self.cents = cents


mesh.register_type(Money, 42, lambda money: money.cents, Money)

VALUES: dict[str, Any] = {
    "nothing": None,
    "booleans": [True, False],
    "numbers": [0, -1, 2**63 - 1, 2**64 - 1, -(2**63), 1.5, float("inf")],
    "texts": ["", "ümläut \U0001f600", "x" * 100_000],
    "bytes": b"\x00\xff" * 1000,
    "datetime": datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC),
    "offset": datetime(2024, 2, 29, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    "naive": datetime(2024, 2, 29, 1, 2, 3, 4),
    "uuid": UUID(int=2**127 + 5),
    "decimal": Decimal("123456789.000000000000000000001"),
    "set": {1, 2, "three"},
    "frozenset": frozenset({(1, 2)}),
    "nested": {"a": [{"b": {1: "one"}}, {}], "when": [datetime(2020, 1, 1, tzinfo=UTC)]},
}


@pytest.fixture
def nodes(make_node: Make) -> tuple[mesh.Node, mesh.Node]:
    server = make_node("server")
    server.rpc("echo", inline=True)(lambda value: value)
    server.start()
    client = make_node("client").start()
    client.wait_for("server", timeout=20.0)
    server.wait_for("client", timeout=20.0)
    return server, client


def test_values_come_back_as_they_were(nodes: tuple[mesh.Node, mesh.Node]) -> None:
    server, client = nodes
    with server.subscribe("values") as subscription:
        for name, value in VALUES.items():
            echoed = client.call("server.echo", value)
            assert (echoed, type(echoed)) == (value, type(value)), name
            client.publish("values", value)
            published = subscription.get(timeout=10.0).data
            assert (published, type(published)) == (value, type(value)), name


@pytest.mark.parametrize("at", ["elsewhere", "here"])
def test_local_values_are_decoded_copies_too(nodes: tuple[mesh.Node, mesh.Node], at: str) -> None:
    server, client = nodes
    node = client if at == "elsewhere" else server
    value = [1, {"two": 2}]
    echoed = node.call("server.echo", value)
    assert echoed == value
    assert echoed is not value
    assert node.call("server.echo", (1, (2, 3))) == [1, [2, 3]], "tuples arrive as lists"
    point = Point(1, tags={"a"})
    assert node.call("server.echo", point) == {"x": 1, "y": 0, "tags": {"a"}}
    assert node.call("server.echo", bytearray(b"ab")) == b"ab"


@pytest.mark.parametrize(
    "value",
    [object(), 2**64, lambda: 1, 1j, [object()], {"a": object()}, type, Exception("no")],
    ids=["object", "big int", "function", "complex", "in list", "in dict", "type", "exception"],
)
def test_what_cannot_travel_is_a_bad_payload_at_the_caller(
    nodes: tuple[mesh.Node, mesh.Node], value: Any
) -> None:
    _, client = nodes
    for verb in (
        lambda: client.call("server.echo", value),
        lambda: client.call("server.echo", value=value),
        lambda: client.publish("values", value),
        lambda: client.broadcast("group", value),
    ):
        with pytest.raises(mesh.BadPayload) as raised:
            verb()
        assert isinstance(raised.value, TypeError)
    assert client.call("server.echo", 1) == 1


def test_values_travel_between_processes(start_process: Start, make_node: Make) -> None:
    process = start_process("server")
    client = make_node("client").start()
    client.wait_for("server", timeout=20.0)
    assert process.pid == client.call("server.pid")
    for name, value in VALUES.items():
        assert client.call("server.echo", value) == value, name


def test_a_registered_type_travels_as_itself(nodes: tuple[mesh.Node, mesh.Node]) -> None:
    _, client = nodes
    back = client.call("server.echo", Money(250))
    assert (type(back), back.cents) == (Money, 250)
