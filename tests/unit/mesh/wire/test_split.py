"""Where each value of a body begins."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.wire.codec import Codec
from mesh.wire.frames import MAX_ENTRIES, BadFrame
from mesh.wire.split import split

leaves: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=40),
    st.binary(max_size=40),
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@given(st.lists(values, max_size=20))
def test_each_part_is_one_value_and_together_they_are_the_whole(some: list[Any]) -> None:
    codec = Codec()
    body = b"".join(map(codec.pack, some))
    parts = split(body, len(some))
    assert b"".join(parts) == body
    assert [codec.unpack_all(part, 1)[0] for part in parts] == some


@given(st.lists(values, min_size=1, max_size=8), st.data())
def test_a_part_of_the_bytes_or_another_number_is_refused(
    some: list[Any], data: st.DataObject
) -> None:
    body = b"".join(map(Codec().pack, some))
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(BadFrame):
        split(body[:cut], len(some))
    other = data.draw(st.integers(0, 20).filter(lambda count: count != len(some)))
    with pytest.raises(BadFrame):
        split(body, other)


@given(st.binary(max_size=200), st.integers(0, 20))
def test_any_bytes_are_split_or_refused(body: bytes, count: int) -> None:
    try:
        parts = split(body, count)
    except BadFrame:
        return
    assert len(parts) == count
    assert b"".join(parts) == body


def test_one_that_cannot_be_decoded_does_not_touch_its_neighbours() -> None:
    bad = msgpack.packb(msgpack.ExtType(1, b"no date"))
    body = Codec().pack(1) + bad + Codec().pack("after")
    with pytest.raises(BadFrame):
        Codec().unpack_all(body, 3)
    first, second, third = split(body, 3)
    assert (bytes(second), Codec().unpack_all(first, 1), Codec().unpack_all(third, 1)) == (
        bad,
        [1],
        ["after"],
    )


@pytest.mark.parametrize("header", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"])
def test_a_header_that_claims_billions_is_refused(header: bytes) -> None:
    with pytest.raises(BadFrame):
        split(header + b"\x01", 1)


def test_nesting_beyond_all_reason_is_refused() -> None:
    with pytest.raises(BadFrame):
        split(b"\x91" * 100_000 + b"\x01", 1)


def test_more_values_than_a_frame_may_have_are_refused() -> None:
    assert len(split(b"\x01" * MAX_ENTRIES, MAX_ENTRIES)) == MAX_ENTRIES
    with pytest.raises(BadFrame):
        split(b"\x01" * (MAX_ENTRIES + 1), MAX_ENTRIES + 1)


def test_nothing_is_split_into_nothing() -> None:
    assert split(b"", 0) == []
