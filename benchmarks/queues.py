"""What work queues do, by the way they are used: ``python -m benchmarks.queues``.

One home that also produces, in this process, and one worker with a plain inline handler in another;
64 bytes. ``--jobs`` of each kind, ``--rounds`` times; the median counts. CPU is that of each
process, for a job.

``many 128``, ``many 1000``   ``put_many`` of so many, with at most 20,000 that are not done
``one``                       ``await put()``, one after the other; the same
``64``, ``256``, ``1024``     so many tasks, each of which puts a job, and another when it is safe
``latency``                   put to an idle worker, until it is handled; until the result is back

In memory, or with ``--store sqlite:///PATH``; in memory tasks never wait, so they are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median

import mesh

BODY = b"x" * 64
AHEAD = 20_000

Put = Callable[[mesh.AsyncQueue, int], Awaitable[int]]


async def work(name: str) -> None:
    """The worker's process: tells its CPU time for each line that it is sent."""
    node = mesh.AsyncNode("worker", mesh=name, discovery=("local",))

    @node.worker("bench")
    def handle(job: mesh.HeldJob) -> None:
        return None

    @node.worker("latency")
    def answer(job: mesh.HeldJob) -> float:
        return time.monotonic()

    async with node:
        print(json.dumps("ready"), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(time.process_time()), flush=True)


class Worker:
    """That process, by its own handle."""

    def __init__(self, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.queues", "--worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def _read(self) -> object:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def cpu(self) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        cpu = self._read()
        assert isinstance(cpu, float)
        return cpu

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def unfinished(queue: mesh.AsyncQueue) -> int:
    counters = queue.keeper.home.counters
    return counters.put - counters.done


async def keep_ahead(queue: mesh.AsyncQueue, most: int = AHEAD) -> None:
    while unfinished(queue) > most:  # noqa: ASYNC110  nothing tells
        await asyncio.sleep(0.001)


def many(size: int) -> Put:
    async def put(queue: mesh.AsyncQueue, jobs: int) -> int:
        for number in range(jobs // size):
            await queue.put_many([BODY] * size)
            if number % max(1, 1000 // size) == 0:
                await asyncio.sleep(0)
                await keep_ahead(queue)
        return jobs // size * size

    return put


async def one(queue: mesh.AsyncQueue, jobs: int) -> int:
    for number in range(jobs // 4):
        await queue.put(BODY)
        if number % 256 == 0:
            await asyncio.sleep(0)
            await keep_ahead(queue)
    return jobs // 4


def tasks(count: int) -> Put:
    async def put(queue: mesh.AsyncQueue, jobs: int) -> int:
        async def producer() -> None:
            for _ in range(jobs // count):
                await queue.put(BODY)

        await asyncio.gather(*(producer() for _ in range(count)))
        return jobs // count * count

    return put


async def measure(queue: mesh.AsyncQueue, worker: Worker, put: Put, jobs: int) -> list[float]:
    """Jobs a second, and µs of CPU for each: at the home, and at the worker."""
    before, cpu, began = worker.cpu(), time.process_time(), time.monotonic()
    count = await put(queue, jobs)
    await keep_ahead(queue, 0)
    seconds = time.monotonic() - began
    cpu, there = time.process_time() - cpu, worker.cpu() - before
    return [count / seconds, cpu / count * 1e6, there / count * 1e6]


async def latency(queue: mesh.AsyncQueue) -> list[float]:
    """µs until a job is handled, and until its result is back; both processes have one clock."""
    handled, back = [], []
    for _ in range(500):
        began = time.monotonic()
        job = await queue.put()
        handled.append(await job.result(10) - began)
        back.append(time.monotonic() - began)
        await asyncio.sleep(0.002)
    return [median(handled) * 1e6, median(back) * 1e6]


async def run(jobs: int, rounds: int, store: str | None) -> None:
    name = f"bench-{time.time_ns()}"
    kinds: dict[str, Put] = {"many 128": many(128), "many 1000": many(1000), "one": one}
    if store is not None:
        kinds |= {str(count): tasks(count) for count in (64, 256, 1024)}
    node = mesh.AsyncNode("home", mesh=name, discovery=("local",))
    queue, quick = node.queue("bench", store=store), node.queue("latency", store=store)
    worker = await asyncio.to_thread(Worker, name)
    try:
        async with node:
            await measure(queue, worker, one, 4_000)
            for kind, put in kinds.items():
                each = [await measure(queue, worker, put, jobs) for _ in range(rounds)]
                rate, home, there = (median(column) for column in zip(*each, strict=True))
                print(f"{kind:10} {rate:10,.0f} jobs/s   home {home:6.2f} µs   {there:6.2f} µs")
            handled, back = await latency(quick)
            print(f"latency    handled after {handled:,.0f} µs, result back after {back:,.0f} µs")
    finally:
        worker.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queues")
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store", help="sqlite:///PATH")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker is not None:
        asyncio.run(work(given.worker))
    else:
        asyncio.run(run(given.jobs, given.rounds, given.store))


if __name__ == "__main__":
    main()
