"""What a hedge is worth when one worker of ten is five times slower than the others.

``python -m benchmarks.hedging``. Ten workers in processes of their own, ``--concurrency`` calls at
a time each; a call takes as long as is drawn (log-normal, ``--mean`` seconds, ``SIGMA``) and sleeps
for it, so their capacity is known and needs no CPU. One takes ``SLOWER`` times as long. Callers who
know nothing of each other make calls at random times (Poisson), together ``--load`` of the
capacity, whatever comes back (an open loop).

Plain calls and hedged ones take turns, ``--rounds`` times. Shown: latency in ms; the calls that
workers started, beside those that were made (``extra``); what became of the hedges. ``ratio`` is
the p99.9 of all rounds, hedged, by that of plain calls. The exit code is 1 when it is above
``MOST``, or more than ``MOST_EXTRA`` of the calls were extra.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import mesh

WORKERS = 10
CALLERS = 5
SLOWER = 5.0

SIGMA = 0.5
"""Of the logarithm: p99.9 is 4.1 times the mean, without any waiting."""

MOST = 0.75
MOST_EXTRA = 0.05

START = 60.0
"""Seconds for the workers' processes to start."""


@dataclass(frozen=True)
class Service:
    """What the workers can do."""

    mean: float = 0.02
    concurrency: int = 2

    @property
    def capacity(self) -> float:
        """Calls a second of all of them."""
        return self.concurrency / self.mean * (WORKERS - 1 + 1 / SLOWER)


class Worker:
    """Serves ``work.work`` on a node, and tells by ``work.started`` how often."""

    def __init__(self, node: mesh.AsyncNode, service: Service, number: int) -> None:
        self.started = 0
        self._random = random.Random(number)
        self._mean = service.mean * (SLOWER if number == 0 else 1.0)
        node.rpc("work", concurrency=service.concurrency)(self.work)
        node.rpc("started")(lambda: self.started)

    async def work(self) -> None:
        self.started += 1
        mu = math.log(self._mean) - SIGMA**2 / 2
        await asyncio.sleep(self._random.lognormvariate(mu, SIGMA))


@dataclass
class Figures:
    """What came of some calls; times in ms."""

    latencies: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    started: int = 0
    counters: Counter[str] = field(default_factory=Counter)

    @property
    def calls(self) -> int:
        return sum(self.outcomes.values())

    @property
    def extra(self) -> float:
        """Calls started beyond those that were made, as a part of them."""
        return self.started / self.calls - 1

    def at(self, share: float) -> float:
        """The latency within which that share of the calls ended."""
        ordered = sorted(self.latencies)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    def add(self, other: Figures) -> None:
        self.latencies += other.latencies
        self.outcomes += other.outcomes
        self.started += other.started
        self.counters += other.counters


class Load:
    """Calls at ``rate`` a second from each of the nodes."""

    def __init__(
        self, nodes: Sequence[mesh.AsyncNode], rate: float, rng: random.Random, **options: Any
    ) -> None:
        self._nodes = nodes
        self._services = [node.service("work", **options) for node in nodes]
        self._rate = rate
        self._random = rng
        self.figures = Figures()

    async def run(self, seconds: float) -> Figures:
        """For so long, and until all have ended."""
        before, started = self._counters(), await self._started()
        async with asyncio.TaskGroup() as group:
            for service in self._services:
                group.create_task(self._call_on(service, seconds, group))
        figures = self.figures
        figures.started = await self._started() - started
        figures.counters = self._counters() - before
        return figures

    async def _call_on(
        self, service: mesh.AsyncService, seconds: float, group: asyncio.TaskGroup
    ) -> None:
        now = asyncio.get_running_loop().time
        due = now()
        end = due + seconds
        while (due := due + self._random.expovariate(self._rate)) < end:
            if (wait := due - now()) > 0:
                await asyncio.sleep(wait)
            group.create_task(self._call(service))

    async def _call(self, service: mesh.AsyncService) -> None:
        now = asyncio.get_running_loop().time
        began = now()
        try:
            await service.work()
        except mesh.MeshError as error:
            self.figures.outcomes[type(error).__name__] += 1
        else:
            self.figures.outcomes["ok"] += 1
            self.figures.latencies.append((now() - began) * 1000)

    async def _started(self) -> int:
        node = self._nodes[0]
        workers = [peer for peer in node.peers() if "work" in peer.services]
        return sum([await node.service("work", peer=peer).started() for peer in workers])

    def _counters(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for node in self._nodes:
            total.update({k: v for k, v in node.counters().items() if k.startswith("hedges")})
        return total


def line(name: str, figures: Figures) -> str:
    """A row of the table."""
    cells = [f"{figures.at(share):>8.1f}" for share in (0.5, 0.95, 0.99, 0.999)]
    hedges = "  ".join(f"{k[7:]} {v}" for k, v in sorted(figures.counters.items()))
    failed = figures.calls - figures.outcomes["ok"]
    row = f"{name:<14}{figures.calls:>8}{''.join(cells)}{figures.extra:>8.1%}{failed:>8}"
    return f"{row}  {hedges}".rstrip()


HEADER = f"{'':<14}{'calls':>8}{'p50':>8}{'p95':>8}{'p99':>8}{'p99.9':>8}{'extra':>8}{'failed':>8}"


async def compare(
    nodes: Sequence[mesh.AsyncNode],
    service: Service,
    *,
    load: float,
    seconds: float,
    rounds: int,
    hedge: float | str,
    rng: random.Random,
) -> tuple[Figures, Figures]:
    """Plain calls and hedged ones in turns; all figures of each."""
    rate = service.capacity * load / len(nodes)
    plain, hedged = Figures(), Figures()
    for options in ({"retry": True}, {"hedge": hedge}):
        await Load(nodes, rate, rng, **options).run(min(3.0, seconds))
    for _ in range(rounds):
        plain.add(await Load(nodes, rate, rng, retry=True).run(seconds))
        hedged.add(await Load(nodes, rate, rng, hedge=hedge).run(seconds))
    return plain, hedged


async def serve(name: str, service: Service, number: int) -> None:
    """One worker, until it is stopped."""
    node = mesh.AsyncNode("work", mesh=name, discovery=("local",))
    Worker(node, service, number)
    await node.run(drain=0)


async def measure(name: str, service: Service, arguments: argparse.Namespace) -> bool:
    """Print the table; returns whether all is as it shall be."""
    nodes = [mesh.AsyncNode(mesh=name, discovery=("local",)) for _ in range(CALLERS)]
    try:
        for node in nodes:
            await node.start()
        for node in nodes:
            await node.wait_for("work", count=WORKERS, timeout=START)
        plain, hedged = await compare(
            nodes,
            service,
            load=arguments.load,
            seconds=arguments.seconds,
            rounds=arguments.rounds,
            hedge=arguments.hedge,
            rng=random.Random(arguments.seed),
        )
    finally:
        for node in nodes:
            await node.close()
    print(f"capacity {service.capacity:.0f}/s, asked for {arguments.load:.0%} of it")
    print(HEADER)
    print(line("plain", plain))
    print(line(f"hedge={arguments.hedge}", hedged))
    ratio = hedged.at(0.999) / plain.at(0.999)
    print(f"ratio of p99.9: {ratio:.2f}")
    return ratio <= MOST and hedged.extra <= MOST_EXTRA


def seconds_or_quantile(text: str) -> float | str:
    return text if text.startswith("p") else float(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hedging", description=__doc__)
    parser.add_argument("--mean", type=float, default=Service.mean)
    parser.add_argument("--concurrency", type=int, default=Service.concurrency)
    parser.add_argument("--load", type=float, default=0.75)
    parser.add_argument("--hedge", type=seconds_or_quantile, default="p95")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    service = Service(arguments.mean, arguments.concurrency)
    if arguments.serve is not None:
        name, number = arguments.serve
        asyncio.run(serve(name, service, int(number)))
        return 0
    name = f"hedging-{uuid.uuid4().hex[:12]}"
    options = ["--mean", str(service.mean), "--concurrency", str(service.concurrency)]
    command = [sys.executable, "-m", "benchmarks.hedging", *options, "--serve", name]
    workers = [subprocess.Popen([*command, str(number)]) for number in range(WORKERS)]
    try:
        return 0 if asyncio.run(measure(name, service, arguments)) else 1
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.wait()


if __name__ == "__main__":
    sys.exit(main())
