"""Entries of messages: packed where the verb is called, so that what is wrong is its caller's.

Another thread than the engine's hands in a codec of its own.
"""

from __future__ import annotations

from typing import Any

from mesh.wire.codec import Codec
from patterns.errors import BadPayload, PayloadTooLarge

__all__ = ["PAYLOAD_PART_BYTES", "check_headers", "check_size", "pack_copy", "pack_message"]

PAYLOAD_PART_BYTES = 16 * 1024
"""Bytes from here on leave as a part of their own; below, one part more costs more than the
copies."""


def pack_message(
    codec: Codec, limit: int, subject: str, data: Any, headers: dict[str, str] | None
) -> bytes:
    """The entry of a publish, a broadcast or a send. Raises BadPayload, PayloadTooLarge."""
    fields = (subject, data) if headers is None else (subject, data, check_headers(headers))
    return check_size(codec.pack(fields), limit)


def pack_copy(
    codec: Codec, limit: int, pool: str, subject: str, data: Any, headers: dict[str, str] | None
) -> bytes:
    """The entry of a queue group's copy of a publish. Raises BadPayload, PayloadTooLarge."""
    return check_size(codec.pack((pool, data, headers or {}, 0, None, subject)), limit)


def check_headers(headers: object) -> dict[str, str]:
    """Headers as they may travel. Raises BadPayload."""
    if not isinstance(headers, dict) or not all(
        isinstance(key, str) and isinstance(value, str) for key, value in headers.items()
    ):
        raise BadPayload("headers must be a dict of str to str")
    return headers


def check_size(entry: bytes, limit: int) -> bytes:
    """The entry, if it is not above the node's limit. Raises PayloadTooLarge."""
    if len(entry) > limit:
        raise PayloadTooLarge(
            f"{len(entry)} bytes packed; this node sends at most {limit} (max_payload_bytes=)"
        )
    return entry
