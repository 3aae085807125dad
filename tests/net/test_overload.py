"""A service that is asked for ten times what it can do: it does what it can, and in time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import mesh
from benchmarks.overload import LEAST, Load
from tests.net.conftest import Measured
from tests.net.processes import PROCESS_START, Script
from tests.net.test_async_node import runs

MakeAsync = Callable[..., mesh.AsyncNode]

WORK = 0.02
CONCURRENCY = 4
CAPACITY = CONCURRENCY / WORK
TIMEOUT = 2.0
"""Seconds that each call has: a fifth of them are slack for a busy machine."""


@pytest.fixture
def server(mesh_name: str) -> Iterator[Script]:
    options = ["--work", str(WORK), "--concurrency", str(CONCURRENCY)]
    server = Script(["-m", "benchmarks.overload", "--serve", mesh_name, *options])
    yield server
    server.end()


@pytest.mark.parametrize(
    ("factors", "seconds"),
    [((1, 10), 1.2), pytest.param((1, 2, 5, 10), 10.0, marks=[pytest.mark.slow])],
)
@runs
async def test_under_overload_goodput_holds_and_what_is_accepted_is_in_time(
    server: Script,
    make_async: MakeAsync,
    factors: tuple[int, ...],
    seconds: float,
    measured: Measured,
) -> None:
    goodputs = []
    async with make_async() as node:
        await node.wait_for("server", timeout=PROCESS_START)
        for factor in factors:
            load = Load(node, CAPACITY * factor, TIMEOUT)
            goodputs.append(await load.run(seconds))
            measured(f"goodput at {factor}x:", goodputs[-1])
            assert load.outcomes.keys() <= {"ok", "Overloaded"}, "an accepted call was late"
            assert max(load.latencies) <= TIMEOUT * 1000
            assert factor == 1 or load.outcomes["Overloaded"]
    assert min(goodputs) >= LEAST * max(goodputs)
