"""Spans of nodes whose clocks differ, as trees."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.cli.tracing.tree import Placed, forest, walk


def span(
    id: str, parent: str | None, node: str, start: float, seconds: float, kind: str = "client"
) -> dict[str, Any]:
    return {
        "span": id,
        "parent": parent,
        "node": node,
        "start": start,
        "seconds": seconds,
        "kind": kind,
    }


def placed(spans: list[dict[str, Any]]) -> dict[str, Placed]:
    return {one.span["span"]: one for _, one in walk(forest(spans))}


def test_what_fits_stays_where_its_node_says() -> None:
    spans = [
        span("b", "a", "two", 10.2, 0.5, "server"),
        span("a", None, "one", 10.0, 1.0),
        span("c", "b", "two", 10.3, 0.1, "producer"),
    ]
    found = placed(spans)
    assert [one.start for one in found.values()] == [10.0, 10.2, 10.3]
    assert not any(one.is_moved for one in found.values())
    assert [(depth, one.span["span"]) for depth, one in walk(forest(spans))] == [
        (0, "a"),
        (1, "b"),
        (2, "c"),
    ]


@pytest.mark.parametrize("skew", [-3600.0, -0.3, 0.5, 3600.0])
def test_a_served_call_is_in_the_middle_of_its_call_and_its_node_moves_along(skew: float) -> None:
    found = placed(
        [
            span("a", None, "one", 10.0, 1.0),
            span("b", "a", "two", 10.25 + skew, 0.5, "server"),
            span("c", "b", "two", 10.3 + skew, 0.1, "producer"),
            span("d", "c", "three", 10.35, 5.0, "consumer"),
        ]
    )
    assert found["b"].start == pytest.approx(10.25)
    assert found["c"].start == pytest.approx(10.3)
    assert found["d"].start == 10.35
    assert [one.is_moved for one in found.values()] == [False, True, True, False]


def test_a_message_is_not_handled_before_it_is_sent() -> None:
    found = placed(
        [
            span("a", None, "one", 10.0, 0.1, "producer"),
            span("b", "a", "two", 9.0, 5.0, "consumer"),
            span("c", "a", "three", 12.0, 5.0, "consumer"),
        ]
    )
    assert (found["b"].start, found["b"].is_moved) == (10.0, True)
    assert (found["c"].start, found["c"].is_moved) == (12.0, False)


def test_what_was_served_on_after_its_caller_gave_up_is_not_moved() -> None:
    found = placed([span("a", None, "one", 10.0, 0.1), span("b", "a", "two", 10.05, 5.0, "server")])
    assert not found["b"].is_moved


def test_what_has_no_parent_here_is_a_tree_of_its_own() -> None:
    trees = forest(
        [
            span("b", "gone", "two", 11.0, 0.5, "server"),
            span("a", "gone", "one", 10.0, 0.5, "server"),
        ]
    )
    assert [one.span["span"] for one in trees] == ["a", "b"]


def test_spans_that_are_each_others_parents_lose_none_and_do_not_hang() -> None:
    spans = [
        span("a", "b", "one", 10.0, 0.5),
        span("b", "a", "one", 10.0, 0.5),
        span("c", "c", "one", 10.0, 0.5),
        span("d", "a", "one", 10.0, 0.5),
    ]
    assert sorted(placed(spans)) == ["a", "b", "c", "d"]


def test_a_deep_trace_needs_no_stack() -> None:
    count = 3000
    spans = [span("0", None, "one", 0.0, 1.0)]
    spans += [span(str(n), str(n - 1), "one", float(n), 1.0) for n in range(1, count)]
    assert [depth for depth, _ in walk(forest(spans))] == list(range(count))
