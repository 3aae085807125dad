"""Work queues on virtual time: what is cut off stops before its job is handed to another."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

import mesh
from mesh.testing import SimMesh

LEASE = 4.0


class Runs:
    """Who ran which job, from when to when; virtual time is the same for all."""

    def __init__(self, sim: SimMesh, lease: float) -> None:
        self.sim = sim
        self.lease = lease
        self.spans: list[list[Any]] = []

    def worker(self, name: str, seconds: float) -> Any:
        """To be added: it sleeps so long over each job, and touches none."""

        def make() -> mesh.AsyncNode:
            node = mesh.AsyncNode(name)

            @node.worker("mail", lease=self.lease, concurrency=2)
            async def handle(job: mesh.HeldJob) -> str:
                span = [job.data, name, self.sim.now, float("inf")]
                self.spans.append(span)
                try:
                    await asyncio.sleep(seconds)
                finally:
                    span[3] = self.sim.now
                return name

            return node

        return make

    def check_one_at_a_time(self) -> None:
        for number in {span[0] for span in self.spans}:
            mine = sorted((span for span in self.spans if span[0] == number), key=lambda s: s[2])
            for one, following in itertools.pairwise(mine):
                assert one[3] <= following[2], (one, following)


@pytest.mark.parametrize("cut", ["both ways", "to the home"])
@pytest.mark.parametrize("lease", [1.0, 10.0])
@pytest.mark.parametrize("seed", range(3))
def test_who_is_cut_off_stops_before_another_has_its_job(seed: int, lease: float, cut: str) -> None:
    """With a short lease that has to end before the silence is noticed, with a long one after."""
    with SimMesh(seed=seed) as sim:
        runs = Runs(sim, lease)
        home = sim.node("home")
        queue = home.queue("mail")
        first = sim.add(runs.worker("first", 60.0))

        async def body() -> None:
            await home.wait_for("first")
            jobs = [await queue.put(number) for number in range(4)]
            await asyncio.sleep(0.2 + 0.3 * sim.random.random())
            assert len(runs.spans) == 2
            second = sim.add(runs.worker("second", 0.2))
            await home.wait_for("second")
            if cut == "both ways":
                sim.partition([first], [home, second])
            else:
                sim.block_path(first, home)
            for job in jobs:
                assert await job.result(60) == "second"
            sim.heal()
            await asyncio.sleep(lease)
            stats = await queue.stats()
            assert (stats.done, stats.ready, stats.reserved) == (4, 0, 0)

        sim.run(body())
        runs.check_one_at_a_time()


@pytest.mark.parametrize("seed", range(3))
def test_who_falls_silent_has_its_jobs_until_their_leases_end(seed: int) -> None:
    """It may work on, so nobody else is given them before; asleep it does not, but who knows."""
    with SimMesh(seed=seed) as sim:
        runs = Runs(sim, 12.0)
        home = sim.node("home")
        queue = home.queue("mail")
        first = sim.add(runs.worker("first", 60.0))

        async def body() -> None:
            await home.wait_for("first")
            jobs = [await queue.put(number) for number in range(2)]
            await asyncio.sleep(0.5)
            second = sim.add(runs.worker("second", 4.0))
            await home.wait_for("second")
            sim.freeze(first)
            await asyncio.sleep(6.0 + sim.random.random())
            sim.thaw(first)
            for job in jobs:
                assert await job.result(60) == "second"
            await asyncio.sleep(20)
            stats = await queue.stats()
            assert (stats.done, stats.ready, stats.reserved) == (2, 0, 0)
            assert second.id != first.id

        sim.run(body())
        runs.check_one_at_a_time()


@pytest.mark.parametrize("seed", range(3))
def test_workers_that_die_and_homes_that_are_cut_off_lose_no_job(seed: int) -> None:
    with SimMesh(seed=seed) as sim:
        runs = Runs(sim, LEASE)
        homes = [sim.node("home-a"), sim.node("home-b")]
        queues = [home.queue("mail") for home in homes]
        workers = [sim.add(runs.worker(f"worker-{number}", 0.5)) for number in range(3)]

        async def body() -> None:
            await homes[0].wait_for("worker-2")
            jobs = [await queue.put(f"{q}{n}") for n in range(40) for q, queue in enumerate(queues)]
            for turn in range(4):
                await asyncio.sleep(sim.random.random() * 2)
                victim = sim.random.choice(workers)
                if turn % 2:
                    sim.kill(victim)
                    workers[workers.index(victim)] = sim.restart(victim)
                else:
                    sim.partition([homes[turn // 2]], [*workers, homes[1 - turn // 2]])
                    await asyncio.sleep(1 + sim.random.random() * 6)
                    sim.heal()
            for job in jobs:
                assert (await job.result(200)).startswith("worker")

        sim.run(body())
        runs_of_killed = {span[0] for span in runs.spans}
        assert len(runs_of_killed) == 80


def test_jobs_that_are_lost_with_their_home_are_told_of_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with SimMesh(seed=1) as sim:
        home = sim.node("home")
        queue = home.queue("mail")
        worker = sim.node("worker")

        @worker.worker("mail", max_in_flight=500)
        async def handle(job: mesh.HeldJob) -> None:
            await asyncio.sleep(50)

        async def body() -> None:
            await home.wait_for("worker")
            await queue.put_many(range(500))
            await asyncio.sleep(1)
            assert (await queue.stats()).groups[""].reserved == 500
            sim.kill(home)
            await asyncio.sleep(20)

        sim.run(body())
    lines = [r.getMessage() for r in caplog.records if "lost here" in r.getMessage()]
    assert len(lines) == 1, lines[:3]
    assert "and 499 others of 'mail'" in lines[0]
