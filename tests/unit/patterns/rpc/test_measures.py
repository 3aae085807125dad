from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from patterns.rpc.measures import BOUNDS, MAX_MEASURED, OTHERS, Histogram, Measures, quantile


@given(st.lists(st.floats(1e-6, 60.0), min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_never_too_low_and_at_most_one_bucket_too_high(
    seconds: list[float], share: float
) -> None:
    histogram = Histogram()
    for one in seconds:
        histogram.add(one)
    ranked = sorted(seconds)
    exact = next(one for n, one in enumerate(ranked, 1) if n >= share * len(ranked))
    found = quantile(histogram.counts, share)
    assert found is not None
    assert exact <= found <= max(BOUNDS[0], exact * 2**0.5 * (1 + 1e-9))


def test_a_histogram_counts_each_once_and_knows_the_largest() -> None:
    histogram = Histogram()
    for one in (0.0, 0.001, 1.0, 1e6):
        histogram.add(one)
    assert sum(histogram.counts) == 4
    assert histogram.counts[-1] == 1
    assert histogram.largest == 1e6
    assert quantile(histogram.counts, 1.0) == float("inf")


def test_nothing_has_no_quantile() -> None:
    assert quantile(Histogram().counts, 0.5) is None


def test_methods_beyond_the_bound_are_measured_together() -> None:
    measures = Measures()
    for number in range(MAX_MEASURED + 10):
        measures.succeeded(f"calc.m{number}", 0.001)
        measures.failed(f"calc.m{number}")
    assert len(measures.by_method) == MAX_MEASURED + 1
    assert measures.by_method[OTHERS].succeeded == 10
    assert measures.by_method[OTHERS].failed == 10
