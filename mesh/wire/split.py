"""What can be said of a body without building all of its values."""

from __future__ import annotations

import msgpack

from mesh.wire.frames import MAX_ENTRIES, BadFrame

__all__ = ["leading_int", "split"]

_LEADING_BYTES = 16
"""An array's header and an int take 14 at most."""


def leading_int(entry: bytes | memoryview) -> int | None:
    """The first element of an entry, if it is an int: of a request or a reply the call's id.

    Without looking at the rest, which may be large, or not even here.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=_LEADING_BYTES)
    unpacker.feed(memoryview(entry)[:_LEADING_BYTES])
    try:
        if unpacker.read_array_header() < 1:
            return None
        value = unpacker.unpack()
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException):
        return None
    return value if type(value) is int else None


def split(data: bytes | memoryview, count: int) -> list[memoryview]:
    """The bytes of each of the ``count`` msgpack values in ``data``.

    For a frame in which one value cannot be decoded: the others can.

    :raises BadFrame: malformed, or another number of values
    """
    if count > MAX_ENTRIES:
        raise BadFrame(f"{count} values, at most {MAX_ENTRIES} are allowed")
    view = memoryview(data)
    unpacker = msgpack.Unpacker(max_buffer_size=len(view))
    unpacker.feed(view)
    parts: list[memoryview] = []
    begin = 0
    try:
        for _ in range(count):
            unpacker.skip()
            end = unpacker.tell()
            parts.append(view[begin:end])
            begin = end
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise BadFrame(f"cannot be split: {error!r}") from error
    if begin != len(view):
        raise BadFrame(f"{len(view) - begin} bytes behind {count} values")
    return parts
