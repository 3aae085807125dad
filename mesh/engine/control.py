"""The control lane's messages: small msgpack arrays, ``[type, ...]``.

They travel on the link ahead of user messages, outside the byte window, and are never dropped
within a link epoch. A new epoch voids what was not sent and starts with OPEN, which carries
everything the other side needs to know, so nothing has to be repeated.

==============  ===========================  =====================================================
type            fields                       meaning
==============  ===========================  =====================================================
OPEN            next number, record, knows,  first on every link epoch
                uncounted
REFUSE          code, text                   instead of OPEN: no link for you, and why
DELTA           delta                        my record changed
APPLIED         version                      your record is in force here at this version
ACK             link, bytes                  consumed so far of your link epoch
GOODBYE         text                         I leave
GOODBYE_ACK                                  go in peace
PEERS           [[id, [address, ...]], ...], all?  whom I know; all of them, tell me the others
DIGEST          number                       the exclusive or of the ids I am linked with
PING, PONG      number                       does your Python still answer? Yes, and the number
REPLY           entry                        a call's reply whose own connection is gone
CALLS           [id, ...]                    after a renewed link: do you still have these calls?
CALLS_MISSING   [id, ...]                    I do not have these
PARCEL_ACK      link, bytes                  taken of the chunks of your link epoch
LOST            [[subject, count], ...]      these messages for you were dropped here
STREAM_ACK      era, number                  all before it of your messages of streams is here
STREAMS_LOST    era                          I know nothing of what was before
OWNED           service, slots, whole, fence  of what is not mine of it, these are not free here yet
==============  ===========================  =====================================================

Types 15 to 22, and 25, are groupcast's: see ``patterns.groupcast.casts``.
"""

from __future__ import annotations

from typing import Any

from mesh.wire.frames import BadFrame
from patterns.groupcast import casts as k

__all__ = [
    "ACK",
    "APPLIED",
    "CALLS",
    "CALLS_MISSING",
    "DELTA",
    "DIGEST",
    "FIRST_PING",
    "FIRST_QUESTION",
    "GOODBYE",
    "GOODBYE_ACK",
    "LOST",
    "MAX_PEERS_TOLD",
    "OPEN",
    "OWNED",
    "PARCEL_ACK",
    "PEERS",
    "PING",
    "PONG",
    "REFUSE",
    "REFUSED_FULL",
    "REFUSED_MESH",
    "REFUSED_PROTOCOL",
    "REFUSED_SELF",
    "REPLY",
    "STREAMS_LOST",
    "STREAM_ACK",
    "check_control",
]

OPEN = 1
REFUSE = 2
DELTA = 3
APPLIED = 4
ACK = 5
GOODBYE = 6
GOODBYE_ACK = 7
PEERS = 8
PING = 9
PONG = 10
REPLY = 11
CALLS = 12
CALLS_MISSING = 13
DIGEST = 14
PARCEL_ACK = 23
LOST = 24
STREAM_ACK = 26
STREAMS_LOST = 27
OWNED = 28

FIRST_QUESTION = 1 << 32
FIRST_PING = 1 << 48
"""The number says whose ping it is, and so whose answer: below these it is liveness that asks, then
groupcast after a pause (questions), then a user (pings). All count up, and none gets that far."""

REFUSED_MESH = "mesh"
REFUSED_PROTOCOL = "protocol"
REFUSED_SELF = "self"
REFUSED_FULL = "full"

MAX_PEERS_TOLD = 1000
"""Peers in one PEERS message: a full mesh of the size this design is for, about 80 KB."""

_SHAPES: dict[int, tuple[type, ...]] = {
    OPEN: (int, dict, int),
    REFUSE: (str, str),
    DELTA: (dict,),
    APPLIED: (int,),
    ACK: (int, int),
    GOODBYE: (str,),
    GOODBYE_ACK: (),
    PEERS: (list, bool),
    DIGEST: (int,),
    PING: (int,),
    PONG: (int,),
    REPLY: (bytes,),
    CALLS: (list,),
    CALLS_MISSING: (list,),
    PARCEL_ACK: (int, int),
    LOST: (list,),
    STREAM_ACK: (int, int),
    STREAMS_LOST: (int,),
    OWNED: (str, bytes, bool, int),
    k.WANT: (str, int, int, int),
    k.GRANT: (str, int, int),
    k.RETURN: (str, int, int, int),
    k.DONE: (list,),
    k.BACK: (int, list, bytes),
    k.HELD: (int, int, list, list),
    k.CHECK: (int, int),
    k.RECALL: (str, int),
    k.DENY: (str, str, str),
}


def check_control(entry: Any) -> tuple[int, list[Any]] | None:
    """Type and fields of a control entry; None for a type unknown here (a newer peer's).

    Raises BadFrame when it has not the shape of its type. Extra fields are ignored.
    """
    if not isinstance(entry, list) or not entry or type(entry[0]) is not int:
        raise BadFrame("a control message must be a list that begins with its type")
    shape = _SHAPES.get(entry[0])
    if shape is None:
        return None
    fields = entry[1:]
    if len(fields) < len(shape) or any(
        type(field) is not wanted for field, wanted in zip(fields, shape, strict=False)
    ):
        raise BadFrame(f"control message {entry[0]} has the wrong shape")
    if any(type(field) is int and field < 0 for field in fields):
        raise BadFrame(f"control message {entry[0]} has a negative number")
    return entry[0], fields
