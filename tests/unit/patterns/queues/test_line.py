"""What a line tells of jobs that nobody ended, and the order of many; the rest is in the laws."""

from __future__ import annotations

import pytest

from patterns.queues.line import Holder, Line
from patterns.queues.runs import RUNS
from patterns.queues.ticket import State, Ticket
from patterns.queues.window import WINDOW
from tests.unit.patterns.queues.shelf import Shelf

LEASE_MS = 10_000


class Bench:
    def __init__(self, window: int | None = WINDOW, max_attempts: int | None = None) -> None:
        self.now = 0
        self.shelf = Shelf()
        self.line = Line(
            self.shelf,
            lambda: self.now,
            is_ready=lambda: None,
            window=window,
            max_attempts=max_attempts,
        )
        self.holder = Holder("worker", LEASE_MS / 1000)
        self.told: list[tuple[object, ...]] = []
        self.line.ended = lambda ticket, ending: self.told.append((ticket.number, ending))
        self.line.lost = lambda holder, numbers, reason: self.told.append(
            (holder.name, list(numbers), reason)
        )

    def put(self, *tickets: Ticket) -> None:
        for ticket in tickets:
            self.shelf.mark(ticket)
        self.shelf.write()
        self.line.put_many(tickets)

    def take(self, most: int = 1_000) -> list[int]:
        return [ticket.number for ticket in self.line.take(self.holder, most)]

    def wait(self, ms: int) -> None:
        self.now += ms
        self.line.advance()


def test_a_lease_that_ends_is_told_to_the_queue_and_to_the_holder() -> None:
    bench = Bench()
    bench.put(Ticket(1, b"", 0), Ticket(2, b"", 0))
    bench.take()
    bench.wait(LEASE_MS)
    assert bench.told == [
        (1, "lease"),
        (2, "lease"),
        ("worker", [1, 2], "the lease of 10 s ended"),
    ]


@pytest.mark.parametrize("way", ["lease", "holder"])
def test_a_job_that_never_finishes_is_buried(way: str) -> None:
    bench = Bench(max_attempts=3)
    job = Ticket(1, b"", 0)
    bench.put(job)
    for attempt in (1, 2, 3):
        assert bench.take() == [1]
        if way == "lease":
            bench.wait(LEASE_MS)
        else:
            bench.line.holder_gone(bench.holder)
        assert job.state is (State.READY if attempt < 3 else State.DEAD)
    assert bench.told.count((1, "dead")) == 1
    assert job.reason.startswith("handed out 3 times and never finished: ")
    assert bench.line.dead == 1
    assert bench.take() == []


def test_a_job_that_is_given_back_is_not_buried_however_often() -> None:
    bench = Bench(max_attempts=1)
    bench.put(Ticket(1, b"", 0))
    for _ in range(5):
        assert bench.take() == [1]
        bench.line.give_back(bench.holder, 1)


def test_what_has_expired_is_told_when_it_is_met() -> None:
    bench = Bench()
    bench.put(Ticket(1, b"", 0, expires_ms=5), Ticket(2, b"", 0))
    bench.now = 5
    assert bench.take() == [2]
    assert bench.told == [(1, "expired")]


def test_a_holder_is_told_that_its_job_was_deleted() -> None:
    bench = Bench()
    job = Ticket(1, b"", 0)
    bench.put(job)
    bench.take()
    bench.line.delete(job)
    assert bench.told == [("worker", [1], "the job was deleted")]
    assert bench.line.finish_many(bench.holder, [1]) == [1]


def test_an_edit_counts_though_an_older_page_is_read() -> None:
    bench = Bench(window=4)
    bench.shelf.mark(Ticket(1, b"old", 0))
    bench.shelf.write()
    bench.line.restore(ready=1, delayed=0, dead=0)
    before, bench.shelf.rows = bench.shelf.rows, {}
    # The page was asked for before this, and shows the job as it was.
    assert bench.line.edit(before[1], b"new")
    bench.shelf.rows = before
    bench.shelf._marked.clear()
    bench.shelf.pump()
    assert [ticket.body for ticket in bench.line.take(bench.holder, 1)] == [b"new"]


def test_a_job_that_is_delayed_twice_until_one_time_is_ready_once() -> None:
    bench = Bench()
    job = Ticket(1, b"", 0, due_ms=1_000)
    bench.put(job)
    bench.line.kick([job])
    assert bench.take() == [1]
    bench.line.give_back(bench.holder, 1, delay=1.0)
    bench.wait(1_000)
    assert bench.line.ready.count == 1
    assert bench.take() == [1]
    assert bench.take() == []


@pytest.mark.parametrize("window", [WINDOW, None])
def test_jobs_of_more_priorities_than_there_are_runs_come_in_order(window: int | None) -> None:
    bench = Bench(window)
    count = 10 * RUNS
    priority = {number: number * 37 % (3 * RUNS) for number in range(1, count + 1)}
    bench.put(*[Ticket(number, b"", 0, priority[number]) for number in priority])
    wanted = sorted(priority, key=lambda number: (priority[number], number))
    assert bench.take(count // 2) == wanted[: count // 2]
    bench.line.holder_gone(bench.holder)
    assert bench.take(7) == wanted[:7]
    assert bench.take() == wanted[7:]


def test_a_job_that_comes_late_has_the_place_of_its_number() -> None:
    bench = Bench()
    bench.put(Ticket(3, b"", 0), Ticket(1, b"", 0), Ticket(2, b"", 0))
    assert bench.take() == [1, 2, 3]


def test_one_that_came_back_waits_for_those_before_it_that_only_the_store_has() -> None:
    bench = Bench(window=4)
    bench.put(Ticket(1, b"", 0, 5))
    assert bench.take() == [1]
    bench.put(*[Ticket(number, b"", 0, 1) for number in range(2, 22)])
    bench.line.give_back(bench.holder, 1)
    taken = bench.take()
    assert taken == [2, 3, 4, 5], "the window"
    while len(taken) < 21:
        bench.shelf.pump()
        taken += bench.take()
    assert taken == [*range(2, 22), 1]
