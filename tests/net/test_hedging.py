"""Hedged calls between real processes: a slow member, and one that stands still.

What the tail gains is asserted where nothing else is at work, in ``tests/sim/test_hedging.py``.
"""

from __future__ import annotations

import asyncio
import random
import signal
import uuid
from collections.abc import Iterator

import pytest

import mesh
from benchmarks.hedging import Load
from patterns.rpc.hedging import FLOOR, SHARE
from tests.net.conftest import Measured
from tests.net.processes import PROCESS_START, Script
from tests.net.test_async_node import runs

MESH = f"test-{uuid.uuid4().hex[:16]}"
"""One for both tests: processes take longer to start than the tests."""

COUNT = 4
MEAN = 0.02
CONCURRENCY = 2
RATE = 200.0
"""A second: three of the four do 300, the slow one 20."""


@pytest.fixture(scope="module")
def workers() -> Iterator[list[Script]]:
    """The first is five times slower than the others."""
    options = ["--mean", str(MEAN), "--concurrency", str(CONCURRENCY), "--serve", MESH]
    command = ["-m", "benchmarks.hedging", *options]
    started = [Script([*command, str(number)]) for number in range(COUNT)]
    yield started
    for worker in started:
        worker.end()


@runs
async def test_calls_that_a_slow_member_has_are_answered_by_others_for_little_more_work(
    workers: list[Script], measured: Measured
) -> None:
    async with mesh.AsyncNode(mesh=MESH, discovery=("local",)) as node:
        await node.wait_for("work", count=COUNT, timeout=PROCESS_START)
        rng = random.Random(1)
        plain = await Load([node], RATE, rng, retry=True).run(2.0)
        hedged = await Load([node], RATE, rng, hedge=0.08).run(2.0)
        counters = node.counters()
    for figures in (plain, hedged):
        assert set(figures.outcomes) == {"ok"}
    assert plain.started == plain.calls, "whoever does not ask for a hedge gets none"
    measured("p99, plain, ms:", plain.at(0.99))
    measured("p99, hedged, ms:", hedged.at(0.99))
    assert hedged.counters["hedges_won"] > 0
    assert counters["hedges_sent"] <= FLOOR + SHARE * hedged.calls
    assert 0 <= hedged.started - hedged.calls <= hedged.counters["hedges_sent"]


@runs
async def test_a_member_that_stands_still_costs_a_call_the_delay_of_its_hedge(
    workers: list[Script],
) -> None:
    async with mesh.AsyncNode(mesh=MESH, discovery=("local",)) as node:
        await node.wait_for("work", count=COUNT, timeout=PROCESS_START)
        calls = node.service("work", hedge=0.2, timeout=30.0)
        await asyncio.gather(*(calls.work() for _ in range(10)))
        workers[1].signal(signal.SIGSTOP)
        loop = asyncio.get_running_loop()

        async def timed() -> float:
            began = loop.time()
            await calls.work()
            return loop.time() - began

        took = await asyncio.gather(*(timed() for _ in range(16)))
        assert max(took) < 2.5, "before it is in doubt"
        assert node.counters()["hedges_won"] > 0
        workers[1].signal(signal.SIGCONT)
