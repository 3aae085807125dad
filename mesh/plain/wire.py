"""What travels between the gateway and plain ZeroMQ clients: frames and prefixes, checked.

A request is ``[envelope..., b"", method, msgpack [args, kwargs]]``, its reply ``[envelope..., b"",
status, msgpack value]`` with the envelope as it came. A ``REQ`` adds and strips the empty frame by
itself. A ``DEALER`` sends it, and may put frames of its own before it to tell its replies apart.

A message is one frame: ``subject 00 msgpack``. No subject holds a zero byte, so a subscription to
``subject 00`` is for exactly that subject, and any other one for all that begin like it.

Whatever is wrong raises `BadFrame` or one of the errors of `patterns.errors`, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from mesh.wire.codec import Codec
from mesh.wire.frames import BadFrame
from patterns.errors import (
    AccessDenied,
    BadName,
    BadPayload,
    BadRequest,
    CallTimeout,
    MeshError,
    NodeClosed,
    NoProvider,
    Overloaded,
    PayloadTooLarge,
    PeerLost,
    RemoteError,
)
from patterns.names import MAX_NAME_CHARS, MAX_SUBJECT_BYTES, check_pattern, check_subject

__all__ = [
    "MAX_ENVELOPE_PARTS",
    "MAX_PARTS",
    "MAX_PREFIX_BYTES",
    "MAX_VALUE_BYTES",
    "OK",
    "STATUSES",
    "PlainRequest",
    "covering_pattern",
    "pack_error",
    "pack_message",
    "pack_value",
    "split_envelope",
    "unpack_request",
]

MAX_ENVELOPE_PARTS = 8
"""Frames before the empty one: each proxy on the way adds one."""

MAX_ENVELOPE_BYTES = 256
"""One of them. A routing id of ZeroMQ has up to 255 bytes."""

MAX_PARTS = MAX_ENVELOPE_PARTS + 3

MAX_VALUE_BYTES = 1024 * 1024
"""Arguments, or a result. The mesh carries 16 MiB; here a client that stops reading can make us
keep as many as its pipe holds."""

MAX_PREFIX_BYTES = MAX_SUBJECT_BYTES + 1

MAX_ERROR_CHARS = 2000
"""Of an error's text: it is for people."""

_MAX_METHOD_BYTES = 2 * MAX_NAME_CHARS + 1

OK = b"ok"

_ERRORS: tuple[type[MeshError], ...] = (
    NoProvider,
    CallTimeout,
    PeerLost,
    RemoteError,
    BadRequest,
    BadName,
    BadPayload,
    PayloadTooLarge,
    Overloaded,
    NodeClosed,
    AccessDenied,
    MeshError,
)

STATUSES = (OK, *(error.__name__.encode() for error in _ERRORS))
"""All there are: one for a value, and the names of the errors that a call can end with."""

# A wildcard, white space or a control character is in no subject. What is above 7 bits may be a
# part of a character that the prefix cuts.
_NEVER_IN_SUBJECTS = re.compile(rb"[*>\x00-\x20\x7f]")


class PlainRequest(NamedTuple):
    """A call, as a plain client asks for it."""

    method: str
    args: list[Any]
    kwargs: dict[str, Any]


def split_envelope(parts: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """What must come back with the reply, the empty frame included, and the request itself.

    :raises BadFrame: no empty frame where one may be, or a frame before it is too large
    """
    for at, part in enumerate(parts[: MAX_ENVELOPE_PARTS + 1]):
        if not part:
            return list(parts[: at + 1]), list(parts[at + 1 :])
        if len(part) > MAX_ENVELOPE_BYTES:
            break
    raise BadFrame("no empty frame before the method: use a REQ, or send one")


def unpack_request(body: Sequence[bytes], codec: Codec) -> PlainRequest:
    """The call that the frames behind the envelope ask for.

    :raises BadFrame: not two frames, no method, or no msgpack ``[args, kwargs]``
    """
    if len(body) != 2:
        raise BadFrame(f"a request has 2 frames, method and arguments, this one {len(body)}")
    method, packed = body
    if len(method) > _MAX_METHOD_BYTES or not method.isascii():
        raise BadFrame("the first frame is no 'service.method'")
    if len(packed) > MAX_VALUE_BYTES:
        raise BadFrame(f"arguments of {len(packed)} bytes; at most {MAX_VALUE_BYTES} are taken")
    (arguments,) = codec.unpack_all(packed, 1)
    if not isinstance(arguments, list) or len(arguments) != 2:
        raise BadFrame("the second frame is no msgpack array [args, kwargs]")
    args, kwargs = arguments
    if not isinstance(args, list):
        raise BadFrame("args is no array")
    if not isinstance(kwargs, dict) or not all(isinstance(name, str) for name in kwargs):
        raise BadFrame("kwargs is no map with texts as keys")
    return PlainRequest(method.decode(), args, kwargs)


def pack_value(value: Any, codec: Codec) -> list[bytes]:
    """Status and value of a call that went well.

    :raises BadPayload: it cannot travel on
    :raises PayloadTooLarge: it is above `MAX_VALUE_BYTES`
    """
    packed = codec.pack(value)
    if len(packed) > MAX_VALUE_BYTES:
        raise PayloadTooLarge(
            f"the result has {len(packed)} bytes; a plain client gets at most {MAX_VALUE_BYTES}"
        )
    return [OK, packed]


def pack_error(error: BaseException, codec: Codec) -> list[bytes]:
    """Status and text of a call that failed."""
    kind = next((kind for kind in _ERRORS if isinstance(error, kind)), MeshError)
    text = str(error)[:MAX_ERROR_CHARS].encode("utf-8", "replace").decode()
    return [kind.__name__.encode(), codec.pack(text)]


def pack_message(subject: str, data: Any, codec: Codec) -> bytes:
    """One message for subscribers.

    :raises BadPayload: the data cannot travel on, or the subject is none
    """
    if "\x00" in subject:
        raise BadPayload("a subject has no zero byte")
    return b"%b\x00%b" % (subject.encode(), codec.pack(data))


def covering_pattern(prefix: bytes) -> str:
    """The least pattern of the mesh that matches every subject with this prefix.

    :raises BadName: no subject can have it, or it is reserved
    """
    if len(prefix) > MAX_PREFIX_BYTES:
        raise BadName(f"a prefix of {len(prefix)} bytes; no subject has it")
    subject, end, _ = prefix.partition(b"\x00")
    if end:
        return check_subject(_text(subject))
    tokens, dot, beginning = subject.rpartition(b".")
    if _NEVER_IN_SUBJECTS.search(beginning):
        raise BadName("a plain subscription is a literal prefix, without wildcards or blanks")
    if not dot:
        return ">"
    return check_pattern(f"{check_subject(_text(tokens))}.>")


def _text(subject: bytes) -> str:
    try:
        return subject.decode()
    except UnicodeDecodeError as error:
        raise BadName(f"no UTF-8: {error}") from None
