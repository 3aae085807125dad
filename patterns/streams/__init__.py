"""Streams: ordered ways both ways between two nodes, with credit, half-close and abort. Pure."""

from patterns.streams.desk import MAX_STREAMS, MAX_STREAMS_PER_PEER, WINDOWS_BYTES, Streams
from patterns.streams.messages import MAX_WINDOW_BYTES, PIECE_BYTES
from patterns.streams.method import StreamMethod
from patterns.streams.serving import StreamServer
from patterns.streams.stream import (
    EMPTY,
    MIN_WINDOW_BYTES,
    WINDOW_BYTES,
    Stream,
)

__all__ = [
    "EMPTY",
    "MAX_STREAMS",
    "MAX_STREAMS_PER_PEER",
    "MAX_WINDOW_BYTES",
    "MIN_WINDOW_BYTES",
    "PIECE_BYTES",
    "WINDOWS_BYTES",
    "WINDOW_BYTES",
    "Stream",
    "StreamMethod",
    "StreamServer",
    "Streams",
]
