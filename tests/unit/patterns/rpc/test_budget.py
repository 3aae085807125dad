"""A budget: never more than was earned, whoever asks and when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from patterns.rpc import hedging
from patterns.rpc.budget import Budget

STEPS = st.lists(
    st.tuples(st.floats(0, 20), st.integers(0, 5000), st.integers(0, 500)), max_size=30
)


def hedges(now: float = 0.0) -> Budget:
    return Budget(
        now, share=hedging.SHARE, per_second=0.0, window=hedging.WINDOW, floor=hedging.FLOOR
    )


@given(STEPS)
def test_hedges_never_exceed_their_share_of_the_calls_and_what_there_was_at_first(
    steps: list[tuple[float, int, int]],
) -> None:
    budget = hedges()
    now, calls, allowed = 0.0, 0, 0
    for seconds, made, wanted in steps:
        now += seconds
        calls += made
        allowed += sum(budget.take(now, calls) for _ in range(wanted))
        assert allowed <= hedging.FLOOR + hedging.SHARE * calls
    assert budget.made == allowed
    assert budget.made + budget.denied == sum(wanted for _, _, wanted in steps)


def test_who_calls_seldom_has_a_few_and_earns_more_however_long_it_takes() -> None:
    budget = hedges()
    allowed = 0
    for calls in range(1, 1001):
        allowed += budget.take(60.0 * calls, calls)
    assert 0 <= hedging.FLOOR + hedging.SHARE * 1000 - allowed <= 1


def test_what_is_not_used_is_kept_for_the_window() -> None:
    budget = hedges()
    rate, seconds = 1000, 3600
    now, calls = float(seconds), rate * seconds
    allowed = sum(budget.take(now, calls) for _ in range(10_000))
    assert allowed == hedging.SHARE * rate * hedging.WINDOW
