"""What plain ZeroMQ clients send."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from mesh.plain import wire
from mesh.wire.codec import Codec
from mesh.wire.frames import BadFrame
from patterns.errors import BadName
from patterns.names import check_pattern
from patterns.subjects import SubjectMap
from tests.fuzz.campaign.target import Target

__all__ = ["TARGETS"]

codec = Codec()
CUT = b"||"
"""Between the frames of a request, in an input."""


def request(data: bytes) -> Any:
    envelope, body = wire.split_envelope(data.split(CUT))
    return envelope, wire.unpack_request(body, codec)


def check_request(data: bytes, result: Any) -> Hashable:
    envelope, asked = result
    assert 1 <= len(envelope) <= wire.MAX_ENVELOPE_PARTS + 1
    assert envelope[-1] == b""
    assert asked.method.isascii()
    return len(envelope), len(asked.args), len(asked.kwargs)


def check_prefix(data: bytes, pattern: Any) -> Hashable:
    """The pattern covers the subjects that begin so."""
    check_pattern(pattern)
    interest: SubjectMap[str] = SubjectMap()
    interest.add(pattern, "x")
    text = data.partition(b"\0")[0].decode("utf-8", "replace")
    if b"\0" in data:
        assert list(interest.match(text)) == ["x"]
    elif len(text.encode()) < 200 and text.count(".") < 30 and "\ufffd" not in text:
        assert list(interest.match(text + "x")) == ["x"]
    return pattern == ">", pattern.endswith(">")


TARGETS = [
    Target(
        "plain_request",
        request,
        (
            CUT + b"calc.add" + CUT + codec.pack([[2, 3], {}]),
            b"id" + CUT * 2 + b"calc.add" + CUT + codec.pack([[{1, 2}], {"at": 1.5}]),
        ),
        law=check_request,
        packed_at=12,
    ),
    Target(
        "plain_prefix",
        wire.covering_pattern,
        (b"", b"a", b"a.b", b"a.b\x00", b"sensors.kit", "é.x".encode()[:-1]),
        refuses=(BadFrame, BadName),
        law=check_prefix,
        packed_at=None,
    ),
]
