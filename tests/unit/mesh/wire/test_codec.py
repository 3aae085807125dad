"""Packing and unpacking: what comes back, what is refused, and that a refusal leaves no trace."""

import dataclasses
import enum
import math
import struct
import tracemalloc
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, InvalidOperation, localcontext
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mesh.wire import codec as codec_module
from mesh.wire.codec import FIRST_USER_CODE, LAST_USER_CODE, MAX_EXT_DEPTH, Codec, register
from mesh.wire.frames import MAX_ENTRIES, BadFrame
from patterns.errors import BadPayload

fixed_offsets = st.timedeltas(
    timedelta(hours=-24, microseconds=1), timedelta(hours=24, microseconds=-1)
).map(timezone)
datetimes = st.datetimes(timezones=st.none() | fixed_offsets)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
    | st.binary()
    | datetimes
    | st.uuids()
    | st.decimals(allow_nan=False)
)
keys = st.recursive(
    scalars,
    lambda inner: st.frozensets(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4) | st.sets(keys)
    ),
    max_leaves=12,
)


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: Any


class Celsius:
    def __init__(self, degrees: object) -> None:
        self.degrees = degrees

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Celsius) and self.degrees == other.degrees

    def __hash__(self) -> int:
        return hash(self.degrees)


@pytest.fixture
def codec() -> Codec:
    return Codec()


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registrations of one test only."""
    monkeypatch.setattr(codec_module, "_encoders", {})
    monkeypatch.setattr(codec_module, "_decoders", {})


def arrives(codec: Codec, value: object) -> Any:
    return codec.unpack_all(codec.pack(value), 1)[0]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


# What comes back, whole


@given(st.binary(min_size=1), st.none() | st.dictionaries(st.text(), st.text()))
def test_a_payload_of_its_own_takes_its_place_in_the_message(
    payload: bytes, headers: dict[str, str] | None
) -> None:
    codec = Codec()
    rest = () if headers is None else (headers,)
    packed = codec.pack(("news", None, *rest))
    assert codec.unpack_with(packed, payload) == [["news", payload, *rest]]


@pytest.mark.parametrize(
    ("value", "payload"),
    [(["news", None], b""), (["news", 1], b"x"), (["news"], b"x"), ({"news": None}, b"x")],
)
def test_a_payload_that_belongs_to_no_message_is_a_bad_frame(
    codec: Codec, value: object, payload: bytes
) -> None:
    with pytest.raises(BadFrame, match="second part"):
        codec.unpack_with(codec.pack(value), payload)


# What comes back


@given(values)
def test_a_value_comes_back(value: object) -> None:
    codec = Codec()
    assert arrives(codec, value) == value


@given(st.lists(values, max_size=6), st.booleans(), st.booleans())
def test_a_batch_comes_back_in_order(batch, is_counted, as_view) -> None:
    codec = Codec()
    data = b"".join(map(codec.pack, batch))
    count = len(batch) if is_counted else None
    assert codec.unpack_all(memoryview(data) if as_view else data, count) == batch


@given(datetimes)
@example(datetime(2000, 1, 1, tzinfo=timezone(timedelta(microseconds=1))))
@example(datetime(2000, 1, 1, microsecond=7, tzinfo=timezone(timedelta(microseconds=-999_999))))
@example(datetime(2000, 1, 1, tzinfo=timezone(timedelta(seconds=-1, microseconds=-1))))
def test_a_datetime_keeps_its_offset_and_microseconds(moment: datetime) -> None:
    back = arrives(Codec(), moment)
    assert back == moment
    assert back.isoformat() == moment.isoformat()
    assert back.utcoffset() == moment.utcoffset()


def test_a_named_zone_arrives_as_the_offset_it_had() -> None:
    rome = ZoneInfo("Europe/Rome")
    for fold, hours in ((0, 2), (1, 1)):
        moment = datetime(2024, 10, 27, 2, 30, tzinfo=rome, fold=fold)
        back = arrives(Codec(), moment)
        assert back.tzinfo == timezone(timedelta(hours=hours))
        assert back.timestamp() == moment.timestamp()


@pytest.mark.parametrize(
    "text", ["0", "-0", "1.10", "1E+3", "1E-400", "NaN", "-Infinity", "9" * 100, "sNaN123"]
)
def test_a_decimal_keeps_every_digit(codec: Codec, text: str) -> None:
    back = arrives(codec, Decimal(text))
    assert type(back) is Decimal
    assert str(back) == text


def test_nan_comes_back(codec: Codec) -> None:
    assert math.isnan(arrives(codec, math.nan))


@pytest.mark.parametrize(
    ("value", "arriving"),
    [
        ((1, (2,)), [1, [2]]),
        (namedtuple("Pair", "a b")(1, 2), [1, 2]),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd")[1:3], b"bc"),
        (OrderedDict(a=1), {"a": 1}),
        (enum.IntEnum("Color", "RED").RED, 1),
        (enum.StrEnum("Side", "LEFT").LEFT, "left"),
        (
            Point(1, [Point(2), {"p": Point(3)}]),
            {"x": 1, "y": [{"x": 2, "y": None}, {"p": {"x": 3, "y": None}}]},
        ),
        ({(1, (2, 3)): 4}, {(1, (2, 3)): 4}),
        ({frozenset({1}): 2}, {frozenset({1}): 2}),
        ({(1, 2), frozenset({3})}, {(1, 2), frozenset({3})}),
        ([Frozen(1), {"k": Frozen((2,))}], [{"x": 1}, {"k": {"x": [2]}}]),
    ],
)
def test_what_msgpack_has_no_type_for_arrives_as_documented(codec, value, arriving) -> None:
    back = arrives(codec, value)
    assert back == arriving
    assert type(back) is type(arriving)


def test_a_set_arrives_as_a_set_and_a_frozenset_as_a_frozenset(codec: Codec) -> None:
    assert type(arrives(codec, {1})) is set
    assert type(arrives(codec, frozenset({1}))) is frozenset


def test_subclasses_of_the_known_types_arrive_as_the_known_types(codec: Codec) -> None:
    class MyDatetime(datetime):
        def isoformat(self, *_: object) -> str:
            return "tomorrow"

    class MySet(set[int]):
        pass

    assert type(arrives(codec, MyDatetime(2024, 1, 2))) is datetime
    assert type(arrives(codec, MySet({1}))) is set


def test_a_timestamp_of_another_language_arrives(codec: Codec) -> None:
    stamp = msgpack.Timestamp(1_700_000_000, 5)
    assert codec.unpack_all(msgpack.packb(stamp)) == [stamp]


def test_an_extension_type_nobody_registered_arrives_as_it_is(codec: Codec) -> None:
    for code in (31, LAST_USER_CODE):
        unknown = msgpack.ExtType(code, b"\xc1")
        assert codec.unpack_all(msgpack.packb(unknown)) == [unknown]


def test_containers_of_any_length_that_fits_come_back(codec: Codec) -> None:
    long = list(range(100_000))
    for value in (long, dict(enumerate(long)), set(long), {tuple(long): [long]}):
        assert arrives(codec, value) == value
        assert codec.unpack_all(codec.pack(value) + b"\x01") == [value, 1]


def test_a_large_value_comes_back_and_its_buffers_are_given_up(codec: Codec) -> None:
    large = b"x" * (codec_module.KEPT_BUFFER_BYTES + 1)
    packer = codec._packer
    data = codec.pack(large)
    assert codec._packer is not packer
    assert codec.unpack_all(data + data, 2) == [large, large]
    assert codec.unpack_all(codec.pack(1) * 2, 2) == [1, 1]


# What cannot travel

CYCLE: list[Any] = []
CYCLE.append(CYCLE)
POINT_CYCLE = Point(1)
POINT_CYCLE.y = POINT_CYCLE

REFUSED = [
    (object(), "builtins.object"),
    ([1, {"a": 2j}], "complex"),
    (2**64, "64 bits"),
    ([-(2**63) - 1], "64 bits"),
    ("\ud800", "surrogate"),
    (memoryview(b"abcd")[::2], "contiguous"),
    (CYCLE, "contains itself"),
    (POINT_CYCLE, "contains itself"),
    (nested(1100), "too deep"),
    (date(2024, 1, 2), "isoformat"),
    (time(1, 2), "isoformat"),
    (timedelta(1), "total_seconds"),
    (enum.Enum("Plain", "A").A, r"\.value"),
    (range(3), "list"),
    ((n for n in ()), "list"),
    (Path("x"), "PosixPath"),
    (Point, "builtins.type"),
    (ValueError("x"), "ValueError"),
    (Decimal("0." + "1" * 5000), "Decimal"),
    ({Frozen(1): 2}, "dataclass"),
    ({Frozen(1)}, "dataclass"),
    ({(1, frozenset({Frozen(1)})): 2}, "dataclass"),
]


@pytest.mark.parametrize(("value", "why"), REFUSED)
def test_what_cannot_travel_is_refused_with_a_reason_and_leaves_no_trace(codec, value, why) -> None:
    with pytest.raises(BadPayload, match=why):
        codec.pack(value)
    with pytest.raises(BadPayload, match=why):
        codec.pack([b"before", {"k": value}, "after"])
    assert codec.pack([1, "a", {2}]) == Codec().pack([1, "a", {2}])


def test_an_unset_field_of_a_dataclass_is_refused(codec: Codec) -> None:
    @dataclasses.dataclass
    class Lazy:
        later: int = dataclasses.field(init=False)

    with pytest.raises(BadPayload, match="later"):
        codec.pack(Lazy())


def test_an_error_of_the_callers_own_object_passes_and_leaves_no_trace(codec: Codec) -> None:
    class Broken(dict[str, int]):
        def items(self) -> Any:
            raise KeyError("own error")

    with pytest.raises(KeyError, match="own error"):
        codec.pack([1, Broken(a=1)])
    assert codec.pack(1) == b"\x01"


def test_sets_nest_as_deep_when_packed_as_when_unpacked(codec: Codec) -> None:
    value = frozenset({1})
    for _ in range(MAX_EXT_DEPTH - 1):
        value = frozenset({value})
    packed = codec.pack(value)
    assert codec.unpack_all(packed) == [value]
    with pytest.raises(BadPayload, match="deep"):
        codec.pack(frozenset({value}))
    with pytest.raises(BadFrame, match="deep"):
        codec.unpack_all(ext(5, msgpack.packb([msgpack.ExtType(5, packed)])))
    assert codec.unpack_all(packed) == [value]


@given(values)
def test_what_packs_also_unpacks(value: object) -> None:
    """The values above hold no dataclass; here some hashable ones are put anywhere."""
    codec = Codec()
    for wrapped in ([Frozen(value)], {"k": Frozen(value)}, Point(Frozen(value))):
        try:
            data = codec.pack(wrapped)
        except BadPayload:
            pytest.fail("only used where a map may stand")
        codec.unpack_all(data)


# Malformed bytes


def ext(code: int, data: bytes) -> bytes:
    packed: bytes = msgpack.packb(msgpack.ExtType(code, data))
    return packed


MALFORMED = {
    "reserved byte": b"\xc1",
    "truncated str": b"\xa5abc",
    "truncated array": b"\x92\x01",
    "truncated map": b"\x82\x01\x02",
    "value missing after good ones": b"\x01\x02\xcd\x01",
    "bad UTF-8": b"\xa1\xff",
    "map as a key": b"\x81\x80\x01",
    "map in a list as a key": b"\x81\x91\x80\x01",
    "set as a key": b"\x81" + ext(4, b"\x90") + b"\x01",
    "too deep": b"\x91" * 2000 + b"\x01",
    "too deep and truncated": b"\x91" * 100_000,
    "deep list as a key": b"\x81" + b"\x91" * 1010 + b"\x01\x01",
    "negative ext code": b"\xd4\xfe\x00",
    "bad timestamp": b"\xd4\xff\x00",
    "nanoseconds of a timestamp": b"\xc7\x0c\xff" + b"\xff" * 12,
    "empty datetime": ext(1, b""),
    "datetime that is none": ext(1, b"yesterday"),
    "datetime not ASCII": ext(1, b"\xff" * 10),
    "datetime with month 13": ext(1, b"2024-13-01T00:00:00"),
    "long datetime": ext(1, b"2024-01-01T00:00:00." + b"0" * 100),
    "short UUID": ext(2, b"x" * 15),
    "Decimal that is none": ext(3, b"one"),
    "Decimal out of range": ext(3, b"1E+9999999999999999999"),
    "long Decimal": ext(3, b"1" * 5000),
    "set without data": ext(4, b""),
    "set of no array": ext(4, b"\x01"),
    "set of a map": ext(4, b"\x91\x80"),
    "set of two values": ext(4, b"\x90\x90"),
    "truncated set": ext(4, b"\x92\x01"),
    "frozenset with a long lie": ext(5, b"\xdd\xff\xff\xff\xff"),
    "signalling NaN in a set": ext(4, b"\x91" + ext(3, b"sNaN")),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_bytes_are_refused_and_leave_no_trace(codec: Codec, data: bytes) -> None:
    good = codec.pack(["a", 1])
    for frame in (data, good + data, good + memoryview(data)):
        for count in (None, 1, 2):
            with pytest.raises(BadFrame):
                codec.unpack_all(frame, count)
    assert codec.unpack_all(good + good, 2) == [["a", 1]] * 2


def test_a_decimal_is_judged_alike_whatever_the_threads_decimal_context(codec: Codec) -> None:
    with localcontext() as context:
        context.traps[InvalidOperation] = False
        context.prec = 2
        assert arrives(codec, Decimal("1.2345")) == Decimal("1.2345")
        with pytest.raises(BadFrame):
            codec.unpack_all(ext(3, b"one"))


def test_every_truncation_of_a_value_is_refused(codec: Codec) -> None:
    data = codec.pack(
        {"a": [1, 2.5, b"x", {3}], "b": datetime(2024, 1, 2, tzinfo=UTC), "c": uuid4()}
    )
    good = codec.pack(1)
    for size in range(1, len(data)):
        for count in (None, 2):
            with pytest.raises(BadFrame):
                codec.unpack_all(good + data[:size], count)


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, MAX_ENTRIES, 2**32])
def test_another_number_of_values_than_said_is_refused(codec: Codec, count: int) -> None:
    data = codec.pack("v") * 3
    with pytest.raises(BadFrame):
        codec.unpack_all(data, count)
    long = codec.pack(list(range(5000))) * 3  # takes the careful way
    with pytest.raises(BadFrame):
        codec.unpack_all(long, count)
    assert codec.unpack_all(data, 3) == ["v"] * 3
    assert len(codec.unpack_all(long, 3)) == 3


def test_no_bytes_are_no_values(codec: Codec) -> None:
    assert codec.unpack_all(b"") == []
    assert codec.unpack_all(b"", 0) == []
    with pytest.raises(BadFrame):
        codec.unpack_all(b"", 1)


def test_more_values_than_a_frame_may_have_are_refused(codec: Codec) -> None:
    assert len(codec.unpack_all(b"\x01" * MAX_ENTRIES)) == MAX_ENTRIES
    assert len(codec.unpack_all(b"\x01" * MAX_ENTRIES, MAX_ENTRIES)) == MAX_ENTRIES
    for prefix in (b"", codec.pack(list(range(5000)))):
        for count in (None, MAX_ENTRIES + 1):
            with pytest.raises(BadFrame):
                codec.unpack_all(prefix + b"\x01" * (MAX_ENTRIES + 1), count)


def lying_frames() -> dict[str, bytes]:
    """Frames whose headers claim far more than is there, nested as deep as msgpack goes."""
    array32, map32 = b"\xdd" + struct.pack(">I", 250_000), b"\xdf" + struct.pack(">I", 250_000)
    fill = b"\x01" * 250_000
    return {
        "small": b"\xdc\xff\xff" * 500,
        "arrays": array32 * 1000 + fill,
        "maps": (map32 + b"\x01") * 1000 + fill,
        "arrays within the trusted length": b"\xdc\x04\x00" * 1000 + fill,
        "in a set": ext(4, array32 * 1000 + fill),
        "in sets": ext(4, b"\x91" + ext(4, b"\x91" + ext(4, array32 * 1000 + fill))),
        "as keys": b"\x81\x91\x01\x01" + array32 * 1000 + fill,
    }


@pytest.mark.parametrize("data", lying_frames().values(), ids=lying_frames().keys())
def test_a_header_that_lies_allocates_nothing_to_speak_of(codec: Codec, data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadFrame):
            codec.unpack_all(data)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 20 * 1024 * 1024


# Registered types


@pytest.mark.usefixtures("registry")
def test_a_registered_type_comes_back_wherever_it_stands(codec: Codec) -> None:
    register(Celsius, 40, lambda c: [c.degrees], lambda value: Celsius(value[0]))
    inner = Celsius(21)
    for value in (inner, [inner], {"t": inner}, {inner}, {inner: (1)}, Celsius({(1, 2): inner})):
        assert arrives(codec, value) == value
    assert arrives(codec, Point(inner)) == {"x": inner, "y": None}
    assert arrives(codec, Frozen(inner)) == {"x": inner}


@pytest.mark.usefixtures("registry")
def test_a_registered_dataclass_may_be_a_key(codec: Codec) -> None:
    register(Frozen, 33, lambda value: value.x, Frozen)
    assert arrives(codec, {Frozen(1): {Frozen("a")}}) == {Frozen(1): {Frozen("a")}}


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("code", [-1, 0, FIRST_USER_CODE - 1, LAST_USER_CODE + 1])
def test_only_the_users_codes_can_be_registered(code: int) -> None:
    with pytest.raises(ValueError, match=r"not in 32\.\.127"):
        register(Celsius, code, lambda c: c.degrees, Celsius)


@pytest.mark.usefixtures("registry")
def test_a_code_and_a_class_are_registered_once() -> None:
    register(Celsius, FIRST_USER_CODE, lambda c: c.degrees, Celsius)
    with pytest.raises(ValueError, match="code 32 is already"):
        register(Point, FIRST_USER_CODE, lambda p: p.x, Point)
    with pytest.raises(ValueError, match="Celsius already"):
        register(Celsius, LAST_USER_CODE, lambda c: c.degrees, Celsius)
    register(Point, LAST_USER_CODE, lambda p: p.x, Point)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("cls", [dict, OrderedDict, str, enum.IntEnum, set, datetime, UUID])
def test_a_class_that_would_never_be_asked_for_cannot_be_registered(cls: type) -> None:
    with pytest.raises(ValueError, match=r"already|base class"):
        register(cls, 32, repr, lambda value: value)


def fail(_: object) -> Any:
    raise ZeroDivisionError("user's own")


@pytest.mark.usefixtures("registry")
def test_an_encoder_that_fails_is_a_bad_payload(codec: Codec) -> None:
    register(Celsius, 40, fail, Celsius)
    with pytest.raises(BadPayload, match="user's own"):
        codec.pack([Celsius(1)])
    assert codec.pack(1) == b"\x01"


@pytest.mark.usefixtures("registry")
def test_a_decoder_that_fails_is_a_bad_frame(codec: Codec) -> None:
    register(Celsius, 40, lambda c: c.degrees, fail)
    data = codec.pack([Celsius(1)])
    with pytest.raises(BadFrame, match="user's own"):
        codec.unpack_all(data)
    assert codec.unpack_all(b"\x01") == [1]


@pytest.mark.usefixtures("registry")
def test_an_encoder_that_never_ends_in_plain_values_is_a_bad_payload(codec: Codec) -> None:
    register(Celsius, 40, lambda c: [c], Celsius)
    with pytest.raises(BadPayload, match="itself"):
        codec.pack(Celsius(1))
    assert codec.pack(1) == b"\x01"


@pytest.mark.usefixtures("registry")
def test_an_encoder_may_use_the_codec_that_is_calling_it(codec: Codec) -> None:
    sent: list[bytes] = []

    def encode(celsius: Celsius) -> object:
        sent.append(codec.pack(["log", {1}]))
        sent.append(codec.pack(["log", {1}]))
        return celsius.degrees

    register(Celsius, 40, encode, Celsius)
    value = ["before", Celsius(Celsius({2})), "after", Celsius(3)]
    assert arrives(codec, value) == value
    assert set(sent) == {Codec().pack(["log", {1}])}


@pytest.mark.usefixtures("registry")
def test_a_decoder_may_use_the_codec_that_is_calling_it(codec: Codec) -> None:
    def decode(value: object) -> Celsius:
        assert codec.unpack_all(b"\x01\x02\x93\x01\x02\x03", 3) == [1, 2, [1, 2, 3]]
        return Celsius(value)

    register(Celsius, 40, lambda c: c.degrees, decode)
    batch = [1, Celsius(2), [Celsius(Celsius(3))], 4]
    assert codec.unpack_all(b"".join(map(codec.pack, batch)), 4) == batch
