"""The end of a lease on the clock of a worker."""

from __future__ import annotations

import pytest

from patterns.queues.fence import WINDOW, Fence, margin_of, warning_of

LEASE = 60.0
SPAN = LEASE - margin_of(LEASE)


def ask(fence: Fence, asked: float, home: float, now: float) -> float:
    fence.asked_at = asked
    return fence.answered(now, home)


def test_a_lease_counts_from_when_it_was_asked_for() -> None:
    fence = Fence(LEASE)
    assert ask(fence, 100.0, 5_000.5, 103.0) == 100.0 + SPAN
    # A job that was taken 2 s later there.
    assert fence.fence_at(110.0, 5_002.5) == pytest.approx(102.0 + SPAN)


def test_the_quickest_answer_is_the_best() -> None:
    fence = Fence(LEASE)
    ask(fence, 100.0, 5_002.0, 104.0)
    ask(fence, 110.0, 5_010.1, 110.2)
    ask(fence, 120.0, 5_023.0, 124.0)
    assert fence.fence_at(130.0, 5_030.1) == pytest.approx(130.0 + SPAN)


def test_old_answers_are_forgotten() -> None:
    fence = Fence(LEASE)
    ask(fence, 100.0, 5_000.0, 100.0)
    for number in range(1, 8):
        at = 100.0 + number * WINDOW / 3
        ask(fence, at, 4_900.0 + at + 1.0, at + 2.0)
    assert fence.fence_at(1e9, 6_000.0) == pytest.approx(1_099.0 + SPAN)


def test_a_lease_has_not_begun_after_its_message_came() -> None:
    fence = Fence(LEASE)
    ask(fence, 100.0, 5_000.0, 100.0)
    assert fence.fence_at(110.0, 9_999.0) == 110.0 + SPAN


def test_a_clock_that_stood_still_is_learnt_anew() -> None:
    fence = Fence(LEASE)
    ask(fence, 100.0, 5_000.0, 100.1)
    # The worker slept for an hour, and its clock did.
    ask(fence, 110.0, 8_610.0, 110.1)
    assert fence.fence_at(111.0, 8_610.5) == pytest.approx(110.5 + SPAN)


def test_nothing_is_fenced_before_the_first_answer() -> None:
    fence = Fence(LEASE)
    assert not fence.is_known
    with pytest.raises(ValueError, match="not known"):
        fence.fence_at(1.0, 1.0)
    with pytest.raises(ValueError, match="nobody asked"):
        fence.answered(1.0, 1.0)


def test_margins_and_warnings() -> None:
    assert [margin_of(lease) for lease in (0.5, 60.0)] == [0.05, 3.0]
    assert [warning_of(lease) for lease in (0.5, 5.0, 60.0)] == [0.25, 1.0, 6.0]
