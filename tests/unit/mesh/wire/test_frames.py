"""Frame headers and link strings: exact bytes, round trips, and what is refused."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.wire import frames
from mesh.wire.frames import BadFrame

ids = st.binary(min_size=16, max_size=16)
u8, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 32, 64))
counts = st.integers(0, frames.MAX_ENTRIES)
A, B = bytes(range(16)), bytes(range(16, 32))
INFO = {"v": 1, "mesh": "lab", "link": ["10.0.0.1:7000", "[fe80::1%eth0]:7000"], "rpc": 7001}


def info_topic(**changes: object) -> bytes:
    return b"\x01" + A + msgpack.packb({**INFO, **changes})


def test_the_bytes_of_a_link_header_are_those_of_the_table() -> None:
    header = frames.pack_link(A, 0x01020304, frames.PUBLISH, B, 5, 6)
    assert header.hex() == "00" + A.hex() + "0000000001020304" + "01" + "01" + B.hex() + (
        "0000000000000005" + "00000006"
    )
    assert len(header) == frames.LINK_HEADER_SIZE == 55


def test_the_bytes_of_a_data_header_are_those_of_the_table() -> None:
    header = frames.pack_data(frames.REQUEST, A, B, 0x01020304, 6)
    assert header.hex() == "01" + "10" + A.hex() + B.hex() + "0000000001020304" + "00000006"
    assert len(header) == frames.DATA_HEADER_SIZE == 46


@given(ids, u64, u8, ids, u64, counts, st.binary(max_size=20), st.booleans())
def test_a_link_header_comes_back(
    receiver, link, kind, sender, first, count, body, as_view
) -> None:
    frame = frames.pack_link(receiver, link, kind, sender, first, count) + body
    header = frames.unpack_link(memoryview(frame) if as_view else frame)
    assert header == (receiver, link, frames.PROTOCOL_VERSION, kind, sender, first, count)
    assert header.count == count
    assert frame[frames.LINK_HEADER_SIZE :] == body


@given(u8, ids, ids, u64, counts, st.binary(max_size=20))
def test_a_data_header_comes_back(kind, sender, receiver, link, count, body) -> None:
    frame = frames.pack_data(kind, sender, receiver, link, count) + body
    header = frames.unpack_data(frame)
    assert header == (frames.PROTOCOL_VERSION, kind, sender, receiver, link, count)


@given(ids, u32, u32, u8, ids, u64, counts)
def test_every_frame_of_a_link_begins_with_its_prefix_and_that_with_the_hello(
    receiver, dial, number, kind, sender, first, count
) -> None:
    link = frames.link_number(dial, number)
    prefix = frames.link_prefix(receiver, link)
    frame = frames.pack_link(receiver, link, kind, sender, first, count)
    assert frame.startswith(prefix)
    assert len(prefix) == frames.LINK_PREFIX_SIZE
    assert prefix.startswith(frames.pack_hello(receiver, dial))


@pytest.mark.parametrize(
    ("unpack", "frame", "version_at"),
    [
        (frames.unpack_link, frames.pack_link(A, 1, frames.PUBLISH, B, 2, 3), 25),
        (frames.unpack_data, frames.pack_data(frames.REPLY, B, A, 1, 3), 0),
    ],
)
def test_another_version_is_told_with_its_sender_and_not_refused(unpack, frame, version_at) -> None:
    other = bytearray(frame)
    other[version_at] = 200
    other[-4:] = b"\xff" * 4  # a count that means something else there
    header = unpack(bytes(other))
    assert (header.version, header.sender) == (200, B)


@pytest.mark.parametrize(
    ("unpack", "frame"),
    [
        (frames.unpack_link, frames.pack_link(A, 1, frames.PUBLISH, B, 2, 3)),
        (frames.unpack_data, frames.pack_data(frames.REPLY, B, A, 1, 3)),
    ],
)
def test_a_frame_shorter_than_its_header_is_refused(unpack, frame) -> None:
    assert unpack(frame)
    for size in range(len(frame)):
        with pytest.raises(BadFrame):
            unpack(frame[:size])


@pytest.mark.parametrize(
    ("unpack", "frame", "limit"),
    [
        (
            frames.unpack_link,
            frames.pack_link(A, 1, frames.PUBLISH, B, 2, 3),
            frames.MAX_LINK_FRAME_BYTES,
        ),
        (
            frames.unpack_data,
            frames.pack_data(frames.REPLY, B, A, 1, 3),
            frames.MAX_DATA_FRAME_BYTES,
        ),
        (
            lambda frame: frames.unpack_link(frame, frames.MAX_DATA_FRAME_BYTES),
            frames.pack_link(A, 1, frames.CAST, B, 2, 3),
            frames.MAX_DATA_FRAME_BYTES,
        ),
    ],
    ids=["link", "data", "work"],
)
def test_a_frame_above_the_limit_is_refused(unpack, frame, limit) -> None:
    assert unpack(frame.ljust(limit, b"\0"))
    with pytest.raises(BadFrame, match="above"):
        unpack(frame.ljust(limit + 1, b"\0"))


def test_more_entries_than_allowed_are_refused() -> None:
    too_many = frames.MAX_ENTRIES + 1
    with pytest.raises(BadFrame, match="entries"):
        frames.unpack_link(frames.pack_link(A, 1, frames.PUBLISH, B, 2, too_many))
    with pytest.raises(BadFrame, match="entries"):
        frames.unpack_data(frames.pack_data(frames.REPLY, B, A, 1, too_many))


def test_a_link_frame_that_does_not_begin_with_zero_is_refused() -> None:
    frame = frames.pack_link(A, 1, frames.PUBLISH, B, 2, 3)
    with pytest.raises(BadFrame, match="begins"):
        frames.unpack_link(b"\x01" + frame[1:])


@pytest.mark.parametrize("bad_id", [b"", A[:15], A + b"\0"])
def test_an_id_of_another_length_is_never_packed(bad_id: bytes) -> None:
    for pack in (
        lambda: frames.pack_link(bad_id, 1, 1, A, 1, 1),
        lambda: frames.pack_link(A, 1, 1, bad_id, 1, 1),
        lambda: frames.pack_data(16, bad_id, A, 1, 1),
        lambda: frames.pack_data(16, A, bad_id, 1, 1),
        lambda: frames.link_prefix(bad_id, 1),
        lambda: frames.pack_hello(bad_id, 1),
        lambda: frames.pack_info(bad_id, INFO),
    ):
        with pytest.raises(ValueError, match="16 bytes"):
            pack()


@given(ids, u32)
def test_a_hello_comes_back(node_id: bytes, dial: int) -> None:
    assert frames.pack_hello(node_id, dial) == b"\x00" + node_id + dial.to_bytes(4, "big")
    assert frames.unpack_hello(frames.pack_hello(node_id, dial)) == (node_id, dial)


@pytest.mark.parametrize(
    "topic", [b"", b"\x00", b"\x00" + A, b"\x00" + A + b"12345", b"\x01" + A + b"1234"]
)
def test_what_is_no_hello_has_no_id(topic: bytes) -> None:
    assert frames.unpack_hello(topic) is None


def test_an_info_comes_back() -> None:
    topic = frames.pack_info(A, INFO)
    assert topic == info_topic()
    assert frames.unpack_info(topic) == (A, INFO)
    assert frames.unpack_hello(topic) is None


def test_unknown_keys_of_an_info_are_left_out() -> None:
    assert frames.unpack_info(info_topic(zone="eu", extra=[1, {"x": 2}])) == (A, INFO)


@pytest.mark.parametrize(
    "changes",
    [
        {"v": None},
        {"v": True},
        {"v": -1},
        {"v": 256},
        {"v": "1"},
        {"mesh": None},
        {"mesh": b"lab"},
        {"link": None},
        {"link": "10.0.0.1:7000"},
        {"link": [7000]},
        {"link": ["10.0.0.1"]},
        {"link": ["10.0.0.1:0"]},
        {"link": ["10.0.0.1:65536"]},
        {"link": ["10.0.0.1:7000;ipc:///x"]},
        {"link": ["fe80::1:7000"]},
        {"link": ["a b:7000"]},
        {"link": [":7000"]},
        {"link": ["10.0.0.1:7000\n"]},
        {"link": ["*:7000"]},
        {"rpc": None},
        {"rpc": True},
        {"rpc": 65_536},
        {"rpc": "7001"},
    ],
)
def test_an_info_of_wrong_types_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(BadFrame):
        frames.unpack_info(info_topic(**changes))
    with pytest.raises(ValueError, match="info has no"):
        frames.pack_info(A, {**INFO, **changes})


def test_an_info_of_another_version_tells_its_version_whatever_else_changed() -> None:
    topic = b"\x01" + A + msgpack.packb({"v": 2, "mesh": ["new", "shape"], "rpc": None})
    assert frames.unpack_info(topic) == (A, {"v": 2, "mesh": "", "link": [], "rpc": 0})


@pytest.mark.parametrize(
    "topic",
    [
        b"",
        b"\x01",
        b"\x01" + A[:15],
        b"\x00" + A + msgpack.packb(INFO),
        b"\x01" + A,
        b"\x01" + A + b"\x90",
        b"\x01" + A + b"\xc1",
        b"\x01" + A + msgpack.packb(INFO)[:-1],
        b"\x01" + A + msgpack.packb(INFO) + b"\0",
        b"\x01" + A + b"\x81\x90\x01",
        b"\x01" + A + b"\x91" * 1500 + b"\x01",
        b"\x01" + A + b"\xdd\xff\xff\xff\xff",
        info_topic(extra=[0] * 65),
        b"\x01" + A + b"\x81\xa1v\xd4\xfe\x00",
    ],
)
def test_a_malformed_info_is_refused(topic: bytes) -> None:
    with pytest.raises(BadFrame):
        frames.unpack_info(topic)


def test_an_info_above_the_limit_is_refused_on_both_sides() -> None:
    room = frames.MAX_INFO_BYTES - len(info_topic(mesh="m" * 300)) + 300
    assert frames.unpack_info(frames.pack_info(A, {**INFO, "mesh": "m" * room}))
    with pytest.raises(ValueError, match="above"):
        frames.pack_info(A, {**INFO, "mesh": "m" * (room + 1)})
    with pytest.raises(BadFrame, match="above"):
        frames.unpack_info(info_topic(mesh="m" * (room + 1)))
