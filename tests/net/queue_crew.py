"""Programs of a crew that is killed again and again, and the ledgers that they keep.

``python -m tests.net.queue_crew '{"role": ...}'``. A ledger is a file to which each line is
appended by one system call: a process that is killed loses none that it has written. Times are of
the system's monotonic clock, which all processes share.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import mesh

__all__ = ["Line", "read_ledger"]

LEASE = 20.0
"""Longer than a round: who is killed must give back its jobs at once, or the test takes long."""


class Line(NamedTuple):
    """``what`` is "put", "begin" or "end"."""

    when: float
    pid: int
    what: str
    queue: str
    data: str
    id: str
    attempts: int


class Ledger:
    """Written by one process after the other."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, what: str, queue: str, data: str, id: str, attempts: int = 0) -> None:
        line = [time.monotonic(), os.getpid(), what, queue, data, id, attempts]
        os.write(self._file, (json.dumps(line) + "\n").encode())


def read_ledger(path: Path) -> list[Line]:
    return [Line(*json.loads(line)) for line in path.read_text().splitlines()]


async def produce(node: mesh.AsyncNode, ledger: Ledger, folder: Path, index: int) -> None:
    """Keeps its own queues in a file, and puts also to hosts."""
    store = f"sqlite:///{folder / f'producer-{index}.db'}"
    jobs, chain = (node.queue(name, store=store, max_attempts=None) for name in ("jobs", "a"))
    hosted = node.queue("hosted", hosts="keepers")
    stop = folder / "stop"
    numbers = itertools.count()

    async def put(queue: mesh.AsyncQueue) -> None:
        while not stop.exists():
            data = f"{index}.{os.getpid()}.{next(numbers)}"
            # Not promised then: it may be there, or not.
            with contextlib.suppress(mesh.MeshError):
                if random.random() < 0.2:
                    more = [f"{data}.{number}" for number in range(3)]
                    for one, job in zip(more, await queue.put_many(more), strict=True):
                        ledger.write("put", queue.name, one, job.id)
                else:
                    job = await queue.put(data, id=data if random.random() < 0.3 else None)
                    ledger.write("put", queue.name, data, job.id)
            await asyncio.sleep(random.random() * 0.04)

    async with node:
        await asyncio.gather(*(put(queue) for queue in (jobs, hosted, chain)))
        await asyncio.Event().wait()


async def host(node: mesh.AsyncNode, ledger: Ledger, folder: Path, index: int) -> None:
    node.queue("hosted", store=f"sqlite:///{folder / f'host-{index}.db'}", max_attempts=None)
    async with node:
        await asyncio.Event().wait()


async def work(node: mesh.AsyncNode, ledger: Ledger, folder: Path, index: int) -> None:
    def noted(handle: Callable[[mesh.HeldJob], Any]) -> Callable[[mesh.HeldJob], Any]:
        async def run(job: mesh.HeldJob) -> Any:
            ledger.write("begin", job.queue, job.data, job.id, job.attempts)
            await asyncio.sleep(random.random() * 0.01)
            ledger.write("end", job.queue, job.data, job.id, job.attempts)
            return await handle(job)

        return run

    @node.worker({"jobs": 1, "hosted": 1, "c": 1}, lease=LEASE, concurrency=8)
    @noted
    async def handle(job: mesh.HeldJob) -> None: ...

    @node.worker(["b", "a"], lease=LEASE, concurrency=8, retry=mesh.Retry(None, base=0.01, cap=0.1))
    @noted
    async def forward(job: mesh.HeldJob) -> None:
        async with node.transaction(job) as transaction:
            transaction.put({"a": "b", "b": "c"}[job.queue], job.data)

    async with node:
        await asyncio.Event().wait()


def main() -> None:
    given = json.loads(sys.argv[1])
    folder, role, index = Path(given["folder"]), given["role"], given["index"]
    random.seed(given["seed"])
    ledger = Ledger(folder / f"{role}-{index}.ledger")
    programs = {"producer": produce, "keepers": host, "worker": work}
    names = {"producer": f"producer-{index}", "keepers": "keepers", "worker": f"worker-{index}"}
    node = mesh.AsyncNode(names[role], mesh=given["mesh"], discovery=("local",))
    asyncio.run(programs[role](node, ledger, folder, index))


if __name__ == "__main__":
    main()
