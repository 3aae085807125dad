"""A file of jobs: what is told to be stored is there after whatever end."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from mesh.stores import SqliteStore, sqlite_line
from mesh.stores.job_file import SWEEP
from patterns.errors import ConfigError
from patterns.queues import window
from patterns.queues.errors import StoreFailed
from patterns.queues.line import Holder, Line
from patterns.queues.notes import Note
from patterns.queues.ticket import NEVER, Extra, State, Ticket
from tests.unit.mesh.stores.desk import Desk, asked, numbers, page, put

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
    with pytest.raises(ConfigError, match="another process has it"):
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


def test_what_cannot_be_put_leaves_no_note_and_other_notes_wait(
    path: Path, desk: Desk, store: SqliteStore
) -> None:
    line = store.line("emails", "")
    put(desk, store, line, Ticket(1, b"", 0), notes=[Note("unique:a", 1), Note("unique:b", 1)])
    (pages,) = store.file.connection.execute("PRAGMA page_count").fetchone()
    store.file.connection.execute(f"PRAGMA max_page_count = {pages}")
    # All of this is one turn.
    store.note("emails", Note("result:1:", 1, 9_000, b"out"))
    store.drop_note("emails", "unique:a")
    store.drop_note("emails", "unique:b")
    store.rename("emails", "", "audit")
    notes = [Note("unique:a", 2), Note("id:x", 2), Note("result:1:", 2)]
    large = Ticket(2, os.urandom(100_000), 0)
    end = put(desk, store, line, Ticket(3, b"", 0), large, notes=notes)
    assert isinstance(end, StoreFailed)
    store.note("emails", Note("unique:b", 3))
    store.file.connection.execute("PRAGMA max_page_count = 1000000")
    put(desk, store, line, Ticket(4, b"", 0), notes=[Note("unique:a", 4)])
    left = asked(desk, partial(store.notes, "emails", "", 10))
    assert {note.name: note.number for note in left} == {
        "result:1:": 1,
        "unique:a": 4,
        "unique:b": 3,
    }
    assert numbers(page(desk, line, State.READY, None, 10)) == [1, 4]
    teams = store.file.connection.execute("SELECT id, team FROM line").fetchall()
    assert teams == [(1, "audit")]


def test_what_is_done_in_one_turn_is_one_commit(desk: Desk, store: SqliteStore) -> None:
    line, following = store.line("emails", ""), store.line("letters", "")
    taken = Ticket(1, b"", 0)
    put(desk, store, line, taken)
    commits: list[str] = []
    store.file.connection.set_trace_callback(
        lambda text: commits.append(text) if text == "COMMIT" else None
    )
    taken.state = State.GONE
    line.mark(taken)
    store.note("emails", Note("result:1:", 1))
    store.sweep(0)
    put(desk, store, following, Ticket(2, b"", 0), Ticket(3, b"", 0), notes=[Note("id:a", 2)])
    assert commits == ["COMMIT"]


def test_notes_and_a_rename_last_through_a_restart(path: Path, desk: Desk) -> None:
    store = opened(path, desk)
    line = store.line("emails", "")
    notes = [Note("id:a", 1), Note("result:1:", 1, 60_000, b"out")]
    put(desk, store, line, Ticket(1, b"", 0), Ticket(2, b"", 0), notes=notes)
    store.rename("emails", "", "audit")
    assert store.close()
    again = SqliteStore(path)
    assert again.open() == [("emails", "audit")]
    assert again.line("emails", "audit").counts == {State.READY: 2}
    again.start(desk.run, desk.run_later, OFFSET_MS + 20_000)
    left = asked(desk, partial(again.notes, "emails", "", 10))
    assert [(note.name, note.until_ms) for note in left] == [("id:a", NEVER), ("result:1:", 40_000)]
    assert again.close()


def test_a_sweep_forgets_however_many(desk: Desk, store: SqliteStore) -> None:
    ending = [Note(f"id:{n}", n, 1_000) for n in range(SWEEP + 10)]
    put(desk, store, store.line("emails", ""), notes=[*ending, Note("id:last", 0, 1_001)])
    store.sweep(1_000)

    def left() -> list[str]:
        return [note.name for note in asked(desk, partial(store.notes, "emails", "", SWEEP))]

    desk.until(lambda: left() == ["id:last"])


def test_what_is_no_text_is_refused_or_written_out(desk: Desk, store: SqliteStore) -> None:
    line = store.line("emails", "")
    with pytest.raises(ValueError, match="not valid Unicode"):
        put(desk, store, line, Ticket(1, b"", 0), notes=[Note("id:\ud800")])
    with pytest.raises(ValueError, match="not valid Unicode"):
        store.note("emails", Note("id:\ud800"))
    store.drop_note("emails", "id:\ud800")
    assert asked(desk, partial(store.find_note, "emails", "id:\ud800")) is None
    assert asked(desk, partial(store.notes, "emails", "id:\ud800", 10)) == []
    put(desk, store, line, Ticket(2, b"", 0, reason="no file \udcff"))
    (ticket,) = page(desk, line, State.READY, None, 10)
    assert ticket.reason == "no file \\udcff"


def test_what_cannot_be_read_makes_no_put_fail(desk: Desk, store: SqliteStore) -> None:
    line = store.line("emails", "")
    put(desk, store, line, Ticket(1, b"", 0, extra=Extra("a")))
    store.file.connection.execute("UPDATE job SET extra = 'damaged'")
    found: list[object] = []
    line.find(1, found.append)
    assert put(desk, store, line, Ticket(2, b"", 0)) is None
    assert found == []
    store.file.connection.execute("UPDATE job SET extra = NULL")
    assert asked(desk, partial(line.find, 2)) is not None
    assert len(found) == 1


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
        store.put([(line, [Ticket(n, b"", 0)])], [], ends.append)
    desk.until(lambda: len(ends) == 2_000)
    assert len(commits) <= 5


def test_that_jobs_were_taken_is_not_written_when_they_end_at_once(
    path: Path, desk: Desk, store: SqliteStore
) -> None:
    line = store.line("emails", "")
    tickets = [Ticket(n, b"", 0) for n in range(1, 101)]
    put(desk, store, line, *tickets)
    written: list[str] = []
    store.file.connection.set_trace_callback(written.append)
    for state in (State.RESERVED, State.GONE):
        for ticket in tickets:
            ticket.state = state
        line.mark_many(tickets)
    assert put(desk, store, line, Ticket(101, b"", 0)) is None
    assert sum(text.startswith("DELETE") for text in written) == 1, "all of them together"
    assert sum(text.startswith("INSERT") for text in written) == 1, "the other one"


def test_that_a_job_was_taken_is_written_when_it_goes_on(
    path: Path, desk: Desk, store: SqliteStore
) -> None:
    line = store.line("emails", "")
    ticket = Ticket(1, b"", 0)
    put(desk, store, line, ticket)
    commits: list[str] = []
    store.file.connection.set_trace_callback(
        lambda text: commits.append(text) if text == "COMMIT" else None
    )
    ticket.state, ticket.attempts = State.RESERVED, 1
    line.mark_many([ticket])
    desk.until(lambda: commits)
    store.file.connection.set_trace_callback(None)
    found = asked(desk, partial(line.find, 1))
    assert found is not None
    assert found.attempts == 1


PUTTER = """
import sys, time
from mesh.stores import SqliteStore, sqlite_line
from patterns.queues.line import Holder, Line
from patterns.queues.notes import Note
from patterns.queues.ticket import State, Ticket
from tests.unit.mesh.stores.desk import Desk

desk, store = Desk(), SqliteStore(sys.argv[1])
store.open()
store.start(desk.run, desk.run_later, 0)
line, audit = store.line("emails", ""), store.line("emails", "audit")
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
        jobs = [(line, [ticket]), (audit, [Ticket(number, b"", 0)])]
        store.put(jobs, [("emails", Note(f"id:{number}", number))], then)
    desk.until(lambda: len(stored) >= 20)
    for ticket in stored[:5]:
        ticket.state = State.GONE
        line.mark(ticket)
        store.note("emails", Note(f"gone:{ticket.number}", ticket.number))
        print("gone", ticket.number, flush=True)
    stored.clear()
"""


def check_what_is_left(path: Path, said: dict[str, set[int]]) -> None:
    """All that was promised, and of each turn all or nothing."""
    store = SqliteStore(path)
    lines = store.open()
    there: dict[str, set[int]] = {}
    for group in ("", "audit"):
        there[group] = {
            number
            for (number,) in store.file.connection.execute(
                "SELECT number FROM job WHERE line = ?", (store.line("emails", group).id,)
            )
        }
    noted: dict[str, set[int]] = {"id": set(), "gone": set()}
    for name, number in store.file.connection.execute("SELECT name, number FROM note"):
        noted[name.partition(":")[0]].add(number)
    assert lines == [("emails", ""), ("emails", "audit")]
    assert said["put"] - said["gone"] <= there[""], "what was promised is there"
    assert said["put"] <= there["audit"]
    assert there["audit"] == noted["id"], "a put of several, and its note, is one commit"
    assert there["audit"] - there[""] == noted["gone"], "so is what is marked in one turn"
    assert store.last_number >= max(said["put"])
    assert store.close()


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
        check_what_is_left(path, said)


def test_a_line_that_was_dropped_is_not_there_at_the_next_start(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "dropped.db"
    store = SqliteStore(path)
    store.open()
    store.start(desk.run, desk.run_later, 0)
    for group in ("audit", "bill"):
        put(desk, store, store.line("emails", group), Ticket(store.last_number + 1, b"", 0))
    line = store.line("emails", "bill")
    ticket = page(desk, line, State.READY, None, 1)[0]
    ticket.state = State.GONE
    line.mark(ticket)
    store.drop("emails", "bill")
    store.line("emails", "log")  # which gets the number of the line that has gone
    put(desk, store, store.line("emails", "log"), Ticket(store.last_number + 1, b"", 0))
    assert store.close()
    again = SqliteStore(path)
    assert sorted(again.open()) == [("emails", "audit"), ("emails", "log")]
    assert again.close()


def test_a_backlog_of_large_jobs_is_read_in_parts(
    desk: Desk, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sqlite_line, window):
        monkeypatch.setattr(module, "PAGE_BYTES", 4_000)
    line = store.line("emails", "")
    put(desk, store, line, *(Ticket(n, bytes(1_000), 0) for n in range(1, 8)))
    first = page(desk, line, State.READY, None, 100)
    assert numbers(first) == [1, 2, 3, 4]
    now = [0]
    big = Line(line, lambda: now[0], is_ready=lambda: None)
    big.restore(7, 0, 0)
    holder, taken = Holder("w", 60.0), list[int]()
    desk.until(lambda: taken.extend(numbers(big.take(holder, 1))) or len(taken) == 7)
    assert taken == [1, 2, 3, 4, 5, 6, 7]


def test_a_number_that_no_job_can_have_does_not_hold_up_what_is_read_next(
    desk: Desk, store: SqliteStore
) -> None:
    line = store.line("emails", "")
    put(desk, store, line, Ticket(1, b"", 0))
    for number in (10**30, 2**63, -1):
        assert asked(desk, partial(line.find, number)) is None
    assert asked(desk, partial(line.find, 1)) is not None


def test_who_takes_an_answer_badly_keeps_it_from_nobody(desk: Desk, store: SqliteStore) -> None:
    line, told = store.line("emails", ""), []

    def breaks(error: StoreFailed | None) -> None:
        raise ArithmeticError

    store.put([(line, [Ticket(1, b"", 0)])], (), breaks)
    store.put([(line, [Ticket(2, b"", 0)])], (), told.append)
    desk.until(lambda: told)
    assert told == [None]


def test_a_page_goes_on_behind_what_was_due_before_the_clock_began(path: Path, desk: Desk) -> None:
    store = opened(path, desk)
    line = store.line("emails", "")
    put(desk, store, line, *[Ticket(n, b"", 0, due_ms=1_000 * n) for n in range(1, 4)])
    assert store.close()
    again = SqliteStore(path)
    again.open()
    again.start(desk.run, desk.run_later, OFFSET_MS + 60_000)
    line = again.line("emails", "")
    first = page(desk, line, State.DELAYED, None, 2)
    assert numbers(first) == [1, 2]
    rest = page(desk, line, State.DELAYED, (first[-1].due_ms, first[-1].number), 2)
    assert numbers(rest) == [3]
    assert again.close()
