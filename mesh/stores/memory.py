"""Jobs in memory: as quick as it gets, and gone with the process.

A job is safe here as soon as it is put, for as long as the process lives. All of them are in memory
whatever the window of a line is, so ``max_length`` is what bounds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from heapq import nsmallest

from patterns.queues.stores import Run, RunLater, Then
from patterns.queues.ticket import State, Ticket
from patterns.queues.window import Place

__all__ = ["MemoryLine", "MemoryStore"]


class MemoryStore:
    """See ``patterns.queues.stores``."""

    def __init__(self) -> None:
        self.last_number = 0
        self.run: Run
        self._lines: dict[tuple[str, str], MemoryLine] = {}

    def open(self) -> list[tuple[str, str]]:
        """There is nothing in it as yet."""
        return []

    def start(self, run: Run, run_later: RunLater, offset_ms: int) -> None:
        """Begin."""
        self.run = run

    def line(self, name: str, group: str) -> MemoryLine:
        """The jobs of a group of a queue."""
        line = self._lines.get((name, group))
        if line is None:
            line = self._lines[name, group] = MemoryLine(self)
        return line

    def close(self) -> bool:
        """Nothing is left to write."""
        return True


class MemoryLine:
    """The jobs of one group."""

    def __init__(self, store: MemoryStore) -> None:
        self.counts: dict[State, int] = {}
        self._store = store
        self._tickets: dict[int, Ticket] = {}

    def add(self, ticket: Ticket, then: Then) -> None:
        """A new job, which is safe at once."""
        self._store.last_number = max(self._store.last_number, ticket.number)
        self._tickets[ticket.number] = ticket
        then(None)

    def mark(self, ticket: Ticket) -> None:
        """It has changed, or is gone."""
        if ticket.state is State.GONE:
            self._tickets.pop(ticket.number, None)
        else:
            self._tickets[ticket.number] = ticket

    def page(
        self,
        state: State,
        after: Place | None,
        limit: int,
        done: Callable[[Sequence[Ticket]], None],
    ) -> None:
        """Read the first ``limit`` of a state behind a place, in order."""

        def read() -> None:
            found = [
                (_place(ticket), ticket)
                for ticket in self._tickets.values()
                if _stored(ticket) is state and (after is None or _place(ticket) > after)
            ]
            first = nsmallest(limit, found, key=lambda item: item[0])
            done([_as_stored(ticket) for _, ticket in first])

        self._store.run(read)

    def find(self, number: int, done: Callable[[Ticket | None], None]) -> None:
        """Look for one; None when it is not there."""

        def read() -> None:
            ticket = self._tickets.get(number)
            done(None if ticket is None else _as_stored(ticket))

        self._store.run(read)


def _stored(ticket: Ticket) -> State:
    """A lease is not stored, here as little as in a file."""
    return State.READY if ticket.state is State.RESERVED else ticket.state


def _place(ticket: Ticket) -> Place:
    first = ticket.due_ms if ticket.state is State.DELAYED else ticket.priority
    return first, ticket.number


def _as_stored(ticket: Ticket) -> Ticket:
    read = copy(ticket)
    read.state = _stored(ticket)
    read.lease_until_ms = 0
    return read
