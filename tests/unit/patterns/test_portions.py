"""Window bytes are given back when the last who holds them lets go, and only once."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from patterns.messages import Message
from patterns.portions import Hold, Portion


def portion(hold: Hold | None) -> Portion:
    return Portion(deque([Message("s", 1, {}, None)]), hold, 0.0)


@given(st.integers(1, 8), st.data())
def test_the_bytes_are_released_by_the_last_holder_whatever_the_order(
    count: int, data: st.DataObject
) -> None:
    released: list[int] = []
    hold = Hold(100, count, released.append)
    portions = [portion(hold) for _ in range(count)]
    order = data.draw(st.permutations(portions))
    for one in order[:-1]:
        one.end()
    assert released == []
    order[-1].end()
    assert released == [100]


def test_one_that_let_go_early_does_not_count_twice_when_its_handler_ends() -> None:
    released: list[int] = []
    hold = Hold(100, 2, released.append)
    early, late = portion(hold), portion(hold)
    early.let_go()
    early.let_go()
    early.end()
    assert released == []
    late.end()
    assert released == [100]


def test_without_a_hold_it_has_no_size_and_ends_quietly() -> None:
    one = portion(None)
    assert one.size == 0
    one.let_go()
    one.end()


def test_its_size_stays_what_it_was_after_it_let_go() -> None:
    one = portion(Hold(100, 1, lambda size: None))
    one.let_go()
    assert one.size == 100
