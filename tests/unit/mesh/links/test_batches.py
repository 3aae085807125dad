"""Batching: what is put in comes out, once, in order, in frames that fit."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesh.links import Batch, BatchQueue
from mesh.links.batches import BATCH_BYTES, BATCH_ENTRIES
from mesh.wire.codec import Codec

entries = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 40_000).map(bytes)), min_size=1, max_size=40
)


def popped(queue: BatchQueue) -> list[tuple[int, Batch]]:
    batches = []
    while (taken := queue.pop()) is not None:
        batches.append(taken)
    return batches


@given(entries)
def test_everything_comes_out_once_in_order_with_its_kind_and_number(
    items: list[tuple[int, bytes]],
) -> None:
    queue = BatchQueue()
    for kind, entry in items:
        queue.append(kind, entry)
    assert queue.size == sum(len(entry) for _, entry in items)
    assert queue.next_number == len(items)
    out = popped(queue)
    assert [(b.kind, entry) for _, b in out for entry in b.entries] == items
    assert [first + i for first, b in out for i in range(b.count)] == list(range(len(items)))
    assert (queue.size, queue.next_number) == (0, len(items))
    assert queue.pop() is None


@given(entries)
def test_a_batch_has_one_kind_and_closes_at_its_size(items: list[tuple[int, bytes]]) -> None:
    queue = BatchQueue()
    for kind, entry in items:
        queue.append(kind, entry)
    for _, batch in popped(queue):
        assert batch.size == sum(map(len, batch.entries))
        assert batch.count == 1 or batch.size <= BATCH_BYTES


def test_a_batch_closes_at_its_count() -> None:
    queue = BatchQueue()
    for _ in range(BATCH_ENTRIES + 1):
        queue.append(1, b"x")
    assert [batch.count for _, batch in popped(queue)] == [BATCH_ENTRIES, 1]


@given(
    st.lists(st.binary(max_size=3), min_size=1, max_size=3),
    st.sampled_from([1, 700, BATCH_BYTES // 40]),
    st.sampled_from([1, 40, BATCH_ENTRIES - 2, BATCH_ENTRIES]),
)
def test_several_entries_at_once_are_all_taken_or_none(
    before: list[bytes], size: int, count: int
) -> None:
    batch, other = Batch(1, before[0]), Batch(1, before[0])
    for entry in before[1:]:
        batch.append(entry)
        other.append(entry)
    more = [bytes(size)] * count
    if batch.extend(more):
        assert all(other.append(entry) for entry in more)
    else:
        assert not all(other.append(entry) for entry in more)
        assert batch.entries == before
        return
    assert (batch.size, batch.count, batch.is_open) == (other.size, other.count, other.is_open)
    assert batch.frame() == other.frame()


def test_a_payload_of_its_own_is_counted_and_not_copied() -> None:
    payload = bytes(20_000)
    entry = Codec().pack(["news", None])
    batch = Batch(1, entry, payload, is_shared=True)
    assert batch.size == len(entry) + len(payload)
    assert not batch.append(b"next")
    assert batch.frame(b"header ") == b"header " + entry
    assert batch.payload is payload
    assert (batch.count, batch.entries) == (1, [entry])


def test_a_popped_batch_takes_no_more_entries() -> None:
    queue = BatchQueue()
    queue.append(1, b"a")
    taken = queue.pop()
    queue.append(1, b"b")
    assert taken is not None
    assert taken[1].entries == [b"a"]
    assert not taken[1].append(b"c")
    assert [first for first, _ in popped(queue)] == [1]


def test_clearing_tells_how_many_were_lost_and_their_numbers_stay_used() -> None:
    queue = BatchQueue()
    for kind in (1, 1, 2):
        queue.append(kind, b"x")
    assert queue.clear() == 3
    assert (queue.size, queue.next_number) == (0, 3)
    queue.append(2, b"y")
    assert [(first, batch.entries) for first, batch in popped(queue)] == [(3, [b"y"])]


class Fan(RuleBasedStateMachine):
    """Three queues that share batches, against three plain lists of what each must give."""

    def __init__(self) -> None:
        super().__init__()
        self.queues = [BatchQueue() for _ in range(3)]
        self.due: list[list[tuple[int, bytes]]] = [[], [], []]
        self.numbers = [0, 0, 0]
        self.open: dict[frozenset[int], Batch] = {}
        self.sent = 0

    @rule(whom=st.frozensets(st.integers(0, 2), min_size=1), size=st.sampled_from([9, 30_000]))
    def send(self, whom: frozenset[int], size: int) -> None:
        self.sent += 1
        entry = Codec().pack((self.sent, bytes(size)))
        batch = self.open.get(whom)
        if batch is None or not batch.append(entry):
            batch = self.open[whom] = Batch(1, entry, is_shared=True)
            for index in whom:
                self.queues[index].add(batch)
        for index in whom:
            self.due[index].append((self.numbers[index], entry))
            self.numbers[index] += 1

    @rule(index=st.integers(0, 2), is_sent=st.booleans())
    def take(self, index: int, is_sent: bool) -> None:
        taken = self.queues[index].pop()
        if taken is None:
            assert self.due[index] == []
            return
        first, batch = taken
        due, self.due[index] = self.due[index][: batch.count], self.due[index][batch.count :]
        assert due[0][0] == first
        if is_sent:
            assert batch.frame(b"header") == b"header" + b"".join(entry for _, entry in due)
        assert [entry for _, entry in due] == batch.entries

    @rule(index=st.integers(0, 2), count=st.integers(1, 3))
    def skip(self, index: int, count: int) -> None:
        self.queues[index].skip(count)
        self.numbers[index] += count

    @rule(index=st.integers(0, 2))
    def clear(self, index: int) -> None:
        assert self.queues[index].clear() == len(self.due[index])
        self.due[index] = []

    @invariant()
    def sizes_and_numbers_are_those_of_what_waits(self) -> None:
        for queue, due, number in zip(self.queues, self.due, self.numbers, strict=True):
            assert queue.size == sum(len(entry) for _, entry in due)
            assert queue.next_number == number


Fan.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestFan = Fan.TestCase
