"""Sealing under a shared key: who lacks the key can neither read what is sealed nor change it.

NaCl's ``secretbox`` (XSalsa20 and Poly1305) with a random nonce of 24 bytes in front, so a key may
seal any number of times. It says nothing about when, for whom or by whom of those who have the key:
what must not be replayed or turned around says so itself, inside.
"""

from __future__ import annotations

__all__ = ["seal", "unseal"]


def seal(key: bytes, data: bytes) -> bytes:
    """``data``, readable only with the same 32-byte key; 40 bytes longer."""
    # PyNaCl takes 19 ms to import, and a node without a key needs none of it.
    from nacl.secret import SecretBox

    return bytes(SecretBox(key).encrypt(data))


def unseal(key: bytes, data: bytes) -> bytes | None:
    """What was sealed; None when the key is another one, or a bit was changed."""
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    # PyNaCl has other errors for what is too short to be sealed at all.
    if len(data) < SecretBox.NONCE_SIZE + SecretBox.MACBYTES:
        return None
    try:
        return SecretBox(key).decrypt(data)
    except CryptoError:
        return None
