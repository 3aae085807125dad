"""What the simulated tests of streams have in common: who serves, who reads, and what is left."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import mesh
from mesh.testing import SimMesh

__all__ = ["CANCELLED", "Logs", "is_idle", "place", "soon"]

CANCELLED = "cancelled"


class Logs:
    """What the nodes that serve here did."""

    def __init__(self) -> None:
        self.made = 0
        self.ends: list[str] = []

    def node(self) -> mesh.AsyncNode:
        node = mesh.AsyncNode("logs")
        self.serve_counts(node)
        self.serve_others(node)
        return node

    def serve_counts(self, node: mesh.AsyncNode) -> None:
        @node.rpc
        async def count(pause: float = 0.0, size: int = 0) -> AsyncIterator[Any]:
            try:
                for number in itertools.count():
                    self.made += 1
                    yield [number, bytes(size)] if size else number
                    if pause:
                        await asyncio.sleep(pause)
            except (asyncio.CancelledError, GeneratorExit):
                self.ends.append(CANCELLED)
                raise

    def serve_others(self, node: mesh.AsyncNode) -> None:
        @node.rpc
        async def few(number: int) -> AsyncIterator[int]:
            for item in range(number):
                yield item
            if number == 13:
                raise ValueError("bad luck")

        @node.rpc
        async def total(request: mesh.Request) -> AsyncIterator[int]:
            so_far = 0
            async for item in request.stream:
                so_far += item
                yield so_far

        @node.stream("echo")
        async def echo(stream: mesh.AsyncStream) -> None:
            async for item in stream:
                await stream.send(item)
            stream.end({"by": node.id})


def place(seed: int = 1, servers: int = 1) -> tuple[SimMesh, Logs, list[Any], mesh.AsyncNode]:
    sim = SimMesh(seed=seed)
    logs = Logs()
    nodes = [sim.add(logs.node) for _ in range(servers)]
    return sim, logs, nodes, sim.node("reader")


def is_idle(*nodes: Any) -> bool:
    return all(not len(node.host.engine.streams.streams) for node in nodes)


async def soon(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to pass")
