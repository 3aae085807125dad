"""What every store promises, and a queue relies on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from mesh.stores import MemoryStore, SqliteStore
from patterns.queues.notes import Note
from patterns.queues.stores import Store
from patterns.queues.ticket import NEVER, Extra, State, Ticket
from tests.unit.mesh.stores.desk import Desk, asked, numbers, page, put


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, desk: Desk) -> Iterator[Store]:
    store: Store
    store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "jobs.db")
    assert store.open() == []
    store.start(desk.run, desk.run_later, 1_700_000_000_000)
    yield store
    assert store.close()
    assert store.close()


def fields(of: object) -> dict[str, object]:
    return {name: getattr(of, name) for name in getattr(of, "__slots__", ())}


def test_a_job_is_read_as_it_was_put(desk: Desk, store: Store) -> None:
    line = store.line("emails", "")
    extra = Extra("order-7", "user 7", 60_000, {"trace": "it's \u00fc"})
    ticket = Ticket(
        7, b"\x00body", 1_000, priority=3, due_ms=9_000, expires_ms=50_000, key=b"user:7",
        attempts=2, reason="it's \u00fc", extra=extra,
    )  # fmt: skip
    assert put(desk, store, line, ticket) is None
    (read,) = page(desk, line, State.DELAYED, None, 10)
    assert fields(read.extra) == fields(extra)
    read.extra = extra
    assert fields(read) == fields(ticket)
    put(desk, store, line, Ticket(8, b"", 0))
    (plain,) = page(desk, line, State.READY, None, 10)
    assert (plain.due_ms, plain.expires_ms, plain.key, plain.extra) == (0, NEVER, None, None)
    put(desk, store, line, Ticket(9, b"", 0, extra=Extra(keep_ms=5)))
    with_extra = asked(desk, partial(line.find, 9))
    assert with_extra is not None
    assert fields(with_extra.extra) == fields(Extra(keep_ms=5))


def test_pages_go_on_behind_a_place_in_order(desk: Desk, store: Store) -> None:
    line, other = store.line("emails", ""), store.line("emails", "audit")
    put(desk, store, line, *(Ticket(n, b"", 0, priority=n % 3) for n in range(1, 10)))
    put(desk, store, line, *(Ticket(n, b"", 0, due_ms=100 - n) for n in range(20, 24)))
    put(desk, store, other, Ticket(50, b"", 0))
    assert numbers(page(desk, line, State.READY, None, 4)) == [3, 6, 9, 1]
    assert numbers(page(desk, line, State.READY, (1, 1), 100)) == [4, 7, 2, 5, 8]
    assert numbers(page(desk, line, State.DELAYED, None, 100)) == [23, 22, 21, 20]
    assert numbers(page(desk, line, State.DELAYED, (78, 22), 100)) == [21, 20]
    assert numbers(page(desk, other, State.READY, None, 100)) == [50]


def test_a_page_shows_what_was_marked_before(desk: Desk, store: Store) -> None:
    line = store.line("emails", "")
    tickets = [Ticket(n, b"", 0) for n in range(1, 5)]
    put(desk, store, line, *tickets)
    tickets[0].state = State.GONE
    tickets[1].state = State.DEAD
    tickets[2].state = State.RESERVED
    tickets[2].attempts = 1
    for ticket in tickets[:3]:
        line.mark(ticket)
    ready = page(desk, line, State.READY, None, 10)
    assert [(t.number, t.attempts) for t in ready] == [(3, 1), (4, 0)]
    assert numbers(page(desk, line, State.DEAD, None, 10)) == [2]
    assert asked(desk, partial(line.find, 1)) is None
    dead = asked(desk, partial(line.find, 2))
    assert dead is not None
    assert dead.state is State.DEAD


def test_numbers_that_were_given_are_known(desk: Desk, store: Store) -> None:
    assert store.last_number == 0
    put(desk, store, store.line("emails", ""), Ticket(7, b"", 0))
    put(desk, store, store.line("letters", ""), Ticket(3, b"", 0))
    assert store.last_number == 7


def test_a_group_has_its_own_jobs_and_one_line(desk: Desk, store: Store) -> None:
    line = store.line("emails", "audit")
    assert store.line("emails", "audit") is line
    put(desk, store, line, Ticket(1, b"", 0))
    assert page(desk, store.line("emails", ""), State.READY, None, 10) == []


def test_several_jobs_with_their_notes_are_put_at_once(desk: Desk, store: Store) -> None:
    line, audit = store.line("emails", ""), store.line("emails", "audit")
    ends: list[object] = []
    tickets = [Ticket(n, b"", 0) for n in (1, 2)]
    jobs = [(line, tickets[:1]), (audit, tickets[:1]), (line, tickets[1:])]
    store.put(jobs, [("emails", Note("id:a", 1)), ("letters", Note("id:b", 2))], ends.append)
    desk.until(lambda: ends)
    assert ends == [None]
    assert numbers(page(desk, line, State.READY, None, 10)) == [1, 2]
    assert numbers(page(desk, audit, State.READY, None, 10)) == [1]
    for name, note in (("emails", "id:a"), ("letters", "id:b")):
        assert asked(desk, partial(store.find_note, name, note)) is not None
    assert asked(desk, partial(store.find_note, "letters", "id:a")) is None


def test_a_put_of_nothing_is_safe_too(desk: Desk, store: Store) -> None:
    ends: list[object] = []
    store.put([], [], ends.append)
    desk.until(lambda: ends)
    assert ends == [None]


def test_a_job_has_one_number_in_the_lines_of_all_groups(desk: Desk, store: Store) -> None:
    lines = [store.line("emails", group) for group in ("", "audit")]
    tickets = [Ticket(5, b"", 0) for _ in lines]
    for line, ticket in zip(lines, tickets, strict=True):
        put(desk, store, line, ticket)
    tickets[0].state = State.GONE
    tickets[1].state = State.DEAD
    for line, ticket in zip(lines, tickets, strict=True):
        line.mark(ticket)
    assert asked(desk, partial(lines[0].find, 5)) is None
    assert numbers(page(desk, lines[1], State.DEAD, None, 10)) == [5]


def test_a_note_is_kept_instead_of_the_last_of_its_name(desk: Desk, store: Store) -> None:
    def kept() -> object:
        found = asked(desk, partial(store.find_note, "emails", "result:7:"))
        return found and fields(found)

    assert kept() is None
    for note in (Note("result:7:", 7), Note("result:7:", 7, 9_000, b"\x00out"), Note("result:7:")):
        store.note("emails", note)
        assert kept() == fields(note)
    store.drop_note("emails", "result:7:")
    assert kept() is None
    store.note("emails", Note("result:7:", 8))
    store.drop_note("letters", "result:7:")
    store.drop_note("letters", "of none")
    assert kept() == fields(Note("result:7:", 8))


def test_notes_are_found_by_how_their_names_begin(desk: Desk, store: Store) -> None:
    for name in ("result:7:b", "result:7:a", "result:77:a", "result:7", "Result:7:a", "result:7:%"):
        store.note("emails", Note(name))
    store.note("letters", Note("result:7:z"))

    def names(prefix: str, limit: int) -> list[str]:
        return [n.name for n in asked(desk, partial(store.notes, "emails", prefix, limit))]

    assert names("result:7:", 10) == ["result:7:%", "result:7:a", "result:7:b"]
    assert names("result:7:", 2) == ["result:7:%", "result:7:a"]
    assert names("result:7:%", 10) == ["result:7:%"]
    assert names("", 1) == ["Result:7:a"]
    assert names("\U0010ffff", 1) == []
    assert asked(desk, partial(store.notes, "of none", "", 10)) == []


def test_a_sweep_forgets_the_notes_whose_time_is_over(desk: Desk, store: Store) -> None:
    notes = [Note("a", 1, 1_000), Note("b", 2, 1_001), Note("c", 3), Note("d", 4, 500)]
    put(desk, store, store.line("emails", ""), Ticket(1, b"", 0), notes=notes)
    store.note("emails", Note("d", 5, 2_000))
    store.note("letters", Note("e", 6, 10))
    store.sweep(1_000)
    left = asked(desk, partial(store.notes, "emails", "", 10))
    assert [note.name for note in left] == ["b", "c", "d"]
    assert asked(desk, partial(store.find_note, "letters", "e")) is None


def test_the_oldest_that_wait_are_found(desk: Desk, store: Store) -> None:
    line = store.line("emails", "")
    tickets = [
        Ticket(n, b"", 0, priority=9 - n, due_ms=9_000 if n == 4 else 0) for n in range(1, 7)
    ]
    put(desk, store, line, *tickets)
    tickets[0].state = State.DEAD
    tickets[1].state = State.GONE
    for ticket in tickets[:2]:
        line.mark(ticket)
    assert numbers(asked(desk, partial(line.oldest, 3))) == [3, 4, 5]
    tickets[0].state = State.READY
    line.mark(tickets[0])
    assert numbers(asked(desk, partial(line.oldest, 10))) == [1, 3, 4, 5, 6]


def test_those_that_wait_and_have_expired_are_found(desk: Desk, store: Store) -> None:
    line = store.line("emails", "")
    due = {1: 100, 2: 200, 3: 201, 4: NEVER, 5: 50, 6: 60, 7: 70}
    tickets = {n: Ticket(n, b"", 0, expires_ms=at) for n, at in due.items()}
    tickets[1].due_ms, tickets[1].state = 5_000, State.DELAYED
    put(desk, store, line, *tickets.values())
    for number, state in ((5, State.DEAD), (6, State.GONE), (7, State.RESERVED)):
        tickets[number].state = state
        line.mark(tickets[number])

    def expired(limit: int) -> set[int]:
        return set(numbers(asked(desk, partial(line.expired, 200, limit)))) - {7}

    assert expired(10) == expired(10) == {1, 2}
    assert len(asked(desk, partial(line.expired, 200, 1))) == 1
    tickets[5].state = State.READY
    line.mark(tickets[5])
    assert expired(10) == {1, 2, 5}


def test_a_line_is_renamed_with_its_jobs(desk: Desk, store: Store) -> None:
    line = store.line("emails", "")
    put(desk, store, line, Ticket(1, b"", 0))
    ends: list[object] = []
    store.put([(line, [Ticket(2, b"", 0)])], [], ends.append)
    store.rename("emails", "", "audit")
    assert store.line("emails", "audit") is line
    unnamed = store.line("emails", "")
    with pytest.raises(ValueError, match="has jobs of its own"):
        store.rename("emails", "", "audit")
    assert unnamed is not line
    put(desk, store, unnamed, Ticket(3, b"", 0))
    assert numbers(page(desk, line, State.READY, None, 10)) == [1, 2]
    assert numbers(page(desk, unnamed, State.READY, None, 10)) == [3]


def test_a_store_has_an_id(store: Store) -> None:
    assert len(store.id) == 8
    assert int(store.id, 16) >= 0
