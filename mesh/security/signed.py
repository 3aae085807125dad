"""What the mesh's authority signs: a list of fields, in msgpack, behind an Ed25519 signature.

The signature is over a *kind* and the fields, so that one kind of statement cannot be passed off as
another. A kind ends with a NUL and has none before: no kind is the beginning of another. Nothing
is parsed before its signature is verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

from patterns.errors import ConfigError

__all__ = ["SIGNATURE_BYTES", "BadCertificate", "public_of_seed", "sign", "verified"]

SIGNATURE_BYTES = 64
SEED_BYTES = 32
PUBLIC_BYTES = 32

_UNPACK_ERRORS = (msgpack.UnpackException, ValueError, TypeError, RuntimeError)


class BadCertificate(ConfigError):
    """Raised for a certificate, or another signed statement, that is not to be believed."""


def sign(seed: bytes, kind: bytes, fields: Sequence[object]) -> bytes:
    """The statement as bytes, signed with the Ed25519 key of ``seed``."""
    from nacl.signing import SigningKey

    payload: bytes = msgpack.packb(list(fields))
    return SigningKey(seed).sign(kind + payload).signature + payload


def public_of_seed(seed: bytes) -> bytes:
    """The public half of the Ed25519 key of ``seed``."""
    from nacl.signing import SigningKey

    return bytes(SigningKey(seed).verify_key)


def verified(
    raw: bytes, authority: bytes, kind: bytes, what: str, count: int, max_bytes: int
) -> list[Any]:
    """The ``count`` fields of a statement that ``authority`` signed.

    :param what: what it is to be, for the error
    :raises BadCertificate: it is too long, of another kind or authority, or changed
    """
    if len(raw) <= SIGNATURE_BYTES:
        raise BadCertificate(f"the {what} is cut off: it has {len(raw)} bytes")
    if len(raw) > max_bytes:
        raise BadCertificate(f"the {what} is longer than {max_bytes} bytes")
    payload = raw[SIGNATURE_BYTES:]
    _check_signature(kind + payload, raw[:SIGNATURE_BYTES], authority, what)
    try:
        fields = msgpack.unpackb(payload)
    except _UNPACK_ERRORS:
        fields = None
    if not isinstance(fields, list) or len(fields) != count:
        raise BadCertificate(f"the {what} has not the fields of one")
    return fields


def _check_signature(message: bytes, signature: bytes, authority: bytes, what: str) -> None:
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    if len(authority) != PUBLIC_BYTES:
        raise BadCertificate(f"the authority's public key has not {PUBLIC_BYTES} bytes")
    try:
        VerifyKey(authority).verify(message, signature)
    except BadSignatureError:
        raise BadCertificate(
            f"the {what} is not signed by this mesh's authority, or was changed"
        ) from None
