"""The tables of a job file, and jobs as rows.

Times are those of the wall clock (Unix, ms) in the file, and of the home's clock in memory:
``offset_ms`` is what to add. ``place`` is what jobs of one state are ordered by: when one is due,
or its priority.
"""

from __future__ import annotations

from typing import Any

from patterns.queues.ticket import NEVER, State, Ticket

__all__ = ["COUNTS", "DELETE", "FIND", "PAGE", "SCHEMA", "UPSERT", "VERSION", "row_of", "ticket_of"]

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
    number INTEGER PRIMARY KEY,
    line INTEGER NOT NULL,
    state INTEGER NOT NULL,
    place INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    put_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    key BLOB,
    reason TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX job_place ON job (line, state, place, number);
CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), last_number INTEGER NOT NULL);
INSERT INTO meta VALUES (1, 0);
"""

UPSERT = "INSERT OR REPLACE INTO job VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
DELETE = "DELETE FROM job WHERE number = ?"
_COLUMNS = "number, state, priority, due_ms, expires_ms, put_ms, attempts, key, reason, body"
PAGE = (
    f"SELECT {_COLUMNS} FROM job "  # noqa: S608  fixed texts
    "WHERE line = ? AND state = ? AND (place, number) > (?, ?) ORDER BY place, number LIMIT ?"
)
FIND = f"SELECT {_COLUMNS} FROM job WHERE line = ? AND number = ?"  # noqa: S608
COUNTS = "SELECT state, count(*) FROM job WHERE line = ? GROUP BY state"


def row_of(line: int, ticket: Ticket, offset_ms: int) -> tuple[Any, ...]:
    """What is stored of a job as it is now. A lease is not: it ends with the home."""
    state = State.READY if ticket.state is State.RESERVED else ticket.state
    due_ms = ticket.due_ms + offset_ms if ticket.due_ms else 0
    return (
        ticket.number,
        line,
        int(state),
        due_ms if state is State.DELAYED else ticket.priority,
        ticket.priority,
        due_ms,
        None if ticket.expires_ms == NEVER else ticket.expires_ms + offset_ms,
        ticket.put_ms + offset_ms,
        ticket.attempts,
        ticket.key,
        ticket.reason,
        ticket.body,
    )


def ticket_of(row: tuple[Any, ...], offset_ms: int) -> Ticket:
    """A job as it was stored."""
    number, state, priority, due_ms, expires_ms, put_ms, attempts, key, reason, body = row
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
    )
    ticket.state = State(state)
    return ticket
