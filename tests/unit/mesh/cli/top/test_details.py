"""Methods, links and subscriptions as rows."""

from __future__ import annotations

from typing import Any

import mesh
from mesh.cli.top.details import (
    LINK_COLUMNS,
    LISTENING_COLUMNS,
    METHOD_COLUMNS,
    link_rows,
    listening_rows,
    method_rows,
)
from mesh.cli.top.nodes import Seen
from mesh.cli.top.samples import Sample
from mesh.cli.top.table import BAD, FINE, WARN, Column, Row

PLACE = 13  # of 1 ms among the bounds of a histogram


def seen(digit: str, before: Any, after: Any, trouble: str = "") -> Seen:
    return Seen(mesh.Peer(digit * 32, "node"), Sample(0.0, before), Sample(2.0, after), trouble)


def measured(name: str, key: str, count: int, failed: int = 0, **more: Any) -> dict[str, Any]:
    counts = [0] * 46
    counts[PLACE] = count
    return {key: name, "succeeded": count, "failed": failed, "latency": {"counts": counts}, **more}


def shown(columns: tuple[Column, ...], row: Row) -> dict[str, str]:
    return {column.key: column.show(row) for column in columns}


def test_a_method_is_the_sum_of_its_nodes_and_of_its_callers() -> None:
    def served(count: int, failed: int = 0) -> dict[str, Any]:
        now = {"running": 2, "waiting": 1, "concurrency": 8}
        return {"methods": [measured("calc.add", "name", count, failed, **now)]}

    def called(count: int) -> dict[str, Any]:
        return {"calls": [measured("calc.add", "method", count, in_flight=3)]}

    rows = method_rows(
        [
            seen("1", served(0), served(10, 2)),
            seen("2", served(5), served(15)),
            seen("3", called(0), called(22)),
            seen("4", served(0), served(1000), "no answer"),
        ]
    )
    (row,) = rows
    cells = shown(METHOD_COLUMNS, row)
    assert cells == {
        "method": "calc.add", "nodes": "2", "served": "11", "errors": "1.0", "p50": "1.4 ms",
        "p99": "1.4 ms", "running": "4/16", "waiting": "2", "calls": "11", "call_errors": "0",
        "call_p50": "1.4 ms", "call_p99": "1.4 ms", "in_flight": "3",
    }  # fmt: skip
    assert row.severity == WARN


def test_a_method_that_is_only_called_or_only_served_is_listed() -> None:
    served = {"methods": [measured("a.b", "name", 0)], "calls": [measured("c.d", "method", 0), 7]}
    one, two = method_rows([seen("1", None, served)])
    assert (one["method"], one["calls"], one["served"]) == ("a.b", None, None)
    assert (two["method"], two["nodes"]) == ("c.d", 0)
    assert method_rows([seen("1", None, {"methods": {"a": 1}})]) == []


def test_a_link_has_two_directions_and_says_which_is_missing() -> None:
    def link(digit: str, state: str, hears_us: bool, is_heard: bool, sent: int) -> dict[str, Any]:
        return {
            "id": digit * 32, "name": "calc", "address": "10.0.0.1:5555", "state": state,
            "hears_us": hears_us, "is_heard": is_heard, "sent": sent, "received": 0,
            "dropped": 0, "waiting_bytes": 0, "waiting_messages": 0,
            "last_heard_seconds": 0.5, "calls_in_flight": 1, "ejected": [],
        }  # fmt: skip

    def peers(sent: int) -> dict[str, Any]:
        return {
            "peers": [
                link("a", "alive", True, True, sent),
                link("b", "alive", True, False, 0),
                link("c", "suspect", False, True, 0),
                link("d", "left", False, False, 0),
            ]
        }

    rows = link_rows(seen("1", peers(0), peers(50)))
    assert [row["link"] for row in rows] == ["both ways", "out only", "in only", "none"]
    assert [row.severity for row in rows] == [FINE, WARN, BAD, FINE]
    cells = shown(LINK_COLUMNS, rows[0])
    assert (cells["peer"], cells["out"], cells["heard"]) == ("calc/aaaaaaaa", "25", "500 ms")
    assert link_rows(None) == []
    assert link_rows(seen("1", None, {"peers": [{}]}))[0]["link"] == "none"


def test_what_waits_or_was_missed_is_told_by_subscription_and_by_group() -> None:
    def state(missed: int) -> dict[str, Any]:
        return {
            "subscriptions": [
                {"pattern": "a.>", "group": None, "queue": None, "policy": "latest", "waiting": 3,
                 "missed": missed, "is_handler": True},
                {"pattern": "a.>", "group": None, "queue": "q", "policy": "block", "waiting": 0,
                 "missed": 0, "is_handler": False},
                {"pattern": None, "group": "workers", "queue": None, "policy": "drop_oldest",
                 "waiting": 0, "missed": 0, "is_handler": True},
            ],
            "groups": [
                {"group": "workers", "queue": None, "unacknowledged": 2, "bytes": 10,
                 "in_flight": 2, "waiting": 0}
            ],
        }  # fmt: skip

    rows = listening_rows([seen("1", state(0), state(4))])
    cells = [shown(LISTENING_COLUMNS, row) for row in rows]
    assert [(c["kind"], c["name"], c["waiting"], c["missed"]) for c in cells] == [
        ("subject", "a.>", "3", "4+4"),
        ("subject", "a.>", "0", "0"),
        ("member", "workers", "0", "0"),
        ("gives to", "workers", "2", "-"),
    ]
    assert len({row.key for row in rows}) == 4
