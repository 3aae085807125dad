"""From what people type to key material.

A passphrase goes through scrypt with the mesh's name as salt, so each guess costs an attacker
what it costs us (about 0.1 s), and the same words in two meshes are two keys. A key made by
``generate_key`` has 256 bits already and needs no stretching, so a node with one starts at once.
The fingerprint that discovery shows comes out of the same derivation: it is no cheaper to guess
against than the key itself.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from functools import cached_property

from mesh.security.curve import CurveKeyPair, NodeKey
from patterns.errors import ConfigError

__all__ = ["GENERATED_PREFIX", "MeshKey", "check_key", "curve_keys", "derive", "generate_key"]

GENERATED_PREFIX = "mesh1-"

SCRYPT_N = 2**15
SCRYPT_R = 8
SCRYPT_P = 1
SCRYPT_MEMORY_BYTES = 64 * 1024 * 1024
"""The cost of one guess: 32 MiB and about 0.1 s (RFC 7914)."""

_SEED_BYTES = 32


class MeshKey:
    """What all members of a mesh know, and nobody else.

    ``fingerprint`` (16 hex digits) names it in public. ``door`` (32 bytes) seals what members say
    to each other before they are linked. Takes 0.1 s for a passphrase. Raises ConfigError for a
    key that is none.
    """

    def __init__(self, key: str, mesh: str) -> None:
        self.text = key
        self._secret, self.fingerprint = derive(key, mesh)
        self.hint = bytes.fromhex(self.fingerprint)
        self.door = hashlib.blake2b(
            self._secret, digest_size=_SEED_BYTES, person=b"mesh door"
        ).digest()

    @cached_property
    def authority_seed(self) -> bytes:
        """Of the Ed25519 key with which members sign for the mesh where it has no authority."""
        return hashlib.blake2b(
            self._secret, digest_size=_SEED_BYTES, person=b"mesh authority"
        ).digest()

    @cached_property
    def plain(self) -> NodeKey:
        """The one key pair of plain ZeroMQ clients and of the sockets that serve them."""
        return NodeKey(self._secret)


def generate_key() -> str:
    """A new key of full strength, as text to copy: ``mesh1-`` and 52 characters."""
    text = base64.b32encode(secrets.token_bytes(_SEED_BYTES)).decode().rstrip("=").lower()
    return GENERATED_PREFIX + text


def check_key(key: str) -> None:
    """Raises ConfigError for a key that cannot be one; costs nothing, unlike ``derive``."""
    if not key:
        raise ConfigError("the mesh key is empty")
    if key.startswith(GENERATED_PREFIX):
        _decoded(key)
    elif key != key.encode("utf-8", "replace").decode():
        raise ConfigError("the mesh key is not UTF-8 text")


def derive(key: str, mesh: str) -> tuple[bytes, str]:
    """The 32-byte secret and the public fingerprint (16 hex digits) of a key in a mesh.

    Raises ConfigError for a key that is empty, or begins like a generated one and is none.
    """
    check_key(key)
    if key.startswith(GENERATED_PREFIX):
        material = hashlib.blake2b(_decoded(key), key=mesh.encode(), digest_size=64).digest()
    else:
        material = hashlib.scrypt(
            key.encode(),
            salt=b"mesh key:" + mesh.encode(),
            n=SCRYPT_N,
            r=SCRYPT_R,
            p=SCRYPT_P,
            maxmem=SCRYPT_MEMORY_BYTES,
            dklen=64,
        )
    fingerprint = hashlib.blake2b(material[_SEED_BYTES:], digest_size=8).hexdigest()
    return material[:_SEED_BYTES], fingerprint


def curve_keys(key: str, mesh: str = "mesh") -> CurveKeyPair:
    """The pair that a plain ZeroMQ client needs in a mesh with this key.

    The client gives ``public`` as the server's key, and both as its own. Whoever has them can do
    what a plain client can do. Takes 0.1 s for a passphrase. Raises ConfigError for a key that is
    none.
    """
    return MeshKey(key, mesh).plain.pair


def _decoded(key: str) -> bytes:
    text = key[len(GENERATED_PREFIX) :].strip().upper()
    try:
        seed = base64.b32decode(text + "=" * (-len(text) % 8))
    except ValueError:
        seed = b""
    if len(seed) != _SEED_BYTES:
        raise ConfigError(
            f"the key begins with {GENERATED_PREFIX!r} but is not a generated one: "
            "it may be cut off; make a new one with 'meshctl keygen'"
        )
    return seed
