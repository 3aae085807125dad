"""Keys: one member for each, in order, and only the keys of those who come and go move."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

import mesh
from tests.net.conftest import Measured
from tests.net.crew import Crew
from tests.net.loads import Load, send_groupcasts
from tests.net.processes import NodeProcess, until_async
from tests.net.test_async_node import runs
from tests.net.workers import BEGAN, member

MakeAsync = Callable[..., mesh.AsyncNode]

NODES = 5
SLOW = pytest.mark.slow


@pytest.mark.parametrize("count", [5_000, pytest.param(100_000, marks=SLOW)])
@pytest.mark.parametrize(("mode", "concurrency"), [("inline", 1), ("async", 8), ("pool", 8)])
@runs
async def test_all_of_a_key_are_handled_by_its_owner_one_at_a_time_and_in_order(
    crew: Crew, make_async: MakeAsync, count: int, mode: str, concurrency: int
) -> None:
    keys = 30
    seconds = 0.0 if mode == "inline" else 0.001
    members = crew.hire_all(*[member(mode=mode, concurrency=concurrency, seconds=seconds)] * 3)
    async with make_async() as node:
        await node.wait_for(group="crew", count=3, timeout=20)
        owners = {key: node.owner(key=key, group="crew").id for key in range(keys)}
        assert set(owners.values()) == {process.id for process in members}
        await send_groupcasts(node, "crew", range(count), keys=keys)
        await node.flush(50)
        assert node.counters() == {}
    crew.check_once("crew", range(count))
    assert crew.check_order("crew", keys) == keys
    for process, notes in zip(members, crew.notes("crew"), strict=True):
        assert {owners[entry.number % keys] for entry in notes} == {process.id}
        if concurrency > 1:
            assert max(entry.running for entry in notes) > 1


class Calls:
    """Calls with ``retry=True`` for one key after the other, round and round."""

    AT_ONCE = 32

    def __init__(self, node: mesh.AsyncNode, keys: int) -> None:
        self._node = node
        self._keys = keys
        self._is_over = False
        self.begun = 0
        self.served: list[tuple[int, int, int]] = []
        """Number of the call, key, and the pid of who served it."""
        self.errors: list[tuple[int, mesh.MeshError]] = []
        self._tasks = [asyncio.create_task(self._call()) for _ in range(self.AT_ONCE)]

    async def end(self) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def round(self) -> dict[int, int]:
        """Of each key, by whom a call was served that began from now on."""
        first = self.begun
        served: dict[int, int] = {}

        def is_complete() -> bool:
            served.update((key, pid) for number, key, pid in self.served if number >= first)
            return len(served) == self._keys

        self.served.clear()
        await until_async(is_complete, 120.0, "a round of calls")
        return served

    async def _call(self) -> None:
        while not self._is_over:
            number, key = self.begun, self.begun % self._keys
            self.begun += 1
            service = self._node.service("keeper", key=key, retry=True, timeout=30.0)
            try:
                self.served.append((number, key, await service.pid()))
            except mesh.MeshError as error:
                self.errors.append((number, error))


class Keepers:
    """Nodes by instance, each of the service "keeper" and the group "crew"."""

    def __init__(self, crew: Crew, node: mesh.AsyncNode, keys: int) -> None:
        self._crew = crew
        self._node = node
        self._keys = range(keys)
        self.processes: dict[str, NodeProcess] = {}

    async def start(self, *instances: str) -> None:
        spec = member(mode="async", concurrency=8, seconds=0.002)

        def hire() -> None:
            hired = {
                name: self._crew.hire(spec, name="keeper", instance=name, wait=False)
                for name in instances
            }
            self.processes |= {name: p.wait_started() for name, p in hired.items()}

        await asyncio.to_thread(hire)

    def owners(self, **where: Any) -> dict[int, str]:
        return {key: self._node.owner(key=key, **where).instance for key in self._keys}

    async def settled(self) -> dict[int, str]:
        """Key to instance, once all nodes know all nodes and name the same owners."""
        for process in self.processes.values():
            await until_async(functools.partial(self._knows, process.id), 60.0)
        expected = self.owners(name="keeper")
        assert self.owners(group="crew") == expected
        for process in self.processes.values():
            await asyncio.to_thread(self._wait_agreed, process, list(expected.values()))
        return expected

    def _knows(self, id: str) -> bool:
        return any(peer.id == id and peer.state == "alive" for peer in self._node.peers())

    def _wait_agreed(self, process: NodeProcess, expected: list[str]) -> None:
        process.ask("wait_for", 70.0, name="keeper", count=len(self.processes), timeout=60.0)
        keys = list(self._keys)
        for _ in range(1_000):
            if process.ask("first_owners", 60.0, keys=keys, name="keeper") == expected:
                return
        raise AssertionError("they do not agree")

    def pids(self, owners: dict[int, str]) -> dict[int, int]:
        return {key: self.processes[name].pid for key, name in owners.items()}


@pytest.mark.parametrize(
    "keys", [1_000, pytest.param(10_000, marks=[SLOW, pytest.mark.timeout(600)])]
)
def test_no_keyed_call_fails_and_exactly_the_expected_keys_move_while_nodes_come_and_go(
    crew: Crew, make_async: MakeAsync, keys: int, measured: Measured
) -> None:
    async def main() -> None:
        async with make_async() as node:
            keepers = Keepers(crew, node, keys)
            await keepers.start(*(f"keeper-{number}" for number in range(NODES)))
            before = await keepers.settled()
            heirs = {key: node.owners("keeper", key, 2)[1].instance for key in range(keys)}
            calls = Calls(node, keys)
            load = Load(node, "crew", key_count=keys, at_once=50)
            assert await calls.round() == keepers.pids(before)

            await asyncio.to_thread(keepers.processes.pop("keeper-0").kill)
            await until_async(lambda: len(node.peers()) == NODES - 1, 60.0)
            after = await keepers.settled()
            assert after == {
                key: heirs[key] if name == "keeper-0" else name for key, name in before.items()
            }
            assert await calls.round() == keepers.pids(after)
            measured("keys that moved when one was killed:", moved(before, after))

            before = after
            await keepers.start("keeper-new")
            after = await keepers.settled()
            assert all(after[key] in (before[key], "keeper-new") for key in before)
            assert await calls.round() == keepers.pids(after)
            measured("keys that moved when one was added:", moved(before, after))
            assert moved(before, after) > 0

            for name, end in (("keeper-1", "close"), ("keeper-2", "kill")):
                old = keepers.processes.pop(name)
                await asyncio.to_thread(getattr(old, end))
                await keepers.start(name)
                assert await keepers.settled() == after
                assert await calls.round() == keepers.pids(after)

            settled = load.sent
            await until_async(lambda: load.sent > settled + 2 * keys, 60.0)
            await load.end()
            await calls.end()
            await node.flush(50)
            assert calls.errors == []
            assert load.errors == []
            measured("calls:", calls.begun)
            measured("groupcasts:", load.sent)
            measured("handled twice:", crew.check_repeats("crew", load.numbers))
            assert crew.check_order("crew", keys) == keys
            last = {number % keys: number for number in sorted(load.numbers)}
            here = {
                process.pid: {entry.number for entry in notes if entry.what == BEGAN}
                for (process, _), notes in zip(crew.files["crew"], crew.notes("crew"), strict=True)
            }
            pids = keepers.pids(after)
            assert all(number in here[pids[key]] for key, number in last.items())

    asyncio.run(main())


def moved(before: dict[int, str], after: dict[int, str]) -> int:
    return sum(before[key] != after[key] for key in before)
