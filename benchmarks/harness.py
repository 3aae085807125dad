"""Plays workloads in rounds, contestants in turn, and sums the runs up.

Contestants of one workload alternate within each round, and every second round runs backwards, so
that a machine that slows down slows all of them. A run that other processes disturbed is repeated,
and the least disturbed attempt counts, whatever its value. A contestant that fails twice is not
asked again.
"""

from __future__ import annotations

import math
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.stage import RunFailed, Stage
from benchmarks.workloads import BASELINE, Contestant, Metric, Sample, Workload

MAX_FAILURES = 2
"""Failed runs are slow, up to a time-out each; a second one shows that it was no accident."""

NOISY_CORES = 0.25
"""CPU used by other processes from which a run is noisy; a quiet machine stays below 0.1."""

MAX_ATTEMPTS = 3
"""At one run; on a machine that is never quiet a benchmark must end all the same."""


@dataclass(slots=True)
class Score:
    """All runs of one contestant at one workload."""

    workload: Workload
    contestant: Contestant
    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    foreign_cores: list[float] = field(default_factory=list)
    skipped: str | None = None
    """Why it does not play here."""

    @property
    def expected(self) -> int:
        return sum(sample.expected for sample in self.samples)

    @property
    def delivered(self) -> int:
        return sum(sample.delivered for sample in self.samples)

    @property
    def is_exact(self) -> bool:
        """Whether each single run delivered what was due, no less and no more."""
        return all(sample.is_exact for sample in self.samples)

    def values(self, metric: Metric) -> list[float]:
        return [sample.values[metric.name] for sample in self.samples]

    def median(self, metric: Metric) -> float | None:
        values = self.values(metric)
        return median(values) if values else None


def play(
    workload: Workload,
    labels: frozenset[str],
    *,
    rounds: int,
    seconds: float,
    pin: int | None,
    tell: Callable[[str], None],
) -> list[Score]:
    """The scores of the contestants in `labels`, or of all of them if it is empty."""
    chosen = [c for c in workload.contestants if not labels or c.label in labels]
    scores = [Score(workload, contestant, skipped=contestant.missing()) for contestant in chosen]
    for score in scores:
        if score.skipped is not None:
            tell(f"{workload.name}: {score.contestant.label} is skipped: {score.skipped}")
    playing = [score for score in scores if score.skipped is None]
    for number in range(rounds):
        for score in playing if number % 2 == 0 else reversed(playing):
            if len(score.failures) < MAX_FAILURES:
                tell(f"{workload.name}: {score.contestant.label}, round {number + 1}/{rounds}")
                failed_before = len(score.failures)
                play_once(score, seconds, pin)
                for failure in score.failures[failed_before:]:
                    tell(f"  FAILED: {failure}")
    return scores


def play_once(score: Score, seconds: float, pin: int | None) -> None:
    """Add one sample, from the least disturbed of up to `MAX_ATTEMPTS` attempts, or a failure."""
    contestant = score.contestant
    least_cores = math.inf
    for _ in range(MAX_ATTEMPTS):
        load = ForeignLoad()
        try:
            with Stage(contestant.system, seconds, pin) as stage:
                attempt = score.workload.play(stage, contestant.params, seconds)
        except RunFailed as failure:
            score.failures.append(str(failure))
            return
        cores = load.cores()
        if cores < least_cores or not attempt.is_exact:
            least_cores, sample = cores, attempt
        if cores <= NOISY_CORES or not attempt.is_exact:
            break  # a loss is not repeated away
    score.foreign_cores.append(least_cores)
    score.samples.append(sample)


def ratio(score: Score, scores: list[Score], metric: Metric) -> float | None:
    """The median of `score` divided by the baseline's; `None` without either."""
    own = score.median(metric)
    for other in scores:
        if other.contestant.label == BASELINE:
            base = other.median(metric)
            return own / base if own is not None and base else None
    return None


class ForeignLoad:
    """CPU used by processes other than this one and its children, since construction.

    The children's part is complete once they have been waited for. Linux only; elsewhere 0.
    """

    def __init__(self) -> None:
        self._before = time.monotonic(), machine_cpu_s(), own_cpu_s()

    def cores(self) -> float:
        """Average number of cores."""
        then, machine_s, own_s = self._before
        foreign_s = (machine_cpu_s() - machine_s) - (own_cpu_s() - own_s)
        return max(0.0, foreign_s) / (time.monotonic() - then)


def machine_cpu_s() -> float:
    """User, nice and system time of the whole machine; interrupts belong to nobody."""
    try:
        fields = Path("/proc/stat").read_text().split(maxsplit=4)
    except FileNotFoundError:
        return 0.0
    return sum(map(int, fields[1:4])) / os.sysconf("SC_CLK_TCK")


def own_cpu_s() -> float:
    """CPU time of this process and of its children that ended."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
