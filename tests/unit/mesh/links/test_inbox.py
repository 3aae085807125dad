"""The receiving half: gaps from numbers, and what is consumed of the window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.links import Inbox
from mesh.links.inbox import ACK_BYTES, MAX_UNCONSUMED_BYTES
from mesh.links.outbox import MAX_WINDOW_BYTES
from mesh.wire.frames import MAX_LINK_FRAME_BYTES, BadFrame


def test_before_the_first_epoch_nothing_is_taken() -> None:
    assert Inbox().receive(1, 0, 1) is None


def test_the_first_epoch_begins_anywhere_without_a_gap() -> None:
    inbox = Inbox()
    assert inbox.open(1, 500) == 0
    assert inbox.receive(1, 500, 3) == 0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), max_size=20))
def test_the_gap_before_a_frame_is_exactly_what_its_number_skips(
    frames: list[tuple[int, int]],
) -> None:
    inbox = Inbox()
    inbox.open(1, 0)
    number = 0
    for skipped, count in frames:
        number += skipped
        assert inbox.receive(1, number, count) == skipped
        number += count
    assert inbox.received == sum(count for _, count in frames)


def test_a_frame_that_was_received_before_is_discarded() -> None:
    inbox = Inbox()
    inbox.open(1, 0)
    inbox.receive(1, 0, 5)
    assert inbox.receive(1, 0, 5) is None
    assert inbox.receive(1, 4, 5) is None
    assert inbox.expected == 5


def test_a_new_epoch_tells_exactly_what_was_lost_with_the_old() -> None:
    inbox = Inbox()
    inbox.open(1, 0)
    inbox.receive(1, 0, 5)
    assert inbox.open(2, 12) == 7
    assert inbox.receive(2, 12, 1) == 0


def test_a_frame_of_another_epoch_is_discarded() -> None:
    inbox = Inbox()
    inbox.open(1, 0)
    inbox.open(2, 5)
    assert inbox.receive(1, 5, 1) is None
    assert inbox.receive(3, 5, 1) is None
    assert inbox.receive(2, 5, 1) == 0


def test_a_sender_that_counts_anew_leaves_an_unknown_gap() -> None:
    inbox = Inbox()
    inbox.open(1, 0)
    inbox.receive(1, 0, 5)
    assert inbox.open(2, 0) is None
    assert inbox.receive(2, 0, 1) == 0


def test_consumed_bytes_are_told_at_each_step_and_what_is_left_once() -> None:
    inbox = Inbox()
    inbox.open(1, 0)
    assert not inbox.consume(1, ACK_BYTES - 1)
    assert inbox.consume(1, 1)
    assert inbox.take_ack() == ACK_BYTES
    assert inbox.take_ack() is None
    assert not inbox.consume(1, 7)
    assert inbox.take_ack() == ACK_BYTES + 7


def test_bytes_of_an_old_epoch_are_not_counted_in_the_new() -> None:
    inbox = Inbox()
    inbox.open(1, 0)
    inbox.open(2, 0)
    assert not inbox.consume(1, ACK_BYTES)
    assert inbox.take_ack() is None


def test_whoever_does_not_mind_the_window_is_refused() -> None:
    inbox = Inbox()
    inbox.open(1, 0)
    assert inbox.receive(1, 0, 1, MAX_UNCONSUMED_BYTES - 1) == 0
    assert inbox.receive(1, 1, 1, 1) == 0
    inbox.consume(1, 100)
    assert inbox.receive(1, 2, 1, 100) == 0
    with pytest.raises(BadFrame, match="not consumed"):
        inbox.receive(1, 3, 1, 1)


def test_a_new_epoch_begins_with_nothing_here() -> None:
    inbox = Inbox()
    inbox.open(1, 0)
    inbox.receive(1, 0, 1, MAX_UNCONSUMED_BYTES)
    inbox.open(2, 1)
    assert inbox.receive(2, 1, 1, MAX_UNCONSUMED_BYTES) == 0


def test_no_honest_sender_has_so_much_on_its_way() -> None:
    assert MAX_UNCONSUMED_BYTES >= MAX_WINDOW_BYTES + MAX_LINK_FRAME_BYTES
