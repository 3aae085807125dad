"""Which queue comes next, as a user writes it."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping, Sequence

import pytest

from patterns.errors import ConfigError
from patterns.queues.order import Weights, order_of


def picks(order: str | Sequence[str] | Mapping[str, float], count: int, size: int) -> Tally[str]:
    known = order_of(order)
    tally: Tally[str] = Tally()
    for _ in range(count):
        tally[known.pick(known.queues, size)] += size
    return tally


@pytest.mark.parametrize("size", [1, 7])
def test_the_first_of_a_list_has_fifteen_of_sixteen(size: int) -> None:
    assert picks(["a", "b", "c"], 320, size) == {"a": 300 * size, "b": 10 * size, "c": 10 * size}


@pytest.mark.parametrize("size", [1, 7])
def test_weights_are_shares(size: int) -> None:
    assert picks({"a": 10, "b": 1, "c": 0.5}, 230, size) == {
        "a": 200 * size,
        "b": 20 * size,
        "c": 10 * size,
    }


def test_who_had_no_jobs_for_a_while_does_not_make_up_for_it() -> None:
    order = Weights({"a": 1, "b": 1, "c": 1})
    for _ in range(1_000):
        order.pick(("a", "b"), 1)
    tally = Tally(order.pick(("a", "b", "c"), 1) for _ in range(30))
    assert tally["c"] <= 11


def test_one_name_is_an_order() -> None:
    assert order_of("a").pick(("a",), 5) == "a"


@pytest.mark.parametrize("order", [[], {}, ["a", "a"], {"a": 0}, {"a": -1}, {"a": float("nan")}])
def test_what_is_no_order_is_refused(order: list[str]) -> None:
    with pytest.raises(ConfigError):
        order_of(order)
