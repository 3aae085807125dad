"""How a home hands out what is ready, and what it does not take from strangers."""

from __future__ import annotations

from typing import Any

import pytest

from patterns.errors import Overloaded
from patterns.queues import counter as counters
from patterns.queues.checks import BadMessage
from patterns.queues.counter import BATCH, BATCH_BYTES, Customer
from patterns.queues.messages import (
    COMMIT,
    COMMITTED,
    CREDIT,
    DEAD,
    DONE,
    HOME,
    JOBS,
    LOST,
    MORE,
    PROGRESS,
    RECALL,
    RETRY,
    RETURNED,
    TOUCH,
    TOUCHED,
)
from patterns.queues.ticket import Ticket
from tests.unit.patterns.queues.queueworld import Desk, World
from tests.unit.patterns.queues.shelf import Shelf


class Stream:
    """A worker that says what a test makes it say."""

    def __init__(self, desk: Desk, lease: float = 60.0) -> None:
        self.desk = desk
        self.got: list[list[Any]] = []
        self.has_room = True
        self.customer: Customer = desk.counter.join(
            "worker", lease, self.got.append, lambda: self.has_room
        )

    def say(self, *message: Any) -> None:
        self.customer.on_message(list(message))
        self.desk.world.run(0.0)

    def all(self, kind: int) -> list[list[Any]]:
        return [message for message in self.got if message[0] == kind]

    @property
    def numbers(self) -> list[int]:
        return [number for message in self.all(JOBS) for number in message[2]]


def home(jobs: int = 0, **fields: Any) -> Desk:
    desk = Desk(World())
    desk.put(jobs, **fields)
    return desk


def test_customers_have_equal_shares_of_what_is_ready() -> None:
    desk = home()
    streams = [Stream(desk) for _ in range(3)]
    for stream in streams:
        stream.say(CREDIT, 1_000)
    desk.put(300)
    desk.world.run(0.0)
    assert [len(stream.numbers) for stream in streams] == [100, 100, 100]
    for _ in range(30):
        desk.put()
        desk.world.run(0.0)
    assert [len(stream.numbers) for stream in streams] == [110, 110, 110]


def test_one_with_little_credit_leaves_its_share_to_the_others() -> None:
    desk = home()
    streams = [Stream(desk) for _ in range(2)]
    streams[0].say(CREDIT, 10)
    streams[1].say(CREDIT, 1_000)
    desk.put(300)
    desk.world.run(0.0)
    assert [len(stream.numbers) for stream in streams] == [10, 290]
    assert streams[0].all(MORE) == []


def test_a_batch_has_so_many_jobs_and_bytes_at_most() -> None:
    desk = home(1_000)
    stream = Stream(desk)
    stream.say(CREDIT, 1_000)
    assert [len(message[2]) for message in stream.all(JOBS)] == [BATCH] * 7 + [104]
    desk = home(3, body=bytes(20_000))
    desk.put(1, bytes(500_000))
    desk.put(10, bytes(20_000))
    stream = Stream(desk)
    stream.say(CREDIT, 1_000)
    sizes = [[len(body) for body in message[5]] for message in stream.all(JOBS)]
    assert all(sum(batch) <= BATCH_BYTES or len(batch) == 1 for batch in sizes)
    assert [500_000] in sizes
    assert stream.numbers == list(range(1, 15))


def test_a_batch_is_one_column_for_each_field() -> None:
    desk = home(2)
    stream = Stream(desk)
    stream.say(CREDIT, 5)
    now_ms = desk.now_ms()
    assert stream.got == [
        [HOME, "0badcafe"],
        [JOBS, now_ms, [1, 2], [1, 1], [now_ms + 5_000] * 2, [b"job", b"job"], None],
    ]


def test_nothing_is_taken_for_a_stream_that_has_no_room() -> None:
    desk = home(10)
    stuck, other = Stream(desk), Stream(desk)
    stuck.has_room = False
    stuck.say(CREDIT, 10)
    assert (stuck.numbers, desk.line.ready.count) == ([], 10)
    other.say(CREDIT, 4)
    assert len(other.numbers) == 4
    stuck.has_room = True
    stuck.customer.resume()
    desk.world.run(0.0)
    assert len(stuck.numbers) == 6


def test_more_is_said_once_for_each_credit() -> None:
    desk = home()
    stream = Stream(desk)
    assert not stream.all(MORE)
    for _ in range(5):
        desk.put()
        desk.world.run(0.0)
        stream.customer.resume()
    assert len(stream.all(MORE)) == 1
    stream.say(CREDIT, 1)
    assert len(stream.all(MORE)) == 2
    stream.say(CREDIT, 4)
    assert len(stream.all(MORE)) == 2
    stream.customer.resume()
    desk.world.run(0.0)
    assert len(stream.all(MORE)) == 2


def test_more_is_not_said_of_what_waits_for_its_key_or_is_paused() -> None:
    desk = home(3, key=b"k")
    stream, other = Stream(desk), Stream(desk)
    stream.say(CREDIT, 2)
    assert stream.numbers == [1]
    told = len(other.all(MORE))
    stream.say(RECALL)
    assert stream.got[-1] == [RETURNED, 1]
    assert len(other.all(MORE)) == told
    stream.say(DONE, [1, 1], {})
    assert stream.got[-1] == [MORE]
    desk.line.is_paused = True
    stream.say(CREDIT, 1)
    assert stream.numbers == [1]
    desk.line.is_paused = False
    desk.line.on_ready()
    desk.world.run(0.0)
    assert stream.numbers == [1, 2]


def test_more_is_not_said_of_what_is_being_read() -> None:
    shelf = Shelf()
    for number in range(30):
        shelf.mark(Ticket(number, b"job", 0))
    shelf.write()
    desk = Desk(World(), store=shelf)
    desk.line.restore(30, 0, 0)
    stream = Stream(desk)
    stream.say(CREDIT, 5)
    stream.say(RECALL)
    assert stream.got[1:] == [[RETURNED, 5]]
    shelf.pump()
    desk.world.run(0.0)
    assert stream.got[-1] == [MORE]
    stream.say(CREDIT, 5)
    assert stream.numbers == [0, 1, 2, 3, 4]


def test_credit_is_given_back_after_what_is_ready_was_handed_out() -> None:
    desk = home(3)
    stream = Stream(desk)
    stream.customer.on_message([CREDIT, 5])
    stream.customer.on_message([RECALL])
    assert stream.numbers == [1, 2, 3]
    assert stream.got[-1] == [RETURNED, 2]
    stream.say(RECALL)
    assert stream.got[-1] == [RETURNED, 0]


def test_what_is_said_of_a_job_that_is_anothers_changes_nothing() -> None:
    desk = home(2)
    mine, other = Stream(desk), Stream(desk)
    mine.say(CREDIT, 2)
    for message in (
        [DONE, [1, 2], {1: b"r"}],
        [RETRY, 1, 0, ""],
        [DEAD, 1, ""],
        [PROGRESS, 1, 1, 2, None],
    ):
        other.say(*message)
        assert other.got[-1][0] == LOST
        assert other.got[-1][1][0] == 1
    other.say(TOUCH, [1])
    assert [message[0] for message in other.got[-2:]] == [LOST, TOUCHED]
    assert other.got[-1][2] == []
    assert desk.line.reserved == 2
    assert not desk.done


def test_each_touch_is_answered_once_with_what_is_held() -> None:
    desk = home(3)
    stream = Stream(desk)
    stream.say(CREDIT, 3)
    stream.say(TOUCH, [])
    stream.say(TOUCH, [3, 1, 3, 9])
    assert [message[2] for message in stream.all(TOUCHED)] == [[], [3, 1]]
    assert [message[1] for message in stream.all(LOST)] == [[9]]


def test_who_has_lost_its_lease_is_told() -> None:
    desk = home(3)
    stream = Stream(desk, lease=5.0)
    stream.say(CREDIT, 3)
    desk.tick()
    desk.world.run(6.0)
    assert stream.all(LOST) == [[LOST, [1, 2, 3], "the lease of 5 s ended"]]


def test_a_stream_that_ends_gives_its_jobs_back_and_a_silent_one_keeps_its_leases() -> None:
    desk = home(6)
    gone, silent = Stream(desk, lease=5.0), Stream(desk, lease=5.0)
    gone.say(CREDIT, 3)
    silent.say(CREDIT, 3)
    gone.customer.leave(is_silent=False)
    gone.customer.leave(is_silent=True)
    assert (desk.line.ready.count, desk.line.reserved) == (3, 3)
    silent.customer.leave(is_silent=True)
    desk.tick()
    desk.world.run(4.9)
    assert (desk.line.ready.count, desk.line.reserved) == (3, 3)
    desk.world.run(0.2)
    assert (desk.line.ready.count, desk.line.reserved) == (6, 0)
    said = len(silent.got)
    silent.say(DONE, [4, 1], {})
    silent.customer.resume()
    assert len(silent.got) == said
    other = Stream(desk)
    other.say(CREDIT, 10)
    assert len(other.numbers) == 6


def test_a_commit_is_for_who_has_asked_for_it() -> None:
    desk = home(1)
    stream = Stream(desk)
    stream.say(COMMIT, 7, 1, None, [])
    assert [message[1] for message in stream.all(COMMITTED)] == [7]
    asked: list[Any] = []
    stream.customer.on_commit = lambda *what: asked.append(what)
    stream.say(COMMIT, 8, 1, b"r", [["next", b"b", {"delay": 1}]])
    assert asked == [(8, 1, b"r", [("next", b"b", {"delay": 1})])]


@pytest.mark.parametrize("lease", [0.0, -1.0, float("nan"), 1e9])
def test_a_lease_that_cannot_be_is_refused(lease: float) -> None:
    with pytest.raises(BadMessage):
        Stream(home(), lease)


def test_no_more_workers_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "MAX_CUSTOMERS", 2)
    desk = home()
    first, _ = Stream(desk), Stream(desk)
    with pytest.raises(Overloaded):
        Stream(desk)
    first.customer.leave(is_silent=True)
    Stream(desk)


@pytest.mark.parametrize(
    "message",
    [
        [CREDIT, 0],
        [CREDIT, 10_001],
        [CREDIT, True],
        [RECALL, 1],
        [DONE, [1], {}],
        [DONE, [1, 2**40], {}],
        [DONE, [1, 2, 2, 1], {}],
        [DONE, [2, 1, 1, 1], {}],
        [DONE, [1, 0], {}],
        [DONE, [1, 1], {2: b"r"}],
        [DONE, [1, 1], {1: "text"}],
        [RETRY, 1, -1, ""],
        [RETRY, 1, 0, "x" * 1_001],
        [TOUCH, [1, None]],
        [PROGRESS, 1, 1, 2, "text"],
        [COMMIT, 1, 1, None, [["q", b"b", {1: 2}]]],
        [COMMIT, 1, 1, None, [["q", b"b"]]],
        [JOBS, 1, [], [], [], [], None],
    ],
)
def test_what_is_malformed_is_refused(message: list[Any]) -> None:
    stream = Stream(home(2))
    stream.say(CREDIT, 1)
    with pytest.raises(BadMessage):
        stream.say(*message)
    assert stream.customer.credit == 0
