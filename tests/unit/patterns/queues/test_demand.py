"""Whose jobs a worker asks for, when it can take only so many in all."""

from __future__ import annotations

from collections import Counter as Tally
from itertools import pairwise
from random import Random

import pytest

from patterns.errors import ConfigError
from patterns.queues.demand import MAX_ADAPTIVE
from patterns.queues.messages import CREDIT, MORE, RECALL
from patterns.queues.order import Order, Strict, Weights
from tests.unit.patterns.queues.queueworld import Desk, Link, WorkerSide, World


def first_jobs(side: WorkerSide, count: int) -> Tally[str]:
    return Tally(queue for _, queue, _ in side.came[:count])


def credits(side: WorkerSide) -> list[int]:
    return sorted(account.credit for account in side.worker._demand._accounts)


@pytest.mark.parametrize("most", [1, 3, 40])
def test_equal_homes_have_equal_turns(most: int) -> None:
    world = World()
    desks = [Desk(world) for _ in range(4)]
    side = WorkerSide(world, concurrency=1, max_in_flight=most, takes=lambda: 0.001)
    for desk in desks:
        desk.put(300)
        side.link(desk)
    world.run(2.0)
    done = [len(desk.done) for desk in desks]
    assert sum(done) >= 300
    assert max(done) - min(done) <= 2 * most


def test_one_credit_goes_round_twenty_homes_to_wherever_a_job_is() -> None:
    world = World()
    desks = [Desk(world) for _ in range(20)]
    side = WorkerSide(world, max_in_flight=1, takes=lambda: 0.0)
    for desk in desks:
        side.link(desk)
    world.run(1.0)
    for desk in Random(1).sample(desks, 20):
        desk.put()
        world.run(0.05)
        assert desk.done
        assert sum(credits(side)) <= 1
    for desk in desks:
        desk.put(5)
    world.run(2.0)
    assert all(len(desk.done) == 6 for desk in desks)


def test_credit_lies_evenly_while_nobody_has_jobs_and_a_job_anywhere_comes_at_once() -> None:
    world = World()
    desks = [Desk(world) for _ in range(4)]
    side = WorkerSide(world, concurrency=4, max_in_flight=10)
    links = [side.link(desk) for desk in desks]
    world.run(1.0)
    assert credits(side) == [2, 2, 3, 3]
    for desk in desks:
        desk.put(2)
    world.run(0.0011)
    assert len(side.waiting) == 8
    assert not any(link.count(MORE) for link in links)


def test_idle_credit_is_called_back_for_a_home_that_has_more() -> None:
    world = World()
    desks = [Desk(world) for _ in range(5)]
    side = WorkerSide(world, max_in_flight=50)
    links = [side.link(desk) for desk in desks]
    world.run(1.0)
    desks[0].put(1_000)
    world.run(1.0)
    assert len(side.waiting) == 50
    assert sum(link.count(RECALL) for link in links) == 4


def test_a_home_that_hangs_with_credit_does_not_keep_that_of_others_from_who_has_jobs() -> None:
    world = World()
    desks = [Desk(world) for _ in range(3)]
    side = WorkerSide(world, max_in_flight=30)
    delay = [0.001]
    side.link(desks[0])
    side.link(desks[1], lambda: delay[0])
    side.link(desks[2])
    world.run(1.0)
    delay[0] = 1_000.0
    desks[0].put(100)
    world.run(1.0)
    assert len(side.waiting) == 20


def test_the_credit_of_a_stream_that_ended_is_used_elsewhere() -> None:
    world = World()
    desks = [Desk(world) for _ in range(2)]
    side = WorkerSide(world, max_in_flight=10)
    links = [side.link(desk) for desk in desks]
    world.run(1.0)
    links[0].cut()
    world.run(1.0)
    assert credits(side) == [10]


def orders(order: Order, most: int) -> tuple[World, dict[str, Desk], WorkerSide]:
    world = World()
    side = WorkerSide(world, max_in_flight=most, order=order, takes=lambda: 0.001)
    desks = {queue: Desk(world, queue) for queue in order.queues}
    return world, desks, side


@pytest.mark.parametrize("most", [1, 64])
def test_a_strict_order_leaves_one_of_sixteen_to_the_others(most: int) -> None:
    world, desks, side = orders(Strict(["urgent", "b", "c"]), most)
    for desk in desks.values():
        desk.put(1_700)
        side.link(desk, lambda: 0.0001)
    world.run(3.0)
    came = first_jobs(side, 1_600)
    assert came["urgent"] == pytest.approx(1_500, abs=40 + 2 * most)
    assert came["b"] == pytest.approx(came["c"], abs=20 + most)
    assert came["c"] > 20


def test_all_goes_to_the_others_when_nothing_is_urgent() -> None:
    world, desks, side = orders(Strict(["urgent", "bulk"]), 10)
    for desk in desks.values():
        side.link(desk)
    desks["bulk"].put(100)
    world.run(1.0)
    assert len(desks["bulk"].done) == 100
    desks["bulk"].put(1_000)
    world.run(0.1)
    desks["urgent"].put(20)
    world.run(0.1)
    assert len(desks["urgent"].done) == 20


@pytest.mark.parametrize("most", [1, 64])
def test_weights_are_the_shares_of_those_that_have_jobs(most: int) -> None:
    world, desks, side = orders(Weights({"a": 10, "b": 5, "c": 1}), most)
    for desk in desks.values():
        desk.put(1_700)
        side.link(desk, lambda: 0.0001)
    world.run(3.0)
    came = first_jobs(side, 1_600)
    assert came["a"] == pytest.approx(1_000, rel=0.1, abs=most)
    assert came["b"] == pytest.approx(500, rel=0.1, abs=most)
    assert came["c"] == pytest.approx(100, rel=0.2, abs=most)


def test_as_much_is_fetched_ahead_as_was_done_in_a_tenth_of_a_second() -> None:
    world = World()
    desk = Desk(world)
    side = WorkerSide(world, concurrency=2, max_in_flight=None, takes=lambda: 0.01)
    side.link(desk)
    most = [0]

    def watch() -> None:
        most[0] = max(most[0], side.worker.in_flight)

    world.watch = watch
    desk.put(2_000)
    world.run(0.005)
    assert side.worker.in_flight == 2
    world.run(3.0)
    assert 18 <= most[0] <= 26  # 2, and 20 in a tenth of a second
    side.takes = lambda: 0.0
    desk.put(3 * MAX_ADAPTIVE)
    world.run(1.0)
    assert most[0] == MAX_ADAPTIVE


def test_what_was_fetched_ahead_while_it_was_busy_is_called_back_when_it_is_not() -> None:
    world = World()
    desks = [Desk(world) for _ in range(3)]
    side = WorkerSide(world, concurrency=2, max_in_flight=None, takes=lambda: 0.001)
    for desk in desks:
        side.link(desk)
        desk.put(1_000)
    world.run(5.0)
    assert all(len(desk.done) == 1_000 for desk in desks)
    assert sum(credits(side)) <= 2


@pytest.mark.parametrize("rate", [0.5, 3.0, 250.0])
@pytest.mark.parametrize("homes", [1, 5])
def test_no_more_jobs_come_in_any_time_than_the_rate_allows(rate: float, homes: int) -> None:
    random = Random(1)
    world = World()
    desks = [Desk(world) for _ in range(homes)]
    side = WorkerSide(world, concurrency=50, max_in_flight=50, rate=rate, takes=lambda: 0.0)
    for desk in desks:
        side.link(desk, lambda: random.random() / 100)
    span = 200 / rate
    for desk in desks:
        desk.put(120 // homes)
    world.run(span)
    world.at(world.time + span / 10, lambda: desks[0].put(60))
    world.run(span)
    times = [when for when, _, _ in side.came]
    burst = max(1.0, rate / 10)
    assert len(times) == 180
    for first in range(len(times)):
        for last in range(first, len(times)):
            allowed = rate * (times[last] - times[first]) + burst + 1e-6
            assert last - first + 1 <= allowed
    # And not fewer, by much.
    assert times[119] - times[0] <= 1.35 * 120 / rate
    assert all(a <= b for a, b in pairwise(times))


def test_a_busy_home_is_asked_in_batches() -> None:
    world = World()
    desk = Desk(world)
    side = WorkerSide(world, concurrency=64, max_in_flight=128, takes=lambda: 0.001)
    link: Link = side.link(desk, lambda: 0.0005)
    desk.put(6_400)
    world.run(1.0)
    assert len(desk.done) == 6_400
    assert link.count(CREDIT) <= 250
    assert not link.count(RECALL)


def test_credit_that_is_about_to_be_used_is_not_called_back() -> None:
    world = World()
    side = WorkerSide(world, concurrency=4, max_in_flight=8, takes=lambda: 0.001)
    links = [side.link(Desk(world)) for _ in range(3)]
    for link in links:
        link.desk.put(1_000)
    world.run(0.5)
    assert sum(len(link.desk.done) for link in links) >= 1_100
    assert sum(link.count(RECALL) for link in links) <= 3


@pytest.mark.parametrize(
    ("concurrency", "most", "rate"),
    [(0, None, None), (1, 0, None), (1, 10_001, None), (1, None, 0), (1, None, float("nan"))],
)
def test_what_cannot_be_is_refused(concurrency: int, most: int | None, rate: float | None) -> None:
    with pytest.raises(ConfigError):
        WorkerSide(World(), concurrency=concurrency, max_in_flight=most, rate=rate)
