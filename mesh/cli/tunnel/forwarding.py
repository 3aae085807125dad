"""``meshctl forward``: each connection to a local port becomes a stream to one who serves it."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass

import click

import mesh
from mesh.cli.peer_names import the_one
from mesh.cli.tunnel.address import Address, shown
from mesh.cli.tunnel.carrying import CHUNK_BYTES, carry, reset
from mesh.cli.tunnel.telling import Connection, Teller

__all__ = ["MAX_CONNECTIONS", "Forwarder", "Target"]

MAX_CONNECTIONS = 1024
"""At once: as many as one exposer takes of one node. One more is closed, and told."""


@dataclass(frozen=True)
class Target:
    """Whose stream: anybody's who serves it, the owner's of ``key``, or that of ``peer``."""

    service: str
    key: str | None
    peer: str | None
    timeout: float

    async def open(self, node: mesh.AsyncNode) -> mesh.AsyncStream:
        """Raises as ``open_stream``, and ClickException when ``peer`` is none, or several."""
        peer = None
        if self.peer is not None:
            # Anew each time: one that was started again has another id.
            advice = "'meshctl peers' lists them"
            peer = the_one(node.peers(), self.peer, among="peers", advice=advice)
        return await node.open_stream(self.service, key=self.key, peer=peer, timeout=self.timeout)


class Forwarder:
    """Listens on a port, and leads each connection to its stream. Failures end one alone."""

    def __init__(self, node: mesh.AsyncNode, target: Target, teller: Teller) -> None:
        self._node = node
        self._target = target
        self._teller = teller
        self._numbers = itertools.count(1)
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, bind: Address) -> None:
        """Until it is cancelled; then all connections are reset. Raises OSError for the port."""
        server = await asyncio.start_server(self._take, bind.host, bind.port, limit=CHUNK_BYTES)
        try:
            for listener in server.sockets:
                address = shown(listener.getsockname())
                text = f"listening at {address} for {self._target.service!r}"
                self._teller.tell("listening", text, address=address)
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
            for task in self._running:
                task.cancel()
            if self._running:
                await asyncio.wait(self._running)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = shown(writer.get_extra_info("peername") or ("?", 0))
        connection = Connection(self._teller, next(self._numbers), client)
        if len(self._running) >= MAX_CONNECTIONS:
            reset(writer)
            text = f"{MAX_CONNECTIONS} connections are open, as many as there may be"
            connection.failed(mesh.Overloaded(text))
            return
        task = asyncio.ensure_future(self._serve(reader, writer, connection))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: Connection
    ) -> None:
        try:
            try:
                stream = await self._target.open(self._node)
            except BaseException:
                reset(writer)
                raise
            connection.opened(stream.peer)
            await carry(stream, reader, writer, connection.carried)
        except (mesh.MeshError, click.ClickException, OSError) as error:
            connection.failed(error)
        else:
            connection.closed()
