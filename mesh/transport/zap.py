"""Lets in the keys that it is told to: the answering side of ZeroMQ's authentication (RFC 27).

Surprise: it is answered by Python, so while Python is blocked no handshake ends; it ends at once
when Python is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import zmq

from mesh.engine.telling import Telling
from mesh.logs import get_logger
from mesh.security.curve import ZAP_DOMAIN
from mesh.transport.sockets import DrainedSocket

__all__ = ["ZapHandler"]

logger = get_logger("mesh.security")

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
ZAP_FRAMES = 7
"""Version, request id, domain, address, identity, mechanism, and the client's public key."""


class ZapHandler:
    """Answers libzmq's authentication requests for one context.

    ``admit(key)`` gives the User-Id for the owner of a public key, empty for one to refuse.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: zmq.Context[zmq.Socket[bytes]],
        admit: Callable[[bytes], bytes],
    ) -> None:
        self._admit = admit
        self._tell = Telling(loop.time)
        socket = context.socket(zmq.REP)
        socket.set(zmq.LINGER, 0)
        socket.bind(ZAP_ENDPOINT)
        self._socket = DrainedSocket(loop, socket, self._receive, _nothing, _nothing)
        self.refused = 0

    def _receive(self) -> None:
        socket = self._socket.socket
        request = socket.recv_multipart(zmq.NOBLOCK)
        version, request_id = request[0], request[1] if len(request) > 1 else b""
        is_ours = (
            len(request) == ZAP_FRAMES
            and version == b"1.0"
            and request[2] == ZAP_DOMAIN
            and request[5] == b"CURVE"
        )
        user = self._admit(request[6]) if is_ours else b""
        if user:
            status, text = b"200", b"OK"
        else:
            status, text = b"400", b"not a member's key"
            self._refuse(request[3] if is_ours else b"")
        socket.send_multipart([version, request_id, status, text, user, b""], zmq.NOBLOCK)
        self._socket.check()

    def _refuse(self, address: bytes) -> None:
        self.refused += 1
        where = address.decode("ascii", "replace")
        self._tell.warning(
            logger, "a connection from %s was refused: its key is no member's", where
        )

    def close(self) -> None:
        self._socket.close()


def _nothing() -> None:
    pass
