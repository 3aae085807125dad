"""``meshctl trace``: what followed from one call or message, across all nodes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

import mesh
from mesh.cli import errors
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_table, print_text
from mesh.cli.text import count_of, milliseconds
from mesh.cli.tracing.gathering import gather, spans_of, traces_of
from mesh.cli.tracing.tree import Placed, forest, walk

__all__ = ["trace"]

EPILOG = """\b
Examples:
  meshctl call --trace shop.order 7        begin one, and print its id
  meshctl trace 0af7651916cd               the first digits are enough
  meshctl trace                            the traces that nodes still know
  meshctl trace --json 0af7651916cd | jq '.spans[] | select(.error)'

Each node keeps its last 4,096 spans, by itself; nothing has to be installed or set. A start with ~
was corrected: the clock of that node, and that of whom it heard from, do not agree.
"""

SHOWN = 20

MOST_NAMED = 8
"""Traces that are named where one was meant."""

MAX_INDENT = 32
"""Levels that are drawn to the right; what is deeper stands below them."""

_DOES = {"client": "calls", "server": "serves", "producer": "sends", "consumer": "handles"}


@click.command(epilog=EPILOG, short_help="Show what followed from a call or message.")
@click.argument("trace_id", metavar="[ID]", required=False)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1, max=1000),
    default=SHOWN,
    show_default=True,
    help="Without ID: as many traces.",
)
@json_option("all that is known of it, or the traces, as JSON")
@mesh_options
@pass_options
def trace(options: Options, trace_id: str | None, limit: int, as_json: bool) -> None:
    """Ask all nodes for the trace ID and draw it; without ID list the traces they know.

    Nodes that do not answer are named on stderr: what happened there is missing.
    """
    if trace_id is not None and not (
        len(trace_id) <= 32 and set(trace_id) <= set("0123456789abcdef")
    ):
        raise click.UsageError(f"{trace_id!r} is no trace: give 32 hex digits, or the first few")
    with options.node() as node:
        if trace_id is None:
            _list(node, limit, options.timeout, as_json)
        else:
            _show(node, trace_id, options.timeout, as_json)


def _tell_silent(silent: dict[mesh.Peer, str]) -> None:
    for peer, reason in silent.items():
        errors.note(f"{peer} did not tell: {reason}")


# One trace.


def _show(node: mesh.Node, trace_id: str, timeout: float, as_json: bool) -> None:
    answers, silent = gather(node, "spans", trace_id, timeout=timeout)
    spans = [
        {**span, "node": str(peer), "node_id": peer.id}
        for peer, answer in answers
        for span in spans_of(answer)
        if span["trace"].startswith(trace_id)
    ]
    _tell_silent(silent)
    found = sorted({span["trace"] for span in spans})
    if not found:
        asked = count_of(len(answers), "node")
        raise click.ClickException(
            f"{asked} answered, and none keeps a span of a trace {trace_id}; nodes keep the last "
            "4,096 spans, of traces that are sampled"
        )
    if len(found) > 1:
        more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        which = ", ".join(found[:MOST_NAMED]) + more
        raise click.ClickException(f"{trace_id} can mean {which}; give more digits")
    trees = forest(spans)
    if as_json:
        print_json(_document(found[0], trees, silent))
        return
    placed = [one for _, one in walk(trees)]
    took = max(one.end for one in placed) - trees[0].start
    failed = sum(bool(one.span["error"]) for one in placed)
    nodes = len({one.node for one in placed})
    print_text(
        f"trace {found[0]}: {count_of(len(placed), 'span')} at {count_of(nodes, 'node')}, "
        f"{milliseconds(took)}" + (f", {count_of(failed, 'error')}" if failed else "")
    )
    print_table(
        ("start", "took", "span", "node", "does", "note"),
        [_row(depth, one, trees[0].start) for depth, one in walk(trees)],
        details=("note",),
    )


def _row(depth: int, one: Placed, origin: float) -> tuple[str, ...]:
    span = one.span
    moved = "~" if one.is_moved else ""
    branch = "  " * (min(depth, MAX_INDENT) - 1) + "└ " if depth else ""
    return (
        f"{moved}{milliseconds(one.start - origin)}",
        milliseconds(one.seconds),
        f"{branch}{_short(span)}",
        one.node,
        _DOES.get(span["kind"], span["kind"]),
        ", ".join(_notes(depth, span)),
    )


def _short(span: dict[str, Any]) -> str:
    """Without the verb, which has a column of its own."""
    name = str(span["name"])
    return name.removeprefix("process ")


def _notes(depth: int, span: dict[str, Any]) -> Sequence[str]:
    notes = []
    if span["error"]:
        notes.append(str(span["error"]))
    if not depth and span["parent"] and span["peer"]:
        notes.append(f"from {span['peer']}")
    attributes = span["attributes"]
    if attributes.get("mesh.redelivered"):
        notes.append("redelivered")
    notes += [f"{text} ({milliseconds(after)})" for after, text in span["events"]]
    return notes


def _document(
    trace_id: str, trees: Sequence[Placed], silent: dict[mesh.Peer, str]
) -> dict[str, Any]:
    return {
        "trace": trace_id,
        "spans": [
            {
                **one.span,
                "depth": depth,
                "offset_seconds": one.start - trees[0].start,
                "is_moved": one.is_moved,
            }
            for depth, one in walk(trees)
        ],
        "silent": _silent_documents(silent),
    }


def _silent_documents(silent: dict[mesh.Peer, str]) -> list[dict[str, str]]:
    return [{"id": p.id, "name": p.name, "reason": reason} for p, reason in silent.items()]


# All traces.


def _list(node: mesh.Node, limit: int, timeout: float, as_json: bool) -> None:
    answers, silent = gather(node, "traces", limit, timeout=timeout)
    _tell_silent(silent)
    known: dict[str, dict[str, Any]] = {}
    for _, answer in answers:
        for one in traces_of(answer):
            if one["trace"] in known:
                _merge(known[one["trace"]], one)
            else:
                known[one["trace"]] = dict(one)
    newest = sorted(known.values(), key=lambda one: one["end"], reverse=True)[:limit]
    if as_json:
        documents = [
            {
                "trace": one["trace"],
                "name": one["name"],
                "start": datetime.fromtimestamp(one["start"], UTC),
                "seconds": one["end"] - one["start"],
                "spans": one["spans"],
                "errors": one["errors"],
            }
            for one in newest
        ]
        print_json({"traces": documents, "silent": _silent_documents(silent)})
    elif not newest:
        print_text("no node keeps a span; 'meshctl call --trace' begins a trace")
    else:
        print_table(
            ("trace", "name", "start", "took", "spans", "errors"),
            [
                (
                    one["trace"],
                    str(one["name"]),
                    f"{datetime.fromtimestamp(one['start']):%H:%M:%S}",
                    milliseconds(one["end"] - one["start"]),
                    str(one["spans"]),
                    str(one["errors"] or ""),
                )
                for one in newest
            ],
        )


def _merge(known: dict[str, Any], more: dict[str, Any]) -> None:
    """What another node says of the same trace. The first span names it, a root before others."""
    is_first = (not more["has_root"], more["start"]) < (not known["has_root"], known["start"])
    if is_first:
        known["name"] = more["name"]
    known["has_root"] = known["has_root"] or more["has_root"]
    known["start"] = min(known["start"], more["start"])
    known["end"] = max(known["end"], more["end"])
    known["spans"] += more["spans"]
    known["errors"] += more["errors"]
