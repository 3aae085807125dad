"""Damage: bytes that are nearly right, by chance that a seed decides.

Two ways. Most inputs are damaged as bytes: bits, bytes, pieces cut, doubled, put in, crossed with
another input, headers of msgpack that lie. The others are taken apart as msgpack, changed as values
and packed again, so that they pass the first checks and reach those behind them.
"""

from __future__ import annotations

import struct
from random import Random
from typing import Any

import msgpack

__all__ = ["MAX_BYTES", "Mutator"]

MAX_BYTES = 8192
"""Inputs do not grow beyond: what is large has tests of its own."""

DEEP = 1100
"""Levels of a nest: msgpack takes 1024."""

NEARLY_DEEP = 1000
"""What is taken, and is deeper than Python calls itself."""

HEADERS = bytes([0x80, 0x81, 0x8F, 0x90, 0x91, 0x9F, 0xA0, 0xA1, 0xBF, *range(0xC0, 0xE0), 0xFF])
"""Bytes that begin a value of msgpack, one of each type."""

NUMBERS = (0, 1, 2, 7, 127, 128, 255, 256, 4095, 4096, 4097, 65_535, 65_536, 65_537, 2**31 - 1,
           2**31, 2**32 - 1, 2**32, 2**48, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, -1, -2,
           -(2**31), -(2**63))  # fmt: skip

VALUES: tuple[Any, ...] = (
    *NUMBERS, None, True, False, 0.0, -0.0, 1e308, float("inf"), float("nan"), "", "a", "a.b", "*",
    ">", "a.>", "_mesh.all", "_mesh.g.crew", "calc.add", "é", "\x00", "\n", "\x1b[2J", "x" * 64,
    "x" * 256, "x" * 300, "\udcff", "127.0.0.1:7000", "[::1]:7000", "h:0", "h:65536", b"", b"\x00",
    b"x" * 16, b"x" * 300, [], {}, [[]], {"": {}}, [None] * 20, {1: 2}, {None: None},
    msgpack.ExtType(1, b""), msgpack.ExtType(1, b"2024-01-02T03:04:05+00:00"),
    msgpack.ExtType(2, b"x" * 16), msgpack.ExtType(3, b"1e999999"), msgpack.ExtType(3, b"NaN"),
    msgpack.ExtType(4, b"\x90"), msgpack.ExtType(5, b"\x91\x90"), msgpack.ExtType(99, b"x"),
    msgpack.Timestamp(2**40, 5),
)  # fmt: skip

PIECES = (
    b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xdc\x04\x00", b"\xdf\xff\xff\xff\xff",
    b"\xde\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xda\xff\xff", b"\xc6\xff\xff\xff\xff",
    b"\xc5\xff\xff", b"\xc9\xff\xff\xff\xff\x04", b"\xc7\x05\x04\xdd\xff\xff\xff\xff", b"\xc1",
    b"\xa2\xff\xfe", b"\xa3\xed\xa0\x80", b"\xcb\x7f\xf8" + bytes(6), b"\xcb\x7f\xf0" + bytes(6),
    b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xd4\x04\x90", b"\xd4\x05\xc0",
    b"\xd6\xff1234", b"\xd7\xff" + b"\xff" * 8, b"\xc7\x0c\xff" + b"\xff" * 12,
    b"\xc7\x0c\xff" + bytes(12),
    b"\x81\x90\xc0", b"\x81\x80\xc0", b"\x91" * DEEP,
    b"\x91" * NEARLY_DEEP + b"\xc0", b"\x91" * 400 + b"\xc0", b"\x81\xa0" * 900 + b"\xc0",
    b"\x81\xa0" * DEEP, b"\xd4\x04" * 9,
    b"\x90" * 300, b"\xc0" * 300, bytes(20), b"\xff" * 20,
)  # fmt: skip


class Mutator:
    """Makes inputs of inputs. All chance comes from ``random``."""

    def __init__(self, random: Random) -> None:
        self._chance = random.random
        self._random = random
        self._damages = (
            self._flip, self._flip, self._set, self._set, self._number, self._number, self._delete,
            self._double, self._put, self._piece, self._header, self._swap, self._truncate,
            self._value, self._cross,
        )  # fmt: skip
        self._other = b""

    def mutate(self, data: bytes, other: bytes, packed_at: int | None = None) -> bytes:
        """``data`` with damage; some of it may come from ``other``."""
        chance = self._chance
        if packed_at is not None and chance() < 0.35:
            changed = self._as_values(data, packed_at)
            if changed is not None:
                return changed
        buffer = bytearray(data)
        self._other = other
        damages = self._damages
        count = len(damages)
        while True:
            damages[int(chance() * count)](buffer)
            if chance() < 0.6:
                break
        if len(buffer) > MAX_BYTES:
            del buffer[MAX_BYTES:]
        return bytes(buffer)

    # As bytes.

    def _at(self, buffer: bytearray) -> int:
        return int(self._chance() * len(buffer))

    def _flip(self, buffer: bytearray) -> None:
        if buffer:
            buffer[self._at(buffer)] ^= 1 << int(self._chance() * 8)

    def _set(self, buffer: bytearray) -> None:
        if buffer:
            buffer[self._at(buffer)] = int(self._chance() * 256)

    def _header(self, buffer: bytearray) -> None:
        if buffer:
            buffer[self._at(buffer)] = HEADERS[int(self._chance() * len(HEADERS))]

    def _number(self, buffer: bytearray) -> None:
        """A field of the header, or a length, becomes one of those that are on an edge."""
        size = (1, 2, 4, 8)[int(self._chance() * 4)]
        at = self._at(buffer)
        value = NUMBERS[int(self._chance() * len(NUMBERS))]
        buffer[at : at + size] = (value & ((1 << size * 8) - 1)).to_bytes(size, "big")

    def _delete(self, buffer: bytearray) -> None:
        at = self._at(buffer)
        del buffer[at : at + 1 + int(self._chance() * 8)]

    def _double(self, buffer: bytearray) -> None:
        at = self._at(buffer)
        piece = buffer[at : at + 1 + int(self._chance() * 24)]
        buffer[at:at] = piece * (1 if self._chance() < 0.9 else int(self._chance() * 200))

    def _put(self, buffer: bytearray) -> None:
        at = self._at(buffer)
        buffer[at:at] = self._random.randbytes(1 + int(self._chance() * 6))

    def _piece(self, buffer: bytearray) -> None:
        at = self._at(buffer)
        buffer[at : at + int(self._chance() * 4)] = PIECES[int(self._chance() * len(PIECES))]

    def _swap(self, buffer: bytearray) -> None:
        one, two = self._at(buffer), self._at(buffer)
        if buffer:
            buffer[one], buffer[two] = buffer[two], buffer[one]

    def _truncate(self, buffer: bytearray) -> None:
        del buffer[self._at(buffer) :]

    def _value(self, buffer: bytearray) -> None:
        """A whole value of msgpack, if one begins here, gives way to a piece."""
        at = self._at(buffer)
        end = _end_of_value(buffer, at)
        if end is not None:
            buffer[at:end] = PIECES[int(self._chance() * len(PIECES))]

    def _cross(self, buffer: bytearray) -> None:
        other = self._other
        begin = int(self._chance() * len(other))
        at = self._at(buffer)
        if self._chance() < 0.5:
            buffer[at:] = other[begin:]
        else:
            buffer[at:at] = other[begin : begin + 1 + int(self._chance() * 40)]

    # As values.

    def _as_values(self, data: bytes, packed_at: int) -> bytes | None:
        """None for what is no msgpack."""
        unpacker = msgpack.Unpacker(
            strict_map_key=False, unicode_errors="surrogateescape", max_buffer_size=MAX_BYTES * 2
        )
        try:
            unpacker.feed(data[packed_at:])
            values = list(unpacker)
            self._change(values)
            packed = b"".join([_pack(value) for value in values])
        except (ValueError, TypeError, RuntimeError, OverflowError, struct.error):
            return None
        return data[:packed_at] + packed[:MAX_BYTES]

    def _change(self, values: list[Any]) -> None:
        node: Any = values
        while True:
            keys = list(node) if isinstance(node, dict) else range(len(node))
            if not keys:
                self._grow(node)
                return
            key = keys[int(self._chance() * len(keys))]
            child = node[key]
            if not isinstance(child, list | dict) or self._chance() < 0.2:
                self._replace(node, key)
                return
            node = child

    def _grow(self, node: Any) -> None:
        value = VALUES[int(self._chance() * len(VALUES))]
        if isinstance(node, dict):
            node["name" if self._chance() < 0.5 else 1] = value
        else:
            node.append(value)

    def _replace(self, node: Any, key: Any) -> None:
        child = node[key]
        dice = int(self._chance() * 9)
        if dice == 0:
            del node[key]
        elif dice == 1 and isinstance(node, list):
            node.insert(key, child)
        elif dice == 2:
            node[key] = [child]
        elif dice == 3 and type(child) is int:
            node[key] = min(max(child + (1 if self._chance() < 0.5 else -1), -(2**63)), 2**64 - 1)
        elif dice == 4 and isinstance(child, str | bytes):
            node[key] = child * int(self._chance() * 20)
        elif dice == 5 and isinstance(node, list):
            node[key:key] = [child] * int(self._chance() * 30)
        elif dice == 6:
            self._grow(node)
        else:
            node[key] = VALUES[int(self._chance() * len(VALUES))]


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, unicode_errors="surrogateescape")
    return packed


def _end_of_value(buffer: bytearray, at: int) -> int | None:
    unpacker = msgpack.Unpacker(max_buffer_size=MAX_BYTES * 2)
    try:
        unpacker.feed(buffer[at:])
        unpacker.skip()
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException):
        return None
    return at + int(unpacker.tell())
