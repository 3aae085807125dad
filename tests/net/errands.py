"""Every verb that waits, over and over, and what each use came to.

For tests of faults: whatever happens to the mesh meanwhile, a verb ends by its deadline with its
value or with an error of the mesh.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import mesh

__all__ = ["Errands"]

TIMEOUT = 3.0
"""Seconds that each use is given: a partition is longer, and so is the way to *failed*."""

PAUSE = 0.05
"""Seconds between two uses of a verb."""

KEYS = 16


class Errands:
    """All verbs of one node, each in a task of its own. Begun and ended on the node's loop.

    ``service`` is called and waited for, ``group`` gets groupcasts with numbers from ``first`` on.
    """

    def __init__(
        self, node: mesh.AsyncNode, service: str, group: str, first: int, count: int
    ) -> None:
        self._node = node
        self._service = service
        self._group = group
        self._count = count
        self._numbers = iter(range(first, first + 1_000_000))
        self.outcomes: Counter[str] = Counter()
        """"verb: ok" or "verb: the error's class"."""
        self.accepted: list[int] = []
        """The numbers of groupcasts that a member has taken."""
        self.latest = 0.0
        """Seconds after its deadline at which a use ended."""
        self._is_over = False
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        verbs: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "call": self._call,
            "call with retry": self._call_with_retry,
            "call by key": self._call_by_key,
            "groupcast": self._groupcast,
            "groupcast by key": self._groupcast_by_key,
            "flush": lambda: self._node.flush(TIMEOUT),
            "wait_for": self._wait_for,
            "ping": self._ping,
        }
        self._tasks = [asyncio.create_task(self._repeat(*verb)) for verb in verbs.items()]

    async def end(self) -> None:
        """Begin no more, and wait for those under way."""
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def _repeat(self, name: str, verb: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        while not self._is_over:
            began = time.monotonic()
            try:
                await verb()
            except mesh.MeshError as error:
                self.outcomes[f"{name}: {type(error).__name__}"] += 1
            else:
                self.outcomes[f"{name}: ok"] += 1
            self.latest = max(self.latest, time.monotonic() - began - TIMEOUT)
            await asyncio.sleep(PAUSE)

    def _key(self) -> str:
        return f"key{sum(self.outcomes.values()) % KEYS}"

    async def _call(self) -> None:
        await self._node.service(self._service, timeout=TIMEOUT).work(0, 0.01)

    async def _call_with_retry(self) -> None:
        await self._node.service(self._service, timeout=TIMEOUT, retry=True).work(0, 0.01)

    async def _call_by_key(self) -> None:
        await self._node.service(self._service, timeout=TIMEOUT, key=self._key()).work(0, 0.01)

    async def _groupcast(self, key: str | None = None) -> None:
        number = next(self._numbers)
        await self._node.groupcast(self._group, number, key=key, timeout=TIMEOUT)
        self.accepted.append(number)

    async def _groupcast_by_key(self) -> None:
        await self._groupcast(self._key())

    async def _wait_for(self) -> None:
        await self._node.wait_for(self._service, count=self._count, timeout=TIMEOUT)

    async def _ping(self) -> None:
        peers = self._node.peers()
        if peers:
            turn = self.outcomes.total() % len(peers)
            await self._node.ping(peers[turn], timeout=TIMEOUT)
