"""A store for tests that does nothing until it is told to: it commits, fails, or loses power."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

from patterns.queues.errors import StoreFailed
from patterns.queues.notes import Note
from patterns.queues.stores import LineStore, Run, RunLater, Then
from patterns.queues.ticket import NEVER, State, Ticket
from patterns.queues.window import Place
from tests.unit.patterns.queues.shelf import place_of

__all__ = ["LaterLine", "LaterStore"]

Put = tuple[Sequence[tuple[LineStore, Sequence[Ticket]]], Sequence[tuple[str, Note]], Then]


class LaterStore:
    """``commit`` writes all that was asked for since the last one, and answers it."""

    def __init__(self, id: str = "0000cafe") -> None:
        self.id = id
        self.last_number = 0
        self.lines: dict[tuple[str, str], LaterLine] = {}
        self.on_disk: dict[tuple[str, str], LaterLine] = {}
        self.kept: dict[tuple[str, str], Note] = {}
        self.commits = 0
        self.reads: list[Callable[[], Callable[[], None]]] = []
        self._changes: list[Put | tuple[str, str, Note | None]] = []

    def open(self) -> list[tuple[str, str]]:
        return list(self.on_disk)

    def start(self, run: Run, run_later: RunLater, offset_ms: int) -> None:
        """Nothing is done by itself."""

    def line(self, name: str, group: str) -> LaterLine:
        return self.lines.setdefault((name, group), LaterLine(self))

    def rename(self, name: str, group: str, to: str) -> None:
        assert (name, to) not in self.lines
        self.lines[name, to] = self.lines.pop((name, group))

    def drop(self, name: str, group: str) -> None:
        line = self.lines.pop((name, group))
        line.write()
        assert not line.rows, "only what is empty may be forgotten"

    def put(
        self,
        jobs: Sequence[tuple[LineStore, Sequence[Ticket]]],
        notes: Sequence[tuple[str, Note]],
        then: Then,
    ) -> None:
        numbers = [ticket.number for _, tickets in jobs for ticket in tickets]
        self.last_number = max([self.last_number, *numbers])
        self._changes.append((jobs, notes, then))

    def note(self, name: str, note: Note) -> None:
        self._changes.append((name, note.name, note))

    def drop_note(self, name: str, note: str) -> None:
        self._changes.append((name, note, None))

    def find_note(self, name: str, note: str, done: Callable[[Note | None], None]) -> None:
        def read() -> Callable[[], None]:
            found = self.kept.get((name, note))
            return lambda: done(found)

        self.reads.append(read)

    def notes(
        self, name: str, prefix: str, limit: int, done: Callable[[Sequence[Note]], None]
    ) -> None:
        def read() -> Callable[[], None]:
            names = sorted(n for q, n in self.kept if q == name and n.startswith(prefix))
            found = [self.kept[name, n] for n in names[:limit]]
            return lambda: done(found)

        self.reads.append(read)

    def sweep(self, now_ms: int) -> None:
        for key, note in list(self.kept.items()):
            if note.until_ms <= now_ms:
                del self.kept[key]

    def close(self) -> bool:
        self.commit()
        return True

    # What tests do.

    @property
    def is_idle(self) -> bool:
        is_marked = any(line.is_marked for line in self.lines.values())
        return not (self._changes or self.reads or is_marked)

    def commit(self, *, fails: bool = False) -> None:
        """All of it, or, if it fails, no put and nothing of the rest, which is kept."""
        self.commits += 1
        changes, self._changes = self._changes, []
        ends: list[Callable[[], None]] = []
        if fails:
            error = StoreFailed("the disk is full")
            for change in changes:
                if callable(change[2]):
                    then = change[2]
                    ends.append(lambda then=then: then(error))
            self._changes = [change for change in changes if not callable(change[2])]
            for end in ends:
                end()
            return
        for change in changes:
            ends += self._write(change)
        for line in self.lines.values():
            line.write()
        self.on_disk = dict(self.lines)
        reads, self.reads = self.reads, []
        answers = [read() for read in reads]
        for end in (*ends, *answers):
            end()

    def _write(self, change: Put | tuple[str, str, Note | None]) -> list[Callable[[], None]]:
        first, second, third = change
        if not callable(third):
            assert isinstance(first, str)
            assert isinstance(second, str)
            self._keep(first, second, third)
            return []
        for line, tickets in first:
            assert isinstance(line, LaterLine)
            line.rows.update({ticket.number: as_row(ticket) for ticket in tickets})
        for name, note in second:
            self._keep(name, note.name, note)
        return [lambda: third(None)]

    def _keep(self, name: str, what: str, note: Note | None) -> None:
        if note is None:
            self.kept.pop((name, what), None)
        else:
            self.kept[name, what] = note

    def after_power_loss(self) -> LaterStore:
        """What the next process finds."""
        found = LaterStore(self.id)
        found.last_number = self.last_number
        found.kept = dict(self.kept)
        for key, line in self.on_disk.items():
            there = found.lines[key] = LaterLine(found)
            there.rows = {number: copy(row) for number, row in line.rows.items()}
            for row in there.rows.values():
                there.counts[row.state] = there.counts.get(row.state, 0) + 1
        found.on_disk = dict(found.lines)
        return found


class LaterLine:
    keeps_all = False

    def __init__(self, store: LaterStore) -> None:
        self.counts: dict[State, int] = {}
        self.rows: dict[int, Ticket] = {}
        self._store = store
        self._marked: dict[int, Ticket] = {}

    def mark(self, ticket: Ticket) -> None:
        self._marked[ticket.number] = ticket

    def mark_many(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            self.mark(ticket)

    @property
    def is_marked(self) -> bool:
        return bool(self._marked)

    def write(self) -> None:
        for number, ticket in self._marked.items():
            if ticket.state is State.GONE:
                self.rows.pop(number, None)
            else:
                self.rows[number] = as_row(ticket)
        self._marked.clear()

    def _read(
        self,
        choose: Callable[[], list[Ticket]],
        done: Callable[[Sequence[Ticket]], None],
        limit: int,
    ) -> None:
        def read() -> Callable[[], None]:
            found = [copy(row) for row in choose()[:limit]]
            return lambda: done(found)

        self._store.reads.append(read)

    def page(
        self,
        state: State,
        after: Place | None,
        limit: int,
        done: Callable[[Sequence[Ticket]], None],
    ) -> None:
        def choose() -> list[Ticket]:
            rows = [row for row in self.rows.values() if row.state is state]
            rows = [row for row in rows if after is None or place_of(row) > after]
            return sorted(rows, key=place_of)

        self._read(choose, done, limit)

    def find(self, number: int, done: Callable[[Ticket | None], None]) -> None:
        self._read(
            lambda: [self.rows[number]] if number in self.rows else [],
            lambda found: done(found[0] if found else None),
            1,
        )

    def _waiting(self) -> list[Ticket]:
        rows = [self.rows[number] for number in sorted(self.rows)]
        return [row for row in rows if row.state in (State.READY, State.DELAYED)]

    def oldest(self, limit: int, done: Callable[[Sequence[Ticket]], None]) -> None:
        self._read(self._waiting, done, limit)

    def expired(self, before_ms: int, limit: int, done: Callable[[Sequence[Ticket]], None]) -> None:
        def choose() -> list[Ticket]:
            return [row for row in self._waiting() if row.expires_ms <= before_ms < NEVER]

        self._read(choose, done, limit)


def as_row(ticket: Ticket) -> Ticket:
    """A lease is not stored."""
    row = copy(ticket)
    if row.state is State.RESERVED:
        row.state = State.READY
    return row
