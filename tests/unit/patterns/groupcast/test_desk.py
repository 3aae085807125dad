"""A desk hands casts to a handler or a reader and learns what became of each."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from patterns.errors import Refuse
from patterns.groupcast import casts as k
from patterns.groupcast.casts import MarkedCast
from patterns.groupcast.desk import CastPortion, Desk
from patterns.groupcast.worklist import PREFETCH_SECONDS
from patterns.messages import Message
from patterns.names import group_subject
from patterns.subscription import Subscription
from tests.sim.runner import sleep
from tests.unit.patterns.groupcast.port import Port


class Owner:
    """``DeskOwner`` that writes down what it is told."""

    def __init__(self) -> None:
        self.time = 0.0
        self.is_paused = False
        self.done: list[tuple[Any, int | None]] = []
        self.back: list[tuple[Any, int]] = []
        self.unbegun: list[Any] = []

    def now(self) -> float:
        return self.time

    def may_start(self) -> bool:
        return not self.is_paused

    def through(self, message: Any) -> None:
        self.done.append((message.data, message.outcome))

    def pass_back(self, message: Any, reason: int) -> None:
        self.back.append((message.data, reason))

    def not_begun(self, desk: Desk, messages: list[Any]) -> None:
        self.unbegun += [message.data for message in messages]


class Job:
    """A handler at work, one message at a time when the test says so."""

    def __init__(
        self, handle: Callable[[Any], Any], messages: deque[Any], done: Callable[[], None]
    ) -> None:
        self.handle = handle
        self.messages = messages
        self.done = done

    def step(self) -> None:
        with contextlib.suppress(Exception):  # as the pool does, which logs it
            self.handle(self.messages.popleft())

    def cancel(self) -> None: ...


class Runner:
    """A pool whose threads stand still until they are told to go on."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def start(self, *args: Any) -> None:
        raise NotImplementedError

    def start_each(
        self,
        function: Callable[[Any], Any],
        messages: deque[Any],
        is_async: bool,
        done: Callable[[], None],
    ) -> Job:
        self.jobs.append(Job(function, messages, done))
        return self.jobs[-1]


def cast(data: Any, key: str | None = None) -> MarkedCast:
    message = MarkedCast(group_subject("crew"), data, {}, None, None, 0)
    message.key = key
    message.redelivered = False
    return message


class Scene:
    """A subscription with a desk, and what its handler got."""

    def __init__(
        self,
        handler: Callable[[Any], Any] | None = None,
        *,
        has_handler: bool = True,
        concurrency: int = 1,
        inline: bool = False,
    ) -> None:
        self.got: list[Any] = []
        self.owner = Owner()
        self.runner = Runner()
        chosen = (
            (handler or (lambda message: self.got.append(message.data))) if has_handler else None
        )
        self.subscription = Subscription(
            group_subject("crew"),
            self.runner,
            handler=chosen,
            inline=inline,
            concurrency=concurrency,
        )
        self.desk = Desk(self.subscription, self.owner)
        self.subscription.casts = self.desk

    def put(self, *data: Any, key: str | None = None) -> None:
        for one in data:
            self.desk.put(cast(one, key))
        self.subscription.wake()

    def run_all(self) -> None:
        while self.runner.jobs:
            job = self.runner.jobs.pop(0)
            while job.messages:
                job.step()
            job.done()

    def pulled(self, unwanted: Callable[[Any], bool] = lambda data: True) -> list[Any]:
        return [m.data for m in self.desk.take_unstarted(lambda m: unwanted(m.data))]


def test_what_is_handled_is_reported_in_order() -> None:
    scene = Scene()
    scene.put(1, 2, 3)
    scene.run_all()
    assert scene.got == [1, 2, 3]
    assert scene.owner.done == [(1, k.HANDLED), (2, k.HANDLED), (3, k.HANDLED)]
    assert not scene.desk.is_busy


def test_a_handler_that_raises_has_handled_it_and_one_that_refuses_has_not() -> None:
    def handler(message: Any) -> None:
        raise {"refuse": Refuse, "fail": ValueError}[message.data]

    scene = Scene(handler)
    scene.put("refuse", "fail")
    scene.run_all()
    assert scene.owner.done == [("refuse", k.REFUSED), ("fail", k.HANDLED)]


@pytest.mark.parametrize("is_async", [False, True])
def test_the_same_goes_for_coroutines(is_async: bool) -> None:
    port = Port()

    def plain(message: Any) -> None:
        if message.data != "fine":
            raise {"refuse": Refuse, "fail": ValueError}[message.data]

    async def coroutine(message: Any) -> None:
        await sleep(0.1)
        plain(message)

    owner = Owner()
    subscription = Subscription(
        group_subject("crew"),
        port.runner,
        handler=coroutine if is_async else plain,
        is_async=is_async,
    )
    desk = subscription.casts = Desk(subscription, owner)
    for data in ("fine", "refuse", "fail"):
        desk.put(cast(data))
    subscription.wake()
    port.run(1.0)
    assert owner.done == [("fine", k.HANDLED), ("refuse", k.REFUSED), ("fail", k.HANDLED)]
    assert [type(error) for error in port.runner.failures] == [ValueError]


def test_inline_it_is_the_same_without_a_runner() -> None:
    def handler(message: Any) -> None:
        raise {"refuse": Refuse, "fail": ValueError, "exit": SystemExit}[message.data]

    scene = Scene(handler, inline=True)
    assert scene.desk.run(cast("fail"))
    assert scene.desk.run(cast("exit"))
    assert not scene.desk.run(cast("refuse"))


def test_one_concurrency_holds_for_all_that_the_handler_gets() -> None:
    scene = Scene(concurrency=2)
    scene.put(1, 2, 3)
    assert len(scene.runner.jobs) == 2
    job = scene.runner.jobs.pop(0)
    job.step()
    job.done()
    assert [list(map(data_of, job.messages)) for job in scene.runner.jobs] == [[2], [3]]


def test_of_one_key_at_most_one_is_with_the_handlers() -> None:
    scene = Scene(concurrency=3)
    scene.put("a1", "a2", key="a")
    scene.put("b1", key="b")
    assert [data_of(job.messages[0]) for job in scene.runner.jobs] == ["a1", "b1"]
    first = scene.runner.jobs.pop(0)
    first.step()
    first.done()
    assert [data_of(job.messages[0]) for job in scene.runner.jobs] == ["b1", "a2"]


def test_what_no_handler_has_come_to_can_be_taken_back_and_the_rest_goes_on() -> None:
    scene = Scene()
    scene.desk.worklist.took(0.0, 1)
    scene.put(1, 2, 3, 4)
    (job,) = scene.runner.jobs
    job.step()
    assert scene.pulled(lambda data: data % 2 == 0) == [2, 4]
    assert not job.messages
    job.done()
    assert scene.owner.done == [(1, k.HANDLED)]
    scene.runner.jobs.remove(job)
    scene.run_all()
    assert scene.got == [1, 3]
    assert not scene.desk.is_busy
    assert scene.desk.worklist.running == 0


def test_taking_back_leaves_what_waits_in_its_order() -> None:
    scene = Scene()
    scene.desk.worklist.took(0.0, 1)
    scene.put(1, 2)
    scene.put(3, 4)
    assert scene.pulled(lambda data: False) == []
    scene.run_all()
    assert scene.got == [1, 2, 3, 4]


def test_broadcasts_and_groupcasts_come_to_a_handler_by_turns() -> None:
    got = []

    def handler(message: Any) -> None:
        scene.owner.time += 1.0
        got.append(message.data)

    scene = Scene(handler)
    scene.put("cast 0")
    for number in range(3):
        scene.subscription.fresh = [Message(group_subject("crew"), f"all {number}", {}, None)]
        scene.subscription.accept(None, 0.0)
        scene.put(f"cast {number + 1}")
    scene.run_all()
    assert got == ["cast 0", "all 0", "cast 1", "all 1", "cast 2", "all 2", "cast 3"]


def test_they_come_to_a_reader_by_turns_too() -> None:
    scene = Scene(has_handler=False)
    for number in range(3):
        scene.put(f"cast {number}")
        scene.subscription.fresh = [Message(group_subject("crew"), f"all {number}", {}, None)]
        scene.subscription.accept(None, 0.0)
    got = []
    while (taken := scene.subscription.take()) is not None:
        got.append([message.data for message in taken])
    assert got == [["cast 0"], ["all 0", "all 1", "all 2"], ["cast 1"], ["cast 2"]]


def test_in_a_pause_nothing_begins_and_what_was_handed_out_is_told() -> None:
    scene = Scene()
    scene.desk.worklist.took(0.0, 1)
    scene.put(1, 2)
    (job,) = scene.runner.jobs
    job.step()
    scene.owner.is_paused = True
    job.step()
    job.done()
    assert scene.got == [1]
    assert scene.owner.done == [(1, k.HANDLED)]
    assert scene.owner.unbegun == [2]
    assert scene.owner.back == []


def test_what_a_pause_kept_from_beginning_is_taken_back_as_unbegun() -> None:
    scene = Scene()
    scene.desk.worklist.took(0.0, 1)
    scene.put(1, 2, 3)
    (job,) = scene.runner.jobs
    job.step()
    scene.owner.is_paused = True
    job.step()
    assert scene.pulled() == [2, 3]
    job.done()
    assert scene.owner.done == [(1, k.HANDLED)]
    assert scene.owner.unbegun == scene.owner.back == []
    assert not scene.desk.is_busy


def test_in_a_pause_no_portion_is_made_and_a_reader_gets_nothing() -> None:
    scene, reading = Scene(), Scene(has_handler=False)
    for one in (scene, reading):
        one.owner.is_paused = True
        one.put(1)
        assert not one.desk.is_ready
        one.owner.is_paused = False
        assert one.desk.is_ready
    assert scene.runner.jobs == []


def test_what_a_pool_gave_up_goes_back_unbegun() -> None:
    scene = Scene()
    scene.desk.worklist.took(0.0, 1)
    scene.put(1, 2, 3)
    (job,) = scene.runner.jobs
    job.step()
    job.done()
    assert scene.owner.done == [(1, k.HANDLED)]
    assert scene.owner.back == [(2, k.BACK_UNSTARTED), (3, k.BACK_UNSTARTED)]
    assert scene.desk.worklist.running == 0


def test_a_reader_gets_one_and_is_through_with_it_when_it_asks_for_the_next() -> None:
    scene = Scene(has_handler=False)
    scene.put(1, 2)
    assert list(map(data_of, scene.subscription.take() or ())) == [1]
    assert scene.owner.done == []
    assert scene.desk.is_busy
    assert list(map(data_of, scene.subscription.take() or ())) == [2]
    assert scene.owner.done == [(1, k.HANDLED)]
    assert scene.subscription.take() is None
    assert scene.owner.done == [(1, k.HANDLED), (2, k.HANDLED)]
    assert not scene.desk.is_busy


def test_what_a_reader_never_came_back_from_is_known() -> None:
    scene = Scene(has_handler=False)
    scene.put(1, 2)
    scene.subscription.take()
    taken = scene.desk.take_from_reader()
    assert taken is not None
    assert taken.data == 1
    assert scene.desk.take_from_reader() is None
    assert scene.pulled() == [2]
    assert scene.owner.done == []
    assert scene.desk.worklist.running == 0


def test_the_handlers_time_is_learnt_from_portions_and_from_readers() -> None:
    scene, reading = Scene(), Scene(has_handler=False)
    scene.put(1)
    (job,) = scene.runner.jobs
    job.step()
    scene.owner.time += 0.5
    job.done()
    assert scene.desk.worklist.seconds == pytest.approx(0.5)
    reading.put(1)
    reading.subscription.take()
    reading.owner.time += PREFETCH_SECONDS / 4
    reading.subscription.take()
    assert reading.desk.worklist.capacity == 4


def test_a_key_is_here_while_a_cast_of_it_waits_runs_or_is_read() -> None:
    scene, reading = Scene(), Scene(has_handler=False)
    scene.put(1, key="a")
    scene.put(2, key="b")
    assert scene.desk.has_key(b"a")
    assert scene.desk.has_key(b"b")
    assert not scene.desk.has_key(b"c")
    scene.run_all()
    assert not scene.desk.has_key(b"a")
    reading.put(1, key="a")
    reading.subscription.take()
    assert reading.desk.has_key(b"a")
    reading.subscription.take()
    assert not reading.desk.has_key(b"a")


def test_a_thread_that_takes_the_last_one_meanwhile_does_no_harm() -> None:
    scene = Scene()
    scene.desk.worklist.took(0.0, 1)
    scene.put(1, 2)
    portion = next(iter(scene.desk._portions))
    assert isinstance(portion, CastPortion)
    (job,) = scene.runner.jobs
    job.step()
    job.step()
    assert scene.pulled() == []
    job.done()
    assert [data for data, _ in scene.owner.done] == [1, 2]


def data_of(message: Any) -> Any:
    return message.data
