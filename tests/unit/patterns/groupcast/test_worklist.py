"""What waits for a handler: order per key at any concurrency, and no more ahead than it needs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from patterns.groupcast.casts import CastMessage, MarkedCast
from patterns.groupcast.worklist import MAX_PREFETCH, PREFETCH_SECONDS, Worklist
from patterns.keys import Key


def cast(number: int, key: Key | None = None, source: object = None) -> MarkedCast:
    message = MarkedCast("pool", number, {}, None, source, number)
    message.key = key
    message.redelivered = False
    return message


class Waiting(RuleBasedStateMachine):
    """Casts of two sources and some keys, in and out in every way there is."""

    concurrency = 1

    def __init__(self) -> None:
        super().__init__()
        self.worklist = Worklist(self.concurrency)
        self.given = 0
        self.waiting: list[CastMessage] = []
        """What is not with a handler, in the order of ``put``."""
        self.portions: list[list[CastMessage]] = []

    @property
    def running(self) -> list[CastMessage]:
        return [message for portion in self.portions for message in portion]

    @rule(key=st.sampled_from([None, None, "a", b"a", "7", 7]), source=st.sampled_from("xy"))
    def put(self, key: Key | None, source: str) -> None:
        message = cast(self.given, key, source)
        self.given += 1
        self.worklist.put(message)
        self.waiting.append(message)

    @precondition(lambda self: len(self.portions) < self.concurrency and self.worklist.is_ready)
    @rule(seconds=st.sampled_from([None, 0.0, 0.002, 1.0]))
    def take(self, seconds: float | None) -> None:
        self.worklist.seconds = seconds
        self.note_taken(self.worklist.take())

    @precondition(lambda self: len(self.portions) < self.concurrency and self.worklist.is_ready)
    @rule()
    def take_one(self) -> None:
        self.note_taken([self.worklist.take_one()])

    def note_taken(self, portion: list[CastMessage]) -> None:
        assert portion
        for message in portion:
            before = self.waiting[: self.waiting.index(message)]
            if self.concurrency == 1:
                assert not before, "one handler gets them in order, whatever their keys"
            elif message.key is not None:
                assert form(message) not in map(form, before)
                assert form(message) not in map(form, self.running), "one of a key at a time"
            self.waiting.remove(message)
        self.portions.append(portion)

    @precondition(lambda self: self.portions)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        portion = self.portions.pop(data.draw(st.integers(0, len(self.portions) - 1)))
        for message in portion:
            self.worklist.ended(message)

    @precondition(lambda self: self.portions)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        """What the handler has not come to of the portion that was taken last."""
        portion = self.portions[-1]
        started = data.draw(st.integers(0, len(portion)))
        back = portion[started:]
        self.worklist.put_back(back)
        del portion[started:]
        if not portion:
            self.portions.pop()
        self.waiting[:0] = back
        if self.concurrency > 1:
            self.waiting.sort(key=lambda message: message.number)

    @rule(source=st.sampled_from("xy"))
    def remove(self, source: str) -> None:
        removed = self.worklist.remove(lambda message: message.source == source)
        expected = [message for message in self.waiting if message.source == source]
        assert sorted(m.number for m in removed) == sorted(m.number for m in expected)
        for key in set(map(form, removed)) - {None}:
            of_key = [m.number for m in removed if form(m) == key]
            assert of_key == [m.number for m in expected if form(m) == key]
        self.waiting = [message for message in self.waiting if message.source != source]

    @invariant()
    def nothing_is_lost_and_nobody_waits_in_vain(self) -> None:
        assert len(self.worklist) == len(self.waiting)
        busy = set(map(form, self.running)) - {None} if self.concurrency > 1 else set()
        assert self.worklist.is_ready == any(form(m) not in busy for m in self.waiting)

    @invariant()
    def keys_that_are_not_here_take_no_room(self) -> None:
        assert len(self.worklist._behind) <= len(self.waiting) + len(self.running)


class WaitingForMany(Waiting):
    concurrency = 3


def form(message: CastMessage) -> str | None:
    return None if message.key is None else str(message.key).strip("b'")


Waiting.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
WaitingForMany.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestWaiting = Waiting.TestCase
TestWaitingForMany = WaitingForMany.TestCase


def test_a_new_handler_gets_no_more_than_it_can_run() -> None:
    assert Worklist(1).capacity == 1
    assert Worklist(4).capacity == 4


@pytest.mark.parametrize(
    ("seconds", "prefetch"),
    [(1.0, 1), (PREFETCH_SECONDS, 1), (PREFETCH_SECONDS / 10.5, 10), (0.0, MAX_PREFETCH)],
)
def test_prefetch_is_what_the_handler_does_in_a_moment(seconds: float, prefetch: int) -> None:
    worklist = Worklist(4)
    worklist.took(seconds, 1)
    assert worklist.capacity == 4 * prefetch


def test_the_time_of_many_counts_for_each() -> None:
    worklist = Worklist(1)
    worklist.took(1.0, 100)
    assert worklist.seconds == pytest.approx(0.01)


def test_prefetch_follows_a_handler_that_becomes_slow_and_one_that_becomes_fast() -> None:
    worklist = Worklist(1)
    worklist.took(0.0001, 1)
    assert worklist.capacity == 200
    for _ in range(8):
        worklist.took(0.1, 1)
    assert worklist.capacity == 1
    for _ in range(200):
        worklist.took(0.0001, 1)
    assert worklist.capacity > 100


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 500)), max_size=20))
def test_prefetch_stays_within_its_bounds(times: list[tuple[float, int]]) -> None:
    worklist = Worklist(2)
    for seconds, count in times:
        worklist.took(seconds, count)
        assert 2 <= worklist.capacity <= 2 * MAX_PREFETCH


def test_a_portion_of_a_fast_handler_is_many_and_of_a_slow_one_a_single_cast() -> None:
    fast, slow = Worklist(1), Worklist(1)
    fast.took(0.0, 1)
    slow.took(1.0, 1)
    for number in range(50):
        fast.put(cast(number))
        slow.put(cast(number))
    assert [message.number for message in fast.take()] == list(range(50))
    assert [message.number for message in slow.take()] == [0]


def test_slots_get_one_each_so_that_all_of_them_are_used() -> None:
    worklist = Worklist(2)
    worklist.took(0.0, 1)
    for number in range(5):
        worklist.put(cast(number))
    assert [len(worklist.take()), len(worklist.take())] == [1, 1]


def test_the_emptier_for_its_slots_has_the_smaller_load() -> None:
    narrow, wide = Worklist(1), Worklist(4)
    narrow.put(cast(0))
    wide.put(cast(1))
    wide.put(cast(2))
    assert wide.load < narrow.load
    wide.running = 4
    assert wide.load > narrow.load
