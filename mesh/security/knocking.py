"""What two members say at the door before they are linked: who I am, and where my sockets are.

One question and one answer, each a frame (integers big-endian)::

    offset  0     4        5     6       10    18
            mesh  version  kind  length  hint  sealed
    bytes   4     1        1     4       8     length - 8

`kind` is KNOCK, ANSWER or NO_SUCH_KEY (nothing sealed). `hint` names the mesh key by its
fingerprint. Sealed with that key, as msgpack: a `Card` with the question's token, or a refusal.
The token ties an answer to its question; a question that was recorded and sent again tells its
sender nothing, and changes nothing. Only who has the mesh key can read either, or make them, so
both sides learn the node key of the other and no stranger does.

Pure: no sockets. What is malformed in any way raises ``BadKnock``.
"""

from __future__ import annotations

import secrets
import struct
from typing import Any, NamedTuple

import msgpack

from mesh.security.curve import KEY_BYTES
from mesh.security.keys import MeshKey
from mesh.security.sealing import seal, unseal
from patterns.errors import MeshError

__all__ = [
    "ANSWER",
    "HEADER_BYTES",
    "KNOCK",
    "MAGIC",
    "MAX_KNOCK_BYTES",
    "NO_SUCH_KEY",
    "TOKEN_BYTES",
    "BadKnock",
    "Card",
    "DoorRefusal",
    "body_bytes",
    "new_token",
    "open_frame",
    "pack_card",
    "pack_no_such_key",
    "pack_refusal",
    "read_card",
    "read_said",
    "said_card",
]

MAGIC = b"mesh"
VERSION = 1
KNOCK, ANSWER, NO_SUCH_KEY = 1, 2, 3

_HEADER = struct.Struct(">4sBBI8s")
HEADER_BYTES = _HEADER.size
TOKEN_BYTES = 16
ID_BYTES = 16

MAX_KNOCK_BYTES = 32 * 1024
"""A card takes some 400 bytes; the list of a thousand revoked certificates 20 KiB."""

MAX_TEXT = 200

_CARD, _REFUSAL = "card", "refused"


class BadKnock(MeshError):
    """What came was not said by a member, or makes no sense."""


class Card(NamedTuple):
    """A node as it shows itself. ``port`` is that of its link socket, on the host of the door;
    ``certificate``, ``revocations`` and ``rotation`` are raw, empty where there are none."""

    id: bytes
    key: bytes
    port: int
    certificate: bytes = b""
    revocations: bytes = b""
    rotation: bytes = b""


class DoorRefusal(NamedTuple):
    """Why a node gets no link: a code for programs, and words."""

    code: str
    text: str


def new_token() -> bytes:
    """For one question."""
    return secrets.token_bytes(TOKEN_BYTES)


def pack_card(kind: int, key: MeshKey, token: bytes, card: Card) -> bytes:
    """A question or an answer."""
    return _pack(kind, key, said_card(kind, token, card))


def pack_refusal(key: MeshKey, token: bytes, refusal: DoorRefusal) -> bytes:
    """The answer to a member who gets no link."""
    fields = [_REFUSAL, ANSWER, token, refusal.code, refusal.text[:MAX_TEXT]]
    return _pack(ANSWER, key, msgpack.packb(fields))


def said_card(kind: int, token: bytes, card: Card) -> bytes:
    """A card as it is sealed."""
    return bytes(msgpack.packb([_CARD, kind, token, *card]))


def pack_no_such_key(hint: bytes) -> bytes:
    """The answer to a question that is sealed with a key that is not ours."""
    return _HEADER.pack(MAGIC, VERSION, NO_SUCH_KEY, len(hint), hint)


def _pack(kind: int, key: MeshKey, said: bytes) -> bytes:
    sealed = seal(key.door, said)
    return _HEADER.pack(MAGIC, VERSION, kind, len(key.hint) + len(sealed), key.hint) + sealed


def body_bytes(header: bytes) -> int:
    """How many bytes follow a header of HEADER_BYTES."""
    magic, version, _, length, _ = _HEADER.unpack(header)
    if magic != MAGIC:
        raise BadKnock("no mesh node with a key listens there")
    if version != VERSION:
        raise BadKnock(f"the door there speaks version {version}, this node {VERSION}")
    if not 8 <= length <= MAX_KNOCK_BYTES:
        raise BadKnock(f"a door frame of {length} bytes")
    return int(length) - 8


def open_frame(frame: bytes) -> tuple[int, bytes, bytes]:
    """Kind, hint and sealed part of a whole frame."""
    if len(frame) < HEADER_BYTES or body_bytes(frame[:HEADER_BYTES]) != len(frame) - HEADER_BYTES:
        raise BadKnock("a door frame that is cut off")
    _, _, kind, _, hint = _HEADER.unpack(frame[:HEADER_BYTES])
    return kind, hint, frame[HEADER_BYTES:]


def read_card(kind: int, key: MeshKey, sealed: bytes) -> tuple[bytes, Card | DoorRefusal]:
    """The token, and what was said with it, as a message of that kind."""
    said = unseal(key.door, sealed)
    if said is None:
        raise BadKnock("it was not sealed with the key that it names")
    return read_said(kind, said)


def read_said(kind: int, said: bytes) -> tuple[bytes, Card | DoorRefusal]:
    """The same of what was sealed."""
    try:
        fields = msgpack.unpackb(said, max_array_len=32, max_map_len=0, max_ext_len=0)
    except (ValueError, msgpack.UnpackException, RuntimeError, TypeError) as error:
        raise BadKnock(f"a door message that is no msgpack: {error}") from error
    match fields:
        case ["card", int(of), bytes(token), *rest] if of == kind:
            return _checked_token(token), _card(rest)
        case ["refused", int(of), bytes(token), str(code), str(text), *_] if of == kind:
            return _checked_token(token), DoorRefusal(code[:MAX_TEXT], text[:MAX_TEXT])
    raise BadKnock("a door message of no known shape")


def _checked_token(token: bytes) -> bytes:
    if len(token) != TOKEN_BYTES:
        raise BadKnock("a door message with a bad token")
    return token


def _card(fields: list[Any]) -> Card:
    """More fields than we know are a newer node's."""
    match fields[: len(Card._fields)]:
        case [
            bytes(id),
            bytes(key),
            int(port),
            bytes(certificate),
            bytes(revocations),
            bytes(rotation),
        ] if len(id) == ID_BYTES and len(key) == KEY_BYTES and 0 <= port < 65536:
            return Card(id, key, port, certificate, revocations, rotation)
    raise BadKnock("a card with bad fields")
