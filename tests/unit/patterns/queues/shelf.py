"""A store for tests: what it reads are copies, and it reads when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

from patterns.queues.ticket import State, Ticket
from patterns.queues.window import Place

__all__ = ["Shelf"]


class Shelf:
    """``pump`` does what was asked for, in order."""

    def __init__(self) -> None:
        self.rows: dict[int, Ticket] = {}
        self._marked: dict[int, Ticket] = {}
        self._pages: list[tuple[State, Place | None, int, Callable[[Sequence[Ticket]], None]]] = []
        self.most_read = 0

    def mark(self, ticket: Ticket) -> None:
        self._marked[ticket.number] = ticket

    def mark_many(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            self.mark(ticket)

    def write(self) -> None:
        """All that was marked, as it is now."""
        for number, ticket in self._marked.items():
            if ticket.state is State.GONE:
                self.rows.pop(number, None)
            else:
                row = self.rows[number] = copy(ticket)
                if row.state is State.RESERVED:
                    row.state = State.READY
        self._marked.clear()

    def page(
        self,
        state: State,
        after: Place | None,
        limit: int,
        done: Callable[[Sequence[Ticket]], None],
    ) -> None:
        self._pages.append((state, after, limit, done))

    def pump(self, most: int = 1_000) -> None:
        for _ in range(most):
            self.write()
            if not self._pages:
                return
            state, after, limit, done = self._pages.pop(0)
            rows = [(place_of(row), row) for row in self.rows.values() if row.state is state]
            rows = sorted(
                (pair for pair in rows if after is None or pair[0] > after),
                key=lambda pair: pair[0],
            )
            self.most_read = max(self.most_read, limit)
            done([copy(row) for _, row in rows[:limit]])


def place_of(ticket: Ticket) -> Place:
    first = ticket.due_ms if ticket.state is State.DELAYED else ticket.priority
    return first, ticket.number
