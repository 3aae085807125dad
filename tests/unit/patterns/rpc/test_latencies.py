"""Quantiles of the latencies of a method."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patterns.rpc.latencies import LEAST, SAMPLES, SORT_EVERY, Latencies


def test_with_too_few_there_is_none() -> None:
    latencies = Latencies()
    for _ in range(LEAST - 1):
        latencies.add(1.0)
    assert latencies.quantile(0.5) is None
    latencies.add(1.0)
    assert latencies.quantile(0.5) == 1.0


@given(st.lists(st.floats(0, 100), min_size=LEAST, max_size=2000), st.integers(50, 99))
def test_a_quantile_is_that_of_the_last_samples(seconds: list[float], percent: int) -> None:
    latencies = Latencies()
    for value in seconds:
        latencies.add(value)
    found = latencies.quantile(percent / 100)
    last = seconds[-SAMPLES:]
    assert found is not None
    assert sum(value < found for value in last) <= percent / 100 * len(last)
    assert sum(value <= found for value in last) >= percent / 100 * len(last)


def test_what_is_long_past_is_forgotten() -> None:
    latencies = Latencies()
    for seconds in [9.0] * 5000 + [1.0] * (SAMPLES + SORT_EVERY):
        latencies.add(seconds)
        latencies.quantile(0.99)
    assert latencies.quantile(0.99) == 1.0


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_it_follows_while_it_is_asked(share: float) -> None:
    latencies = Latencies()
    for number in range(10 * SAMPLES):
        latencies.add(float(number))
        found = latencies.quantile(share)
        if number >= SAMPLES + SORT_EVERY:
            assert found is not None
            assert -1 <= number - SAMPLES * (1 - share) - found <= SORT_EVERY + 1
