"""Telling the running mesh of new keys and revocations, for the commands that make them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import mesh
from mesh.cli import errors
from mesh.security import Credentials
from mesh.spreading import spread

__all__ = ["credentials_of", "tell"]


def credentials_of(node: mesh.Node) -> Credentials | None:
    """The keys of a started node; None when it has none."""
    return node.aio.host.credentials


def tell(node: mesh.Node, change: Callable[[], None], timeout: float) -> Sequence[mesh.Peer]:
    """Make the change on the node's loop, and tell all peers; returns those that were not told.

    Says on stderr who they are.
    """
    host = node.aio.host

    async def work() -> list[mesh.Peer]:
        change()
        return await spread(host, timeout)

    left = asyncio.run_coroutine_threadsafe(work(), host.loop).result()
    for peer in left:
        errors.note(f"{peer} did not say that it knows, within {timeout:g} s")
    return left
