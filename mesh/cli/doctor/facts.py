"""What the doctor has seen. Values only: what follows from them is for the rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from discovery.address import format_address, is_ip_literal, parse_address
from discovery.multicast import Multicast

__all__ = [
    "Adapter",
    "Facts",
    "Focus",
    "Machine",
    "Member",
    "Other",
    "Own",
    "Seen",
    "Source",
    "Tried",
    "View",
]

Result = Literal["refused", "timeout", "unreachable", "silent", "closed", "alive", "keyed", "alien"]
"""What a TCP connection met: nobody listens there; no packet came back; no way there; somebody who
says nothing; somebody who hangs up; ZeroMQ; the door of a node with a key; another protocol."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A network interface; ``addresses`` with their networks. ``why_not`` it is not used, "" if
    it is."""

    name: str
    addresses: tuple[str, ...] = ()
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """``missing`` are interfaces that were asked for and are not there. ``mdns_trouble``: why the
    port of mDNS cannot be shared; ``mdns_holder``: who has it, as far as that can be seen."""

    adapters: tuple[Adapter, ...] = ()
    missing: tuple[str, ...] = ()
    mdns_trouble: str = ""
    mdns_holder: str = ""
    multicast: tuple[Multicast, ...] = ()
    descriptors: int | None = None
    descriptor_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A discovery source of the doctor's own node."""

    name: str
    status: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Own:
    """The doctor's node. ``trouble``: why there is none. ``heard_by_mdns``: the addresses of nodes
    whose announcements have come to it by multicast."""

    id: str = ""
    mesh: str = "mesh"
    version: str = ""
    protocol: int = 0
    fingerprint: str = ""
    addresses: tuple[str, ...] = ()
    is_loopback_only: bool = False
    trouble: str = ""
    heard_by_mdns: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Tried:
    """A TCP connection to an address; ``detail`` is the system's word for what went wrong."""

    address: str
    result: Result
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Other:
    """A node that was heard of and is not linked with us; or an address, and nobody known there.

    ``by`` says from whom. ``cause`` and ``text`` are what our node made of it (``mesh.Found``).
    ``state`` is the one that members give it, "" if none knows it. ``reaches_us``: it has
    connected to us; ``answers_us``: it answers on our connection. ``is_wanted``: somebody asked
    for this address.
    """

    id: str = ""
    name: str = ""
    addresses: tuple[str, ...] = ()
    mesh: str = ""
    fingerprint: str = ""
    protocol: int | None = None
    cause: str = ""
    text: str = ""
    by: tuple[str, ...] = ()
    state: str = ""
    tried: tuple[Tried, ...] = ()
    reaches_us: bool = False
    answers_us: bool = False
    is_wanted: bool = False

    @property
    def key(self) -> str:
        """What makes it the same: its id, else its addresses."""
        return self.id or " ".join(self.addresses)

    @property
    def title(self) -> str:
        """ "calc/1a2b3c4d", "node 1a2b3c4d", "10.0.0.7:5555"."""
        if not self.id:
            return ", ".join(self.addresses)
        return f"{self.name}/{self.id[:8]}" if self.name else f"node {self.id[:8]}"

    @property
    def place(self) -> str:
        """The title with its address."""
        return f"{self.title} at {self.addresses[0]}" if self.id and self.addresses else self.title


@dataclass(frozen=True, slots=True)
class Seen:
    """A peer as another node sees it: ``hears_us``, it has connected to that node; ``is_heard``, it
    answers on that node's connection; with both it ``is_linked``."""

    state: str
    is_linked: bool
    name: str = ""
    address: str = ""
    hears_us: bool = False
    is_heard: bool = False
    is_observer: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What a member told of itself; ``clock`` is how far its clock is ahead of ours, in seconds,
    and ``doubt`` how exact that is."""

    version: str = ""
    python: str = ""
    host: str = ""
    status: str = "ready"
    reasons: tuple[str, ...] = ()
    clock: float | None = None
    doubt: float = 0.0
    descriptors: int | None = None
    descriptor_limit: int | None = None
    peers: Mapping[str, Seen] = field(default_factory=dict)
    uses_mdns: bool = True


@dataclass(frozen=True, slots=True)
class Member:
    """A peer of our node. Without a ``view``, ``why_no_view`` is "denied", "old", "calls"
    (it answers on the link, and no call comes through) or "silent"."""

    id: str
    name: str
    address: str = ""
    state: str = "alive"
    instance: str = ""
    is_observer: bool = False
    view: View | None = None
    why_no_view: str = ""

    @property
    def title(self) -> str:
        return f"{self.name}/{self.id[:8]}"


@dataclass(frozen=True, slots=True)
class Focus:
    """Whom the user asks for, as it was typed: a name, an instance or digits of an id; or, with a
    ``host``, an address, whose ``port`` may be left out (0). ``resolved`` are the addresses behind
    a host name."""

    text: str
    host: str = ""
    port: int = 0
    resolved: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> Focus:
        """Read what was typed."""
        try:
            return cls(text, *parse_address(text))
        except ValueError:
            host = text.strip("[]")
            return cls(text, host) if is_ip_literal(host) else cls(text)

    @property
    def is_address(self) -> bool:
        return bool(self.host)

    @property
    def is_literal(self) -> bool:
        return is_ip_literal(self.host)

    @property
    def address(self) -> str:
        """The address to dial; it has a port."""
        return format_address(self.host, self.port)

    def is_at(self, address: str) -> bool:
        """Whether that is the address, or one of them."""
        if not self.is_address:
            return False
        if address in self.resolved:
            return True
        try:
            host, port = parse_address(address)
        except ValueError:
            return False
        return host == self.host and self.port in (0, port)


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it. ``unchecked`` says what there was no time for, or no way."""

    machine: Machine
    own: Own
    members: tuple[Member, ...] = ()
    others: tuple[Other, ...] = ()
    focus: Focus | None = None
    unchecked: tuple[str, ...] = ()
