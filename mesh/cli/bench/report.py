"""What calls came to, and what all benches show: latency, errors, what was late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mesh.cli import errors
from mesh.cli.bench.core.failures import Failures
from mesh.cli.bench.core.histogram import Histogram
from mesh.cli.bench.core.scale import steps
from mesh.cli.bench.core.schedule import Plan
from mesh.cli.bench.load import Calls
from mesh.cli.output import make_console, print_json, print_table, print_text
from mesh.cli.text import count_of, rate_of

__all__ = [
    "count_of_many",
    "failures_json",
    "intent_of",
    "latency_json",
    "show_calls",
    "show_failures",
    "show_latency",
    "tell_late",
]

PERCENTILES = (("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999))

MOST_BAR = 40
LEAST_BAR = 8
BESIDE_BAR = 44
"""Columns of a bar, and of what stands before it."""


def intent_of(plan: Plan) -> str:
    """The plan in words: "for 5 s after 1 s of warm-up at 1,000 a second"."""
    words = []
    if plan.count is not None:
        words.append(f"{plan.count:,} times")
    if plan.seconds is not None:
        words.append(f"for {plan.seconds:g} s")
    if plan.warm_up:
        words.append(f"after {plan.warm_up:g} s of warm-up")
    if plan.rate is not None:
        words.append(f"at {plan.rate:,.12g} a second")
    return " ".join(words)


def show_calls(
    method: str, plan: Plan, in_flight: int, calls: Calls, late: int, *, as_json: bool
) -> None:
    """The sums of ``bench rpc``."""
    ok, failed = calls.latency.count, calls.errors.total
    seconds = max(calls.ended - calls.began, 1) / 1e9
    if as_json:
        document = {
            "method": method,
            "in_flight": in_flight,
            "rate_asked": plan.rate,
            "seconds": round(seconds, 6),
            "calls": ok + failed,
            "answered": ok,
            "rate": ok / seconds,
            "late": late,
        }
        print_json(document | failures_json(calls.errors) | latency_json(calls.latency))
        tell_late(plan, late)
        return
    print_text(
        f"{count_of_many(ok, 'call')} answered in {seconds:.2f} s: {_per_second(ok / seconds)}, "
        f"{count_of_many(failed, 'error')}"
    )
    show_latency(calls.latency)
    show_failures(calls.errors)
    tell_late(plan, late)


def count_of_many(number: int, what: str) -> str:
    """ "1 call", "12,345 calls"."""
    return count_of(number, what).replace(str(number), f"{number:,}", 1)


def _per_second(rate: float) -> str:
    return f"{rate_of(rate).removesuffix(' msg/s')} a second"


def tell_late(plan: Plan, late: int) -> None:
    if late and plan.rate is not None:
        errors.note(
            f"{plan.rate:,.12g} a second is more than was possible: {late:,} were due and not "
            "begun; times count from when each was due"
        )


# Latency


def latency_json(latency: Histogram | None) -> dict[str, Any]:
    """In seconds."""
    if latency is None or not latency.count:
        return {"latency": None, "histogram": []}
    times: dict[str, float] = {"min": latency.least, "mean": latency.mean}
    times |= {name: latency.at(share) for name, share in PERCENTILES}
    times["max"] = latency.greatest
    return {
        "latency": {name: round(time / 1e9, 9) for name, time in times.items()},
        "histogram": [
            {"above": low / 1e9, "up_to": high / 1e9, "count": count}
            for low, high, count in steps(latency)
        ],
    }


def show_latency(latency: Histogram) -> None:
    if not latency.count:
        return
    times = [latency.least, *(latency.at(share) for _, share in PERCENTILES), latency.greatest]
    names = ("min", *(name for name, _ in PERCENTILES), "max")
    print_text("")
    print_table(names, [[_milliseconds(time) for time in times]])
    print_text("")
    print_table(("above", "up to", "count", "share", ""), _bars(latency))


def _bars(latency: Histogram) -> list[Sequence[str]]:
    console = make_console()
    width = max(LEAST_BAR, min(MOST_BAR, console.width - BESIDE_BAR))
    mark = "█" if console.encoding.lower().replace("-", "") == "utf8" else "#"
    found = steps(latency)
    most = max(count for _, _, count in found)
    return [
        (
            _edge(low),
            _edge(high),
            f"{count:,}",
            f"{count / latency.count:.1%}",
            mark * -(-count * width // most),
        )
        for low, high, count in found
    ]


def _milliseconds(time: float) -> str:
    return f"{time / 1e6:.3f} ms"


def _edge(time: int) -> str:
    return f"{time / 1e6:g} ms"


# Errors


def failures_json(failures: Failures) -> dict[str, Any]:
    return {
        "errors": {
            kind: {"count": count, "first": failures.first[kind]}
            for kind, count in failures.counts.items()
        }
    }


def show_failures(failures: Failures) -> None:
    if not failures.total:
        return
    ordered = sorted(failures.counts.items(), key=lambda item: -item[1])
    rows = [(kind, f"{count:,}", failures.first[kind]) for kind, count in ordered]
    print_text("")
    print_table(("error", "count", "the first"), rows, details=("the first",))
