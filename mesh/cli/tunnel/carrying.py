"""Bytes between a TCP connection and a stream, both ways, and their ends.

Each end of the one becomes the same end of the other: what TCP says by FIN is ``end()``, and goes
on in the other direction; what it says by RST is an abort, and so is whatever else breaks. Nothing
is read from either side faster than the other takes it, so a slow reader holds back the sender,
not memory: there are the stream's window and ``CHUNK_BYTES`` a few times.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass

import mesh

__all__ = ["CHUNK_BYTES", "Carried", "carry", "reset"]

CHUNK_BYTES = 64 * 1024
"""Read from TCP at once: as much as a stream puts into one entry."""

LINGER_SECONDS = 5.0
"""How long what nobody wants is read from TCP: closed before, it would be reset, and what the other
side has said last might never be read."""

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends a RST, and the other side knows that it is no end."""


@dataclass(slots=True)
class Carried:
    """Bytes so far, as the TCP connection sees them."""

    received: int = 0
    """From TCP into the stream."""
    sent: int = 0
    """From the stream to TCP."""


async def carry(
    stream: mesh.AsyncStream,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    carried: Carried,
) -> None:
    """Until both directions have ended; then both are closed.

    Raises MeshError or OSError for what broke it; then, and when it is cancelled, TCP is reset and
    the stream aborted.
    """
    try:
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Who is gone without a word must not be waited for for ever.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        async with asyncio.TaskGroup() as both:
            both.create_task(_from_tcp(reader, stream, carried))
            await _to_tcp(stream, writer, carried)
        writer.close()
        await writer.wait_closed()
    except BaseExceptionGroup as group:
        _break(stream, writer, group.exceptions[0])
        raise group.exceptions[0] from None
    except BaseException as error:
        _break(stream, writer, error)
        raise
    stream.close()


def _break(stream: mesh.AsyncStream, writer: asyncio.StreamWriter, error: BaseException) -> None:
    reset(writer)
    with contextlib.suppress(mesh.NodeClosed):
        stream.abort(_reason(error))


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection so that its other end cannot take it for a good one."""
    if not writer.transport.is_closing():
        connection: socket.socket = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):  # some systems: of one that was reset already
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()


async def _from_tcp(
    reader: asyncio.StreamReader, stream: mesh.AsyncStream, carried: Carried
) -> None:
    try:
        while data := await reader.read(CHUNK_BYTES):
            await stream.write(data)
            carried.received += len(data)
    except mesh.StreamAborted:
        if stream.is_broken:
            raise
        # Nobody reads there any more; what comes from there still does.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while await reader.read(CHUNK_BYTES):
                    continue
    stream.end()


async def _to_tcp(stream: mesh.AsyncStream, writer: asyncio.StreamWriter, carried: Carried) -> None:
    while data := await stream.read():
        writer.write(data)
        await writer.drain()
        carried.sent += len(data)
    if writer.transport.is_closing():
        raise ConnectionResetError("the connection was lost")
    writer.write_eof()


def _reason(error: BaseException) -> str:
    """For the other end of the stream."""
    if isinstance(error, OSError) and not isinstance(error, mesh.MeshError):
        return f"the TCP connection was lost: {error.strerror or error}"
    return "given up" if isinstance(error, mesh.MeshError) else "the tunnel was ended"
