"""The tables of a job file, and jobs and notes as rows.

Times are those of the wall clock (Unix, ms) in the file, and of the home's clock in memory:
``offset_ms`` is what to add. ``place`` is what jobs of one state are ordered by: when one is due,
or its priority.

Surprise: ``job`` has rowids though they are of no use. Without them bodies of more than a quarter
of a page would be kept elsewhere, which takes twice the time.
"""

from __future__ import annotations

import json
from typing import Any

from patterns.queues.notes import Note
from patterns.queues.ticket import DELAYED, NEVER, READY, RESERVED, Extra, State, Ticket

__all__ = [
    "COUNTS",
    "DELETE",
    "DROP_LINE",
    "DROP_NOTE",
    "EXPIRED",
    "FIND",
    "FIND_NOTE",
    "KEEP_LINE",
    "KEEP_NOTE",
    "LAST",
    "NOTES",
    "OLDEST",
    "PAGE",
    "SCHEMA",
    "SWEEP",
    "UPSERTS",
    "VERSION",
    "is_text",
    "note_of",
    "row_of",
    "row_of_note",
    "ticket_of",
]

VERSION = 1
"""Of the schema, as ``PRAGMA user_version``."""

SCHEMA = """
CREATE TABLE line (
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    team TEXT NOT NULL,
    UNIQUE (queue, team)
);
CREATE TABLE job (
    line INTEGER NOT NULL,
    number INTEGER NOT NULL,
    state INTEGER NOT NULL,
    place INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    put_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    key BLOB,
    reason TEXT NOT NULL,
    extra TEXT,
    body BLOB NOT NULL,
    PRIMARY KEY (line, number)
);
CREATE INDEX job_place ON job (line, state, place, number);
CREATE INDEX job_expiry ON job (line, expires_ms) WHERE expires_ms IS NOT NULL AND state < 2;
CREATE TABLE note (
    queue TEXT NOT NULL,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    until_ms INTEGER,
    value BLOB,
    PRIMARY KEY (queue, name)
);
CREATE INDEX note_until ON note (until_ms) WHERE until_ms IS NOT NULL;
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    store TEXT NOT NULL,
    last_number INTEGER NOT NULL
);
INSERT INTO meta VALUES (1, lower(hex(randomblob(4))), 0);
"""

DROP_LINE = "DELETE FROM line WHERE id = ?"
KEEP_LINE = "INSERT INTO line VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET team = excluded.team"
COUNTS = "SELECT state, count(*) FROM job WHERE line = ? GROUP BY state"

_ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
UPSERTS = [
    (count, f"INSERT OR REPLACE INTO job VALUES {', '.join([_ROW] * count)}")  # noqa: S608
    for count in (64, 8, 1)
]
"""For so many rows at once: half the time, and the interpreter is not asked for between them."""

DELETE = "DELETE FROM job WHERE line = ? AND number BETWEEN ? AND ?"
_JOBS = (
    "SELECT number, state, priority, due_ms, expires_ms, put_ms, attempts, key, reason, extra, "
    "body FROM job WHERE line = ?"
)
PAGE = f"{_JOBS} AND state = ? AND (place, number) > (?, ?) ORDER BY place, number LIMIT ?"
FIND = f"{_JOBS} AND number = ?"
# The plus keeps it to the order of the numbers: it is to stop at the first ones.
OLDEST = f"{_JOBS} AND +state < 2 ORDER BY number LIMIT ?"
EXPIRED = (
    f"{_JOBS} AND expires_ms IS NOT NULL AND state < 2 AND expires_ms <= ? "
    "ORDER BY expires_ms LIMIT ?"
)

KEEP_NOTE = "INSERT OR REPLACE INTO note VALUES (?, ?, ?, ?, ?)"
DROP_NOTE = "DELETE FROM note WHERE queue = ? AND name = ?"
_NOTES = "SELECT name, number, until_ms, value FROM note WHERE queue = ?"
FIND_NOTE = f"{_NOTES} AND name = ?"
NOTES = f"{_NOTES} AND name >= ? AND name < ? ORDER BY name LIMIT ?"
SWEEP = (
    "DELETE FROM note WHERE rowid IN "
    "(SELECT rowid FROM note WHERE until_ms <= ? ORDER BY until_ms LIMIT ?)"
)


LAST = "\U0010ffff"
"""Behind all that may follow in a name."""


def is_text(name: str) -> bool:
    """Whether the file can keep it: a lone half of a surrogate pair is no text."""
    try:
        return name.isascii() or bool(name.encode())
    except UnicodeEncodeError:
        return False


def row_of(line: int, ticket: Ticket, offset_ms: int) -> tuple[Any, ...]:
    """What is stored of a job as it is now. A lease is not: it ends with the home."""
    state = READY if ticket.state is RESERVED else ticket.state
    due_ms = ticket.due_ms + offset_ms if ticket.due_ms else 0
    reason = ticket.reason
    return (
        line,
        ticket.number,
        int(state),
        due_ms if state is DELAYED else ticket.priority,
        ticket.priority,
        due_ms,
        None if ticket.expires_ms == NEVER else ticket.expires_ms + offset_ms,
        ticket.put_ms + offset_ms,
        ticket.attempts,
        ticket.key,
        reason if is_text(reason) else reason.encode(errors="backslashreplace").decode(),
        None if ticket.extra is None else _text_of(ticket.extra),
        ticket.body,
    )


def ticket_of(row: tuple[Any, ...], offset_ms: int) -> Ticket:
    """A job as it was stored."""
    number, state, priority, due_ms, expires_ms, put_ms, attempts, key, reason, extra, body = row
    ticket = Ticket(
        number,
        body,
        put_ms - offset_ms,
        priority=priority,
        due_ms=due_ms - offset_ms if due_ms else 0,
        expires_ms=NEVER if expires_ms is None else expires_ms - offset_ms,
        key=key,
        attempts=attempts,
        reason=reason,
        extra=None if extra is None else Extra(**json.loads(extra)),
    )
    ticket.state = State(state)
    return ticket


def _text_of(extra: Extra) -> str:
    """What it has, by the names of what it is made of."""
    has = {name: getattr(extra, name) for name in Extra.__slots__}
    return json.dumps({name: value for name, value in has.items() if value is not None})


def row_of_note(queue: str, note: Note, offset_ms: int) -> tuple[Any, ...]:
    """A note as it is stored."""
    until_ms = None if note.until_ms == NEVER else note.until_ms + offset_ms
    return queue, note.name, note.number, until_ms, note.value


def note_of(row: tuple[Any, ...], offset_ms: int) -> Note:
    """A note as it was stored."""
    name, number, until_ms, value = row
    return Note(name, number, NEVER if until_ms is None else until_ms - offset_ms, value)
