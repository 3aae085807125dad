"""A home whose power fails, whose disk is full; a job that kills whoever handles it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import mesh
from mesh.stores import MemoryStore
from patterns.queues.errors import StoreFailed
from tests.net.processes import Script
from tests.net.queue_help import MakeAsync, counted, started, url_of
from tests.net.test_async_node import runs
from tests.unit.mesh.stores.test_power import shim

__all__ = ["shim"]

CHAIN = """
import asyncio, itertools, sys
import mesh

async def main():
    node = mesh.AsyncNode("home", mesh=sys.argv[1], discovery=())
    first = node.queue("first", store="sqlite:///" + sys.argv[2])

    @node.worker("first", concurrency=4)
    async def handle(job):
        if job.data < 2:
            await asyncio.sleep(60)  # held
        async with node.transaction(job) as transaction:
            transaction.put("second", job.data)

    async def put(numbers):
        for number in numbers:
            await first.put(number)
            print(number, flush=True)

    async with node:
        # Several at once, so that commits have several.
        await asyncio.gather(*(put(itertools.count(begin, 4)) for begin in range(4)))

asyncio.run(main())
"""


@runs
async def test_a_power_failure_of_a_home_loses_no_job_whose_put_returned(
    make_async: MakeAsync, mesh_name: str, tmp_path: Path, shim: Path
) -> None:
    synced = tmp_path / "synced"
    synced.mkdir()
    environment = {"LD_PRELOAD": str(shim), "SYNCED": str(synced), "PYTHONPATH": str(Path.cwd())}
    path = tmp_path / "jobs.db"
    said: list[int] = []

    def life() -> None:
        with subprocess.Popen(
            [sys.executable, "-c", CHAIN, mesh_name, str(path)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        ) as home:
            assert home.stdout is not None
            said.extend(int(home.stdout.readline()) for _ in range(300))
            home.send_signal(signal.SIGKILL)
            said.extend(int(line) for line in home.stdout.read().splitlines())

    await asyncio.to_thread(life)
    node = make_async("home")
    queues = [node.queue(name, store=url_of(synced / "jobs.db")) for name in ("first", "second")]
    async with node:
        found = [{view.data for view in await queue.peek(limit=1000)} for queue in queues]
        assert set(said) - found[0] - found[1] == set()
        assert found[0] & found[1] == set()  # the ack and the put of what follows are one
        assert found[1]


FULL = """
import asyncio, json, resource, sys
import mesh

KIB = 1024

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main():
    node = mesh.AsyncNode("home", mesh=sys.argv[1], discovery=())
    queue = node.queue("mail", store="sqlite:///" + sys.argv[2], keep_results=60)
    begun = asyncio.Event()

    @node.worker("mail", concurrency=2)
    async def handle(job):
        if job.data[0] == -1:
            begun.set()
            await go_on.wait()
            return "kept"
        return None

    put, failed = [], []
    go_on = asyncio.Event()
    async with node:
        held = await queue.put([-1])
        await begun.wait()
        await queue.pause()
        limit(600 * KIB)
        for number in range(100):
            try:
                await queue.put([number, bytes(20 * KIB)])
                put.append(number)
            except mesh.StoreFailed as error:
                failed.append(number)
                text = str(error)
                if len(failed) == 3:
                    break
        go_on.set()  # what is done now is written when there is room again
        assert await held.result(10) == "kept"
        try:
            await queue.put([99, bytes(800 * KIB)])  # and now it fails with this
        except mesh.StoreFailed:
            failed.append(99)
        limit(resource.RLIM_INFINITY)
        for number in range(100, 105):
            while True:
                try:
                    await queue.put([number, b""])
                    break
                except mesh.StoreFailed:
                    await asyncio.sleep(0.01)
            put.append(number)
        assert (await queue.stats()).ready == len(put)
    print(json.dumps([put, failed, text, held.id]), flush=True)

asyncio.run(main())
"""


@runs
async def test_a_full_disk_fails_puts_loses_nothing_and_has_room_again(
    make_async: MakeAsync, mesh_name: str, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.db"
    script = Script(["-c", FULL, mesh_name, str(path)])
    try:
        out, _ = await asyncio.to_thread(script.process.communicate, None, 30)
        assert script.process.returncode == 0, script.errors
    finally:
        script.end()
    put, failed, text, held = json.loads(out)
    assert len(put) > 10
    assert len(failed) == 4
    assert str(path) in text
    node = make_async("home")
    queue = node.queue("mail", store=url_of(path))
    async with node:
        views = await queue.peek(limit=1000)
        assert [view.data[0] for view in views] == put
        assert await queue.job(held).result(5) == "kept"
        assert (await queue.stats()).reserved == 0


DEADLY = """
import os, sys
import mesh

node = mesh.Node("worker", mesh=sys.argv[1], discovery=("local",))

@node.worker("mail", max_in_flight=1)
def handle(job):
    if job.data == "deadly":
        os._exit(3)
    return [job.data, job.attempts]

node.run()
"""


@runs
async def test_a_job_that_kills_its_workers_is_dead_in_the_end(
    make_async: MakeAsync, run_script: Callable[..., Script], mesh_name: str
) -> None:
    node = make_async("home")
    queue = node.queue("mail", max_attempts=2)
    async with node:
        deadly = await queue.put("deadly")
        good = await queue.put("good")
        for _ in range(2):
            worker = run_script(DEADLY, mesh_name)
            assert await asyncio.to_thread(worker.wait, 30) == 3
        with pytest.raises(mesh.JobFailed, match="2 times and never finished") as failed:
            await deadly.result(20)
        assert failed.value.attempts == 2
        results: list[Any] = []
        good.on_done(results.append)
        await counted(queue, ready=1)

        @node.worker("mail")
        async def handle(job: mesh.HeldJob) -> Any:
            return [job.data, job.attempts]

        assert await good.result(10) == ["good", 1]
        assert results == [good]


class DeadDisk(MemoryStore):
    """Nothing that is put is answered."""

    def put(self, *what: Any) -> None:
        self.asked = True

    def close(self, wait: float = 0.0) -> bool:
        return False


@pytest.mark.parametrize("options", [{}, {"max_length": 5}])
def test_no_put_outlives_its_node_though_the_disk_never_answers(
    make_node: Callable[..., mesh.Node], options: dict[str, Any]
) -> None:
    node, store = make_node("home"), DeadDisk()
    queue = node.queue("mail", store=store, **options)
    node.start()
    with ThreadPoolExecutor() as pool:
        put = pool.submit(queue.put, 1)
        while not hasattr(store, "asked"):
            time.sleep(0.001)
        node.close()
        with pytest.raises(mesh.NodeClosed, match="nobody knows"):
            put.result(10)


class FailsOnce(MemoryStore):
    """Does not write what is put when ``fails``; and then it does again."""

    fails = False

    def put(self, jobs: Any, notes: Any, then: Any) -> None:
        if self.fails:
            self.fails = False
            then(StoreFailed("the disk is full"))
        else:
            super().put(jobs, notes, then)


@runs
async def test_a_transaction_that_cannot_be_written_costs_its_own_job_an_attempt_and_no_other(
    make_async: MakeAsync,
) -> None:
    home, worker, store = make_async("home"), make_async("worker"), FailsOnce()
    queue, following = home.queue("mail", store=store), home.queue("next", store=store)
    seen: list[tuple[str, int]] = []
    errors: list[str] = []
    go_on = asyncio.Event()

    @worker.worker("mail", concurrency=3)
    async def handle(job: mesh.HeldJob) -> None:
        seen.append((job.data, job.attempts))
        if job.data == "other":
            await go_on.wait()
            return
        store.fails = job.data == "first" and job.attempts == 1
        try:
            async with worker.transaction(job) as transaction:
                transaction.put("next", job.data)
        except mesh.StoreFailed:
            errors.append(job.data)
            raise

    async with started(home, worker):
        await queue.put("other")
        await queue.put("first", key="k")
        await queue.put("second", key="k")
        assert (await counted(following, ready=2)).put == 2
        go_on.set()
        stats = await counted(queue, done=3)
        assert errors == ["first"]
        assert seen == [("other", 1), ("first", 1), ("first", 2), ("second", 1)]
        assert stats.retried == stats.leases_lost == 0
