"""The sending half: the window, the bound, and an account that balances whatever happens."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mesh.links import Batch, Inbox, Outbox
from mesh.links.batches import BATCH_BYTES
from mesh.links.outbox import PENDING_BYTES, STALLED_AFTER, WINDOW_BYTES

BIG = bytes(200_000)


class Link(RuleBasedStateMachine):
    """An outbox, a wire that can break, and an inbox, against a plain account of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()
        self.inbox = Inbox()
        self.links = 0
        self.sent = 0
        self.wire: list[tuple[int, int, Batch]] = []
        self.unconsumed: list[tuple[int, int]] = []
        self.received: list[int] = []
        self.missed = 0
        self.clock = 0.0
        self.last: Batch | None = None
        self.open_link()

    def connect(self) -> None:
        """A new epoch; the receiver learns the next number with its first message."""
        self.links += 1
        self.outbox.open(self.links, self.clock)
        lost = self.inbox.open(self.links, self.outbox.next_number)
        assert lost is not None
        self.missed += lost

    @rule(kind=st.integers(1, 3), size=st.sampled_from([10, 1000, 60_000, 200_000]))
    def append(self, kind: int, size: int) -> None:
        entry = BIG[:size]
        if self.last is None or self.last.kind != kind or not self.last.append(entry):
            self.last = Batch(kind, entry)
            self.outbox.add(self.last)
        self.sent += 1

    @rule(count=st.integers(1, 40))
    def append_many_large(self, count: int) -> None:
        for _ in range(count):
            self.append(1, 200_000)

    @precondition(lambda self: self.outbox.link is not None)
    @rule()
    def flush(self) -> None:
        link = self.outbox.link
        assert link is not None
        self.wire += [(link, first, batch) for first, batch in self.outbox.ready(0.0)]

    @precondition(lambda self: self.wire)
    @rule()
    def arrive(self) -> None:
        link, first, batch = self.wire.pop(0)
        missed = self.inbox.receive(link, first, batch.count)
        if missed is None:
            assert link != self.inbox.link, "a frame of the current epoch is never discarded"
            return
        self.missed += missed
        self.received += range(first, first + batch.count)
        self.unconsumed.append((link, batch.size))

    @precondition(lambda self: self.unconsumed)
    @rule()
    def consume(self) -> None:
        self.inbox.consume(*self.unconsumed.pop(0))

    @rule()
    def acknowledge(self) -> None:
        consumed = self.inbox.take_ack()
        if consumed is not None and self.inbox.link is not None:
            assert self.outbox.acknowledge(self.inbox.link, consumed, self.clock)

    @rule(stray=st.integers(0, 30))
    def open_link(self, stray: int = 0) -> None:
        """The connection is replaced; some of what was on its way still arrives afterwards."""
        del self.wire[stray:]
        self.connect()

    @rule()
    def lose_link(self) -> None:
        self.outbox.close()
        self.wire.clear()
        assert list(self.outbox.ready(0.0)) == []

    @invariant()
    def in_flight_is_within_the_window(self) -> None:
        assert self.outbox.window.sent - self.outbox.window.acked <= WINDOW_BYTES

    @invariant()
    def what_waits_is_bounded(self) -> None:
        assert self.outbox.queue.size <= PENDING_BYTES + BATCH_BYTES

    @invariant()
    def received_in_order_and_once(self) -> None:
        assert all(a < b for a, b in zip(self.received, self.received[1:], strict=False))

    def teardown(self) -> None:
        """In the end, received and missed make up exactly what was sent."""
        self.wire.clear()
        self.unconsumed.clear()
        while True:
            self.connect()
            self.flush()
            if not self.wire:
                break
            while self.wire:
                self.arrive()
        assert len(self.received) + self.missed == self.sent


Link.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLink = Link.TestCase


def test_small_entries_in_front_do_not_let_large_ones_past_the_bound() -> None:
    outbox = Outbox()
    for i in range(2000):
        outbox.add(Batch(1 + i % 2, b"x"))
    for i in range(200):
        outbox.add(Batch(1 + i % 2, BIG))
        assert outbox.queue.size <= PENDING_BYTES
    assert outbox.dropped + sum(b.count for _, b in outbox.queue.batches) == 2200


def test_a_frame_above_the_window_goes_when_nothing_else_is_on_its_way() -> None:
    outbox = Outbox()
    outbox.open(1, 0.0)
    for kind in (1, 2, 3):
        outbox.add(Batch(kind, bytes(4 * WINDOW_BYTES)))
    for _ in range(3):
        assert len(list(outbox.ready(0.0))) == 1
        assert list(outbox.ready(0.0)) == []
        assert outbox.acknowledge(1, outbox.window.sent, 0.0)


@pytest.mark.parametrize(
    ("delay", "entry", "payload", "growth"),
    [(0.0, BIG, b"", 1), (0.0, b"head", BIG, 2), (0.2, b"head", BIG, 1)],
)
def test_the_window_is_filled_and_grows_for_payloads_to_a_quick_peer_alone(
    delay: float, entry: bytes, payload: bytes, growth: int
) -> None:
    outbox = Outbox()
    outbox.open(1, 0.0)
    outbox.add(Batch(1, b"how long one takes"))
    list(outbox.ready(0.0))
    assert outbox.acknowledge(1, outbox.window.sent, 0.0)
    for _ in range(40):
        outbox.add(Batch(1, entry, payload))
    filled = sum(batch.size for _, batch in outbox.ready(0.0))
    assert WINDOW_BYTES - len(BIG) < filled <= WINDOW_BYTES
    assert list(outbox.ready(0.0)) == []
    assert outbox.acknowledge(1, outbox.window.sent, delay)
    filled = sum(batch.size for _, batch in outbox.ready(delay))
    assert growth * WINDOW_BYTES - 2 * len(BIG) < filled <= growth * WINDOW_BYTES + 20


def test_an_acknowledgement_of_more_than_was_sent_or_of_less_than_before_is_refused() -> None:
    outbox = Outbox()
    outbox.open(1, 0.0)
    outbox.add(Batch(1, b"12345"))
    list(outbox.ready(0.0))
    assert not outbox.acknowledge(1, 6, 0.0)
    assert outbox.acknowledge(1, 5, 0.0)
    assert not outbox.acknowledge(1, 4, 0.0)
    assert outbox.window.acked == 5


def test_an_acknowledgement_of_an_old_epoch_changes_nothing() -> None:
    outbox = Outbox()
    outbox.open(1, 0.0)
    outbox.add(Batch(1, b"12345"))
    list(outbox.ready(0.0))
    outbox.open(2, 0.0)
    assert outbox.acknowledge(1, 5, 0.0)
    assert (outbox.window.sent, outbox.window.acked) == (0, 0)


def test_a_peer_is_stalled_when_it_took_nothing_for_a_while_although_something_waits() -> None:
    outbox = Outbox()
    outbox.open(1, 0.0)
    for _ in range(20):
        outbox.add(Batch(1, BIG))
    list(outbox.ready(0.0))
    outbox.note_waiting(10.0)
    assert not outbox.is_stalled(10.0 + STALLED_AFTER)
    assert outbox.is_stalled(10.0 + STALLED_AFTER * 1.1)
    outbox.acknowledge(1, 1000, 10.5)
    assert not outbox.is_stalled(10.5 + STALLED_AFTER)
    assert outbox.is_stalled(10.5 + STALLED_AFTER * 1.1)


def test_a_peer_for_which_nothing_waits_is_never_stalled() -> None:
    outbox = Outbox()
    outbox.open(1, 0.0)
    outbox.add(Batch(1, b"x"))
    list(outbox.ready(0.0))
    outbox.note_waiting(0.0)
    assert not outbox.is_stalled(1000.0)


def test_what_is_given_up_is_counted_and_a_new_epoch_begins_past_it() -> None:
    outbox = Outbox()
    for _ in range(3):
        outbox.add(Batch(1, b"x"))
    assert outbox.discard() == 3
    assert outbox.dropped == 3
    assert outbox.next_number == 3
