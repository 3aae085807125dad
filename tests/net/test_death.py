"""``kill -9`` of one of five replicas under load: what callers see, and when they avoid it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

import mesh
from tests.net.conftest import Measured
from tests.net.processes import NodeProcess, until, until_async

Start = Callable[..., NodeProcess]

REPLICAS = 5
RATE = 1_000
"""Calls a second that are reached at least."""

AVOIDED_AFTER = 0.05 * 10
"""Seconds after the kill from which on no call fails, with the slack of a busy machine."""

WORK = 0.01
"""Seconds that a call takes at the replica: some are always in flight."""


@dataclass
class Outcome:
    """One call: when it began and ended, and the pid that served it, or what was raised."""

    number: int
    began: float
    ended: float
    pid: int | None
    error: Exception | None


class Load:
    """Calls of ``replica.work`` at a steady rate, each a task of its own."""

    def __init__(self, node: mesh.AsyncNode, *, retry: bool) -> None:
        self._service = node.service("replica", timeout=30.0, retry=retry)
        self.outcomes: list[Outcome] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._made = 0
        self.seconds = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Catches up after a pause of the loop, so that the rate is that of the whole time."""
        began = time.monotonic()
        while not stop.is_set():
            while self._made < (time.monotonic() - began) * RATE * 1.5:
                self._start()
            await asyncio.sleep(0.001)
        self.seconds = time.monotonic() - began
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _start(self) -> None:
        task = asyncio.ensure_future(self._call(self._made))
        self._made += 1
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call(self, number: int) -> None:
        began = time.monotonic()
        pid: int | None = None
        error: Exception | None = None
        try:
            pid = await self._service.work(number, WORK)
        except mesh.MeshError as caught:
            error = caught
        self.outcomes.append(Outcome(number, began, time.monotonic(), pid, error))


async def load_with_a_kill(
    mesh_name: str, replicas: list[NodeProcess], *, retry: bool
) -> tuple[Load, float]:
    """The load over the death of the first replica, and the time of the kill."""
    async with mesh.AsyncNode(mesh=mesh_name, discovery=("local",)) as node:
        await node.wait_for("replica", count=REPLICAS, timeout=20)
        load = Load(node, retry=retry)
        stop = asyncio.Event()
        running = asyncio.ensure_future(load.run(stop))
        await until_async(lambda: len(load.outcomes) > RATE / 2)
        await asyncio.to_thread(replicas[0].kill)
        killed_at = time.monotonic()
        late = killed_at + AVOIDED_AFTER
        await until_async(lambda: sum(o.began > late for o in load.outcomes) > RATE / 4)
        stop.set()
        await running
    assert len(load.outcomes) >= RATE * load.seconds
    assert {o.pid for o in load.outcomes if o.began < killed_at and not o.error} == {
        replica.pid for replica in replicas
    }
    return load, killed_at


@pytest.fixture
def replicas(start_process: Start) -> list[NodeProcess]:
    started = [start_process("replica", wait=False) for _ in range(REPLICAS)]
    return [process.wait_started() for process in started]


def test_only_calls_in_flight_at_a_killed_replica_are_lost(
    mesh_name: str,
    replicas: list[NodeProcess],
    measured: Measured,
) -> None:
    load, killed_at = asyncio.run(load_with_a_kill(mesh_name, replicas, retry=False))
    failed = [o for o in load.outcomes if o.error is not None]
    assert failed, "nothing was in flight: the test proves nothing"
    assert {type(o.error) for o in failed} == {mesh.PeerLost}
    elsewhere = {number for replica in replicas[1:] for number in replica.ask("started")}
    assert not elsewhere & {o.number for o in failed}, "a call that ran elsewhere was given up"
    avoided_after = max(o.began for o in failed) - killed_at
    measured("last failed call began after the kill, s:", avoided_after)
    measured("failed calls:", len(failed))
    assert avoided_after < AVOIDED_AFTER
    told_after = max(o.ended for o in failed) - killed_at
    measured("last failure told after the kill, s:", told_after)
    late = [o for o in load.outcomes if o.began > killed_at + AVOIDED_AFTER]
    assert {o.pid for o in late} == {replica.pid for replica in replicas[1:]}
    assert not any(
        o.ended - killed_at > AVOIDED_AFTER for o in load.outcomes if o.pid == replicas[0].pid
    )


def test_with_retry_no_call_fails_when_a_replica_is_killed(
    mesh_name: str, replicas: list[NodeProcess]
) -> None:
    load, killed_at = asyncio.run(load_with_a_kill(mesh_name, replicas, retry=True))
    assert [o for o in load.outcomes if o.error is not None] == []
    numbers = [o.number for o in load.outcomes]
    assert sorted(numbers) == list(range(len(numbers))), "each call ends exactly once"
    again = [o for o in load.outcomes if o.began < killed_at < o.ended and o.pid != replicas[0].pid]
    assert again, "nothing was in flight: the test proves nothing"


def test_a_call_to_a_chosen_peer_that_is_killed_is_lost_even_with_retry(
    mesh_name: str, replicas: list[NodeProcess]
) -> None:
    async def main() -> None:
        async with mesh.AsyncNode(mesh=mesh_name, discovery=("local",)) as node:
            await node.wait_for("replica", count=REPLICAS, timeout=20)
            chosen = node.service("replica", peer=replicas[0].id, retry=True, timeout=30.0)
            assert await chosen.pid() == replicas[0].pid
            waiting = asyncio.ensure_future(chosen.work(0, 60.0))
            await asyncio.to_thread(until, lambda: replicas[0].ask("started"))
            replicas[0].kill()
            with pytest.raises(mesh.PeerLost):
                await waiting
            with pytest.raises(mesh.PeerLost):
                await chosen.pid()

    asyncio.run(main())


def test_when_a_caller_is_killed_what_it_called_is_cancelled(
    mesh_name: str, start_process: Start
) -> None:
    outcomes: list[str] = []

    async def main() -> None:
        node = mesh.AsyncNode("server", mesh=mesh_name, discovery=("local",))

        @node.rpc
        async def wait() -> None:
            outcomes.append("begun")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                outcomes.append("cancelled")
                raise

        async with node:
            caller = await asyncio.to_thread(start_process, "caller")
            await node.wait_for("caller", timeout=20)
            caller.begin("call", method="server.wait", timeout=60, wait=20)
            await until_async(lambda: outcomes == ["begun"])
            await asyncio.to_thread(caller.kill)
            await until_async(lambda: outcomes == ["begun", "cancelled"])

    asyncio.run(main())


@pytest.mark.parametrize("face", ["Node", "AsyncNode"])
def test_calls_of_a_handler_end_with_the_call_that_it_serves(mesh_name: str, face: str) -> None:
    settings = {"mesh": mesh_name, "discovery": ("local",)}
    budgets: list[float] = []

    def served(node: mesh.Node | mesh.AsyncNode) -> None:
        @node.rpc("last", inline=False)
        def last(request: mesh.Request) -> None:
            budgets.append(request.deadline)

        if isinstance(node, mesh.Node):
            blocking = node

            @node.rpc("first")
            def first() -> None:
                blocking.service("chain", timeout=30).last()

        else:
            waiting = node

            @node.rpc("first")
            async def first_async() -> None:
                await waiting.service("chain", timeout=30).last()
                later.append(asyncio.ensure_future(_call_later(waiting)))

    later: list[asyncio.Future[None]] = []

    async def _call_later(node: mesh.AsyncNode) -> None:
        await asyncio.sleep(0.1)  # its handler has ended
        await node.service("chain", timeout=30).last()

    async def with_async() -> None:
        async with mesh.AsyncNode("chain", **settings) as node:
            served(node)
            await node.service("chain", timeout=3).first()
            await later[0]

    if face == "Node":
        with mesh.Node("chain", **settings) as node:
            served(node)
            node.service("chain", timeout=3).first()
            node.service("chain", timeout=30).last()
    else:
        asyncio.run(with_async())
    bounded, free = budgets
    assert 0 < bounded <= 3
    assert free > 3
