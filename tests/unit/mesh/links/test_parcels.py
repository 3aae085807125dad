"""Parcels: chunks in order, a window that follows the link, bounds at both ends."""

from __future__ import annotations

from collections import deque
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from mesh.links.parcels import (
    CHUNK_BYTES,
    FIRST_WINDOW_BYTES,
    MAX_WINDOW_BYTES,
    Assembly,
    Budget,
    Chunk,
    Parcels,
)

KIND, OTHER = 1, 16
SIZES = st.lists(st.integers(1, 5 * CHUNK_BYTES), min_size=1, max_size=6)


def put_together(chunks: list[Chunk]) -> list[bytes]:
    """What a receiver makes of them."""
    whole, assembly = [], None
    for chunk in chunks:
        if chunk.offset == 0:
            assembly = Assembly(chunk.parcel.id, chunk.parcel.kind, chunk.total, lambda: None)
        assert assembly is not None
        assert assembly.add(chunk.offset, chunk.piece)
        if assembly.is_whole:
            whole.append(bytes(assembly.data))
    return whole


@given(SIZES, st.integers(0, 1000))
def test_what_is_queued_arrives_whole_and_in_order_whatever_the_acks(
    sizes: list[int], seed: int
) -> None:
    random = Random(seed)
    parcels, received, now = Parcels(), 0, 0.0
    sent: list[Chunk] = []
    entries = [random.randbytes(size) for size in sizes]
    for entry in entries:
        parcels.append(KIND, entry)
    while parcels.is_in_use:
        now += random.random()
        new = list(parcels.ready(now))
        sent += new
        waiting = sum(len(chunk.piece) for chunk in sent) - received
        assert 0 < waiting <= max(parcels.window.size, MAX_WINDOW_BYTES)
        received += random.randint(1, waiting)
        assert parcels.acknowledge(received, now + random.random())
    assert put_together(sent) == entries
    assert parcels.size == 0


@given(SIZES, st.integers(0, 20))
def test_on_a_new_epoch_what_was_not_through_begins_again(sizes: list[int], turns: int) -> None:
    parcels, received = Parcels(), 0
    through: list[int] = []
    for size in sizes:
        parcels.append(KIND, bytes(size))
    for _ in range(turns):
        for chunk in parcels.ready(0.0):
            received += len(chunk.piece)
            if chunk.is_last:
                through.append(chunk.parcel.id)
        parcels.acknowledge(received, 0.0)
    parcels.open()
    ids = [parcel.id for parcel in parcels.queue]
    assert through + ids == list(range(1, len(sizes) + 1))
    again = list(parcels.ready(0.0))
    assert all(chunk.offset == 0 for chunk in again[:1])


def test_an_acknowledgement_of_what_was_not_sent_is_refused() -> None:
    parcels = Parcels()
    parcels.append(KIND, bytes(CHUNK_BYTES))
    list(parcels.ready(0.0))
    assert not parcels.acknowledge(CHUNK_BYTES + 1, 0.0)
    assert parcels.acknowledge(CHUNK_BYTES, 0.0)
    assert not parcels.acknowledge(0, 0.0)


def through_a_link(
    bytes_per_second: float, size: int, distance: float = 0.0
) -> tuple[float, float, int]:
    """Send a parcel over a link of that speed: its seconds, the longest that a chunk had to wait
    on the way after the first megabyte, and the widest window."""
    parcels, now, free_at, widest = Parcels(), 0.0, 0.0, 0
    parcels.append(KIND, bytes(size))
    on_the_way: deque[tuple[float, int]] = deque()
    received, longest = 0, 0.0
    while parcels.is_in_use:
        for chunk in parcels.ready(now):
            free_at = max(free_at, now) + len(chunk.piece) / bytes_per_second
            on_the_way.append((free_at + distance, len(chunk.piece)))
            if received > 4 * FIRST_WINDOW_BYTES:
                longest = max(longest, free_at - now)
        now, piece = on_the_way.popleft()
        received += piece
        assert parcels.acknowledge(received, now)
        widest = max(widest, parcels.window.size)
    return now, longest, widest


def test_on_a_slow_link_some_chunks_are_on_the_way_and_on_a_fast_one_a_megabyte() -> None:
    took, longest, _ = through_a_link(400_000, 4_000_000)
    assert took < 1.05 * 10
    assert longest <= 3.1 * CHUNK_BYTES / 400_000
    took, longest, widest = through_a_link(1e9, 64_000_000)
    assert widest == MAX_WINDOW_BYTES
    assert longest < 0.1


def test_a_long_way_is_not_taken_for_a_slow_one() -> None:
    took, _, widest = through_a_link(1e8, 32_000_000, distance=0.15)
    assert widest == MAX_WINDOW_BYTES
    assert took < 1.3 * 32_000_000 / (MAX_WINDOW_BYTES / 0.16)


def test_what_is_given_up_is_not_sent_or_taken_back() -> None:
    parcels = Parcels()
    for tag in (7, 8):
        parcels.append(OTHER, bytes(10 * CHUNK_BYTES), tag)
    list(parcels.ready(0.0))
    assert parcels.give_up(OTHER, 8)
    assert not parcels.give_up(KIND, 7)
    assert parcels.tags(OTHER) == {7}
    assert parcels.give_up(OTHER, 7)
    (last,) = parcels.ready(0.0)
    assert (last.total, last.is_last, bytes(last.piece)) == (0, False, b"")
    assert parcels.size == 0
    assert not parcels.give_up(OTHER, 7)


def test_the_oldest_that_have_not_begun_give_way_and_none_of_another_kind() -> None:
    parcels = Parcels()
    parcels.append(KIND, bytes(10 * CHUNK_BYTES))
    list(parcels.ready(0.0))
    parcels.append(OTHER, bytes(100))
    for _ in range(3):
        parcels.append(KIND, bytes(100))
    assert len(parcels.drop_oldest(parcels.size - 150, frozenset({KIND}))) == 2
    assert [p.id for p in parcels.queue] == [1, 2, 5]
    assert len(parcels.drop_oldest(0, frozenset({KIND}))) == 1
    assert [p.id for p in parcels.queue] == [1, 2]


@given(st.lists(st.tuples(st.integers(1, 120), st.booleans()), max_size=30))
def test_what_a_node_keeps_is_bounded_and_nobody_waits_for_ever(
    steps: list[tuple[int, bool]],
) -> None:
    budget = Budget(100)
    admitted: list[int] = []
    order: list[Assembly] = []
    for number, (size, frees) in enumerate(steps):
        assembly = Assembly(number, KIND, size, lambda n=number: admitted.append(n))  # type: ignore[misc]
        order.append(assembly)
        budget.ask(assembly)
        kept = [a for a in order if a.is_admitted]
        assert sum(a.total for a in kept) == budget.reserved
        assert budget.reserved <= 100 or len(kept) == 1
        if frees and kept:
            order.remove(kept[0])
            budget.withdraw(kept[0])
    while kept := [a for a in order if a.is_admitted]:
        order.remove(kept[0])
        budget.withdraw(kept[0])
    assert order == []
    assert budget.reserved == 0
    assert admitted == sorted(admitted)
