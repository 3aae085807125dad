"""Work queues of `mesh.AsyncNode`: the producer's node keeps the jobs, in memory or in a file.

So the home is in the producer's process, and nothing runs but the two. In memory the producer puts
batches, one commit each; durable, each of many tasks puts a job and waits until it is on the disk.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

import mesh
from benchmarks.control import Control
from benchmarks.systems import QUEUE, SETTLE_S, Params, Role, Tally, role
from benchmarks.systems.drivers import put_async
from benchmarks.systems.mesh_async import new_node

BATCH = 256
"""Jobs of one commit."""

OPEN = 4
"""Batches that are put at once."""


async def worker(control: Control, params: Params) -> None:
    tally = Tally(params["size"])
    node = new_node("worker", params)

    @node.worker(QUEUE)
    def handle(job: mesh.Job) -> None:
        tally.hit_and_note(job.data)

    async with node:
        control.report()
        while await control.receive_async() is not None:
            tally.report_handled(control)


async def putter(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    batch = [payload] * BATCH
    with tempfile.TemporaryDirectory() as folder:
        node = new_node("producer", params)
        store = f"sqlite:///{Path(folder, 'jobs.db')}" if params["durable"] else None
        queue = node.queue(QUEUE, store=store)

        async def put_batch() -> int:
            await queue.put_many(batch)
            return BATCH

        async def put_one() -> int:
            await queue.put(payload)
            return 1

        async with node:
            await node.wait_for("worker", timeout=SETTLE_S * 20)
            at_once = params["at_once"]
            if at_once > 1:
                await put_async(control, put_one, at_once)
            else:
                await put_async(control, put_batch, OPEN)


ROLES: Final[dict[str, Role]] = {"putter": role(putter), "worker": role(worker)}
