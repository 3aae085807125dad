"""The gateway for plain clients, on virtual time: whole engines, and a port that writes down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
import pytest

from mesh.plain import Gateway
from mesh.plain.calls import CALL_TIMEOUT, MAX_CALLS, MAX_CALLS_PER_CLIENT
from mesh.plain.feed import LINGER, MAX_PREFIXES, MAX_WAITING
from mesh.plain.wire import MAX_VALUE_BYTES
from tests.sim import SimNode, Simulation
from tests.sim.runner import sleep

ALICE, BOB = b"\x00alice", b"\x00bob"


class Clients:
    """All plain clients of one gateway: ``replies`` and ``frames`` are what they were sent."""

    def __init__(self, node: SimNode) -> None:
        self.node = node
        self.replies: list[tuple[bytes, list[bytes], bytes, Any]] = []
        self.frames: list[bytes] = []
        self.gone: set[bytes] = set()
        self.gateway = Gateway(node.engine, node.runner, self)

    def reply(self, client: bytes, parts: Sequence[bytes]) -> bool:
        if client in self.gone:
            return False
        *envelope, status, value = parts
        self.replies.append((client, envelope, status, msgpack.unpackb(value)))
        return True

    def publish(self, frame: bytes) -> None:
        self.frames.append(frame)

    def ask(
        self, method: str, *args: Any, client: bytes = ALICE, envelope: Sequence[bytes] = (b"",)
    ) -> None:
        parts = [*envelope, method.encode(), msgpack.packb([args, {}])]
        self.gateway.on_request(client, parts)

    def want(self, *prefixes: bytes) -> None:
        for prefix in prefixes:
            self.gateway.on_prefix(prefix, True)

    def leave(self, *prefixes: bytes) -> None:
        for prefix in prefixes:
            self.gateway.on_prefix(prefix, False)

    @property
    def statuses(self) -> list[bytes]:
        return [status for _, _, status, _ in self.replies]

    @property
    def counters(self) -> dict[str, int]:
        return self.gateway.counters


def opened() -> tuple[Simulation, Clients, SimNode]:
    """A gateway's clients, and a node that serves, beyond the grace."""
    sim = Simulation()
    node, server = sim.meshed(2)

    async def wait(seconds: float) -> float:
        await sleep(seconds)
        return seconds

    def fail() -> None:
        raise ValueError("no")

    server.serve("add", lambda a, b=1: a + b, service="calc")
    server.serve("wait", wait, service="calc")
    server.serve("fail", fail, service="calc")
    server.serve("large", lambda: b"x" * MAX_VALUE_BYTES, service="calc")
    sim.run(1.5)
    return sim, Clients(node), server


# Calls


def test_a_request_is_a_call_and_has_one_reply() -> None:
    sim, clients, _ = opened()
    clients.ask("calc.add", 2, 3)
    clients.ask("calc.add", 2, envelope=(b"7", b"hop", b""), client=BOB)
    sim.run(10.0)
    assert clients.replies == [
        (ALICE, [b""], b"ok", 5),
        (BOB, [b"7", b"hop", b""], b"ok", 3),
    ]


@pytest.mark.parametrize(
    ("method", "args", "status", "text"),
    [
        ("calc.fail", [], b"RemoteError", "ValueError: no"),
        ("calc.add", [], b"BadRequest", "missing a required argument: 'a'"),
        ("calc.sub", [], b"NoProvider", "its methods: add"),
        ("nope.add", [], b"NoProvider", "nope"),
        ("nope", [], b"BadName", "dots"),
        ("calc.wait", [60.0], b"CallTimeout", "no answer"),
        ("calc.large", [], b"PayloadTooLarge", "bytes"),
    ],
)
def test_each_way_to_fail_has_a_status(
    method: str, args: list[Any], status: bytes, text: str
) -> None:
    sim, clients, _ = opened()
    clients.ask(method, *args)
    sim.run(2 * CALL_TIMEOUT)
    ((_, _, got, value),) = clients.replies
    assert got == status
    assert text in value


def test_when_the_provider_dies_its_calls_end_as_lost() -> None:
    sim, clients, server = opened()
    clients.ask("calc.wait", 3.0)
    sim.run(0.1)
    sim.kill(server)
    sim.run(10.0)
    assert clients.statuses == [b"PeerLost"]


def test_when_the_node_leaves_its_clients_are_told() -> None:
    sim, clients, _ = opened()
    clients.ask("calc.wait", 3.0)
    sim.run(0.1)
    clients.node.engine.leave("closed", clients.node.waiter())
    clients.ask("calc.add", 1)
    assert clients.statuses == [b"NodeClosed", b"NodeClosed"]


@pytest.mark.parametrize(
    "parts", [[], [b"calc.add"], [b""], [b"", b"calc.add", b"\xc1"], [b"x", b"y", b"z"]]
)
def test_garbage_is_a_bad_request(parts: list[bytes]) -> None:
    _, clients, _ = opened()
    clients.gateway.on_request(ALICE, parts)
    assert clients.statuses == [b"BadRequest"]
    assert clients.counters == {"plain_malformed_requests": 1}


def test_one_client_has_so_many_calls_in_flight_and_others_have_theirs() -> None:
    sim, clients, _ = opened()
    for _ in range(MAX_CALLS_PER_CLIENT + 3):
        clients.ask("calc.wait", 1.0)
    assert clients.statuses == [b"Overloaded"] * 3
    clients.ask("calc.add", 1, client=BOB)
    sim.run(0.5)
    assert clients.replies[-1] == (BOB, [b""], b"ok", 2)
    sim.run(1.0)
    assert clients.statuses[4:] == [b"ok"] * MAX_CALLS_PER_CLIENT
    assert clients.counters == {"plain_overloaded": 3}


def test_all_together_have_so_many_and_then_again() -> None:
    sim, clients, _ = opened()
    for number in range(MAX_CALLS + 5):
        clients.ask("calc.wait", 1.0, client=b"client %d" % number)
    assert clients.statuses == [b"Overloaded"] * 5
    sim.run(4.0)
    assert clients.statuses[5:] == [b"ok"] * MAX_CALLS
    clients.ask("calc.add", 1)
    sim.run(0.1)
    assert clients.statuses[-1] == b"ok"


def test_a_client_that_vanishes_leaves_nothing_behind() -> None:
    sim, clients, _ = opened()
    clients.gone.add(ALICE)
    for _ in range(MAX_CALLS_PER_CLIENT):
        clients.ask("calc.add", 1)
    sim.run(1.0)
    assert clients.counters == {"plain_replies_dropped": MAX_CALLS_PER_CLIENT}
    clients.gone.clear()
    for _ in range(MAX_CALLS_PER_CLIENT):
        clients.ask("calc.add", 1)
    sim.run(1.0)
    assert clients.statuses == [b"ok"] * MAX_CALLS_PER_CLIENT


# What subscribers hear


def test_a_subscriber_hears_what_is_published_with_its_prefix() -> None:
    sim, clients, server = opened()
    clients.want(b"sensors.k")
    sim.run(0.1)
    assert server.publish("sensors.kitchen.temp", 21.5) == 1
    assert server.publish("orders.new") == 0
    clients.node.publish("sensors.own", {"a": 1})
    sim.run(0.1)
    assert sorted(clients.frames) == [
        b"sensors.kitchen.temp\x00" + msgpack.packb(21.5),
        b"sensors.own\x00" + msgpack.packb({"a": 1}),
    ]


def test_what_several_prefixes_match_goes_out_once() -> None:
    sim, clients, server = opened()
    clients.want(b"", b"a", b"a.", b"a.b", b"a.b\x00", b"a.b.")
    sim.run(0.1)
    for number in range(3):
        server.publish("a.b", number)
    sim.run(0.1)
    assert clients.frames == [b"a.b\x00" + bytes([number]) for number in range(3)]


def test_nothing_for_groups_queue_groups_or_one_node_reaches_a_plain_subscriber() -> None:
    sim, clients, server = opened()
    clients.want(b"", b"_mesh", b"_mesh.", b"_mesh.g.workers", b"_mesh.q.billing", b"_mesh.all")
    assert clients.counters == {"plain_prefixes_refused": 4}
    got = []
    server.member("workers", got.append, inline=True)
    server.member("*", got.append, inline=True)
    server.subscribe("orders.>", got.append, inline=True, group="billing")
    sim.run(0.1)
    node = clients.node
    node.engine.broadcast("workers", 1, None)
    server.engine.broadcast("*", 1, None)
    server.groupcast("workers", 1)
    server.engine.send_to(node.id, "to.one", 1, None)
    sim.run(0.1)
    assert len(got) == 3
    assert clients.frames == []
    server.publish("orders.new", 1)
    sim.run(0.1)
    assert clients.frames == [b"orders.new\x00\x01"]


def test_the_pattern_ends_a_while_after_its_last_prefix() -> None:
    sim, clients, server = opened()
    clients.want(b"a.x", b"a.y", b"a.y")
    sim.run(0.1)
    clients.leave(b"a.x")
    sim.run(2 * LINGER)
    assert server.publish("a.b") == 1
    clients.leave(b"a.y", b"a.y", b"never.wanted")
    sim.run(LINGER / 2)
    assert server.publish("a.b") == 1
    clients.want(b"a.z")
    sim.run(2 * LINGER)
    assert server.publish("a.b") == 1
    clients.leave(b"a.z")
    sim.run(2 * LINGER)
    assert server.publish("a.b") == 0


def test_clients_that_come_and_go_change_the_record_only_so_often() -> None:
    """However many prefixes they ask for: each change is told to every peer."""
    sim, clients, _ = opened()
    changes = clients.node.engine._core.record.changes
    for number in range(20 * MAX_PREFIXES):
        prefix = b"p%d." % number
        clients.want(prefix)
        clients.leave(prefix)
    sim.run(LINGER / 2)
    assert clients.node.engine._core.record.changes - changes == MAX_PREFIXES
    assert clients.counters == {"plain_prefixes_refused": 19 * MAX_PREFIXES}
    sim.run(LINGER)
    clients.want(b"again.")
    assert clients.counters == {"plain_prefixes_refused": 19 * MAX_PREFIXES}


def test_distinct_prefixes_are_bounded_though_one_pattern_covers_them() -> None:
    _, clients, _ = opened()
    clients.want(*(b"a.%d" % number for number in range(MAX_PREFIXES + 7)))
    assert clients.counters == {"plain_prefixes_refused": 7}


def test_a_flood_is_dropped_and_counted_and_holds_no_window() -> None:
    sim, clients, _ = opened()
    clients.want(b"")
    heard = clients.node.hear("a")
    sent = 2 * MAX_WAITING
    for number in range(sent):
        clients.node.publish("a", number)
    sim.run(0.1)
    assert len(heard) == sent
    assert clients.counters == {"plain_messages_dropped": sent - MAX_WAITING}
    assert clients.frames == [
        b"a\x00" + msgpack.packb(number) for number in range(len(clients.frames))
    ]
    assert len(clients.frames) == MAX_WAITING


def test_after_its_engine_a_gateway_closes_and_sends_nothing() -> None:
    sim, clients, _ = opened()
    clients.want(b"a", b"b.")
    clients.leave(b"b.")
    clients.node.publish("a", 1)
    clients.node.engine.close()
    clients.gateway.close()
    sim.run(2 * LINGER)
    assert clients.frames == []
