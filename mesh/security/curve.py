"""The mesh's CURVE keys (RFC 26), and how a socket is given them.

All nodes of a mesh share one key pair. The public half is kept secret too, so a stranger cannot
even form a handshake. Libzmq alone would accept any client key; ``mesh.transport.zap`` does not,
and ``ZAP_ENFORCE_DOMAIN`` refuses everybody while no such handler answers.
"""

from __future__ import annotations

from typing import NamedTuple

import zmq
from zmq.utils import z85

from mesh.security.keys import derive

__all__ = ["ZAP_DOMAIN", "CurveKeyPair", "CurveKeys", "curve_keys"]

ZAP_DOMAIN = b"mesh"


class CurveKeys:
    """The key pair of a mesh, and its fingerprint for discovery."""

    def __init__(self, key: str, mesh: str) -> None:
        secret, self.fingerprint = derive(key, mesh)
        self._secret = z85.encode(secret)
        self._public = zmq.curve_public(self._secret)
        self.public_raw = z85.decode(self._public)

    @property
    def pair(self) -> CurveKeyPair:
        """As text, for programs in other languages."""
        return CurveKeyPair(self._public.decode(), self._secret.decode())

    def apply(self, socket: zmq.Socket[bytes], *, serves: bool) -> None:
        """Switch CURVE on; ``serves`` for sockets that bind."""
        socket.set(zmq.CURVE_SECRETKEY, self._secret)
        socket.set(zmq.CURVE_PUBLICKEY, self._public)
        if serves:
            socket.set(zmq.CURVE_SERVER, 1)
            socket.set(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
            socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
        else:
            socket.set(zmq.CURVE_SERVERKEY, self._public)


class CurveKeyPair(NamedTuple):
    """A CURVE key pair in Z85, 40 characters each: as ZeroMQ takes it in every language."""

    public: str
    secret: str


def curve_keys(key: str, mesh: str = "mesh") -> CurveKeyPair:
    """The pair that a plain ZeroMQ client needs in a mesh with this key.

    The client gives ``public`` as the server's key, and both as its own. Whoever has them can do
    what a node can do: they are as secret as the key. Takes 0.1 s for a passphrase. Raises
    ConfigError for a key that is none.
    """
    return CurveKeys(key, mesh).pair
