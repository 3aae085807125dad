"""What other nodes tell of traces is taken for what it is, or left out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mesh.cli.commands.traces import MAX_INDENT, _row
from mesh.cli.tracing.gathering import MAX_TIME, spans_of, traces_of
from mesh.cli.tracing.tree import forest, walk

SPAN: dict[str, Any] = {
    "trace": "a" * 32,
    "span": "b" * 16,
    "parent": None,
    "kind": "client",
    "name": "calc.add",
    "peer": None,
    "start": 1.7e9,
    "seconds": 0.1,
    "error": None,
    "attributes": {},
    "events": [],
}
FOUND: dict[str, Any] = {
    "trace": "a" * 32,
    "name": "calc.add",
    "start": 1.7e9,
    "end": 1.7e9,
    "spans": 1,
    "errors": 0,
    "has_root": True,
}

NO_TIMES = [-1.0, MAX_TIME, 1e12, 1e300, float("inf"), float("-inf"), float("nan"), 5, "now"]


@pytest.mark.parametrize("time", NO_TIMES)
def test_what_is_no_time_is_no_span_and_no_trace(time: Any) -> None:
    assert spans_of({"spans": [SPAN, SPAN | {"start": time}, SPAN | {"seconds": time}]}) == [SPAN]
    assert traces_of({"traces": [FOUND, FOUND | {"start": time}, FOUND | {"end": time}]}) == [FOUND]
    (span,) = spans_of({"spans": [SPAN | {"events": [[time, "sent"], [0.5, "sent"]]}]})
    assert span["events"] == [[0.5, "sent"]]


def test_what_is_a_time_is_a_date() -> None:
    assert datetime.fromtimestamp(MAX_TIME, UTC).astimezone().year < 9999


@pytest.mark.parametrize("id", ["", "a" * 31, "A" * 32, "a" * 31 + "\n", "\x1b[2J", None])
def test_what_has_no_id_of_a_trace_is_left_out(id: Any) -> None:
    assert spans_of({"spans": [SPAN | {"trace": id}]}) == []
    assert traces_of({"traces": [FOUND | {"trace": id}]}) == []


def test_a_chain_of_thousands_is_drawn_no_wider_than_a_screen() -> None:
    chain = [
        SPAN | {"span": f"{n:016x}", "parent": f"{n - 1:016x}" if n else None, "node": "calc"}
        for n in range(4000)
    ]
    rows = [_row(depth, one, 1.7e9) for depth, one in walk(forest(chain))]
    assert len(rows) == 4000
    assert max(len(row[2]) for row in rows) < 2 * MAX_INDENT + 20
