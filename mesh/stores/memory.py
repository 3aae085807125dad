"""Jobs in memory: as quick as it gets, and gone with the process.

A job is safe here as soon as it is put, for as long as the process lives. All of them are in memory
whatever the window of a line is (``keeps_all``: so the window need not be cut, and no page is read
for it), and ``max_length`` is what bounds them.

Surprise: what people ask for is looked for among all jobs, some at a time: the home's thread does
other things between, however many there are.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from heapq import heapify, heappop, heappush, nsmallest
from itertools import chain, islice
from typing import Any, TypeVar, cast

from mesh.stores.memory_notes import MemoryNotes
from patterns.queues.notes import Note
from patterns.queues.stores import LineStore, Run, RunLater, Then
from patterns.queues.ticket import DEAD, DELAYED, GONE, NEVER, READY, RESERVED, State, Ticket
from patterns.queues.window import Place

__all__ = ["MemoryLine", "MemoryStore"]

Kept = TypeVar("Kept")

SLICE = 10_000
"""Jobs or notes that are looked at in one go: some milliseconds."""

SPARE = 1_000
"""Times of expiry of jobs that are gone which are kept at least until they are tidied up."""


class MemoryStore:
    """See ``patterns.queues.stores``."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(4)
        self.last_number = 0
        self.run: Run
        self._lines: dict[tuple[str, str], MemoryLine] = {}
        self._notes: dict[str, MemoryNotes] = {}

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

    def rename(self, name: str, group: str, to: str) -> None:
        """A line is another group's from now on. Raises ValueError if that one has a line."""
        if (name, to) in self._lines:
            raise ValueError(f"the group {to!r} of the queue {name!r} has jobs of its own")
        self._lines[name, to] = self.line(name, group)
        del self._lines[name, group]

    def drop(self, name: str, group: str) -> None:
        """A line that is empty is forgotten."""
        self._lines.pop((name, group), None)

    def put(
        self,
        jobs: Sequence[tuple[LineStore, Sequence[Ticket]]],
        notes: Sequence[tuple[str, Note]],
        then: Then,
    ) -> None:
        """New jobs and notes, which are safe at once."""
        for line, tickets in cast("Sequence[tuple[MemoryLine, Sequence[Ticket]]]", jobs):
            if tickets:
                line.keep(tickets)
                self.last_number = max(self.last_number, tickets[-1].number)
        for name, note in notes:
            self.note(name, note)
        then(None)

    def note(self, name: str, note: Note) -> None:
        """Keep a note of a queue, instead of any of its name."""
        notes = self._notes.get(name)
        if notes is None:
            notes = self._notes[name] = MemoryNotes()
        notes.keep(note)

    def drop_note(self, name: str, note: str) -> None:
        """Forget one."""
        if name in self._notes:
            self._notes[name].drop(note)

    def find_note(self, name: str, note: str, done: Callable[[Note | None], None]) -> None:
        """Look for one; None when it is not there."""

        def read() -> None:
            notes = self._notes.get(name)
            done(None if notes is None else notes.find(note))

        self.run(read)

    def notes(
        self, name: str, prefix: str, limit: int, done: Callable[[Sequence[Note]], None]
    ) -> None:
        """The first ``limit`` whose names begin so, in the order of their names."""

        def named(note: Note) -> tuple[str, int, Note] | None:
            return (note.name, 0, note) if note.name.startswith(prefix) else None

        def read() -> None:
            notes = self._notes.get(name)
            if notes is None:
                done([])
                return
            # Some may be gone since they were met.
            _firsts(
                self.run,
                map(named, notes.all()),
                limit,
                lambda firsts: done([n for name, _, n in firsts if notes.find(name) is n]),
            )

        self.run(read)

    def sweep(self, now_ms: int) -> None:
        """Forget the notes whose time is over."""
        for notes in self._notes.values():
            notes.sweep(now_ms)

    def close(self, wait: float = 0.0) -> bool:
        """Nothing is left to write."""
        return True


class MemoryLine:
    """The jobs of one group."""

    keeps_all = True

    def __init__(self, store: MemoryStore) -> None:
        self.counts: dict[State, int] = {}
        self._store = store
        self.tickets: dict[int, Ticket] = {}
        """In the order in which they were put."""
        self._dead: dict[int, Ticket] = {}
        """Those of them that are dead."""
        self._expiry: list[tuple[int, int]] = []
        """Of those that expire when, and their number, as a heap; also of some that are gone."""

    def keep(self, tickets: Sequence[Ticket]) -> None:
        """New ones."""
        mine = self.tickets
        for ticket in tickets:
            mine[ticket.number] = ticket
            if ticket.expires_ms != NEVER:
                self.will_expire(ticket)

    def mark(self, ticket: Ticket) -> None:
        """It has changed, or is gone."""
        number, state = ticket.number, ticket.state
        if state is GONE:
            self.tickets.pop(number, None)
            if self._dead:
                self._dead.pop(number, None)
            return
        self.tickets[number] = ticket
        if state is RESERVED:
            return
        if state is DEAD:
            self._dead[number] = ticket
            return
        self._dead.pop(number, None)
        if ticket.expires_ms != NEVER:
            self.will_expire(ticket)

    def mark_many(self, tickets: Sequence[Ticket]) -> None:
        """Several have been taken, or are gone: they were not dead, and do not wait."""
        # Those that are taken are here already, as they are.
        if tickets and tickets[0].state is GONE:
            gone = self.tickets.pop
            for ticket in tickets:
                gone(ticket.number, None)

    def will_expire(self, ticket: Ticket) -> None:
        """One that waits, and is of no use some day."""
        if len(self._expiry) > 2 * len(self.tickets) + SPARE:
            self._expiry = [
                (ticket.expires_ms, ticket.number)
                for ticket in self.tickets.values()
                if _waits(ticket) and ticket.expires_ms != NEVER
            ]
            heapify(self._expiry)
        heappush(self._expiry, (ticket.expires_ms, ticket.number))

    def page(
        self,
        state: State,
        after: Place | None,
        limit: int,
        done: Callable[[Sequence[Ticket]], None],
    ) -> None:
        """Read the first ``limit`` of a state behind a place, in order."""
        behind = (-1, -1) if after is None else after

        def placed(ticket: Ticket) -> tuple[int, int, Ticket] | None:
            first = ticket.due_ms if state is State.DELAYED else ticket.priority
            if _stored(ticket) is not state or (first, ticket.number) <= behind:
                return None
            return first, ticket.number, ticket

        def found(firsts: list[tuple[int, int, Ticket]]) -> None:
            # Some may have changed since they were met.
            done([_as_stored(item[2]) for item in firsts if placed(item[2]) == item])

        def read() -> None:
            every = self._dead if state is State.DEAD else self.tickets
            _firsts(self._store.run, map(placed, list(every.values())), limit, found)

        self._store.run(read)

    def find(self, number: int, done: Callable[[Ticket | None], None]) -> None:
        """Look for one; None when it is not there."""

        def read() -> None:
            ticket = self.tickets.get(number)
            done(None if ticket is None else _as_stored(ticket))

        self._store.run(read)

    def oldest(self, limit: int, done: Callable[[Sequence[Ticket]], None]) -> None:
        """Of those that wait, the first that were put."""

        def read() -> None:
            waiting = filter(_waits, self.tickets.values())
            done([_as_stored(ticket) for ticket in islice(waiting, limit)])

        self._store.run(read)

    def expired(self, before_ms: int, limit: int, done: Callable[[Sequence[Ticket]], None]) -> None:
        """Of those that wait some that are of no use any more at that time."""

        def read() -> None:
            found: dict[int, Ticket] = {}
            expiry = self._expiry
            while expiry and expiry[0][0] <= before_ms and len(found) < limit:
                expires_ms, number = heappop(expiry)
                ticket = self.tickets.get(number)
                # What is taken or dead comes back when it waits again.
                if ticket is not None and _waits(ticket) and ticket.expires_ms == expires_ms:
                    found[number] = ticket
            for number, ticket in found.items():
                heappush(expiry, (ticket.expires_ms, number))
            done([_as_stored(ticket) for ticket in found.values()])

        self._store.run(read)


def _firsts(
    run: Run,
    items: Iterator[tuple[Any, int, Kept] | None],
    limit: int,
    done: Callable[[list[tuple[Any, int, Kept]]], None],
    best: Sequence[tuple[Any, int, Kept]] = (),
) -> None:
    """The first of some items in their order, where they are many; some at a time."""
    part = list(islice(items, SLICE))
    found = nsmallest(limit, chain(best, (item for item in part if item is not None)))
    if len(part) == SLICE:
        run(lambda: _firsts(run, items, limit, done, found))
    else:
        done(found)


def _stored(ticket: Ticket) -> State:
    """A lease is not stored, here as little as in a file."""
    return State.READY if ticket.state is State.RESERVED else ticket.state


def _waits(ticket: Ticket) -> bool:
    return ticket.state is READY or ticket.state is DELAYED


def _as_stored(ticket: Ticket) -> Ticket:
    read = copy(ticket)
    read.state = _stored(ticket)
    read.lease_until_ms = 0
    return read
