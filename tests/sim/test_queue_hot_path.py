"""What a job costs from ``put`` to its end, in steps of the interpreter: see ``test_hot_paths``.

Whoever makes the way of a job longer fails here, and has to say in ``BOUNDS`` why it is worth that.
The count leaves out what happens in C: most of what is done for each of many jobs is done there.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator

import pytest

from mesh.queues.held import HeldJob
from mesh.testing import SimMesh
from tests.sim.test_hot_paths import Steps

pytestmark = pytest.mark.skipif(
    sys.implementation.name != "cpython" or sys.version_info[:2] != (3, 11),
    reason="the steps were counted with CPython 3.11",
)

COUNT = 512
"""Jobs of one turn: four messages of them."""

HEADROOM = 1.1
"""How they fall into messages is not always the same."""

BOUNDS = {
    "put_many": 122,
    "put": 819,
    "put to done": 387,
}
"""Steps for each job. ``put to done`` is what follows ``put_many``, at the home and at the worker
together, some 60 of the simulation's included; ``put`` is all of it for those put one by one."""

BODY = b"x" * 64


@pytest.fixture
def sim() -> Iterator[SimMesh]:
    with SimMesh(seed=1) as sim:
        yield sim


class Bench:
    """A home, and a worker at another node that knows it."""

    def __init__(self, sim: SimMesh) -> None:
        self.sim = sim
        self.done = 0
        worker = sim.node("worker")

        @worker.worker("emails", inline=True, max_in_flight=1_000)
        def work(job: HeldJob) -> None:
            self.done += 1

        self.node = sim.node("jobs")
        self.queue = self.node.queue("emails")
        sim.until(lambda: len(self.node.peers()) == 1, within=10.0)
        sim.advance(1.0)

    async def put_many(self) -> None:
        await self.queue.put_many([BODY] * COUNT)

    async def put(self) -> None:
        for _ in range(COUNT):
            await self.queue.put(BODY)

    def steps(self, put: Callable[[], Awaitable[object]]) -> tuple[float, float]:
        """For each of ``COUNT`` jobs: of the put, and of what follows it."""

        async def body() -> tuple[float, float]:
            await put()
            await asyncio.sleep(1.0)
            assert self.done == COUNT, "what is remembered is known"
            with Steps() as putting:
                await put()
            with Steps() as working:
                await asyncio.sleep(0.2)
            assert self.done == 2 * COUNT
            return putting.count / COUNT, working.count / COUNT

        return self.sim.run(body())


def check(what: str, steps: float) -> None:
    assert steps <= BOUNDS[what] * HEADROOM, f"{what}: {steps:.1f} steps, not {BOUNDS[what]}"
    # Who made it shorter writes that down, so that it stays so.
    assert steps >= BOUNDS[what] / HEADROOM, f"{what}: {steps:.1f} steps, not {BOUNDS[what]}"


def test_jobs_that_are_put_together_take_as_many_steps_as_before(sim: SimMesh) -> None:
    bench = Bench(sim)
    putting, working = bench.steps(bench.put_many)
    check("put_many", putting)
    check("put to done", working)


def test_a_job_that_is_put_alone_takes_as_many_steps_as_before(sim: SimMesh) -> None:
    bench = Bench(sim)
    # At the end of the turn they go on together.
    check("put", sum(bench.steps(bench.put)))
