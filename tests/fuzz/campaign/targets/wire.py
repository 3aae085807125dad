"""Frames, the strings that open a link, and the values of msgpack."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgpack

from mesh.wire import frames, sharing
from mesh.wire.codec import Codec, register
from mesh.wire.split import leading_int, split
from patterns.errors import BadPayload
from tests.fuzz.campaign.target import Target

__all__ = ["TARGETS", "check_travels"]

A, B = bytes(range(16)), bytes(range(16, 32))
INFO = {"v": 1, "mesh": "lab", "link": ["10.0.0.1:7000", "[fe80::1%eth0]:7000"], "rpc": 7001}
CODE = 119
"""An extension type of our own."""

codec = Codec()


class Point:
    """Something registered, whose decoder believes nothing."""

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    @staticmethod
    def read(value: Any) -> Point:
        x, y = value
        if type(x) is not int or type(y) is not int:
            raise ValueError("a point has two whole numbers")
        return Point(x, y)


register(Point, CODE, lambda point: [point.x, point.y], Point.read)

VALUES: tuple[Any, ...] = (
    None,
    {"a": [1, -1, 2**63, 1.5, True], (1, "k"): {"x", 3}, b"b": "text é"},
    [datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC), UUID(int=5), Decimal("1.50")],
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=-12, microseconds=5))),
    {frozenset({1, (2, 3)}), Decimal(1)},
    [msgpack.Timestamp(1, 2), msgpack.ExtType(99, b"x"), Point(3, 4)],
    [{frozenset({frozenset({frozenset()})})}],
)
LONG = codec.pack(list(range(1100)))
"""More than is decoded without a look at the frame first."""
ENTRIES = [codec.pack(["sensors.kitchen.temp", value]) for value in VALUES]


def check_travels(data: bytes, values: object) -> Hashable:
    """What was taken can be sent on, and arrives as it was."""
    assert isinstance(values, list)
    for value in values:
        try:
            packed = codec.pack(value)
        except BadPayload:
            continue  # deeper than a packer goes
        again = codec.pack(codec.unpack_all(packed, 1)[0])
        # The elements of a set may come in another order.
        assert again == packed or sorted(again) == sorted(packed)
    return len(values) > 1, type(values[0]) if values else None


def unpack_counted(data: bytes) -> object:
    """The count comes from the frame too: its first byte here."""
    return codec.unpack_all(memoryview(data)[1:], data[0]) if data else []


def check_link(data: bytes, header: Any) -> Hashable:
    receiver, link, version, kind, sender, first, count = header
    if version == frames.PROTOCOL_VERSION:
        size = frames.LINK_HEADER_SIZE
        assert frames.pack_link(receiver, link, kind, sender, first, count) == data[:size]
        assert count <= frames.MAX_ENTRIES
        assert frames.is_in_parts(data) is bool(kind & frames.IN_PARTS)
        placed = frames.with_place(data, bytes(sharing.PLACE_SIZE))
        assert frames.is_in_place(placed)
        assert len(placed) == len(data) + sharing.PLACE_SIZE
    return version == frames.PROTOCOL_VERSION, frames.kind_of_message(kind) < 32


def check_data(data: bytes, header: Any) -> Hashable:
    version, kind, sender, receiver, link, count = header
    if version == frames.PROTOCOL_VERSION:
        packed = frames.pack_data(kind, sender, receiver, link, count)
        assert packed == data[: frames.DATA_HEADER_SIZE]
    return version == frames.PROTOCOL_VERSION


def check_chunk(data: bytes, result: Any) -> Hashable:
    header, piece = result
    assert frames.pack_chunk(*header) + bytes(piece) == data
    assert not header.total or 0 < header.offset + len(piece) <= header.total
    return header.total == 0


def check_hello(data: bytes, result: Any) -> Hashable:
    assert result is None or frames.pack_hello(*result) == data
    return result is None


def check_info(data: bytes, result: Any) -> Hashable:
    id, info = result
    assert len(id) == frames.ID_SIZE
    assert all(map(frames.is_address, info["link"]))
    assert 0 <= info["rpc"] < 65_536
    if info["v"] == frames.PROTOCOL_VERSION:
        with contextlib.suppress(ValueError):  # one that is too large once all is written out
            assert frames.unpack_info(frames.pack_info(id, info)) == (id, info)
    return info["v"] == frames.PROTOCOL_VERSION, len(info["link"])


def check_split(data: bytes, parts: Any) -> Hashable:
    assert b"".join(parts) == data[1:]
    return len(parts).bit_length()


def check_leading(data: bytes, number: Any) -> Hashable:
    try:
        entry = codec.unpack_all(data, 1)[0]
    except frames.BadFrame:
        return number is None
    if isinstance(entry, list) and entry and type(entry[0]) is int:
        assert number == entry[0]
    return type(number), type(entry)


def check_answer(data: bytes, result: Any) -> Hashable:
    assert result is None or sharing.pack_answer(*result) == data
    return result is None or result[1]


def check_packed(pack: Any) -> Any:
    def check(data: bytes, result: Any) -> Hashable:
        assert result is None or pack(result) == data
        return result is None

    return check


TARGETS = [
    Target(
        "unpack_link",
        frames.unpack_link,
        (frames.pack_link(A, 7, frames.PUBLISH, B, 2**40, 3), frames.pack_link(B, 0, 0, A, 0, 0)),
        law=check_link,
        packed_at=None,
    ),
    Target(
        "unpack_work",
        lambda data: frames.unpack_link(data, frames.MAX_DATA_FRAME_BYTES),
        (frames.pack_link(A, 7, frames.CAST, B, 2**40, 3),),
        law=check_link,
        packed_at=None,
    ),
    Target(
        "unpack_data",
        frames.unpack_data,
        (frames.pack_data(frames.REQUEST, A, B, 7, 1),),
        law=check_data,
        packed_at=None,
    ),
    Target(
        "unpack_chunk",
        lambda data: frames.unpack_chunk(memoryview(data)),
        (
            frames.pack_chunk(frames.PUBLISH, 7, 300_000, 65_536) + b"piece",
            frames.pack_chunk(frames.REQUEST, 7, 0, 65_536),
        ),
        law=check_chunk,
        packed_at=None,
    ),
    Target(
        "unpack_hello",
        frames.unpack_hello,
        (frames.pack_hello(A, 7),),
        law=check_hello,
        packed_at=None,
    ),
    Target(
        "unpack_info",
        frames.unpack_info,
        (
            frames.pack_info(A, INFO),
            b"\x01" + B + msgpack.packb({**INFO, "v": 2, "new": [1, {"x": None}]}),
        ),
        law=check_info,
        packed_at=17,
    ),
    Target(
        "unpack_all",
        lambda data: codec.unpack_all(data),
        (b"".join(ENTRIES), b"".join(ENTRIES[:4] * 4), LONG),
        law=check_travels,
    ),
    Target(
        "unpack_one", lambda data: codec.unpack_all(data, 1), (*ENTRIES, LONG), law=check_travels
    ),
    Target(
        "unpack_counted",
        unpack_counted,
        (b"\x00", b"\x07" + b"".join(ENTRIES), b"\x10" + b"".join(ENTRIES[:4] * 4)),
        law=check_travels,
        packed_at=1,
    ),
    Target(
        "unpack_with",
        lambda data: codec.unpack_with(data, b"payload"),
        (codec.pack(["news", None]), codec.pack(["news", None, {"a": "b"}])),
        law=check_travels,
    ),
    Target(
        "split",
        lambda data: split(memoryview(data)[1:], data[0]) if data else [],
        (b"\x07" + b"".join(ENTRIES), b"\x00", b"\x02" + ENTRIES[0] + ENTRIES[1]),
        law=check_split,
        packed_at=1,
    ),
    Target("leading_int", leading_int, (codec.pack([7, "a.b"]), *ENTRIES), law=check_leading),
    Target(
        "offer",
        sharing.unpack_offer,
        (sharing.pack_offer(sharing.Offer(A, B, 17, 5, 1 << 20)),),
        law=check_packed(sharing.pack_offer),
        packed_at=None,
    ),
    Target(
        "answer",
        sharing.unpack_answer,
        (sharing.pack_answer(A, True), sharing.pack_answer(B, False)),
        law=check_answer,
        packed_at=None,
    ),
    Target(
        "place",
        sharing.unpack_place,
        (sharing.pack_place(sharing.Place(2**40, 17, 70_000)),),
        law=check_packed(sharing.pack_place),
        packed_at=None,
    ),
]
