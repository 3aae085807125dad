"""The header of every frame, and the two strings by which a link is opened.

A frame is a header and a body: msgpack values one after the other, as many as `count` says, all
of one kind. Numbers are big-endian, ids are 16 raw bytes.

Link frames (XPUB to SUB), ``LINK_HEADER_SIZE`` bytes. The first 25 are what ZeroMQ filters by::

    offset  0   1         17     25       26    27      43     51
            00  receiver  link   version  kind  sender  first  count
    bytes   1   16        8      1        1     16      8      4

Work frames (PUSH to PULL) have the same header, but nothing filters by it. `link` is the link epoch
in which the receiver granted the credit that the frame uses up; `first` is the number of its first
message in the stream of work from this sender to this member.

Data frames (DEALER, ROUTER), ``DATA_HEADER_SIZE`` bytes::

    offset  0        1     2       18        34    42
            version  kind  sender  receiver  link  count
    bytes   1        1     16      16        8     4

A link frame whose kind has the bit ``IN_PARTS`` comes in two ZeroMQ parts. It has one entry, with
nil where its payload belongs, and the second part is that payload, raw bytes: so nobody copies it.
With ``IN_PLACE``, too, there is no second part: the frame ends with the payload's place in memory
that both see (`mesh.wire.sharing`).

The body of a CHUNK frame is no msgpack but ``CHUNK_HEADER_SIZE`` bytes and a part of a parcel::

    offset  0     1   9      17      25
            kind  id  total  offset  bytes of the parcel's one entry
    bytes   1     8   8      8

Link strings, sent as subscriptions (SUB to XPUB)::

    00 id(16) dial(4)         hello: "this pipe is mine, send my frames there"
    01 id(16) msgpack-map     info: who is asking, and where it can be dialled back

A link number names one pipe: the dial number that its hello gave, chosen by the dialler, and a
number that the publisher counts up (`link_number`). So a hello is a prefix of what arrives on its
pipe, and the end of one of several pipes of the same peer is told apart from the others'.

Compatibility: everything up to and including `version` and `sender` keeps its place in all future
versions, and so does the info string's ``v``, so that a peer of another version can be named and
refused. Hence another version is no error here; the caller compares it. What is malformed in
any other way raises `BadFrame`, and nothing else.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import NamedTuple, TypedDict, TypeGuard

import msgpack

__all__ = [
    "BROADCAST",
    "CANCEL",
    "CAST",
    "CHUNK",
    "CHUNK_HEADER_SIZE",
    "CONTROL",
    "DATA_HEADER_SIZE",
    "DATA_SENDER",
    "ID_SIZE",
    "IN_PARTS",
    "IN_PLACE",
    "LINK_HEADER_SIZE",
    "LINK_PREFIX_SIZE",
    "LINK_SENDER",
    "MAX_DATA_FRAME_BYTES",
    "MAX_ENTRIES",
    "MAX_INFO_BYTES",
    "MAX_LINK_FRAME_BYTES",
    "PARCEL",
    "PROTOCOL_VERSION",
    "PUBLISH",
    "REFUSED",
    "REPLY",
    "REQUEST",
    "SEND",
    "STREAM",
    "BadFrame",
    "ChunkHeader",
    "DataHeader",
    "LinkHeader",
    "LinkInfo",
    "is_address",
    "is_in_parts",
    "is_in_place",
    "kind_of_message",
    "link_number",
    "link_prefix",
    "pack_chunk",
    "pack_data",
    "pack_hello",
    "pack_info",
    "pack_link",
    "unpack_chunk",
    "unpack_data",
    "unpack_hello",
    "unpack_info",
    "unpack_link",
    "with_place",
]

PROTOCOL_VERSION = 1

# Kinds are plain ints: comparing enum members costs several times as much, for every frame.
CONTROL = 0  # link: records, acknowledgements, credit, goodbye; never dropped
PUBLISH = 1  # link
SEND = 2  # link
BROADCAST = 3  # link
CHUNK = 4  # link: a part of a parcel; it has no number and no entries
PARCEL = 5  # link: [id] of a parcel whose chunks are through: it is a message, here and now
STREAM = 6  # link: an era, then messages of streams; numbered apart (`mesh.links.resending`)
REQUEST = 16  # data
REPLY = 17  # data
REFUSED = 18  # data: no entries; the sender is not the node that was meant, or knows no such peer
CANCEL = 19  # data: ids of calls whose caller has given up
IN_PARTS = 0x40  # added to the kind of a message on the link
IN_PLACE = 0x20  # added to that: no second part, the frame ends with the payload's place
CAST = 20  # work: groupcasts and queue group copies

MAX_LINK_FRAME_BYTES = 256 * 1024
"""Header and body. A larger frame on a slow link delays ZeroMQ's heartbeats so long that the
receiver looks dead; larger payloads are cut into chunks above this layer."""

MAX_DATA_FRAME_BYTES = 16 * 1024 * 1024
"""Header and body of a data or work frame. Those sockets have no heartbeats to delay; this bounds
what one message can make the receiver allocate."""

MAX_ENTRIES = 65_536
"""Values in one frame. A smallest real entry takes more than 4 bytes, so no honest link frame has
more; it bounds the list that a frame of one-byte values would become."""

MAX_INFO_BYTES = 512
"""The info string. ZeroMQ keeps it in its subscription trie for as long as the link lives; a
handful of addresses takes 100 to 300 bytes."""

ID_SIZE = 16

LINK_SENDER = slice(27, 43)
DATA_SENDER = slice(2, 18)
"""Where the sender's id lies in a link or work frame, and in a data frame."""

_LINK_PREFIX = struct.Struct(">x16sQ")
_LINK = struct.Struct(">x16sQBB16sQI")
_DATA = struct.Struct(">BB16s16sQI")
_CHUNK = struct.Struct(">BQQQ")

_KIND_AT = struct.calcsize(">x16sQB")
LINK_PREFIX_SIZE = _LINK_PREFIX.size
LINK_HEADER_SIZE = _LINK.size
DATA_HEADER_SIZE = _DATA.size
CHUNK_HEADER_SIZE = _CHUNK.size

_HELLO = b"\x00"
_HELLO_STRUCT = struct.Struct(">x16sI")
_INFO = b"\x01"
_INFO_HEADER_SIZE = len(_INFO) + ID_SIZE
_MAX_VERSION = 255  # one byte in the headers
_MAX_PORT = 65_535
_MAX_INFO_ITEMS = 64  # per container of the info map; bounds what its headers can claim
_ADDRESS = re.compile(
    r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9._-]{1,32})?\])"
    r":(?P<port>[0-9]{1,5})"
)


class BadFrame(ValueError):
    """Raised for bytes that are not what the protocol allows: the one error of every decoder."""


class LinkHeader(NamedTuple):
    """The header of a link or work frame, in wire order. `first` is the number of the first of
    `count` entries."""

    receiver: bytes
    link: int
    version: int
    kind: int
    sender: bytes
    first: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which a header has no use for


class DataHeader(NamedTuple):
    """The header of a data frame, in wire order. `link` is the link epoch it was sent in."""

    version: int
    kind: int
    sender: bytes
    receiver: bytes
    link: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which a header has no use for


class ChunkHeader(NamedTuple):
    """What a CHUNK frame holds before its bytes: the kind of frame that the parcel's entry would
    have been in, its number, its bytes in all (0: it is given up), and where these begin."""

    kind: int
    id: int
    total: int
    offset: int


class LinkInfo(TypedDict):
    """What a node says of itself when it dials: protocol version, mesh name, the addresses
    ("host:port", IPv6 hosts in brackets) of its link socket, and its RPC port (0: none)."""

    v: int
    mesh: str
    link: list[str]
    rpc: int


def link_prefix(receiver: bytes, link: int) -> bytes:
    """The first bytes of every frame for `receiver` in the link epoch `link`: the string that is
    subscribed for its pipe.

    :raises ValueError: the id has not 16 bytes
    """
    _check_id(receiver)
    return _LINK_PREFIX.pack(receiver, link)


def pack_link(
    receiver: bytes, link: int, kind: int, sender: bytes, first: int, count: int
) -> bytes:
    """The header of a link or work frame.

    :raises ValueError: an id has not 16 bytes
    :raises struct.error: a number does not fit its field
    """
    _check_id(receiver)
    _check_id(sender)
    return _LINK.pack(receiver, link, PROTOCOL_VERSION, kind, sender, first, count)


def unpack_link(frame: bytes | memoryview, max_bytes: int = MAX_LINK_FRAME_BYTES) -> LinkHeader:
    """The header of a whole link or work frame; its body is ``frame[LINK_HEADER_SIZE:]``.

    The kind may be one that this version does not know, and `version` any other.

    :param max_bytes: the largest frame allowed, `MAX_DATA_FRAME_BYTES` for work
    :raises BadFrame: too short, too large, no link frame, or too many entries
    """
    size_bytes = len(frame)
    if size_bytes < LINK_HEADER_SIZE:
        raise BadFrame(f"link frame of {size_bytes} bytes has no whole header")
    if size_bytes > max_bytes:
        raise BadFrame(f"link frame of {size_bytes} bytes is above {max_bytes}")
    if frame[0] != 0:
        raise BadFrame(f"link frame begins with byte {frame[0]}, not 0")
    header = LinkHeader._make(_LINK.unpack_from(frame))
    if header.count > MAX_ENTRIES and header.version == PROTOCOL_VERSION:
        raise BadFrame(f"link frame of {header.count} entries, at most {MAX_ENTRIES} are allowed")
    return header


def is_in_parts(frame: bytes) -> bool:
    """Whether a link frame says that a second part belongs to it."""
    return len(frame) >= LINK_HEADER_SIZE and bool(frame[_KIND_AT] & IN_PARTS)


def is_in_place(frame: bytes) -> bool:
    """Whether a link frame in parts says that it ends with a place instead."""
    return bool(frame[_KIND_AT] & IN_PLACE)


def with_place(frame: bytes, place: bytes) -> bytes:
    """A link frame in parts that ends with the place of its payload instead."""
    changed = bytearray(frame)
    changed[_KIND_AT] |= IN_PLACE
    changed += place
    return bytes(changed)


def kind_of_message(kind: int) -> int:
    """A kind without what is added to it."""
    return kind & ~(IN_PARTS | IN_PLACE)


def pack_data(kind: int, sender: bytes, receiver: bytes, link: int, count: int) -> bytes:
    """The header of a data frame.

    :raises ValueError: an id has not 16 bytes
    :raises struct.error: a number does not fit its field
    """
    _check_id(sender)
    _check_id(receiver)
    return _DATA.pack(PROTOCOL_VERSION, kind, sender, receiver, link, count)


def unpack_data(frame: bytes | memoryview) -> DataHeader:
    """The header of a whole data frame; its body is ``frame[DATA_HEADER_SIZE:]``.

    The kind may be one that this version does not know, and `version` any other.

    :raises BadFrame: too short, too large, or too many entries
    """
    size_bytes = len(frame)
    if size_bytes < DATA_HEADER_SIZE:
        raise BadFrame(f"data frame of {size_bytes} bytes has no whole header")
    if size_bytes > MAX_DATA_FRAME_BYTES:
        raise BadFrame(f"data frame of {size_bytes} bytes is above {MAX_DATA_FRAME_BYTES}")
    header = DataHeader._make(_DATA.unpack_from(frame))
    if header.count > MAX_ENTRIES and header.version == PROTOCOL_VERSION:
        raise BadFrame(f"data frame of {header.count} entries, at most {MAX_ENTRIES} are allowed")
    return header


def pack_chunk(kind: int, id: int, total: int, offset: int) -> bytes:
    """What stands between the header of a CHUNK frame and the parcel's bytes.

    :raises struct.error: a number does not fit its field
    """
    return _CHUNK.pack(kind, id, total, offset)


def unpack_chunk(body: memoryview) -> tuple[ChunkHeader, memoryview]:
    """The chunk in the body of a CHUNK frame, and its bytes.

    :raises BadFrame: too short, or bytes beyond the parcel's end
    """
    if len(body) < CHUNK_HEADER_SIZE:
        raise BadFrame(f"chunk of {len(body)} bytes has no whole header")
    header = ChunkHeader._make(_CHUNK.unpack_from(body))
    piece = body[CHUNK_HEADER_SIZE:]
    if header.total and not 0 < len(piece) <= header.total - header.offset:
        raise BadFrame(
            f"parcel {header.id}: {len(piece)} bytes at {header.offset} of {header.total}"
        )
    return header, piece


def pack_hello(node_id: bytes, dial: int) -> bytes:
    """The hello string of a node's dial; dial numbers have 32 bits.

    :raises ValueError: the id has not 16 bytes
    :raises struct.error: the number has more than 32 bits
    """
    _check_id(node_id)
    return _HELLO_STRUCT.pack(node_id, dial)


def unpack_hello(topic: bytes) -> tuple[bytes, int] | None:
    """The id and dial number in a hello string; None if `topic` is something else."""
    if len(topic) != _HELLO_STRUCT.size or not topic.startswith(_HELLO):
        return None
    node_id, dial = _HELLO_STRUCT.unpack(topic)
    return node_id, dial


def link_number(dial: int, count: int) -> int:
    """The number of a link: the dialler's number for the dial, and the publisher's own."""
    return dial << 32 | count & 0xFFFF_FFFF


def pack_info(node_id: bytes, info: Mapping[str, object]) -> bytes:
    """The info string of a node; see `LinkInfo` for what it must hold.

    :raises ValueError: the id has not 16 bytes, a value is missing or wrong, or the string would
        be above `MAX_INFO_BYTES`: give fewer addresses
    """
    _check_id(node_id)
    _checked_info(info)
    topic: bytes = _INFO + node_id + msgpack.packb(dict(info))
    if len(topic) > MAX_INFO_BYTES:
        raise ValueError(f"info of {len(topic)} bytes is above {MAX_INFO_BYTES}")
    return topic


def unpack_info(topic: bytes) -> tuple[bytes, LinkInfo]:
    """The id and the checked map in an info string. Unknown keys are left out.

    Of another protocol version only ``v`` can be relied on: what else is missing or different
    there comes back empty.

    :raises BadFrame: no info string, malformed, too large, or a value of the wrong type
    """
    if not topic.startswith(_INFO) or len(topic) < _INFO_HEADER_SIZE:
        raise BadFrame("no info string")
    if len(topic) > MAX_INFO_BYTES:
        raise BadFrame(f"info of {len(topic)} bytes is above {MAX_INFO_BYTES}")
    try:
        info = msgpack.unpackb(
            topic[_INFO_HEADER_SIZE:], max_array_len=_MAX_INFO_ITEMS, max_map_len=_MAX_INFO_ITEMS
        )
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise BadFrame(f"malformed info: {error}") from error
    if not isinstance(info, dict):
        raise BadFrame(f"info is of type {type(info).__name__}, not a map")
    return topic[len(_INFO) : _INFO_HEADER_SIZE], _checked_info(info)


def _checked_info(info: Mapping[str, object]) -> LinkInfo:
    version, mesh, link, rpc = (info.get(key) for key in ("v", "mesh", "link", "rpc"))
    if not _is_int(version, _MAX_VERSION):
        raise BadFrame("info has no protocol version")
    checked: LinkInfo = {"v": version, "mesh": "", "link": [], "rpc": 0}
    if isinstance(mesh, str):
        checked["mesh"] = mesh
    elif version == PROTOCOL_VERSION:
        raise BadFrame("info has no mesh name")
    if _is_addresses(link):
        checked["link"] = link
    elif version == PROTOCOL_VERSION:
        raise BadFrame("info has no list of addresses 'host:port'")
    if _is_int(rpc, _MAX_PORT):
        checked["rpc"] = rpc
    elif version == PROTOCOL_VERSION:
        raise BadFrame("info has no RPC port")
    return checked


def _is_int(value: object, largest: int) -> TypeGuard[int]:
    # bool is an int to Python, but True is no port.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest


def _is_addresses(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(map(is_address, value))


def is_address(value: object) -> bool:
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    return match is not None and 0 < int(match["port"]) <= _MAX_PORT


def _check_id(node_id: bytes) -> None:
    # struct would silently pad or cut an id of another length.
    if len(node_id) != ID_SIZE:
        raise ValueError(f"a node id has {ID_SIZE} bytes, this one {len(node_id)}")
