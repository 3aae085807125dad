"""The budget for retries: a share of the calls, and some for those that make few."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from patterns.rpc.retries import FIRST_PAUSE, LONGEST_PAUSE, PER_SECOND, SHARE, WINDOW, Retries


@given(
    st.lists(
        st.tuples(st.floats(0, 20), st.integers(0, 5000), st.integers(0, 3000), st.booleans()),
        max_size=30,
    )
)
def test_over_any_time_no_more_are_allowed_than_were_earned(
    steps: list[tuple[float, int, int, bool]],
) -> None:
    retries = Retries(Random(1), 0.0)
    now, calls = 0.0, 0
    allowed = 0
    for seconds, made, wanted, is_free in steps:
        now += seconds
        calls += made
        taken = sum(retries.take(now, calls, is_free=is_free) for _ in range(wanted))
        if is_free:
            assert taken == wanted
        else:
            allowed += taken
    assert allowed <= PER_SECOND * (WINDOW + now) + SHARE * calls
    assert retries.made + retries.denied == sum(wanted for _, _, wanted, _ in steps)


def test_a_node_that_is_busy_may_retry_a_tenth_of_its_calls() -> None:
    retries = Retries(Random(1), 0.0)
    calls = allowed = 0
    for second in range(100):
        calls += 1000
        allowed += sum(retries.take(second + 1.0, calls) for _ in range(1000))
    assert 0.95 < allowed / (SHARE * calls + PER_SECOND * 110) < 1.05


def test_what_is_not_used_is_kept_for_a_window_only() -> None:
    retries = Retries(Random(1), 0.0)
    assert sum(retries.take(3600.0, 0) for _ in range(10_000)) == PER_SECOND * WINDOW


def test_pauses_grow_to_a_bound_and_are_drawn_from_all_of_it() -> None:
    retries = Retries(Random(1), 0.0)
    for tries, longest in ((1, FIRST_PAUSE), (2, 2 * FIRST_PAUSE), (20, LONGEST_PAUSE)):
        drawn = [retries.pause(tries) for _ in range(1000)]
        assert max(drawn) <= longest
        assert max(drawn) > 0.95 * longest
        assert min(drawn) < 0.05 * longest
