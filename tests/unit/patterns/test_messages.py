"""What a handler sees of a message."""

from __future__ import annotations

import pytest

from patterns import messages as m
from patterns.names import group_subject


@pytest.mark.parametrize(
    ("kind", "name"), [(m.PUBLISH, "publish"), (m.SEND, "send"), (m.BROADCAST, "broadcast")]
)
def test_every_kind_has_every_attribute(kind: int, name: str) -> None:
    make = m.message_class(kind)
    assert make is not None
    message = make(group_subject("g"), 5, {"h": "1"}, "sender", 2)
    assert message.kind == name
    assert (message.data, message.headers, message.sender) == (5, {"h": "1"}, "sender")
    assert (message.missed, message.key, message.redelivered) == (2, None, False)


def test_a_broadcast_has_a_group_and_no_subject() -> None:
    message = m.BroadcastMessage(group_subject("crew"), None, {}, None)
    assert (message.group, message.subject) == ("crew", None)


def test_a_publish_has_a_subject_and_no_group() -> None:
    message = m.Message("a.b", None, {}, None)
    assert (message.group, message.subject) == (None, "a.b")


def test_an_unknown_kind_has_no_class() -> None:
    assert m.message_class(99) is None


def test_a_message_is_shown_in_one_short_line() -> None:
    text = repr(m.Message("a.b", "x" * 10_000, {}, "sender"))
    assert "a.b" in text
    assert len(text) < 200
