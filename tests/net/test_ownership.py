"""Ownership moves between real processes: no key is handled by two at once, no call is lost."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mesh
from tests.net.conftest import Measured
from tests.net.processes import Script, until, until_async
from tests.sim.owners import Run, fences_that_fell, overlaps

LEAST = 3
KEYS = 30
CALLERS = 16

Start = Callable[[str], "Member"]


class Member(Script):
    """A process of ``tests.net.owning_member``."""

    def __init__(self, mesh_name: str, instance: str, file: Path) -> None:
        super().__init__(["-m", "tests.net.owning_member", mesh_name, instance, str(file)])
        self.instance = instance
        self.file = file
        self.killed_at: float | None = None

    def runs(self) -> list[Run]:
        """What it has written; what it died with ended when it died."""
        runs: dict[int, Run] = {}
        for line in self.file.read_text(encoding="utf-8").splitlines():
            number, *rest = json.loads(line)
            if len(rest) == 1:
                runs[number].ended = rest[0]
            else:
                key, began, fence = rest
                runs[number] = Run(key, str(self.pid), began, fence)
        for run in runs.values():
            run.ended = run.ended if run.ended is not None else self.killed_at
        return list(runs.values())


@pytest.fixture
def start(mesh_name: str, tmp_path: Path) -> Iterator[Start]:
    members: list[Member] = []

    def start(instance: str) -> Member:
        member = Member(mesh_name, instance, tmp_path / f"{len(members)}.jsonl")
        members.append(member)
        return member

    yield start
    for member in members:
        member.end()


class Load:
    """Keyed calls without end, from this process."""

    def __init__(self, node: mesh.AsyncNode) -> None:
        self.node = node
        self.waits: list[float] = []
        self.errors: list[str] = []
        self.stop = False

    async def run(self, number: int) -> None:
        dice = random.Random(number)
        while not self.stop:
            seconds = dice.choice([0.002, 0.02, 0.1])
            service = self.node.service(
                "cart", key=f"k{dice.randrange(KEYS)}", timeout=60.0, retry=True
            )
            began = time.monotonic()
            try:
                await service.work(seconds)
            except mesh.MeshError as error:
                self.errors.append(repr(error))
            self.waits.append(time.monotonic() - began - seconds)
            await asyncio.sleep(0.01)


async def churn(
    node: mesh.AsyncNode, start: Start, moves: int, load: Load, members: list[Member]
) -> list[Member]:
    """Members come, are told to leave, and are killed; all that ever were."""
    everybody = list(members)
    dice = random.Random(moves)
    for move in range(moves):
        if len(members) <= LEAST or dice.random() < 0.4:
            member = start(f"m{move % 5}" if dice.random() < 0.5 else f"new{move}")
            before = len(node.peers())
            await until_async(lambda: len(node.peers()) > before, within=60.0)  # noqa: B023
            members.append(member)
            everybody.append(member)
        else:
            member = members.pop(dice.randrange(len(members)))
            if dice.random() < 0.5:
                member.killed_at = time.monotonic()
                member.kill()
                member.killed_at = time.monotonic()
            else:
                member.signal(signal.SIGTERM)
                await asyncio.to_thread(until, lambda: member.process.poll() is not None, 60.0)  # noqa: B023
                assert member.process.returncode == 0, member.errors
        await asyncio.sleep(0.3)
    return everybody


async def measure(mesh_name: str, start: Start, moves: int, measured: Measured) -> None:
    members = [start(f"first{number}") for number in range(LEAST + 1)]
    async with mesh.AsyncNode(mesh=mesh_name, discovery=("local",)) as node:
        await until_async(lambda: len(node.peers()) == len(members), within=60.0)
        load = Load(node)
        calling = [asyncio.ensure_future(load.run(number)) for number in range(CALLERS)]
        everybody = await churn(node, start, moves, load, members)
        await asyncio.sleep(1.0)
        load.stop = True
        await asyncio.gather(*calling)
    runs = [run for member in everybody for run in member.runs()]
    measured("moves:", moves)
    measured("calls:", len(load.waits))
    measured("overlaps:", len(overlaps(runs)))
    measured("longest wait beyond the handler (s):", round(max(load.waits), 2))
    assert load.errors == []
    assert overlaps(runs) == []
    assert fences_that_fell(runs) == []
    for member in members:
        member.check()


def test_no_key_is_handled_by_two_processes_while_members_come_and_go(
    mesh_name: str, start: Start, measured: Measured
) -> None:
    asyncio.run(measure(mesh_name, start, 8, measured))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_key_is_handled_by_two_processes_in_two_hundred_moves(
    mesh_name: str, start: Start, measured: Measured
) -> None:
    asyncio.run(measure(mesh_name, start, 200, measured))


def test_a_blocking_node_is_told_runs_a_singleton_and_serves_an_actor(mesh_name: str) -> None:
    changes: list[mesh.OwnershipChange] = []
    runs: list[int] = []
    ended: list[bool] = []
    with mesh.Node("cart", mesh=mesh_name, discovery=("local",)) as node:

        @node.actor("cart")
        class Cart:
            def __init__(self) -> None:
                self.things: list[str] = []

            def add(self, thing: str) -> list[str]:
                time.sleep(0.05)
                self.things.append(thing)
                return self.things

        node.on_ownership("cart")(changes.append)

        @node.singleton("billing-run")
        def bill(active: mesh.Active) -> None:
            runs.append(active.fence)
            while not active.wait(0.1):
                pass
            ended.append(active.is_stopping)

        cart = node.service("cart", key="user:7", wait=5.0)
        assert cart.add("apple") == ["apple"]
        assert cart.add("pear") == ["apple", "pear"]
        fence = node.fence("cart", "user:7")
        assert fence is not None
        assert until(lambda: runs)
        (change,) = changes
        assert change.gained.contains_key("user:7")
        assert change.fence <= fence
        node.drain(10)
        assert until(lambda: ended) == [True]
        assert until(lambda: len(changes) == 2)
        assert changes[1].lost.contains_key("user:7")
