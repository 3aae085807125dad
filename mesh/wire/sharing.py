"""How two processes of one host agree on memory that both see, and say where in it a payload lies.

All of it travels beside the frames of a link (``mesh.wire.frames``). Big-endian::

    offer    third part of a frame in parts: "my payloads for you can lie here"
             host(16) token(16) pid(4) fd(4) size(4)
    answer   a link string, sent as a subscription: "I see it", or "I do not"
             02 token(16) 01 or 00
    place    end of a frame whose kind has ``IN_PLACE``, instead of the payload's part
             position(8) offset(4) size(4)

`host` is the beginning of SHA-256 of the kernel's boot id and the token, so it tells nobody which
host that is. What is malformed is None here: whoever cannot read an offer answers nothing, and a
payload that is not where it should be is lost and told, as any other.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = [
    "PLACE_SIZE",
    "TOKEN_SIZE",
    "Offer",
    "Place",
    "pack_answer",
    "pack_offer",
    "pack_place",
    "unpack_answer",
    "unpack_offer",
    "unpack_place",
]

TOKEN_SIZE = 16

_OFFER = struct.Struct(">16s16sIII")
_ANSWER = struct.Struct(">c16sc")
_PLACE = struct.Struct(">QII")
PLACE_SIZE = _PLACE.size

_ANSWERS = b"\x02"
_YES, _NO = b"\x01", b"\x00"


class Offer(NamedTuple):
    """Memory of ``size`` bytes behind descriptor ``fd`` of process ``pid``."""

    host: bytes
    token: bytes
    pid: int
    fd: int
    size: int


class Place(NamedTuple):
    """Where a payload lies; ``position`` is how far the sender was behind it, in bytes of all."""

    position: int
    offset: int
    size: int


def pack_offer(offer: Offer) -> bytes:
    """An offer, as a part."""
    return _OFFER.pack(*offer)


def unpack_offer(data: bytes) -> Offer | None:
    """An offer; None when it is none."""
    return Offer._make(_OFFER.unpack(data)) if len(data) == _OFFER.size else None


def pack_answer(token: bytes, is_seen: bool) -> bytes:
    """The answer to an offer, as a link string."""
    return _ANSWER.pack(_ANSWERS, token, _YES if is_seen else _NO)


def unpack_answer(topic: bytes) -> tuple[bytes, bool] | None:
    """The token of an offer and whether it was taken; None when that link string is no answer."""
    if len(topic) != _ANSWER.size or topic[:1] != _ANSWERS or topic[-1:] not in (_YES, _NO):
        return None
    return topic[1:-1], topic[-1:] == _YES


def pack_place(place: Place) -> bytes:
    """A place, as the end of a frame."""
    return _PLACE.pack(*place)


def unpack_place(data: bytes) -> Place | None:
    """A place; None when it is none."""
    return Place._make(_PLACE.unpack(data)) if len(data) == _PLACE.size else None
