"""The histogram: percentiles within its bound, of whatever times, in a fixed size."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.cli.bench.core.histogram import BUCKETS, MAX_BITS, Histogram
from mesh.cli.bench.core.scale import EDGES, steps

ERROR = Fraction(1, 128)
"""What is promised: less than 0.8 %."""

TIMES = st.integers(0, 2**MAX_BITS - 1)
SHARES = st.integers(1, 1000)


def histogram_of(times: list[int]) -> Histogram:
    made = Histogram()
    for time in times:
        made.add(time)
    return made


def exact(times: list[int], per_mille: int) -> int:
    """The nearest-rank percentile."""
    return sorted(times)[max(1, -(-per_mille * len(times) // 1000)) - 1]


@given(st.lists(TIMES, min_size=1), SHARES)
def test_a_percentile_is_never_too_low_and_hardly_too_high(times: list[int], share: int) -> None:
    told = histogram_of(times).at(share)
    true = exact(times, share)
    assert true <= told <= true * (1 + ERROR)


@given(st.lists(st.integers(-(2**70), 2**70), min_size=1))
def test_count_least_greatest_and_mean_are_exact(times: list[int]) -> None:
    made = histogram_of(times)
    counted = [max(0, time) for time in times]
    assert (made.count, made.least, made.greatest) == (len(times), min(counted), max(counted))
    assert made.total == sum(counted)
    assert made.at(1000) == max(counted)
    assert made.at(500) <= made.at(990) <= made.at(1000)


@given(st.lists(TIMES), st.lists(TIMES))
def test_merged_histograms_are_the_histogram_of_all(one: list[int], other: list[int]) -> None:
    merged = histogram_of(one)
    merged.merge(histogram_of(other))
    assert merged.packed() == histogram_of(one + other).packed()
    assert merged.count == len(one + other)


@given(st.lists(TIMES))
def test_what_was_packed_is_unpacked(times: list[int]) -> None:
    made = histogram_of(times)
    again = Histogram.unpacked(made.packed())
    assert again.packed() == made.packed()
    assert (again.count, again.mean) == (made.count, made.mean)


@given(st.lists(st.integers(0, 2**70)))
def test_its_size_does_not_grow_with_what_is_added(times: list[int]) -> None:
    made = histogram_of(times)
    assert len(made._counts) == BUCKETS
    assert not hasattr(made, "__dict__")


def test_every_bucket_is_used_and_none_is_beyond() -> None:
    """Neighbouring times are in the same or in neighbouring buckets: there is no hole."""
    made = Histogram()
    for bits in range(MAX_BITS):
        for time in (2**bits - 1, 2**bits, 2**bits + 1):
            made.add(time)
    made.add(2**MAX_BITS - 1)
    assert made._counts[BUCKETS - 1] == 1
    made.add(2**MAX_BITS)
    assert made._counts[BUCKETS - 1] == 2
    assert made.at(1000) == 2**MAX_BITS


def test_an_empty_one_tells_nothing() -> None:
    made = Histogram()
    assert (made.at(500), made.mean, made.least, made.greatest) == (0, 0.0, 0, 0)
    assert list(made.buckets()) == []
    assert steps(made) == []


@pytest.mark.parametrize(
    "packed",
    [None, 1, [], [0, 0, 0], [0, 0, 0, 0], [0, 0, 0, [[BUCKETS, 1]]], [0, 0, 0, [[0, -1]]],
     [0, 0, 0, [[-1, 1]]], ["a", 0, 0, []], [0, 0, 0, [[0]]], [0, 0, 0, [7]]],
)  # fmt: skip
def test_what_is_no_histogram_is_refused(packed: object) -> None:
    with pytest.raises(ValueError, match="no histogram"):
        Histogram.unpacked(packed)


# The scale


def test_a_time_on_an_edge_belongs_below_it() -> None:
    assert steps(histogram_of([1, 2, 3, 5, 5, 6, 21])) == [
        (0, 1, 1), (1, 2, 1), (2, 5, 3), (5, 10, 1), (10, 20, 0), (20, 50, 1)
    ]  # fmt: skip


@given(st.lists(st.integers(0, 2**70), min_size=1))
def test_the_steps_count_each_time_once_and_begin_and_end_with_some(times: list[int]) -> None:
    found = steps(histogram_of(times))
    assert sum(count for _, _, count in found) == len(times)
    assert found[0][2] > 0
    assert found[-1][2] > 0
    assert all(one[1] == next[0] for one, next in pairwise(found))


@given(st.lists(TIMES.filter(lambda time: time <= EDGES[-1]), min_size=1))
def test_a_step_holds_the_times_between_its_edges(times: list[int]) -> None:
    for low, high, count in steps(histogram_of(times)):
        surely = sum(low < time and time * (1 + ERROR) <= high for time in times)
        perhaps = sum(low <= time * (1 + ERROR) and time <= high for time in times)
        assert surely <= count <= perhaps
