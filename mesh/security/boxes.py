"""A node's own key pair (Curve25519, as CURVE uses it), and sealing for the one who has it.

NaCl's sealed box: the sender makes a key pair for this one message and forgets it, so what was
recorded stays closed even to whoever gets to know everything that the sender knew. It does not say
who sealed: anybody can who knows the public half.
"""

from __future__ import annotations

import secrets

import zmq
from zmq.utils import z85

__all__ = ["KEY_BYTES", "new_secret", "public_of", "seal_for", "unseal_with"]

KEY_BYTES = 32


def new_secret() -> bytes:
    """The secret half of a new key pair."""
    return secrets.token_bytes(KEY_BYTES)


def public_of(secret: bytes) -> bytes:
    """The public half, as CurveZMQ computes it."""
    return z85.decode(zmq.curve_public(z85.encode(secret)))


def seal_for(public: bytes, data: bytes) -> bytes:
    """``data``, readable only with the secret half of ``public``; 48 bytes longer."""
    from nacl.public import PublicKey, SealedBox

    return bytes(SealedBox(PublicKey(public)).encrypt(data))


def unseal_with(secret: bytes, data: bytes) -> bytes | None:
    """What was sealed for the owner of ``secret``; None when it was not, or was changed."""
    from nacl.bindings import crypto_box_SEALBYTES
    from nacl.exceptions import CryptoError
    from nacl.public import PrivateKey, SealedBox

    if len(data) < crypto_box_SEALBYTES:
        return None
    try:
        return bytes(SealedBox(PrivateKey(secret)).decrypt(data))
    except CryptoError:
        return None
