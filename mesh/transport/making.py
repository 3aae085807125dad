"""Makes the sockets of one node: its context, its keys, and its loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import zmq

from mesh.engine.ports import TransportEvents
from mesh.security import NodeKey
from mesh.transport.sockets import DRAIN, DrainedSocket, new_socket

__all__ = ["SocketMaker"]


class SocketMaker:
    """``key`` switches CURVE on for every socket."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: zmq.Context[zmq.Socket[bytes]],
        events: TransportEvents,
        key: NodeKey | None,
    ) -> None:
        self.loop = loop
        self.context = context
        self.events = events
        self._key = key

    def binding(self, kind: int, max_bytes: int) -> zmq.Socket[bytes]:
        """A socket for peers to connect to. Raises OSError when there is none to be had."""
        socket = self._new(kind, max_bytes)
        if self._key is not None:
            self._key.serve(socket)
        return socket

    def connecting(self, kind: int, max_bytes: int, server: bytes) -> zmq.Socket[bytes]:
        """A socket to connect to the node with the public key ``server``, empty without keys.

        Raises OSError when there is none to be had.
        """
        socket = self._new(kind, max_bytes)
        if self._key is not None:
            self._key.meet(socket, server)
        return socket

    def _new(self, kind: int, max_bytes: int) -> zmq.Socket[bytes]:
        try:
            return new_socket(self.context, kind, max_bytes)
        except zmq.ZMQError as error:
            raise OSError(error.errno, f"no socket to be had: {error.strerror}") from error

    def drained(
        self, socket: zmq.Socket[bytes], receive: Callable[[], None], limit: int = DRAIN
    ) -> DrainedSocket:
        """Reads it on the loop, for the engine."""
        events = self.events
        return DrainedSocket(
            self.loop, socket, receive, events.begin_drain, events.end_drain, limit
        )
