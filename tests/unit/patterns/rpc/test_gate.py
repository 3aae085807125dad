"""The gate: keyed calls that wait for their slot, and calls that nobody would start."""

from __future__ import annotations

from collections.abc import Callable

from patterns import messages as m
from patterns.errors import NoProvider
from patterns.ownership import Tenure
from patterns.rpc import CallOptions, Request
from patterns.rpc.gate import FOREIGN_WAIT, MAX_HELD_UP
from patterns.rpc.placement import FINAL
from tests.unit.patterns.rpc.port import Node, Port

PATIENCE = 6.0
CALLER = Node("caller")


class FakeTenure(Tenure):
    """One that lets begin what ``free`` says, and counts."""

    def __init__(self) -> None:
        self.service = "calc"
        self.handover = PATIENCE - 1.0
        self.changed: list[Callable[[], None]] = []
        self.free = False
        self.work = 0

    def may_start(self, slot: int) -> bool:
        return self.free

    def began(self, slot: int) -> None:
        self.work += 1

    def ended(self, slot: int) -> None:
        self.work -= 1

    def fence(self, slot: int) -> int:
        return 77

    def set(self, free: bool) -> None:
        self.free = free
        for changed in self.changed:
            changed()


def governed() -> tuple[Port, FakeTenure, list[int | None]]:
    port, tenure = Port(), FakeTenure()
    fences: list[int | None] = []

    def add(request: Request) -> str:
        fences.append(request.fence)
        return "done"

    port.serve(add)
    port.provide_here()
    port.server.govern(tenure)
    return port, tenure, fences


def ask(port: Port, call_id: int, redirects: int = 0, budget: int = 60_000) -> None:
    entry = [call_id, "calc.add", budget, [], {}, {}, "key", redirects]
    assert port.server.on_requests(CALLER, "route", [entry]) == 0


def statuses(port: Port) -> list[tuple[int, int]]:
    return [(entry[0], entry[1]) for _, entry in port.replies]


def test_a_call_waits_until_its_slot_is_free_and_knows_its_fence() -> None:
    port, tenure, fences = governed()
    ask(port, 1)
    assert statuses(port) == []
    tenure.set(True)
    assert statuses(port) == [(1, m.STATUS_OK)]
    assert fences == [77]
    assert tenure.work == 0
    assert port.server.gate.longest == 0.0


def test_a_call_without_a_key_does_not_wait() -> None:
    port, _, fences = governed()
    port.server.on_requests(CALLER, "route", [[1, "calc.add", 5000, []]])
    assert statuses(port) == [(1, m.STATUS_OK)]
    assert fences == [None]


def test_a_call_that_waits_is_moved_when_its_key_turns_out_to_be_anothers() -> None:
    port, tenure, _ = governed()
    ask(port, 1)
    better = port.provide("better")
    port.preference.insert(0, port.preference.pop())
    tenure.set(False)
    assert port.replies == [("route", [1, m.STATUS_MOVED, better.id])]
    assert len(port.server) == 0


def test_a_call_is_served_when_patience_is_over() -> None:
    port, _, fences = governed()
    ask(port, 1)
    port.run(PATIENCE - 0.2)
    assert statuses(port) == []
    port.run(0.4)
    assert statuses(port) == [(1, m.STATUS_OK)]
    assert fences == [77]


def test_a_call_that_was_sent_on_is_not_served_beside_an_owner_that_lives() -> None:
    port, _, fences = governed()
    port.provide("better")
    port.preference.insert(0, port.preference.pop())
    ask(port, 1, FINAL)
    assert statuses(port) == []
    port.run(FOREIGN_WAIT + 0.2)
    assert statuses(port) == [(1, m.STATUS_ELSEWHERE)]
    assert fences == []


def test_a_call_that_waits_and_is_given_up_is_not_started() -> None:
    port, tenure, fences = governed()
    ask(port, 1)
    port.server.cancel(CALLER.id, [1])
    tenure.set(True)
    assert fences == []
    assert port.replies == []


def test_a_call_whose_time_is_over_when_its_slot_comes_is_not_started() -> None:
    port, tenure, fences = governed()
    ask(port, 1, budget=1000)
    port.run(2.0)
    tenure.set(True)
    assert statuses(port) == [(1, m.STATUS_EXPIRED)]
    assert fences == []


def test_calls_that_wait_are_bounded_and_go_elsewhere_when_the_node_drains() -> None:
    port, _, fences = governed()
    for call_id in range(MAX_HELD_UP):
        ask(port, call_id)
    ask(port, MAX_HELD_UP)
    assert statuses(port) == [(MAX_HELD_UP, m.STATUS_OVERLOADED)]
    port.replies.clear()
    port.server.drain()
    assert statuses(port) == [(n, m.STATUS_DRAINING) for n in range(MAX_HELD_UP)]
    assert fences == []


def test_a_caller_places_a_call_anew_that_nobody_would_start() -> None:
    port = Port()
    port.provide("a")
    waiter = port.waiter()
    call_id = port.client.call("calc.add", (), {}, CallOptions(key="k"), waiter)
    (handle, _), *_ = port.requests
    port.client.on_replies(handle, [[call_id, m.STATUS_ELSEWHERE, "b owns the key"]])
    assert len(port.requests) == 1
    assert handle.outstanding == 0
    port.run(0.2)
    (_, first), (_, second) = port.requests
    assert second[0] == first[0]
    assert second[7] == 0
    port.client.on_replies(handle, [[call_id, m.STATUS_OK, 5]])
    assert waiter.value == 5


def test_a_call_that_nobody_starts_ends_by_its_deadline() -> None:
    port = Port()
    port.provide("a")
    waiter = port.waiter()
    call_id = port.client.call("calc.add", (), {}, CallOptions(key="k", timeout=1.0), waiter)
    for _ in range(100):
        if not port.client.in_flight_at(port.requests[-1][0]):
            break
        handle = port.requests[-1][0]
        port.client.on_replies(handle, [[call_id, m.STATUS_ELSEWHERE, "b owns the key"]])
        port.run(0.1)
    assert isinstance(waiter.error, NoProvider)
    assert port.clock.now() <= 1.1
