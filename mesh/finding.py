"""How a running node is found and finds others: its sources, its addresses, its network.

It makes the discovery sources of a node's settings, hands their hints to the engine, and follows
the machine's network: when addresses change the engine and the sources are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import discovery as d
from mesh.engine import Engine
from mesh.engine.outcomes import Outcome
from mesh.security import Credentials
from mesh.settings import FILE, Settings
from mesh.transport.addresses import ALL_IPV4, is_wildcard
from mesh.wire import frames
from patterns.errors import ConfigError

__all__ = ["Finding", "Found", "SourceReport"]

DEFAULT_HOSTS = ("127.0.0.1",)

STRANGERS = ("other-mesh", "other-key", "key-only-there", "key-only-here", "other-protocol")
"""Causes of those that cannot be peers, by what they claim."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a source has found. ``id`` (32 hex digits) and ``mesh`` are what it claims, "" where
    the source cannot know, and so are ``fingerprint`` (of its key, "" if it has none, too) and
    ``protocol`` (None). ``outcome`` says in words what became of it, ``cause`` for programs:

    "self"; the state of a member ("alive", "unresponsive", "suspect", "failed", "left"); what it
    claims and makes it none of ours: "other-mesh", "other-key", "key-only-there" (it has a key and
    this node none), "key-only-here", "other-protocol"; "refused-" and the code with which it
    refused this node; "dialled", "unanswered" (more than once), "silent" (given up), "not-dialled".
    """

    addresses: tuple[str, ...]
    outcome: str
    id: str = ""
    mesh: str = ""
    cause: str = ""
    fingerprint: str = ""
    protocol: int | None = None


@dataclass(frozen=True, slots=True)
class SourceReport:
    """How a discovery source is doing: ``status``, and why it fails and what to do (``reason``,
    "" when there is nothing to say), and what it has ``found``."""

    status: Literal["idle", "working", "failing", "closed"]
    reason: str
    found: tuple[Found, ...]


class Finding:
    """Made before the engine; ``start`` is called when that is bound."""

    def __init__(self, settings: Settings, credentials: Credentials | None) -> None:
        """Raises ConfigError when two sources have the same name."""
        self._settings = settings
        self._credentials = credentials
        self._network = d.Network(settings.interfaces, self._on_network)
        try:
            self._discovery = d.Discovery(self._sources(), self.hint)
        except ValueError as error:
            raise ConfigError(f"discovery: {error}") from None
        self._is_closing = False
        self._engine: Engine
        self._port = 0

    def _sources(self) -> list[d.Source]:
        s = self._settings
        sources: list[d.Source] = []
        files = [seed.removeprefix(FILE) for seed in s.seeds if seed.startswith(FILE)]
        others = [seed for seed in s.seeds if not seed.startswith(FILE)]
        literals = [seed for seed in others if _is_literal(seed)]
        names = [seed for seed in others if not _is_literal(seed)]
        if literals:
            sources.append(d.Seeds(literals))
        if names:
            sources.append(d.Dns(names))
        sources += map(d.File, dict.fromkeys(files))
        if "local" in s.discovery:
            sources.append(d.Local())
        if "mdns" in s.discovery:
            sources.append(d.Mdns(s.interfaces, loopback_only=s.is_loopback_only))
        return sources + [source for source in s.discovery if not isinstance(source, str)]

    # Life.

    def look(self) -> Sequence[str]:
        """Look at the network for the first time; returns where others can dial this node."""
        if not self._settings.is_loopback_only:
            self._network.start()
        return self.hosts()

    async def start(self, engine: Engine, addresses: Sequence[str]) -> None:
        """Announce the node, which is bound at ``addresses``, and search."""
        self._engine = engine
        self._port = d.parse_address(addresses[0])[1] if addresses else 0
        await self._discovery.start(self._announcement())

    async def close(self) -> None:
        """Say goodbye and search no more. Idempotent."""
        self._is_closing = True
        self._network.close()
        await self._discovery.close()

    def stop(self) -> None:
        """What of ``close`` needs no wait."""
        self._is_closing = True
        self._network.close()

    # Addresses.

    def hosts(self, *, link_local: bool = False) -> Sequence[str]:
        """The IP literals at which others can dial; those of loopback where there are no others.

        A link-local address of IPv6 helps those alone who learn it by multicast.
        """
        host = self._settings.host
        if not is_wildcard(host):
            return ("127.0.0.1" if host == "localhost" else host.strip("[]"),)
        found = self._network.choice.hosts(link_local=link_local)
        if host == ALL_IPV4:
            found = [one for one in found if ":" not in one]
        return found or DEFAULT_HOSTS

    def _announcement(self) -> d.Announcement:
        s = self._settings
        return d.Announcement(
            id=s.id.hex(),
            mesh=s.mesh,
            protocol=frames.PROTOCOL_VERSION,
            hosts=tuple(self.hosts(link_local=True)),
            port=self._port,
            fingerprint=self.fingerprint,
        )

    def announce_anew(self) -> None:
        """The mesh key has changed."""
        if not self._is_closing:
            self._discovery.update(self._announcement())

    def _on_network(self) -> None:
        """Addresses have changed, a cable was plugged in or pulled, or the machine has slept."""
        # Without any network the addresses that were are as good as others, and may come back.
        if self._network.choice.used:
            hosts = self.hosts()
            self._engine.moves.readdress([d.format_address(host, self._port) for host in hosts])
            self._discovery.update(self._announcement())
            self._engine.moves.network_is_back()

    # Hints.

    def hint(self, candidate: d.Candidate) -> None:
        """A hint of discovery, or of who looks for nodes in another way.

        One of another mesh or key is not worth a dial.
        """
        if self._is_closing or candidate.is_gone or self._mismatch(candidate):
            return
        id = bytes.fromhex(candidate.id) if candidate.id is not None else None
        nearest_first = self._network.choice.nearest_first
        self._engine.hint(id, nearest_first(candidate.addresses))

    def _mismatch(self, candidate: d.Candidate) -> Outcome | None:
        """Why it cannot be a peer, by what it claims; None when it may be."""
        if candidate.mesh not in (None, self._settings.mesh):
            return Outcome("other-mesh", "of another mesh")
        if candidate.fingerprint is not None and (why := self._key_mismatch(candidate)):
            return why
        if candidate.protocol not in (None, frames.PROTOCOL_VERSION):
            ours = frames.PROTOCOL_VERSION
            text = f"it speaks protocol {candidate.protocol}, this node {ours}"
            return Outcome("other-protocol", text)
        return None

    def _key_mismatch(self, candidate: d.Candidate) -> Outcome | None:
        if self._credentials is None:
            has_one = Outcome("key-only-there", "it has a key, and this node none")
            return has_one if candidate.fingerprint else None
        if not candidate.fingerprint:
            return Outcome("key-only-here", "it has no key, and this node has one")
        is_ours = self._credentials.accepts(candidate.fingerprint)
        return None if is_ours else Outcome("other-key", "of another key")

    @property
    def is_loopback_only(self) -> bool:
        """Whether this node is meant for its own machine alone."""
        return self._settings.is_loopback_only

    @property
    def fingerprint(self) -> str:
        """That of this node's mesh key, as it is announced; "" without a key."""
        return self._credentials.key.fingerprint if self._credentials else ""

    def reports(self) -> dict[str, SourceReport]:
        """How each source is doing."""
        return {
            name: SourceReport(state.status, state.reason, tuple(map(self.found, state.candidates)))
            for name, state in self._discovery.states().items()
        }

    @property
    def has_network(self) -> bool:
        """Whether there is an interface to be reached by, if others are to reach this node."""
        s = self._settings
        return s.is_loopback_only or not is_wildcard(s.host) or bool(self._network.choice.used)

    @property
    def source_count(self) -> int:
        """How many sources there are."""
        return len(self._discovery.states())

    def failing(self) -> dict[str, str]:
        """The sources that fail, and why."""
        states = self._discovery.states().items()
        return {name: state.reason for name, state in states if state.status == "failing"}

    def unlinked(self) -> tuple[tuple[str, ...], tuple[str, ...], int]:
        """Of what was found and is no member: where nobody answers, who refuses and why, and how
        many are none of ours."""
        silent: dict[str, None] = {}
        refusing: dict[str, None] = {}
        strangers: dict[object, None] = {}
        for report in self.reports().values():
            for found in report.found:
                where = found.addresses[0] if found.addresses else found.id[:8]
                if found.cause in ("unanswered", "silent"):
                    silent[where] = None
                elif found.cause.startswith("refused-"):
                    refusing[f"{where} ({found.outcome.removeprefix('refused: ')})"] = None
                elif found.cause in STRANGERS:
                    strangers[found.id or found.addresses] = None
        return tuple(silent), tuple(refusing), len(strangers)

    def found(self, candidate: d.Candidate) -> Found:
        """What became of a candidate."""
        id = bytes.fromhex(candidate.id) if candidate.id is not None else None
        outcome = self._mismatch(candidate) or self._engine.outcome(id, candidate.addresses)
        return Found(
            candidate.addresses,
            outcome.text,
            candidate.id or "",
            candidate.mesh or "",
            outcome.cause,
            candidate.fingerprint or "",
            candidate.protocol,
        )


def _is_literal(seed: str) -> bool:
    return not d.is_service_name(seed) and d.is_ip_literal(d.parse_address(seed)[0])
