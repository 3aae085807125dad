"""Two nodes, many streams both ways, and faults at random: what arrives is right, and at the end
nothing is left.

The laws: each side receives what the other sent, from the beginning, in order, once; one that ends
without an error has it all; when everything is over and healed no stream, no credit, no handler and
nothing unsent is left at either node.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

import mesh
from mesh.testing import SimMesh

LIGHT = ("replace", "cut", "request", "latency")
"""Links that break; no node gives the other up."""

HEAVY = (*LIGHT, "partition", "one way", "freeze")

SECONDS = 15.0
AT_ONCE = 30


class Course:
    """One run: ``broken`` are the laws that did not hold."""

    def __init__(self, seed: int, faults: tuple[str, ...]) -> None:
        self.random = Random(seed)
        self.sim = SimMesh(seed=seed)
        self.faults = faults
        self.broken: list[Any] = []
        self.whole = 0
        """Streams and iterations that came to their end."""
        self.nodes = [self.sim.add(lambda n=name: self.make(n)) for name in ("ann", "bob")]

    def make(self, name: str) -> mesh.AsyncNode:
        node = mesh.AsyncNode(name)

        @node.rpc
        async def count(most: int) -> AsyncIterator[Any]:
            for number in range(most):
                yield [number, bytes(self.random.randrange(2000))]

        @node.stream(f"at-{name}")
        async def serve(stream: mesh.AsyncStream) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.send(stream, int(stream.headers["back"])))
                reading = group.create_task(self.read(stream))
            stream.end({"got": str(reading.result())})

        return node

    async def send(self, stream: mesh.AsyncStream, count: int) -> None:
        for number in range(count):
            await stream.send([number, bytes(self.random.randrange(5000))])
            if self.random.random() < 0.05:
                await asyncio.sleep(self.random.random() * 0.3)

    async def read(self, items: Any) -> int:
        wanted = 0
        async for number, _ in items:
            if number != wanted:
                self.broken.append(("order", number, wanted))
            wanted = number + 1
        return wanted

    async def iterate(self, me: Any, other: Any) -> None:
        most = self.random.randrange(1, 80)
        stop = self.random.randrange(most * 2)
        items = me.iterate(f"{other.me.name}.count", most)
        wanted = 0
        async for number, _ in items:
            if number != wanted:
                self.broken.append(("order of items", number, wanted))
            wanted += 1
            if wanted == stop:
                items.close()
                return
        if wanted != most:
            self.broken.append(("items are missing", wanted, most))

    async def stream(self, me: Any, other: Any) -> None:
        forth, back = self.random.randrange(80), self.random.randrange(80)
        name, headers = f"at-{other.me.name}", {"back": str(back)}
        timeout = self.random.choice((0.05, 1, 5, 30))
        async with await me.open_stream(name, headers=headers, timeout=timeout) as stream:
            reading = asyncio.create_task(self.read(stream))
            try:
                await self.send(stream, forth)
                if self.random.random() < 0.1:
                    raise ZeroDivisionError
                stream.end()
                got = await reading
            finally:
                reading.cancel()
            if (got, stream.trailers) != (back, {"got": str(forth)}):
                self.broken.append(("not whole", got, back, stream.trailers, forth))

    async def use(self) -> None:
        me, other = self.random.sample(self.nodes, 2)
        what = self.iterate if self.random.random() < 0.3 else self.stream
        try:
            await what(me, other)
        except (mesh.MeshError, ZeroDivisionError):
            return
        self.whole += 1

    async def disturb(self) -> None:
        sim, random = self.sim, self.random
        while sim.now < SECONDS:
            await asyncio.sleep(random.random() * random.choice((0.02, 0.3, 2)))
            ends = random.sample(self.nodes, 2)
            fault = random.choice(self.faults)
            with contextlib.suppress(LookupError):  # they are not linked just now
                await self.do(fault, *ends, random.choice((0.2, 1, 3, 8)))

    async def do(self, fault: str, one: Any, other: Any, seconds: float) -> None:
        sim = self.sim
        if fault == "replace":
            sim.replace(one, other)
        elif fault == "cut":
            sim.cut(one, other)
        elif fault == "request":
            sim.cut(one, other, "request")
        elif fault == "latency":
            sim.set_latency(one, other, self.random.choice((0.0001, 0.01, 0.1)))
        elif fault == "freeze":
            sim.freeze(one)
            await asyncio.sleep(seconds)
            sim.thaw(one)
        else:
            sim.partition([one], [other]) if fault == "partition" else sim.block_path(one, other)
            await asyncio.sleep(seconds)
            sim.heal()

    async def run(self) -> None:
        for node in self.nodes:
            await node.wait_for(count=2)
        disturbing = asyncio.create_task(self.disturb())
        using: set[asyncio.Task[None]] = set()
        while not disturbing.done():
            if len(using) < AT_ONCE:
                task = asyncio.create_task(self.use())
                using.add(task)
                task.add_done_callback(using.discard)
            await asyncio.sleep(self.random.random() * 0.1)
        await disturbing
        self.sim.heal()
        if using:
            await asyncio.wait(using, timeout=120)
        self.broken += [("hangs", task) for task in using]
        for task in using:
            task.cancel()
        await asyncio.sleep(60)
        for node in self.nodes:
            self.look(node.host.engine)

    def look(self, engine: Any) -> None:
        """At what is left."""
        streams = engine.streams.streams
        left = len(streams), streams._windows, streams._of_peer, len(engine.server)
        if left != (0, 0, {}, 0):
            self.broken.append(("streams are left", *left))
        for session in engine._core.sessions.values():
            lane = session.streams
            if lane.urgent or lane.ready or lane.outgoing.is_waited_for:
                self.broken.append(("messages are left", len(lane.urgent), len(lane.ready)))
        wrong = {"link_resets", "bad_entries", "bad_frames", "bad_acks", "streams_violated"}
        self.broken += [(name, engine.counters[name]) for name in wrong & engine.counters.keys()]


def play(seed: int, faults: tuple[str, ...]) -> None:
    logging.getLogger("mesh").setLevel(logging.CRITICAL)
    try:
        course = Course(seed, faults)
        with course.sim:
            course.sim.run(course.run())
        assert course.broken == []
        assert course.whole, "nothing was put to the test"
    finally:
        logging.getLogger("mesh").setLevel(logging.NOTSET)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("faults", [LIGHT, HEAVY], ids=["light", "heavy"])
def test_whatever_happens_what_arrives_is_right_and_nothing_is_left(
    faults: tuple[str, ...], seed: int
) -> None:
    play(seed, faults)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
@pytest.mark.parametrize("faults", [LIGHT, HEAVY], ids=["light", "heavy"])
def test_the_same_for_many_seeds(faults: tuple[str, ...], seed: int) -> None:
    play(seed, faults)
