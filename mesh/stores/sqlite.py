"""Jobs in one SQLite file: what is told to be stored is on the disk.

``synchronous=FULL`` and write-ahead logging; commits are made in groups: while one is written, what
comes waits for the next, so one sync of the disk serves all that came meanwhile (group commit:
DeWitt et al., "Implementation Techniques for Main Memory Database Systems", 1984).

One thread owns the file. The home's thread makes rows of what has changed, and gets answers as
calls on its own thread. What cannot be written (a full disk) is told to whoever waits for it; what
was promised before is written again later, for as long as it takes: nothing of it is forgotten.

Surprise: what a job is when its row is made counts, not what it was when it was marked. So a job
that is taken and done within one group is written once, as a deletion.
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mesh.logs import get_logger
from mesh.stores import rows
from patterns.errors import ConfigError
from patterns.queues.errors import StoreFailed
from patterns.queues.stores import Run, RunLater, Then
from patterns.queues.ticket import State, Ticket
from patterns.queues.window import Place

__all__ = ["SqliteLine", "SqliteStore"]

logger = get_logger("mesh.queues")

TRY_AGAIN = 1.0
"""Seconds until what could not be written is written again."""

WAL_PAGES = 4000
"""Of 4 KiB: the log is put into the file at this size, and is no larger for long."""

CLOSE_WAIT = 1.0
"""Seconds that the last group may take at the end."""

Read = Callable[[sqlite3.Connection], Callable[[], None]]
"""On the store's thread; what it returns is called on the home's."""


@dataclass(slots=True)
class _Group:
    """What one commit writes, and what is read behind it."""

    last_number: int
    lines: list[tuple[int, str, str]]
    changed: dict[int, tuple[SqliteLine, Ticket]]
    added: list[tuple[SqliteLine, Ticket, Then]]
    reads: list[Read]
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    gone: list[tuple[int]] = field(default_factory=list)
    is_last: bool = False


class SqliteStore:
    """A file of jobs: ``open``, on any thread, ``start``, and all else on the home's thread.

    ``last_number`` is the highest that was ever given to a job.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.last_number = 0
        self.offset_ms = 0
        """The wall clock's lead before the home's clock."""
        self._lines: dict[tuple[str, str], SqliteLine] = {}
        self._new_lines: list[tuple[int, str, str]] = []
        self._connection: sqlite3.Connection
        self._groups: queue.SimpleQueue[_Group] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._run: Run
        self._run_later: RunLater
        self._changed: dict[int, tuple[SqliteLine, Ticket]] = {}
        self._added: list[tuple[SqliteLine, Ticket, Then]] = []
        self._reads: list[Read] = []
        self._is_due = False
        self._is_writing = False
        self._is_failing = False
        self._is_closed = False

    # Life.

    def open(self) -> list[tuple[str, str]]:
        """Open the file, made if there is none; returns the queues and groups in it.

        Raises ConfigError for a file that is no job file, is of a newer version, or is in use.
        """
        try:
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=0.5
            )
        except sqlite3.Error as error:
            raise ConfigError(f"{self.path}: it cannot be opened: {error}") from None
        try:
            # One process has it: two homes would hand out the same jobs.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            self._check_version(connection)
            (self.last_number,) = connection.execute("SELECT last_number FROM meta").fetchone()
            for id, name, group in connection.execute(
                "SELECT id, queue, team FROM line"
            ).fetchall():
                counts = dict(connection.execute(rows.COUNTS, (id,)).fetchall())
                self._lines[name, group] = SqliteLine(self, id, counts)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                what = f"{self.path}: it cannot be used as a file of jobs: {error}"
                raise ConfigError(what) from None
            raise
        self._connection = connection
        return list(self._lines)

    def _check_version(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version == 0 and tables == 0:
            connection.executescript(
                f"BEGIN EXCLUSIVE; {rows.SCHEMA} PRAGMA user_version = {rows.VERSION}; COMMIT;"
            )
        elif version == 0:
            raise ConfigError(f"{self.path}: it is an SQLite file of something else")
        elif version != rows.VERSION:
            raise ConfigError(
                f"{self.path}: its tables have version {version}, and this program knows version "
                f"{rows.VERSION}: use the version of mesh that made it"
            )

    def start(self, run: Run, run_later: RunLater, offset_ms: int) -> None:
        """Begin to write. ``run`` calls a function on the home's thread soon, from any thread."""
        self._run, self._run_later, self.offset_ms = run, run_later, offset_ms
        self._thread = threading.Thread(target=self._work, name="mesh-store", daemon=True)
        self._thread.start()

    def close(self) -> bool:
        """Write what is left and end, within a second; returns whether it did. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            if self._thread is None:
                with contextlib.suppress(AttributeError):  # it was never opened
                    self._connection.close()
                return True
            self._groups.put(self._group(is_last=True))
        if self._thread is not None:
            self._thread.join(CLOSE_WAIT)
            return not self._thread.is_alive()
        return True

    def line(self, name: str, group: str) -> SqliteLine:
        """The jobs of a queue's group; a new one is written with its first job."""
        line = self._lines.get((name, group))
        if line is None:
            id = max((line.id for line in self._lines.values()), default=0) + 1
            line = self._lines[name, group] = SqliteLine(self, id, {})
            self._new_lines.append((id, name, group))
        return line

    # What the lines ask for, on the home's thread.

    def add(self, line: SqliteLine, ticket: Ticket, then: Then) -> None:
        """A new job; ``then`` is called when it is on the disk, or cannot be put there."""
        self.last_number = max(self.last_number, ticket.number)
        self._added.append((line, ticket, then))
        self._write_soon()

    def mark(self, line: SqliteLine, ticket: Ticket) -> None:
        """A job that is stored has changed."""
        self._changed[ticket.number] = line, ticket
        self._write_soon()

    def read(self, read: Read) -> None:
        """Read behind all that was marked before."""
        self._reads.append(read)
        self._write_soon()

    def _write_soon(self) -> None:
        if not (self._is_due or self._is_writing or self._is_closed):
            self._is_due = True
            self._run(self._begin)

    def _begin(self) -> None:
        self._is_due = False
        if not self._is_writing and not self._is_closed:
            self._is_writing = True
            self._groups.put(self._group())

    def _group(self, *, is_last: bool = False) -> _Group:
        """Rows of all that is to be written, as it is now."""
        group = _Group(
            self.last_number,
            self._new_lines,
            self._changed,
            self._added,
            self._reads,
            is_last=is_last,
        )
        self._new_lines, self._changed, self._added, self._reads = [], {}, [], []
        for line, ticket in group.changed.values():
            if ticket.state is State.GONE:
                group.gone.append((ticket.number,))
            else:
                group.rows.append(rows.row_of(line.id, ticket, self.offset_ms))
        for line, ticket, _ in group.added:
            group.rows.append(rows.row_of(line.id, ticket, self.offset_ms))
        return group

    def _answer(
        self, group: _Group, error: StoreFailed | None, answers: list[Callable[[], None]]
    ) -> None:
        """A group is on the disk, or is not."""
        self._is_writing = False
        if error is not None:
            self._keep(group, error)
        self._is_failing = error is not None
        for _, _, then in group.added:
            then(error)
        for answer in answers:
            answer()
        if self._added or (error is None and (self._changed or self._reads)):
            self._write_soon()

    def _keep(self, group: _Group, error: StoreFailed) -> None:
        """What was promised is written later; what is newer of it counts."""
        if not self._is_failing:
            logger.error("%s; it is tried again each %g s", error, TRY_AGAIN)
        self._changed = group.changed | self._changed
        self._new_lines = group.lines + self._new_lines
        self._reads = group.reads + self._reads
        if not self._is_closed:
            self._run_later(TRY_AGAIN, self._write_soon)

    # On the store's own thread.

    def _work(self) -> None:
        while True:
            group = self._groups.get()
            error: StoreFailed | None = None
            answers: list[Callable[[], None]] = []
            try:
                self._write(group)
                answers = [read(self._connection) for read in group.reads]
            except sqlite3.Error as failure:
                error = StoreFailed(f"{self.path}: it cannot be written: {failure}")
            if group.is_last:
                self._connection.close()
            self._run(functools.partial(self._answer, group, error, answers))
            if group.is_last:
                return

    def _write(self, group: _Group) -> None:
        if not (group.rows or group.gone or group.lines):
            return
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany("INSERT INTO line VALUES (?, ?, ?)", group.lines)
            connection.executemany(rows.UPSERT, group.rows)
            connection.executemany(rows.DELETE, group.gone)
            connection.execute("UPDATE meta SET last_number = ?", (group.last_number,))
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk has ended it already
                connection.execute("ROLLBACK")
            raise


class SqliteLine:
    """The jobs of one group of a queue. ``counts`` are those at the start, by state."""

    def __init__(self, store: SqliteStore, id: int, counts: dict[int, int]) -> None:
        self._store = store
        self.id = id
        self.counts = {State(state): count for state, count in counts.items()}

    def add(self, ticket: Ticket, then: Then) -> None:
        """A new job; ``then`` is called when it is safe, or cannot be."""
        self._store.add(self, ticket, then)

    def mark(self, ticket: Ticket) -> None:
        """It has changed, or is gone: what it is when it is written counts."""
        self._store.mark(self, ticket)

    def page(
        self,
        state: State,
        after: Place | None,
        limit: int,
        done: Callable[[Sequence[Ticket]], None],
    ) -> None:
        """Read the first ``limit`` of a state behind a place, in order."""
        offset_ms = self._store.offset_ms
        place, number = (-1, -1) if after is None else after
        if state is State.DELAYED and place >= 0:
            place += offset_ms

        def read(connection: sqlite3.Connection) -> Callable[[], None]:
            asked = (self.id, int(state), place, number, limit)
            found = connection.execute(rows.PAGE, asked).fetchall()
            tickets = [rows.ticket_of(row, offset_ms) for row in found]
            return functools.partial(done, tickets)

        self._store.read(read)

    def find(self, number: int, done: Callable[[Ticket | None], None]) -> None:
        """Look for one; None when it is not there."""
        offset_ms = self._store.offset_ms

        def read(connection: sqlite3.Connection) -> Callable[[], None]:
            row = connection.execute(rows.FIND, (self.id, number)).fetchone()
            ticket = None if row is None else rows.ticket_of(row, offset_ms)
            return functools.partial(done, ticket)

        self._store.read(read)
