"""Jobs in memory: what is particular of them."""

from __future__ import annotations

from functools import partial

from mesh.stores import MemoryStore
from mesh.stores.memory import SLICE, SPARE
from mesh.stores.memory_notes import MemoryNotes
from patterns.queues.notes import Note
from patterns.queues.ticket import State, Ticket
from tests.unit.mesh.stores.desk import Desk, asked, numbers, page, put


def started(desk: Desk) -> MemoryStore:
    store = MemoryStore()
    store.open()
    store.start(desk.run, desk.run_later, 0)
    return store


def test_a_put_is_safe_at_once() -> None:
    store = started(Desk())
    ends: list[object] = []
    store.put([(store.line("emails", ""), [Ticket(1, b"", 0)])], [], ends.append)
    assert ends == [None]


def test_many_are_looked_through_in_several_turns() -> None:
    desk = Desk()
    store = started(desk)
    line = store.line("emails", "")
    tickets = [Ticket(n, b"", 0, priority=-n % 7) for n in range(1, 2 * SLICE + 1)]
    put(desk, store, line, *tickets)
    expected = sorted(tickets, key=lambda ticket: (ticket.priority, ticket.number))
    assert numbers(page(desk, line, State.READY, None, 100)) == numbers(expected[:100])
    after = expected[-5].priority, expected[-5].number
    assert numbers(page(desk, line, State.READY, after, 100)) == numbers(expected[-4:])
    found: list[object] = []
    line.page(State.READY, None, 1, found.extend)
    desk.turn()
    expected[0].state = State.GONE
    line.mark(expected[0])
    desk.all()
    assert found == [], "one that went while it was looked for is not shown"


def test_notes_that_end_are_bounded_and_the_first_to_end_goes_first() -> None:
    notes = MemoryNotes(most=3)
    notes.keep(Note("lasting"))
    for name, until_ms in (("a", 30), ("b", 10), ("c", 20), ("b", 40)):
        notes.keep(Note(name, 0, until_ms))
    notes.keep(Note("d", 0, 25))
    assert {note.name for note in notes.all()} == {"lasting", "a", "b", "d"}
    notes.keep(Note("lasting", 0, 50))
    assert {note.name for note in notes.all()} == {"lasting", "a", "b"}


def test_what_is_gone_leaves_nothing_behind() -> None:
    desk = Desk()
    store = started(desk)
    line = store.line("emails", "")
    notes = MemoryNotes()
    for number in range(3 * SPARE):
        ticket = Ticket(number, b"", 0, expires_ms=9_000)
        put(desk, store, line, ticket)
        ticket.state = State.GONE
        line.mark(ticket)
        notes.keep(Note("again", 0, number))
    assert len(line._expiry) <= SPARE + 1
    assert len(notes._ends) <= SPARE + 3
    assert asked(desk, partial(line.expired, 9_000, 10)) == []
