"""Hedged calls: one outcome from two legs, and nothing of either left behind."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from patterns import messages as m
from patterns.deadlines import TICK
from patterns.errors import (
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
from patterns.rpc.hedging import FLOOR, MAX_METHODS, SHARE
from patterns.rpc.latencies import LEAST
from tests.sim.waiter import SimWaiter
from tests.unit.patterns.rpc.port import Node, Port

HEDGE = 0.05


def call(port: Port, method: str = "calc.add", *args: Any, **options: Any) -> tuple[int, SimWaiter]:
    waiter = port.waiter()
    options = {"hedge": HEDGE} | options
    return port.client.call(method, args, {}, CallOptions(**options), waiter), waiter


def raced(count: int = 2, **options: Any) -> tuple[Port, SimWaiter, list[tuple[Node, int]]]:
    """A call whose hedge was sent; where its legs are, and their ids."""
    port = Port()
    for number in range(count):
        port.provide(f"node{number}")
    _, waiter = call(port, **options)
    port.run(HEDGE + 0.001)
    return port, waiter, [(node, request[0]) for node, request in port.requests]


def answer(port: Port, leg: tuple[Node, int], *reply: Any) -> None:
    node, call_id = leg
    assert port.client.on_replies(node, [[call_id, *(reply or (m.STATUS_OK, node.name))]]) == 0


def is_clean(port: Port) -> bool:
    """Whether nothing of any call is left, once what still counts has ceased to."""
    port.run(30)
    nodes = [*port.preference, port.local]
    client = port.client
    return (
        not len(client)
        and not client.hedging.races
        and not client._bytes  # as the law says: given back
        and not any(node.outstanding for node in nodes)
    )


def test_a_call_that_is_answered_in_time_is_not_hedged() -> None:
    port = Port()
    node = port.provide("a")
    port.provide("b")
    call_id, waiter = call(port)
    port.run(HEDGE - 0.001)
    sent_to = port.requests[0][0]
    answer(port, (sent_to, call_id), m.STATUS_OK, 3)
    port.run(1)
    assert waiter.result() == 3
    assert len(port.requests) == 1
    assert not port.cancelled
    assert port.client.hedging.sent == 0
    assert is_clean(port)
    assert node.outstanding == 0


def test_after_the_delay_the_same_request_goes_to_another_with_the_time_that_is_left() -> None:
    port = Port()
    port.provide("a")
    port.provide("b")
    arguments = [[1, 2]]
    call_id, _ = call(port, "calc.add", *arguments, timeout=1.0, headers={"h": "1"})
    arguments[0].append(3)
    port.run(HEDGE + 0.001)
    (first, one), (second, other) = port.requests
    assert first is not second
    assert one == [call_id, "calc.add", 1000, [[1, 2]], {}, {"h": "1"}]
    assert other[0] != call_id
    assert other[1:] == ["calc.add", 950, [[1, 2]], {}, {"h": "1"}]
    assert (first.outstanding, second.outstanding) == (1, 1)
    port.run(0.5)
    assert len(port.requests) == 2, "one hedge a call"


@pytest.mark.parametrize("winner", [0, 1])
def test_the_first_value_wins_the_loser_is_cancelled_once_and_its_answer_is_late(
    winner: int,
) -> None:
    port, waiter, legs = raced()
    answer(port, legs[winner])
    assert waiter.result() == legs[winner][0].name
    assert port.cancelled == [legs[1 - winner]]
    assert len(port.client) == 0
    answer(port, legs[1 - winner])
    assert waiter.result() == legs[winner][0].name
    assert port.client.late_replies == 1
    assert port.cancelled == [legs[1 - winner]]
    assert (port.client.hedging.sent, port.client.hedging.won) == (1, winner)
    assert is_clean(port)


def test_a_first_leg_that_lost_counts_as_outstanding_for_as_long_again() -> None:
    port, _, legs = raced()
    port.run(0.02)
    answer(port, legs[1])
    took = port.now()
    assert (legs[0][0].outstanding, legs[1][0].outstanding) == (1, 0)
    port.run(took - TICK)
    assert legs[0][0].outstanding == 1
    port.run(3 * TICK)
    assert legs[0][0].outstanding == 0


def test_without_another_healthy_member_there_is_no_hedge_and_none_is_paid_for() -> None:
    port = Port()
    node = port.provide("a")
    port.provide("in doubt", is_healthy=False)
    _, waiter = call(port, timeout=1.0)
    port.run(0.5)
    assert [sent_to for sent_to, _ in port.requests] == [node]
    assert (port.client.hedging.sent, port.client.hedging.denied) == (0, 0)
    answer(port, (node, port.requests[0][1][0]), m.STATUS_OK, 1)
    assert waiter.result() == 1
    assert is_clean(port)


REPLIES = {
    RemoteError: (m.STATUS_ERROR, "ValueError", "no", "trace"),
    BadRequest: (m.STATUS_BAD_REQUEST, "text"),
    Overloaded: (m.STATUS_OVERLOADED, "text"),
    NoProvider: (m.STATUS_NO_METHOD, "text"),
    CallTimeout: (m.STATUS_EXPIRED, "text"),
}


@pytest.mark.parametrize("failed", [0, 1])
@pytest.mark.parametrize("reply", REPLIES.values())
def test_when_one_leg_fails_the_call_ends_with_the_outcome_of_the_other(
    failed: int, reply: tuple[Any, ...]
) -> None:
    port, waiter, legs = raced()
    answer(port, legs[failed], *reply)
    assert not waiter.done()
    port.run(0.2)
    assert len(port.requests) == 2, "the other is the second try"
    answer(port, legs[1 - failed])
    assert waiter.result() == legs[1 - failed][0].name
    assert not port.cancelled
    assert is_clean(port)


@pytest.mark.parametrize("failed", [0, 1])
def test_a_peer_that_is_lost_leaves_the_other_leg_and_that_one_is_tried_again_if_need_be(
    failed: int,
) -> None:
    port, waiter, legs = raced(3)
    lost, kept = legs[failed], legs[1 - failed]
    port.providers.remove(lost[0])
    port.client.on_lost(lost[0], "it died")
    assert not waiter.done()
    assert len(port.requests) == 2
    port.providers.remove(kept[0])
    port.client.on_lost(kept[0], "it died")
    third, request = port.requests[2]
    assert third not in (lost[0], kept[0])
    answer(port, (third, request[0]))
    assert waiter.result() == third.name
    assert is_clean(port)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_leg_that_goes_on_is_not_sent_to_where_the_other_failed(
    order: tuple[int, int],
) -> None:
    port, waiter, legs = raced(2)
    for number in order:
        node, call_id = legs[number]
        port.client.on_lost(node, "its connection was replaced", [call_id])
    assert isinstance(waiter.error, PeerLost)
    assert len(port.requests) == 2
    assert is_clean(port)


def test_what_comes_for_a_caller_that_was_just_cancelled_is_dropped() -> None:
    for reply in ((m.STATUS_OK, 1), REPLIES[RemoteError]):
        port, waiter, legs = raced()
        waiter.is_cancelled = True
        for leg in legs:
            answer(port, leg, *reply)
        port.client.cancel(legs[0][1])
        assert waiter.at is None
        assert is_clean(port)


def test_no_timer_outlives_a_call() -> None:
    port = Port()
    port.provide("a")
    port.provide("b")
    timers = []
    call_later = port.call_later

    def noted(delay: float, callback: Any) -> Any:
        timers.append(call_later(delay, callback))
        return timers[-1]

    port.call_later = noted  # type: ignore[method-assign]
    call_id, _ = call(port)
    assert timers[-1].is_pending
    answer(port, (port.requests[0][0], call_id), m.STATUS_OK, 1)
    assert not timers[-1].is_pending


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize(
    ("one", "other", "raised"),
    [
        (RemoteError, BadRequest, RemoteError),
        (Overloaded, RemoteError, RemoteError),
        (CallTimeout, RemoteError, RemoteError),
        (RemoteError, CallTimeout, RemoteError),
        (NoProvider, CallTimeout, CallTimeout),
    ],
)
def test_when_both_fail_one_error_is_raised_that_says_most_and_else_the_first(
    order: tuple[int, int],
    one: type[MeshError],
    other: type[MeshError],
    raised: type[MeshError],
) -> None:
    port, waiter, legs = raced()
    answer(port, legs[order[0]], *REPLIES[one])
    answer(port, legs[order[1]], *REPLIES[other])
    assert type(waiter.error) is raised
    assert is_clean(port)


def test_when_one_was_refused_and_the_other_is_too_it_pauses_and_tries_again() -> None:
    port, waiter, legs = raced()
    for leg in legs:
        answer(port, leg, *REPLIES[Overloaded])
    assert not waiter.done()
    port.run(0.2)
    node, request = port.requests[2]
    answer(port, (node, request[0]))
    assert waiter.result() == node.name
    assert port.client.retries.made == 1
    assert is_clean(port)


def test_an_error_before_the_hedge_is_the_outcome() -> None:
    port = Port()
    port.provide("a")
    port.provide("b")
    call_id, waiter = call(port)
    answer(port, (port.requests[0][0], call_id), *REPLIES[RemoteError])
    assert isinstance(waiter.error, RemoteError)
    port.run(1)
    assert len(port.requests) == 1
    assert is_clean(port)


@pytest.mark.parametrize("doubted", [0, 1])
def test_a_leg_at_a_peer_in_doubt_is_given_up_for_the_other(doubted: int) -> None:
    port, waiter, legs = raced(3)
    port.change(legs[doubted][0], is_healthy=False)
    port.client.on_suspect(legs[doubted][0])
    assert port.cancelled == [legs[doubted]]
    assert len(port.requests) == 2
    other = legs[1 - doubted]
    port.change(other[0], is_healthy=False)
    port.client.on_suspect(other[0])
    assert len(port.requests) == 3, "now it is tried again"
    third, request = port.requests[2]
    answer(port, (third, request[0]))
    assert waiter.result() == third.name
    assert is_clean(port)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_leg_whose_peer_drains_ends_and_the_other_goes_to_a_third_if_need_be(
    order: tuple[int, int],
) -> None:
    port, waiter, legs = raced(3)
    answer(port, legs[order[0]], m.STATUS_DRAINING, "it leaves")
    assert not waiter.done()
    assert len(port.requests) == 2
    answer(port, legs[order[1]], m.STATUS_DRAINING, "it leaves")
    third, request = port.requests[2]
    assert third not in (legs[0][0], legs[1][0])
    answer(port, (third, request[0]))
    assert waiter.result() == third.name
    assert not port.cancelled
    assert is_clean(port)


@pytest.mark.parametrize("after", [HEDGE / 2, HEDGE * 2])
def test_a_caller_that_gives_up_cancels_all_legs(after: float) -> None:
    port = Port()
    port.provide("a")
    port.provide("b")
    call_id, waiter = call(port)
    port.run(after)
    legs = [(node, request[0]) for node, request in port.requests]
    port.client.cancel(call_id)
    port.client.cancel(call_id)
    assert port.cancelled == legs
    for leg in legs:
        answer(port, leg)
    port.run(10)
    assert not waiter.done()
    assert len(port.requests) == len(legs)
    assert is_clean(port)


def test_a_cancelled_caller_ends_the_call_even_if_the_first_leg_has_failed() -> None:
    port = Port()
    port.provide("a")
    port.provide("b")
    call_id, _ = call(port)
    port.run(HEDGE * 2)
    legs = [(node, request[0]) for node, request in port.requests]
    answer(port, legs[0], *REPLIES[RemoteError])
    port.client.cancel(call_id)
    assert port.cancelled == [legs[1]]
    assert is_clean(port)


def test_both_legs_end_by_the_deadline_with_one_time_out() -> None:
    port, waiter, legs = raced(timeout=1.0)
    port.run(1.0 - HEDGE - 0.001 - TICK)
    assert not waiter.done()
    port.run(3 * TICK)
    assert isinstance(waiter.error, CallTimeout)
    assert sorted(port.cancelled, key=lambda leg: leg[1]) == legs
    assert is_clean(port)


def test_a_hedged_call_ends_by_the_deadline_of_the_call_that_its_caller_serves() -> None:
    port = Port()
    port.provide("a")
    port.provide("b")
    waiter = port.waiter()
    port.client.call("calc.add", (), {}, CallOptions(hedge=HEDGE), waiter, port.now() + 0.2)
    port.run(0.2 + 2 * TICK)
    assert isinstance(waiter.error, CallTimeout)
    assert port.requests[1][1][2] == 150
    assert is_clean(port)


@pytest.mark.parametrize("is_sent", [False, True])
def test_close_ends_a_hedged_call_once(is_sent: bool) -> None:
    port = Port()
    port.provide("a")
    port.provide("b")
    _, waiter = call(port)
    port.run(2 * HEDGE if is_sent else 0.0)
    port.client.close()
    assert isinstance(waiter.error, NodeClosed)
    port.run(10)
    assert len(port.requests) == 1 + is_sent
    assert not port.client.hedging.races


def test_a_call_that_waits_for_a_provider_is_not_hedged_and_ends_as_any_other() -> None:
    port = Port()
    _, waiter = call(port, wait=1.0)
    port.run(0.5)
    assert not port.requests
    node = port.provide("a")
    port.client.on_providers_changed()
    answer(port, (node, port.requests[0][1][0]))
    assert waiter.result() == "a"
    with pytest.raises(NoProvider):
        call(port, "calc.other")
    assert is_clean(port)


def test_hedges_beyond_the_budget_are_denied_and_the_calls_go_on() -> None:
    port = Port()
    nodes = [port.provide(str(number)) for number in range(3)]
    count = 1000
    waiters = [call(port)[1] for _ in range(count)]
    port.run(2 * HEDGE)
    hedging = port.client.hedging
    assert hedging.sent <= FLOOR + SHARE * count
    assert hedging.sent + hedging.denied == count
    assert hedging.denied
    for node, request in list(port.requests):
        if request[0] in port.client._pending:
            answer(port, (node, request[0]))
    assert all(waiter.result() in {node.name for node in nodes} for waiter in waiters)
    assert is_clean(port)


def test_by_a_quantile_nothing_is_hedged_before_enough_is_known_and_then_what_is_late() -> None:
    port = Port()
    port.provide("a")
    port.provide("b")
    for _ in range(LEAST):
        call_id, _ = call(port, hedge="p95")
        port.run(0.02)
        answer(port, (port.requests[-1][0], call_id))
    assert len(port.requests) == LEAST
    assert port.client.hedging.sent == 0
    call(port, hedge="p95")
    port.run(0.019)
    assert len(port.requests) == LEAST + 1
    port.run(0.002)
    assert len(port.requests) == LEAST + 2


def test_one_method_does_not_spend_the_budget_of_another() -> None:
    port = Port()
    for name in "ab":
        port.provide(name, "add", "sub")
    for _ in range(100):
        call(port, "calc.add")
    port.run(2 * HEDGE)
    assert port.client.hedging.denied
    sent = port.client.hedging.sent
    call(port, "calc.sub")
    port.run(2 * HEDGE)
    assert port.client.hedging.sent == sent + 1


def test_what_is_kept_of_methods_is_bounded() -> None:
    port = Port()
    names = [f"method{number}" for number in range(MAX_METHODS + 10)]
    port.provide("a", *names)
    for name in names:
        call(port, f"calc.{name}")
    assert len(port.client.hedging._methods) == MAX_METHODS


class Races(RuleBasedStateMachine):
    """Any order of answers, losses, doubts, cancellations and time."""

    @initialize()
    def begin(self) -> None:
        self.port = Port()
        self.nodes = [self.port.provide(f"node{number}") for number in range(4)]
        self.waiters: dict[int, SimWaiter] = {}
        self.outcomes: dict[int, Any] = {}
        self.cancelled: set[int] = set()

    @rule(hedge=st.sampled_from([0.01, 0.05, 0.4, "p50"]), timeout=st.sampled_from([0.5, 2.0]))
    def call(self, hedge: float | str, timeout: float) -> None:
        try:
            call_id, waiter = call(self.port, hedge=hedge, timeout=timeout)
        except NoProvider:
            return
        self.waiters[call_id] = waiter

    @rule(number=st.integers(0, 50), reply=st.sampled_from([(0, 1), *REPLIES.values()]))
    def answer(self, number: int, reply: tuple[Any, ...]) -> None:
        if self.port.requests:
            node, request = self.port.requests[-1 - number % len(self.port.requests)]
            answer(self.port, (node, request[0]), *reply)

    @rule(number=st.integers(0, 50))
    def drain(self, number: int) -> None:
        self.answer(number, (m.STATUS_DRAINING, "leaves"))

    @rule(number=st.integers(0, 3), is_gone=st.booleans())
    def doubt(self, number: int, is_gone: bool) -> None:
        node = self.nodes[number]
        if is_gone:
            self.port.providers.remove(node)
            self.port.client.on_lost(node, "gone")
        else:
            self.port.change(node, is_healthy=False)
            self.port.client.on_suspect(node)
        self.port.client.on_providers_changed()

    @rule(number=st.integers(0, 3))
    def recover(self, number: int) -> None:
        self.port.change(self.nodes[number])
        self.port.client.on_providers_changed()

    @rule(number=st.integers(0, 50))
    def cancel(self, number: int) -> None:
        if self.waiters:
            call_id = list(self.waiters)[number % len(self.waiters)]
            self.port.client.cancel(call_id)
            self.cancelled.add(call_id)

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.05, 0.3]))
    def wait(self, seconds: float) -> None:
        self.port.run(seconds)

    @invariant()
    def an_outcome_never_changes_and_what_is_open_has_a_leg_under_way(self) -> None:
        races = self.port.client.hedging.races
        for call_id, waiter in self.waiters.items():
            assert (call_id in races) == (not waiter.done() and call_id not in self.cancelled)
        for race in races.values():
            legs = [self.port.client._pending[leg.call_id] for leg in race._legs]
            assert 1 <= len(legs) <= 2
            places = [leg.handle for leg in legs if leg.handle is not None]
            assert len(set(places)) == len(places), "never both at one peer"
        hedging = self.port.client.hedging
        assert hedging.sent <= FLOOR + SHARE * len(self.waiters)

    def teardown(self) -> None:
        self.port.run(10)
        assert all(
            waiter.done() for call_id, waiter in self.waiters.items()
            if call_id not in self.cancelled
        )  # fmt: skip
        cancels = [call_id for _, call_id in self.port.cancelled]
        assert all(cancels.count(call_id) <= 8 for call_id in cancels)
        assert is_clean(self.port)


TestRaces = Races.TestCase
TestRaces.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
