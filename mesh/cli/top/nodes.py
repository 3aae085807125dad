"""A row for each node: how it is, what it does a second, and what waits or was lost there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mesh
from mesh.cli.asking import DENIED, ERROR, NO_ANSWER, TOO_OLD
from mesh.cli.reading import number_of, value_of
from mesh.cli.text import bytes_of
from mesh.cli.top.samples import Change, Sample, added, latency, together
from mesh.cli.top.table import (
    BAD,
    FINE,
    WARN,
    Column,
    Row,
    ago,
    count,
    grown,
    percent,
    rate,
    seconds,
)

__all__ = ["COLUMNS", "GONE", "PARTS", "Seen", "node_row", "sums"]

PARTS = ("totals", "process", "counters")

SLOW_LOOP = 0.1
"""Seconds that a loop lags behind: from here on everything at that node waits noticeably."""

MISSED = ("messages_missed", "dropped_by_slow_subscriptions")
"""Counters of what a node should have got and has not."""

DROPPED = ("dropped_for_slow_peers", "messages_lost")
"""Of what it had for others and gave up."""

ANSWERED = "alive"

GONE = "gone"
"""Why there is no answer of a node that is not even asked."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one node: as a member, and by its last two answers."""

    peer: mesh.Peer
    before: Sample | None = None
    last: Sample | None = None
    trouble: str = ""
    """Why there is no answer this time; empty when there is."""
    silent: float | None = None
    """Seconds since its last answer, or since it was first asked; or that it is not alive."""

    @property
    def change(self) -> Change:
        """From the answer before to the last one."""
        if self.last is None:
            return Change(None, None, None)
        return Change.between(self.before, self.last)


def node_row(seen: Seen) -> Row:
    """Numbers of a node that does not answer are unknown: those of before would deceive."""
    peer, change = seen.peer, seen.change
    if seen.trouble:
        change = Change(None, None, None)
    counts = change.counts("totals", "served", "counts")
    values: dict[str, Any] = {
        "node": str(peer),
        "id": peer.id,
        "name": peer.name,
        "state": peer.state,
        "answer": seen.trouble or ("ok" if seen.last else "asked"),
        "silent": seen.silent if seen.trouble in (NO_ANSWER, GONE) else None,
        "address": peer.address,
        "is_observer": peer.is_observer,
        "drain": _drain(None if seen.trouble else seen.last),
        "in": added([change.rate("totals", how) for how in ("received", "casts_received")]),
        "out": added([change.rate("totals", how) for how in ("sent", "casts_sent")]),
        "served": _rate_of_both(change, "served"),
        "calls": _rate_of_both(change, "called"),
        "errors": change.rate("totals", "served", "failed"),
        "call_errors": change.rate("totals", "called", "failed"),
        "p50": latency(counts, 0.5),
        "p99": latency(counts, 0.99),
        "running": change.now("totals", "running"),
        "in_line": change.now("totals", "waiting"),
        "in_flight": change.now("totals", "in_flight"),
        "backlog_bytes": change.now("totals", "waiting_bytes"),
        "backlog": _backlog(change),
        "memory": change.now("process", "memory_bytes"),
        "cpu": change.rate("process", "cpu_seconds"),
        "lag": _lag(None if seen.trouble or seen.last is None else seen.last.state),
    }
    for name, counters in (
        ("missed", MISSED),
        ("dropped", DROPPED),
        ("redelivered", ("casts_redelivered",)),
    ):
        values[name], values[f"{name}_new"] = _counted(change, counters)
    row = Row(peer.id, values)
    row.severity = _severity(values)
    return row


def _rate_of_both(change: Change, side: str) -> float | None:
    return added([change.rate("totals", side, how) for how in ("succeeded", "failed")])


def _backlog(change: Change) -> float | None:
    """Messages on their way out, groupcasts not acknowledged, and what handlers have not seen."""
    parts = ("waiting_messages", "unacknowledged", "queued")
    return added([change.now("totals", part) for part in parts])


def _counted(change: Change, names: Sequence[str]) -> tuple[float | None, float | None]:
    """How many in all and how many of them new; counters appear when something happens."""
    if change.now("totals", "linked") is None:
        return None, None
    total = sum(change.now("counters", name) or 0 for name in names)
    return total, added([change.grown("counters", name, start=0) for name in names])


def _drain(last: Sample | None) -> str:
    drain = value_of(last.state, "totals", "drain") if last is not None else None
    if not isinstance(drain, Mapping) or not drain.get("has_begun"):
        return ""
    return "drained" if drain.get("is_over") else "draining"


def _lag(state: Any) -> float | None:
    """How far its loop is behind, as far as its version tells."""
    process = value_of(state, "process")
    names = [name for name in process if "lag" in str(name)] if isinstance(process, Mapping) else []
    return next((n for name in sorted(names) if (n := number_of(process, name)) is not None), None)


def _severity(values: Mapping[str, Any]) -> int:
    if values["state"] != ANSWERED or values["answer"] in (NO_ANSWER, ERROR):
        return FINE if values["state"] == "left" else BAD
    is_odd = values["answer"] in (DENIED, TOO_OLD) or values["drain"] or _trouble(values)
    return WARN if is_odd else FINE


def _trouble(values: Mapping[str, Any]) -> str:
    """What a node that answers suffers from, the worst first; its column may not be in sight."""
    signs = (
        ("lagging", (values["lag"] or 0) >= SLOW_LOOP),
        ("losing", values["missed_new"] or values["dropped_new"]),
        ("errors", values["errors"]),
        ("call errors", values["call_errors"]),
        ("sending again", values["redelivered_new"]),
        ("calls wait", values["in_line"]),
    )
    return next((word for word, is_so in signs if is_so), "")


def _state(row: Row) -> str:
    """The one word that matters most, and for how long."""
    state, answer = row["state"], row["answer"]
    if state != ANSWERED or answer == NO_ANSWER:
        word = NO_ANSWER if state == ANSWERED else str(state)
        return word if row["silent"] is None else f"{word} {ago(row['silent'])}"
    if answer in (DENIED, TOO_OLD, ERROR):
        return str(answer)
    if row["drain"] or answer != "ok":
        return str(row["drain"] or answer)
    trouble = _trouble(row.values)
    return f"{state}: {trouble}" if trouble else str(state)


def _state_style(row: Row) -> int:
    if row["state"] != ANSWERED or row["answer"] in (NO_ANSWER, ERROR):
        return row.severity
    return row.severity


def _running(row: Row) -> str:
    """ "12", and "64+3" when three are in line."""
    in_line = f"+{count(row['in_line'])}" if row["in_line"] else ""
    return count(row["running"]) + in_line


def _waits(row: Row) -> str:
    size = row["backlog_bytes"]
    return count(row["backlog"]) + (f" {bytes_of(size)}" if size else "")


COLUMNS = (
    Column("node", "node", lambda row: row["node"], rank=0, is_text=True),
    Column("state", "state", _state, rank=1, is_text=True, style=_state_style),
    Column("served", "served/s", lambda row: rate(row["served"]), rank=2),
    Column("errors", "err/s", lambda row: rate(row["errors"]), rank=3,
           style=lambda row: BAD if row["errors"] else FINE),
    Column("p99", "p99", lambda row: seconds(row["p99"]), rank=4),
    Column("p50", "p50", lambda row: seconds(row["p50"]), rank=10),
    Column("running", "run", _running, rank=7, style=lambda row: WARN if row["in_line"] else FINE),
    Column("calls", "calls/s", lambda row: rate(row["calls"]), rank=9),
    Column("call_errors", "call err/s", lambda row: rate(row["call_errors"]), rank=14,
           style=lambda row: BAD if row["call_errors"] else FINE),
    Column("in_flight", "flight", lambda row: count(row["in_flight"]), rank=15),
    Column("in", "in/s", lambda row: rate(row["in"]), rank=8),
    Column("out", "out/s", lambda row: rate(row["out"]), rank=11),
    Column("backlog", "waits", _waits, rank=5),
    Column("lag", "lag", lambda row: seconds(row["lag"]), rank=6, is_optional=True,
           style=lambda row: BAD if (row["lag"] or 0) >= SLOW_LOOP else FINE),
    Column("missed", "missed", lambda row: grown(row, "missed"), rank=12,
           style=lambda row: BAD if row["missed_new"] else FINE),
    Column("dropped", "dropped", lambda row: grown(row, "dropped"), rank=13,
           style=lambda row: BAD if row["dropped_new"] else FINE),
    Column("redelivered", "redeliv", lambda row: grown(row, "redelivered"), rank=17,
           style=lambda row: WARN if row["redelivered_new"] else FINE),
    Column("cpu", "cpu", lambda row: percent(row["cpu"]), rank=16),
    Column("memory", "mem", lambda row: "-" if row["memory"] is None else bytes_of(row["memory"]),
           rank=18),
)  # fmt: skip
"""From what is looked for first; ``rank`` says which stay on a small terminal."""


def sums(nodes: Iterable[Seen]) -> dict[str, Any]:
    """The mesh in one line."""
    all_of_them = list(nodes)
    rows = [node_row(seen) for seen in all_of_them]
    answering = [seen for seen in all_of_them if not seen.trouble]
    counts = together([seen.change.counts("totals", "served", "counts") for seen in answering])
    states: dict[str, int] = {}
    for row in rows:
        word = row["answer"] if row["answer"] not in ("ok", "asked") else row["state"]
        word = row["state"] if row["state"] != ANSWERED else word
        states[word] = states.get(word, 0) + 1
    numbers = ("in", "out", "served", "calls", "backlog", "backlog_bytes")
    # Most errors are counted at both ends, and some callers are not listed.
    sides = [added([row[name] for row in rows]) for name in ("errors", "call_errors")]
    return {
        "nodes": len(rows),
        "states": states,
        **{name: added([row[name] for row in rows]) for name in numbers},
        "errors": max((side for side in sides if side is not None), default=None),
        "p50": latency(counts, 0.5),
        "p99": latency(counts, 0.99),
    }
