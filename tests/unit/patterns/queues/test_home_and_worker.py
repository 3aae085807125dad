"""A whole queue on virtual time: the real home over jobs in memory, and real workers."""

from __future__ import annotations

from typing import Any

from mesh.stores.memory import MemoryStore
from patterns.errors import MeshError
from patterns.queues.counter import Counter
from patterns.queues.home import Home
from patterns.queues.jobspec import HomeOptions, JobSpec
from patterns.queues.messages import LOST
from patterns.queues.outcomes import Outcome
from tests.unit.patterns.queues.queueworld import Clock, Desk, Link, WorkerSide, World


class House(Desk):
    """A home that is one."""

    def __init__(self, world: World, **options: Any) -> None:
        self.world = world
        self.name = "q"
        self.clock = Clock(world, 9.0)
        self.memory = MemoryStore()
        self.memory.open()
        self.memory.start(
            world.soon, lambda delay, callback: world.at(world.time + delay, callback), 0
        )
        self.home = Home("q", self.memory, self.clock, HomeOptions(**options), offset_ms=5)
        self.home.open(())
        self.counter = Counter(self.home, self.home.group(""), self.clock)
        self.heard: list[Outcome] = []

    def tick(self) -> None:
        pass

    def put_one(self, body: bytes = b"job", **options: Any) -> int:
        numbers: list[int] = []

        def then(puts: Any) -> None:
            assert not isinstance(puts, MeshError)
            numbers.append(puts[0].number)
            self.home.watch(puts[0].number, self.heard.append)

        self.home.put([JobSpec(body, **options)], then)
        self.world.run(0.0)
        return numbers[0]


def house(**options: Any) -> tuple[World, House, WorkerSide, Link]:
    world = World()
    desk = House(world, **options)
    side = WorkerSide(world, lease=5.0)
    link = side.link(desk)
    world.run(0.1)
    return world, desk, side, link


def test_a_job_goes_out_and_its_result_comes_back() -> None:
    world, desk, side, _ = house()
    number = desk.put_one(b"body", id="mine", headers={"a": "b"}, key=b"k")
    world.run(0.1)
    held = side.take()
    assert (held.body, held.id, held.headers, held.key) == (b"body", "mine", {"a": "b"}, b"k")
    side.worker.progress(held, 1, 2, b"half")
    side.worker.done(held, b"result")
    world.run(0.1)
    told, done = desk.heard
    assert (told.kind, told.progress) == ("progress", (1, 2, b"half"))
    assert (done.kind, done.number, done.packed) == ("done", number, b"result")


def test_a_job_comes_again_after_its_lease_and_when_it_is_to_be_retried() -> None:
    world, desk, side, link = house()
    desk.put_one()
    world.run(0.1)
    held = side.take()
    assert held.attempts == 1
    world.run(5.5)
    assert held.is_lost
    assert link.count(LOST) == 1
    held = side.take()
    assert held.attempts == 2
    side.worker.retry(held, 3.0, "once more")
    world.run(2.9)
    assert not side.waiting
    world.run(0.2)
    held = side.take()
    side.worker.dead(held, "enough")
    world.run(0.1)
    assert [(one.kind, one.reason) for one in desk.heard] == [("dead", "enough")]


def test_a_job_that_is_deleted_is_lost_for_its_worker() -> None:
    world, desk, side, _ = house()
    number = desk.put_one()
    world.run(0.1)
    desk.home.people.delete(number, lambda was: None)
    world.run(0.1)
    assert [held.number for _, held in side.fenced] == [number]
    assert not side.waiting
    assert desk.heard[0].kind == "gone"


def test_nothing_is_handed_out_while_the_queue_is_paused() -> None:
    world, desk, side, _ = house()
    desk.home.pause()
    desk.put_one()
    world.run(1.0)
    assert not side.waiting
    desk.home.resume()
    world.run(0.1)
    assert len(side.waiting) == 1


def test_a_group_that_takes_over_the_unnamed_one_keeps_its_workers() -> None:
    world, desk, side, _ = house()
    assert desk.home.group("named") is desk.counter.line
    desk.put_one()
    world.run(0.1)
    assert len(side.waiting) == 1


def test_a_commit_ends_a_job_and_puts_another() -> None:
    world, desk, side, link = house()

    def commit(ref: int, number: int, result: bytes | None, puts: list[Any]) -> None:
        def then(error: MeshError | None) -> None:
            link.customer.committed(ref, error and (type(error).__name__, str(error)))

        specs = [JobSpec(body) for _, body, _ in puts]
        holder = link.customer.holder
        desk.home.commit(desk.counter.line, holder, number, result, [(desk.home, specs)], then)

    link.customer.on_commit = commit
    desk.put_one()
    world.run(0.1)
    answers: list[Any] = []
    side.worker.commit(side.take(), b"r", [("q", b"next", {})], answers.append)
    world.run(0.1)
    assert answers == [None]
    assert desk.heard[0].packed == b"r"
    assert side.take().body == b"next"
