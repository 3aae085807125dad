"""Who fails more than the others is passed over; nobody else is, and nothing fails by it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from patterns import messages as m
from patterns.deadlines import TICK
from patterns.errors import NoProvider
from patterns.rpc import CallOptions
from patterns.rpc.outliers import (
    ENOUGH,
    FIRST,
    IN_A_ROW,
    LONGEST,
    MAX_METHODS,
    MAX_TEXT,
    MEMORY,
    Outliers,
)
from tests.unit.patterns.rpc.port import Node, Port

OK = (m.STATUS_OK, 1)
RAISED = (m.STATUS_ERROR, "ValueError", "no", "trace")
OVERLOADED = (m.STATUS_OVERLOADED, "text")
BAD = (m.STATUS_BAD_REQUEST, "text")
DENIED = (m.STATUS_DENIED, "text", "by")
NO_METHOD = (m.STATUS_NO_METHOD, "text")
SILENCE = ()
"""No answer at all."""

TIMEOUT = 0.1


class Mesh(Port):
    """Nodes that answer each call at once, each in its own way."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.nodes = {name: self.provide(name, "add", "sub") for name in names}
        self.replies: dict[Node, tuple[Any, ...]] = {}  # type: ignore[assignment]
        self.served: list[str] = []

    def send_request(self, target: Node, entry: bytes) -> None:
        call_id = self.unpack(entry)[0]
        self.served.append(target.name)
        reply = self.replies.get(target, OK)
        if reply:
            self.clock.call_later(
                0.001, lambda: self.client.on_replies(target, [[call_id, *reply]])
            )

    def call(self, count: int = 1, method: str = "calc.add", **options: Any) -> list[str]:
        """One after the other; who got them."""
        options = {"timeout": TIMEOUT} | options
        begun = len(self.served)
        for _ in range(count):
            waiter = self.waiter()
            self.client.call(method, (), {}, CallOptions(**options), waiter)
            while not waiter.done():
                self.run(0.002)
        return self.served[begun:]

    def at(self, name: str, count: int = 1, method: str = "calc.add") -> None:
        """Calls that any provider would have done for, and this one got."""
        for _ in range(count):
            self.providers.try_next(self.nodes[name], method)
            assert self.call(method=method) == [name]

    def out(self) -> dict[str, list[str]]:
        return {id.decode(): methods for id, methods in self.client.outliers.out().items()}


def failing(reply: tuple[Any, ...], others: int = 2) -> Mesh:
    """The node "bad" answers so, the others well."""
    mesh = Mesh("bad", *(f"good{number}" for number in range(others)))
    mesh.replies[mesh.nodes["bad"]] = reply
    return mesh


def test_one_that_does_not_answer_in_a_row_is_passed_over_for_that_method() -> None:
    mesh = failing(SILENCE)
    mesh.at("bad")
    mesh.at("good0")
    mesh.at("bad", IN_A_ROW - 2)
    assert not mesh.out()
    mesh.at("bad")
    assert mesh.out() == {"bad": ["calc.add"]}
    assert "bad" not in mesh.call(50, timeout=5.0)
    assert mesh.client.outliers.ejections == 1
    assert "bad" in mesh.call(50, "calc.sub")


def test_one_that_hangs_after_long_service_is_passed_over_as_soon() -> None:
    mesh = failing(OK)
    mesh.replies[mesh.nodes["good0"]] = SILENCE
    mesh.at("good0")
    mesh.replies[mesh.nodes["good0"]] = OK
    mesh.call(300)
    assert mesh.served.count("bad") > 80
    mesh.replies[mesh.nodes["bad"]] = SILENCE
    mesh.at("bad", IN_A_ROW - 1)
    assert not mesh.out()
    mesh.at("bad")
    assert mesh.out() == {"bad": ["calc.add"]}


def test_an_answer_in_between_begins_the_row_anew() -> None:
    mesh = failing(SILENCE)
    mesh.at("good0", 5)
    for _ in range(3):
        mesh.at("bad", IN_A_ROW - 1)
        mesh.replies[mesh.nodes["bad"]] = OK
        mesh.at("bad", IN_A_ROW - 1)
        mesh.replies[mesh.nodes["bad"]] = SILENCE
        assert not mesh.out()
        mesh.run(5 * MEMORY)
        mesh.at("good0")


@pytest.mark.parametrize("reply", [RAISED, OVERLOADED])
def test_one_that_fails_by_answers_is_judged_by_their_share_of_enough_calls(reply: Any) -> None:
    mesh = failing(reply)
    mesh.call(5)
    mesh.at("good0", 5)
    before = mesh.served.count("bad")
    while not mesh.out():
        mesh.call()
        assert mesh.served.count("bad") < 2 * ENOUGH
    assert mesh.served.count("bad") >= ENOUGH > before
    assert mesh.out() == {"bad": ["calc.add"]}


@pytest.mark.parametrize("reply", [BAD, DENIED, NO_METHOD, (m.STATUS_DRAINING, "leaves")])
def test_what_is_no_fault_of_the_peer_does_not_count(reply: Any) -> None:
    mesh = failing(reply)
    mesh.at("good0")
    for _ in range(2 * ENOUGH):
        mesh.providers.try_next(mesh.nodes["bad"], "calc.add")
        mesh.call()
    assert not mesh.out()
    assert not mesh.client.outliers.watched


@pytest.mark.parametrize("reply", [SILENCE, RAISED, OVERLOADED])
def test_where_all_fail_alike_nobody_is_passed_over(reply: Any) -> None:
    mesh = Mesh("a", "b", "c", "d")
    mesh.replies = dict.fromkeys(mesh.nodes.values(), reply)
    mesh.call(30 * len(mesh.nodes))
    assert not mesh.out()


@pytest.mark.parametrize("reply", [RAISED, SILENCE])
@pytest.mark.parametrize("share", [0.2, 0.4])
@pytest.mark.parametrize("seed", range(5))
def test_where_a_share_fails_everywhere_nobody_is_passed_over(
    share: float, seed: int, reply: tuple[Any, ...]
) -> None:
    mesh = Mesh("a", "b", "c", "d")
    mesh.random.seed(seed)
    for _ in range(500):
        for node in mesh.nodes.values():
            mesh.replies[node] = reply if mesh.random.random() < share else OK
        mesh.call()
    assert not mesh.out()


def test_nobody_is_passed_over_without_others_to_compare_with() -> None:
    mesh = failing(SILENCE, others=0)
    mesh.call(20)
    mesh.nodes["new"] = mesh.provide("new", "add", "sub")
    mesh.at("bad", 20)
    assert not mesh.out()


def test_at_most_half_are_passed_over_and_the_rest_gets_the_calls() -> None:
    mesh = Mesh("a", "b", "c", "d")
    for name in "abc":
        mesh.replies[mesh.nodes[name]] = SILENCE
    mesh.at("d", 200)
    for _ in range(IN_A_ROW):
        for name in "abc":
            mesh.at(name)
            mesh.at("d", 10)
    assert len(mesh.out()) == 2
    assert set(mesh.call(8)) == set("abcd") - set(mesh.out())


def put_out(mesh: Mesh, name: str = "bad") -> None:
    mesh.at("good0", 5)
    for _ in range(2 * ENOUGH):
        if name not in mesh.out():
            mesh.at(name)
            mesh.at("good0")
    assert name in mesh.out()


def test_after_its_time_one_call_tries_it_and_a_value_brings_it_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "mesh.rpc")
    mesh = failing(SILENCE)
    put_out(mesh)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "calc.add of bad is passed over for 1 s: 5 calls in a row" in caplog.text
    mesh.replies[mesh.nodes["bad"]] = OK
    mesh.run(FIRST - 0.5)
    assert "bad" not in mesh.call(20)
    mesh.run(0.5)
    assert mesh.call() == ["bad"]
    assert not mesh.out()
    assert "bad" in mesh.call(20)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_failure_of_the_one_call_begins_a_longer_time_up_to_a_bound() -> None:
    mesh = failing(SILENCE)
    put_out(mesh)
    seconds, times = FIRST, []
    while len(times) < 8:
        began = mesh.now()
        mesh.run(seconds - 2 * TIMEOUT)
        while "bad" not in mesh.call(timeout=TIMEOUT):
            mesh.run(TICK)
        assert mesh.out() == {"bad": ["calc.add"]}
        assert "bad" not in mesh.call(20)
        times.append(mesh.now() - began)
        seconds = min(LONGEST, 2 * seconds)
    assert times == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30], abs=0.5)


def test_one_that_was_back_for_long_begins_with_the_shortest_time() -> None:
    for waited, expected in ((1.0, 4.0), (2 * LONGEST, FIRST)):
        mesh = failing(SILENCE)
        put_out(mesh)
        mesh.run(FIRST)
        mesh.at("bad")
        mesh.run(2 * FIRST)
        mesh.replies[mesh.nodes["bad"]] = OK
        mesh.at("bad")
        assert not mesh.out()
        mesh.run(waited)
        mesh.replies[mesh.nodes["bad"]] = SILENCE
        put_out(mesh)
        watched = mesh.client.outliers.watched["calc.add"]
        assert watched.by_peer[mesh.nodes["bad"]].seconds == expected


def test_an_answer_from_before_does_not_bring_it_back() -> None:
    mesh = failing(SILENCE)
    waiter = mesh.waiter()
    mesh.providers.try_next(mesh.nodes["bad"], "calc.add")
    call_id = mesh.client.call("calc.add", (), {}, CallOptions(60.0), waiter)
    put_out(mesh)
    mesh.client.on_replies(mesh.nodes["bad"], [[call_id, *OK]])
    assert waiter.result() == 1
    assert mesh.out() == {"bad": ["calc.add"]}


def test_if_nothing_is_heard_of_the_one_call_another_follows() -> None:
    mesh = failing(SILENCE)
    put_out(mesh)
    mesh.run(FIRST)
    waiter = mesh.waiter()
    call_id = mesh.client.call("calc.add", (), {}, CallOptions(), waiter)
    assert mesh.served[-1] == "bad"
    mesh.client.cancel(call_id)
    assert "bad" not in mesh.call(10)
    mesh.replies[mesh.nodes["bad"]] = OK
    mesh.run(FIRST)
    assert mesh.call() == ["bad"]
    assert not mesh.out()


def test_calls_with_a_key_or_a_peer_neither_count_nor_are_turned_away() -> None:
    mesh = failing(SILENCE)
    bad = mesh.nodes["bad"]
    mesh.at("bad")
    mesh.at("good0", 5)
    assert set(mesh.call(20, key="k")) == {"bad"}
    assert set(mesh.call(20, target=lambda: bad)) == {"bad"}
    assert not mesh.out()
    put_out(mesh)
    assert set(mesh.call(5, key="k")) == {"bad"}
    assert set(mesh.call(5, target=lambda: bad)) == {"bad"}


def test_one_that_is_passed_over_is_called_when_no_other_is_left() -> None:
    mesh = failing(SILENCE, others=1)
    put_out(mesh)
    good = mesh.nodes["good0"]
    mesh.replies[mesh.nodes["bad"]] = OK
    mesh.providers.remove(good)
    mesh.client.on_lost(good, "it died")
    assert mesh.call(3) == ["bad"] * 3


def test_a_peer_that_is_gone_is_forgotten_with_what_it_failed() -> None:
    mesh = failing(SILENCE)
    put_out(mesh)
    bad = mesh.nodes["bad"]
    mesh.providers.remove(bad)
    mesh.client.on_lost(bad, "it died")
    assert not mesh.out()
    watched = mesh.client.outliers.watched["calc.add"]
    assert watched.bad == pytest.approx(0, abs=1e-9)
    mesh.replies[bad] = OK
    mesh.change(bad, "add")
    assert "bad" in mesh.call(20)


def test_when_failures_are_old_nothing_is_counted_any_more() -> None:
    mesh = failing(SILENCE)
    mesh.at("bad")
    mesh.call(timeout=1.0)
    assert mesh.client.outliers.watched
    mesh.run(4 * MEMORY)
    mesh.at("good0")
    assert not mesh.client.outliers.watched


def test_what_is_kept_of_methods_is_bounded_and_who_is_passed_over_for_them_is_back() -> None:
    mesh = failing(SILENCE)
    put_out(mesh)
    names = [f"method{number}" for number in range(MAX_METHODS)]
    for node in mesh.nodes.values():
        mesh.change(node, "add", *names)
    mesh.replies = dict.fromkeys(mesh.nodes.values(), RAISED)
    for name in names:
        mesh.call(method=f"calc.{name}")
    assert len(mesh.client.outliers.watched) == MAX_METHODS
    assert not mesh.out()
    mesh.replies.clear()
    assert "bad" in mesh.call(20)


def test_what_is_logged_of_an_error_is_short(caplog: pytest.LogCaptureFixture) -> None:
    mesh = failing((m.STATUS_ERROR, "ValueError", "x\n" * 100_000, ""))
    put_out(mesh)
    assert len(caplog.records) == 1
    assert len(caplog.records[0].getMessage()) < MAX_TEXT + 200
    assert "\n" not in caplog.records[0].getMessage()


def test_close_leaves_no_timer() -> None:
    mesh = failing(SILENCE)
    put_out(mesh)
    mesh.client.close()
    mesh.run(100)
    assert not mesh.providers._to_try


class Ejections(RuleBasedStateMachine):
    """Any order of calls, faults, departures and time: nothing fails that need not."""

    @initialize()
    def begin(self) -> None:
        self.mesh = Mesh("a", "b", "c", "d", "e")
        self.here = set("abcde")

    def node(self, number: int) -> tuple[str, Node]:
        return list(self.mesh.nodes.items())[number]

    @rule(number=st.integers(0, 4), reply=st.sampled_from([OK, SILENCE, RAISED, OVERLOADED]))
    def behave(self, number: int, reply: tuple[Any, ...]) -> None:
        self.mesh.replies[self.node(number)[1]] = reply

    @rule(count=st.integers(1, 20), retry=st.booleans())
    def call(self, count: int, retry: bool) -> None:
        if self.here:
            assert set(self.mesh.call(count, retry=retry)) <= self.here
        else:
            with pytest.raises(NoProvider):
                self.mesh.call()

    @rule(number=st.integers(0, 4), is_healthy=st.booleans())
    def come(self, number: int, is_healthy: bool) -> None:
        name, node = self.node(number)
        self.mesh.change(node, "add", is_healthy=is_healthy)
        self.here.add(name)

    @rule(number=st.integers(0, 4))
    def go(self, number: int) -> None:
        name, node = self.node(number)
        self.mesh.providers.remove(node)
        self.mesh.client.on_lost(node, "gone")
        self.here.discard(name)

    @rule(seconds=st.sampled_from([0.5, 2.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.mesh.run(seconds)

    @invariant()
    def who_is_passed_over_is_here_and_counts_add_up(self) -> None:
        outliers: Outliers = self.mesh.client.outliers
        assert set(self.mesh.out()) <= self.here
        over = self.mesh.providers._passed_over.get("calc.add", set())
        assert {node.name for node in over} == set(self.mesh.out())
        for watched in outliers.watched.values():
            for record in watched.by_peer.values():
                record.fade(self.mesh.now())
                assert not record.is_out or record.good == record.bad == 0
            watched.fade(self.mesh.now())
            for what in ("good", "bad"):
                total = sum(getattr(record, what) for record in watched.by_peer.values())
                assert getattr(watched, what) == pytest.approx(total, abs=1e-6)


TestEjections = Ejections.TestCase
TestEjections.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
