"""Sets of slots, and how they travel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.ring import slot_of as ring_slot_of
from patterns.errors import BadName
from patterns.keys import SLOTS, slot_of
from patterns.ownership import Slots, pack_slots, unpack_slots


def test_a_set_of_slots_is_a_set() -> None:
    even = Slots(lambda slot: slot % 2 == 0)
    assert 0 in even
    assert 1 not in even
    assert SLOTS not in even
    assert -2 not in even
    assert "0" not in even
    assert len(even) == SLOTS // 2
    assert list(even)[:3] == [0, 2, 4]
    assert even & {1, 2, 3} == {2}
    assert even == set(range(0, SLOTS, 2))
    assert even


def test_the_empty_set_is_false_and_known_at_once() -> None:
    assert not Slots()
    assert len(Slots()) == 0
    assert 0 not in Slots()


def test_what_is_asked_of_a_set_is_all_that_it_computes() -> None:
    asked: list[int] = []
    slots = Slots(lambda slot: asked.append(slot) or slot == 3)
    assert 3 in slots
    assert bool(slots)
    assert asked == [3, 0, 1, 2, 3]
    assert repr(slots) == "<Slots, not counted>"


def test_a_key_is_in_the_set_by_its_slot() -> None:
    mine = Slots(lambda slot: slot == 39_593)
    assert mine.contains_key("user:7")
    assert not mine.contains_key(7)
    with pytest.raises(BadName):
        mine.contains_key(3.5)  # type: ignore[arg-type]


@given(st.binary(max_size=64))
def test_the_slot_of_a_key_is_that_of_the_ring(key: bytes) -> None:
    assert slot_of(key) == ring_slot_of(key)


@given(st.frozensets(st.integers(0, SLOTS - 1), max_size=50))
def test_slots_travel(slots: frozenset[int]) -> None:
    assert unpack_slots(pack_slots(slots)) == slots


def test_what_is_no_list_of_slots_is_none() -> None:
    assert unpack_slots(b"\0") is None
    assert unpack_slots(bytes(2 * SLOTS + 2)) is None
