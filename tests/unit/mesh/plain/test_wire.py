"""What plain clients may say, and what they are answered."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.plain import wire
from mesh.wire.codec import Codec
from mesh.wire.frames import BadFrame
from patterns.errors import (
    BadName,
    BadPayload,
    BadRequest,
    CallTimeout,
    MeshError,
    NoProvider,
    PayloadTooLarge,
    RemoteError,
    Timeout,
)
from patterns.names import check_subject
from patterns.subjects import SubjectMap

EXAMPLES = settings(max_examples=300, deadline=None, database=None)

token = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=8).filter(
    lambda text: not set(text) & set(".*>") and text != "_mesh" and not text.isspace()
)
subject = st.lists(token, min_size=1, max_size=5).map(".".join)


def is_subject(text: str) -> bool:
    try:
        check_subject(text)
    except BadName:
        return False
    return True


# Prefixes


@EXAMPLES
@given(subject.filter(is_subject), st.data())
def test_the_pattern_covers_every_subject_with_the_prefix(text: str, data: st.DataObject) -> None:
    whole = text.encode() + b"\x00"
    prefix = whole[: data.draw(st.integers(0, len(whole)))]
    covered: SubjectMap[int] = SubjectMap()
    covered.add(wire.covering_pattern(prefix), 1)
    assert covered.match(text)


@pytest.mark.parametrize(
    ("prefix", "pattern"),
    [
        (b"", ">"),
        (b"sensors", ">"),
        (b"sensors.", "sensors.>"),
        (b"sensors.k", "sensors.>"),
        (b"sensors.kitchen.", "sensors.kitchen.>"),
        (b"sensors.kitchen.temp\x00", "sensors.kitchen.temp"),
        (b"sensors\x00\xa1a", "sensors"),
        ("café.".encode(), "café.>"),
        ("a.é".encode()[:-1], "a.>"),
        (b"_mes", ">"),
        (b"_mesh", ">"),
    ],
)
def test_the_pattern_is_the_least_that_covers_the_prefix(prefix: bytes, pattern: str) -> None:
    assert wire.covering_pattern(prefix) == pattern


@pytest.mark.parametrize(
    "prefix",
    [
        b"_mesh.",
        b"_mesh.g.workers",
        b"_mesh.all\x00",
        b"sensors.*",
        b"sensors.>",
        b"*",
        b"a.*.b",
        b".",
        b".a",
        b"a..b",
        b"a b",
        b"\x00",
        b"a.\xff.b",
        b"\xff\xfe\x00",
        b"a" * 300,
        b"a." * 40,
    ],
)
def test_a_prefix_that_no_subject_has_is_refused(prefix: bytes) -> None:
    with pytest.raises(BadName):
        wire.covering_pattern(prefix)


@EXAMPLES
@given(st.binary(max_size=300))
def test_whatever_the_prefix_nothing_but_a_pattern_or_bad_name_comes_of_it(prefix: bytes) -> None:
    try:
        pattern = wire.covering_pattern(prefix)
    except BadName:
        return
    reserved: SubjectMap[int] = SubjectMap()
    reserved.add(pattern, 1)
    assert not reserved.match("_mesh.g.workers")
    assert not reserved.match("_mesh.all")


# Requests


def request(*parts: bytes) -> wire.PlainRequest:
    return wire.unpack_request(parts, Codec())


def test_a_request_is_a_method_and_its_arguments() -> None:
    packed = msgpack.packb([[2, "x"], {"b": None}])
    assert request(b"calc.add", packed) == ("calc.add", [2, "x"], {"b": None})


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"calc.add"],
        [b"calc.add", b""],
        [b"calc.add", b"\xc1"],
        [b"calc.add", msgpack.packb([[], {}]), b""],
        [b"calc.add", msgpack.packb([[], {}]) + b"\x00"],
        [b"calc.add", msgpack.packb(7)],
        [b"calc.add", msgpack.packb([[]])],
        [b"calc.add", msgpack.packb([[], {}, {}])],
        [b"calc.add", msgpack.packb([7, {}])],
        [b"calc.add", msgpack.packb([[], []])],
        [b"calc.add", msgpack.packb([[], {1: 2}])],
        [b"calc.\xff", msgpack.packb([[], {}])],
        [b"c" * 200, msgpack.packb([[], {}])],
        [b"calc.add", msgpack.packb([[b"x" * wire.MAX_VALUE_BYTES], {}])],
    ],
)
def test_what_is_no_request_is_a_bad_frame(parts: list[bytes]) -> None:
    with pytest.raises(BadFrame):
        request(*parts)


@pytest.mark.parametrize("envelope", [[], [b"7"], [b"a", b"b"], [b"x" * 256] * 8])
def test_the_envelope_comes_back_with_its_empty_frame(envelope: list[bytes]) -> None:
    parts = [*envelope, b"", b"calc.add", b"", b"more"]
    assert wire.split_envelope(parts) == ([*envelope, b""], [b"calc.add", b"", b"more"])


@pytest.mark.parametrize(
    "parts", [[], [b"calc.add", b"\x92\x90\x80"], [b"x"] * 9 + [b""], [b"x" * 257, b""]]
)
def test_without_an_empty_frame_in_reach_there_is_no_envelope(parts: list[bytes]) -> None:
    with pytest.raises(BadFrame):
        wire.split_envelope(parts)


@EXAMPLES
@given(st.lists(st.binary(max_size=60), max_size=wire.MAX_PARTS + 1))
def test_garbage_is_refused_and_nothing_worse(parts: list[bytes]) -> None:
    codec = Codec()
    with contextlib.suppress(BadFrame):
        wire.unpack_request(wire.split_envelope(parts)[1], codec)
    assert wire.unpack_request([b"a.b", b"\x92\x90\x80"], codec) == ("a.b", [], {})


# Answers


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (NoProvider("nobody"), b"NoProvider", "nobody"),
        (CallTimeout("late"), b"CallTimeout", "late"),
        (BadRequest("no b"), b"BadRequest", "no b"),
        (RemoteError("ValueError", "no"), b"RemoteError", "ValueError: no"),
        (Timeout("some other"), b"MeshError", "some other"),
        (MeshError("x" * 9000), b"MeshError", "x" * wire.MAX_ERROR_CHARS),
        (BadRequest("lone \ud800"), b"BadRequest", "lone ?"),
    ],
)
def test_an_error_is_named_as_its_class(error: Exception, status: bytes, text: str) -> None:
    name, value = wire.pack_error(error, Codec())
    assert (name, msgpack.unpackb(value)) == (status, text)
    assert name in wire.STATUSES


def test_a_value_above_the_limit_is_an_error() -> None:
    assert wire.pack_value([1], Codec()) == [b"ok", b"\x91\x01"]
    with pytest.raises(PayloadTooLarge):
        wire.pack_value(b"x" * wire.MAX_VALUE_BYTES, Codec())


@pytest.mark.parametrize(("name", "data"), [("a\x00b", 1), ("a", object()), ("a", 1 << 70)])
def test_a_message_that_would_be_ambiguous_or_cannot_travel_is_refused(
    name: str, data: Any
) -> None:
    assert wire.pack_message("a.b", 1, Codec()) == b"a.b\x00\x01"
    with pytest.raises(BadPayload):
        wire.pack_message(name, data, Codec())
