"""What every discovery source has in common: what it announces, what it finds, how it is doing.

A source only ever gives *hints*: "something may answer at these addresses". Whatever arrives from
outside can be old, wrong or forged, so an `Announcement` checks each of its fields when it is made,
and both sides of a source build one: the announcer of itself, the receiver of what it was told.
"""

import ipaddress
import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from discovery.address import MAX_PORT, format_address

MAX_MESH_BYTES = 128
"""UTF-8 bytes of a mesh name: twice what a mesh's own rules allow, and it fits one TXT item."""

MAX_FINGERPRINT = 128
"""Characters of a key fingerprint: 512 bits in hex."""

MAX_PROTOCOL = 65_535
"""Highest protocol number: 16 bits outlive any number of versions."""

MAX_HOSTS = 16
"""Addresses of one node that sources pass on: beyond that nobody would try them all."""

_ID = re.compile(r"[0-9a-f]{32}")
_FINGERPRINT = re.compile(r"[!-~]*")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hint: a node may be reached at one of `addresses`.

    `addresses` are `host:port` texts (IPv6 in brackets). `source` is the name of the source that
    gave it. `id`, `mesh`, `protocol` and `fingerprint` are what the other side *claims*, or `None`
    where the source cannot know; only a handshake proves them. `is_gone`: the source withdraws what
    it said (a goodbye, an entry that was removed), which proves as little.
    """

    addresses: tuple[str, ...]
    source: str
    id: str | None = None
    mesh: str | None = None
    protocol: int | None = None
    fingerprint: str | None = None
    is_gone: bool = False

    @property
    def key(self) -> str:
        """What makes it the same candidate of the same source: its id, else its addresses."""
        return self.id or " ".join(self.addresses)


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a node tells others about itself.

    `id` is 32 lower-case hex digits, `mesh` the name of its mesh, `protocol` the version it speaks,
    `hosts` the IPv4 and IPv6 literals at which others can dial it, best first, `port` the TCP port
    there, `fingerprint` that of its mesh's key ("" without a key).

    Raises `ValueError` when a field cannot be right.
    """

    id: str
    mesh: str
    protocol: int
    hosts: tuple[str, ...]
    port: int
    fingerprint: str = ""

    def __post_init__(self) -> None:
        check_id(self.id)
        _check_mesh(self.mesh)
        _check_number("protocol", self.protocol, 0, MAX_PROTOCOL)
        _check_number("port", self.port, 1, MAX_PORT)
        _check_fingerprint(self.fingerprint)
        if not self.hosts:
            raise ValueError("no host that others can dial")
        for host in self.hosts:
            _check_host(host)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The `host:port` texts of `hosts`, IPv6 in brackets."""
        return tuple(format_address(host, self.port) for host in self.hosts)

    def candidate(self, source: str) -> Candidate:
        """The hint that `source` makes of this announcement of another node."""
        return Candidate(
            addresses=self.addresses[:MAX_HOSTS],
            source=source,
            id=self.id,
            mesh=self.mesh,
            protocol=self.protocol,
            fingerprint=self.fingerprint,
        )


Status = Literal["idle", "working", "failing", "closed"]


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a source is doing.

    `status`: "idle" until started, then "working" or "failing", at last "closed". `reason` says
    why it fails and what to do ("" when there is nothing to say); a working source may name a part
    that does not work. `candidates` are the distinct ones that it knows of.
    """

    status: Status
    reason: str = ""
    candidates: tuple[Candidate, ...] = ()

    @property
    def seen(self) -> int:
        """How many candidates it knows of."""
        return len(self.candidates)


@runtime_checkable
class Source(Protocol):
    """One way to find other nodes. It is used once: started, then closed.

    Sources repeat hints, and the same node comes from several of them; consumers dedupe. All is
    called on one event loop. `discovery.Hints` does what most sources need with their candidates.
    """

    name: str

    async def start(self, announcement: Announcement, found: Callable[[Candidate], None]) -> None:
        """Announce this node and call `found`, on the event loop, for each candidate.

        A source that cannot work here either raises or turns to the state "failing".
        """
        ...

    def update(self, announcement: Announcement) -> None:
        """This node has other addresses now. Only called between `start` and `close`."""
        ...

    async def close(self) -> None:
        """Stop, with a goodbye where the source has one. Idempotent; takes 0.5 s at most."""
        ...

    @property
    def state(self) -> SourceState:
        """How this source is doing now."""
        ...


def check_id(value: object) -> None:
    """Raise `ValueError` unless `value` is a node id: 32 lower-case hex digits."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError(f"id {_short(value)} is not 32 lower-case hex digits")


def _check_mesh(value: object) -> None:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"mesh {_short(value)} is not a printable name")
    if len(value.encode()) > MAX_MESH_BYTES:
        raise ValueError(f"mesh {_short(value)} is longer than {MAX_MESH_BYTES} bytes")


def _check_number(field: str, value: object, low: int, high: int) -> None:
    # bool is an int to isinstance, but never a port.
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{field} {_short(value)} is not a number in {low}..{high}")


def _check_fingerprint(value: object) -> None:
    if (
        not isinstance(value, str)
        or len(value) > MAX_FINGERPRINT
        or not _FINGERPRINT.fullmatch(value)
    ):
        raise ValueError(f"fingerprint {_short(value)} is not short printable ASCII")


def _check_host(value: object) -> None:
    try:
        # ip_address() reads numbers and bytes too; only text is a literal.
        address = ipaddress.ip_address(value) if isinstance(value, str) else None
    except ValueError:
        address = None
    if address is None:
        raise ValueError(f"host {_short(value)} is not an IP address")
    # A scope names an interface of the machine that wrote it: it means nothing to others.
    scoped = isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None
    if address.is_unspecified or address.is_multicast or scoped:
        raise ValueError(f"host {value} is not an address that others can dial")


def _short(value: object) -> str:
    """`value` for an error message: what comes from outside may be long, or nested very deep."""
    text = reprlib.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
