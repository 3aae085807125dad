"""Batching: what is put in comes out, once, in order, in frames that fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.links import Batch, BatchQueue
from mesh.links.batches import BATCH_BYTES, BATCH_ENTRIES

entries = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 40_000).map(bytes)), min_size=1, max_size=40
)


def popped(queue: BatchQueue) -> list[Batch]:
    batches = []
    while (batch := queue.pop()) is not None:
        batches.append(batch)
    return batches


@given(entries)
def test_everything_comes_out_once_in_order_with_its_kind_and_number(
    items: list[tuple[int, bytes]],
) -> None:
    queue = BatchQueue()
    for kind, entry in items:
        queue.append(kind, entry)
    assert queue.size == sum(len(entry) for _, entry in items)
    out = popped(queue)
    assert [(b.kind, entry) for b in out for entry in b.entries] == items
    assert [b.first + i for b in out for i in range(len(b.entries))] == list(range(len(items)))
    assert queue.size == 0
    assert queue.pop() is None


@given(entries)
def test_a_batch_has_one_kind_and_closes_at_its_size(items: list[tuple[int, bytes]]) -> None:
    queue = BatchQueue()
    for kind, entry in items:
        queue.append(kind, entry)
    for batch in popped(queue):
        assert batch.size == sum(map(len, batch.entries))
        assert batch.size - len(batch.entries[-1]) < BATCH_BYTES


def test_a_batch_closes_at_its_count() -> None:
    queue = BatchQueue()
    for _ in range(BATCH_ENTRIES + 1):
        queue.append(1, b"x")
    assert [len(batch.entries) for batch in popped(queue)] == [BATCH_ENTRIES, 1]


def test_a_popped_batch_takes_no_more_entries() -> None:
    queue = BatchQueue()
    queue.append(1, b"a")
    first = queue.pop()
    queue.append(1, b"b")
    assert first is not None
    assert first.entries == [b"a"]
    assert [batch.first for batch in popped(queue)] == [1]


def test_clearing_tells_how_many_were_lost_and_their_numbers_stay_used() -> None:
    queue = BatchQueue()
    for kind in (1, 1, 2):
        queue.append(kind, b"x")
    assert queue.clear() == 3
    assert (queue.size, queue.next_number) == (0, 3)
    queue.append(2, b"y")
    assert [(batch.first, batch.entries) for batch in popped(queue)] == [(3, [b"y"])]
