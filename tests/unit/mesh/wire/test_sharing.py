"""Offers, answers and places: what is packed comes back, and what is malformed is None."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.wire import frames, sharing
from mesh.wire.sharing import Offer, Place

UINT32 = st.integers(0, 2**32 - 1)
TOKENS = st.binary(min_size=16, max_size=16)
A, B = bytes(range(16)), bytes(range(16, 32))


@given(TOKENS, TOKENS, UINT32, UINT32, UINT32)
def test_an_offer_comes_back(host: bytes, token: bytes, pid: int, fd: int, size: int) -> None:
    offer = Offer(host, token, pid, fd, size)
    packed = sharing.pack_offer(offer)
    assert sharing.unpack_offer(packed) == offer
    assert sharing.unpack_offer(packed + b"x") is None
    assert sharing.unpack_offer(packed[:-1]) is None


@given(TOKENS, st.booleans())
def test_an_answer_comes_back_and_is_no_other_link_string(token: bytes, is_seen: bool) -> None:
    packed = sharing.pack_answer(token, is_seen)
    assert sharing.unpack_answer(packed) == (token, is_seen)
    assert frames.unpack_hello(packed) is None
    assert packed[:1] != b"\x01"
    assert sharing.unpack_answer(packed[:-1] + b"\x02") is None
    assert sharing.unpack_answer(frames.pack_hello(token, 7)) is None


@given(st.integers(0, 2**64 - 1), UINT32, UINT32)
def test_a_place_comes_back_from_the_end_of_its_frame(
    position: int, offset: int, size: int
) -> None:
    place = Place(position, offset, size)
    packed = sharing.pack_place(place)
    assert len(packed) == sharing.PLACE_SIZE
    kind = frames.PUBLISH | frames.IN_PARTS
    frame = frames.pack_link(A, 1, kind, B, 3, 1) + b"entry"
    placed = frames.with_place(frame, packed)
    assert frames.is_in_parts(frame)
    assert not frames.is_in_place(frame)
    assert frames.is_in_parts(placed)
    assert frames.is_in_place(placed)
    assert sharing.unpack_place(placed[-sharing.PLACE_SIZE :]) == place
    header = frames.unpack_link(placed[: -sharing.PLACE_SIZE])
    assert frames.kind_of_message(header.kind) == frames.PUBLISH
    assert header[:3] + header[4:] == frames.unpack_link(frame)[:3] + frames.unpack_link(frame)[4:]


@given(st.binary(max_size=60))
def test_garbage_is_none_or_what_it_says(data: bytes) -> None:
    assert sharing.unpack_offer(data) is None or len(data) == 44
    assert sharing.unpack_place(data) is None or len(data) == 16
    answer = sharing.unpack_answer(data)
    assert answer is None or sharing.pack_answer(*answer) == data
