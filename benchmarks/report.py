"""Scores as a table for people and as one JSON document for programs."""

from __future__ import annotations

import os
import platform
from collections import Counter
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import zmq

from benchmarks.harness import NOISY_CORES, Score, ratio
from benchmarks.workloads import BASELINE, Metric

QUOTABLE_ROUNDS = 5
"""Fewer rounds than this are for looking, not for quoting."""

PACKAGES = (
    "pyzmq",
    "msgpack",
    "uvloop",
    "eclipse-zenoh",
    "nats-py",
    "pynng",
    "grpcio",
    "rpyc",
    "zeromq-pyre",
    "redis",
    "hiredis",
)
"""Whose versions a figure depends on."""

HEADER = ("workload", "metric", "system", "median", "min-max", "unit", f"/{BASELINE}", "delivered")
RIGHT_ALIGNED = frozenset({"median", "min-max", f"/{BASELINE}", "delivered"})


def table(results: list[list[Score]]) -> str:
    """One line per workload, metric and contestant."""
    lines: list[tuple[str, ...]] = [HEADER]
    for scores in results:
        if not scores:
            continue
        for metric in scores[0].workload.metrics:
            lines += [row(score, scores, metric) for score in scores]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    rendered = [render(line, widths) for line in lines]
    rendered.insert(1, "-" * max(map(len, rendered)))
    return "\n".join(rendered)


def row(score: Score, scores: list[Score], metric: Metric) -> tuple[str, ...]:
    head = (score.workload.name, metric.name, score.contestant.label)
    if score.skipped is not None:
        return (*head, "skipped", "", metric.unit, "", "")
    middle = score.median(metric)
    if middle is None:
        return (*head, "FAILED", "", metric.unit, "", "")
    values = score.values(metric)
    spread = f"{number(min(values), metric)} - {number(max(values), metric)}"
    relative = ratio(score, scores, metric)
    return (
        *head,
        number(middle, metric),
        spread,
        metric.unit,
        "" if relative is None else f"{relative:.2f} x",
        delivery(score),
    )


def delivery(score: Score) -> str:
    if not score.is_exact:
        sign = "" if score.contestant.may_lose else " !"
        return f"{score.delivered:,} of {score.expected:,}{sign}"
    return f"{score.delivered:,}, all" if score.expected else ""


def number(value: float, metric: Metric) -> str:
    return f"{value:,.{metric.digits}f}"


def render(line: tuple[str, ...], widths: list[int]) -> str:
    cells = zip(HEADER, line, widths, strict=True)
    aligned = (
        cell.rjust(width) if title in RIGHT_ALIGNED else cell.ljust(width)
        for title, cell, width in cells
    )
    return "  ".join(aligned).rstrip()


def complaints(results: list[list[Score]], rounds: int) -> list[str]:
    """What a reader must know before believing the table; loss and failures first."""
    lost, failed, skipped, noisy = [], [], [], []
    for score in (score for scores in results for score in scores):
        name = f"{score.workload.name}, {score.contestant.label}"
        if not score.is_exact:
            difference = score.expected - score.delivered
            kind = "LOST" if difference > 0 else "DUPLICATED OR LOST"
            verdict = "it drops by design" if score.contestant.may_lose else "the figure is void"
            lost.append(f"MESSAGES {kind}: {name}: {delivery(score)}; {verdict}")
        for failure, times in Counter(score.failures).items():
            failed.append(f"FAILED {times} x: {name}: {failure}")
        if score.skipped is not None:
            skipped.append(f"skipped: {name}: {score.skipped}")
        if max(score.foreign_cores, default=0.0) > NOISY_CORES:
            noisy.append(f"noisy: {name}: others used {max(score.foreign_cores):.2f} core")
    if rounds < QUOTABLE_ROUNDS:
        noisy.append(f"only {rounds} rounds: not for quoting, take at least {QUOTABLE_ROUNDS}")
    return lost + failed + skipped + noisy


def is_clean(results: list[list[Score]]) -> bool:
    """Whether nothing failed and nothing was lost that should not be; what was skipped is fine."""
    played = (s for scores in results for s in scores if s.skipped is None)
    return all(
        s.samples and (s.is_exact or s.contestant.may_lose) and not s.failures for s in played
    )


def machine() -> dict[str, Any]:
    """Where and when this ran, and with what."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "system": platform.platform(),
        "processor": processor(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "versions": {name: version for name in PACKAGES if (version := version_of(name))},
        "libzmq": zmq.zmq_version(),
    }


def processor() -> str:
    """Its name as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def version_of(package: str) -> str | None:
    """None when it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def document(
    results: list[list[Score]], *, rounds: int, seconds: float, pin: int | None
) -> dict[str, Any]:
    """Everything measured, each run's value included."""
    return {
        "machine": machine(),
        "rounds": rounds,
        "seconds": seconds,
        "pin": pin,
        "clean": is_clean(results),
        "results": [
            {
                "workload": score.workload.name,
                "metric": metric.name,
                "unit": metric.unit,
                "better": metric.better,
                "system": score.contestant.label,
                "median": score.median(metric),
                "values": score.values(metric),
                "ratio": ratio(score, scores, metric),
                "expected": score.expected,
                "delivered": score.delivered,
                "exact": score.is_exact,
                "foreign_cores": [round(cores, 3) for cores in score.foreign_cores],
                "failures": score.failures,
                "skipped": score.skipped,
            }
            for scores in results
            for score in scores
            for metric in score.workload.metrics
        ],
        "complaints": complaints(results, rounds),
    }
