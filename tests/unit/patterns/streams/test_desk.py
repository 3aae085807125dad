"""Which streams there are: opening, bounds, and how those who serve them end."""

from __future__ import annotations

from typing import Any

import pytest

from patterns.errors import (
    BadRequest,
    NodeClosed,
    Overloaded,
    PeerLost,
    RemoteError,
    StreamAborted,
)
from patterns.rpc import Method
from patterns.streams import MIN_WINDOW_BYTES, WINDOW_BYTES, WINDOWS_BYTES, Stream, StreamMethod
from patterns.streams import messages as m
from patterns.streams.desk import MAX_CALLED_OFF, MAX_STREAMS, MAX_STREAMS_PER_PEER
from tests.sim.runner import sleep
from tests.unit.patterns.streams.ends import WINDOW, Node, Opening, opened, settle, two_nodes

OPENER = [WINDOW, 1]
NO_CALL: tuple[Any, ...] = ((), {}, {}, None)


def method(serve: Any, **options: Any) -> StreamMethod:
    options = {"concurrency": 10, "serves_async": True, "window": WINDOW} | options
    return StreamMethod("tail", lambda: None, serve, **options)


def begun(near: Node, far: Node, number: int = 1) -> Stream:
    stream = Stream(near.streams, number, "tail", near.streams.room(WINDOW), {})
    near.streams.begin(stream, Opening(far))
    return stream


def test_what_comes_before_the_answer_is_kept_for_who_was_asked() -> None:
    near, far = two_nodes()
    here = begun(near, far)
    there = far.streams.accept(near, 1, "tail", (WINDOW, WINDOW), {}, None)
    assert there.offer_message(far.pack("early"))
    settle(near, far)
    near.streams.accepted(here, [there.window, 1])
    assert here.take() == "early"


def test_another_node_cannot_put_anything_into_a_stream_that_is_being_opened() -> None:
    near, far = two_nodes()
    here = begun(near, far)
    thief = Node("thief")
    near.streams.on_messages(thief, [[-1, 0, far.pack("forged")]])
    near.streams.accepted(here, [WINDOW, 1])
    near.streams.on_messages(thief, [[-1, 0, far.pack("forged")]])
    assert here.is_empty
    assert near.streams.stale == 2


@pytest.mark.parametrize("answer", [None, "much", {}, [WINDOW], [WINDOW, None]])
def test_an_answer_that_is_no_window_is_the_peers_fault(answer: object) -> None:
    near, far = two_nodes()
    here = begun(near, far)
    with pytest.raises(RemoteError, match="no window"):
        near.streams.accepted(here, answer)
    assert len(near.streams) == 0


def test_one_that_was_refused_leaves_nothing_behind() -> None:
    near, far = two_nodes()
    near.streams.refused(begun(near, far), may_be_taken=False)
    assert len(near.streams) == 0
    assert near.streams._windows == 0


def test_both_sides_may_open_under_one_number() -> None:
    near, far = two_nodes()
    here, there = opened(near, far)
    back, forth = opened(far, near)
    assert here.offer_message(near.pack("a"))
    assert back.offer_message(far.pack("b"))
    settle(near, far)
    assert (there.take(), forth.take()) == ("a", "b")


def test_one_peer_cannot_take_all_streams() -> None:
    near, far = two_nodes()
    windows = MIN_WINDOW_BYTES, MIN_WINDOW_BYTES
    for number in range(MAX_STREAMS_PER_PEER):
        far.streams.accept(near, number + 1, "tail", windows, {}, None)
    with pytest.raises(Overloaded, match="of yours"):
        far.streams.accept(near, MAX_STREAMS_PER_PEER + 1, "tail", windows, {}, None)
    far.streams.on_lost(near, "gone")
    far.streams.accept(near, 1, "tail", windows, {}, None)


def test_a_node_has_no_more_streams_than_it_may() -> None:
    node = Node("busy")
    peers = [Node(str(number)) for number in range(MAX_STREAMS // MAX_STREAMS_PER_PEER)]
    for peer in peers[:-1]:
        for number in range(MAX_STREAMS_PER_PEER):
            node.streams.accept(peer, number + 1, "tail", (1, MIN_WINDOW_BYTES), {}, None)
    with pytest.raises(Overloaded, match="no more"):
        node.streams.accept(peers[-1], 1, "tail", (1, MIN_WINDOW_BYTES), {}, None)
    assert node.streams.room(WINDOW) == MIN_WINDOW_BYTES, "its own ones may be opened yet"


def test_when_much_is_given_away_new_streams_get_the_least_window() -> None:
    near, far = two_nodes()
    for number in range(WINDOWS_BYTES // WINDOW_BYTES):
        far.streams.accept(near, number + 1, "tail", (1, WINDOW_BYTES), {}, None)
    assert far.streams.room(WINDOW_BYTES) == MIN_WINDOW_BYTES
    far.streams.on_lost(near, "gone")
    assert far.streams.room(WINDOW_BYTES) == WINDOW_BYTES


def test_the_number_of_an_open_stream_is_not_used_twice() -> None:
    near, far = two_nodes()
    opened(near, far)
    with pytest.raises(Overloaded, match="number 1"):
        far.streams.accept(near, 1, "tail", (WINDOW, WINDOW), {}, None)


def test_a_closed_node_breaks_all_and_opens_none() -> None:
    near, far = two_nodes()
    here, _ = opened(near, far)
    early = begun(near, far, 2)
    near.streams.close()
    for stream in (here, early):
        with pytest.raises(NodeClosed):
            stream.take()
    with pytest.raises(NodeClosed):
        near.streams.room(WINDOW)
    assert len(near.streams) == 0


# Serving.


def test_a_stream_is_ended_when_its_handler_returns() -> None:
    near, far = two_nodes()
    here = begun(near, far)

    async def serve(stream: Stream, args: Any, kwargs: Any) -> None:
        stream.offer_message(far.pack("one"))

    near.streams.accepted(
        here, far.server.start("logs.tail", method(serve), near, 1, OPENER, NO_CALL, 5.0)
    )
    settle(near, far)
    assert here.take() == "one"
    assert here.is_ended_there
    assert not far.server.running
    here.end()
    settle(near, far)
    assert len(near.streams) == len(far.streams) == 0


@pytest.mark.parametrize("end", ["abort", "lost", "given up"])
def test_a_handler_is_cancelled_when_nobody_wants_its_stream(end: str) -> None:
    near, far = two_nodes()
    here = begun(near, far)
    ended = []

    async def serve(stream: Stream, args: Any, kwargs: Any) -> None:
        try:
            await sleep(1000)
        except GeneratorExit:
            ended.append("cancelled")
            raise

    served = method(serve)
    near.streams.accepted(
        here, far.server.start("logs.tail", served, near, 1, OPENER, NO_CALL, 5.0)
    )
    assert list(far.server.running.values()) == ["logs.tail"]
    if end == "abort":
        near.streams.abort(here, "enough")
        settle(near, far)
    elif end == "lost":
        far.streams.on_lost(near, "it failed")
    else:
        far.server.give_up(near.id, 1)
    assert far.clock.step(1.0)
    assert ended == ["cancelled"]
    assert not far.server.running
    assert served.running == 0
    assert len(far.streams) == 0


def test_no_more_than_concurrency_are_served_at_once() -> None:
    near, far = two_nodes()

    async def serve(stream: Stream, args: Any, kwargs: Any) -> None:
        await sleep(1000)

    served = method(serve, concurrency=2)
    for number in (1, 2):
        far.server.start("logs.tail", served, near, number, OPENER, NO_CALL, 5.0)
    with pytest.raises(Overloaded, match="2 streams"):
        far.server.start("logs.tail", served, near, 3, OPENER, NO_CALL, 5.0)
    far.streams.on_lost(near, "gone")
    while far.clock.step(1.0):
        pass
    far.server.start("logs.tail", served, near, 3, OPENER, NO_CALL, 5.0)


@pytest.mark.parametrize("window", [None, 0, -1, 1 << 40, "much"])
def test_a_window_that_is_none_is_a_bad_request(window: object) -> None:
    near, far = two_nodes()
    with pytest.raises(BadRequest, match="no window"):
        far.server.start("logs.tail", method(None), near, 1, [window, 1], NO_CALL, 5.0)


def test_a_method_with_one_answer_is_no_stream_and_a_stream_no_answer() -> None:
    near, far = two_nodes()
    plain = Method("add", lambda: 1, concurrency=1, inline=True)
    with pytest.raises(BadRequest, match="call it"):
        far.server.start("logs.tail", plain, near, 1, OPENER, NO_CALL, 5.0)
    with pytest.raises(BadRequest, match="iterate"):
        method(None).check((), {})


def test_arguments_that_do_not_fit_open_no_stream() -> None:
    near, far = two_nodes()
    with pytest.raises(BadRequest, match="too many positional"):
        far.server.start("logs.tail", method(None), near, 1, OPENER, ((1,), {}, {}, None), 5.0)
    assert len(far.streams) == 0


def test_who_writes_to_a_handler_that_has_ended_is_told() -> None:
    near, far = two_nodes()
    here = begun(near, far)

    async def serve(stream: Stream, args: Any, kwargs: Any) -> None:
        return

    near.streams.accepted(
        here, far.server.start("logs.tail", method(serve), near, 1, OPENER, NO_CALL, 5.0)
    )
    settle(near, far)
    with pytest.raises(StreamAborted, match="reads no more"):
        here.offer_message(near.pack(1))


def test_a_lost_peer_breaks_its_streams_and_no_others() -> None:
    near, far = two_nodes()
    here, _ = opened(near, far)
    other = Node("other")
    near.streams.accept(other, 1, "tail", (WINDOW, WINDOW), {}, None)
    near.streams.on_lost(far, "failed")
    with pytest.raises(PeerLost):
        here.take()
    assert len(near.streams) == 1


def test_what_was_opened_before_a_peer_gave_this_node_up_is_over_and_later_is_not() -> None:
    near, far = two_nodes()
    old = far.streams.accept(near, 1, "tail", (WINDOW, WINDOW), {}, None, 3)
    new = far.streams.accept(near, 2, "tail", (WINDOW, WINDOW), {}, None, 4)
    assert far.streams.on_lost(near, "it gave this one up", before=4) == 1
    assert isinstance(old.error, PeerLost)
    assert new.error is None


def test_a_request_from_before_its_sender_gave_this_node_up_opens_nothing() -> None:
    near, far = two_nodes()
    far.peer_eras[near.id] = 5
    with pytest.raises(BadRequest, match="given it up"):
        far.streams.accept(near, 1, "tail", (WINDOW, WINDOW), {}, None, 4)


def test_an_answer_from_before_its_sender_gave_this_node_up_is_a_lost_peer() -> None:
    near, far = two_nodes()
    here = begun(near, far)
    near.peer_eras[far.id] = 5
    with pytest.raises(PeerLost, match="given this node up"):
        near.streams.accepted(here, [WINDOW, 4])
    assert len(near.streams) == 0


def test_a_stream_that_is_called_off_before_it_is_asked_for_is_not_taken() -> None:
    near, far = two_nodes()
    near.streams.refused(begun(near, far), may_be_taken=True)
    settle(near, far)
    with pytest.raises(BadRequest, match="given it up"):
        far.streams.accept(near, 1, "tail", (WINDOW, WINDOW), {}, None)
    far.streams.accept(near, 2, "tail", (WINDOW, WINDOW), {}, None)


def test_what_is_remembered_of_streams_that_were_called_off_is_bounded() -> None:
    near, far = two_nodes()
    far.streams.on_messages(near, [[n, m.ABORT, ""] for n in range(1, MAX_CALLED_OFF + 100)])
    assert len(far.streams._called_off) == MAX_CALLED_OFF


@pytest.mark.parametrize("is_ended", [False, True])
def test_a_handler_that_fails_is_told_to_the_other_side_whatever_it_had_said(
    is_ended: bool,
) -> None:
    near, far = two_nodes()
    here = begun(near, far)

    async def serve(stream: Stream, args: Any, kwargs: Any) -> None:
        if is_ended:
            stream.end()
        raise ValueError("bad")

    window = far.server.start("logs.tail", method(serve), near, 1, OPENER, NO_CALL, 5.0)
    near.streams.accepted(here, window)
    settle(near, far)
    with pytest.raises(StreamAborted if is_ended else RemoteError, match="bad"):
        here.take()


def test_a_handler_that_fails_as_it_is_cancelled_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    near, far = two_nodes()

    def serve(stream: Stream, args: Any, kwargs: Any) -> None:
        far.streams.on_lost(near, "gone")
        raise OSError("disk full")

    plain = method(serve, serves_async=False)
    far.server.start("logs.tail", plain, near, 1, OPENER, NO_CALL, 5.0)
    far.clock.step(1.0)
    assert "disk full" in caplog.text
