"""Jobs in one SQLite file: what is told to be stored is on the disk.

Commits are made in groups: while one is written, what comes waits for the next, so one sync of the
disk serves all that came meanwhile (group commit: DeWitt et al., "Implementation Techniques for
Main Memory Database Systems", 1984).

One thread owns the file. The home's thread makes rows of what has changed, and gets answers as
calls on its own thread. What cannot be written (a full disk) is told to whoever waits for it; what
was promised before is written again later, for as long as it takes: nothing of it is forgotten.

Surprise: what a job is when its row is made counts, not what it was when it was marked. So a job
that is taken and done within some ms is written once, as a deletion. What nobody waits for, as the
end of a job, waits for a put to share its commit, or for ``MARK_WAIT``.
"""

from __future__ import annotations

import functools
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from mesh.logs import get_logger
from mesh.stores import rows
from mesh.stores.job_file import Commit, JobFile, Read
from mesh.stores.sqlite_line import SqliteLine
from patterns.queues.errors import StoreFailed
from patterns.queues.notes import Note
from patterns.queues.stores import LineStore, Run, RunLater, Then
from patterns.queues.ticket import GONE, RESERVED, Ticket

__all__ = ["SqliteStore"]

logger = get_logger("mesh.queues")

MARK_WAIT = 0.01
"""Seconds for which a change that nobody waits for, the end of a job above all, may wait for a put
to share its commit. A crash meanwhile makes that job be handed out again, as one before its end
does. That a job was taken waits for so long, at least, for its end: then it need not be written."""

TRY_AGAIN = 1.0
"""Seconds until what could not be written is written again."""

CLOSE_WAIT = 1.0
"""Seconds that the last group may take at the end."""

_NoteKey = tuple[str, str, bool]
"""Queue, name, and whether it was put with a job: then it is refused with it."""


@dataclass(slots=True)
class _Group:
    """What one commit writes, and what is read behind it."""

    commit: Commit
    changed: dict[tuple[int, int], tuple[SqliteLine, Ticket]]
    added: list[tuple[SqliteLine, Sequence[Ticket]]]
    noted: dict[_NoteKey, Note | None]
    thens: list[Then]
    reads: list[Read]
    is_last: bool = False
    is_written: bool = False


class SqliteStore:
    """A file of jobs: ``open``, on any thread, ``start``, and all else on the home's thread."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.id = ""
        self.last_number = 0
        self.offset_ms = 0
        """The wall clock's lead before the home's clock."""
        self.file = JobFile(self.path)
        self._lines: dict[tuple[str, str], SqliteLine] = {}
        self._groups: queue.SimpleQueue[_Group] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._run: Run
        self._run_later: RunLater
        self._is_due = False
        self._is_due_later = False
        self._is_writing = False
        self._is_failing = False
        self._is_closed = False
        # What the next group is made of.
        self._new_lines: list[tuple[int, str, str] | tuple[int]] = []
        self._changed: dict[tuple[int, int], tuple[SqliteLine, Ticket]] = {}
        self._taken: list[tuple[SqliteLine, Sequence[Ticket]]] = []
        self._taken_before: list[tuple[SqliteLine, Sequence[Ticket]]] = []
        """Marked because they were taken: these have waited ``MARK_WAIT``, or a part of it."""
        self._added: list[tuple[SqliteLine, Sequence[Ticket]]] = []
        self._noted: dict[_NoteKey, Note | None] = {}
        """In the order in which they were noted, or dropped: None."""
        self._thens: list[Then] = []
        self._reads: list[Read] = []
        self._sweep_ms: int | None = None

    # Life.

    def open(self) -> list[tuple[str, str]]:
        """Open the file, made if there is none; returns the queues and groups in it.

        Raises ConfigError for a file that is no job file, is of another version, or is in use.
        """
        for id, name, group, counts in self.file.open():
            self._lines[name, group] = SqliteLine(self, id, counts)
        self.id, self.last_number = self.file.id, self.file.last_number
        return list(self._lines)

    def start(self, run: Run, run_later: RunLater, offset_ms: int) -> None:
        """Begin to write. ``run`` calls a function on the home's thread soon, from any thread."""
        self._run, self._run_later, self.offset_ms = run, run_later, offset_ms
        self._thread = threading.Thread(target=self._work, name="mesh-store", daemon=True)
        self._thread.start()

    def close(self, wait: float = CLOSE_WAIT) -> bool:
        """Write what is left and end; returns whether it did within ``wait`` seconds. Idempotent:
        who calls again waits on."""
        if not self._is_closed:
            self._is_closed = True
            if self._thread is None:
                self.file.close()
            else:
                self._groups.put(self._group(is_last=True))
        if self._thread is not None:
            self._thread.join(wait)
            return not self._thread.is_alive()
        return True

    # Lines.

    def line(self, name: str, group: str) -> SqliteLine:
        """The jobs of a queue's group; a new one is written with its first job."""
        line = self._lines.get((name, group))
        if line is None:
            id = max((line.id for line in self._lines.values()), default=0) + 1
            line = self._lines[name, group] = SqliteLine(self, id, {})
            self._new_lines.append((id, name, group))
        return line

    def rename(self, name: str, group: str, to: str) -> None:
        """A line is another group's from now on. Raises ValueError if that one has a line."""
        if (name, to) in self._lines:
            raise ValueError(f"the group {to!r} of the queue {name!r} has jobs of its own")
        line = self.line(name, group)
        self._lines[name, to] = self._lines.pop((name, group))
        self._new_lines.append((line.id, name, to))
        self._write_soon()

    def drop(self, name: str, group: str) -> None:
        """A line that is empty is forgotten."""
        line = self._lines.pop((name, group), None)
        if line is not None:
            self._new_lines.append((line.id,))
            self._write_soon()

    # What is to be written, on the home's thread.

    def put(
        self,
        jobs: Sequence[tuple[LineStore, Sequence[Ticket]]],
        notes: Sequence[tuple[str, Note]],
        then: Then,
    ) -> None:
        """New jobs and notes; ``then`` is called when they are on the disk, or cannot be put there.

        Raises ValueError for a note whose name is no text.
        """
        for _, note in notes:
            _check(note.name)
        for line, tickets in cast("Sequence[tuple[SqliteLine, Sequence[Ticket]]]", jobs):
            if tickets:
                self.last_number = max(self.last_number, tickets[-1].number)
                self._added.append((line, tickets))
        for name, note in notes:
            self._keep_note((name, note.name, True), note)
        self._thens.append(then)
        self._write_soon()

    def mark(self, line: SqliteLine, ticket: Ticket) -> None:
        """A job that is stored has changed."""
        self._changed[line.id, ticket.number] = line, ticket
        self._write_later()

    def mark_many(self, line: SqliteLine, tickets: Sequence[Ticket]) -> None:
        """The same for several."""
        if not tickets:
            return
        if tickets[0].state is RESERVED:
            self._taken.append((line, tickets))
        else:
            id = line.id
            self._changed.update([((id, ticket.number), (line, ticket)) for ticket in tickets])
        self._write_later()

    def note(self, name: str, note: Note) -> None:
        """Keep a note of a queue, instead of any of its name. Raises ValueError as ``put``."""
        _check(note.name)
        self._keep_note((name, note.name, False), note)
        self._write_later()

    def drop_note(self, name: str, note: str) -> None:
        """Forget one."""
        if rows.is_text(note):
            self._keep_note((name, note, False), None)
            self._write_later()

    def _keep_note(self, key: _NoteKey, note: Note | None) -> None:
        self._noted.pop(key, None)  # it is the last one now
        self._noted[key] = note

    def sweep(self, now_ms: int) -> None:
        """Forget the notes whose time is over: some with each commit that follows."""
        self._sweep_ms = now_ms
        self._write_soon()

    # What is read.

    def read(self, read: Read) -> None:
        """Read behind all that was marked before."""
        self._reads.append(read)
        self._write_soon()

    def answer(self, answer: Callable[[], None]) -> None:
        """Tell soon what need not be read."""
        self._run(answer)

    def find_note(self, name: str, note: str, done: Callable[[Note | None], None]) -> None:
        """Look for one; None when it is not there."""
        asked, offset_ms = (name, note), self.offset_ms

        def read(connection: sqlite3.Connection) -> Callable[[], None]:
            row = connection.execute(rows.FIND_NOTE, asked).fetchone()
            return functools.partial(done, None if row is None else rows.note_of(row, offset_ms))

        if rows.is_text(note):
            self.read(read)
        else:
            self._run(functools.partial(done, None))

    def notes(
        self, name: str, prefix: str, limit: int, done: Callable[[Sequence[Note]], None]
    ) -> None:
        """The first ``limit`` whose names begin so, in the order of their names."""
        asked, offset_ms = (name, prefix, prefix + rows.LAST, limit), self.offset_ms

        def read(connection: sqlite3.Connection) -> Callable[[], None]:
            found = connection.execute(rows.NOTES, asked).fetchall()
            return functools.partial(done, [rows.note_of(row, offset_ms) for row in found])

        if rows.is_text(prefix):
            self.read(read)
        else:
            self._run(functools.partial(done, []))

    # Groups.

    def _write_soon(self) -> None:
        if not (self._is_due or self._is_writing or self._is_closed):
            self._is_due = True
            self._run(self._begin)

    def _write_later(self) -> None:
        if not (self._is_due_later or self._is_closed):
            self._is_due_later = True
            self._run_later(MARK_WAIT, self._write_waiting)

    def _write_waiting(self) -> None:
        self._is_due_later = False
        self._mark_taken(self._taken_before)
        self._taken_before, self._taken = self._taken, []
        if self._changed or self._noted:
            self._write_soon()
        if self._taken_before:
            self._write_later()

    def _mark_taken(self, taken: Sequence[tuple[SqliteLine, Sequence[Ticket]]]) -> None:
        # Whatever else has become of one since has been marked since.
        for line, tickets in taken:
            for ticket in tickets:
                if ticket.state is RESERVED:
                    self._changed[line.id, ticket.number] = line, ticket

    def _begin(self) -> None:
        self._is_due = False
        if not self._is_writing and not self._is_closed:
            self._is_writing = True
            self._groups.put(self._group())

    def _group(self, *, is_last: bool = False) -> _Group:
        """Rows of all that is to be written, as it is now."""
        if self._reads or is_last:
            self._mark_taken([*self._taken_before, *self._taken])
            self._taken_before, self._taken = [], []
        offset_ms = self.offset_ms
        commit = Commit(self.last_number, self._new_lines)
        if self._sweep_ms is not None:
            commit.sweep_ms = self._sweep_ms + offset_ms
        group = _Group(
            commit,
            self._changed,
            self._added,
            self._noted,
            self._thens,
            self._reads,
            is_last,
        )
        self._new_lines, self._changed, self._added, self._noted = [], {}, [], {}
        self._thens, self._reads, self._sweep_ms = [], [], None
        for key, (line, ticket) in group.changed.items():
            if ticket.state is GONE:
                commit.gone.append(key)
            else:
                commit.jobs.append(rows.row_of(line.id, ticket, offset_ms))
        row_of = rows.row_of
        for line, tickets in group.added:
            id = line.id
            commit.jobs += [row_of(id, ticket, offset_ms) for ticket in tickets]
        for (name, note_name, _), note in group.noted.items():
            if note is None:
                commit.notes.append((name, note_name))
            else:
                commit.notes.append(rows.row_of_note(name, note, offset_ms))
        return group

    def _answer(
        self, group: _Group, error: StoreFailed | None, answers: list[Callable[[], None]]
    ) -> None:
        """A group is on the disk, or is not."""
        self._is_writing = False
        if error is not None:
            self._keep(group, error)
        elif not group.commit.is_swept and self._sweep_ms is None:
            self._sweep_ms = (group.commit.sweep_ms or 0) - self.offset_ms
        self._is_failing = error is not None
        told = None if group.is_written else error
        thens: list[Callable[[], None]] = [functools.partial(then, told) for then in group.thens]
        for answer in thens + answers:
            try:
                answer()
            except Exception:  # the others are to hear of it all the same
                logger.exception("%s: what was told of a commit was not taken", self.path)
        is_asked = self._new_lines or self._reads or self._sweep_ms is not None
        if self._thens or (error is None and is_asked):
            self._write_soon()
        elif error is None and (self._changed or self._noted):
            self._write_later()

    def _keep(self, group: _Group, error: StoreFailed) -> None:
        """What was promised is written later; what is newer of it counts."""
        if not self._is_failing:
            logger.error("%s; it is tried again each %g s", error, TRY_AGAIN)
        if not self._is_closed:
            self._run_later(TRY_AGAIN, self._write_soon)
        self._reads = group.reads + self._reads
        if group.is_written:
            return
        self._changed = group.changed | self._changed
        newer = self._noted
        older = {key: note for key, note in group.noted.items() if not key[2] and key not in newer}
        self._noted = older | newer
        self._new_lines = group.commit.lines + self._new_lines

    # On the store's own thread.

    def _work(self) -> None:
        while True:
            group = self._groups.get()
            error: StoreFailed | None = None
            answers: list[Callable[[], None]] = []
            try:
                self.file.write(group.commit)
                group.is_written = True
                for read in group.reads:
                    answers.append(read(self.file.connection))
                group.reads.clear()
            except (sqlite3.Error, ValueError, TypeError, OverflowError) as failure:
                what = "read" if group.is_written else "written"
                error = StoreFailed(f"{self.path}: it cannot be {what}: {failure}")
                del group.reads[: len(answers)]
            if group.is_last:
                self.file.close()
            self._run(functools.partial(self._answer, group, error, answers))
            if group.is_last:
                return


def _check(name: str) -> None:
    if not rows.is_text(name):
        raise ValueError(f"{name!r} is no text that can be stored: it is not valid Unicode")
