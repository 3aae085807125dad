"""Rolling restarts: replicas are stopped by SIGTERM and replaced, one after the other, under load.

``run()`` drains at the signal. So no call fails, with ``retry`` or without, and no groupcast is
lost or handled twice.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mesh
from tests.net.conftest import Measured
from tests.net.loads import Progress, send_groupcasts
from tests.net.processes import PROCESS_START, Script, until_async
from tests.net.test_async_node import runs
from tests.net.workers import BEGAN, read_notes

MakeAsync = Callable[..., mesh.AsyncNode]

REPLICAS = 5
CALLS_PER_SECOND = 1_000
CASTS_PER_SECOND = 200


class Fleet:
    """Replicas in processes of their own, and what all that ever ran have noted."""

    def __init__(self, mesh_name: str, folder: Path) -> None:
        self._mesh = mesh_name
        self._folder = folder
        self._count = itertools.count()
        self.running: list[Script] = []
        self.started: list[Script] = []

    def start(self) -> Script:
        notes = self._folder / f"{next(self._count):03}.notes"
        replica = Script(["-m", "tests.net.replica", self._mesh, str(notes)])
        self.started.append(replica)
        self.running.append(replica)
        return replica

    def stop_oldest(self) -> float:
        """What a supervisor does; returns the seconds that it took."""
        replica = self.running.pop(0)
        began = time.monotonic()
        replica.signal(signal.SIGTERM)
        assert replica.wait(PROCESS_START) == 0, replica.errors
        assert replica.errors == ""
        return time.monotonic() - began

    def handled(self) -> tuple[Counter[int], int]:
        """How often each groupcast was begun, and how many of these runs were marked."""
        notes = [n for path in self._folder.glob("*.notes") for n in read_notes(path)]
        begun = [note for note in notes if note.what == BEGAN]
        return Counter(n.number for n in begun), sum(n.is_marked for n in begun)


class Calls:
    """Calls of the replicas at a steady rate; those of even numbers may be repeated."""

    def __init__(self, node: mesh.AsyncNode) -> None:
        self._services = [
            node.service("replica", timeout=10.0, retry=retry) for retry in (True, False)
        ]
        self.errors: list[list[mesh.MeshError]] = [[], []]
        self.answers: Counter[int] = Counter()
        self.made = 0
        self._is_over = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        began = time.monotonic()
        while not self._is_over:
            while self.made < (time.monotonic() - began) * CALLS_PER_SECOND:
                task = asyncio.ensure_future(self._call(self.made))
                self.made += 1
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(0.001)

    async def _call(self, number: int) -> None:
        try:
            self.answers[await self._services[number % 2].work(number)] += 1
        except mesh.MeshError as error:
            self.errors[number % 2].append(error)

    async def end(self) -> None:
        self._is_over = True
        await self._running
        if self._tasks:
            await asyncio.wait(self._tasks)


@pytest.fixture
def fleet(mesh_name: str, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(mesh_name, tmp_path)
    yield fleet
    for replica in fleet.started:
        replica.end()


@pytest.mark.parametrize(
    "restarts", [2, pytest.param(3 * REPLICAS, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]
)
@runs
async def test_rolling_restarts_fail_no_call_and_lose_no_groupcast(
    fleet: Fleet, make_async: MakeAsync, restarts: int, measured: Measured
) -> None:
    for _ in range(REPLICAS):
        fleet.start()
    async with make_async(discovery=("local", "exchange")) as node:
        await node.wait_for("replica", count=REPLICAS, timeout=PROCESS_START)
        began = time.monotonic()
        calls, casts = Calls(node), Progress()
        sending = asyncio.ensure_future(
            send_groupcasts(node, "crew", itertools.count(), casts, pause=1 / CASTS_PER_SECOND)
        )
        seconds = []
        for _ in range(restarts):
            before = calls.made
            await until_async(lambda before=before: calls.made > before + CALLS_PER_SECOND / 4)
            seconds.append(await asyncio.to_thread(fleet.stop_oldest))
            fresh = fleet.start()
            await until_async(lambda fresh=fresh: _is_here(node, fresh), PROCESS_START)
        await calls.end()
        casts.is_over = True
        await sending
        await node.flush(10)
        measured("calls per second:", calls.made / (time.monotonic() - began))
        measured("calls:", calls.made)
        measured("groupcasts:", casts.sent)
        measured("longest stop, s:", max(seconds))
        for with_retry, errors in zip(("with", "without"), calls.errors, strict=True):
            measured(f"failed {with_retry} retry:", len(errors))
        measured("handed on:", node.counters().get("calls_taken_elsewhere", 0))
        assert calls.errors == [[], []]
        handled, marked = fleet.handled()
        measured("groupcasts marked:", marked)
        assert handled.keys() == set(casts.numbers)
        assert set(handled.values()) == {1}, "a node that drains has nothing handled twice"
        assert marked == 0


def _is_here(node: mesh.AsyncNode, replica: Script) -> bool:
    """Whether as many replicas take calls as there shall be."""
    assert replica.process.poll() is None, replica.errors
    return sum("replica" in peer.services for peer in node.peers()) == REPLICAS
