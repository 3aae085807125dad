"""CURVE keys (RFC 26): of a node, of plain clients, and how a socket is given them.

Every keyed node has a key pair of its own. Its public half is known to members alone (they tell
it each other at the door, ``mesh.security.knocking``), so a stranger cannot even form a handshake.
A dialler pins the key of the node that it means; an accepting node lets in the keys that it was
told (``mesh.transport.zap``), and ``ZAP_ENFORCE_DOMAIN`` refuses everybody while nobody answers.

A node's id is bound to its key (``bind_id``), so no other member can speak in its name.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import NamedTuple

import zmq
from zmq.utils import z85

__all__ = ["KEY_BYTES", "ZAP_DOMAIN", "CurveKeyPair", "NodeKey", "bind_id", "is_bound"]

ZAP_DOMAIN = b"mesh"
KEY_BYTES = 32

_NONCE_BYTES = 8


class CurveKeyPair(NamedTuple):
    """A CURVE key pair in Z85, 40 characters each: as ZeroMQ takes it in every language."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"CurveKeyPair(public={self.public!r})"


class NodeKey:
    """A CURVE key pair. ``public`` and ``secret`` are 32 raw bytes each."""

    __slots__ = ("_public", "_secret", "public", "secret")

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self._secret = z85.encode(secret)
        self._public = zmq.curve_public(self._secret)
        self.public: bytes = z85.decode(self._public)

    @classmethod
    def generate(cls) -> NodeKey:
        """A new one."""
        return cls(z85.decode(zmq.curve_keypair()[1]))

    @property
    def pair(self) -> CurveKeyPair:
        """As text."""
        return CurveKeyPair(self._public.decode(), self._secret.decode())

    def serve(self, socket: zmq.Socket[bytes]) -> None:
        """Give it to a socket that binds: before it does."""
        self._apply(socket)
        socket.set(zmq.CURVE_SERVER, 1)
        socket.set(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
        socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def meet(self, socket: zmq.Socket[bytes], server: bytes) -> None:
        """Give it to a socket that connects to the node with the public key ``server``."""
        self._apply(socket)
        socket.set(zmq.CURVE_SERVERKEY, z85.encode(server))

    def _apply(self, socket: zmq.Socket[bytes]) -> None:
        socket.set(zmq.CURVE_SECRETKEY, self._secret)
        socket.set(zmq.CURVE_PUBLICKEY, self._public)


def bind_id(public: bytes, nonce: bytes | None = None) -> bytes:
    """A new node id, 16 bytes, that only the owner of that key can use.

    8 random bytes, and 8 that follow from them and the key. Another member would have to find a
    key whose hash meets the same 64 bits.
    """
    nonce = secrets.token_bytes(_NONCE_BYTES) if nonce is None else nonce
    return nonce + _tie(public, nonce)


def is_bound(public: bytes, id: bytes) -> bool:
    """Whether ``id`` belongs to the owner of that key."""
    return hmac.compare_digest(_tie(public, id[:_NONCE_BYTES]), id[_NONCE_BYTES:])


def _tie(public: bytes, nonce: bytes) -> bytes:
    return hashlib.blake2b(nonce, key=public, digest_size=8, person=b"mesh id").digest()
