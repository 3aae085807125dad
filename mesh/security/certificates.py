"""What the mesh's authority says: who a node is, who is one no more, and what the next key is.

Three kinds of signed statements, each of its own kind (``mesh.security.signed``) and each bounded.
What ``from_bytes`` returns is verified; an object made otherwise is not. ``raw`` is what travels.

Only the authority's holder can make them (``mesh.security.authority``), and still each field is
checked: another version may have made it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Self

from mesh.security.identity import Identity
from mesh.security.keys import check_key
from mesh.security.signed import BadCertificate, public_of_seed, sign, verified
from patterns.errors import BadName, ConfigError
from patterns.names import check_name

__all__ = [
    "CLOCK_SKEW_SECONDS",
    "MAX_CERTIFICATE_BYTES",
    "MAX_REVOKED",
    "MAX_ROLES",
    "NO_REVOCATIONS",
    "BadCertificate",
    "Certificate",
    "Revocations",
    "RotationOrder",
]

MAX_CERTIFICATE_BYTES = 1024
"""It travels when nodes meet, and is kept for each peer. A usual one has 180 bytes."""

MAX_ROLES = 16
"""So many of 40 characters fit a certificate; with longer ones it takes fewer."""

MAX_REVOKED = 1000
"""Serials on one list, 8 bytes each. It goes to every node; certificates that have expired drop
out, so it takes a thousand machines lost within the life time of a certificate to fill it."""

MAX_REVOCATIONS_BYTES = 128 + 8 * MAX_REVOKED

MAX_ROTATION_BYTES = 1024

MAX_KEY_BYTES = 512
"""Of a mesh key that is sent around: one made by ``generate_key`` has 58."""

MAX_GRACE_SECONDS = 30 * 86_400
"""How long an old key may stay good: a machine that was off for longer needs its key by hand."""

CLOCK_SKEW_SECONDS = 300
"""How far off clocks may be, in both directions: those of machines that were off for months, or
have no battery, until they are set. Against the life time of a certificate it is nothing."""

SERIAL_BYTES = 8
NODE_KEY_BYTES = 32
LAST_SECOND = 253_402_300_799
"""The end of the year 9999: times above cannot be shown."""

CERTIFICATE: Final = b"mesh certificate 1\0"
REVOCATIONS: Final = b"mesh revocations 1\0"
ROTATION: Final = b"mesh rotation 1\0"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Says that the node with ``node_key`` is ``name`` and has ``roles``, in ``mesh``, for a time.

    ``node_key`` is the public half of the node's CURVE key (Curve25519); times are Unix seconds.
    """

    serial: bytes
    name: str
    roles: tuple[str, ...]
    node_key: bytes
    mesh: str
    not_before: int
    not_after: int
    raw: bytes = field(repr=False)

    @classmethod
    def from_bytes(cls, raw: bytes, authority: bytes) -> Self:
        """Raises BadCertificate unless ``authority``, an Ed25519 public key, has signed it."""
        what = "certificate"
        fields = verified(raw, authority, CERTIFICATE, what, 7, MAX_CERTIFICATE_BYTES)
        serial, name, roles, node_key, mesh, not_before, not_after = fields
        _check_bytes("serial number", serial, SERIAL_BYTES)
        _check_bytes("node key", node_key, NODE_KEY_BYTES)
        if not isinstance(roles, list) or len(roles) > MAX_ROLES:
            raise BadCertificate(f"the certificate has not a list of at most {MAX_ROLES} roles")
        return cls(
            serial=serial,
            name=_name("node", name),
            roles=tuple(_name("role", role) for role in roles),
            node_key=node_key,
            mesh=_name("mesh", mesh),
            not_before=_number("time", not_before, LAST_SECOND),
            not_after=_number("time", not_after, LAST_SECOND),
            raw=bytes(raw),
        )

    @property
    def identity(self) -> Identity:
        return Identity(self.name, frozenset(self.roles))

    def check(self, now: float, mesh: str) -> None:
        """Raises BadCertificate unless it is one of ``mesh`` and valid at ``now``, but for the
        clocks (`CLOCK_SKEW_SECONDS`). Whether it is revoked, `Revocations` knows."""
        if self.mesh != mesh:
            raise BadCertificate(
                f"the certificate of {self.name} is for the mesh {self.mesh!r}, not {mesh!r}"
            )
        if now < self.not_before - CLOCK_SKEW_SECONDS:
            raise BadCertificate(
                f"the certificate of {self.name} is valid from {day(self.not_before)}, and here it "
                f"is {day(now)}: is the clock right?"
            )
        if self.is_expired(now):
            raise BadCertificate(
                f"the certificate of {self.name} expired on {day(self.not_after)}: "
                "invite the machine again"
            )

    def is_expired(self, now: float | None = None) -> bool:
        now = time.time() if now is None else now
        return now > self.not_after + CLOCK_SKEW_SECONDS


@dataclass(frozen=True, slots=True)
class Revocations:
    """The serials of certificates that are good no more, all of them; a newer list replaces it."""

    version: int
    serials: frozenset[bytes]
    raw: bytes = field(repr=False)

    @classmethod
    def from_bytes(cls, raw: bytes, authority: bytes) -> Self:
        """Raises BadCertificate unless ``authority`` has signed it."""
        what = "list of revocations"
        fields = verified(raw, authority, REVOCATIONS, what, 2, MAX_REVOCATIONS_BYTES)
        version, joined = fields
        if not isinstance(joined, bytes) or len(joined) % SERIAL_BYTES:
            raise BadCertificate("the list of revocations has not whole serial numbers")
        return cls(
            _number("version", version, 2**63 - 1), frozenset(split_serials(joined)), bytes(raw)
        )

    def is_newer_than(self, other: Revocations) -> bool:
        return self.version > other.version

    def revokes(self, certificate: Certificate) -> bool:
        return certificate.serial in self.serials


NO_REVOCATIONS = Revocations(0, frozenset(), b"")
"""What a mesh begins with. It is not signed: every signed list is newer."""


@dataclass(frozen=True, slots=True)
class RotationOrder:
    """Says that ``key`` is the mesh's key from now on, and the old one good for ``grace`` seconds.

    It holds the key in the clear: it travels sealed.
    """

    issued_at: int
    key: str = field(repr=False)
    grace: int
    raw: bytes = field(repr=False)

    @classmethod
    def signed(cls, seed: bytes, key: str, grace: int, now: float) -> Self:
        """A new one. Raises BadCertificate for a key or grace that no node would take."""
        raw = sign(seed, ROTATION, (int(now), key, grace))
        return cls.from_bytes(raw, public_of_seed(seed))

    @classmethod
    def from_bytes(cls, raw: bytes, authority: bytes) -> Self:
        """Raises BadCertificate unless ``authority`` has signed it."""
        what = "order to change the key"
        issued_at, key, grace = verified(raw, authority, ROTATION, what, 3, MAX_ROTATION_BYTES)
        if not isinstance(key, str) or len(key.encode(errors="replace")) > MAX_KEY_BYTES:
            raise BadCertificate(f"the new key is not a text of at most {MAX_KEY_BYTES} bytes")
        try:
            check_key(key)
        except ConfigError as error:
            raise BadCertificate(f"the new key: {error}") from None
        return cls(
            _number("time", issued_at, LAST_SECOND),
            key,
            _number("grace", grace, MAX_GRACE_SECONDS),
            bytes(raw),
        )


def day(moment: float) -> str:
    """A moment for people: the date, in UTC."""
    return f"{datetime.fromtimestamp(min(max(moment, 0), LAST_SECOND), UTC):%Y-%m-%d}"


def split_serials(joined: bytes) -> list[bytes]:
    return [joined[at : at + SERIAL_BYTES] for at in range(0, len(joined), SERIAL_BYTES)]


def _name(kind: str, name: Any) -> str:
    try:
        return check_name(kind, name)
    except BadName as error:
        raise BadCertificate(f"the certificate has a {error}") from None


def _check_bytes(what: str, value: Any, size: int) -> None:
    if not isinstance(value, bytes) or len(value) != size:
        raise BadCertificate(f"the {what} is not {size} bytes")


def _number(what: str, value: Any, highest: int) -> int:
    # bool is an int to isinstance.
    if type(value) is not int or not 0 <= value <= highest:
        raise BadCertificate(f"the {what} is not a number from 0 to {highest}")
    return value
