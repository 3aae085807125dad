"""Surveys on virtual time, upon the real client: who is asked is told of, exactly once each."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patterns import messages as m
from patterns.deadlines import TICK
from patterns.errors import (
    AccessDenied,
    BadPayload,
    CallTimeout,
    ConfigError,
    Incomplete,
    MeshError,
    NodeClosed,
    NoProvider,
    Overloaded,
    PeerLost,
    RemoteError,
)
from patterns.rpc import CallOptions
from patterns.survey import (
    MAX_ASKED,
    MAX_LISTED,
    Question,
    Survey,
    Target,
    Until,
    as_until,
    first,
    quorum,
)
from tests.unit.patterns.rpc.port import Node, Port

TIMEOUT = 1.0


class Asker:
    """The port of a survey, upon a client whose requests are kept to look at."""

    def __init__(self, count: int = 0) -> None:
        self.rpc = Port()
        self.nodes = [self.rpc.provide(f"n{number}", "health") for number in range(count)]
        self.refuses: dict[str, MeshError] = {}
        self.news = 0

    def now(self) -> float:
        return self.rpc.now()

    def call(
        self,
        method: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        options: CallOptions,
        waiter: Any,
        until: float | None,
    ) -> int:
        assert options.target is not None
        if (error := self.refuses.get(options.target().name)) is not None:
            raise error
        return self.rpc.client.call(method, args, kwargs, options, waiter, until)

    def cancel(self, call_id: int) -> None:
        self.rpc.client.cancel(call_id)

    # For tests.

    def survey(self, until: object = "all", **question: Any) -> Survey:
        survey = Survey(question_of(**question), as_until(until))
        survey.on_news = self.count
        survey.begin(self, [Target(node, node, "calc.health") for node in self.nodes])
        return survey

    def count(self) -> None:
        self.news += 1

    def call_id(self, node: Node) -> int:
        return next(entry[0] for target, entry in self.rpc.requests if target is node)

    def reply(self, node: Node, value: Any = None) -> None:
        self.rpc.client.on_replies(node, [[self.call_id(node), m.STATUS_OK, value]])

    def fail(self, node: Node) -> None:
        entry = [self.call_id(node), m.STATUS_ERROR, "ValueError", "sick", ""]
        self.rpc.client.on_replies(node, [entry])

    @property
    def cancelled(self) -> list[Node]:
        return [node for node, _ in self.rpc.cancelled]


def question_of(**changes: Any) -> Question:
    given: dict[str, Any] = {"method": "calc.health", "args": (), "kwargs": {}, "timeout": TIMEOUT}
    return Question(**given | changes)


def outcomes(survey: Survey) -> tuple[list[Any], list[Any], list[Any]]:
    return [reply.peer for reply in survey.replies], list(survey.failed), survey.missing


# The question.


def test_each_is_asked_once_with_the_same_arguments_in_one_turn() -> None:
    asker = Asker(3)
    survey = asker.survey(args=(1, "two"), kwargs={"deep": True})
    assert [node for node, _ in asker.rpc.requests] == asker.nodes
    assert {tuple(entry[3]) for _, entry in asker.rpc.requests} == {(1, "two")}
    assert all(entry[4] == {"deep": True} for _, entry in asker.rpc.requests)
    assert survey.asked == survey.missing == asker.nodes
    assert not survey.is_over


def test_headers_go_along() -> None:
    asker = Asker(1)
    asker.survey(headers={"trace": "7"})
    ((_, entry),) = asker.rpc.requests
    assert entry[5] == {"trace": "7"}


def test_a_payload_that_cannot_travel_is_the_askers_and_nobody_is_asked() -> None:
    asker = Asker(3)
    with pytest.raises(BadPayload):
        asker.survey(args=(object(),))
    assert asker.rpc.requests == []


def test_a_question_that_is_refused_half_way_is_taken_back() -> None:
    asker = Asker(3)
    asker.refuses["n2"] = BadPayload("too much")
    with pytest.raises(BadPayload):
        asker.survey()
    assert asker.cancelled == asker.nodes[:2]
    assert len(asker.rpc.client) == 0


def test_more_than_the_bound_are_not_asked() -> None:
    asker = Asker(MAX_ASKED + 1)
    with pytest.raises(Overloaded, match=f"{MAX_ASKED + 1} nodes"):
        asker.survey()
    assert asker.rpc.requests == []
    asker.nodes.pop()
    assert len(asker.survey().asked) == MAX_ASKED


def test_a_policy_that_denies_all_is_raised_and_one_that_denies_some_is_told() -> None:
    asker = Asker(2)
    asker.refuses = {"n0": AccessDenied("no", "rule")}
    survey = asker.survey()
    assert {node.name: type(error) for node, error in survey.failed.items()} == {"n0": AccessDenied}
    asker.refuses["n1"] = AccessDenied("no", "rule")
    with pytest.raises(AccessDenied):
        asker.survey()


def test_one_that_is_lost_or_has_no_room_at_once_has_failed_and_the_others_are_asked() -> None:
    asker = Asker(3)
    asker.refuses = {"n0": PeerLost("gone"), "n1": Overloaded("full")}
    survey = asker.survey()
    assert [node.name for node in survey.failed] == ["n0", "n1"]
    assert survey.missing == [asker.nodes[2]]
    asker.reply(asker.nodes[2])
    assert survey.is_over


def test_if_all_have_failed_at_once_it_is_over() -> None:
    asker = Asker(2)
    asker.refuses = {"n0": PeerLost("gone"), "n1": PeerLost("gone")}
    survey = asker.survey()
    assert survey.is_over
    assert not survey.is_complete


def test_it_ends_with_the_call_that_is_served() -> None:
    asker = Asker(1)
    survey = asker.survey(timeout=10.0, ends_at=asker.now() + 0.5)
    asker.rpc.run(0.5 + 2 * TICK)
    assert survey.is_over
    asker = Asker(1)
    asker.rpc.run(1.0)
    with pytest.raises(CallTimeout):
        asker.survey(ends_at=0.5)
    assert asker.rpc.requests == []


# Answers.


def test_a_reply_has_its_peer_its_value_and_how_long_it_took() -> None:
    asker = Asker(2)
    survey = asker.survey()
    asker.rpc.run(0.25)
    asker.reply(asker.nodes[1], "fine")
    (reply,) = survey.replies
    assert (reply.peer, reply.value, reply.latency) == (asker.nodes[1], "fine", 0.25)
    assert survey.take() is reply
    assert survey.take() is None
    assert survey.missing == [asker.nodes[0]]


def test_silence_until_the_deadline_is_missing_and_no_failure() -> None:
    asker = Asker(3)
    survey = asker.survey()
    asker.reply(asker.nodes[0])
    asker.fail(asker.nodes[1])
    assert not survey.is_over
    asker.rpc.run(TIMEOUT + 2 * TICK)
    assert survey.is_over
    assert outcomes(survey) == ([asker.nodes[0]], [asker.nodes[1]], [asker.nodes[2]])
    assert asker.cancelled == [asker.nodes[2]], "it is told that nobody waits any more"
    assert survey.error is None


def test_a_lost_peer_has_failed_at_once() -> None:
    asker = Asker(2)
    survey = asker.survey()
    asker.rpc.client.on_lost(asker.nodes[0], "it died")
    assert {type(error) for error in survey.failed.values()} == {PeerLost}
    assert not survey.is_over
    asker.rpc.client.on_lost(asker.nodes[1], "it died")
    assert survey.is_over


def test_a_late_answer_changes_nothing() -> None:
    asker = Asker(2)
    survey = asker.survey()
    asker.rpc.run(TIMEOUT + 2 * TICK)
    before = outcomes(survey)
    asker.reply(asker.nodes[0], "late")
    assert outcomes(survey) == before
    assert asker.rpc.client.late_replies == 1


def test_closing_cancels_what_runs_and_nothing_else() -> None:
    asker = Asker(3)
    survey = asker.survey()
    asker.reply(asker.nodes[0])
    survey.close()
    survey.close()
    assert asker.cancelled == asker.nodes[1:]
    assert len(asker.rpc.client) == 0
    assert asker.news == 2
    assert survey.missing == asker.nodes[1:]


def test_the_end_of_the_node_ends_it_for_its_readers() -> None:
    asker = Asker(2)
    survey = asker.survey()
    asker.reply(asker.nodes[0])
    asker.rpc.client.close()
    assert isinstance(survey.error, NodeClosed)
    assert survey.take() is not None, "what has come is there"
    assert survey.missing == [asker.nodes[1]]
    assert asker.cancelled == []


def test_closed_before_it_is_known_whom_to_ask_it_asks_nobody() -> None:
    asker = Asker(2)
    survey = Survey(question_of(), Until())
    survey.close()
    survey.begin(asker, [Target(node, node, "calc.health") for node in asker.nodes])
    assert asker.rpc.requests == []
    assert survey.asked == []


# Until.


@given(st.integers(1, 12), st.integers(1, 12))
def test_the_first_n_are_enough_and_what_still_runs_is_cancelled(count: int, n: int) -> None:
    asker = Asker(count)
    survey = asker.survey(first(n))
    for node in asker.nodes:
        if not survey.is_over:
            asker.reply(node)
    assert len(survey.replies) == min(n, count)
    assert survey.is_complete == (n <= count)
    assert asker.cancelled == asker.nodes[n:]
    assert len(asker.rpc.client) == 0


def test_of_replies_that_come_together_no_more_than_wanted_are_taken() -> None:
    asker = Asker(3)
    survey = asker.survey(first(1))
    for node in asker.nodes:
        asker.reply(node)
    assert [reply.peer for reply in survey.replies] == [asker.nodes[0]]


@given(st.integers(1, 1000), st.integers(0, 1000))
def test_a_quorum_is_rounded_up_from_the_share_as_it_is_written(percent: int, asked: int) -> None:
    share = min(percent, 100) / 100
    needed = quorum(share).needed(asked)
    exact = Fraction(min(percent, 100), 100) * asked
    assert needed == max(1, math.ceil(exact))


@pytest.mark.parametrize(
    ("share", "asked", "needed"),
    [(0.9, 30, 27), (0.7, 10, 7), (0.1, 30, 3), (0.5, 3, 2), (1, 7, 7)],
)
def test_quorums(share: float, asked: int, needed: int) -> None:
    assert quorum(share).needed(asked) == needed


def test_a_share_counts_all_who_are_asked_the_failed_too() -> None:
    asker = Asker(4)
    asker.refuses = {"n0": PeerLost("gone"), "n1": PeerLost("gone")}
    survey = asker.survey(quorum(0.75))
    for node in asker.nodes[2:]:
        asker.reply(node)
    assert survey.is_over
    assert not survey.is_complete


def test_all_may_be_said_as_a_word_or_as_the_builtin() -> None:
    assert as_until("all") == as_until(builtins.all) == as_until(quorum(1)) == Until()
    assert [str(x) for x in (Until(), first(3), quorum(0.9))] == ["all", "first(3)", "quorum(0.9)"]


@pytest.mark.parametrize("until", ["any", None, 3, 0.5, first, quorum, any])
def test_what_is_no_until_is_refused(until: object) -> None:
    with pytest.raises(ConfigError, match=r"mesh\.first"):
        as_until(until)


@pytest.mark.parametrize(
    ("make", "value"),
    [
        *((first, value) for value in (0, -1, 1.0, True, "1")),
        *((quorum, value) for value in (0, 1.1, -0.5, math.nan, math.inf, True, "0.5")),
    ],
)
def test_what_is_no_number_of_replies_is_refused(make: Callable[..., Until], value: Any) -> None:
    with pytest.raises(ConfigError):
        make(value)


# The account.


def test_incomplete_names_the_missing_and_the_failed() -> None:
    asker = Asker(3)
    survey = asker.survey()
    asker.reply(asker.nodes[0])
    asker.fail(asker.nodes[1])
    with pytest.raises(Incomplete) as caught:
        survey.raise_incomplete()
    assert caught.value.missing == [asker.nodes[2]]
    assert [type(error) for error in caught.value.failed.values()] == [RemoteError]
    text = str(caught.value)
    assert "1 of 3 have answered, 3 were wanted" in text
    assert "no answer from n2; failed: n1 (ValueError: sick" in text


def test_the_text_names_so_many_and_counts_the_rest() -> None:
    asker = Asker(MAX_LISTED + 5)
    with pytest.raises(Incomplete, match=r"n9 and 5 more$"):
        asker.survey().raise_incomplete()


EVENTS = ("reply", "fail", "lose", "reply again", "pass", "close")


@given(
    st.integers(1, 8),
    st.sampled_from([Until(), first(1), first(3), quorum(0.5)]),
    st.sets(st.integers(0, 7)),
    st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 7)), max_size=30),
)
def test_each_asked_is_always_exactly_one_of_replied_failed_and_missing(
    count: int, until: Until, gone: set[int], events: list[tuple[str, int]]
) -> None:
    asker = Asker(count)
    asker.refuses = {f"n{number}": PeerLost("gone") for number in gone}
    survey = asker.survey(until)
    asked_of = [node for node, _ in asker.rpc.requests]

    def check() -> None:
        replied, failed, missing = outcomes(survey)
        parts = replied + failed + missing
        assert sorted(map(repr, parts)) == sorted(map(repr, asker.nodes))
        assert survey.asked == asker.nodes
        assert len(replied) <= until.needed(count)
        assert survey.is_complete == (len(replied) >= until.needed(count))
        if survey.is_complete or not missing:
            assert survey.is_over
        assert len(asker.rpc.client) == (0 if survey.is_over else len(missing))

    check()
    for what, number in events:
        before = survey.is_over, outcomes(survey)
        node = asker.nodes[number % count]
        if what == "pass":
            asker.rpc.run(0.2)
        elif what == "close":
            survey.close()
        elif what == "lose":
            asker.rpc.client.on_lost(node, "it died")
        elif node in asked_of:
            (asker.fail if what == "fail" else asker.reply)(node)
        check()
        if before[0]:
            assert outcomes(survey) == before[1], "what is over does not change"
    asker.rpc.run(TIMEOUT + 2 * TICK)
    check()
    assert survey.is_over
    read = []
    while (reply := survey.take()) is not None:
        read.append(reply)
    assert read == survey.replies
    assert all(node.outstanding == 0 for node in asker.nodes)


def test_a_target_without_a_handle_has_failed_from_the_beginning() -> None:
    asker = Asker(1)
    survey = Survey(question_of(), Until())
    gone = Node("gone")
    error = NoProvider("serves no such method")
    survey.begin(
        asker,
        [
            Target(gone, None, "calc.health", error),
            Target(asker.nodes[0], asker.nodes[0], "calc.health"),
        ],
    )
    assert survey.failed == {gone: error}
    assert survey.asked == [gone, asker.nodes[0]]
