"""Texts that people and their environment hand in, and what the demonstration takes of others."""

from __future__ import annotations

import os
from collections.abc import Hashable
from typing import Any
from unittest.mock import patch

from demos.chat.conversation import Kind, Line
from demos.chat.wire import MAX_LEAP, Clock, pack, read_line, room_of
from mesh.security.keys import check_key, generate_key
from mesh.settings import Settings
from mesh.wire.codec import Codec
from mesh.wire.frames import BadFrame
from patterns.errors import BadName, ConfigError
from tests.fuzz.campaign.target import Target

__all__ = ["TARGETS"]

codec = Codec()
ID = "0123456789abcdef" * 2
LINE = Line(Kind.SAID, "hello", 7, 1.7e9, author=ID, nick="ann", number=3)
VARIABLES = ("NAME", "INSECURE", "HOST", "SEEDS", "INTERFACES", "PLAIN", "MAX_PAYLOAD_BYTES")


def chat_line(data: bytes) -> Any:
    clock = Clock()
    return read_line(codec.unpack_all(data, 1)[0], clock), clock.now


def check_line(data: bytes, result: Any) -> Hashable:
    line, now = result
    assert 0 < line.order == now <= MAX_LEAP + 1
    assert "\x1b" not in line.text + line.nick
    sent = codec.pack(pack(line, with_author=True))
    again = read_line(codec.unpack_all(sent, 1)[0], Clock())
    assert pack(again, with_author=True) == pack(line, with_author=True)
    return len(line.text).bit_length()


def environment(data: bytes) -> Any:
    """``MESH_*`` variables, one a line."""
    values = data.replace(b"\0", b"").decode().split("\n")
    given = {f"MESH_{name}": value for name, value in zip(VARIABLES, values, strict=False)}
    with patch.dict(os.environ, given):
        return Settings.make(
            None, mesh=None, key=None, insecure=None, host=None, port=0, seeds=(), discovery=(),
            interfaces=(), tags=None, instance=None, weight=1.0, observer=False, plain=None,
            max_payload_bytes=None,
        )  # fmt: skip


TARGETS = [
    Target(
        "mesh_key",
        lambda data: check_key(data.decode("utf-8", "surrogatepass")),
        (generate_key().encode(), b"mesh1-" + b"a" * 52, b"correct horse", "schlüssel".encode()),
        refuses=(ConfigError, UnicodeDecodeError),
        packed_at=None,
    ),
    Target(
        "environment",
        environment,
        (
            b"lab\n1\n0.0.0.0\n10.0.0.1:7000,host:7000\neth0\n5556,5557\n1048576",
            b"\n0\n\nfile:/etc/seeds _mesh._tcp.x.org\n10.0.0.0/8 127.0.0.1\n0\n",
        ),
        refuses=(ConfigError, BadName, UnicodeDecodeError),
        packed_at=None,
        is_own=True,
    ),
    Target(
        "chat_line",
        chat_line,
        (codec.pack(pack(LINE, with_author=True)),),
        refuses=(BadFrame, ValueError),
        law=check_line,
    ),
    Target(
        "chat_room",
        lambda data: room_of(data.decode()),
        (b"room-hall", b"room-"),
        refuses=(UnicodeDecodeError,),
        law=lambda data, room: room is None,
        packed_at=None,
    ),
]
