"""The difference of two answers of one node, whatever these are."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mesh.cli.reading import items_of, number_of, text_of, texts_of
from mesh.cli.top.samples import LEAST_SECONDS, Change, Sample, added, latency, together
from patterns.rpc.measures import BOUNDS, Histogram

BORN = "2026-01-01T00:00:00Z"


def sample(at: float, since: Any = BORN, **totals: Any) -> Sample:
    return Sample(at, {"totals": {"since": since, **totals}})


def change(before: dict[str, Any] | None, after: dict[str, Any], seconds: float = 2.0) -> Change:
    first = None if before is None else sample(10.0, **before)
    return Change.between(first, sample(10.0 + seconds, **after))


@pytest.mark.parametrize(
    ("before", "after", "rate"),
    [
        ({"sent": 10}, {"sent": 30}, 10.0),
        ({"sent": 10}, {"sent": 10}, 0.0),
        ({"sent": 10.5}, {"sent": 12}, 0.75),
        (None, {"sent": 30}, None),  # the first look
        ({"sent": 30}, {"sent": 10}, None),  # a counter that went back
        ({}, {"sent": 30}, None),  # a field that was not there
        ({"sent": 30}, {}, None),
        ({"sent": "many"}, {"sent": 30}, None),
        ({"sent": True}, {"sent": 30}, None),
        ({"sent": -1}, {"sent": 30}, None),
        ({"sent": 1}, {"sent": math.inf}, None),
        ({"sent": math.nan}, {"sent": 1}, None),
        ({"sent": None}, {"sent": [1]}, None),
    ],
)
def test_a_rate_is_known_or_none(before: Any, after: Any, rate: float | None) -> None:
    assert change(before, after).rate("totals", "sent") == rate


@pytest.mark.parametrize("seconds", [0.0, -5.0, LEAST_SECONDS / 2])
def test_no_time_between_two_answers_gives_no_rate(seconds: float) -> None:
    assert change({"sent": 1}, {"sent": 2}, seconds).rate("totals", "sent") is None


def test_a_node_that_was_restarted_has_no_past() -> None:
    new = Change.between(sample(1.0, sent=100), sample(3.0, since="later", sent=900))
    assert new.seconds is None
    assert new.rate("totals", "sent") is None
    assert new.now("totals", "sent") == 900


def test_a_counter_that_has_just_appeared_grew_from_where_it_starts() -> None:
    one = change({}, {"gaps": 3})
    assert one.grown("totals", "gaps") is None
    assert one.grown("totals", "gaps", start=0) == 3
    assert change(None, {"gaps": 3}).grown("totals", "gaps", start=0) is None


def test_items_are_compared_by_what_they_are_and_new_ones_have_no_past() -> None:
    def state(*items: Any) -> dict[str, Any]:
        return {"totals": {"since": BORN}, "methods": list(items)}

    before = Sample(0.0, state({"name": "a", "n": 1}, "no map", {"name": "b", "n": 5}))
    after = Sample(2.0, state({"name": "b", "n": 9}, {"name": "c", "n": 7}, {"name": "a", "n": 2}))
    both = Change.between(before, after)
    assert both.of("methods", name="a").rate("n") == 0.5
    assert both.of("methods", name="b").rate("n") == 2.0
    assert both.of("methods", name="c").rate("n") is None
    assert both.of("methods", name="c").now("n") == 7
    assert both.of("methods", name="gone").now("n") is None


def test_percentiles_are_of_what_came_between() -> None:
    measured = Histogram()
    for _ in range(1000):
        measured.add(10.0)
    before = list(measured.counts)
    for _ in range(100):
        measured.add(0.001)
    measured.add(0.5)
    new = change({"h": before}, {"h": list(measured.counts)}).counts("totals", "h")
    assert new is not None
    assert sum(new) == 101
    assert 0.001 <= (latency(new, 0.5) or 0) <= 0.0015
    assert 0.5 <= (latency(new, 1.0) or 0) <= 0.75
    assert latency([0] * 46, 0.5) is None
    assert latency(None, 0.5) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [([1, 2], [1, 2, 3]), ([5, 5], [4, 9]), (None, None), ([1, 2], "12"), ([1, 2], [1, 2.5])],
)
def test_histograms_that_do_not_fit_give_no_percentile(before: Any, after: Any) -> None:
    assert change({"h": before}, {"h": after}).counts("totals", "h") is None


def test_the_first_measured_method_makes_a_histogram_of_nothing_one_of_something() -> None:
    counts = [0] * len(BOUNDS) + [3]
    assert change({"h": []}, {"h": counts}).counts("totals", "h") == counts


def test_sums_are_of_what_is_known() -> None:
    assert added([1, None, 2.5]) == 3.5
    assert added([None]) is None
    assert added([]) is None
    whole = [1] * (len(BOUNDS) + 1)
    assert together([whole, None, whole, [1, 2]]) == [2] * (len(BOUNDS) + 1)
    assert together([None, []]) is None


def test_anything_can_be_read() -> None:
    odd: Any = {"a": {"b": [1, {"x": 1}, "t"]}, "n": True, 3: 4}
    assert items_of(odd, "a", "b") == [{"x": 1}]
    assert texts_of(odd, "a", "b") == ["t"]
    assert items_of(odd, "a", "b", "c") == items_of(None, "a") == items_of(7) == []
    assert number_of(odd, "n") is None
    assert text_of(odd, "a") == text_of(None, "a") == ""
