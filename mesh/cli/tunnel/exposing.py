"""``meshctl expose``: each stream that is opened here becomes a connection to a TCP server."""

from __future__ import annotations

import asyncio
import itertools
import os

import mesh
from mesh.cli.tunnel.address import Address
from mesh.cli.tunnel.carrying import CHUNK_BYTES, carry
from mesh.cli.tunnel.telling import Connection, Teller

__all__ = ["CONNECT_SECONDS", "MAX_CONNECTIONS", "Exposer"]

MAX_CONNECTIONS = 1024
"""Served at once: as many as one peer may have streams here. One more is refused at once."""

CONNECT_SECONDS = 10.0
"""For the server to take a connection; one nearby that does not is as good as gone."""


class Exposer:
    """The handler of the streams."""

    def __init__(self, target: Address, teller: Teller) -> None:
        self._target = target
        self._teller = teller
        self._numbers = itertools.count(1)

    async def serve(self, stream: mesh.AsyncStream) -> None:
        """One stream, until it has ended both ways, or broke."""
        connection = Connection(self._teller, next(self._numbers), None)
        connection.opened(stream.peer)
        try:
            await self._serve(stream, connection)
        except asyncio.CancelledError:
            if stream.is_broken and not isinstance(
                error := await _what_broke(stream), mesh.NodeClosed
            ):
                connection.failed(error)
            raise
        except (mesh.MeshError, OSError) as error:
            connection.failed(error)
        else:
            connection.closed()

    async def _serve(self, stream: mesh.AsyncStream, connection: Connection) -> None:
        target = self._target
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    target.host, target.port, limit=CHUNK_BYTES
                )
        except OSError as error:  # among them TimeoutError
            why = _why(error)
            stream.abort(f"no connection to {target} there: {why}")
            raise OSError(f"no connection to {target}: {why}") from None
        await carry(stream, reader, writer, connection.carried)


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError) and not error.errno:
        return f"no answer within {CONNECT_SECONDS:g} s"
    return os.strerror(error.errno) if error.errno else str(error)


async def _what_broke(stream: mesh.AsyncStream) -> Exception:
    """A broken stream says why to whoever reads; that takes no time."""
    try:
        await stream.receive()
    except mesh.MeshError as error:
        return error
    return mesh.StreamAborted("it is broken")
