"""The SQLite file of a store: opened on any thread, and then used on one.

``synchronous=FULL`` and write-ahead logging: what was committed is on the disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from mesh.runtime import forget_in_child
from mesh.stores import rows
from patterns.errors import ConfigError

__all__ = ["SWEEP", "Commit", "JobFile", "Read"]

WAL_PAGES = 4000
"""Of 4 KiB: the log is put into the file at this size, and is no larger for long."""

SWEEP = 10_000
"""Notes that one commit forgets: a tenth of a second. The rest follows in the next ones."""

Read = Callable[[sqlite3.Connection], Callable[[], None]]
"""On the store's thread; what it returns is called on the home's."""


@dataclass(slots=True)
class Commit:
    """Rows that are written at once; in this order."""

    last_number: int
    lines: list[tuple[int, str, str] | tuple[int]]
    """To be kept, by their names; or, of one field, dropped."""
    jobs: list[tuple[Any, ...]] = field(default_factory=list)
    gone: list[tuple[int, int]] = field(default_factory=list)
    notes: list[tuple[Any, ...]] = field(default_factory=list)
    """To be kept, or, of two fields, dropped."""
    sweep_ms: int | None = None
    """By the wall clock: notes whose time is over by then are forgotten."""
    is_swept: bool = True
    """Afterwards: whether all of these are."""


class JobFile:
    """``id`` and ``last_number`` are the store's, as they were read or written last."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.id = ""
        self.last_number = 0
        self.connection: sqlite3.Connection
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: the file is the parent's.

        Even to close it here would end the parent's log, so this connection is never closed, nor
        freed: see "How To Corrupt An SQLite Database File", 2.6.
        """
        with contextlib.suppress(AttributeError):  # it was never opened
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.connection))

    def open(self) -> list[tuple[int, str, str, dict[int, int]]]:
        """Open it, made if there is none; returns its lines, and how many jobs of each state.

        Raises ConfigError for a file that is no job file, is of another version, or is in use.
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
            self.id, self.last_number = connection.execute(
                "SELECT store, last_number FROM meta"
            ).fetchone()
            lines = connection.execute("SELECT id, queue, team FROM line").fetchall()
            counted = [
                (*line, dict(connection.execute(rows.COUNTS, line[:1]).fetchall()))
                for line in lines
            ]
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                what = f"{self.path}: it cannot be used as a file of jobs: {error}"
                if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                    what = f"{self.path}: another process has it, or another node of this one"
                raise ConfigError(what) from None
            raise
        self.connection = connection
        return counted

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

    def write(self, commit: Commit) -> None:
        """All of it is on the disk, or none. Raises ``sqlite3.Error``."""
        has_rows = commit.jobs or commit.gone or commit.lines or commit.notes
        if not has_rows and commit.sweep_ms is None:
            return
        execute, each = self.connection.execute, self.connection.executemany
        execute("BEGIN IMMEDIATE")
        try:
            for id, *names in commit.lines:
                execute(rows.KEEP_LINE if names else rows.DROP_LINE, (id, *names))
            self._write_jobs(commit.jobs)
            each(rows.DELETE, _runs_of(commit.gone))
            for row in commit.notes:
                execute(rows.DROP_NOTE if len(row) == 2 else rows.KEEP_NOTE, row)
            if commit.sweep_ms is not None:
                swept = execute(rows.SWEEP, (commit.sweep_ms, SWEEP)).rowcount
                commit.is_swept = swept < SWEEP
            if commit.last_number != self.last_number:
                execute("UPDATE meta SET last_number = ?", (commit.last_number,))
            execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk has ended it already
                execute("ROLLBACK")
            raise
        self.last_number = commit.last_number

    def _write_jobs(self, jobs: list[tuple[Any, ...]]) -> None:
        at = 0
        for count, upsert in rows.UPSERTS:
            while len(jobs) - at >= count:
                values = list(chain.from_iterable(jobs[at : at + count]))
                self.connection.execute(upsert, values)
                at += count

    def close(self) -> None:
        """Idempotent."""
        with contextlib.suppress(AttributeError):  # it was never opened
            self.connection.close()


def _runs_of(gone: list[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Jobs whose numbers follow each other go together: line, first and last."""
    gone.sort()
    first = last = (0, -1)
    for line, number in gone:
        if (line, number - 1) != last:
            if last[1] >= 0:
                yield (*first, last[1])
            first = line, number
        last = line, number
    if last[1] >= 0:
        yield (*first, last[1])
