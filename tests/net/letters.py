"""Letters to every peer by name of its id, and whether each gets only its own.

For tests of nodes that stand where others stood: what was meant for the one before must not be
handled by its successor, whoever still believes that it is there.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import mesh

__all__ = ["Letters"]

PAUSE = 0.02
"""Seconds between two rounds of letters."""


class Letters:
    """Make it before the node starts; ``run`` writes until it is cancelled."""

    def __init__(self, node: mesh.Node) -> None:
        self._node = node
        self.counts: Counter[str] = Counter()
        """"sent", "received", "misdelivered"; of calls "ok", and the errors by class."""
        node.subscriber("post", inline=True)(self._on_letter)
        node.rpc("sign", inline=True)(self._sign)

    def _on_letter(self, message: mesh.Message) -> None:
        self.counts["received"] += 1
        self._check(message.data)

    def _sign(self, whose: str) -> str:
        self._check(whose)
        return self._node.id

    def _check(self, whose: str) -> None:
        if whose != self._node.id:
            self.counts["misdelivered"] += 1

    async def run(self) -> None:
        """A letter to, and a call of, every peer that is believed to be there."""
        while True:
            for peer in self._node.aio.peers():
                self._send(peer)
            await asyncio.gather(*(self._call(peer) for peer in self._node.aio.peers()))
            await asyncio.sleep(PAUSE)

    def _send(self, peer: mesh.Peer) -> None:
        try:
            self.counts["sent"] += self._node.aio.send(peer, "post", peer.id)
        except mesh.PeerLost:
            self.counts["PeerLost"] += 1

    async def _call(self, peer: mesh.Peer) -> None:
        service = self._node.aio.service(peer.name, peer=peer, timeout=1.0)
        try:
            who = await service.sign(peer.id)
        except mesh.MeshError as error:
            self.counts[type(error).__name__] += 1
        else:
            self.counts["ok" if who == peer.id else "misdelivered"] += 1
