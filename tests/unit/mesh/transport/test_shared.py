"""Memory shared by two processes: what is put there is read there, or is known to be lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.links.outbox import MAX_WINDOW_BYTES
from mesh.links.parcels import PARCEL_BYTES
from mesh.transport import shared
from mesh.transport.descriptors import in_use
from mesh.transport.shared import RING_BYTES, Rings, View
from mesh.wire.frames import MAX_LINK_FRAME_BYTES
from mesh.wire.sharing import (
    Offer,
    Place,
    pack_offer,
    pack_place,
    unpack_answer,
    unpack_offer,
    unpack_place,
)

pytestmark = pytest.mark.skipif(not shared.SEALS, reason="Linux only")

LINK, OTHER = b"link", b"other"


class Pair:
    """Both ends of one link, in one process."""

    def __init__(self, is_local: bool = True) -> None:
        self.rings = Rings()
        self.up: set[bytes] = set()
        self.view = View(self._tell, is_local=is_local)

    def _tell(self, topic: bytes, is_up: bool) -> None:
        if not is_up:
            self.up.remove(topic)
            return
        self.up.add(topic)
        self.rings.answered(topic)

    def agree(self, link: bytes = LINK) -> None:
        self.view.offered(self.rings.offer(link))

    def put(self, payload: bytes, link: bytes = LINK) -> bytes:
        place = self.rings.put(link, payload)
        assert place is not None
        return place

    def close(self) -> None:
        self.view.close()
        self.rings.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


def offer_of(pair: Pair, link: bytes = LINK) -> Offer:
    offer = unpack_offer(pair.rings.offer(link))
    assert offer is not None
    return offer


def is_taken(pair: Pair, offer: bytes) -> bool:
    """Whether the receiver answers that it sees that."""
    heard: list[bytes] = []
    view = View(lambda topic, is_up: heard.append(topic) if is_up else None, is_local=True)
    view.offered(offer)
    view.close()
    (topic,) = heard
    answer = unpack_answer(topic)
    assert answer is not None
    return answer[1]


def test_until_the_peer_has_answered_payloads_go_as_they_are(pair: Pair) -> None:
    assert pair.rings.put(LINK, b"x") is None
    offer = pair.rings.offer(LINK)
    assert offer
    assert pair.rings.offer(LINK) == b""
    assert pair.rings.put(LINK, b"x") is None
    pair.view.offered(offer)
    assert pair.view.read(pair.put(b"x")) == b"x"


def test_the_window_is_never_more_than_what_the_ring_keeps(pair: Pair) -> None:
    """The next payload of the largest kind, and all that may be under way, of any size."""
    pair.agree()
    for size in (16 * 1024, 100_000, PARCEL_BYTES):
        count = -(-MAX_WINDOW_BYTES // size) + 1
        payloads = [bytes([i % 251]) * size for i in range(3 * count)]
        places = [pair.put(payload) for payload in payloads[:count]]
        for payload, new in zip(payloads, [*payloads[count:], None] * 2, strict=False):
            assert pair.view.read(places.pop(0)) == payload
            if new is None:
                break
            places.append(pair.put(new))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(16 * 1024, PARCEL_BYTES), min_size=1, max_size=120))
def test_what_is_read_is_what_was_put_or_nothing(sizes: list[int]) -> None:
    pair = Pair()
    pair.agree()
    payloads = [i.to_bytes(2, "big") * (size // 2) for i, size in enumerate(sizes)]
    places = [pair.put(payload) for payload in payloads]
    read = [pair.view.read(place) for place in places]
    under_way = 0
    for payload, found in zip(reversed(payloads), reversed(read), strict=True):
        under_way += len(payload)
        assert found in (payload, b"")
        assert found or under_way > MAX_WINDOW_BYTES
    pair.close()


@given(
    st.one_of(
        st.binary(max_size=15),
        st.builds(
            Place, st.integers(1, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 300)
        ).map(pack_place),
        st.builds(Place, st.just(1), st.integers(0, RING_BYTES), st.integers(0, 2**32 - 1)).map(
            pack_place
        ),
    )
)
def test_a_place_that_is_none_is_nothing(place: bytes) -> None:
    pair = Pair()
    pair.agree()
    assert pair.view.read(place) == b""
    pair.close()


def test_a_payload_that_was_overwritten_is_nothing(pair: Pair) -> None:
    pair.agree()
    first = pair.put(bytes(100_000))
    place = unpack_place(first)
    assert place is not None
    for _ in range(RING_BYTES // 100_000):
        pair.put(bytes(100_000))
    assert pair.view.read(first) == b""
    assert pair.view.read(pack_place(place._replace(size=10))) == b""


def test_a_payload_above_a_frame_s_size_is_nothing(pair: Pair) -> None:
    """A few bytes must not make us copy all of the ring."""
    pair.agree()
    place = unpack_place(pair.put(bytes(PARCEL_BYTES)))
    assert place is not None
    assert pair.view.read(pack_place(place)) == bytes(PARCEL_BYTES)
    assert pair.view.read(pack_place(place._replace(size=MAX_LINK_FRAME_BYTES + 1))) == b""


def test_offers_without_end_are_not_answered_without_end() -> None:
    answers: list[bytes] = []
    view = View(lambda topic, is_up: answers.append(topic), is_local=False)
    for number in range(1000):
        view.offered(pack_offer(Offer(bytes(16), b"%16d" % number, 1, 2, 3)))
    assert len(answers) <= 2 * shared.MAX_OFFERS
    view.close()


def test_only_a_ring_that_cannot_shrink_and_is_what_was_told_is_taken(pair: Pair) -> None:
    offer = offer_of(pair)
    assert is_taken(pair, pack_offer(offer))
    assert not is_taken(pair, pack_offer(offer._replace(token=bytes(16))))
    assert not is_taken(pair, pack_offer(offer._replace(host=bytes(16))))
    assert not is_taken(pair, pack_offer(offer._replace(size=4096)))
    assert not is_taken(pair, pack_offer(offer._replace(size=2**32 - 1)))
    assert not is_taken(pair, pack_offer(offer._replace(fd=9999)))
    assert not is_taken(pair, pack_offer(offer._replace(pid=2**22 + 1)))
    fd = os.memfd_create(shared.NAME, os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, RING_BYTES)
    os.pwrite(fd, offer.token, 0)
    assert not is_taken(pair, pack_offer(offer._replace(fd=fd)))
    os.close(fd)


def test_what_is_no_ring_is_not_even_opened(pair: Pair) -> None:
    """To open the reading end of a pipe would wait for a writer, or wake one."""
    offer = offer_of(pair)
    reader, writer = os.pipe()
    for fd in (reader, writer, 0):
        assert not is_taken(pair, pack_offer(offer._replace(fd=fd)))
    os.close(reader)
    os.close(writer)


def test_on_a_connection_to_another_host_nothing_is_taken() -> None:
    pair = Pair(is_local=False)
    pair.agree()
    assert pair.rings.put(LINK, b"x") is None
    assert pair.rings.offer(LINK) == b""
    pair.close()


def test_only_who_knows_the_token_can_answer(pair: Pair) -> None:
    offer = offer_of(pair)
    pair.rings.answered(b"")
    pair.rings.answered(b"\x02" + bytes(16) + b"\x01")
    assert pair.rings.put(LINK, b"x") is None
    pair.rings.answered(b"\x02" + offer.token + b"\x01")
    assert pair.rings.put(LINK, b"x") is not None


def test_each_link_has_its_own_and_its_end_gives_all_back() -> None:
    before = in_use()
    for _ in range(3):
        pair = Pair()
        pair.agree()
        rings = pair.rings
        other = View(lambda topic, _, rings=rings: rings.answered(topic), is_local=True)
        other.offered(pair.rings.offer(OTHER))
        mine, theirs = pair.put(b"mine"), pair.put(b"theirs", OTHER)
        assert (pair.view.read(mine), other.read(theirs)) == (b"mine", b"theirs")
        assert (pair.view.read(theirs), other.read(mine)) == (b"", b"")
        pair.rings.end(LINK)
        pair.rings.end(LINK)
        assert pair.rings.put(LINK, b"x") is None
        # What is still under way can be read.
        assert pair.view.read(mine) == b"mine"
        other.close()
        pair.close()
        assert pair.view.read(mine) == b""
    assert in_use() == before


def test_a_new_offer_takes_the_place_of_the_last_and_of_its_answer(pair: Pair) -> None:
    pair.agree()
    old = pair.put(b"old")
    pair.agree(OTHER)
    assert len(pair.up) == 1
    assert pair.view.read(old) == b""
    assert pair.view.read(pair.put(b"new", OTHER)) == b"new"
    pair.view.offered(b"no offer")
    assert len(pair.up) == 1


def test_a_node_has_so_many_rings_and_no_more(pair: Pair) -> None:
    offers = [pair.rings.offer(b"%d" % number) for number in range(shared.MAX_RINGS + 1)]
    assert all(offers[:-1])
    assert offers[-1] == b""
    pair.rings.end(b"0")
    assert pair.rings.offer(OTHER)


def test_without_descriptors_payloads_go_as_they_are(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_need: object) -> None:
        raise OSError("none left")

    offer = offer_of(pair)
    monkeypatch.setattr(shared.descriptors, "check", none_left)
    assert pair.rings.offer(OTHER) == b""
    assert pair.rings.put(OTHER, b"x") is None
    assert not is_taken(pair, pack_offer(offer))


def test_another_process_sees_it_and_can_read_what_is_there_after_the_end(pair: Pair) -> None:
    offer = pair.rings.offer(LINK)
    script = """
import sys
from mesh.transport.shared import View
view = View(lambda topic, is_up: print(topic.hex(), flush=True), is_local=True)
view.offered(bytes.fromhex(sys.stdin.readline()))
place = bytes.fromhex(sys.stdin.readline())
print(view.read(place).decode())
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(offer.hex() + "\n")
        process.stdin.flush()
        pair.rings.answered(bytes.fromhex(process.stdout.readline()))
        place = pair.put(b"hello")
        pair.rings.close()
        process.stdin.write(place.hex() + "\n")
        process.stdin.close()
        assert process.stdout.read() == "hello\n"
