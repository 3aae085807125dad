"""A home's thread for tests: what a store hands over is run when it is asked to."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import TypeVar

from patterns.queues.errors import StoreFailed
from patterns.queues.notes import Note
from patterns.queues.stores import LineStore, Store
from patterns.queues.ticket import State, Ticket

Answer = TypeVar("Answer")

PATIENCE = 20.0


class Desk:
    """``run`` may be called from any thread; all is run by ``until``."""

    def __init__(self) -> None:
        self._soon: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._ids = count()

    def run(self, function: Callable[[], None]) -> None:
        self._soon.put(function)

    def run_later(self, seconds: float, function: Callable[[], None]) -> None:
        heappush(self._later, (time.monotonic() + seconds, next(self._ids), function))

    def until(self, is_so: Callable[[], object]) -> None:
        """Run what is handed over until it is so."""
        end = time.monotonic() + PATIENCE
        while not is_so():
            now = time.monotonic()
            assert now < end, "it does not come to that"
            while self._later and self._later[0][0] <= now:
                heappop(self._later)[2]()
            try:
                self._soon.get(timeout=0.01)()
            except queue.Empty:
                continue

    def turn(self) -> None:
        """Run what is there, and nothing that comes of it."""
        for _ in range(self._soon.qsize()):
            self._soon.get()()

    def all(self) -> None:
        """Run what is there."""
        while not self._soon.empty():
            self._soon.get()()


def put(
    desk: Desk, store: Store, line: LineStore, *tickets: Ticket, notes: Sequence[Note] = ()
) -> StoreFailed | None:
    """All of them or none, and notes of the queue ``emails``."""
    ends: list[StoreFailed | None] = []
    jobs = [(line, tickets)]
    store.put(jobs, [("emails", note) for note in notes], ends.append)
    desk.until(lambda: ends)
    desk.all()
    assert len(ends) == 1
    return ends[0]


def asked(desk: Desk, ask: Callable[[Callable[[Answer], None]], None]) -> Answer:
    """What a store answers."""
    answers: list[Answer] = []
    ask(answers.append)
    desk.until(lambda: answers)
    assert len(answers) == 1
    return answers[0]


def page(
    desk: Desk, line: LineStore, state: State, after: tuple[int, int] | None, limit: int
) -> list[Ticket]:
    return list(asked(desk, partial(line.page, state, after, limit)))


def numbers(tickets: Iterable[Ticket]) -> list[int]:
    return [ticket.number for ticket in tickets]
