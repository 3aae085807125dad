"""Keys: one canonical form for texts, bytes and numbers, and an error for all else."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patterns.errors import BadName
from patterns.keys import MAX_KEY_BYTES, key_bytes


class Color(StrEnum):
    RED = "red"


class Text(str):
    """A text that shows itself as another."""

    __slots__ = ()

    def __str__(self) -> str:
        return "other"


class Level(IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("key", "form"),
    [
        ("user:7", b"user:7"),
        ("", b""),
        ("zoë", b"zo\xc3\xab"),
        ("\x00", b"\x00"),
        ("😀", b"\xf0\x9f\x98\x80"),
        (b"\x00\xffA", b"\x00\xffA"),
        (b"", b""),
        (0, b"0"),
        (-1, b"-1"),
        (2**64 - 1, b"18446744073709551615"),
        (-(2**63), b"-9223372036854775808"),
        (Color.RED, b"red"),
        (Text("red"), b"red"),
        (Level.HIGH, b"3"),
    ],
)
def test_a_key_has_one_form(key: Any, form: bytes) -> None:
    assert key_bytes(key) == form
    assert type(key_bytes(key)) is bytes


@given(st.integers(-(2**63), 2**64 - 1))
def test_a_number_its_text_and_its_bytes_are_one_key(number: int) -> None:
    assert key_bytes(number) == key_bytes(str(number)) == key_bytes(str(number).encode())


@given(st.text(max_size=300), st.text(max_size=300))
def test_texts_that_differ_are_different_keys(one: str, other: str) -> None:
    try:
        assert (key_bytes(one) == key_bytes(other)) == (one == other)
    except BadName:
        assert any("\ud800" <= char <= "\udfff" for char in one + other)


def test_equal_looking_texts_are_not_normalised() -> None:
    assert key_bytes("é") != key_bytes("e\u0301")


@pytest.mark.parametrize(
    "key",
    [
        "x" * MAX_KEY_BYTES,
        "ä" * (MAX_KEY_BYTES // 2),
        b"x" * MAX_KEY_BYTES,
    ],
)
def test_a_key_of_the_greatest_size_is_taken(key: Any) -> None:
    assert len(key_bytes(key)) == MAX_KEY_BYTES


@pytest.mark.parametrize(
    "key",
    [
        "x" * (MAX_KEY_BYTES + 1),
        "ä" * (MAX_KEY_BYTES // 2) + "x",
        b"x" * (MAX_KEY_BYTES + 1),
    ],
)
def test_a_longer_key_is_refused(key: Any) -> None:
    with pytest.raises(BadName, match=str(MAX_KEY_BYTES)):
        key_bytes(key)


@pytest.mark.parametrize(
    "key", [2**64, -(2**63) - 1, pytest.param(10**5000, id="huge"), -(10**100)]
)
def test_a_number_that_cannot_travel_is_refused(key: int) -> None:
    with pytest.raises(BadName, match="64 bits"):
        key_bytes(key)


@pytest.mark.parametrize(
    "key", [None, True, False, 1.0, bytearray(b"x"), memoryview(b"x"), ["x"], ("x",), object()]
)
def test_what_is_neither_text_bytes_nor_a_number_is_refused(key: Any) -> None:
    with pytest.raises(BadName, match=type(key).__name__):
        key_bytes(key)


@pytest.mark.parametrize("key", ["\ud800", "a\udfffb"])
def test_a_lone_surrogate_is_refused_and_shown_harmlessly(key: str) -> None:
    with pytest.raises(BadName, match="surrogate") as caught:
        key_bytes(key)
    assert str(caught.value).isascii()
