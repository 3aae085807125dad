"""The datagrams of the same-host rendezvous: what is in them, and what is refused.

Layout: 4 bytes `mesh`, 1 byte version, then one msgpack array
`[kind, id, mesh, protocol, fingerprint, hosts, port]`. Later versions may add fields at the end.
Pure; any process of the machine can send anything here, so `decode` is strict and bounded.
"""

import enum
from typing import Final

import msgpack

from discovery.source import MAX_HOSTS, Announcement

MAX_DATAGRAM_BYTES: Final = 1_200
"""Largest datagram: the largest announcement takes about 1,000 bytes."""

VERSION: Final = 1

_MAGIC: Final = b"mesh"
_HEADER: Final = _MAGIC + bytes([VERSION])
_FIELDS: Final = 7
_MAX_ITEMS: Final = 16
"""Fields of a datagram, and hosts in one: room for later versions."""


class Kind(enum.IntEnum):
    """What a datagram wants: `HELLO` an answer, `HERE` (answer or reminder) nothing."""

    HELLO = 0
    HERE = 1


_KINDS: Final = {int(kind): kind for kind in Kind}


def encode(kind: Kind, announcement: Announcement) -> bytes:
    """The datagram that says `kind` and `announcement`; at most `MAX_DATAGRAM_BYTES` long."""
    fields = [
        int(kind),
        announcement.id,
        announcement.mesh,
        announcement.protocol,
        announcement.fingerprint,
        announcement.hosts[:MAX_HOSTS],
        announcement.port,
    ]
    packed: bytes = msgpack.packb(fields)
    return _HEADER + packed


def decode(data: bytes) -> tuple[Kind, Announcement]:
    """What a datagram says. Raises `ValueError`, and nothing else, for one that is not valid."""
    if len(data) > MAX_DATAGRAM_BYTES:
        raise ValueError(f"{len(data)} bytes are more than {MAX_DATAGRAM_BYTES}")
    if data[: len(_HEADER)] != _HEADER:
        raise ValueError("not a datagram of this protocol and version")
    # All that msgpack raises for bad input is a ValueError, so is text that is not UTF-8.
    fields: object = msgpack.unpackb(
        data[len(_HEADER) :],
        use_list=False,
        max_array_len=_MAX_ITEMS,
        max_map_len=0,
        max_bin_len=0,
        max_ext_len=0,
    )
    if not isinstance(fields, tuple) or len(fields) < _FIELDS:
        raise ValueError("not a list of the known fields")
    kind, node_id, mesh, protocol, fingerprint, hosts, port = fields[:_FIELDS]
    if type(kind) is not int or kind not in _KINDS:
        raise ValueError("unknown kind")
    if not isinstance(hosts, tuple):
        raise ValueError("hosts is not a list")
    return _KINDS[kind], Announcement(node_id, mesh, protocol, hosts, port, fingerprint)
