"""Ranges, flags and what a handler sees of a cast."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patterns.groupcast import casts as k
from patterns.groupcast.casts import (
    CastMessage,
    CopyMessage,
    MarkedCast,
    membership_of,
    numbers_of,
    ranges_of,
    set_flag,
)
from patterns.names import group_subject, queue_pool

numbers = st.sets(st.integers(0, 40) | st.integers(0, 2**62))
junk = st.none() | st.booleans() | st.floats() | st.text(max_size=2) | st.integers(max_value=-1)


@given(numbers)
def test_ranges_are_the_numbers_and_nothing_else(some: set[int]) -> None:
    ranges = ranges_of(some)
    assert list(numbers_of(ranges, len(some))) == sorted(some)
    is_in = membership_of(ranges)
    near = {n + d for n in some for d in (-1, 0, 1)} | {0, 1, 41}
    assert {n for n in near if is_in(n)} == some & near


@given(numbers)
def test_ranges_are_as_few_as_can_be(some: set[int]) -> None:
    starts = [number for number in some if number - 1 not in some]
    assert len(ranges_of(some)) == 2 * len(starts)


@given(st.permutations([3, 4, 5, 9, 11, 12]))
def test_the_order_of_the_numbers_plays_no_part(some: list[int]) -> None:
    assert ranges_of(some) == [3, 3, 9, 1, 11, 2]


def test_membership_does_not_depend_on_the_order_of_the_ranges() -> None:
    is_in = membership_of([9, 1, 3, 3])
    assert [number for number in range(12) if is_in(number)] == [3, 4, 5, 9]


@given(st.lists(st.integers(0, 5) | junk, max_size=7))
def test_what_is_no_pairs_of_whole_numbers_is_refused(ranges: list[Any]) -> None:
    is_good = len(ranges) % 2 == 0 and all(type(n) is int and n >= 0 for n in ranges)
    if is_good:
        assert len(list(numbers_of(ranges, 1000))) == sum(ranges[1::2])
        membership_of(ranges)
        return
    with pytest.raises(ValueError, match="pairs of whole numbers"):
        numbers_of(ranges, 1000)
    with pytest.raises(ValueError, match="pairs of whole numbers"):
        membership_of(ranges)


def test_more_numbers_than_allowed_are_refused_before_the_first() -> None:
    assert list(numbers_of([5, 2, 9, 1], 3)) == [5, 6, 9]
    with pytest.raises(ValueError, match="more than 2"):
        numbers_of([5, 2, 9, 1], 2)
    with pytest.raises(ValueError, match="more than 2"):
        numbers_of([0, 2**62], 2)


def test_membership_of_a_huge_range_takes_no_memory() -> None:
    is_in = membership_of([7, 2**62])
    assert is_in(2**61)
    assert not is_in(6)


@pytest.mark.parametrize("tail", [[], [{}], [{"a": "b"}], [{}, 0], [{}, 0, "key"], [{}, 2, 7, "s"]])
def test_a_flag_is_set_once_and_changes_nothing_else(tail: list[Any]) -> None:
    fields = ["pool", 1, *tail]
    full = ["pool", 1, *(tail or [{}])]
    assert set_flag(fields, k.FLAG_REDELIVERED)
    flags = tail[1] if len(tail) > 1 else 0
    assert fields == [*full[:3], flags | k.FLAG_REDELIVERED, *full[4:]]
    before = list(fields)
    assert not set_flag(fields, k.FLAG_REDELIVERED)
    assert fields == before


def test_flags_do_not_displace_each_other() -> None:
    fields = ["pool", 1]
    assert set_flag(fields, k.FLAG_FINAL)
    assert set_flag(fields, k.FLAG_REDELIVERED)
    assert fields == ["pool", 1, {}, k.FLAG_FINAL | k.FLAG_REDELIVERED]


def test_a_groupcast_names_its_group_and_no_subject() -> None:
    message = CastMessage(group_subject("crew"), 1, {}, "peer", None, 5)
    shown = message.kind, message.subject, message.group, message.data, message.headers
    assert shown == ("groupcast", None, "crew", 1, {})
    assert (message.key, message.redelivered, message.missed) == (None, False, 0)


def test_a_groupcast_to_everyone_names_that_group() -> None:
    assert CastMessage(group_subject("*"), 1, {}, "peer", None, 5).group == "*"


def test_a_copy_names_its_queue_group_and_its_subject() -> None:
    message = CopyMessage(queue_pool("billing"), 1, {}, "peer", None, 5)
    message.published_to = "orders.new"
    assert (message.kind, message.subject, message.group) == ("publish", "orders.new", "billing")


def test_a_cast_with_a_key_shows_it_and_its_mark() -> None:
    message = MarkedCast(group_subject("crew"), 1, {}, "peer", None, 5)
    message.key, message.redelivered = b"k", True
    assert (message.key, message.redelivered) == (b"k", True)
