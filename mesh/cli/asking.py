"""Asking nodes about themselves, by their service ``_mesh``: many at once, but never too many.

Whoever does not answer, denies it or is too old for the question is part of the result, not a
failure of it: at 3 a.m. that is what is looked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import mesh

__all__ = ["AT_ONCE", "DENIED", "ERROR", "NO_ANSWER", "TOO_OLD", "Answer", "ask_all", "ask_now"]

AT_ONCE = 32
"""Questions that are under way at a time: a large mesh is not asked in one burst."""

UNKNOWN_PART = "parts: give a list"
"""What a node says that has ``_mesh.state``, but not all that was asked for."""

NO_ANSWER = "no answer"
DENIED = "denied"
TOO_OLD = "too old"
ERROR = "error"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one node said; ``trouble`` is empty, or says why it said nothing."""

    peer: mesh.Peer
    at: float
    """When it came, in seconds of the monotonic clock."""
    value: Any = None
    trouble: str = ""
    error: Exception | None = None


async def ask_all(
    node: mesh.AsyncNode,
    peers: Iterable[mesh.Peer],
    method: str,
    arguments: Callable[[mesh.Peer], Sequence[Any]],
    timeout: float,
) -> list[Answer]:
    """``_mesh.method`` of each of these peers, all within so many seconds.

    The first have their turn first: who is behind too many that are silent is not asked.
    """
    turn = asyncio.Semaphore(AT_ONCE)
    deadline = monotonic() + timeout

    async def ask(peer: mesh.Peer) -> Answer:
        async with turn:
            left = max(0.0, deadline - monotonic())
            try:
                service = node.service("_mesh", peer=peer, timeout=left)
                value = await service[method](*arguments(peer))
            except mesh.MeshError as error:
                return Answer(peer, monotonic(), None, trouble_of(error), error)
            return Answer(peer, monotonic(), value)

    return await asyncio.gather(*map(ask, peers))


def ask_now(
    node: mesh.Node, peers: Iterable[mesh.Peer], method: str, *arguments: Any, timeout: float
) -> list[Answer]:
    """The same for a blocking node, with the same arguments for all."""
    asking = ask_all(node.aio, peers, method, lambda _: arguments, timeout)
    return asyncio.run_coroutine_threadsafe(asking, node.aio.host.loop).result()


def trouble_of(error: mesh.MeshError) -> str:
    """Why there is no answer, in two words."""
    if isinstance(error, mesh.AccessDenied):
        return DENIED
    if isinstance(error, mesh.NoProvider):
        return TOO_OLD
    if isinstance(error, mesh.RemoteError) and UNKNOWN_PART in str(error):
        return TOO_OLD
    return ERROR if isinstance(error, mesh.RemoteError | mesh.BadRequest) else NO_ANSWER
