"""The rows of the other views: methods, the links of one node, and what is listened to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mesh.cli.peer_view import is_shown
from mesh.cli.reading import items_of, text_of, texts_of
from mesh.cli.text import bytes_of
from mesh.cli.top.nodes import Seen
from mesh.cli.top.samples import Change, added, latency, together
from mesh.cli.top.table import BAD, FINE, WARN, Column, Row, count, grown, rate, seconds

__all__ = [
    "LINK_COLUMNS",
    "LISTENING_COLUMNS",
    "METHOD_COLUMNS",
    "link_rows",
    "listening_rows",
    "method_rows",
]

MAX_ROWS = 10_000
"""Of a view: what nodes say of themselves is bounded at each, this bounds the sum."""


def _latest(nodes: Iterable[Seen]) -> list[tuple[Seen, Any]]:
    """Those that answered, and what they said."""
    return [(seen, seen.last.state) for seen in nodes if seen.last is not None and not seen.trouble]


# Methods: all nodes that serve one together, and all that call it.


def method_rows(nodes: Iterable[Seen], *, show_all: bool = True) -> list[Row]:
    """One for each method that is served, or was called."""
    answering = _latest(nodes)
    served: dict[str, list[Change]] = {}
    called: dict[str, list[Change]] = {}
    for seen, state in answering:
        change = seen.change
        for one in items_of(state, "methods"):
            name = text_of(one, "name")
            served.setdefault(name, []).append(change.of("methods", name=name))
        for one in items_of(state, "calls"):
            name = text_of(one, "method")
            called.setdefault(name, []).append(change.of("calls", method=name))
    known = dict.fromkeys((*served, *called))
    names = [name for name in known if name and is_shown(name, show_all=show_all)][:MAX_ROWS]
    return [_method(name, served.get(name, []), called.get(name, [])) for name in names]


def _method(name: str, served: Sequence[Change], called: Sequence[Change]) -> Row:
    here = together([change.counts("latency", "counts") for change in served])
    there = together([change.counts("latency", "counts") for change in called])
    values: dict[str, Any] = {
        "method": name,
        "nodes": len(served),
        "served": added([c.rate(how) for c in served for how in ("succeeded", "failed")]),
        "errors": added([c.rate("failed") for c in served]),
        "p50": latency(here, 0.5),
        "p99": latency(here, 0.99),
        "running": added([c.now("running") for c in served]),
        "waiting": added([c.now("waiting") for c in served]),
        "concurrency": added([c.now("concurrency") for c in served]),
        "calls": added([c.rate(how) for c in called for how in ("succeeded", "failed")]),
        "call_errors": added([c.rate("failed") for c in called]),
        "call_p50": latency(there, 0.5),
        "call_p99": latency(there, 0.99),
        "in_flight": added([c.now("in_flight") for c in called]),
    }
    is_odd = values["errors"] or values["call_errors"] or values["waiting"]
    return Row(name, values, WARN if is_odd else FINE)


def _running(row: Row) -> str:
    if row["running"] is None:
        return "-"
    return f"{count(row['running'])}/{count(row['concurrency'])}"


METHOD_COLUMNS = (
    Column("method", "method", lambda row: row["method"], rank=0, is_text=True),
    Column("nodes", "nodes", lambda row: count(row["nodes"]), rank=5),
    Column("served", "served/s", lambda row: rate(row["served"]), rank=1),
    Column("errors", "err/s", lambda row: rate(row["errors"]), rank=2,
           style=lambda row: BAD if row["errors"] else FINE),
    Column("p50", "p50", lambda row: seconds(row["p50"]), rank=7),
    Column("p99", "p99", lambda row: seconds(row["p99"]), rank=3),
    Column("running", "run", _running, rank=6),
    Column("waiting", "in line", lambda row: count(row["waiting"]), rank=4,
           style=lambda row: WARN if row["waiting"] else FINE),
    Column("calls", "calls/s", lambda row: rate(row["calls"]), rank=8),
    Column("call_errors", "call err/s", lambda row: rate(row["call_errors"]), rank=10,
           style=lambda row: BAD if row["call_errors"] else FINE),
    Column("call_p50", "call p50", lambda row: seconds(row["call_p50"]), rank=12),
    Column("call_p99", "call p99", lambda row: seconds(row["call_p99"]), rank=9),
    Column("in_flight", "flight", lambda row: count(row["in_flight"]), rank=11),
)  # fmt: skip


# Links: whom one node knows.


def link_rows(seen: Seen | None) -> list[Row]:
    """One for each peer of that node."""
    if seen is None or seen.last is None or seen.trouble:
        return []
    peers = items_of(seen.last.state, "peers")[:MAX_ROWS]
    change = seen.change
    return [_link(one, change.of("peers", id=one.get("id"))) for one in peers]


def _link(one: Any, change: Change) -> Row:
    id = text_of(one, "id")
    values: dict[str, Any] = {
        "peer": f"{text_of(one, 'name')}/{id[:8]}",
        "id": id,
        "address": text_of(one, "address"),
        "state": text_of(one, "state"),
        "link": _ways(one.get("hears_us") is True, one.get("is_heard") is True),
        "in": change.rate("received"),
        "out": change.rate("sent"),
        "backlog": change.now("waiting_messages"),
        "backlog_bytes": change.now("waiting_bytes"),
        "dropped": change.now("dropped"),
        "dropped_new": change.grown("dropped"),
        "in_flight": change.now("calls_in_flight"),
        "heard": change.now("last_heard_seconds"),
        "ejected": texts_of(one, "ejected"),
    }
    row = Row(id, values)
    if values["state"] not in ("alive", "left", ""):
        row.severity = BAD
    elif values["state"] == "alive" and (
        values["link"] != "both ways" or values["dropped_new"] or values["ejected"]
    ):
        row.severity = WARN
    return row


def _ways(hears_us: bool, is_heard: bool) -> str:
    if hears_us and is_heard:
        return "both ways"
    return "out only" if hears_us else "in only" if is_heard else "none"


LINK_COLUMNS = (
    Column("peer", "peer", lambda row: row["peer"], rank=0, is_text=True),
    Column("state", "state", lambda row: row["state"], rank=1, is_text=True,
           style=lambda row: FINE if row["state"] in ("alive", "left") else BAD),
    Column("link", "link", lambda row: row["link"], rank=2, is_text=True,
           style=lambda row: FINE if row["link"] == "both ways" else WARN),
    Column("in", "in/s", lambda row: rate(row["in"]), rank=3),
    Column("out", "out/s", lambda row: rate(row["out"]), rank=4),
    Column("backlog", "waits", lambda row: count(row["backlog"]) + (
        f" {bytes_of(row['backlog_bytes'])}" if row["backlog_bytes"] else ""), rank=5),
    Column("dropped", "dropped", lambda row: grown(row, "dropped"), rank=6,
           style=lambda row: BAD if row["dropped_new"] else FINE),
    Column("in_flight", "flight", lambda row: count(row["in_flight"]), rank=8),
    Column("heard", "heard ago", lambda row: seconds(row["heard"]), rank=7),
    Column("address", "address", lambda row: row["address"], rank=9, is_text=True),
    Column("ejected", "not called for", lambda row: " ".join(row["ejected"]), rank=10,
           is_text=True, is_optional=True, style=lambda _: WARN),
)  # fmt: skip


# What nodes listen to, and the groups that they give work.


def listening_rows(nodes: Iterable[Seen]) -> list[Row]:
    """One for each subscription, membership, and group with casts that are not acknowledged."""
    rows = []
    for seen, state in _latest(nodes):
        change = seen.change
        for one in items_of(state, "subscriptions"):
            where = {name: one.get(name) for name in ("pattern", "group", "queue")}
            rows.append(_listening(seen, one, change.of("subscriptions", **where)))
        for one in items_of(state, "groups"):
            rows.append(_giving(seen, one))
    return rows[:MAX_ROWS]


def _listening(seen: Seen, one: Any, change: Change) -> Row:
    name = text_of(one, "pattern") or text_of(one, "group")
    queue = text_of(one, "queue")
    values: dict[str, Any] = {
        "node": str(seen.peer),
        "id": seen.peer.id,
        "kind": "subject" if one.get("pattern") is not None else "member",
        "name": name,
        "queue": queue,
        "policy": text_of(one, "policy"),
        "waiting": change.now("waiting"),
        "missed": change.now("missed"),
        "missed_new": change.grown("missed"),
    }
    row = Row(f"{seen.peer.id} {values['kind']} {name} {queue}", values)
    row.severity = WARN if values["missed_new"] or values["waiting"] else FINE
    return row


def _giving(seen: Seen, one: Any) -> Row:
    change = Change(None, one, None)
    name = text_of(one, "group") or text_of(one, "queue")
    values: dict[str, Any] = {
        "node": str(seen.peer),
        "id": seen.peer.id,
        "kind": "gives to",
        "name": name,
        "queue": text_of(one, "queue"),
        "policy": "",
        "waiting": change.now("unacknowledged"),
        "missed": None,
        "missed_new": None,
    }
    return Row(f"{seen.peer.id} gives {name}", values, WARN if values["waiting"] else FINE)


LISTENING_COLUMNS = (
    Column("node", "node", lambda row: row["node"], rank=0, is_text=True),
    Column("kind", "kind", lambda row: row["kind"], rank=3, is_text=True),
    Column("name", "subject or group", lambda row: row["name"], rank=1, is_text=True),
    Column("queue", "queue group", lambda row: row["queue"], rank=5, is_text=True),
    Column("policy", "policy", lambda row: row["policy"], rank=6, is_text=True),
    Column("waiting", "waits", lambda row: count(row["waiting"]), rank=2,
           style=lambda row: WARN if row["waiting"] else FINE),
    Column("missed", "missed", lambda row: grown(row, "missed"), rank=4,
           style=lambda row: BAD if row["missed_new"] else FINE),
)  # fmt: skip
