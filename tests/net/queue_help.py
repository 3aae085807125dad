"""What tests of work queues share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mesh

__all__ = ["Ledger", "MakeAsync", "counted", "quick", "started", "url_of"]

MakeAsync = Callable[..., mesh.AsyncNode]


def quick(attempts: int = 10, **more: Any) -> mesh.Retry:
    """A policy whose pauses are a millisecond."""
    return mesh.Retry(attempts, base=0.001, factor=1.0, jitter=0.0, **more)


def url_of(path: Path) -> str:
    """A store in that file."""
    return f"sqlite:///{path}"


class Ledger:
    """What a handler was given, and a wait until it was so many."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self._changed = asyncio.Event()

    def add(self, one: Any) -> None:
        self.seen.append(one)
        self._changed.set()

    async def wait(self, count: int, within: float = 10.0) -> list[Any]:
        async with asyncio.timeout(within):
            while len(self.seen) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.seen


async def counted(queue: mesh.AsyncQueue, within: float = 10.0, **wanted: int) -> mesh.QueueStats:
    """Wait until the queue's figures are these."""
    async with asyncio.timeout(within):
        while True:
            stats = await queue.stats()
            if all(getattr(stats, name) == value for name, value in wanted.items()):
                return stats
            await asyncio.sleep(0.01)


@asynccontextmanager
async def started(*nodes: mesh.AsyncNode) -> AsyncIterator[None]:
    """All of them, at once; closed in the end."""
    await asyncio.gather(*(node.start() for node in nodes))
    try:
        yield
    finally:
        await asyncio.gather(*(node.close() for node in nodes))
