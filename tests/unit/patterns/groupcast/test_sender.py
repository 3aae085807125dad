"""The sender: to whom, how many at once, until when, and what becomes of those that come back."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from patterns.errors import NodeClosed, NoProvider, Overloaded
from patterns.groupcast import accounts, callers, window
from patterns.groupcast import casts as k
from patterns.groupcast.accounts import MEMBER_BYTES
from patterns.groupcast.sender import MAX_REFUSALS
from patterns.names import group_subject
from tests.unit.patterns.groupcast.port import BILLING, CREW, Node, Port

MIB = 1024 * 1024


def crew(*names: str, credit: int = 0) -> tuple[Port, list[Node]]:
    port = Port()
    nodes = port.join(*names)
    for node in nodes if credit else ():
        port.grant(node, credit)
    return port, nodes


def total_sent(port: Port) -> int:
    return sum(map(len, port.sent.values()))


# To whom.


def test_it_goes_to_a_member_with_credit_and_names_it() -> None:
    port, (_a, b) = crew("a", "b")
    port.grant(b, 1)
    assert port.cast("x").result() is b
    assert port.data_sent(b) == ["x"]
    assert port.sender.unacked == 1


def test_nobody_gets_more_than_its_credit() -> None:
    port, nodes = crew("a", "b", "c", credit=5)
    waiters = [port.cast(number) for number in range(30)]
    assert [len(port.sent[node]) for node in nodes] == [5, 5, 5]
    assert sum(waiter.done() for waiter in waiters) == 15


def test_the_short_way_keeps_to_the_same_credit() -> None:
    port, nodes = crew("a", "b", "c", credit=5)
    chosen = Counter(port.cast_now(number) for number in range(30))
    port.run()
    assert [chosen[node] for node in (*nodes, None)] == [5, 5, 5, 15]
    assert {node: len(port.sent[node]) for node in nodes} == dict.fromkeys(nodes, 5)
    assert port.sender.unacked == 15


def test_the_one_with_the_least_of_its_credit_in_use_is_next() -> None:
    port, (small, large) = crew("small", "large")
    port.grant(small, 2)
    port.grant(large, 20)
    for number in range(11):
        port.cast(number)
    assert (len(port.sent[small]), len(port.sent[large])) == (1, 10)


def test_at_low_load_equal_ones_take_turns() -> None:
    port, nodes = crew("a", "b", "c", "d", credit=100)
    for number in range(40):
        node = port.cast(number).result()
        port.done(node, port.at(number)[1])
    assert [len(port.sent[node]) for node in nodes] == [10, 10, 10, 10]


def test_weight_counts() -> None:
    port = Port()
    light, heavy = Node("light"), Node("heavy")
    port.weights = {heavy: 3.0}
    port.crew = [light, heavy]
    port.cast(timeout=0)
    port.grant(light, 100)
    port.grant(heavy, 100)
    for number in range(80):
        port.cast(number)
    assert len(port.sent[heavy]) == pytest.approx(3 * len(port.sent[light]), rel=0.1)


def test_a_suspect_gets_nothing_new_and_what_waits_goes_when_it_is_trusted_again() -> None:
    port, (a,) = crew("a", credit=5)
    port.doubt(a)
    waiter = port.cast("x")
    assert port.cast_now("y") is None
    assert not waiter.done()
    port.trust(a)
    assert waiter.result() is a


def test_a_doubt_within_the_turn_ends_the_run_of_the_short_way() -> None:
    port, (a, b) = crew("a", "b", credit=1000)
    first = port.cast_now(0)
    port.doubt(a if first is a else b)
    assert port.cast_now(1) is (b if first is a else a)


def test_what_waits_is_served_in_order_as_credit_comes() -> None:
    port, (a, b) = crew("a", "b")
    for number in range(6):
        port.cast(number)
    port.grant(a, 2)
    port.grant(b, 1)
    port.grant(a, 5)
    assert port.data_sent(a) == [0, 1, 3, 4, 5]
    assert port.data_sent(b) == [2]


def test_what_waits_goes_before_what_comes_later_by_the_short_way() -> None:
    port, (_a,) = crew("a")
    port.cast(0)
    assert port.cast_now(1) is None


# How long.


def test_without_members_it_fails_at_once() -> None:
    port = Port()
    waiter = port.cast()
    assert isinstance(waiter.error, NoProvider)
    assert waiter.at == 0.0


def test_in_the_grace_after_start_it_waits_for_a_first_member_and_no_longer() -> None:
    port = Port()
    port.grace = 1.0
    waiter = port.cast(timeout=5.0)
    port.run(3.0)
    assert isinstance(waiter.error, NoProvider)
    assert waiter.at == pytest.approx(1.0, abs=0.02)


def test_with_a_member_that_comes_in_time_the_whole_timeout_counts() -> None:
    port = Port()
    port.grace = 1.0
    waiter, late = port.cast("x", timeout=3.0), port.cast("y", timeout=3.0)
    port.run(0.5)
    (a,) = port.join("a")
    port.run(1.5)
    port.grant(a, 1)
    assert waiter.result() is a
    port.run(5.0)
    assert isinstance(late.error, Overloaded)
    assert late.at == pytest.approx(3.0, abs=0.02)


def test_without_waiting_it_fails_at_once_unless_there_is_credit() -> None:
    port, (a,) = crew("a")
    assert isinstance(port.cast("x", timeout=0).error, Overloaded)
    port.grant(a, 1)
    assert port.cast("y", timeout=0).result() is a
    assert port.data_sent(a) == ["y"]
    assert isinstance(Port().cast(timeout=0).error, NoProvider)


def test_what_was_given_up_is_never_sent() -> None:
    port, (a,) = crew("a")
    in_vain, abandoned = port.cast("in vain", timeout=1.0), port.cast("abandoned")
    port.run(2.0)
    port.sender.abandon(abandoned)
    port.grant(a, 10)
    port.run(20.0)
    assert isinstance(in_vain.error, Overloaded)
    assert not abandoned.done()
    assert total_sent(port) == 0
    assert port.sender.unacked == 0


def test_members_that_left_meanwhile_make_it_no_provider() -> None:
    port, (a,) = crew("a")
    waiter = port.cast(timeout=1.0)
    port.leave(a)
    port.run(2.0)
    assert isinstance(waiter.error, NoProvider)


@pytest.mark.parametrize("count", [1, 5, 500])
def test_callers_that_are_cancelled_together_leave_nothing_behind(count: int) -> None:
    """Their futures end at once; each says so in a later turn, and credit may come first."""
    port, (a,) = crew("a")
    waiters = [port.cast(number) for number in range(count)]
    for waiter in waiters:
        waiter.is_cancelled = True
    port.grant(a, 1)
    for waiter in waiters:
        port.sender.abandon(waiter)
    assert port.cast("x").result() is a
    later = port.cast("y")
    port.done(a, 0)
    port.grant(a, 3)
    assert later.result() is a
    assert port.data_sent(a) == ["x", "y"]


def test_giving_up_does_not_depend_on_how_many_wait() -> None:
    port, (a,) = crew("a")
    waiters = [port.cast(number) for number in range(3000)]
    for waiter in waiters[:2990]:
        port.sender.abandon(waiter)
    line = port.sender.groups["crew"]
    assert len(line.waiting) == 10
    port.grant(a, 100)
    assert port.data_sent(a) == list(range(2990, 3000))


def test_too_many_waiting_callers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "MAX_WAITING", 3)
    port, _ = crew("a")
    waiters = [port.cast(number) for number in range(4)]
    assert [isinstance(waiter.error, Overloaded) for waiter in waiters] == [False] * 3 + [True]


def test_their_bytes_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "MAX_WAITING_BYTES", 2500)
    port, (a,) = crew("a")
    waiters = [port.cast(bytes(1000)) for _ in range(4)]
    assert [isinstance(waiter.error, Overloaded) for waiter in waiters] == [False] * 3 + [True]
    port.grant(a, 5)
    assert not port.cast(bytes(1000)).error


# How many.


def test_a_full_window_makes_callers_wait_and_copies_be_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(window, "MAX_UNACKED", 4)
    port, (a,) = crew("a", credit=100)
    port.listeners[BILLING, "a.b"] = (a,)
    waiters = [port.cast(number, timeout=1.0) for number in range(6)]
    assert [waiter.done() for waiter in waiters] == [True] * 4 + [False] * 2
    assert port.cast_now(9) is None
    with caplog.at_level(logging.WARNING):
        copies = [port.copy(number) for number in range(6)]
    assert copies == [True] * 4 + [False] * 2, "each pool has its own"
    assert port.counts["queue_copies_dropped"] == 2
    assert len(caplog.records) == 1
    port.done(a, 0)
    assert waiters[4].result() is a
    port.run(2.0)
    assert isinstance(waiters[5].error, Overloaded)
    assert "not acknowledged" in str(waiters[5].error)


def test_callers_that_wait_for_room_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "MAX_UNACKED", 3)
    port, (a,) = crew("a", credit=100)
    for number in range(10):
        port.cast(number, key="k" if number % 2 else None)
    for number in range(10):
        port.done(a, number)
    assert port.data_sent(a) == list(range(10))
    assert port.sender.unacked == 0


def test_as_many_come_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "MAX_UNACKED", 10)
    port, (a,) = crew("a", credit=100)
    waiters = [port.cast(number) for number in range(20)]
    port.done(a, *range(10))
    assert all(waiter.done() for waiter in waiters)


def test_the_window_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "MAX_UNACKED_BYTES", 10_000)
    monkeypatch.setattr(accounts, "MEMBER_BYTES", 1_000_000)
    port, (a,) = crew("a", credit=1000)
    waiters = [port.cast(bytes(1000)) for _ in range(30)]
    assert sum(waiter.done() for waiter in waiters) == 10
    port.done(a, 0, 1)
    assert sum(waiter.done() for waiter in waiters) == 12


@pytest.mark.parametrize("key", [None, "k"])
def test_a_member_gets_only_so_many_bytes_at_once_and_the_rest_as_it_is_done(
    key: str | None,
) -> None:
    port, (a,) = crew("a", credit=1000)
    waiters = [port.cast(bytes(MIB), key=key) for _ in range(20)]
    most = MEMBER_BYTES // MIB
    assert most <= sum(waiter.done() for waiter in waiters) <= most + 1
    for number in range(20):
        port.done(a, number)
    assert all(waiter.done() for waiter in waiters)


def test_the_short_way_keeps_to_these_bytes_too() -> None:
    port, (_a,) = crew("a", credit=1000)
    accepted = 0
    while port.cast_now(bytes(MIB)) is not None:
        accepted += 1
    port.run()
    assert accepted <= MEMBER_BYTES // MIB + 1


def test_one_above_these_bytes_goes_alone() -> None:
    port, (a,) = crew("a", credit=10)
    waiters = [port.cast(bytes(9 * MIB)), port.cast(1)]
    assert [waiter.done() for waiter in waiters] == [True, False]
    port.done(a, 0)
    assert waiters[1].done()


# What members say.


def test_what_is_done_is_off_our_hands_however_often_it_is_said() -> None:
    port, (a, b) = crew("a", "b")
    port.grant(a, 10)
    settled = []
    port.sender.settled = lambda: settled.append(port.sender.unacked)
    for number in range(5):
        port.cast(number)
    port.done(a, 0, 1, 2)
    assert settled == [2]
    port.done(a, 0, 1, 2, 3, 77)
    port.done(a, 4)
    port.done(a, 0, 4)
    port.done(b, 0, 4)
    port.done(Node("z"), 1)
    assert port.sender.unacked == 0
    assert settled == [2, 1, 0]


@pytest.mark.parametrize("ranges", [[1], [0, -1], ["a", "b"], [0, 2**40], [True, 1], [None, 1]])
def test_nonsense_is_refused_and_changes_nothing(ranges: list[object]) -> None:
    port, (a,) = crew("a", credit=3)
    port.cast(1)
    with pytest.raises(ValueError, match="ranges"):
        port.sender.on_done(a, ranges)
    with pytest.raises(ValueError, match="ranges"):
        port.sender.on_back(a, k.BACK_LOST, ranges, None)
    assert port.sender.unacked == 1


def test_what_was_not_begun_goes_to_another_first_and_unmarked() -> None:
    port, (a, b) = crew("a", "b")
    port.grant(a, 3)
    for number in range(6):
        port.cast(number)
    port.back(a, k.BACK_UNSTARTED, 0, 1, 2)
    port.grant(b, 10)
    assert port.data_sent(b) == [0, 1, 2, 3, 4, 5]
    assert not any(port.marks_sent(b))
    assert port.sender.unacked == 6


def test_who_takes_no_more_gets_its_credit_back_once() -> None:
    port, (a,) = crew("a", credit=10)
    port.cast("x")
    port.run(1.5)
    port.take_told()
    port.back(a, k.BACK_UNSTARTED, 0)
    assert port.take_told(k.RETURN) == [(a, CREW, 1, 9, 0)]
    port.run(5.0)
    assert [total for _, _, _, total, _ in port.take_told(k.RETURN)] == []


def test_one_that_a_reader_may_have_handled_is_marked() -> None:
    port, (a, b) = crew("a", "b")
    port.grant(a, 1)
    port.cast("x")
    port.back(a, k.BACK_TOUCHED, 0)
    port.grant(b, 1)
    assert port.marks_sent(b) == [True]


def test_one_lost_on_the_way_gives_its_credit_back() -> None:
    port, (a,) = crew("a", credit=1)
    port.cast("x")
    port.back(a, k.BACK_LOST, 0)
    assert port.data_sent(a) == ["x", "x"]
    assert not any(port.marks_sent(a))
    assert not port.cast("y").done()


def test_credit_of_an_older_link_does_not_come_back_with_what_was_lost_on_it() -> None:
    port, (a,) = crew("a", credit=1)
    port.cast("old")
    port.held(a, running=[0])
    port.back(a, k.BACK_LOST, 0)
    assert not port.cast("new").done()
    port.grant(a, 1, share=2)
    assert port.data_sent(a) == ["old", "old"]


def test_a_refused_one_goes_to_those_that_have_not_refused_it() -> None:
    port, nodes = crew("a", "b", "c", credit=20)
    port.cast("x")
    for _ in range(3):
        node, number = port.at("x")
        port.back(node, k.BACK_REFUSED, number)
    counts = [port.data_sent(node).count("x") for node in nodes]
    assert min(counts) == 1, "each once, before one gets it again"
    assert not any(mark for node in nodes for mark in port.marks_sent(node))


@pytest.mark.parametrize("reason", [k.BACK_REFUSED, k.BACK_UNREADABLE])
@pytest.mark.parametrize("size", [1, 3])
def test_after_so_many_refusals_it_is_given_up(
    size: int, reason: int, caplog: pytest.LogCaptureFixture
) -> None:
    port, _ = crew(*"abc"[:size], credit=20)
    port.cast("x")
    for _ in range(MAX_REFUSALS + 1):
        port.back(port.at("x")[0], reason, port.at("x")[1])
    with pytest.raises(LookupError):
        port.at("x")
    assert port.counts["casts_given_up"] == 1
    assert port.sender.unacked == 0
    assert len(caplog.records) == 1


def test_a_refused_one_that_waits_for_a_busy_member_holds_nobody_up() -> None:
    port, (a, b) = crew("a", "b")
    port.grant(a, 5)
    port.cast("x")
    port.back(a, k.BACK_REFUSED, 0)
    later = [port.cast(number) for number in range(6)]
    assert [waiter.done() for waiter in later] == [True] * 4 + [False] * 2
    port.grant(a, 7)
    assert all(waiter.done() for waiter in later)
    port.grant(b, 1)
    assert port.data_sent(b) == ["x"]


def test_what_cannot_be_read_gives_its_credit_back() -> None:
    port, (a, _b) = crew("a", "b")
    port.grant(a, 1)
    port.cast("x")
    port.back(a, k.BACK_UNREADABLE, 0)
    assert port.cast("y").result() is a


# Members that go, and links.


def test_what_a_dead_member_had_goes_to_others_first_and_marked() -> None:
    port, (a, b) = crew("a", "b")
    port.grant(a, 3)
    for number in range(5):
        port.cast(number)
    port.leave(a)
    assert port.counts["casts_redelivered"] == 3
    port.grant(b, 10)
    assert port.data_sent(b) == [0, 1, 2, 3, 4]
    assert port.marks_sent(b) == [True, True, True, False, False]


def test_what_nobody_is_left_for_waits_for_the_next_member() -> None:
    port, (a,) = crew("a", credit=5)
    port.cast("x")
    assert port.cast_now("y") is a
    port.leave(a)
    port.run(100.0)
    assert port.sender.unacked == 2
    (b,) = port.join("b")
    port.grant(b, 5)
    assert sorted(port.data_sent(b)) == ["x", "y"]
    assert port.marks_sent(b) == [True, True]


def test_late_words_of_a_member_that_was_given_up_change_nothing() -> None:
    port, (a, b) = crew("a", "b")
    port.grant(a, 1)
    port.cast("x")
    port.leave(a)
    port.grant(b, 1)
    port.done(a, 0)
    port.back(a, k.BACK_UNSTARTED, 0)
    port.grant(a, 50)
    assert port.sender.unacked == 1
    assert port.data_sent(b) == ["x"]


def test_a_new_link_voids_credit_and_tells_what_is_to_be_sent_again() -> None:
    port, (a, b) = crew("a", "b")
    port.grant(a, 5)
    for number in range(5):
        port.cast(number)
    port.held(a, running=[1], done=[0, 2])
    assert port.sender.unacked == 3
    port.grant(b, 10)
    assert port.data_sent(b) == [3, 4]
    assert not any(port.marks_sent(b))
    port.done(a, 1)
    port.done(b, 0, 1)
    assert port.sender.unacked == 0


def test_of_what_is_older_than_the_member_remembers_it_may_have_handled_it() -> None:
    port, (a, b) = crew("a", "b")
    port.grant(a, 4)
    for number in range(4):
        port.cast(number)
    port.held(a, since=2, running=[3])
    port.grant(b, 10)
    assert port.data_sent(b) == [0, 1, 2]
    assert port.marks_sent(b) == [True, True, False]


def test_credit_of_the_old_link_is_void_and_new_credit_is_asked_for() -> None:
    port, (a,) = crew("a", credit=5)
    port.cast("x")
    port.held(a, running=[0], era=7)
    assert port.cast_now("y") is None
    waiter = port.cast("z")
    port.run()
    wants = port.take_told(k.WANT)
    assert wants[-1][0] is a
    assert wants[-1][-1] == 7, "in the era of that link"
    port.grant(a, 1, share=2)
    assert waiter.result() is a


def test_casts_of_the_new_link_are_not_sent_again_by_what_was_held_of_the_old() -> None:
    port, (a,) = crew("a", credit=1)
    port.cast("old")
    port.sender.link_opened(a)
    port.sender.on_held(a, 2, 0, [0, 1], [])
    port.grant(a, 1, share=2)
    port.cast("new")
    port.sender.on_held(a, 2, 0, [0, 1], [])
    assert port.data_sent(a) == ["old", "new"]


def test_what_was_said_on_a_lost_link_is_said_again() -> None:
    port, (a,) = crew("a", credit=9)
    port.cast("x")
    port.done(a, 0)
    port.run(3.0)
    assert port.take_told(k.RETURN) == [(a, CREW, 1, 8, 0)]
    port.sender.link_reopened(a)
    assert (a, CREW, 1, 8, 0) in port.take_told(k.RETURN)
    waiter = port.cast("y")
    port.run()
    port.take_told()
    port.sender.link_reopened(a)
    port.run()
    assert [target for target, *_ in port.take_told(k.WANT)] == [a]
    assert not waiter.done()


def test_a_grant_that_is_repeated_or_late_is_worth_nothing() -> None:
    port, (a,) = crew("a")
    for total in (3, 3, 2, 1):
        port.grant(a, total)
    waiters = [port.cast(number) for number in range(5)]
    assert sum(waiter.done() for waiter in waiters) == 3


def test_grants_to_a_pool_or_from_a_node_we_have_nothing_with_are_ignored() -> None:
    port, (a,) = crew("a")
    port.grant(a, 5, pool=group_subject("other"))
    port.grant(Node("z"), 5)
    assert not port.cast("x").done()


# Asking and giving back.


def test_members_are_asked_once_a_turn_for_all_that_waits() -> None:
    port, nodes = crew("a", "b")
    for number in range(100):
        port.cast(number)
    port.run()
    wants = port.take_told(k.WANT)
    assert [(target, wish) for target, _, wish, *_ in wants] == [(node, 100) for node in nodes]


def test_of_very_many_members_only_some_are_asked_at_once_and_all_in_time() -> None:
    port, nodes = crew(*(f"m{i}" for i in range(40)))
    port.cast("x", timeout=100.0)
    port.run()
    asked = {target for target, *_ in port.take_told(k.WANT)}
    assert 1 <= len(asked) < 40
    port.run(3.0)
    asked |= {target for target, *_ in port.take_told(k.WANT)}
    assert asked == set(nodes)


def test_what_waits_is_asked_for_again_when_nothing_comes() -> None:
    port, (_a,) = crew("a")
    port.cast("x", timeout=100.0)
    port.run(5.5)
    assert 4 <= len(port.take_told(k.WANT)) <= 7


def test_credit_that_was_not_needed_for_a_second_goes_back_and_only_that() -> None:
    port, (a,) = crew("a", credit=10)
    for number in range(3):
        port.cast(number)
    port.run(2.5)
    assert port.take_told(k.RETURN) == [(a, CREW, 1, 7, 3)]
    assert not port.cast("x").done()


def test_credit_in_use_is_kept() -> None:
    port, (a,) = crew("a", credit=1)
    granted = 1
    for number in range(100):
        port.cast(number)
        port.run(0.04)
        port.done(a, number)
        granted += 1
        port.grant(a, granted)
    assert port.take_told(k.RETURN) == []


def test_what_is_recalled_goes_back_at_once_unless_something_waits_for_it() -> None:
    port, (a,) = crew("a", credit=10)
    port.cast("x")
    port.sender.on_recall(a, CREW, 1)
    assert port.take_told(k.RETURN) == [(a, CREW, 1, 9, 1)]
    port.sender.on_recall(a, CREW, 2)
    port.sender.on_recall(a, BILLING, 1)
    port.sender.on_recall(Node("z"), CREW, 1)
    assert port.take_told(k.RETURN) == []


def test_what_something_waits_for_is_kept_though_it_is_recalled() -> None:
    port, (a,) = crew("a", credit=10)
    for _ in range(20):
        port.cast(bytes(MIB))
    assert len(port.sent[a]) < 10, "it has enough bytes for now"
    port.sender.on_recall(a, CREW, 1)
    assert port.take_told(k.RETURN) == []


def test_a_new_share_counts_from_nothing() -> None:
    port, (a,) = crew("a", credit=3)
    for number in range(3):
        port.cast(number)
    port.done(a, 0, 1, 2)
    waiters = [port.cast(number) for number in range(3, 6)]
    port.grant(a, 2, share=2)
    assert [waiter.done() for waiter in waiters] == [True, True, False]
    port.run(3.0)
    assert port.take_told(k.RETURN) == []


def test_when_all_is_done_and_back_it_says_nothing_more_and_does_not_tick() -> None:
    port, nodes = crew("a", "b", credit=5)
    for number in range(8):
        port.cast(number, key="k" if number % 2 else None)
    for number in range(8):
        port.done(*port.at(number))
    for _ in nodes:
        port.run(10.0)
        port.take_told()
    assert port.sender._demand._timer is None
    port.run(30.0)
    assert port.take_told() == []


def test_a_silent_member_is_asked_whether_all_of_it_arrived() -> None:
    port, (a,) = crew("a", credit=5)
    port.cast("x")
    port.cast("y")
    port.unsent[a] = 1
    port.run(1.9)
    assert port.take_told(k.CHECK) == []
    port.run(3.0)
    checks = port.take_told(k.CHECK)
    assert checks
    assert {(target, number) for target, number, _ in checks} == {(a, 1)}
    assert all(size > 0 for _, _, size in checks)


def test_a_member_that_goes_on_is_not_asked() -> None:
    port, (a,) = crew("a", credit=20)
    for number in range(20):
        port.cast(number)
    for number in range(20):
        port.run(0.5)
        port.done(a, number)
    assert port.take_told(k.CHECK) == []


# Queue groups.


def test_a_copy_goes_to_one_that_listens_and_waits_for_credit_without_a_caller() -> None:
    port = Port()
    a, b, c = Node("a"), Node("b"), Node("c")
    port.listeners[BILLING, "a.b"] = (a, b)
    port.listeners[BILLING, "a.c"] = (c,)
    assert port.copy("x", "a.b")
    assert port.copy("y", "a.c")
    port.run()
    assert {target for target, *_ in port.take_told(k.WANT)} == {a, b, c}
    assert port.sender.unacked == 2
    for node in (c, b):
        port.grant(node, 5, pool=BILLING)
    assert (port.data_sent(b), port.data_sent(c)) == (["x"], ["y"])


def test_a_copy_whose_listener_died_goes_to_another_of_its_subject() -> None:
    port = Port()
    a, b, c = Node("a"), Node("b"), Node("c")
    port.listeners[BILLING, "a.b"] = (a, b)
    port.listeners[BILLING, "a.c"] = (c,)
    port.copy("x", "a.b")
    port.copy("y", "a.c")
    port.grant(a, 1, pool=BILLING)
    port.listeners[BILLING, "a.b"] = (b,)
    port.sender.member_gone(a)
    port.grant(c, 5, pool=BILLING)
    port.grant(b, 5, pool=BILLING)
    assert (port.data_sent(b), port.data_sent(c)) == (["x"], ["y"])
    assert port.marks_sent(b) == [True]


def test_a_copy_for_which_nobody_is_left_waits_for_one_who_comes() -> None:
    port = Port()
    a, b = Node("a"), Node("b")
    port.listeners[BILLING, "a.b"] = (a,)
    port.copy("x", "a.b")
    port.listeners[BILLING, "a.b"] = ()
    port.sender.members_changed()
    port.listeners[BILLING, "a.b"] = (b,)
    port.sender.members_changed()
    port.grant(b, 1, pool=BILLING)
    assert port.data_sent(b) == ["x"]


# The end.


def test_closing_ends_all_waits_and_tells_what_is_not_acknowledged() -> None:
    port, (_a,) = crew("a", credit=2)
    waiters = [port.cast(number, key="k" if number % 2 else None) for number in range(5)]
    port.run()
    assert port.sender.close() == 2
    assert [isinstance(waiter.error, NodeClosed) for waiter in waiters] == [False] * 2 + [True] * 3
    assert isinstance(port.cast("x").error, NodeClosed)
    assert not port.copy("y")
    assert total_sent(port) == 2
    port.take_told()
    port.run(10.0)
    assert port.take_told() == []


def test_it_can_say_where_everything_is() -> None:
    port, (a, b) = crew("a", "b")
    port.grant(a, 2)
    for number in range(2):
        port.cast(number)
    port.listeners[BILLING, "a.b"] = (b,)
    port.copy("x")
    port.run()
    assert "2 at a" in port.sender.describe()
    assert "1 at nobody yet" in port.sender.describe()
