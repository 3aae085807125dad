"""The messages of streams. Each is one msgpack array ``[stream, kind, ...]``.

``stream`` is the number of the call that opened it, as its opener counts: positive in what the
opener sends, negative in what it is sent. So both sides may open streams under the same number.

=======  ===================  ==================================================================
kind     fields               meaning
=======  ===================  ==================================================================
WHOLE    data                 a message, packed; or the last part of one
PART     data                 a part of a message that goes on
BYTES    data                 bytes without boundaries
CREDIT   total                so much of what you sent, by its cost, has been consumed
END      trailers, and the    nothing more comes from here; all before it has been sent. The rest
         type, text, trace    only if it ends since its handler has raised
STOP                          send no more: nobody reads it here. What comes from here goes on
ABORT    text                 the stream is over, both ways; what was on its way is void
=======  ===================  ==================================================================

The cost of data is its size and ``ENTRY_COST``, so that a flood of empty messages is bounded, too.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = [
    "ABORT",
    "BYTES",
    "CREDIT",
    "DATA_KINDS",
    "END",
    "ENTRY_COST",
    "MAX_WINDOW_BYTES",
    "PART",
    "PIECE_BYTES",
    "STOP",
    "WHOLE",
    "cost",
    "cut",
    "read_terms",
]

WHOLE = 0
PART = 1
BYTES = 2
CREDIT = 3
END = 4
STOP = 5
ABORT = 6

DATA_KINDS = frozenset({WHOLE, PART, BYTES})

PIECE_BYTES = 64 * 1024
"""Data in one entry: what others on the link wait behind is no more, and neither are streams."""

MAX_WINDOW_BYTES = 64 * 1024 * 1024
"""As large as a payload may be; it is memory of one stream."""

ENTRY_COST = 64
"""Bytes that any data costs beside itself: about what an entry takes in a receiver's memory."""


def read_terms(terms: object) -> tuple[int, int]:
    """The window and era of one side, as a request for a stream and its answer have them.

    Raises ValueError for anything else.
    """
    match terms:
        case [int(window), int(era)] if 0 < window <= MAX_WINDOW_BYTES and era > 0:
            return window, era
    raise ValueError(f"{terms!r:.80} is no window for a stream")


def cost(size: int) -> int:
    """What so many bytes cost, cut into pieces."""
    return size + ENTRY_COST * max(1, -(-size // PIECE_BYTES))


def cut(data: bytes | bytearray | memoryview) -> Iterator[memoryview]:
    """The pieces of some data, in order; one that is empty when there is none."""
    view = memoryview(data).cast("B") if len(data) else memoryview(b"")
    for start in range(0, max(1, len(view)), PIECE_BYTES):
        yield view[start : start + PIECE_BYTES]
