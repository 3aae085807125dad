"""Goodput under overload: one service is asked for 1 to 10 times what it can do.

``python -m benchmarks.overload``. A server in a process of its own handles ``--concurrency`` calls
at a time, each ``--work`` seconds of waiting, so its capacity is known and needs no CPU. Callers
make calls at a steady rate whatever comes back (an open loop), each with ``--timeout`` seconds.

Shown for each factor: calls a second offered; answered in time (goodput) and its part of the
capacity; refused as overloaded; what else failed; latency of the answers, in ms. The exit code is 1
when goodput falls below 90 % of its peak or an accepted call was late.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
import uuid
from collections import Counter
from statistics import quantiles

import mesh

LEAST = 0.9
"""Of the peak, what goodput must be under any overload."""

START = 20.0
"""Seconds for the server's process to start."""


async def serve(name: str, seconds: float, concurrency: int) -> None:
    """The server, until it is stopped."""
    node = mesh.AsyncNode("server", mesh=name, discovery=("local",))

    @node.rpc(concurrency=concurrency)
    async def work() -> None:
        await asyncio.sleep(seconds)

    await node.run(drain=0)


class Load:
    """Calls at ``rate`` a second, and what became of them."""

    def __init__(self, node: mesh.AsyncNode, rate: float, timeout: float) -> None:
        self._service = node.service("server", timeout=timeout)
        self._rate = rate
        self.outcomes: Counter[str] = Counter()
        self.latencies: list[float] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, seconds: float) -> float:
        """For so long; returns the answers a second."""
        began = time.monotonic()
        made = 0
        while (elapsed := time.monotonic() - began) < seconds:
            while made < elapsed * self._rate:
                made += 1
                task = asyncio.ensure_future(self._call())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(0.001)
        if self._tasks:
            await asyncio.wait(self._tasks)
        return self.outcomes["ok"] / (time.monotonic() - began)

    async def _call(self) -> None:
        began = time.monotonic()
        try:
            await self._service.work()
        except mesh.MeshError as error:
            self.outcomes[type(error).__name__] += 1
        else:
            self.outcomes["ok"] += 1
            self.latencies.append((time.monotonic() - began) * 1000)


async def measure(name: str, arguments: argparse.Namespace) -> bool:
    """Print a line for each factor; returns whether all is as it shall be."""
    capacity = arguments.concurrency / arguments.work
    print(f"capacity {capacity:.0f}/s; each call has {arguments.timeout:g} s")
    print(
        f"{'offered':>8} {'goodput':>9} {'of cap.':>8} {'refused':>8} {'p50 ms':>8} {'p99 ms':>8}"
    )
    goodputs, late = [], 0
    async with mesh.AsyncNode(mesh=name, discovery=("local",)) as node:
        await node.wait_for("server", timeout=START)
        await Load(node, capacity / 2, arguments.timeout).run(0.5)
        for factor in arguments.factors:
            load = Load(node, capacity * factor, arguments.timeout)
            goodput = await load.run(arguments.seconds)
            cuts = quantiles(load.latencies, n=100)
            print(
                f"{factor:>7}x {goodput:>9.0f} {goodput / capacity:>8.0%} "
                f"{load.outcomes['Overloaded']:>8} {cuts[49]:>8.0f} {cuts[98]:>8.0f}",
                flush=True,
            )
            goodputs.append(goodput)
            others = load.outcomes.keys() - {"ok", "Overloaded"}
            for kind in sorted(others):
                print(f"  {load.outcomes[kind]} {kind}", flush=True)
                late += load.outcomes[kind]
    return min(goodputs) >= LEAST * max(goodputs) and not late


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--factors", nargs="+", type=float, default=[1, 2, 3, 5, 10])
    parser.add_argument("--work", type=float, default=0.01)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--timeout", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        asyncio.run(serve(arguments.serve, arguments.work, arguments.concurrency))
        return 0
    name = f"overload-{uuid.uuid4().hex[:12]}"
    options = ["--work", str(arguments.work), "--concurrency", str(arguments.concurrency)]
    command = [sys.executable, "-m", "benchmarks.overload", "--serve", name, *options]
    with subprocess.Popen(command) as server:
        try:
            return 0 if asyncio.run(measure(name, arguments)) else 1
        finally:
            server.terminate()


if __name__ == "__main__":
    sys.exit(main())
