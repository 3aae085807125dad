"""Casts with a key: to its owner, in order, one line for each key."""

from __future__ import annotations

import contextlib

import pytest

from patterns.groupcast import casts as k
from patterns.groupcast.sender import MAX_REDIRECTS, MAX_REFUSALS
from tests.unit.patterns.groupcast.port import Node, Port


def flags_sent(port: Port, node: Node) -> list[int]:
    return [entry[3] for _, entry in port.sent.get(node, ())]


def crew(*names: str) -> tuple[Port, list[Node]]:
    port = Port()
    return port, port.join(*names)


def test_it_goes_to_the_owner_and_waits_for_its_credit() -> None:
    port, (owner, other) = crew("owner", "other")
    port.grant(other, 10)
    waiter = port.cast("x", key="k")
    assert not waiter.done()
    port.grant(owner, 1)
    assert waiter.result() is owner
    assert (port.data_sent(owner), port.data_sent(other)) == (["x"], [])
    assert flags_sent(port, owner) == [0]


def test_only_the_owner_is_asked_for_credit() -> None:
    port, (owner, _) = crew("owner", "other")
    port.cast("x", key="k")
    port.run()
    assert [target for target, *_ in port.take_told(k.WANT)] == [owner]


def test_casts_of_one_key_are_sent_in_order() -> None:
    port, (owner,) = crew("owner")
    for number in range(10):
        port.cast(number, key="k")
    for total in (1, 4, 10):
        port.grant(owner, total)
    assert port.data_sent(owner) == list(range(10))


def test_a_hot_key_does_not_take_all_the_credit_from_the_others() -> None:
    port, (owner,) = crew("owner")
    for number in range(10):
        port.cast(f"hot {number}", key="hot")
    cold = port.cast("cold", key="cold")
    port.grant(owner, 4)
    assert cold.done()
    assert port.data_sent(owner) == ["hot 0", "cold", "hot 1", "hot 2"]


@pytest.mark.parametrize("credit", [1, 3])
def test_casts_with_and_without_keys_get_credit_by_turns(credit: int) -> None:
    port, (owner,) = crew("owner")
    plain = [port.cast("plain", timeout=100.0) for _ in range(10)]
    keyed = [port.cast("keyed", key=f"k{i}", timeout=100.0) for i in range(10)]
    for turn in range(1, 7):
        port.grant(owner, turn * credit)
        for number in range(10):
            keyed.append(port.cast("keyed", key=f"new {turn} {number}", timeout=100.0))
    sent = port.data_sent(owner)
    assert abs(sent.count("plain") - sent.count("keyed")) <= credit
    assert sum(waiter.done() for waiter in plain) == sent.count("plain")


def test_a_suspects_keys_go_to_the_next_who_shall_handle_them_whatever_it_thinks() -> None:
    port, (owner, other) = crew("owner", "other")
    port.grant(other, 5)
    port.doubt(owner)
    assert port.cast("x", key="k").result() is other
    assert flags_sent(port, other) == [k.FLAG_FINAL]


def test_what_comes_after_waits_until_what_is_at_the_suspect_is_settled() -> None:
    port, (owner, other) = crew("owner", "other")
    port.grant(owner, 1)
    port.grant(other, 5)
    port.cast(1, key="k")
    port.doubt(owner)
    later = port.cast(2, key="k")
    assert not later.done()
    port.done(owner, 0)
    assert later.result() is other


def test_when_the_owner_fails_what_it_had_goes_first_and_marked() -> None:
    port, (owner, other) = crew("owner", "other")
    port.grant(owner, 2)
    for number in range(4):
        port.cast(number, key="k")
    port.leave(owner)
    port.grant(other, 10)
    assert port.data_sent(other) == [0, 1, 2, 3]
    assert port.marks_sent(other) == [True, True, False, False]


def test_a_new_owner_gets_the_key_when_the_old_one_has_settled_it() -> None:
    port, (old,) = crew("old")
    port.grant(old, 1)
    port.cast(1, key="k")
    (new,) = port.join("new")
    port.preference = [new, old]
    port.sender.members_changed()
    port.grant(new, 5)
    later = port.cast(2, key="k")
    assert not later.done()
    port.done(old, 0)
    assert later.result() is new


def test_a_redirect_is_followed_and_the_last_one_is_final() -> None:
    port, nodes = crew("a", "b", "c")
    for node in nodes:
        port.grant(node, 5)
    a, b, c = nodes
    port.cast("x", key="k")
    port.back(a, k.BACK_MOVED, 0, owner=b)
    assert flags_sent(port, b) == [0]
    port.back(b, k.BACK_MOVED, 0, owner=c)
    assert MAX_REDIRECTS == 2
    assert flags_sent(port, c) == [k.FLAG_FINAL]
    assert port.marks_sent(c) == [False]


@pytest.mark.parametrize("named", ["itself", "nobody", "a suspect", "a stranger"])
def test_a_redirect_that_leads_nowhere_makes_it_final(named: str) -> None:
    port, (a, b) = crew("a", "b")
    port.grant(a, 5)
    port.grant(b, 5)
    if named == "a suspect":
        port.doubt(b)
    port.cast("x", key="k")
    owner = {"itself": a, "nobody": None, "a suspect": b, "a stranger": Node("z")}[named]
    port.back(a, k.BACK_MOVED, 0, owner=owner)
    assert flags_sent(port, a) == [0, k.FLAG_FINAL]


def test_what_came_back_goes_before_what_came_later() -> None:
    port, (a, b) = crew("a", "b")
    port.grant(a, 3)
    port.grant(b, 9)
    for number in range(5):
        port.cast(number, key="k")
    port.back(a, k.BACK_MOVED, 0, 1, 2, owner=b)
    port.done(a)
    assert port.data_sent(b)[:3] == [0, 1, 2]


@pytest.mark.parametrize("reason", [k.BACK_UNSTARTED, k.BACK_LOST, k.BACK_MOVED])
def test_one_that_comes_back_waits_for_later_ones_and_then_is_marked_for_it_is_late(
    reason: int,
) -> None:
    port, (owner,) = crew("owner")
    port.grant(owner, 10)
    for number in range(3):
        port.cast(number, key="k")
    port.back(owner, reason, 0)
    port.grant(owner, 20)
    assert port.data_sent(owner) == [0, 1, 2], "it would overtake nobody, but be overtaken"
    port.done(owner, 1, 2)
    port.grant(owner, 30)
    assert port.data_sent(owner)[3:] == [0]
    assert port.marks_sent(owner)[3:] == [True]


def test_what_was_behind_it_and_came_back_too_is_not_marked() -> None:
    port, (owner,) = crew("owner")
    port.grant(owner, 10)
    for number in range(3):
        port.cast(number, key="k")
    port.back(owner, k.BACK_UNSTARTED, 1, 2)
    port.done(owner, 0)
    port.grant(owner, 20)
    assert port.data_sent(owner) == [0, 1, 2, 1, 2]
    assert not any(port.marks_sent(owner))


def test_a_refusal_passes_it_on_and_nobody_gets_it_twice_while_there_is_another() -> None:
    port, nodes = crew("a", "b", "c")
    for node in nodes:
        port.grant(node, 5)
    port.cast("x", key="k")
    for node in nodes[:2]:
        port.back(node, k.BACK_REFUSED, 0)
    assert [len(port.data_sent(node)) for node in nodes] == [1, 1, 1]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_one_that_all_refuse_is_given_up_in_the_end_and_frees_its_key(size: int) -> None:
    port, nodes = crew(*"abcde"[:size])
    for node in nodes:
        port.grant(node, 20)
    port.cast("x", key="k")
    port.cast("y", key="k")
    for _ in range(MAX_REFUSALS + 1):
        assert not port.counts["casts_given_up"]
        node, number = port.at("x")
        port.back(node, k.BACK_REFUSED, number)
        with contextlib.suppress(LookupError):
            node, number = port.at("y")
            port.done(node, number)
    assert port.counts["casts_given_up"] == 1
    assert port.sender.unacked == 0
    assert len(port.sender._keys) == 0
    assert port.cast("z", key="k").result() is nodes[0]


def test_keys_that_are_not_in_use_take_no_room() -> None:
    port, (owner,) = crew("owner")
    port.grant(owner, 100)
    for number in range(50):
        port.cast(number, key=f"k{number}")
    assert len(port.sender._keys) == 50
    port.done(owner, *range(50))
    assert len(port.sender._keys) == 0


def test_a_caller_that_gave_up_leaves_nothing_behind() -> None:
    port, (owner,) = crew("owner")
    port.cast(1, key="k", timeout=1.0)
    port.run(2.0)
    assert len(port.sender._keys) == 0
    port.cast(2, key="k")
    port.grant(owner, 1)
    assert len(port.sender._keys) == 1, "the line of its successor is still known"
    later = port.cast(3, key="k")
    port.grant(owner, 2)
    assert later.done()
    port.done(owner, 0, 1)
    assert len(port.sender._keys) == 0
    assert port.data_sent(owner) == [2, 3]


def test_the_next_goes_when_the_one_before_it_is_abandoned() -> None:
    port, (owner, other) = crew("owner", "other")
    port.grant(other, 5)
    first = port.cast(1, key="k")
    second = port.cast(2, key="k")
    port.sender.abandon(first)
    port.grant(owner, 1)
    assert second.done()
    assert port.data_sent(owner) == [2]


def test_a_key_whose_members_are_all_in_doubt_waits_for_one_that_is_not() -> None:
    port, (owner, other) = crew("owner", "other")
    port.grant(owner, 5)
    port.doubt(owner)
    port.doubt(other)
    waiter = port.cast("x", key="k")
    assert not waiter.done()
    port.trust(owner)
    assert waiter.result() is owner


def test_keys_of_a_member_that_left_do_not_wait_for_its_credit() -> None:
    port, (owner, other) = crew("owner", "other")
    waiters = [port.cast(number, key=f"k{number}", timeout=50.0) for number in range(5)]
    port.grant(other, 10)
    port.crew.remove(owner)
    port.sender.members_changed()
    assert [waiter.result() for waiter in waiters] == [other] * 5
    port.done(other, *range(5))
    port.run(3.0)
    port.take_told()
    port.run(10.0)
    assert port.take_told() == [], "nobody is asked for credit any more"
