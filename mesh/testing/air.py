"""Discovery in a simulation: announcements that pass between hosts that reach each other.

They take the place of multicast (``mdns``) and of the same-host rendezvous (``local``). Seeds that
are addresses, and sources of a node's own, work as they are; names and files of seeds belong to
the machine, and are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import discovery as d
from mesh.finding import Finding
from mesh.security import Credentials
from mesh.settings import Settings
from mesh.testing.clock import SimTimer
from mesh.testing.network import Network
from mesh.testing.process import Process
from patterns.errors import ConfigError

__all__ = ["Air", "SimFinding"]

ANNOUNCE_EVERY = 5.0
"""Seconds between two announcements of a node, as of the same-host rendezvous."""


class Air:
    """Who listens, and what passes from one to another."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._listening: dict[SimSource, None] = {}

    def join(self, source: SimSource) -> None:
        self._listening[source] = None

    def leave(self, source: SimSource) -> None:
        self._listening.pop(source, None)

    def say(self, sender: SimSource, heard: Callable[[SimSource], None]) -> None:
        """Once, to all of the same kind."""
        for other in list(self._listening):
            if other is not sender and other.name == sender.name:
                self.tell(sender, other, heard)

    def tell(self, sender: SimSource, other: SimSource, heard: Callable[[SimSource], None]) -> None:
        """To one; what cannot pass now is lost."""
        network, process = self._network, other.process
        here, there = sender.process.host, process.host
        if network.is_blocked(here, there) or (sender.name == "local" and here != there):
            return
        network.clock.call_later(
            network.latency(here, there), lambda: process.clock.arrive(lambda: heard(other))
        )


class SimSource:
    """``discovery.Source``: tells of this node when it starts, to newcomers, and now and then."""

    def __init__(self, name: str, air: Air, process: Process) -> None:
        self.name = name
        self.process = process
        self._air = air
        self._announcement: d.Announcement
        self._hints: d.Hints | None = None
        self._timer: SimTimer | None = None
        self._is_closed = False

    @property
    def state(self) -> d.SourceState:
        if self._hints is None:
            return d.SourceState("idle")
        return d.SourceState("closed" if self._is_closed else "working", "", self._hints.known)

    async def start(
        self, announcement: d.Announcement, found: Callable[[d.Candidate], None]
    ) -> None:
        self._hints = d.Hints(announcement.id, found)
        self._announcement = announcement
        self._air.join(self)
        self._air.say(self, lambda other: other.hear(announcement, self))
        self._timer = self.process.clock.call_later(ANNOUNCE_EVERY, self._again)

    def update(self, announcement: d.Announcement) -> None:
        self._announcement = announcement
        self._announce()

    def _announce(self) -> None:
        announcement = self._announcement
        self._air.say(self, lambda other: other.hear(announcement, None))

    def _again(self) -> None:
        self._announce()
        self._timer = self.process.clock.call_later(ANNOUNCE_EVERY, self._again)

    def hear(self, announcement: d.Announcement, newcomer: SimSource | None) -> None:
        """Another node is there; a newcomer is told of this one."""
        if self._is_closed or self._hints is None:
            return
        self._hints.offer(announcement.candidate(self.name))
        if newcomer is not None:
            own = self._announcement
            self._air.tell(self, newcomer, lambda other: other.hear(own, None))

    def forget(self, id: str) -> None:
        """Another node said goodbye."""
        if self._hints is not None:
            self._hints.withdraw(id)

    async def close(self) -> None:
        if self._hints is None or self._is_closed:
            return
        self._is_closed = True
        self._air.leave(self)
        if self._timer is not None:
            self._timer.cancel()
        self._hints.close()
        id = self._announcement.id
        self._air.say(self, lambda other: other.forget(id))


class SimFinding(Finding):
    """How a simulated node is found and finds others."""

    def __init__(
        self, settings: Settings, credentials: Credentials | None, air: Air, process: Process
    ) -> None:
        self._air = air
        self._process = process
        super().__init__(settings, credentials)

    def _sources(self) -> list[d.Source]:
        s = self._settings
        for seed in s.seeds:
            if d.is_service_name(seed) or not d.is_ip_literal(d.parse_address(seed)[0]):
                raise ConfigError(
                    f"seed {seed!r}: a simulation has neither names nor files; give 'address:port'"
                )
        sources: list[d.Source] = [d.Seeds(s.seeds)] if s.seeds else []
        for name in ("local", "mdns"):
            if name in s.discovery:
                sources.append(SimSource(name, self._air, self._process))
        return sources + [source for source in s.discovery if not isinstance(source, str)]

    has_network = True

    def look(self) -> Sequence[str]:
        """The simulated host's address; it stays as it is."""
        return self.hosts()
