"""How a mesh grows: the same figures at 10, 50, 100 and 200 nodes, ``python -m benchmarks.growth``.

All nodes are on this machine, ``--per-process`` in each process, found by same-host discovery, and
everybody is linked with everybody. On few cores the times are CPU time in disguise: 200 nodes are
39,800 links. A size that fails (a time-out, most likely) is told, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import growth_plot, report
from benchmarks.harness import NOISY_CORES, ForeignLoad
from benchmarks.plot import PlotUnavailable, load_pyplot
from benchmarks.stage import REPORT_GRACE_S, Actor, RunFailed, Stage

SIZES = (10, 50, 100, 200)
PER_PROCESS = 10

SETTLE_S = 3.0
"""From the moment that all know all until nothing is left to be said."""

LIFETIME_S = 600.0
"""Of a worker, beyond that of every run: the largest size takes minutes."""

GROWTH_TIMEOUT_S = 270.0
"""For a report that comes when all know all; above the workers' own limit."""

CHANGES = 10
PUBLISHES = 20
JOINS = 3
"""How often each is done at each size; the median counts."""


@dataclass(frozen=True, slots=True)
class Growth:
    """The figures of one size. CPU is that of all processes together, without what idling takes."""

    nodes: int
    all_know_s: float
    """From the first node's start until each knows all others."""
    node_mb: float
    """PSS of a node, without the interpreter and its imports."""
    process_mb: float
    """PSS of a process with its nodes."""
    descriptors: float
    threads: float
    """Of a node, beyond those that its process has anyway."""
    idle_percent: float
    """Of a core, for a node with nothing to do."""
    subscribe_ms: float
    """Until all nodes have confirmed one new subscription."""
    subscribe_cpu_ms: float
    publish_ms: float
    """From one publish until the last of all nodes has handled it."""
    join_ms: float
    """From one more node's start until it knows all and all know it."""
    join_cpu_ms: float
    foreign_cores: float
    """CPU that other processes used meanwhile."""


class Swarms:
    """All processes of one size, asked together; nodes that join later are in one more."""

    def __init__(self, stage: Stage, nodes: int, per_process: int) -> None:
        self.shares = split(nodes, per_process)
        self.actors = [stage.start("swarm") for _ in self.shares]
        self.joiner = stage.start("swarm")
        self.before = [actor.expect() for actor in self.actors]
        self.joiner.expect()

    def ask(self, timeout_s: float = REPORT_GRACE_S, **command: Any) -> list[dict[str, Any]]:
        """The same command to all; their reports."""
        return gather(self.actors, [command] * len(self.actors), timeout_s)

    def start(self, everywhere: int) -> float:
        """Start all nodes; milliseconds until all know all."""
        commands = [{"do": "start", "add": n, "everywhere": everywhere} for n in self.shares]
        reports = gather(self.actors, commands, GROWTH_TIMEOUT_S)
        return ms_between(min(report["began_ns"] for report in reports), latest_ns(reports))

    def cpu_s(self) -> float:
        """Of all processes so far."""
        everybody = [*self.actors, self.joiner]
        reports = gather(everybody, [{"do": "cpu"}] * len(everybody), REPORT_GRACE_S)
        return float(sum(report["cpu_s"] for report in reports))

    def join(self, everywhere: int) -> float:
        """One more node; milliseconds until it knows all and all know it."""
        commands = [{"do": "know", "everywhere": everywhere}] * len(self.actors)
        start = {"do": "start", "add": 1, "everywhere": everywhere}
        reports = gather([*self.actors, self.joiner], [*commands, start], GROWTH_TIMEOUT_S)
        return ms_between(reports[-1]["began_ns"], latest_ns(reports))

    def subscribe(self, number: int) -> float:
        """One new subscription; milliseconds until all have confirmed it."""
        self.actors[0].tell(do="subscribe", subject=f"growth.{number}")
        report = self.actors[0].expect(REPORT_GRACE_S * 3)
        if report["unconfirmed"]:
            raise RunFailed(f"{report['unconfirmed']} nodes did not confirm a subscription")
        return ms_between(report["began_ns"], report["ended_ns"])

    def publish(self, number: int, nodes: int) -> float:
        """The ``number``-th publish to all; milliseconds until the last has handled it."""
        self.actors[0].tell(do="publish")
        report = self.actors[0].expect()
        if report["reached"] != nodes:
            raise RunFailed(f"a publish was queued for {report['reached']} of {nodes} nodes")
        reports = self.ask(do="seen", count=number, timeout_s=REPORT_GRACE_S * 3)
        return ms_between(report["began_ns"], latest_ns(reports))


def split(nodes: int, per_process: int) -> list[int]:
    """How many nodes each process has."""
    full, rest = divmod(nodes, per_process)
    return [per_process] * full + [rest] * bool(rest)


def gather(
    actors: list[Actor], commands: Iterable[dict[str, Any]], timeout_s: float
) -> list[dict[str, Any]]:
    """Tell each its command, then wait for all reports."""
    for actor, command in zip(actors, commands, strict=True):
        actor.tell(**command)
    return [actor.expect(timeout_s) for actor in actors]


def latest_ns(reports: Iterable[dict[str, Any]]) -> int:
    return max(int(report["ended_ns"]) for report in reports)


def ms_between(began_ns: int, ended_ns: int) -> float:
    return (ended_ns - began_ns) / 1e6


def added(before: list[dict[str, Any]], after: list[dict[str, Any]], field: str) -> float:
    """How much more there is of something in all processes together."""
    return float(sum(report[field] for report in after) - sum(report[field] for report in before))


def measure(nodes: int, per_process: int, idle_s: float) -> Growth:
    """The figures of one size. Raises RunFailed."""
    load = ForeignLoad()
    with Stage("mesh_swarm", LIFETIME_S, None) as stage:
        figures = play(stage, nodes, per_process, idle_s)
    return Growth(nodes=nodes, foreign_cores=load.cores(), **figures)


def play(stage: Stage, nodes: int, per_process: int, idle_s: float) -> dict[str, float]:
    swarms = Swarms(stage, nodes, per_process)
    all_know_ms = swarms.start(nodes)
    time.sleep(SETTLE_S)
    settled = swarms.ask(do="usage")
    idle_from = time.monotonic(), swarms.cpu_s()
    time.sleep(idle_s)
    idle_cores = (swarms.cpu_s() - idle_from[1]) / (time.monotonic() - idle_from[0])

    subscribe_ms, subscribe_cpu_ms = repeat(swarms, idle_cores, CHANGES, swarms.subscribe)
    publish_ms, _ = repeat(
        swarms, idle_cores, PUBLISHES, lambda number: swarms.publish(number, nodes)
    )
    join_ms, join_cpu_ms = repeat(
        swarms, idle_cores, JOINS, lambda number: swarms.join(nodes + number)
    )
    pss_bytes = sum(report["pss_bytes"] for report in settled)
    return {
        "all_know_s": all_know_ms / 1e3,
        "node_mb": added(swarms.before, settled, "pss_bytes") / nodes / 1e6,
        "process_mb": pss_bytes / len(settled) / 1e6,
        "descriptors": added(swarms.before, settled, "descriptors") / nodes,
        "threads": added(swarms.before, settled, "threads") / nodes,
        "idle_percent": idle_cores / nodes * 100,
        "subscribe_ms": subscribe_ms,
        "subscribe_cpu_ms": subscribe_cpu_ms,
        "publish_ms": publish_ms,
        "join_ms": join_ms,
        "join_cpu_ms": join_cpu_ms,
    }


def repeat(
    swarms: Swarms, idle_cores: float, times: int, act: Callable[[int], float]
) -> tuple[float, float]:
    """Do it ``times``, numbered from 1: the median of what it gives, and ms of CPU for each."""
    began, cpu_s = time.monotonic(), swarms.cpu_s()
    values = [act(number) for number in range(1, times + 1)]
    used_s = swarms.cpu_s() - cpu_s - idle_cores * (time.monotonic() - began)
    return median(values), max(0.0, used_s) / times * 1e3


COLUMNS = (
    ("nodes", "nodes", 0),
    ("all know all, s", "all_know_s", 2),
    ("MB/node", "node_mb", 2),
    ("MB/process", "process_mb", 1),
    ("fd/node", "descriptors", 0),
    ("threads/node", "threads", 1),
    ("idle, % core/node", "idle_percent", 2),
    ("subscribe, ms", "subscribe_ms", 1),
    ("its CPU, ms", "subscribe_cpu_ms", 1),
    ("publish to all, ms", "publish_ms", 1),
    ("join, ms", "join_ms", 0),
    ("its CPU, ms", "join_cpu_ms", 0),
)
"""Title, field and decimals."""


def table(sizes: Iterable[Growth]) -> str:
    """A line for each size, as Markdown."""
    lines = [[title for title, _, _ in COLUMNS], ["---:"] * len(COLUMNS)]
    lines += [[f"{getattr(s, field):,.{digits}f}" for _, field, digits in COLUMNS] for s in sizes]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def document(sizes: Iterable[Growth], per_process: int, failures: dict[int, str]) -> dict[str, Any]:
    """Everything measured, for programs and for drawing."""
    return {
        "machine": report.machine(),
        "per_process": per_process,
        "sizes": [asdict(size) for size in sizes],
        "failures": {str(nodes): why for nodes, why in failures.items()},
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--nodes", nargs="+", type=int, default=SIZES, metavar="N")
    parser.add_argument("--per-process", type=int, default=PER_PROCESS, metavar="N")
    parser.add_argument("--idle", type=float, default=5.0, help="seconds of idling, measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one JSON document, too")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw it, too")
    arguments = parser.parse_args()
    if min(arguments.nodes) < 2 or arguments.per_process < 1:
        parser.error("a mesh has at least 2 nodes, and a process at least 1")
    if arguments.plot is not None:
        try:
            load_pyplot()
        except PlotUnavailable as error:
            parser.error(str(error))
    return arguments


def main() -> int:
    arguments = parse_arguments()
    sizes: list[Growth] = []
    failures: dict[int, str] = {}
    for nodes in arguments.nodes:
        print(f"{nodes} nodes", file=sys.stderr)
        try:
            size = measure(nodes, arguments.per_process, arguments.idle)
        except RunFailed as failure:
            failures[nodes] = str(failure)
            print(f"  FAILED: {failure}", file=sys.stderr)
            continue
        sizes.append(size)
        if size.foreign_cores > NOISY_CORES:
            print(f"  noisy: others used {size.foreign_cores:.2f} core", file=sys.stderr)
    print(table(sizes))
    found = document(sizes, arguments.per_process, failures)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.plot is not None and sizes:
        growth_plot.draw(found, arguments.plot)
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
