"""Values that are nested as deep as may travel: nothing that looks at them recurses into them."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.membership import Record
from mesh.wire.codec import Codec
from mesh.wire.frames import BadFrame
from patterns.backlog import OVERHEAD_BYTES, size_of
from patterns.errors import RemoteError
from patterns.messages import Message
from patterns.rpc import CallOptions
from tests.unit.patterns.rpc.port import Port

LEVELS = 1000


def deep() -> Any:
    return Codec().unpack_all(b"\x91" * LEVELS + b"\xc0", 1)[0]


def test_a_message_is_weighed() -> None:
    message = Message("a", {"k": deep()}, {"h": "value"}, None)
    least = (LEVELS + 5) * OVERHEAD_BYTES
    assert least < size_of(message) < least + 200


def test_a_message_is_shown() -> None:
    text = repr(Message("a", deep(), {}, None))
    assert len(text) < 200


def test_a_message_is_shown_without_a_text_of_all_of_it() -> None:
    assert len(repr(Message("a", ["x" * 10_000_000] * 100, {}, None))) < 200


@pytest.mark.parametrize("field", ["version", "instance", "weight", "rpc"])
def test_a_record_with_such_a_field_is_refused(field: str) -> None:
    fields: dict[str, Any] = {"name": "n", "version": 1, "services": {}, "interest": [],
                              "tags": {}, "addresses": [], "rpc": 1, "work": 1}  # fmt: skip
    with pytest.raises(BadFrame):
        Record.from_wire(bytes(16), {**fields, field: deep()})


def test_a_reply_with_such_a_status_ends_its_call_and_no_other() -> None:
    port = Port()
    node = port.provide("node")
    waiters = [port.waiter() for _ in range(2)]
    ids = [port.client.call("calc.add", (), {}, CallOptions(), waiter) for waiter in waiters]
    assert not port.client.on_replies(node, [[ids[0], deep(), "text"], [ids[1], 0, "value"]])
    assert isinstance(waiters[0].error, RemoteError)
    assert waiters[1].value == "value"
