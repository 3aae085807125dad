"""The two ends of a stream: order, credit, ends, and what breaks it."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patterns.errors import (
    BadPayload,
    EndOfStream,
    PayloadTooLarge,
    PeerLost,
    RemoteError,
    StreamAborted,
)
from patterns.streams import EMPTY, PIECE_BYTES, Stream
from patterns.streams import messages as m
from patterns.streams.stream import MAX_TRAILERS_BYTES, QUEUED_BYTES
from tests.sim.waiter import SimWaiter
from tests.unit.patterns.streams.ends import WINDOW, Node, opened, settle, two_nodes

MESSAGES = st.lists(st.integers(0, WINDOW - 1000), min_size=1, max_size=12)


def send(stream: Stream, node: Node, value: Any) -> bool:
    return stream.offer_message(node.pack(value))


def waiting() -> SimWaiter:
    return SimWaiter(lambda: 0.0)


def take_all(stream: Stream) -> list[Any]:
    taken = []
    try:
        while (item := stream.take()) is not EMPTY:
            taken.append(item)
    except EndOfStream:
        taken.append("end")
    return taken


@given(MESSAGES, st.integers(0, 1000))
def test_messages_arrive_whole_and_in_order_and_the_window_holds(
    sizes: list[int], seed: int
) -> None:
    random = Random(seed)
    near, far = two_nodes()
    here, there = opened(near, far)
    values = [random.randbytes(size) for size in sizes]
    unsent, received = list(values), []
    for _ in range(100_000):
        step = random.randrange(6)
        if step == 0 and unsent and send(here, near, unsent[0]):
            unsent.pop(0)
        elif step == 1 and (item := there.take()) is not EMPTY:
            received.append(item)
        else:
            for node in (near, far):
                node.leave()
                node.arrive()
        assert sum(len(data) + m.ENTRY_COST for _, data in there._buffer) <= WINDOW
        if len(received) == len(values):
            break
    assert received == values
    assert far.counts == near.counts == {}


def test_bytes_have_no_boundaries_and_lose_none() -> None:
    near, far = two_nodes()
    here, there = opened(near, far)
    for piece in m.cut(b"x" * 100_000):
        assert here.offer_bytes(piece)
    settle(near, far)
    assert b"".join(take_all(there)) == b"x" * 100_000


def test_a_sender_waits_when_enough_is_queued_and_goes_on_when_it_is_taken() -> None:
    near, far = two_nodes()
    here, there = opened(near, far)
    piece = memoryview(bytes(PIECE_BYTES))
    sent = 0
    while here.offer_bytes(piece):
        sent += 1
        settle(near, far)
    assert sent * PIECE_BYTES <= WINDOW + QUEUED_BYTES
    waiter = waiting()
    here.when_writable(waiter)
    settle(near, far)
    assert not waiter.done()
    assert there.take() is not EMPTY
    settle(near, far)
    assert waiter.done()
    assert here.offer_bytes(piece)


def test_a_stream_that_nobody_reads_holds_up_no_other() -> None:
    near, far = two_nodes()
    slow, _ = opened(near, far)
    quick, quick_there = opened(near, far, number=2)
    while slow.offer_bytes(memoryview(bytes(PIECE_BYTES))):
        settle(near, far)
    assert send(quick, near, "hello")
    settle(near, far)
    assert quick_there.take() == "hello"


def test_an_end_comes_behind_all_and_leaves_the_other_way_open() -> None:
    near, far = two_nodes()
    here, there = opened(near, far)
    assert send(here, near, 1)
    here.end({"hash": "abc"})
    settle(near, far)
    assert take_all(there) == [1, "end"]
    assert there.trailers == {"hash": "abc"}
    assert send(there, far, "still here")
    there.end()
    settle(near, far)
    assert take_all(here) == ["still here", "end"]
    assert len(near.streams) == len(far.streams) == 0


def test_after_its_end_nothing_is_sent() -> None:
    near, far = two_nodes()
    here, _ = opened(near, far)
    here.end()
    with pytest.raises(StreamAborted, match="before end"):
        send(here, near, 1)


def test_a_handler_that_raised_is_told_behind_what_it_had_sent() -> None:
    near, far = two_nodes()
    here, there = opened(near, far)
    assert send(there, far, 1)
    there.end(None, "ValueError", "bad", "trace")
    settle(near, far)
    assert here.take() == 1
    with pytest.raises(RemoteError, match="ValueError: bad"):
        here.take()


def test_an_abort_overtakes_what_waits_and_ends_both_ways() -> None:
    near, far = two_nodes()
    here, there = opened(near, far)
    assert send(here, near, 1)
    near.streams.abort(here, "no more")
    settle(near, far)
    for stream in (here, there):
        with pytest.raises(StreamAborted, match="no more"):
            stream.take()
    with pytest.raises(StreamAborted):
        send(there, far, 1)
    assert len(near.streams) == len(far.streams) == 0


def test_who_reads_no_more_is_sent_no_more_and_still_sends() -> None:
    near, far = two_nodes()
    here, there = opened(near, far)
    waiter = waiting()
    while here.offer_bytes(memoryview(bytes(PIECE_BYTES))):
        settle(near, far)
    here.when_writable(waiter)
    there.stop()
    settle(near, far)
    assert waiter.done()
    with pytest.raises(StreamAborted, match="reads no more"):
        send(here, near, 1)
    assert send(there, far, "bye")
    settle(near, far)
    assert here.take() == "bye"


def test_a_message_that_the_other_side_can_never_take_is_refused_at_once() -> None:
    near, far = two_nodes()
    here, _ = opened(near, far)
    with pytest.raises(PayloadTooLarge, match="write"):
        here.check_size(WINDOW)


def test_a_lost_peer_is_told_to_who_reads_and_to_who_writes() -> None:
    near, far = two_nodes()
    here, there = opened(near, far)
    reader, writer = waiting(), waiting()
    here.when_readable(reader)
    here.when_writable(writer)
    near.streams.on_lost(far, "it failed")
    assert reader.done()
    assert writer.done()
    with pytest.raises(PeerLost, match="it failed"):
        here.take()
    with pytest.raises(PeerLost):
        send(here, near, 1)
    assert there.error is None


@pytest.mark.parametrize(
    "message",
    [
        [1, m.BYTES, "text"],
        [1, m.CREDIT, 5],
        [1, m.CREDIT, -1],
        [1, m.CREDIT, "much"],
        [1, m.END, None],
    ],
)
def test_who_breaks_the_rules_loses_the_stream(message: list[Any]) -> None:
    near, far = two_nodes()
    here, there = opened(near, far)
    assert far.streams.on_messages(near, [message]) == 0
    assert there.error is not None
    assert far.counts == {"streams_violated": 1}
    settle(near, far)
    with pytest.raises(StreamAborted, match="the other side sent"):
        here.take()


def test_more_than_the_window_breaks_the_rules() -> None:
    near, far = two_nodes()
    _, there = opened(near, far)
    pieces = [[1, m.BYTES, bytes(PIECE_BYTES)]] * 3
    far.streams.on_messages(near, pieces)
    assert isinstance(there.error, StreamAborted)


def test_parts_without_an_end_break_the_rules_when_they_are_more_than_the_window() -> None:
    near, far = two_nodes()
    _, there = opened(near, far)
    for _ in range(8):
        far.streams.on_messages(near, [[1, m.PART, bytes(PIECE_BYTES - m.ENTRY_COST)]])
        try:
            there.take()
        except StreamAborted:
            break
    assert there.error is not None


@pytest.mark.parametrize("entry", [None, 3, [], [1], [[], 2], [1, m.BYTES], [1, "x", b""], {}])
def test_what_is_no_message_is_counted_and_harms_nobody(entry: Any) -> None:
    near, far = two_nodes()
    _, there = opened(near, far)
    assert far.streams.on_messages(near, [entry]) == 1
    assert there.error is None


def test_what_cannot_be_decoded_is_told_and_ends_the_stream() -> None:
    near, far = two_nodes()
    here, there = opened(near, far)
    far.streams.on_messages(near, [[1, m.WHOLE, b"\xc1"]])
    with pytest.raises(BadPayload, match="decoded"):
        there.take()
    settle(near, far)
    with pytest.raises(StreamAborted, match="decoded"):
        here.take()


def test_what_a_peer_had_sent_to_the_end_is_read_though_it_is_lost() -> None:
    near, far = two_nodes()
    here, there = opened(near, far)
    assert send(here, near, 1)
    assert send(here, near, 2)
    here.end()
    settle(near, far)
    assert there.take() == 1
    far.streams.on_lost(near, "it has left")
    assert take_all(there) == [2, "end"]
    with pytest.raises(PeerLost):
        send(there, far, "thanks")


def test_what_a_lost_peer_had_not_ended_is_void() -> None:
    near, far = two_nodes()
    here, there = opened(near, far)
    assert send(here, near, 1)
    settle(near, far)
    far.streams.on_lost(near, "it has failed")
    with pytest.raises(PeerLost):
        there.take()


def test_trailers_are_bounded_and_a_refused_end_is_none() -> None:
    near, far = two_nodes()
    here, there = opened(near, far)
    with pytest.raises(PayloadTooLarge, match="trailers"):
        here.end({"all": "x" * (MAX_TRAILERS_BYTES + 1)})
    assert send(here, near, "more")
    here.end({"all": "x" * 1000})
    settle(near, far)
    assert take_all(there) == ["more", "end"]


def test_what_is_put_without_a_wait_is_before_the_end_and_void_behind_it() -> None:
    near, far = two_nodes()
    here, there = opened(near, far)
    for number in range(10):
        here.put_message(near.pack([number, bytes(PIECE_BYTES // 2)]))
    here.end()
    here.put_message(near.pack("late"))
    settle(near, far)
    taken = []
    while not taken or taken[-1] != "end":
        taken += take_all(there)
        settle(near, far)
    assert [item[0] for item in taken[:-1]] == list(range(10))


def test_when_who_was_woken_has_gone_the_others_look_for_themselves() -> None:
    near, far = two_nodes()
    here, _ = opened(near, far)
    reader, writer = waiting(), waiting()
    here.when_readable(reader)
    here.when_writable(writer)
    here.nudge()
    assert reader.done()
    assert writer.done()


def test_what_its_owner_changes_when_it_was_written_is_not_sent() -> None:
    near, far = two_nodes()
    here, there = opened(near, far)
    mine = bytearray(b"first")
    assert here.offer_bytes(memoryview(mine))
    mine[:] = b"later"
    settle(near, far)
    assert there.take() == b"first"
