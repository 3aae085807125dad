"""Shrinking: a failing plan to a minimal one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.testing.shrink import shrink


@given(st.sets(st.integers(0, 40), max_size=5), st.integers(1, 41))
def test_what_is_left_fails_and_without_any_one_step_it_does_not(
    needed: set[int], length: int
) -> None:
    needed = {step for step in needed if step < length}

    def fails(steps: tuple[int, ...]) -> bool:
        return needed <= set(steps)

    left = shrink(range(length), fails)
    assert left == tuple(sorted(needed))
    assert fails(left)
    assert not any(fails(left[:i] + left[i + 1 :]) for i in range(len(left)))


def test_steps_that_help_each_other_are_left_minimal_one_by_one() -> None:
    def fails(steps: tuple[int, ...]) -> bool:
        return sum(steps) >= 10

    left = shrink((1, 9, 3, 3, 4, 2), fails)
    assert fails(left)
    assert not any(fails(left[:i] + left[i + 1 :]) for i in range(len(left)))


def test_a_plan_that_does_not_fail_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not fail"):
        shrink((1, 2), lambda steps: False)


def test_no_more_than_so_many_runs_are_made() -> None:
    runs = 0

    def fails(steps: tuple[int, ...]) -> bool:
        nonlocal runs
        runs += 1
        return len(steps) > 50

    assert len(shrink(range(100), fails, max_attempts=10)) > 50
    assert runs <= 10
