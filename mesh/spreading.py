"""Telling a running mesh of a new key, or of revoked certificates, and waiting until it knows.

A node that is told tells all that it is linked with, so those that this one does not reach hear of
it from others. Who is not on the network now hears of it when it meets one that knows: of a new key
only within its grace.
"""

from __future__ import annotations

import asyncio

from mesh.host import Host
from mesh.membership import Peer, State

__all__ = ["spread"]

POLL = 0.05
AGAIN = 1.0
"""Seconds between two knocks at who has not shown yet that it knows."""


async def spread(host: Host, timeout: float) -> list[Peer]:
    """Tell all peers what is new of keys; returns those that do not know it after ``timeout`` s."""
    credentials = host.credentials
    if credentials is None:
        return []
    loop = asyncio.get_running_loop()
    deadline, again_at = loop.time() + timeout, loop.time() + AGAIN
    while True:
        left = [
            peer
            for peer in host.engine.peers()
            if peer.state == State.ALIVE and not credentials.is_up_to_date(bytes.fromhex(peer.id))
        ]
        now = loop.time()
        if not left or now >= deadline:
            return left
        if now >= again_at:
            again_at = now + AGAIN
            host.spread_news()
        await asyncio.sleep(POLL)
