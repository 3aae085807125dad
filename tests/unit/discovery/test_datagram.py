"""The rendezvous decoder reads what was encoded and refuses all else with `ValueError`."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery import Announcement
from discovery.datagram import MAX_DATAGRAM_BYTES, Kind, decode, encode
from discovery.source import MAX_FINGERPRINT, MAX_HOSTS, MAX_MESH_BYTES
from tests.unit.discovery.helpers import announcement

HEADER = encode(Kind.HELLO, announcement())[:5]
GOOD: list[Any] = [0, f"{1:032x}", "test", 1, "", ["127.0.0.1"], 5001]

hosts = st.one_of(
    st.ip_addresses(v=4, network="10.0.0.0/8"), st.ip_addresses(v=6, network="2001:db8::/32")
).map(str)
announcements = st.builds(
    Announcement,
    id=st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    mesh=st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=MAX_MESH_BYTES // 4),
    protocol=st.integers(0, 65_535),
    hosts=st.lists(hosts, min_size=1, max_size=MAX_HOSTS).map(tuple),
    port=st.integers(1, 65_535),
    fingerprint=st.from_regex(r"[0-9a-f]{0,64}", fullmatch=True),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    | st.binary() | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20))
    | st.builds(msgpack.Timestamp, st.integers(-(2**63), 2**63 - 1), st.integers(0, 999_999_999)),
    lambda inner: st.lists(inner, max_size=20)
    | st.dictionaries(st.text() | st.integers(0, 99), inner),
    max_leaves=20,
)  # fmt: skip


def refused_or_valid(data: bytes) -> None:
    try:
        kind, made = decode(data)
    except ValueError:
        return
    assert isinstance(kind, Kind)
    assert len(made.addresses) <= MAX_HOSTS


@given(st.sampled_from(Kind), announcements)
def test_what_is_encoded_is_read_back(kind: Kind, made: Announcement) -> None:
    assert decode(encode(kind, made)) == (kind, made)


def test_the_largest_announcement_fits_one_datagram() -> None:
    largest = announcement(
        mesh="a" * MAX_MESH_BYTES,
        protocol=65_535,
        hosts=("1111:2222:3333:4444:5555:6666:7777:8888",) * (MAX_HOSTS + 4),
        port=65_535,
        fingerprint="f" * MAX_FINGERPRINT,
    )
    data = encode(Kind.HELLO, largest)
    assert len(data) <= MAX_DATAGRAM_BYTES
    assert decode(data)[1].hosts == largest.hosts[:MAX_HOSTS]


@given(st.binary(max_size=2 * MAX_DATAGRAM_BYTES))
def test_arbitrary_bytes_are_refused_with_a_value_error(data: bytes) -> None:
    refused_or_valid(data)
    refused_or_valid(HEADER + data)


@given(values)
def test_any_msgpack_value_is_refused_with_a_value_error(value: Any) -> None:
    refused_or_valid(HEADER + msgpack.packb(value))


@given(st.integers(0, len(GOOD) - 1), values)
def test_any_value_in_any_field_is_refused_or_valid(field: int, value: Any) -> None:
    fields = [*GOOD]
    fields[field] = value
    refused_or_valid(HEADER + msgpack.packb(fields))


@given(announcements, st.integers(0, 400), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_valid(made: Announcement, at: int, byte: int) -> None:
    data = bytearray(encode(Kind.HERE, made))
    data[at % len(data)] = byte
    refused_or_valid(bytes(data))


@given(announcements)
def test_every_truncation_is_refused(made: Announcement) -> None:
    data = encode(Kind.HELLO, made)
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r".+"):
            decode(data[:length])


def test_an_oversized_datagram_is_refused_before_it_is_unpacked() -> None:
    packed = msgpack.packb([*GOOD, "x" * MAX_DATAGRAM_BYTES])
    with pytest.raises(ValueError, match="bytes are more"):
        decode(HEADER + packed)


@pytest.mark.parametrize(
    "packed",
    [b"\x91" * 1_190, b"\x81" * 1_190, b"\xdd\xff\xff\xff\xff", b"\xc7\x0c\xff" + b"\xff" * 12],
    ids=["nested lists", "nested maps", "huge list", "bad timestamp"],
)
def test_a_msgpack_bomb_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode(HEADER + packed)


def test_more_hosts_than_a_source_passes_on_are_refused() -> None:
    fields = [*GOOD]
    fields[5] = ["10.0.0.1"] * (MAX_HOSTS + 1)
    with pytest.raises(ValueError, match="max_array_len"):
        decode(HEADER + msgpack.packb(fields))


@pytest.mark.parametrize(
    "extra", [{"a": 1}, b"a", msgpack.ExtType(5, b"a"), msgpack.Timestamp(1)], ids=repr
)
def test_maps_bytes_and_extension_types_are_refused_wherever_they_are(extra: Any) -> None:
    with pytest.raises(ValueError, match="max_"):
        decode(HEADER + msgpack.packb([*GOOD, extra]))


@pytest.mark.parametrize("hosts", [5, "::", None, 1.5, True, [5], [None]], ids=repr)
def test_hosts_that_are_no_list_of_addresses_are_refused(hosts: Any) -> None:
    fields = [*GOOD]
    fields[5] = hosts
    with pytest.raises(ValueError, match="host"):
        decode(HEADER + msgpack.packb(fields))


def test_fields_that_a_later_version_adds_are_passed_over() -> None:
    assert decode(HEADER + msgpack.packb([*GOOD, "new"]))[1] == announcement()


def test_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version"):
        decode(b"mesh\x02" + msgpack.packb(GOOD))
