"""What a worker does with the jobs that are here, and says of them."""

from __future__ import annotations

from typing import Any

import pytest

from patterns.errors import ConfigError, MeshError, PayloadTooLarge
from patterns.queues.checks import MAX_JOB_BYTES, BadMessage
from patterns.queues.errors import LeaseLost
from patterns.queues.messages import (
    COMMITTED,
    DONE,
    HOME,
    JOBS,
    LOST,
    MORE,
    RETURNED,
    TOUCH,
    TOUCHED,
)
from patterns.queues.ticket import Extra
from patterns.queues.worker import Held
from tests.unit.patterns.queues.queueworld import Desk, Link, WorkerSide, World


def bench(**options: Any) -> tuple[World, Desk, WorkerSide, Link]:
    """One home with ten jobs, and a worker that has them."""
    world = World()
    desk = Desk(world, lead=77.0)
    side = WorkerSide(world, **options)
    link = side.link(desk)
    desk.put(10)
    world.run(0.1)
    return world, desk, side, link


def test_what_is_done_in_one_turn_is_one_message_of_runs() -> None:
    world, desk, side, link = bench()
    held = {one.number: one for one in side.waiting}
    for number in (9, 2, 3, 1, 7):
        side.worker.done(held[number], b"r7" if number == 7 else None)
    world.run(0.1)
    (told,) = [message for _, message in link.messages if message[0] == DONE]
    assert told == [DONE, [1, 3, 7, 1, 9, 1], {7: b"r7"}]
    assert desk.done == {1: None, 2: None, 3: None, 7: b"r7", 9: None}


def test_large_results_are_told_in_several_messages() -> None:
    world, desk, side, link = bench()
    for held in list(side.waiting):
        side.worker.done(held, bytes(30_000))
    world.run(0.1)
    assert link.count(DONE) == 5
    assert len(desk.done) == 10


def test_a_job_says_what_its_producer_said_of_it() -> None:
    world, desk, side, _ = bench(max_in_flight=20)
    desk.put(key=b"k", extra=Extra(id="mine", headers={"a": "b"}))
    world.run(0.1)
    first, last = side.waiting[0], side.waiting[-1]
    assert (last.id, last.key, last.headers) == ("mine", b"k", {"a": "b"})
    assert (first.id, first.key, first.headers) == ("0badcafe-1", None, {})
    assert (first.queue, first.attempts, first.body) == ("q", 1, b"job")
    assert first.put_ms == pytest.approx((world.time - 0.1 + 77) * 1000 + 5_000, abs=200)


def test_a_second_end_is_ignored() -> None:
    world, desk, side, _ = bench()
    held = side.take()
    side.worker.done(held, b"first")
    side.worker.done(held, b"second")
    side.worker.retry(held, 0, "why")
    side.worker.dead(held, "why")
    side.worker.touch(held)
    side.worker.let_go(held)
    world.run(0.1)
    assert desk.done == {1: b"first"}
    assert (held.is_settled, held.is_lost) == (True, False)
    assert side.worker.in_flight == 10


def test_retries_and_burials_reach_the_line() -> None:
    world, desk, side, _ = bench()
    side.worker.retry(side.take(), 5.0, "no luck " * 1000)
    side.worker.dead(side.take(), "hopeless")
    world.run(1.0)
    assert (desk.line.delayed.count, desk.line.dead) == (1, 1)
    world.run(5.0)
    assert side.waiting[-1].number == 1
    assert side.waiting[-1].attempts == 2


def test_a_touched_job_is_held_for_as_long_as_it_is_touched() -> None:
    world, desk, side, _ = bench(lease=2.0)
    kept, *_ = side.waiting
    for _ in range(10):
        side.worker.touch(kept)
        side.worker.touch(kept)
        world.run(1.5)
    assert not kept.is_lost
    side.worker.done(kept)
    world.run(0.1)
    assert 1 in desk.done
    assert {held.number for _, held in side.fenced} == set(range(2, 11))


def test_touches_wait_while_one_is_not_answered() -> None:
    world, _, side, link = bench()
    before = link.count(TOUCH)
    fence_at = side.waiting[0].fence_at
    for held in side.waiting:
        side.worker.touch(held)
        world.run(0.0001)
    world.run(1.0)
    assert link.count(TOUCH) - before <= 3
    assert link.count(TOUCHED) == link.count(TOUCH)
    assert all(held.fence_at > fence_at for held in side.waiting)


def test_a_fenced_job_is_lost_and_its_late_end_is_told_so() -> None:
    world, desk, side, link = bench(lease=2.0, max_in_flight=10)
    late = side.take()
    side.running.add(late)
    world.run(1.95)
    assert late.is_lost
    for end in (
        lambda: side.worker.done(late),
        lambda: side.worker.retry(late, 0, ""),
        lambda: side.worker.dead(late, ""),
        lambda: side.worker.touch(late),
        lambda: side.worker.progress(late, 1, 2),
        lambda: side.worker.commit(late, None, [], print),
    ):
        with pytest.raises(LeaseLost, match="job 1 of q"):
            end()
    world.run(0.5)
    assert not desk.done
    assert link.count(LOST)
    assert side.worker.lost >= 10


def test_what_is_lost_is_in_flight_until_nothing_runs_for_it() -> None:
    world, _, side, _ = bench(lease=2.0, max_in_flight=10)
    side.running.update(side.waiting)
    side.waiting.clear()
    side.stops_after = lambda: 3.0
    world.run(3.0)
    assert len(side.fenced) == 10
    assert side.worker.in_flight == 10
    assert not side.waiting
    with pytest.raises(LeaseLost):
        side.worker.done(side.fenced[0][1])
    assert side.worker.in_flight == 9
    world.run(3.0)
    assert len(side.waiting) == 10


def test_an_end_that_comes_before_a_late_timer_does_is_late_all_the_same() -> None:
    world, _, side, _ = bench(lease=2.0)
    held = side.take()
    world.time += 5.0  # The loop was busy: no timer was looked at.
    with pytest.raises(LeaseLost):
        side.worker.done(held)
    assert held not in [one for _, one in side.fenced]


def test_an_end_that_crosses_the_end_of_the_lease_is_answered_with_lost() -> None:
    world = World()
    desk = Desk(world)
    side = WorkerSide(world, lease=2.0, max_in_flight=1)
    delay = [0.001]
    link = side.link(desk, lambda: delay[0])
    desk.put()
    world.run(1.0)
    delay[0] = 3.0
    side.worker.done(side.take())
    world.run(0.0)
    delay[0] = 0.001
    world.run(3.1)
    assert not desk.done
    assert link.count(LOST) == 2  # When the lease ended, and when the end came.
    assert side.waiting[0].attempts == 2
    assert link.is_open


def test_jobs_that_were_under_way_for_longer_than_their_lease_are_not_begun() -> None:
    world = World()
    desk = Desk(world)
    side = WorkerSide(world, lease=2.0, max_in_flight=4)
    delay = [0.001]
    link = side.link(desk, lambda: delay[0])
    world.run(1.0)
    delay[0] = 3.0
    desk.put(4)
    world.run(4.0)
    assert link.count(JOBS)
    assert not side.came
    assert side.worker.lost == 4


def test_a_job_is_warned_of_once_for_each_lease() -> None:
    world, _, side, _ = bench(lease=20.0)
    held = side.waiting[0]
    world.run(16.5)
    assert not side.warned
    world.run(0.7)
    assert [one.number for _, one in side.warned] == list(range(1, 11))
    side.worker.touch(held)
    world.run(18.0)
    assert [one.number for _, one in side.warned].count(1) == 2


def test_a_stream_that_ends_takes_its_jobs_along() -> None:
    world, desk, side, link = bench()
    mine = list(side.waiting)
    side.worker.done(mine[0])
    link.cut()
    assert all(held.is_lost for held in mine[1:])
    assert len(side.fenced) == 9
    with pytest.raises(LeaseLost):
        side.worker.done(mine[1])
    world.run(0.1)
    assert side.worker.is_idle
    # Its end has not left, so it is another's.
    assert desk.line.ready.count == 10
    assert link.source is not None
    side.worker.remove_source(link.source, "again")
    link.source.on_message([LOST, [1], "late"])


def test_pausing_gives_all_credit_back_and_what_is_here_goes_on() -> None:
    world, desk, side, _ = bench(max_in_flight=20)
    side.worker.pause_intake()
    world.run(0.1)
    assert side.worker.in_flight == 10
    assert not side.worker.is_idle
    desk.put(5)
    for held in list(side.waiting):
        side.worker.done(held)
    world.run(0.1)
    assert side.worker.is_idle
    assert len(desk.done) == 10
    side.worker.resume_intake()
    world.run(0.1)
    assert len(side.came) == 15


def test_nothing_is_left_of_a_closed_worker() -> None:
    world, desk, side, link = bench()
    side.worker.close()
    link.customer.leave(is_silent=False)
    assert len(side.fenced) == 10
    world.run(0.1)
    said = len(link.messages)
    world.run(500.0)
    assert len(link.messages) == said
    assert desk.line.ready.count == 10


Answer = tuple[str, str] | None


def committing(side: WorkerSide) -> tuple[Held, list[Answer]]:
    held = side.take()
    answers: list[Answer] = []
    side.worker.commit(held, b"r", [("next", b"body", {"delay": 1})], answers.append)
    return held, answers


def test_a_commit_ends_the_job_when_it_is_safe() -> None:
    world, desk, side, link = bench()
    asked: list[Any] = []
    link.customer.on_commit = lambda *what: asked.append(what)
    held, answers = committing(side)
    with pytest.raises(MeshError, match="being committed"):
        side.worker.done(held)
    world.run(0.1)
    assert asked == [(1, 1, b"r", [("next", b"body", {"delay": 1})])]
    desk.line.finish(link.customer.holder, 1)
    link.customer.committed(1, None)
    world.run(0.1)
    assert answers == [None]
    assert held.is_settled


def test_a_job_is_as_before_when_its_commit_failed() -> None:
    world, desk, side, _ = bench()
    held, answers = committing(side)
    world.run(0.1)
    assert answers[0] is not None
    assert answers[0][0] == "ConfigError"
    side.worker.done(held)
    world.run(0.1)
    assert 1 in desk.done


def test_nobody_knows_of_a_commit_whose_stream_ended() -> None:
    _, _, side, link = bench()
    held, answers = committing(side)
    link.cut()
    assert answers[0] is not None
    assert answers[0][0] == "PeerLost"
    assert held.is_lost


def test_a_commit_that_is_answered_after_the_fence_is_told_all_the_same() -> None:
    world, _, side, link = bench(lease=2.0)
    link.customer.on_commit = lambda *what: None
    held, answers = committing(side)
    world.run(1.95)
    assert held.is_lost
    link.customer.committed(1, None)
    world.run(0.1)
    assert answers == [None]


def test_progress_is_told() -> None:
    world, desk, side, _ = bench()
    side.worker.progress(side.waiting[0], 3, 10, b"half way")
    world.run(0.1)
    assert desk.progresses == [(1, (3, 10, b"half way"))]
    with pytest.raises(ValueError, match="0 or more"):
        side.worker.progress(side.waiting[0], -1, 10)


def test_what_is_too_large_is_refused_and_the_job_is_as_before() -> None:
    _, _, side, _ = bench()
    held = side.take()
    large = bytes(MAX_JOB_BYTES + 1)
    with pytest.raises(PayloadTooLarge):
        side.worker.done(held, large)
    with pytest.raises(PayloadTooLarge):
        side.worker.progress(held, 1, 1, large)
    with pytest.raises(PayloadTooLarge):
        side.worker.commit(held, None, [("q", large, {})], print)
    side.worker.done(held)


def test_a_queue_or_a_lease_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="lease"):
        WorkerSide(World(), lease=0.1)
    with pytest.raises(ConfigError, match="'other' is none"):
        WorkerSide(World()).link(Desk(World(), "other"))


def test_jobs_are_fenced_in_order_also_when_the_clock_becomes_known_less_well() -> None:
    world = World()
    desk = Desk(world)
    side = WorkerSide(world, lease=5_000.0, max_in_flight=2_000)
    delay = [0.001]
    link = side.link(desk, lambda: delay[0])
    world.run(250.0)
    delay[0] = 0.5
    for count in range(1_250):
        world.at(world.time + 250 + count * 0.4, desk.put)
    world.run(1_000.0)
    assert link.source is not None
    fences = [held.fence_at for held in link.source.held.values()]
    assert len(fences) == 1_250
    assert fences == sorted(fences)
    arrivals = [when + side.lease * 0.95 for when, _, _ in side.came]
    slack = [a - f for a, f in zip(arrivals, fences, strict=True)]
    assert max(slack) <= 1.51
    assert slack[-1] > slack[0] + 0.4  # It did become known less well.


JOB: list[Any] = [JOBS, 77_000, [50], [1], [5], [b"x"], None]


def but(field: int, value: Any) -> list[Any]:
    return [*JOB[:field], value, *JOB[field + 1 :]]


@pytest.mark.parametrize(
    "message",
    [
        *(but(1, -1), but(1, 1.5), but(2, []), but(2, [1]), but(2, [True]), but(2, [2**63])),
        *(but(3, [1, 2]), but(3, []), but(3, ["1"]), but(4, [-1]), but(5, ["x"]), but(5, b"x")),
        *(but(5, [bytes(2**20 + 1)]), but(6, {}), but(6, []), but(6, {1: {}}), but(6, {0: None})),
        *(but(6, {0: {"id": 5}}), but(6, {0: {"key": "k"}}), but(6, {0: {"headers": {"a": 1}}})),
        *(JOB[:-1], [JOBS, 77_000, [50, 50], [1, 1], [5, 5], [b"x", b"x"], None]),
        *([JOBS, 77_000, [*range(50, 61)], [1] * 11, [5] * 11, [b"x"] * 11, None],),
        *([MORE, 1], [RETURNED, 0], [LOST, [1], None], [TOUCHED, 77_000, []], [HOME, "x"]),
        *([COMMITTED, 1, None], [DONE, [1, 1], {}], [HOME], [LOST, [-1], ""]),
    ],
)
def test_what_is_malformed_is_refused(message: list[Any]) -> None:
    _, _, side, link = bench(max_in_flight=20)
    assert link.source is not None
    if message == but(6, {}):
        link.source.on_message(message)
        return
    with pytest.raises(BadMessage):
        link.source.on_message(message)
    assert (len(side.came), side.worker.in_flight) == (10, 20)


def test_jobs_before_the_homes_name_and_clock_are_refused() -> None:
    side = WorkerSide(World())
    source = side.worker.add_source("q", lambda message: None)
    source.on_message([MORE])
    side.world.run(0.1)
    with pytest.raises(BadMessage, match="before HOME"):
        source.on_message(JOB)
