"""Keyed calls over real processes: each key at its owner, and only a dead one's keys move."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest

import mesh
from tests.net.conftest import Measured
from tests.net.processes import NodeProcess, until_async

Start = Callable[..., NodeProcess]

KEYS = [f"user:{number}" for number in range(1000)]
AT_ONCE = 64
"""Calls in flight."""


@dataclass
class Outcome:
    """One call of a key: which in order it was, and the pid that served it, or what was raised."""

    number: int
    key: str
    pid: int | None
    error: Exception | None


class Load:
    """Calls with ``retry=True`` for one key after the other, round and round."""

    def __init__(self, node: mesh.AsyncNode) -> None:
        self._node = node
        self.begun = 0
        self.outcomes: list[Outcome] = []

    async def run(self, stop: asyncio.Event) -> None:
        await asyncio.gather(*(self._work(stop) for _ in range(AT_ONCE)))

    def since(self, number: int) -> list[Outcome]:
        """Of the calls that began as this one or later."""
        return [outcome for outcome in self.outcomes if outcome.number >= number]

    async def _work(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            number, key = self.begun, KEYS[self.begun % len(KEYS)]
            self.begun += 1
            service = self._node.service("keeper", key=key, retry=True, timeout=30.0)
            pid: int | None = None
            error: Exception | None = None
            try:
                pid = await service.work(number, 0.005)
            except mesh.MeshError as caught:
                error = caught
            self.outcomes.append(Outcome(number, key, pid, error))


def owned_by(node: mesh.AsyncNode | mesh.Node, pids: dict[str, int]) -> dict[str, int]:
    """Key to the pid of its owner, as the node names it."""
    return {key: pids[node.owner("keeper", key).id] for key in KEYS}


@pytest.fixture
def keepers(start_process: Start) -> list[NodeProcess]:
    started = [start_process("keeper", wait=False) for _ in range(3)]
    return [process.wait_started() for process in started]


def test_each_of_a_thousand_keys_is_handled_by_its_owner_whoever_calls(
    make_node: Callable[..., mesh.Node], keepers: list[NodeProcess]
) -> None:
    pids = {keeper.id: keeper.pid for keeper in keepers}
    with make_node("caller") as node:
        node.wait_for("keeper", count=3, timeout=20)
        for keeper in keepers:
            keeper.ask("wait_for", name="keeper", count=3, timeout=20)
        owners = owned_by(node, pids)
        assert set(owners.values()) == set(pids.values())
        assert {key: node.service("keeper", key=key).pid() for key in KEYS} == owners
        for keeper in keepers:
            for key in KEYS[:50]:
                assert keeper.ask("call", method="keeper.pid", key=key) == owners[key]


def test_when_an_owner_is_killed_no_call_with_retry_fails_and_only_its_keys_move(
    mesh_name: str, keepers: list[NodeProcess], measured: Measured
) -> None:
    pids = {keeper.id: keeper.pid for keeper in keepers}
    victim = keepers[0]

    async def main() -> None:
        async with mesh.AsyncNode(mesh=mesh_name, discovery=("local",)) as node:
            await node.wait_for("keeper", count=3, timeout=20)
            before = owned_by(node, pids)
            heirs = {key: pids[node.owners("keeper", key, 2)[1].id] for key in KEYS}
            load = Load(node)
            stop = asyncio.Event()
            running = asyncio.ensure_future(load.run(stop))
            await until_async(lambda: len(load.outcomes) >= len(KEYS))
            killed = len(load.outcomes)
            await asyncio.to_thread(victim.kill)
            await until_async(lambda: victim.id not in {peer.id for peer in node.peers()})
            settled = load.begun
            await until_async(lambda: len(load.since(settled)) >= len(KEYS) + AT_ONCE)
            stop.set()
            await running
            outcomes = load.outcomes
            assert [o for o in outcomes if o.error is not None] == []
            assert all(o.pid == before[o.key] for o in outcomes[:killed])
            expected = {k: heirs[k] if pid == victim.pid else pid for k, pid in before.items()}
            assert owned_by(node, pids) == expected
            assert {o.key: o.pid for o in load.since(settled)} == expected
            assert all(o.pid in (before[o.key], expected[o.key]) for o in outcomes[killed:])
            measured("keys moved of 1000:", sum(before[k] != expected[k] for k in KEYS))
            measured("calls:", len(outcomes))

    asyncio.run(main())


def test_when_an_owner_comes_no_call_fails_and_only_its_keys_move(
    mesh_name: str, keepers: list[NodeProcess], start_process: Start
) -> None:
    pids = {keeper.id: keeper.pid for keeper in keepers}

    async def main() -> None:
        async with mesh.AsyncNode(mesh=mesh_name, discovery=("local",)) as node:
            await node.wait_for("keeper", count=3, timeout=20)
            before = owned_by(node, pids)
            load = Load(node)
            stop = asyncio.Event()
            running = asyncio.ensure_future(load.run(stop))
            await until_async(lambda: len(load.outcomes) >= len(KEYS))
            new = await asyncio.to_thread(start_process, "keeper")
            await node.wait_for("keeper", count=4, timeout=20)
            await asyncio.to_thread(new.ask, "wait_for", name="keeper", count=4, timeout=20)
            settled = load.begun
            await until_async(lambda: len(load.since(settled)) >= len(KEYS) + AT_ONCE)
            stop.set()
            await running
            assert [o for o in load.outcomes if o.error is not None] == []
            after = owned_by(node, {**pids, new.id: new.pid})
            assert {o.key: o.pid for o in load.since(settled)} == after
            moved = {key for key in KEYS if after[key] != before[key]}
            assert moved == {key for key in KEYS if after[key] == new.pid}
            assert moved
            assert all(o.pid in (before[o.key], after[o.key]) for o in load.outcomes)

    asyncio.run(main())
