"""A home's thread for tests: what a store hands over is run when it is asked to."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from patterns.queues.errors import StoreFailed
from patterns.queues.stores import LineStore
from patterns.queues.ticket import State, Ticket

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

    def all(self) -> None:
        """Run what is there."""
        while not self._soon.empty():
            self._soon.get()()


def put(desk: Desk, line: LineStore, *tickets: Ticket) -> list[StoreFailed | None]:
    ends: list[StoreFailed | None] = []
    for ticket in tickets:
        line.add(ticket, ends.append)
    desk.until(lambda: len(ends) == len(tickets))
    return ends


def page(
    desk: Desk, line: LineStore, state: State, after: tuple[int, int] | None, limit: int
) -> list[Ticket]:
    found: list[list[Ticket]] = []
    line.page(state, after, limit, lambda tickets: found.append(list(tickets)))
    desk.until(lambda: found)
    return found[0]


def numbers(tickets: list[Ticket]) -> list[int]:
    return [ticket.number for ticket in tickets]
