"""Lets in our key and no other: the answering side of ZeroMQ's authentication protocol (RFC 27).

Surprise: it is answered by Python, so while Python is blocked no handshake ends; it ends at once
when Python is back.
"""

from __future__ import annotations

import asyncio
import hmac
import logging

import zmq

from mesh.engine.telling import Telling
from mesh.security.curve import ZAP_DOMAIN, CurveKeys
from mesh.transport.sockets import DrainedSocket

__all__ = ["ZapHandler"]

logger = logging.getLogger("mesh.security")

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
ZAP_FRAMES = 7
"""Version, request id, domain, address, identity, mechanism, and the client's public key."""


class ZapHandler:
    """Answers libzmq's authentication requests (RFC 27) for one context."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: zmq.Context[zmq.Socket[bytes]],
        keys: CurveKeys,
    ) -> None:
        self._keys = keys
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
            and hmac.compare_digest(request[6], self._keys.public_raw)
        )
        if is_ours:
            status, text = b"200", b"OK"
        else:
            self.refused += 1
            status, text = b"400", b"not this mesh's key"
            self._tell.warning(logger, "a connection with another key was refused")
        socket.send_multipart([version, request_id, status, text, b"", b""], zmq.NOBLOCK)
        self._socket.check()

    def close(self) -> None:
        self._socket.close()


def _nothing() -> None:
    pass
