"""Scores as a table for people and as one JSON document for programs."""

from __future__ import annotations

import os
import platform
from collections import Counter
from typing import Any

from benchmarks.harness import NOISY_CORES, Score, ratio
from benchmarks.workloads import BASELINE, Metric

QUOTABLE_ROUNDS = 5
"""Fewer rounds than this are for looking, not for quoting."""

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
        return f"{score.delivered:,} of {score.expected:,} !"
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
            lost.append(f"MESSAGES {kind}: {name}: {delivery(score)}; the figure is void")
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
    """Whether nothing failed and nothing was lost; what was skipped did neither."""
    played = (s for scores in results for s in scores if s.skipped is None)
    return all(s.samples and s.is_exact and not s.failures for s in played)


def machine() -> dict[str, Any]:
    """Where this ran."""
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }


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
