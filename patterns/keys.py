"""Keys: what a user names a thing by, as the bytes that every node hashes alike.

Surprise: the text ``"7"``, the bytes ``b"7"`` and the number ``7`` are one key, so that it does
not matter which of them a caller has at hand. Python's ``hash()`` plays no part: it differs from
process to process.
"""

from __future__ import annotations

from hashlib import blake2b

from patterns.errors import BadName

__all__ = ["MAX_KEY_BYTES", "SLOTS", "Key", "key_bytes", "slot_of"]

Key = str | bytes | int

SLOTS = 65_536
"""Fixed for ever: a slot is the first two bytes of a key's hash. Enough to spread a hundred
members evenly, and few enough to remember the owners of each."""

MAX_KEY_BYTES = 1024
"""A key travels with its message and names a thing; what is longer is the thing itself."""

_LEAST_INT, _LARGEST_INT = -(1 << 63), (1 << 64) - 1
"""A key travels as it is given, and these are the numbers that can."""


def key_bytes(key: object) -> bytes:
    """The canonical form of a key: UTF-8 of a text, bytes as they are, a number in decimal.

    The empty text is a key like any other.

    :raises BadName: it is no str, bytes or int of 64 bits (a bool is none), above
        ``MAX_KEY_BYTES``, or holds a lone surrogate, which UTF-8 cannot carry
    """
    if isinstance(key, str):
        # Every character takes at least one byte: a huge text is refused before it is encoded.
        form = _encoded(key) if len(key) <= MAX_KEY_BYTES else None
    elif isinstance(key, bytes):
        form = bytes(key)
    elif isinstance(key, int) and not isinstance(key, bool):
        if not _LEAST_INT <= key <= _LARGEST_INT:
            raise BadName("bad key: an int beyond 64 bits; its decimal digits as a str will do")
        form = b"%d" % key
    else:
        raise BadName(f"bad key of type {type(key).__name__}; give a str, bytes or int")
    if form is None or len(form) > MAX_KEY_BYTES:
        raise BadName(f"bad key: it takes more than {MAX_KEY_BYTES} bytes")
    return form


def slot_of(key: bytes) -> int:
    """The slot of a key in its canonical form."""
    return int.from_bytes(blake2b(key, digest_size=8).digest()[:2], "big")


def _encoded(key: str) -> bytes:
    try:
        return key.encode()
    except UnicodeEncodeError:
        raise BadName(
            f"bad key {key!a:.80}: it holds a lone surrogate, which UTF-8 cannot carry"
        ) from None
