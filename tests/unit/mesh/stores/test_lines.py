"""A line whose jobs are in a file, through restarts: each job is done, and once."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from random import Random

import pytest

from mesh.stores import SqliteStore
from patterns.queues.errors import StoreFailed
from patterns.queues.line import Holder, Line
from patterns.queues.ticket import State, Ticket
from tests.unit.mesh.stores.desk import Desk

WINDOW = 8


class Home:
    """A line on a file, and its clock."""

    def __init__(self, path: Path) -> None:
        self.desk = Desk()
        self.path = path
        self.now = 0
        self.holders = [Holder(f"worker{n}", 10.0) for n in range(2)]
        self.open()

    def open(self) -> None:
        self.store = SqliteStore(self.path)
        self.store.open()
        self.store.start(self.desk.run, self.desk.run_later, 1_700_000_000_000)
        self.stored = self.store.line("emails", "")
        self.line = Line(self.stored, lambda: self.now, is_ready=lambda: None, window=WINDOW)
        counts = self.stored.counts
        states = State.READY, State.DELAYED, State.DEAD
        self.line.restore(*(counts.get(state, 0) for state in states))

    def restart(self) -> None:
        assert self.store.close()
        self.desk.all()
        self.holders = [Holder(f"worker{n}", 10.0) for n in range(2)]
        self.open()

    def settle(self) -> None:
        """Until all that was asked of the file is answered."""
        answered: list[Ticket | None] = []
        self.stored.find(0, answered.append)
        self.desk.until(lambda: answered)

    def put(self, *tickets: Ticket) -> None:
        """Safe, and in the line."""
        stored: list[Ticket] = []

        def then(ticket: Ticket, error: StoreFailed | None) -> None:
            assert error is None
            self.line.put(ticket)
            stored.append(ticket)

        for ticket in tickets:
            self.store.put([(self.stored, [ticket])], [], partial(then, ticket))
        self.desk.until(lambda: len(stored) == len(tickets))

    def finish_all(self) -> set[int]:
        """All jobs, each done once."""
        done: set[int] = set()
        for _ in range(10 * len(self.line) + 10):
            self.settle()
            self.line.advance()
            for ticket in self.line.take(self.holders[0], 5):
                self.line.finish(self.holders[0], ticket.number)
                assert ticket.number not in done
                done.add(ticket.number)
        return done


class Play:
    """Random steps; ``left`` are the jobs that are not done."""

    def __init__(self, path: Path, seed: int) -> None:
        self.random = Random(seed)
        self.home = Home(path)
        self.left: set[int] = set()

    def put(self) -> None:
        home, random = self.home, self.random
        tickets = [
            Ticket(
                home.store.last_number + 1 + n,
                b"body",
                home.now,
                priority=random.randrange(3),
                due_ms=random.choice([0, 0, home.now + 5_000]),
                key=random.choice([None, None, b"a", b"b"]),
            )
            for n in range(random.randrange(1, 12))
        ]
        home.put(*tickets)
        self.left |= {ticket.number for ticket in tickets}

    def take(self) -> None:
        self.home.line.take(self.random.choice(self.home.holders), self.random.randrange(1, 6))

    def end(self) -> None:
        home, random = self.home, self.random
        holder = random.choice(home.holders)
        for number in list(holder.held)[:3]:
            if random.random() < 0.7:
                home.line.finish(holder, number)
                self.left.remove(number)
            else:
                home.line.give_back(holder, number, random.choice([0.0, 2.0]))

    def wait(self) -> None:
        self.home.now += 3_000
        self.home.settle()
        self.home.line.advance()

    def restart(self) -> None:
        if self.random.random() < 0.3:
            self.home.restart()


@pytest.mark.parametrize("seed", range(4))
def test_each_job_is_done_once_through_restarts_and_pages(tmp_path: Path, seed: int) -> None:
    play = Play(tmp_path / "jobs.db", seed)
    home, steps = play.home, (play.put, play.put, play.take, play.end, play.wait, play.restart)
    for _ in range(150):
        play.random.choice(steps)()
        assert len(home.line) == len(play.left)
    home.now += 100_000
    for holder in home.holders:
        home.line.holder_gone(holder)
    assert home.finish_all() == play.left
    home.restart()
    assert len(home.line) == 0
    assert home.store.close()
