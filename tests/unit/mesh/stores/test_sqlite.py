"""A file of jobs: what is told to be stored is there after whatever end."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.stores import SqliteStore
from patterns.errors import ConfigError
from patterns.queues.errors import StoreFailed
from patterns.queues.ticket import State, Ticket
from tests.unit.mesh.stores.desk import Desk, page, put

OFFSET_MS = 1_700_000_000_000


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path: Path, desk: Desk) -> Iterator[SqliteStore]:
    store = opened(path, desk)
    yield store
    assert store.close()


def opened(path: Path, desk: Desk) -> SqliteStore:
    store = SqliteStore(path)
    store.open()
    store.start(desk.run, desk.run_later, OFFSET_MS)
    return store


def test_a_restart_has_all_of_it_and_gives_no_number_twice(path: Path, desk: Desk) -> None:
    store = opened(path, desk)
    line = store.line("emails", "audit")
    tickets = [Ticket(n, b"x", 0, due_ms=50 if n == 3 else 0) for n in range(1, 6)]
    put(desk, store, line, *tickets)
    tickets[4].state = State.GONE
    tickets[1].state = State.DEAD
    tickets[3].state = State.RESERVED
    for ticket in tickets:
        line.mark(ticket)
    assert store.close()
    again = SqliteStore(path)
    assert again.open() == [("emails", "audit")]
    assert again.last_number == 5
    assert again.id == store.id
    assert again.line("emails", "audit").counts == {
        State.READY: 2,
        State.DELAYED: 1,
        State.DEAD: 1,
    }
    assert again.close()


def test_the_clock_of_a_new_home_begins_anew_and_times_stay(path: Path, desk: Desk) -> None:
    store = opened(path, desk)
    put(desk, store, store.line("emails", ""), Ticket(1, b"", 5_000, due_ms=60_000))
    assert store.close()
    again = SqliteStore(path)
    again.open()
    again.start(desk.run, desk.run_later, OFFSET_MS + 20_000)
    (ticket,) = page(desk, again.line("emails", ""), State.DELAYED, None, 10)
    assert (ticket.put_ms, ticket.due_ms) == (-15_000, 40_000)
    assert again.close()


def test_one_process_has_a_file(path: Path, desk: Desk, store: SqliteStore) -> None:
    put(desk, store, store.line("emails", ""), Ticket(1, b"", 0))
    with pytest.raises(ConfigError, match="cannot be used as a file of jobs"):
        SqliteStore(path).open()


def test_what_is_no_file_of_jobs_is_refused(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"no database, but long enough to be one" * 40)
    with pytest.raises(ConfigError, match="cannot be used as a file of jobs"):
        SqliteStore(path).open()
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    with pytest.raises(ConfigError, match="of something else"):
        SqliteStore(other).open()
    with sqlite3.connect(other) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigError, match="version 99"):
        SqliteStore(other).open()
    with pytest.raises(ConfigError, match="cannot be opened"):
        SqliteStore(tmp_path / "no such folder" / "jobs.db").open()
    with pytest.raises(ConfigError):
        SqliteStore(tmp_path).open()


def test_a_full_disk_fails_what_is_put_and_loses_nothing_else(
    path: Path, desk: Desk, store: SqliteStore
) -> None:
    line = store.line("emails", "")
    kept = Ticket(1, b"kept", 0)
    put(desk, store, line, kept)
    (pages,) = store.file.connection.execute("PRAGMA page_count").fetchone()
    store.file.connection.execute(f"PRAGMA max_page_count = {pages}")
    end = put(desk, store, line, Ticket(2, os.urandom(100_000), 0))
    assert isinstance(end, StoreFailed)
    assert "full" in str(end)
    kept.attempts, kept.reason = 3, "x" * 20_000
    line.mark(kept)
    end = put(desk, store, line, Ticket(3, os.urandom(100_000), 0))
    assert isinstance(end, StoreFailed)
    store.file.connection.execute("PRAGMA max_page_count = 1000000")
    (read,) = page(desk, line, State.READY, None, 10)
    assert (read.number, read.attempts) == (1, 3), "what was promised is written when that works"
    assert put(desk, store, line, Ticket(4, b"", 0)) is None


def test_what_comes_while_it_writes_shares_a_commit(
    path: Path, desk: Desk, store: SqliteStore
) -> None:
    commits: list[str] = []
    store.file.connection.set_trace_callback(
        lambda text: commits.append(text) if text == "COMMIT" else None
    )
    line = store.line("emails", "")
    ends: list[object] = []
    for n in range(1, 2_001):
        store.put([(line, Ticket(n, b"", 0))], [], ends.append)
    desk.until(lambda: len(ends) == 2_000)
    assert len(commits) <= 5


PUTTER = """
import sys, time
from mesh.stores import SqliteStore
from patterns.queues.ticket import State, Ticket
from tests.unit.mesh.stores.desk import Desk, page, put

desk, store = Desk(), SqliteStore(sys.argv[1])
store.open()
store.start(desk.run, desk.run_later, 0)
line = store.line("emails", "")
number, stored = store.last_number, []

def keep(ticket, error):
    assert error is None
    stored.append(ticket)
    print("put", ticket.number, flush=True)

while True:
    for _ in range(20):
        number += 1
        ticket = Ticket(number, b"x" * 300, 0)
        then = lambda error, ticket=ticket: keep(ticket, error)
        store.put([(line, ticket)], [], then)
    desk.until(lambda: len(stored) >= 20)
    for ticket in stored[:5]:
        ticket.state = State.GONE
        line.mark(ticket)
        print("gone", ticket.number, flush=True)
    stored.clear()
"""


def test_a_kill_loses_nothing_that_was_told_to_be_stored(path: Path) -> None:
    said: dict[str, set[int]] = {"put": set(), "gone": set()}
    for lines in (1, 57, 211):
        with subprocess.Popen(
            [sys.executable, "-c", PUTTER, str(path)], stdout=subprocess.PIPE, text=True
        ) as putter:
            assert putter.stdout is not None
            begun = [putter.stdout.readline() for _ in range(lines)]
            putter.send_signal(signal.SIGKILL)
            for line in (*begun, *putter.stdout.read().splitlines()):
                what, _, number = line.partition(" ")
                if number.strip():
                    said[what].add(int(number))
        store = SqliteStore(path)
        store.open()
        there = {number for (number,) in store.file.connection.execute("SELECT number FROM job")}
        assert said["put"] - said["gone"] <= there, "what was promised is there"
        assert store.last_number >= max(said["put"])
        assert store.close()
