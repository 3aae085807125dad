"""Senders of one-of-many messages: numbered, paced, and counted."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

import mesh

__all__ = ["Load", "Progress", "paced", "send_groupcasts"]


class Progress:
    """How far a sender is."""

    def __init__(self) -> None:
        self.is_over = False
        """Set to end it."""
        self.sent = 0
        self.numbers: list[int] = []
        self.receivers: Counter[str] = Counter()
        """Groupcasts by the id of the member they first went to."""


async def send_groupcasts(
    node: mesh.AsyncNode,
    group: str,
    numbers: Iterable[int],
    progress: Progress | None = None,
    keys: int | None = None,
    at_once: int = 1,
    size: int = 0,
    pause: float = 0.0,
    timeout: float = 60.0,
) -> Progress:
    """One after the other, or ``at_once``; the key of a number is its remainder by ``keys``.

    Ends early when ``progress.is_over`` is set.
    """
    progress = progress if progress is not None else Progress()
    filling = "x" * size
    turn = iter(numbers)

    async def send() -> None:
        while not progress.is_over and (number := next(turn, None)) is not None:
            key = None if keys is None else number % keys
            data = [number, filling] if size else number
            peer = await node.groupcast(group, data, key=key, timeout=timeout)
            progress.sent += 1
            progress.numbers.append(number)
            progress.receivers[peer.id] += 1
            if pause or not progress.sent % 256:
                await asyncio.sleep(pause)

    await asyncio.gather(*(send() for _ in range(at_once)))
    return progress


class Load:
    """Groupcasts without end, until ``end``: numbered from ``first`` on, ``at_once`` at a time.

    With ``key_count`` the key of a number is its remainder, and all of a key are sent one after
    the other: ``at_once`` divides ``key_count``.
    """

    def __init__(
        self,
        node: mesh.AsyncNode,
        group: str,
        key_count: int | None = None,
        first: int = 0,
        at_once: int = 4,
    ) -> None:
        self._node = node
        self._group = group
        self._is_over = False
        self.sent = 0
        self.numbers: list[int] = []
        """All that were begun."""
        self.errors: list[tuple[int, mesh.MeshError]] = []
        self._key_count = key_count
        everything = itertools.count(first)
        flows: list[Iterator[int]] = [everything] * at_once
        if key_count is not None:
            assert key_count % at_once == 0
            flows = [itertools.count(first + flow, at_once) for flow in range(at_once)]
        self._tasks = [asyncio.create_task(self._send(flow)) for flow in flows]

    async def end(self, within: float = 60.0) -> None:
        """Begin no more, and wait until the last has a member."""
        self._is_over = True
        await asyncio.wait_for(asyncio.gather(*self._tasks), within)

    async def _send(self, numbers: Iterator[int]) -> None:
        while not self._is_over:
            number = next(numbers)
            key = None if self._key_count is None else number % self._key_count
            self.numbers.append(number)
            try:
                await self._node.groupcast(self._group, number, key=key, timeout=60.0)
            except mesh.MeshError as error:
                self.errors.append((number, error))
            self.sent += 1
            if not self.sent % 16:
                await asyncio.sleep(0)


async def paced(node: mesh.AsyncNode, subject: str, numbers: Iterable[int], ahead: int) -> None:
    """Publish, and every ``ahead`` messages wait until all copies are handled."""
    for count, number in enumerate(numbers, 1):
        node.publish(subject, number)
        if not count % 64:
            await asyncio.sleep(0)
        if not count % ahead:
            await node.flush(60.0)
