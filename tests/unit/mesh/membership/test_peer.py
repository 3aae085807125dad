"""``Peer`` is a value: its id decides equality, whatever else changed."""

from __future__ import annotations

import dataclasses

import pytest

from mesh.membership import Peer


def test_two_are_equal_when_their_ids_are() -> None:
    before = Peer(id="a" * 32, name="one", state="alive")
    after = Peer(id="a" * 32, name="one", state="failed", tags={"x": "y"}, weight=2.0)
    assert before == after
    assert hash(before) == hash(after)
    assert before != Peer(id="b" * 32, name="one")


def test_it_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Peer(id="a" * 32, name="one").name = "two"  # type: ignore[misc]


def test_it_is_shown_by_name_and_the_first_of_its_id() -> None:
    assert str(Peer(id="0123456789abcdef" * 2, name="calc")) == "calc/01234567"
