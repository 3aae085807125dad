"""The laws of the two ends of the work stream, whatever the schedule."""

from __future__ import annotations

from collections import Counter as Tally
from random import Random
from typing import Any

import pytest

from patterns.queues.errors import LeaseLost
from patterns.queues.messages import COMMITTED, HOME, RECALL, TOUCH, TOUCHED
from patterns.queues.order import Strict, Weights
from patterns.queues.worker import Held
from tests.unit.patterns.queues.queueworld import Desk, Link, WorkerSide, World, is_refused


class Storm:
    """Some homes of some queues, some workers, and everything that can happen to them."""

    def __init__(self, seed: int, *, jobs: int = 60) -> None:
        self.world = world = World(seed)
        self.random = random = world.random
        queues = ["q", "r", "s"][: random.randint(1, 3)]
        self.desks = [
            Desk(world, random.choice(queues), lead=random.uniform(-500, 5e6))
            for _ in range(random.choice([1, 2, 3, 8]))
        ]
        order = random.choice([Strict(queues), Weights(dict.fromkeys(queues, 2.0))])
        self.sides: list[WorkerSide] = []
        for number in range(random.choice([1, 1, 2, 4])):
            side = WorkerSide(
                world,
                name=f"w{number}",
                concurrency=random.choice([1, 2, 5]),
                max_in_flight=random.choice([1, 1, 2, 7, 50, None]),
                lease=random.choice([0.5, 5.0]),
                rate=random.choice([None, None, 50.0]),
                order=order,
                takes=lambda: random.choice([0.0, 0.001, random.random() / 20]),
                lead=random.uniform(-500, 5e6),
            )
            side.ends = lambda held, side=side: self.end(side, held)
            side.stops_after = lambda: random.choice([0.0, random.random() / 10])
            self.sides.append(side)
        self.slow = random.choice([0.0, 0.001, 0.02, 0.05])
        self.links = [self.link(side, desk) for side in self.sides for desk in self.desks]
        world.watch = self.check
        for _ in range(jobs):
            world.at(world.time + random.random() * 2, self.put)
        for _ in range(random.choice([0, 0, 6])):
            world.at(world.time + random.random() * 2, self.disturb)

    def link(self, side: WorkerSide, desk: Desk) -> Link:
        return side.link(desk, lambda: self.slow * self.random.random())

    def put(self) -> None:
        desk = self.random.choice(self.desks)
        key = self.random.choice([None, None, b"a"])
        desk.put(self.random.choice([1, 1, 5]), key=key)

    def end(self, side: WorkerSide, held: Held) -> None:
        kind = self.random.random()
        try:
            if kind < 0.1 and held.attempts < 3:
                side.worker.retry(held, self.random.choice([0.0, 0.05]), "once more")
            elif kind < 0.13 and held.attempts < 3:
                side.running.add(held)  # It hangs until it is fenced.
            elif kind < 0.2:
                side.worker.touch(held)
                side.worker.done(held)
            else:
                side.worker.done(held, self.random.choice([None, b"result"]))
        except LeaseLost:
            pass

    def disturb(self) -> None:
        number = self.random.randrange(len(self.links))
        link = self.links[number]
        kind = self.random.randrange(4)
        if kind == 0 and link.is_open:
            link.cut(is_silent=self.random.random() < 0.5)
            self.links[number] = self.link(link.side, link.desk)
        elif kind == 1:
            link.room = self.random.randrange(3)
            self.world.at(self.world.time + 0.2, lambda: link.is_open and link.widen(2**62))
        elif kind == 2:
            link.side.worker.pause_intake()
            self.world.at(self.world.time + 0.1, link.side.worker.resume_intake)
        else:
            line = link.desk.line
            line.is_paused = True

            def go_on() -> None:
                line.is_paused = False
                line.on_ready()

            self.world.at(self.world.time + 0.1, go_on)

    def check(self) -> None:
        for side in self.sides:
            demand = side.worker._demand
            if demand._fixed is not None:
                assert 0 <= demand.in_flight <= demand._fixed
            assert demand.credit == sum(account.credit for account in demand._accounts)
            assert len(side.running) + len(side.waiting) <= demand.held
            assert not any(one.credit and one.is_wanting for one in demand._accounts)

    def is_over(self) -> bool:
        return all(not len(desk.line) for desk in self.desks)


@pytest.mark.parametrize(
    "block", [*range(2), *(pytest.param(block, marks=pytest.mark.slow) for block in range(2, 100))]
)
def test_every_job_is_handed_out_and_nobody_has_more_than_it_may(block: int) -> None:
    for seed in range(block * 15, block * 15 + 15):
        storm = Storm(seed)
        storm.world.run(2.5)
        for _ in range(600):
            storm.world.run(0.5, most=200_000)
            if storm.is_over():
                break
        assert storm.is_over(), (seed, [vars(desk.line) for desk in storm.desks])
        storm.world.run(10.0)
        assert all(side.worker._demand.held == 0 for side in storm.sides), seed
        for link in storm.links:
            link.messages.clear()
        storm.world.run(50.0, most=20_000)
        said = Tally(message[0] for link in storm.links for _, message in link.messages)
        assert said.keys() <= {TOUCH, TOUCHED}, (seed, "they still talk, about nothing", said)


def watch_leases(desk: Desk, sides: list[WorkerSide]) -> list[int]:
    """Whenever a lease ends at the home, its worker must have stopped; returns which ended."""
    ended: list[int] = []

    def on_ended(ticket: object, ending: str) -> None:
        number = ticket.number  # type: ignore[attr-defined]
        ended.append(number)
        for side in sides:
            for held in [*side.running, *side.waiting]:
                assert held.number != number or held.is_lost, (number, "ran on", side.name)

    desk.line.ended = on_ended
    return ended


@pytest.mark.parametrize("seed", range(20))
def test_a_job_is_fenced_before_its_lease_ends_whatever_delays_and_clocks_are(seed: int) -> None:
    random = Random(seed)
    world = World(seed)
    # Up to several leases on the way, and as lopsided as you like.
    up, down = random.choice([0, 0.01, 3]), random.choice([0, 0.01, 3])
    desk = Desk(world, lead=random.uniform(0, 1e7), drift=random.uniform(-1, 1) * 5e-5)
    side = WorkerSide(
        world,
        concurrency=5,
        max_in_flight=5,
        lease=random.choice([0.5, 2.0, 20.0]),
        lead=random.uniform(0, 1e7),
        drift=random.uniform(-1, 1) * 5e-5,
        takes=lambda: random.choice([0.1, 1e9]),
    )
    ended = watch_leases(desk, [side])
    turn = iter(range(10**9))
    link = side.link(desk, lambda: (up if next(turn) % 2 else down) * random.random())

    def touch() -> None:
        for held in side.running:
            if not held.is_lost and random.random() < 0.5:
                side.worker.touch(held)
        world.at(world.time + side.lease * 0.7, touch)

    touch()
    for _ in range(40):
        world.at(world.time + random.random() * 900, desk.put)
    world.run(1_000)
    assert len(desk.done) + len(ended) >= 20
    assert link.count(TOUCH) >= 9


@pytest.mark.parametrize("seed", range(2))
def test_only_valueerror_comes_of_garbage_at_either_end(seed: int) -> None:
    random = Random(seed)
    desk = Desk(World())
    side = WorkerSide(desk.world, max_in_flight=4, order=Strict(["q"]))
    desk.put(20)
    link = side.link(desk)
    desk.world.run(0.1)
    assert side.waiting
    atoms: list[Any] = [
        *(None, True, -1, 0, 1, 2, 3, 4, 7, 2**62, 2**64 - 1, 1.5, float("nan"), "", "text", b""),
        *(b"body", [], {}, [1], [1, 1], [b"x"], [[]], {1: b"r"}, {0: {}}, {"a": 1}, "x" * 2000),
        *({0: {"id": 1}}, {0: {"headers": {1: 2}}}, [["q", b"b", {}]], [[]], {None: None}),
    ]
    link.customer.on_commit = lambda *asked: None
    refused = 0
    for _ in range(4_000):
        kind = random.choice([*range(-1, 9), *range(15, 24)])
        message = [kind, *(random.choice(atoms) for _ in range(random.choice([0, 1, 2, 3, 4, 6])))]
        refused += is_refused(link.customer.on_message, message)
        assert link.source is not None
        refused += is_refused(link.source.on_message, message)
        if random.random() < 0.05:
            # Jobs that could be, with one field that may not.
            fields = [2**20, [random.randrange(2**40)], [1], [5], [b"x"], {0: {"id": "a"}}]
            fields[random.randrange(6)] = random.choice(atoms)
            is_refused(link.source.on_message, [16, *fields])
        assert link.customer.credit >= 0
        assert side.worker.in_flight <= 4
    for message in (*atoms, [[]], [None], [HOME, "again"], [COMMITTED, 1, None], [{}]):
        assert is_refused(link.customer.on_message, message) or message == [RECALL]
        assert is_refused(link.source.on_message, message)
    assert refused > 5_000
