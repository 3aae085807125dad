"""What messages came to: a row for each receiver, and the sums; one document for programs."""

from __future__ import annotations

from typing import Any

import mesh
from mesh.cli import errors
from mesh.cli.bench.core.histogram import Histogram
from mesh.cli.bench.core.receipt import Receipt
from mesh.cli.bench.core.schedule import Plan
from mesh.cli.bench.report import (
    count_of_many,
    failures_json,
    latency_json,
    show_failures,
    show_latency,
    tell_late,
)
from mesh.cli.bench.run import Run
from mesh.cli.output import print_json, print_table, print_text
from mesh.cli.text import bytes_of, rate_of

__all__ = ["show_groupcast", "show_pubsub"]

Row = dict[str, Any]


def show_pubsub(plan: Plan, size: int, subjects: int, run: Run, *, as_json: bool) -> None:
    """The sums of ``bench pubsub``."""
    sent = run.sent
    rows = [_subscriber(run, part) for part in run.parts]
    rate = run.received / _seconds(run)
    lost, broken, disordered = (
        sum(row[name] for row in rows) for name in ("lost", "broken", "disordered")
    )
    if as_json:
        document = {
            "size": size,
            "subjects": subjects,
            "published": sent.count,
            "publish_rate": sent.count / max(sent.seconds, 1e-9),
            "delivered": run.received,
            "lost": lost,
            "broken": broken,
            "disordered": disordered,
            "subscribers": rows,
        }
        print_json(document | _common(plan, run, rate, size))
        _tell(plan, run)
        return
    cells = [
        (
            f"{row['name']}/{row['id'][:8]}",
            row["address"],
            f"{row['received']:,}",
            f"{row['lost']:,}",
            rate_of(row["rate"]),
            f"{bytes_of(row['rate'] * size)}/s",
        )
        for row in rows
    ]
    columns = ("subscriber", "address", "received", "lost", "rate", "data")
    print_table(columns, cells, details=("address",))
    print_text(
        f"{count_of_many(sent.count, 'message')} of {bytes_of(size)} published in "
        f"{sent.seconds:.2f} s, {run.received:,} delivered: {rate_of(rate)}, "
        f"{bytes_of(rate * size)}/s, {lost:,} lost"
    )
    _show_rest(plan, run)


def show_groupcast(plan: Plan, size: int, run: Run, *, as_json: bool) -> None:
    """The sums of ``bench groupcast``."""
    sent = run.sent
    rows = [_worker(run, part) for part in run.parts]
    most = max(row["handled"] for row in rows)
    balance = most * len(rows) / run.received if run.received else 0.0
    rate = sent.count / _seconds(run)
    if as_json:
        document = {
            "size": size,
            "sent": sent.count,
            "acknowledged": run.is_acknowledged,
            "handled": run.received,
            "sent_again": run.sent_again,
            "balance": balance,
            "workers": rows,
        }
        print_json(document | _common(plan, run, rate, size))
        _tell(plan, run)
        return
    cells = [
        (
            f"{row['name']}/{row['id'][:8]}",
            row["address"],
            f"{row['handled']:,}",
            f"{row['handled'] / max(run.received, 1):.1%}",
            f"{row['redelivered']:,}",
        )
        for row in rows
    ]
    columns = ("worker", "address", "handled", "share", "redelivered")
    print_table(columns, cells, details=("address",))
    done = "acknowledged" if run.is_acknowledged else "not all acknowledged"
    print_text(
        f"{count_of_many(sent.count, 'message')} of {bytes_of(size)} sent and {done} in "
        f"{_seconds(run):.2f} s: {rate_of(rate)}, {bytes_of(rate * size)}/s, "
        f"balance {balance:.3f}, {run.sent_again:,} sent again"
    )
    _show_rest(plan, run)


def _subscriber(run: Run, part: mesh.Peer) -> Row:
    got = run.receipts.get(part.id) or Receipt(run.size)
    return _part(run, part) | {
        "received": got.received,
        "lost": max(0, run.sent.count - got.received - got.broken),
        "broken": got.broken,
        "disordered": got.disordered,
        # The first one is what the time begins with.
        "rate": (got.received - 1) / got.seconds if got.seconds else 0.0,
    }


def _worker(run: Run, part: mesh.Peer) -> Row:
    got = run.receipts.get(part.id) or Receipt(run.size)
    return _part(run, part) | {"handled": got.received, "redelivered": got.redelivered}


def _part(run: Run, part: mesh.Peer) -> Row:
    """What there is to tell of either kind; ``gone`` says why it answers no more."""
    shown = {"id": part.id, "name": part.name, "address": part.address}
    return shown | {"gone": run.gone.get(part.id)}


def _common(plan: Plan, run: Run, rate: float, size: int) -> Row:
    return {
        "rate_asked": plan.rate,
        "seconds": round(_seconds(run), 6),
        "rate": rate,
        "bytes_per_second": rate * size,
        "late": run.late,
        **failures_json(run.sent.errors),
        **latency_json(_latency(plan, run)),
    }


def _seconds(run: Run) -> float:
    """Until all was sent and got. Receivers measure by their own clocks, from their first one."""
    spans = [receipt.seconds for receipt in run.receipts.values()]
    return max(run.sent.seconds, *spans, 1e-9)


def _latency(plan: Plan, run: Run) -> Histogram | None:
    """Of all receivers. Without a rate it would tell how full the buffers are, and no more."""
    if plan.rate is None or not run.has_one_clock:
        return None
    merged = Histogram()
    for receipt in run.receipts.values():
        merged.merge(receipt.latency)
    return merged


def _show_rest(plan: Plan, run: Run) -> None:
    latency = _latency(plan, run)
    if latency is not None:
        show_latency(latency)
    show_failures(run.sent.errors)
    _tell(plan, run)


def _tell(plan: Plan, run: Run) -> None:
    """What to know about the sums, on stderr."""
    if plan.rate is not None and not run.has_one_clock:
        errors.note(
            "no latency: the clocks of other hosts are not this one's; "
            "'meshctl bench rpc meshctl-bench.echo' times the way there and back"
        )
    tell_late(plan, run.late)
