"""The calling side: one outcome for each call, by its deadline, and no second start unasked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from patterns import messages as m
from patterns.deadlines import TICK
from patterns.errors import (
    BadName,
    BadPayload,
    BadRequest,
    CallTimeout,
    MeshError,
    NodeClosed,
    NoProvider,
    Overloaded,
    PeerLost,
    RemoteError,
)
from patterns.rpc import CallOptions
from patterns.rpc.retries import MAX_TRIES, PER_SECOND, WINDOW
from tests.sim.waiter import SimWaiter
from tests.unit.patterns.rpc.port import Node, Port


def call(port: Port, method: str = "calc.add", *args: Any, **options: Any) -> tuple[int, SimWaiter]:
    waiter = port.waiter()
    return port.client.call(method, args, {}, CallOptions(**options), waiter), waiter


def test_a_value_ends_its_call_and_a_second_reply_is_dropped() -> None:
    port = Port()
    node = port.provide("a")
    call_id, waiter = call(port, "calc.add", 1, 2)
    assert port.requests == [(node, [call_id, "calc.add", 5000, [1, 2]])]
    assert node.outstanding == 1
    reply = [call_id, m.STATUS_OK, 3]
    assert port.client.on_replies(node, [reply, reply]) == 0
    assert waiter.result() == 3
    assert (node.outstanding, len(port.client), port.client.late_replies) == (0, 0, 1)


def test_keywords_and_headers_travel() -> None:
    port = Port()
    port.provide("a")
    port.client.call("calc.add", (), {"b": 1}, CallOptions(), port.waiter())
    port.client.call("calc.add", (), {}, CallOptions(headers={"h": "1"}), port.waiter())
    assert [request[4:] for _, request in port.requests] == [[{"b": 1}], [{}, {"h": "1"}]]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ([m.STATUS_ERROR, "ValueError", "no", "trace"], RemoteError),
        ([m.STATUS_BAD_REQUEST, "text"], BadRequest),
        ([m.STATUS_OVERLOADED, "text"], Overloaded),
        ([m.STATUS_EXPIRED, "text"], CallTimeout),
        ([m.STATUS_NO_METHOD, "text"], NoProvider),
        ([99, "text"], RemoteError),
    ],
)
def test_every_status_has_its_error(reply: list[Any], error: type[MeshError]) -> None:
    port = Port()
    node = port.provide("a")
    call_id, waiter = call(port)
    port.client.on_replies(node, [[call_id, *reply]])
    assert type(waiter.error) is error
    assert node.outstanding == 0


@pytest.mark.parametrize("entry", [5, None, [], [1], [1, 0], [[1], 0, 1], {}, [1, 1, "ValueError"]])
def test_a_malformed_reply_is_counted_and_ends_nothing(entry: Any) -> None:
    port = Port()
    node = port.provide("a")
    call_id, waiter = call(port)
    assert call_id == 1
    assert port.client.on_replies(node, [entry]) == 1
    assert not waiter.done()
    port.client.on_replies(node, [[call_id, 0, "fine"]])
    assert waiter.result() == "fine"


def test_a_reply_from_another_node_than_was_asked_is_dropped() -> None:
    port = Port()
    port.provide("a")
    call_id, waiter = call(port)
    port.client.on_replies(Node("b"), [[call_id, 0, "forged"]])
    assert not waiter.done()


def test_a_call_without_an_answer_times_out_at_its_deadline_and_the_peer_is_told() -> None:
    port = Port()
    node = port.provide("a")
    call_id, waiter = call(port, timeout=1.0)
    port.run(1.0 - TICK)
    assert not waiter.done()
    port.run(2 * TICK)
    assert isinstance(waiter.error, CallTimeout)
    assert port.cancelled == [(node, call_id)]
    assert node.outstanding == 0


def test_a_cancelled_call_is_forgotten_and_the_peer_is_told() -> None:
    port = Port()
    node = port.provide("a")
    call_id, waiter = call(port)
    port.client.cancel(call_id)
    port.client.cancel(call_id)
    port.client.on_replies(node, [[call_id, 0, 1]])
    port.run(10)
    assert not waiter.done()
    assert port.cancelled == [(node, call_id)]
    assert (node.outstanding, len(port.client)) == (0, 0)


@pytest.mark.parametrize("name", ["", "add", "a.b.c", "a b.c", ".x", "x."])
def test_a_bad_name_is_refused_at_once(name: str) -> None:
    port = Port()
    port.grace = 1.0
    with pytest.raises(BadName):
        call(port, name)
    assert len(port.client) == 0


def test_arguments_that_cannot_travel_are_refused_at_once() -> None:
    port = Port()
    port.provide("a")
    with pytest.raises(BadPayload):
        call(port, "calc.add", object())
    assert len(port.client) == 0


def test_without_a_provider_the_error_comes_at_once_and_lists_the_methods_there_are() -> None:
    port = Port()
    with pytest.raises(NoProvider, match="calc"):
        call(port)
    port.provide("a", "sub", "mul")
    with pytest.raises(NoProvider, match="mul, sub"):
        call(port)
    assert len(port.client) == 0


@pytest.mark.parametrize("way", ["grace", "wait"])
def test_a_call_may_wait_for_a_provider_and_has_its_whole_deadline_afterwards(way: str) -> None:
    port = Port()
    port.grace = 1.0 if way == "grace" else 0.0
    call_id, waiter = call(port, timeout=5.0, wait=None if way == "grace" else 1.0)
    port.run(0.5)
    node = port.provide("a")
    port.client.on_providers_changed()
    assert [(n, r[0], r[2]) for n, r in port.requests] == [(node, call_id, 4500)]
    port.run(4.0)
    assert not waiter.done()
    port.run(0.6)
    assert isinstance(waiter.error, CallTimeout)


def test_a_call_for_which_nobody_comes_fails_when_its_wait_is_over() -> None:
    port = Port()
    _, waiter = call(port, wait=0.5)
    port.run(0.5 + 2 * TICK)
    assert isinstance(waiter.error, NoProvider)
    assert waiter.at == pytest.approx(0.5, abs=2 * TICK)


def test_a_wait_is_never_longer_than_the_deadline() -> None:
    port = Port()
    _, waiter = call(port, wait=60.0, timeout=0.5)
    port.run(0.5 + 2 * TICK)
    assert isinstance(waiter.error, NoProvider)


def test_a_lost_peer_fails_its_calls_and_no_others() -> None:
    port = Port()
    a = port.provide("a")
    _, lost = call(port)
    port.providers.remove(a)
    b = port.provide("b")
    other_id, other = call(port)
    port.client.on_lost(a, "gone")
    assert isinstance(lost.error, PeerLost)
    port.client.on_replies(b, [[other_id, 0, 1]])
    assert other.result() == 1


def test_some_calls_of_a_peer_can_be_lost_alone() -> None:
    port = Port()
    a = port.provide("a")
    first, second = call(port), call(port)
    port.client.on_lost(a, "gone", [first[0], 999])
    assert isinstance(first[1].error, PeerLost)
    assert not second[1].done()


def test_a_suspect_keeps_the_calls_that_must_not_run_twice() -> None:
    port = Port()
    a, _ = port.provide("a"), port.provide("b")
    _, waiter = call(port, target=lambda: a)
    port.client.on_suspect(a)
    assert len(port.requests) == 1
    assert not waiter.done()


def test_with_retry_a_call_moves_from_a_suspect_with_the_time_that_is_left() -> None:
    port = Port()
    a = port.provide("a")
    call_id, waiter = call(port, "calc.add", 1, retry=True, timeout=5.0)
    b = port.provide("b")
    port.providers.update(a, {"calc": ("add",)}, False)
    port.run(2.0)
    port.client.on_suspect(a)
    assert port.requests[1] == (b, [call_id, "calc.add", 3000, [1]])
    assert (a.outstanding, b.outstanding) == (0, 1)
    port.client.on_replies(a, [[call_id, 0, "late"]])
    assert not waiter.done(), "the one that was left does not answer for the other"
    port.client.on_replies(b, [[call_id, 0, "good"]])
    assert waiter.result() == "good"


def test_with_retry_no_member_is_asked_twice_and_the_last_loss_is_the_outcome() -> None:
    port = Port()
    nodes = [port.provide(name) for name in "abc"]
    _, waiter = call(port, retry=True)
    for count in (2, 3):
        port.client.on_lost(port.requests[-1][0], "gone")
        port.run(0.2)
        assert len(port.requests) == count
    port.client.on_lost(port.requests[-1][0], "gone")
    port.run(0.3)
    assert {node for node, _ in port.requests} == set(nodes)
    assert len(port.requests) == 3
    assert isinstance(waiter.error, PeerLost)
    assert [node.outstanding for node in nodes] == [0, 0, 0]


@pytest.mark.parametrize("status", [m.STATUS_OVERLOADED, m.STATUS_NO_METHOD])
def test_with_retry_a_refusal_moves_the_call_on(status: int) -> None:
    port = Port()
    a = port.provide("a")
    call_id, waiter = call(port, retry=True)
    b = port.provide("b")
    port.client.on_replies(a, [[call_id, status, "no"]])
    port.run(0.1)
    assert port.requests[-1][0] is b
    port.client.on_replies(b, [[call_id, 0, 1]])
    assert waiter.result() == 1


@pytest.mark.parametrize("retry", [False, True])
def test_a_call_that_a_leaving_peer_did_not_start_goes_to_another_at_once(retry: bool) -> None:
    port = Port()
    a = port.provide("a")
    call_id, waiter = call(port, retry=retry)
    b = port.provide("b")
    port.client.on_replies(a, [[call_id, m.STATUS_DRAINING, "leaving"]])
    assert port.requests[-1] == (b, port.requests[0][1])
    port.client.on_replies(b, [[call_id, 0, 1]])
    assert waiter.result() == 1
    assert (a.outstanding, b.outstanding) == (0, 0)
    assert (port.client.retries.made, port.client.taken_elsewhere) == (0, 1)


def test_what_all_leaving_peers_did_not_start_has_no_provider() -> None:
    port = Port()
    nodes = [port.provide(name) for name in "ab"]
    call_id, waiter = call(port)
    for _ in nodes:
        port.client.on_replies(port.requests[-1][0], [[call_id, m.STATUS_DRAINING, "leaving"]])
    assert {node for node, _ in port.requests} == set(nodes)
    assert isinstance(waiter.error, NoProvider)


def test_what_is_refused_as_overloaded_is_tried_again_after_a_pause_and_not_for_ever() -> None:
    port = Port()
    only = port.provide("a")
    call_id, waiter = call(port, retry=True)
    pauses = []
    while not waiter.done():
        made, began = len(port.requests), port.now()
        port.client.on_replies(only, [[call_id, m.STATUS_OVERLOADED, "full"]])
        assert len(port.requests) == made, "not at once"
        while len(port.requests) == made and not waiter.done():
            port.run(0.001)
        pauses.append(port.now() - began)
    assert isinstance(waiter.error, Overloaded)
    assert len(port.requests) == MAX_TRIES
    assert len(set(pauses)) == MAX_TRIES, "they are drawn"
    assert only.outstanding == 0


def test_a_pause_does_not_outlast_the_deadline() -> None:
    port = Port()
    only = port.provide("a")
    call_id, waiter = call(port, retry=True, timeout=0.02)
    port.client.on_replies(only, [[call_id, m.STATUS_OVERLOADED, "full"]])
    port.run(0.02 + 2 * TICK)
    if not waiter.done():
        port.client.on_replies(only, [[call_id, m.STATUS_OVERLOADED, "full"]])
        port.run(0.1)
    assert isinstance(waiter.error, Overloaded | CallTimeout)
    assert waiter.at is not None
    assert waiter.at <= 0.02 + 2 * TICK
    assert len(port.client) == 0


def test_when_the_budget_is_spent_the_error_is_the_outcome_and_says_so() -> None:
    port = Port()
    only = port.provide("a")
    outcomes = []
    for _ in range(500):
        call_id, waiter = call(port, retry=True)
        port.client.on_replies(only, [[call_id, m.STATUS_OVERLOADED, "full"]])
        outcomes.append(waiter)
    denied = [w for w in outcomes if w.done()]
    allowed = PER_SECOND * WINDOW
    assert len(outcomes) - len(denied) == allowed
    for waiter in denied:
        assert isinstance(waiter.error, Overloaded)
        assert "full; not tried again" in str(waiter.error)
        assert "10% of its calls and 10/s" in str(waiter.error)
    assert port.client.retries.denied == len(denied)


def test_the_death_of_a_peer_moves_all_its_calls_at_once_whatever_the_budget() -> None:
    port = Port()
    a = port.provide("a")
    waiters = [call(port, retry=True)[1] for _ in range(1000)]
    b = port.provide("b")
    port.client.on_lost(a, "died")
    assert [node for node, _ in port.requests] == [a] * 1000 + [b] * 1000
    assert not any(waiter.done() for waiter in waiters)
    port.provide("c")
    port.client.on_lost(b, "died")
    port.run(1)
    failed = [waiter for waiter in waiters if waiter.done()]
    assert len(failed) > 800, "a second loss of the same calls is within the budget"
    assert all("not tried again" in str(waiter.error) for waiter in failed)


def test_a_call_of_a_handler_ends_with_the_call_that_it_serves() -> None:
    port = Port()
    port.provide("a")
    waiter, other = port.waiter(), port.waiter()
    port.client.call("calc.add", (), {}, CallOptions(timeout=5), waiter, port.now() + 0.5)
    port.client.call("calc.add", (), {}, CallOptions(timeout=0.25), other, port.now() + 0.5)
    assert [request[2] for _, request in port.requests] == [500, 250]
    port.run(1)
    assert isinstance(waiter.error, CallTimeout)
    assert "within 0.5 s" in str(waiter.error)
    assert waiter.at == pytest.approx(0.5, abs=2 * TICK)
    with pytest.raises(CallTimeout, match="over"):
        port.client.call("calc.add", (), {}, CallOptions(), port.waiter(), port.now())
    assert len(port.client) == 0


def test_with_retry_what_a_handler_raised_is_the_outcome() -> None:
    port = Port()
    a, _ = port.provide("a"), port.provide("b")
    call_id, waiter = call(port, retry=True)
    asked = port.requests[0][0]
    port.client.on_replies(asked, [[call_id, m.STATUS_ERROR, "ValueError", "no", ""]])
    assert isinstance(waiter.error, RemoteError)
    assert len(port.requests) == 1
    assert a.outstanding == 0


def test_a_call_to_one_peer_goes_nowhere_else() -> None:
    port = Port()
    a = port.provide("a")
    port.provide("b")
    _, waiter = call(port, retry=True, target=lambda: a)
    port.client.on_lost(a, "gone")
    assert isinstance(waiter.error, PeerLost)
    assert [node for node, _ in port.requests] == [a]


def test_closing_fails_what_is_pending_and_refuses_new_calls() -> None:
    port = Port()
    port.provide("a")
    _, waiter = call(port)
    port.client.close()
    assert isinstance(waiter.error, NodeClosed)
    with pytest.raises(NodeClosed):
        call(port)


def test_calls_in_flight_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patterns.rpc.client.MAX_CALLS", 3)
    port = Port()
    node = port.provide("a")
    ids = [call(port)[0] for _ in range(3)]
    with pytest.raises(Overloaded):
        call(port)
    port.client.on_replies(node, [[ids[0], 0, 1]])
    call(port)


def test_bytes_in_flight_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patterns.rpc.client.MAX_CALL_BYTES", 1000)
    port = Port()
    port.provide("a")
    call_id, _ = call(port, "calc.add", bytes(2000))
    with pytest.raises(Overloaded):
        call(port)
    port.client.cancel(call_id)
    call(port)


class Calls(RuleBasedStateMachine):
    """Any sequence of calls, answers, losses, suspicions, arrivals and time."""

    def __init__(self) -> None:
        super().__init__()
        self.port = Port()
        self.nodes = [Node(name) for name in "abc"]
        self.port.preference = list(self.nodes)
        self.calls: dict[int, tuple[SimWaiter, float]] = {}

    @rule(
        timeout=st.sampled_from([0.0, 0.005, 0.3, 2.0]),
        retry=st.booleans(),
        wait=st.sampled_from([None, 0.0, 0.2]),
        key=st.sampled_from([None, "k"]),
    )
    def call(self, timeout: float, retry: bool, wait: float | None, key: str | None) -> None:
        try:
            call_id, waiter = call(self.port, timeout=timeout, retry=retry, wait=wait, key=key)
        except NoProvider:
            return
        self.calls[call_id] = waiter, self.port.now() + timeout

    @rule(index=st.integers(0, 2), health=st.sampled_from([True, False, None]))
    def change(self, index: int, health: bool | None) -> None:
        node = self.nodes[index]
        if health is None:
            self.port.providers.remove(node)
            self.port.client.on_lost(node, "gone")
        else:
            self.port.providers.update(node, {"calc": ("add",)}, health)
            if not health:
                self.port.client.on_suspect(node)
        self.port.client.on_providers_changed()

    @rule(data=st.data(), status=st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5, 9]))
    def reply(self, data: st.DataObject, status: int) -> None:
        if self.port.requests:
            node, request = data.draw(st.sampled_from(self.port.requests))
            fields = ["ValueError", "text", ""] if status == 1 else ["x"]
            self.port.client.on_replies(node, [[request[0], status, *fields]])

    @rule(data=st.data(), named=st.sampled_from([b"a", b"b", b"c", b"x", None]))
    def move(self, data: st.DataObject, named: bytes | None) -> None:
        if self.port.requests:
            node, request = data.draw(st.sampled_from(self.port.requests))
            self.port.client.on_replies(node, [[request[0], 6, named]])

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.calls:
            call_id = data.draw(st.sampled_from(sorted(self.calls)))
            waiter, _ = self.calls.pop(call_id)
            waiter.is_cancelled = True
            self.port.client.cancel(call_id)

    @rule(seconds=st.sampled_from([0.004, 0.1, 0.5]))
    def wait(self, seconds: float) -> None:
        self.port.run(seconds)

    @invariant()
    def nobody_waits_past_the_deadline(self) -> None:
        for waiter, deadline in self.calls.values():
            assert waiter.done() or self.port.now() <= deadline + 2 * TICK

    @invariant()
    def outstanding_is_what_is_in_flight(self) -> None:
        for node in self.nodes:
            assert node.outstanding == len(self.port.client.in_flight_at(node))
        open_calls = sum(not waiter.done() for waiter, _ in self.calls.values())
        assert len(self.port.client) == open_calls

    def teardown(self) -> None:
        self.port.run(5)
        assert all(waiter.at is not None for waiter, _ in self.calls.values())
        assert len(self.port.client) == 0
        assert self.port.client._bytes == 0
        assert not self.port.client._unplaced


Calls.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestCalls = Calls.TestCase
