"""Ownership that moves under load: members come, leave, are closed and killed, while keyed calls
and actors are at work; and what that shows. ``python -m tests.sim.owners`` prints the figures.

Handlers write down when they began and ended, on the one clock of the simulation. Two that overlap
on a key at two nodes are what must never be.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import mesh
from mesh.testing import SimMesh

__all__ = ["Churn", "Run", "fences_that_fell", "overlaps"]

KEYS = 40
CALLERS = 8
LEAST = 4
"""Members that are always there."""

REUSED = 6
"""Instances that come back again and again; others are new ones."""


@dataclass
class Run:
    """One run of a handler."""

    key: str
    node: str
    began: float
    fence: int | None = None
    ended: float | None = None


def overlaps(runs: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Runs of one key at two nodes at one time. One that never ended lasts for ever."""
    found = []
    for of_key in _by_key(runs).values():
        for index, run in enumerate(of_key):
            end = run.ended if run.ended is not None else float("inf")
            for later in of_key[index + 1 :]:
                if later.began >= end:
                    break
                if later.node != run.node:
                    found.append((run, later))
    return found


def fences_that_fell(runs: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Runs whose fence is not above those of all earlier owners of the key."""
    found = []
    for of_key in _by_key(runs).values():
        highest = None
        for run in of_key:
            if highest is not None:
                least = highest.fence or 0
                is_fine = (run.fence or 0) > least or (
                    run.node == highest.node and run.fence == highest.fence
                )
                if not is_fine:
                    found.append((highest, run))
            if highest is None or (run.fence or 0) >= (highest.fence or 0):
                highest = run
    return found


def _by_key(runs: Sequence[Run]) -> dict[str, list[Run]]:
    of_key: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.began):
        of_key[run.key].append(run)
    return of_key


@dataclass
class Churn:
    """Members of one service under calls, in a simulation; ``run`` moves their ownership about."""

    sim: SimMesh
    seed: int = 0
    actors: bool = False
    """Whether the service is an actor, whose run is its whole life, or has a handler."""
    runs: list[Run] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    """Seconds that each call took beyond what its handler does."""
    nodes: dict[str, mesh.AsyncNode] = field(default_factory=dict)
    moves: int = 0
    most_at_work: int = 0
    """Calls that ran at one actor at once."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._made = 0
        self._stop = False
        self._leaving: list[asyncio.Future[None]] = []

    def member(self, instance: str) -> Callable[[], mesh.AsyncNode]:
        """What makes one; the name under which it writes is its own at each start."""
        self._made += 1
        title = f"{instance}#{self._made}"

        def make() -> mesh.AsyncNode:
            node = mesh.AsyncNode("cart", instance=instance)
            if self.actors:
                self._serve_actor(node, title)
                return node

            @node.on_ownership("cart")
            async def moved(change: mesh.OwnershipChange) -> None:
                await asyncio.sleep(0.01)

            @node.rpc
            async def work(seconds: float, request: mesh.Request) -> None:
                run = Run(str(request.key), title, self.sim.now, request.fence)
                self.runs.append(run)
                try:
                    await asyncio.sleep(seconds)
                finally:
                    # Of a node that was killed this is done long after, with its remains.
                    run.ended = run.ended if run.ended is not None else self.sim.now

            return node

        return make

    def _serve_actor(self, node: mesh.AsyncNode, title: str) -> None:
        churn = self

        @node.actor("cart", idle=5.0)
        class Cart:
            def __init__(self, key: str) -> None:
                self.key = key
                self.at_work = 0

            async def on_start(self) -> None:
                self.run = Run(self.key, title, churn.sim.now, node.fence("cart", self.key))
                churn.runs.append(self.run)
                await asyncio.sleep(0.001)

            async def on_stop(self) -> None:
                await asyncio.sleep(0.005)
                assert self.run.ended is None
                self.run.ended = churn.sim.now

            async def work(self, seconds: float) -> None:
                self.at_work += 1
                churn.most_at_work = max(churn.most_at_work, self.at_work)
                try:
                    await asyncio.sleep(seconds)
                finally:
                    self.at_work -= 1

    def add(self, instance: str) -> mesh.AsyncNode:
        make = self.member(instance)
        node = self.nodes[instance] = self.sim.add(make)
        node.title = f"{instance}#{self._made}"  # type: ignore[attr-defined]
        return node

    def run(self, moves: int, kinds: Sequence[str]) -> None:
        for number in range(LEAST + 1):
            self.add(f"n{number}")
        caller = self.sim.node("caller")
        self.sim.until(lambda: len(caller.peers()) == LEAST + 1)
        self.sim.run(self._body(caller, moves, kinds))

    async def _body(self, caller: mesh.AsyncNode, moves: int, kinds: Sequence[str]) -> None:
        calling = [asyncio.ensure_future(self._call(caller, n)) for n in range(CALLERS)]
        await asyncio.sleep(1.0)
        for _ in range(moves):
            self.move(self.random.choice(kinds))
            await asyncio.sleep(self.random.choice([0.05, 0.3, 1.0]))
        await asyncio.sleep(2.0)
        self._stop = True
        await asyncio.gather(*calling, *self._leaving)

    def move(self, kind: str) -> None:
        """Somebody comes, or goes in a way."""
        self.moves += 1
        if kind == "join" or len(self.nodes) <= LEAST:
            gone = [name for n in range(REUSED) if (name := f"n{n}") not in self.nodes]
            is_new = not gone or self.random.random() < 0.5
            self.add(f"new{self.moves}" if is_new else gone[0])
            return
        name = self.random.choice(sorted(self.nodes))
        node = self.nodes.pop(name)
        if kind == "drain":
            self._leaving.append(asyncio.ensure_future(self._leave(node)))
        elif kind == "close":
            self._leaving.append(asyncio.ensure_future(node.close()))
        else:
            self.kill(node)

    def kill(self, node: mesh.AsyncNode) -> None:
        """What it ran ends with it."""
        title = node.title  # type: ignore[attr-defined]
        self.sim.kill(node)
        for run in self.runs:
            if run.node == title and run.ended is None:
                run.ended = self.sim.now

    async def _leave(self, node: mesh.AsyncNode) -> None:
        await node.drain(10.0)
        await node.close()

    async def _call(self, caller: mesh.AsyncNode, number: int) -> None:
        dice = random.Random(self.seed * 1000 + number)
        while not self._stop:
            seconds = dice.choice([0.002, 0.02, 0.1])
            key = f"k{dice.randrange(KEYS)}"
            began = self.sim.now
            try:
                await caller.service("cart", key=key, timeout=30.0, retry=True).work(seconds)
            except mesh.MeshError as error:
                self.errors.append(repr(error))
            self.waits.append(self.sim.now - began - seconds)
            await asyncio.sleep(0.005)


def main(seeds: int = 5, moves: int = 200) -> None:
    """Print what the page on ownership says."""
    total: dict[str, Any] = defaultdict(int)
    for seed in range(seeds):
        with SimMesh(seed=seed) as sim:
            churn = Churn(sim, seed, actors=seed % 2 == 1)
            churn.run(moves, ("join", "drain", "kill") + (() if churn.actors else ("close",)))
        total["moves"] += churn.moves
        total["calls"] += len(churn.waits)
        total["failed calls"] += len(churn.errors)
        total["overlaps"] += len(overlaps(churn.runs))
        total["fences that fell"] += len(fences_that_fell(churn.runs))
        total["longest wait (s)"] = max(total["longest wait (s)"], round(max(churn.waits), 2))
        waits = sorted(churn.waits)
        total["99 % wait at most (s)"] = max(
            total["99 % wait at most (s)"], round(waits[len(waits) * 99 // 100], 4)
        )
        print(f"seed {seed}: {dict(total)}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
