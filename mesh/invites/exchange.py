"""What an inviter and a joining machine say to each other: four messages over one connection.

========  =======  ======================================================================
request   joiner   a nonce, and the public half of its new node key
welcome   inviter  the nonce and the node key again, then all that a node needs to join
used      inviter  the nonce: the code is right, but another machine has used it
saved     joiner   the nonce: the welcome is kept, the invite may end
========  =======  ======================================================================

Each is msgpack, sealed under the code's key, and a frame: its length in four bytes, then itself. A
welcome is sealed for the node key first, so whoever records it and learns the code later has
nothing. Each says its kind, so none can be sent back as another; each answer says the request's
nonce, so an old one does not fit. An empty frame says that the request could not be opened.

Decoders take a frame's content and raise `BadFrame` for whatever is not right.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from struct import Struct
from typing import TYPE_CHECKING, Any

import msgpack

from mesh.security.boxes import KEY_BYTES, seal_for, unseal_with
from mesh.security.certificates import MAX_CERTIFICATE_BYTES, MAX_KEY_BYTES, MAX_REVOCATIONS_BYTES
from mesh.security.sealing import seal, unseal
from mesh.wire.frames import BadFrame

if TYPE_CHECKING:
    from mesh.security.authority import Authority
    from mesh.security.certificates import Certificate

__all__ = ["Request", "Used", "Welcome", "new_nonce", "read_frame", "write_frame"]

NONCE_BYTES = 16

MAX_SMALL_BYTES = 256
"""Of every message but the welcome: they have half of it."""

MAX_WELCOME_BYTES = 1024 + MAX_CERTIFICATE_BYTES + MAX_REVOCATIONS_BYTES + MAX_KEY_BYTES

_LENGTH = Struct(">I")
_UNPACK_ERRORS = (msgpack.UnpackException, ValueError, TypeError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Request:
    """What the joining machine asks for: a certificate for its node key."""

    nonce: bytes
    node_key: bytes

    def pack(self, key: bytes) -> bytes:
        return seal(key, msgpack.packb(["join", self.nonce, self.node_key]))

    @classmethod
    def unpack(cls, key: bytes, sealed: bytes) -> Request:
        nonce, node_key = _fields(_unsealed(key, sealed), "join", bytes, bytes)
        if len(nonce) != NONCE_BYTES or len(node_key) != KEY_BYTES:
            raise BadFrame("a nonce or a node key has not its size")
        return cls(nonce, node_key)


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a node needs; the certificate and the list of revocations are not verified yet."""

    mesh: str
    key: str = field(repr=False)
    certificate: bytes
    authority: bytes
    revocations: bytes
    """Empty when there is no list."""

    @classmethod
    def by(cls, authority: Authority, certificate: Certificate) -> Welcome:
        """With that certificate, into the mesh as it is now."""
        newest = authority.revocations().raw
        return cls(authority.mesh, authority.key, certificate.raw, authority.public, newest)

    def pack(self, key: bytes, request: Request) -> bytes:
        fields = ["welcome", request.nonce, request.node_key, self.mesh, self.key]
        packed = msgpack.packb([*fields, self.certificate, self.authority, self.revocations])
        return seal(key, seal_for(request.node_key, packed))

    @classmethod
    def unpack(cls, key: bytes, secret: bytes, request: Request, sealed: bytes) -> Welcome:
        """The answer to this request, opened with its code's key and the node's secret."""
        packed = unseal_with(secret, _unsealed(key, sealed))
        if packed is None:
            raise BadFrame("a welcome is for another node key")
        nonce, node_key, *rest = _fields(packed, "welcome", bytes, bytes, str, str, *3 * [bytes])
        if (nonce, node_key) != (request.nonce, request.node_key):
            raise BadFrame("a welcome answers another request")
        return cls(*rest)


class Used:
    """Says that another machine was quicker."""

    @staticmethod
    def pack(key: bytes, nonce: bytes) -> bytes:
        return seal(key, msgpack.packb(["used", nonce]))

    @staticmethod
    def is_one(key: bytes, nonce: bytes, sealed: bytes) -> bool:
        return _says(key, sealed, "used", nonce)


class Saved:
    """Says that the welcome is kept."""

    @staticmethod
    def pack(key: bytes, nonce: bytes) -> bytes:
        return seal(key, msgpack.packb(["saved", nonce]))

    @staticmethod
    def is_one(key: bytes, nonce: bytes, sealed: bytes) -> bool:
        return _says(key, sealed, "saved", nonce)


def new_nonce() -> bytes:
    return secrets.token_bytes(NONCE_BYTES)


def write_frame(writer: asyncio.StreamWriter, content: bytes) -> None:
    writer.write(_LENGTH.pack(len(content)) + content)


async def read_frame(reader: asyncio.StreamReader, max_bytes: int) -> bytes:
    """Raises BadFrame for one that is longer, IncompleteReadError for one that is cut off."""
    (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if size > max_bytes:
        raise BadFrame(f"a frame of {size} bytes; {max_bytes} are the most")
    return await reader.readexactly(size)


def _says(key: bytes, sealed: bytes, kind: str, nonce: bytes) -> bool:
    try:
        (said,) = _fields(_unsealed(key, sealed), kind, bytes)
    except BadFrame:
        return False
    return bool(said == nonce)


def _unsealed(key: bytes, sealed: bytes) -> bytes:
    opened = unseal(key, sealed)
    if opened is None:
        raise BadFrame("a message is sealed under another key, or was changed")
    return opened


def _fields(packed: bytes, kind: str, *types: type) -> list[Any]:
    """The fields of a message of that kind. It is from somebody who has the code, but that may be
    anybody who saw it."""
    fields: list[Any]
    try:
        said, *fields = msgpack.unpackb(packed)
    except _UNPACK_ERRORS:
        raise BadFrame("a message is no list") from None
    if said != kind or [type(value) for value in fields] != list(types):
        raise BadFrame(f"a message is not a {kind!r} with its fields")
    return fields
