"""The jobs of one group of a queue in an SQLite file."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mesh.stores import rows
from patterns.queues.ticket import NEVER, State, Ticket
from patterns.queues.window import BEFORE_ALL, PAGE_BYTES, Place

if TYPE_CHECKING:
    from mesh.stores.sqlite import SqliteStore

__all__ = ["SqliteLine"]


class SqliteLine:
    """``counts`` are those at the start, by state."""

    keeps_all = False

    def __init__(self, store: SqliteStore, id: int, counts: dict[int, int]) -> None:
        self._store = store
        self.id = id
        self.counts = {State(state): count for state, count in counts.items()}

    def mark(self, ticket: Ticket) -> None:
        """It has changed, or is gone: what it is when it is written counts."""
        self._store.mark(self, ticket)

    def mark_many(self, tickets: Sequence[Ticket]) -> None:
        """The same for several."""
        self._store.mark_many(self, tickets)

    def page(
        self,
        state: State,
        after: Place | None,
        limit: int,
        done: Callable[[Sequence[Ticket]], None],
    ) -> None:
        """Read the first ``limit`` of a state behind a place, in order."""
        place, number = BEFORE_ALL if after is None else after
        # On the home's clock, which may have begun later, times may be below 0.
        if state is State.DELAYED and (place, number) != BEFORE_ALL:
            place += self._store.offset_ms
        self._read(rows.PAGE, (int(state), place, number, limit), done)

    def find(self, number: int, done: Callable[[Ticket | None], None]) -> None:
        """Look for one; None when it is not there."""
        if not 0 <= number <= NEVER:
            # No question for the file: one that cannot be asked would hold up all that follow.
            self._store.answer(functools.partial(done, None))
            return
        self._read(rows.FIND, (number,), lambda found: done(found[0] if found else None))

    def oldest(self, limit: int, done: Callable[[Sequence[Ticket]], None]) -> None:
        """Of those that wait, the first that were put."""
        self._read(rows.OLDEST, (limit,), done)

    def expired(self, before_ms: int, limit: int, done: Callable[[Sequence[Ticket]], None]) -> None:
        """Of those that wait some that are of no use any more at that time."""
        self._read(rows.EXPIRED, (before_ms + self._store.offset_ms, limit), done)

    def _read(
        self, query: str, asked: tuple[Any, ...], done: Callable[[list[Ticket]], None]
    ) -> None:
        offset_ms = self._store.offset_ms

        def read(connection: sqlite3.Connection) -> Callable[[], None]:
            found: list[Ticket] = []
            size = 0
            for row in connection.execute(query, (self.id, *asked)):
                ticket = rows.ticket_of(row, offset_ms)
                found.append(ticket)
                size += len(ticket.body)
                if size >= PAGE_BYTES:
                    break
            return functools.partial(done, found)

        self._store.read(read)
