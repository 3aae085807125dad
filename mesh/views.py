"""What a node can be asked about its mesh: who is here, who owns a key, what is counted."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from mesh.finding import SourceReport
from mesh.host import Host
from mesh.membership import Peer
from mesh.streams import AsyncWatch
from patterns.keys import Key

__all__ = ["AsyncViews"]


class AsyncViews(ABC):
    """The questions of ``AsyncNode``."""

    @property
    @abstractmethod
    def host(self) -> Host:
        """What the running node is made of. Raises NodeClosed when it does not run."""

    def peers(self, *, all: bool = False) -> list[Peer]:
        """The other nodes, alive or in doubt; ``all`` adds observers, the failed and the left."""
        return self.host.engine.peers(all=all)

    def owner(
        self, name: str | None = None, key: Key | None = None, *, group: str | None = None
    ) -> Peer:
        """Who owns a key of the service ``name``, or of ``group``; it may be this node.

        A key is a text, bytes or a number; ``7``, ``"7"`` and ``b"7"`` are the same. The owner
        stays until a member comes that is better for the key, or it fails or leaves itself; it may
        be suspect. All nodes that know the same members name the same one.

        Raises NoProvider when nobody is there, BadName for a name, group or key that breaks the
        rules, ConfigError unless exactly one of ``name`` and ``group`` is given.
        """
        return self.host.engine.rings.owner(name, key, group=group)

    def owners(
        self,
        name: str | None = None,
        key: Key | None = None,
        n: int | None = None,
        *,
        group: str | None = None,
    ) -> list[Peer]:
        """The owner of a key and who would be next, best first: ``n`` of them, or all.

        When a member goes, its keys pass to whoever was next. Raises as ``owner``.
        """
        return self.host.engine.rings.owners(name, key, n, group=group)

    def fence(self, service: str, key: Key) -> int | None:
        """The fencing token with which this node may work on a key of its service now.

        None if it may not: the key is another node's, or is not handed over yet. The same for
        as long as the key stays here. Raises ConfigError for a service that this node does not
        hand over: no ``on_ownership``, no ``actor``. ``docs/ownership.md``.
        """
        return self.host.engine.ownership.fence(service, key)

    def watch(self) -> AsyncWatch:
        """Changes of the mesh: ``async for event in node.watch()``; the known peers first."""
        return AsyncWatch(self.host.engine, self.host.loop)

    async def wait_for(
        self,
        name: str | None = None,
        *,
        group: str | None = None,
        count: int = 1,
        timeout: float = 5.0,
    ) -> list[Peer]:
        """Until ``count`` alive nodes, this one included, provide the service or are in the group.

        Without a name: until every peer heard of so far is linked or refused (at most 1 s).
        Raises Timeout, which says who is there.
        """
        host = self.host
        future = host.loop.create_future()
        host.engine.wait_for(name, group, count, timeout, future)
        peers: list[Peer] = await future
        return peers

    async def ping(self, peer: Peer | str, *, timeout: float = 5.0) -> float:
        """Seconds (monotonic) for a small message to a peer and back, over the link.

        ``peer`` is a Peer or an id; observers answer, too, and so does this node itself: that
        tells how long its own loop takes. The answer comes from the peer's event loop, so a
        blocked Python is heard of. Nothing is sent twice: what is lost with a link is a Timeout.

        Raises Timeout after ``timeout`` seconds, PeerLost when it is gone or ends meanwhile,
        Overloaded with 1,024 on their way, ConfigError for what is no peer.
        """
        host = self.host
        engine = host.engine
        session = engine.session_of(peer)
        answer: asyncio.Future[float] = host.loop.create_future()
        number = engine.pings.ping(session, timeout, answer)
        try:
            return await answer
        except asyncio.CancelledError:
            engine.pings.cancel(number)
            raise

    def counters(self) -> dict[str, int]:
        """What was lost, refused or malformed so far, by name; a name appears when it happens."""
        return self.host.counters

    def discovery(self) -> dict[str, SourceReport]:
        """How each discovery source is doing, what it has found, and what became of that."""
        return self.host.finding.reports()
