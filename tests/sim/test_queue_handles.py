"""The handles that ``put`` and ``put_many`` return, from the producer's side."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import mesh
from mesh.queues.held import HeldJob
from mesh.queues.queue import AsyncQueue
from mesh.testing import SimMesh
from patterns.errors import MeshError


@pytest.fixture
def sim() -> Iterator[SimMesh]:
    with SimMesh(seed=1) as sim:
        yield sim


def queue_of(sim: SimMesh, **options: object) -> tuple[mesh.AsyncNode, AsyncQueue, list[object]]:
    """A queue whose worker, at another node, returns what it gets; and what it has got."""
    done: list[object] = []
    worker = sim.node("worker")

    @worker.worker("emails", inline=True)
    def work(job: HeldJob) -> object:
        done.append(job.data)
        return job.data

    node = sim.node("jobs")
    queue = node.queue("emails", **options)  # type: ignore[arg-type]
    sim.until(lambda: len(node.peers()) == 1, within=10.0)
    sim.advance(1.0)
    return node, queue, done


def test_results_are_there_though_nobody_looked_before_the_jobs_had_ended(sim: SimMesh) -> None:
    _, queue, done = queue_of(sim)

    async def body() -> list[object]:
        jobs = await queue.put_many(range(300))
        await asyncio.sleep(1.0)
        assert len(done) == len(jobs) == 300
        return [await job.result(1.0) for job in jobs]

    assert sim.run(body()) == list(range(300))


def test_one_job_of_many_is_heard_when_the_others_are_let_go_of(sim: SimMesh) -> None:
    node, queue, _ = queue_of(sim)

    async def body() -> None:
        handles = node.queues.keepers["emails"].home.outcomes.handles
        jobs = await queue.put_many(range(3))
        one = jobs[1]
        assert jobs[1] is one
        del jobs
        heard: list[str] = []
        one.on_done(lambda job: heard.append(job.id))
        assert await one.result(1.0) == 1
        assert heard == [one.id]
        await queue.put_many(range(10))
        await queue.put(0)
        del one
        assert not handles, "nobody waits for any"

    sim.run(body())


def test_jobs_have_the_order_in_which_they_were_put_one_by_one_or_together(sim: SimMesh) -> None:
    _, queue, done = queue_of(sim)

    async def body() -> None:
        ids = [(await queue.put(0)).id]
        ids += [job.id for job in await queue.put_many([1, 2])]
        for number in range(3, 2_500):
            ids.append((await queue.put(number)).id)
        ids.append((await queue.put(2_500, priority=1024, headers={"a": "b"})).id)
        assert (await queue.stats()).ready + len(done) > 0, "who asks finds them"
        numbers = [int(id.rpartition("-")[2]) for id in ids]
        assert numbers == list(range(1, 2_502))
        await asyncio.sleep(2.0)

    sim.run(body())
    assert done == list(range(2_501))


def test_a_job_is_deleted_in_the_turn_in_which_it_was_put(sim: SimMesh) -> None:
    _, queue, done = queue_of(sim)

    async def body() -> None:
        job = await queue.put("x")
        assert await job.cancel()
        with pytest.raises(MeshError):
            await job.result(1.0)

    sim.run(body())
    sim.advance(1.0)
    assert not done
