"""Every decoder of bytes from outside, fed with garbage and with damaged frames.

The law: a decoder returns or raises `BadFrame`, nothing else comes out, and it allocates no more
than a multiple of what it was given. A new decoder is one more line in `DECODERS`.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.plain.wire import unpack_request
from mesh.wire import frames
from mesh.wire.codec import Codec
from mesh.wire.frames import BadFrame

SHORT_EXAMPLES = 200
LONG_EXAMPLES = 50_000

FIXED_BYTES = 4 * 1024 * 1024
"""Memory any input may cost: a codec's buffer, and what Python and Hypothesis keep meanwhile."""

BYTES_PER_BYTE = 200
"""Memory one byte of input may cost. An empty map takes one byte to send and 64 to hold, and the
list around it, its copy in the buffer and a set's table come on top."""

LYING_BYTES = 12 * 1024 * 1024
"""What containers within the trusted length can add by nesting, as documented in the codec."""

A, B = bytes(range(16)), bytes(range(16, 32))
INFO = {"v": 1, "mesh": "lab", "link": ["10.0.0.1:7000", "[fe80::1]:7000"], "rpc": 7001}


@dataclass(frozen=True)
class Decoder:
    """A decoder under test: `valid` are inputs that it takes, from which damaged ones are made."""

    name: str
    decode: Callable[[bytes], object]
    valid: tuple[bytes, ...]


def sample_batches() -> tuple[bytes, ...]:
    codec = Codec()
    rich = [
        None,
        {"a": [1, -1, 2**63, 1.5, True], (1, "k"): {"x", 3}, b"b": "text é"},
        [datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC), UUID(int=5), Decimal("1.50")],
        {frozenset({1, (2, 3)}), Decimal(1)},
        [msgpack.Timestamp(1, 2), msgpack.ExtType(99, b"x"), list(range(1500))],
    ]
    entries = [codec.pack(["sensors.kitchen.temp", value]) for value in rich]
    return b"", entries[0], b"".join(entries), b"".join(entries[:4] * 10)


def unpack_counted(data: bytes) -> object:
    """The count comes from the frame too: its first byte here."""
    return Codec().unpack_all(memoryview(data)[1:], data[0]) if data else None


DECODERS = [
    Decoder("unpack_all", lambda data: Codec().unpack_all(data), sample_batches()),
    Decoder("unpack_all_one", lambda data: Codec().unpack_all(data, 1), sample_batches()[1:2]),
    Decoder(
        "unpack_with",
        lambda data: Codec().unpack_with(data, b"payload"),
        (Codec().pack(["news", None]), Codec().pack(["news", None, {"a": "b"}])),
    ),
    Decoder(
        "unpack_all_counted",
        unpack_counted,
        (b"\x00", b"\x05" + sample_batches()[2], b"\x28" + sample_batches()[3]),
    ),
    Decoder(
        "unpack_link",
        frames.unpack_link,
        (frames.pack_link(A, 7, frames.PUBLISH, B, 2**40, 3), frames.pack_link(B, 0, 0, A, 0, 0)),
    ),
    Decoder(
        "unpack_work",
        lambda data: frames.unpack_link(data, frames.MAX_DATA_FRAME_BYTES),
        (
            frames.pack_link(A, 7, frames.CAST, B, 2**40, 3),
            frames.pack_link(A, 7, frames.CAST, B, 0, 1).ljust(frames.MAX_LINK_FRAME_BYTES + 9),
        ),
    ),
    Decoder(
        "unpack_plain_request",
        lambda data: unpack_request([b"calc.add", data], Codec()),
        (
            msgpack.packb([[2, 3], {}]),
            Codec().pack([[{1, 2}, UUID(int=5), list(range(1500))], {"at": datetime.now(UTC)}]),
        ),
    ),
    Decoder("unpack_data", frames.unpack_data, (frames.pack_data(frames.REQUEST, A, B, 7, 1),)),
    Decoder(
        "unpack_chunk",
        lambda data: frames.unpack_chunk(memoryview(data)),
        (frames.pack_chunk(frames.PUBLISH, 7, 300_000, 65_536) + b"piece",),
    ),
    Decoder("unpack_hello", frames.unpack_hello, (frames.pack_hello(A, 7),)),
    Decoder(
        "unpack_info",
        frames.unpack_info,
        (
            frames.pack_info(A, INFO),
            b"\x01" + B + msgpack.packb({**INFO, "v": 2, "new": [1, {"x": None}]}),
        ),
    ),
]

by_decoder = pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)


@st.composite
def damaged(draw: st.DrawFn, valid: tuple[bytes, ...]) -> bytes:
    """A valid input with a few bytes flipped, cut out, put in, repeated or cut off."""
    data = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        to = min(len(data), at + draw(st.integers(0, 8)))
        damage = draw(st.sampled_from(["flip", "cut", "put", "repeat", "truncate", "lie"]))
        if damage == "flip" and at < len(data):
            data[at] ^= draw(st.integers(1, 255))
        elif damage == "cut":
            del data[at:to]
        elif damage == "put":
            data[at:at] = draw(st.binary(max_size=8))
        elif damage == "repeat":
            data[at:at] = data[at:to] * draw(st.integers(1, 300))
        elif damage == "truncate":
            del data[at:]
        elif damage == "lie":
            data[at:to] = draw(st.sampled_from(LIES)) * draw(st.integers(1, 300))
    return bytes(data)


# Headers of arrays, maps, texts, bytes and extension types that claim what is not there.
LIES = [
    b"\xdd\xff\xff\xff\xff",
    b"\xdc\xff\xff",
    b"\xdc\x04\x00",
    b"\xdf\xff\xff\xff\xff",
    b"\xde\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x04",
    b"\xc7\x05\x04\xdd\xff\xff\xff\xff",
    b"\x91",
    b"\x81",
    b"\x90",
    b"\xd4\x04\x90",
]


@contextmanager
def bounded_memory(size_bytes: int) -> Iterator[None]:
    """Fail if the body allocates more than input of `size_bytes` may cost."""
    tracemalloc.start()
    try:
        yield
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes <= FIXED_BYTES + LYING_BYTES + BYTES_PER_BYTE * size_bytes


def refusal_of(decoder: Decoder, data: bytes) -> str:
    try:
        decoder.decode(data)
    except BadFrame as refusal:
        return str(refusal)
    return ""


def check(decoder: Decoder, data: bytes) -> None:
    with bounded_memory(len(data)):
        refusal = refusal_of(decoder, data)
    assert len(refusal) < 1000, "an error must not carry the frame into the log"


def fuzz(decoder: Decoder, inputs: st.SearchStrategy[bytes], examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def run(data: bytes) -> None:
        check(decoder, data)

    run()


@by_decoder
def test_a_valid_input_is_taken(decoder: Decoder) -> None:
    for data in decoder.valid:
        decoder.decode(data)


@by_decoder
def test_garbage_is_refused_and_nothing_worse(decoder: Decoder) -> None:
    fuzz(decoder, st.binary(max_size=400), SHORT_EXAMPLES)


@by_decoder
def test_a_damaged_frame_is_refused_and_nothing_worse(decoder: Decoder) -> None:
    fuzz(decoder, damaged(decoder.valid), SHORT_EXAMPLES)


@by_decoder
def test_every_truncation_is_refused_and_nothing_worse(decoder: Decoder) -> None:
    for valid in decoder.valid:
        for size in range(min(len(valid), 600)):
            check(decoder, valid[:size])


@by_decoder
def test_every_byte_flip_of_a_frame_is_refused_and_nothing_worse(decoder: Decoder) -> None:
    for valid in decoder.valid:
        for at in range(min(len(valid), 300)):
            for flip in (0x01, 0x80, 0xFF):
                flipped = bytearray(valid)
                flipped[at] ^= flip
                check(decoder, bytes(flipped))


@by_decoder
@pytest.mark.parametrize("fill", [b"\x00", b"\x90", b"\x91", b"\xc1", b"\xff"])
def test_an_oversized_frame_is_refused_and_nothing_worse(decoder: Decoder, fill: bytes) -> None:
    for valid in decoder.valid:
        check(decoder, valid + fill * (frames.MAX_LINK_FRAME_BYTES + 1))


@by_decoder
@pytest.mark.parametrize("lie", LIES)
def test_nested_lies_are_refused_and_nothing_worse(decoder: Decoder, lie: bytes) -> None:
    for valid in (b"", *decoder.valid):
        check(decoder, valid + lie * 1100 + b"\x01" * 70_000)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@by_decoder
def test_a_long_run_of_garbage_and_damaged_frames(decoder: Decoder) -> None:
    fuzz(decoder, st.binary(max_size=4000) | damaged(decoder.valid), LONG_EXAMPLES)


def test_the_fuzzer_finds_a_decoder_that_lets_another_error_out() -> None:
    careless = Decoder("careless", lambda data: data[3], (b"abcd",))
    with pytest.raises(IndexError):
        fuzz(careless, damaged(careless.valid), SHORT_EXAMPLES)


def test_the_fuzzer_finds_a_decoder_that_allocates_what_a_header_claims() -> None:
    careless = Decoder("careless", lambda data: bytes(len(data) * 1000 + 2**25), (b"x",))
    with pytest.raises(AssertionError):
        check(careless, b"x" * 100)
