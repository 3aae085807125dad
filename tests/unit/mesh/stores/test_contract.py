"""What every store promises, and a queue relies on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.stores import MemoryStore, SqliteStore
from patterns.queues.stores import Store
from patterns.queues.ticket import NEVER, State, Ticket
from tests.unit.mesh.stores.desk import Desk, numbers, page, put


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


def test_a_job_is_read_as_it_was_put(desk: Desk, store: Store) -> None:
    line = store.line("emails", "")
    ticket = Ticket(
        7, b"\x00body", 1_000, priority=3, due_ms=9_000, expires_ms=50_000, key=b"user:7",
        attempts=2, reason="it's \u00fc",
    )  # fmt: skip
    assert put(desk, line, ticket) == [None]
    (read,) = page(desk, line, State.DELAYED, None, 10)
    assert {name: getattr(read, name) for name in Ticket.__slots__} == {
        name: getattr(ticket, name) for name in Ticket.__slots__
    }
    put(desk, line, Ticket(8, b"", 0))
    (plain,) = page(desk, line, State.READY, None, 10)
    assert (plain.due_ms, plain.expires_ms, plain.key) == (0, NEVER, None)


def test_pages_go_on_behind_a_place_in_order(desk: Desk, store: Store) -> None:
    line, other = store.line("emails", ""), store.line("emails", "audit")
    put(desk, line, *(Ticket(n, b"", 0, priority=n % 3) for n in range(1, 10)))
    put(desk, line, *(Ticket(n, b"", 0, due_ms=100 - n) for n in range(20, 24)))
    put(desk, other, Ticket(50, b"", 0))
    assert numbers(page(desk, line, State.READY, None, 4)) == [3, 6, 9, 1]
    assert numbers(page(desk, line, State.READY, (1, 1), 100)) == [4, 7, 2, 5, 8]
    assert numbers(page(desk, line, State.DELAYED, None, 100)) == [23, 22, 21, 20]
    assert numbers(page(desk, line, State.DELAYED, (78, 22), 100)) == [21, 20]
    assert numbers(page(desk, other, State.READY, None, 100)) == [50]


def test_a_page_shows_what_was_marked_before(desk: Desk, store: Store) -> None:
    line = store.line("emails", "")
    tickets = [Ticket(n, b"", 0) for n in range(1, 5)]
    put(desk, line, *tickets)
    tickets[0].state = State.GONE
    tickets[1].state = State.DEAD
    tickets[2].state = State.RESERVED
    tickets[2].attempts = 1
    for ticket in tickets[:3]:
        line.mark(ticket)
    ready = page(desk, line, State.READY, None, 10)
    assert [(t.number, t.attempts) for t in ready] == [(3, 1), (4, 0)]
    assert numbers(page(desk, line, State.DEAD, None, 10)) == [2]
    found: list[Ticket | None] = []
    line.find(1, found.append)
    line.find(2, found.append)
    desk.until(lambda: len(found) == 2)
    assert found[0] is None
    assert found[1] is not None
    assert found[1].state is State.DEAD


def test_numbers_that_were_given_are_known(desk: Desk, store: Store) -> None:
    assert store.last_number == 0
    put(desk, store.line("emails", ""), Ticket(7, b"", 0))
    put(desk, store.line("letters", ""), Ticket(3, b"", 0))
    assert store.last_number == 7


def test_a_group_has_its_own_jobs_and_one_line(desk: Desk, store: Store) -> None:
    line = store.line("emails", "audit")
    assert store.line("emails", "audit") is line
    put(desk, line, Ticket(1, b"", 0))
    assert page(desk, store.line("emails", ""), State.READY, None, 10) == []
