"""What a node's row says, and the sums of all."""

from __future__ import annotations

from typing import Any

import pytest

import mesh
from mesh.cli.top.nodes import COLUMNS, GONE, SLOW_LOOP, Seen, node_row, sums
from mesh.cli.top.samples import Sample
from mesh.cli.top.table import BAD, FINE, WARN, Row

NONE = [0] * 46
MILLISECOND = 13  # the place of 1 ms among the bounds of a histogram


def state(**changed: Any) -> dict[str, Any]:
    """A node's answer, in all its parts; "counters" and "process" are replaced as a whole."""
    parts = {name: changed.pop(name) for name in ("counters", "process") if name in changed}
    totals = {
        "since": "born",
        "drain": {"has_begun": False, "is_over": False, "left": []},
        "linked": 3,
        "sent": 0,
        "received": 0,
        "casts_sent": 0,
        "casts_received": 0,
        "dropped": 0,
        "waiting_bytes": 0,
        "waiting_messages": 0,
        "running": 0,
        "waiting": 0,
        "in_flight": 0,
        "unacknowledged": 0,
        "queued": 0,
        "served": {"succeeded": 0, "failed": 0, "counts": NONE},
        "called": {"succeeded": 0, "failed": 0, "counts": NONE},
    }
    process = {"memory_bytes": 1_000_000, "cpu_seconds": 0.0}
    return {"totals": totals | changed, "process": process, "counters": {}} | parts


def peer(name: str = "calc", digit: str = "1", **fields: Any) -> mesh.Peer:
    return mesh.Peer(digit * 32, name, **fields)


def seen(before: Any, after: Any, **fields: Any) -> Seen:
    """Two answers, 2 s apart."""
    return Seen(fields.pop("peer", peer()), Sample(100.0, before), Sample(102.0, after), **fields)


def shown(row: Row) -> dict[str, str]:
    return {column.key: column.show(row) for column in COLUMNS}


def test_a_row_says_what_happened_a_second() -> None:
    counts = [0] * 46
    counts[MILLISECOND] = 20
    after = state(
        sent=1_500,
        casts_sent=500,
        received=10,
        casts_received=20,
        served={"succeeded": 20, "failed": 4, "counts": counts},
        called={"succeeded": 8, "failed": 2, "counts": NONE},
        running=64,
        waiting=3,
        in_flight=2,
        waiting_messages=5,
        unacknowledged=1,
        queued=4,
        waiting_bytes=2_500,
        counters={"messages_missed": 7, "dropped_for_slow_peers": 12, "casts_redelivered": 1},
        process={"memory_bytes": 45_200_000, "cpu_seconds": 1.0},
    )
    row = node_row(seen(state(counters={"messages_missed": 2}), after))
    assert shown(row) == {
        "node": "calc/11111111",
        "state": "alive: losing",
        "served": "12",
        "errors": "2.0",
        "p99": "1.4 ms",
        "p50": "1.4 ms",
        "running": "64+3",
        "calls": "5.0",
        "call_errors": "1.0",
        "in_flight": "2",
        "in": "15",
        "out": "1,000",
        "backlog": "10 2.5 kB",
        "lag": "-",
        "missed": "7+5",
        "dropped": "12+12",
        "redelivered": "1+1",
        "cpu": "50%",
        "memory": "45.2 MB",
    }
    assert row.severity == WARN


def test_at_the_first_look_what_is_a_rate_is_not_known_and_the_rest_is() -> None:
    row = node_row(Seen(peer(), None, Sample(1.0, state(running=3, counters={"gaps": 1}))))
    cells = shown(row)
    assert (cells["state"], cells["running"], cells["missed"]) == ("alive", "3", "0")
    assert [cells[name] for name in ("in", "served", "p99", "cpu")] == ["-"] * 4
    assert row.severity == FINE


@pytest.mark.parametrize("answer", [None, {}, [], "state", {"totals": 7, "process": None}])
def test_an_answer_of_any_shape_makes_a_row(answer: Any) -> None:
    cells = shown(node_row(seen(answer, answer)))
    assert cells["state"] == "alive"
    assert set(cells.values()) == {"calc/11111111", "alive", "-"}


@pytest.mark.parametrize(
    ("fields", "state_of_peer", "word", "severity"),
    [
        ({}, "alive", "alive", FINE),
        ({"trouble": "no answer", "silent": 12.0}, "alive", "no answer 12 s", BAD),
        ({"trouble": "denied"}, "alive", "denied", WARN),
        ({"trouble": "too old"}, "alive", "too old", WARN),
        ({"trouble": "error"}, "alive", "error", BAD),
        ({"trouble": "no answer", "silent": 3.0}, "suspect", "suspect 3 s", BAD),
        ({"trouble": GONE, "silent": 130.0}, "failed", "failed 2 min", BAD),
        ({"trouble": GONE, "silent": None}, "left", "left", FINE),
    ],
)
def test_the_state_is_what_matters_most(
    fields: dict[str, Any], state_of_peer: str, word: str, severity: int
) -> None:
    row = node_row(seen(state(), state(), peer=peer(state=state_of_peer), **fields))
    assert shown(row)["state"] == word
    assert row.severity == severity
    if fields:
        assert shown(row)["memory"] == "-", "old numbers would deceive"


@pytest.mark.parametrize(
    ("changed", "severity", "word"),
    [
        ({"served": {"succeeded": 0, "failed": 1, "counts": NONE}}, WARN, "alive: errors"),
        ({"called": {"succeeded": 0, "failed": 1, "counts": NONE}}, WARN, "alive: call errors"),
        ({"counters": {"messages_missed": 1}}, WARN, "alive: losing"),
        ({"counters": {"dropped_by_slow_subscriptions": 1}}, WARN, "alive: losing"),
        ({"counters": {"messages_lost": 1}}, WARN, "alive: losing"),
        ({"counters": {"casts_redelivered": 1}}, WARN, "alive: sending again"),
        ({"counters": {"hedges_sent": 1}}, FINE, "alive"),
        ({"waiting": 1}, WARN, "alive: calls wait"),
        ({"waiting_messages": 50}, FINE, "alive"),
        ({"drain": {"has_begun": True, "is_over": False}}, WARN, "draining"),
        ({"process": {"loop_lag_seconds": SLOW_LOOP}}, WARN, "alive: lagging"),
        ({"process": {"loop_lag_seconds": SLOW_LOOP / 2}}, FINE, "alive"),
    ],
)
def test_what_needs_a_look_is_marked_and_says_why(
    changed: dict[str, Any], severity: int, word: str
) -> None:
    row = node_row(seen(state(), state(**changed)))
    assert (row.severity, shown(row)["state"]) == (severity, word)


def test_losses_of_long_ago_are_shown_and_not_marked() -> None:
    old = {"messages_missed": 1_000_000}
    row = node_row(seen(state(counters=old), state(counters=old)))
    assert shown(row)["missed"] == "1.0M"
    assert row.severity == FINE


@pytest.mark.parametrize(
    ("is_over", "word"), [(False, "draining"), (True, "drained"), (None, "draining")]
)
def test_a_drain_is_told(is_over: Any, word: str) -> None:
    draining = state(drain={"has_begun": True, "is_over": is_over})
    assert shown(node_row(seen(state(), draining)))["state"] == word


def test_sums_are_of_those_that_answer_and_errors_are_counted_once() -> None:
    failing = state(served={"succeeded": 5, "failed": 4, "counts": NONE}, received=10)
    caller = state(called={"succeeded": 5, "failed": 4, "counts": NONE}, sent=10)
    nodes = [
        seen(state(), failing),
        seen(state(), caller, peer=peer("shop", "2")),
        seen(state(), failing, peer=peer("dead", "3"), trouble="no answer", silent=5.0),
        seen(None, None, peer=peer("gone", "4", state="failed"), trouble=GONE),
        seen(None, None, peer=peer("vault", "5"), trouble="denied"),
    ]
    found = sums(nodes)
    assert found["nodes"] == 5
    assert found["states"] == {"alive": 2, "no answer": 1, "failed": 1, "denied": 1}
    assert (found["served"], found["calls"], found["errors"]) == (4.5, 4.5, 2.0)
    assert (found["in"], found["out"]) == (5.0, 5.0)
    assert sums([])["errors"] is None
