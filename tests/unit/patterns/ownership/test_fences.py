"""Fencing tokens only grow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from patterns.ownership import MAX_FENCE, Fences
from patterns.ownership.fences import MAX_AHEAD_MS


@given(st.lists(st.one_of(st.none(), st.integers(0, MAX_FENCE)), max_size=30), st.data())
def test_a_token_is_above_all_that_were_made_or_heard_whatever_the_clock_says(
    heard: list[int | None], data: st.DataObject
) -> None:
    wall = 0
    fences = Fences(lambda: wall, salt=12345)
    seen = [0]
    for one in heard:
        wall = data.draw(st.integers(0, 1 << 41))
        if one is None:
            token = fences.mint()
            assert token > max(seen)
            assert token < 1 << 63
            seen.append(token)
        elif (one >> 20) - wall <= MAX_AHEAD_MS:
            assert fences.heard(one)
            seen.append(one)
        else:
            assert not fences.heard(one)


def test_nodes_that_cannot_hear_each_other_do_not_make_the_same() -> None:
    one, other = Fences(lambda: 1000, salt=1), Fences(lambda: 1000, salt=2)
    assert one.mint() != other.mint()


def test_a_token_that_is_no_honest_one_is_not_believed() -> None:
    fences = Fences(lambda: 1000, salt=1)
    assert not fences.heard(MAX_FENCE + 1)
    assert fences.highest == 0
