"""A subscription's queue: order, bounds, and window bytes that are given back exactly once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from patterns.errors import ConfigError
from patterns.messages import Message
from patterns.portions import Hold
from patterns.subscription import STALL_AFTER, Subscription


class Job:
    def __init__(self, messages: Sequence[Message], done: Callable[[], None]) -> None:
        self.messages = messages
        self.done = done
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class ManualRunner:
    """Starts handlers and ends them when the test says so; ``is_eager`` ends them at once."""

    def __init__(self, is_eager: bool = False) -> None:
        self.jobs: list[Job] = []
        self.handled: list[Any] = []
        self.is_eager = is_eager

    def start(self, *args: Any) -> None:
        raise NotImplementedError

    def start_each(
        self,
        function: Callable[[Any], Any],
        messages: Sequence[Any],
        is_async: bool,
        done: Callable[[], None],
    ) -> Job | None:
        job = Job(messages, done)
        if self.is_eager:
            self.end(job)
            return None
        self.jobs.append(job)
        return job

    def end(self, job: Job) -> None:
        self.handled += [message.data for message in job.messages]
        job.done()

    def end_next(self) -> None:
        self.end(self.jobs.pop(0))


def ignore(message: Message) -> None: ...


def give(subscription: Subscription, data: Sequence[Any], hold: Hold | None, now: float) -> None:
    """One frame's messages for it."""
    subscription.fresh = [Message("s", item, {}, None) for item in data]
    subscription.accept(hold, now)


class Queue(RuleBasedStateMachine):
    """Frames in, a handler or a reader out, stalls and drops in between."""

    runner: ManualRunner

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.buffer = 20
        self.runner = ManualRunner()
        self.subscription = self.make()
        self.given = 0
        self.outstanding: dict[int, int] = {}
        self.frames = 0
        self.taken: list[int] = []
        self.is_closed = False

    def make(self) -> Subscription:
        return Subscription("s", self.runner, buffer=self.buffer)

    @rule(count=st.integers(1, 15))
    def frame(self, count: int) -> None:
        self.frames += 1
        number = self.frames
        self.outstanding[number] = count

        def release(size: int) -> None:
            assert size == self.outstanding.pop(number), "released once, with its own size"

        hold = Hold(count, 1, release)
        give(self.subscription, range(self.given, self.given + count), hold, self.now)
        self.given += count

    @rule(seconds=st.sampled_from([0.01, 0.1, STALL_AFTER * 1.01]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def check_stall(self) -> None:
        is_stalled = self.subscription.is_stalled(self.now)
        self.subscription.release_if_stalled(self.now)
        if is_stalled:
            assert not self.subscription.holds_window()
            assert not self.outstanding, "a stalled subscription holds nobody back"
            assert self.subscription.queued <= self.buffer

    @rule()
    def consume(self) -> None:
        messages = self.subscription.take()
        if messages is not None:
            self.taken += [message.data for message in messages]

    @invariant()
    def the_count_is_right(self) -> None:
        queue = self.subscription._backlog.portions
        assert self.subscription.queued == sum(len(portion.messages) for portion in queue)
        assert all(portion.messages for portion in queue)

    @invariant()
    def nothing_comes_twice_or_out_of_order(self) -> None:
        assert self.taken == sorted(set(self.taken))

    @invariant()
    def missed_is_exact(self) -> None:
        in_hands = sum(len(job.messages) for job in self.runner.jobs)
        known = len(self.taken) + self.subscription.missed + self.subscription.queued + in_hands
        assert self.is_closed or known == self.given

    def teardown(self) -> None:
        while self.runner.jobs:
            self.runner.end_next()
        self.subscription.close()
        assert self.outstanding == {}, "every frame's bytes are given back in the end"


class HandlerQueue(Queue):
    """The same with a handler that takes its time."""

    concurrency = 1

    def make(self) -> Subscription:
        return Subscription(
            "s", self.runner, handler=ignore, buffer=self.buffer, concurrency=self.concurrency
        )

    @precondition(lambda self: self.runner.jobs)
    @rule()
    def consume(self) -> None:
        before = len(self.runner.handled)
        self.runner.end_next()
        self.taken += self.runner.handled[before:]

    @invariant()
    def no_more_run_at_once_than_allowed(self) -> None:
        assert len(self.runner.jobs) <= self.concurrency


class ConcurrentQueue(HandlerQueue):
    """And with several at once, one message each."""

    concurrency = 3


SETTINGS = settings(max_examples=60, stateful_step_count=40, deadline=None)
Queue.TestCase.settings = HandlerQueue.TestCase.settings = SETTINGS
ConcurrentQueue.TestCase.settings = SETTINGS
TestQueue = Queue.TestCase
TestHandlerQueue = HandlerQueue.TestCase
TestConcurrentQueue = ConcurrentQueue.TestCase


def test_a_hold_is_released_by_its_last_holder_only() -> None:
    released: list[int] = []
    hold = Hold(100, 3, released.append)
    hold.let_go()
    hold.let_go()
    assert released == []
    hold.let_go()
    assert released == [100]


def test_taking_the_next_portion_consumes_the_one_before() -> None:
    released: list[int] = []
    subscription = Subscription("s", ManualRunner())
    give(subscription, [1, 2], Hold(10, 1, released.append), 0.0)
    assert [m.data for m in subscription.take() or ()] == [1, 2]
    assert released == []
    assert subscription.take() is None
    assert released == [10]


def test_a_stalled_reader_loses_its_oldest_and_holds_nobody_back() -> None:
    released: list[int] = []
    subscription = Subscription("s", ManualRunner(), buffer=3)
    give(subscription, [1, 2], Hold(10, 1, released.append), 0.0)
    give(subscription, [3, 4, 5], Hold(10, 1, released.append), STALL_AFTER * 2)
    assert subscription.missed == 2
    assert [m.data for m in subscription.take() or ()] == [3, 4, 5]
    assert released == [10, 10]


def test_a_reader_that_keeps_up_loses_nothing_whatever_its_buffer() -> None:
    subscription = Subscription("s", ManualRunner(), buffer=1)
    got: list[int] = []
    for i in range(0, 100, 10):
        give(subscription, range(i, i + 10), None, i / 10)
        got += [m.data for m in subscription.take() or ()]
        subscription.take()
    assert got == list(range(100))
    assert subscription.missed == 0


@pytest.mark.parametrize("concurrency", [1, 2, 8])
def test_a_long_queue_of_handlers_that_end_at_once_is_worked_off(concurrency: int) -> None:
    runner = ManualRunner()
    subscription = Subscription("s", runner, handler=ignore, concurrency=concurrency)
    for i in range(2000):
        give(subscription, [i], None, 0.0)
    runner.is_eager = True
    while runner.jobs:
        runner.end_next()
    assert sorted(runner.handled) == list(range(2000))
    assert not subscription.is_busy


def test_a_frame_of_a_thousand_messages_for_a_handler_that_ends_at_once_is_worked_off() -> None:
    runner = ManualRunner(is_eager=True)
    subscription = Subscription("s", runner, handler=ignore, concurrency=4)
    give(subscription, range(1000), None, 0.0)
    assert runner.handled == list(range(1000))


def test_the_iterator_is_woken_when_something_is_there() -> None:
    woken: list[int] = []
    subscription = Subscription("s", ManualRunner())
    subscription.on_ready = lambda: woken.append(1)
    give(subscription, [1], None, 0.0)
    assert woken == [1]


def test_a_closed_subscription_takes_nothing_and_holds_nothing() -> None:
    released: list[int] = []
    subscription = Subscription("s", ManualRunner())
    give(subscription, [1], Hold(1, 1, released.append), 0.0)
    subscription.close()
    give(subscription, [2], Hold(2, 1, released.append), 0.0)
    assert released == [1, 2]
    assert subscription.take() is None


def test_cancelling_ends_what_runs_and_tells_the_owner() -> None:
    runner = ManualRunner()
    ended: list[int] = []
    subscription = Subscription("s", runner, handler=ignore)
    subscription.on_end = lambda: ended.append(1)
    give(subscription, [1], None, 0.0)
    subscription.cancel()
    assert [job.is_cancelled for job in runner.jobs] == [True]
    assert ended == [1]


@pytest.mark.parametrize("options", [{"buffer": 0}, {"concurrency": 0}])
def test_options_that_cannot_work_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Subscription("s", ManualRunner(), **options)  # type: ignore[arg-type]


def test_messages_of_a_portion_are_handed_out_as_they_are() -> None:
    subscription = Subscription("s", ManualRunner())
    give(subscription, [1], None, 0.0)
    assert isinstance(subscription.take(), deque)
