"""What a queue needs of where its jobs are kept: a ``Store``, with a ``LineStore`` for each group.

Rules, the same for all (``tests/unit/mesh/stores/test_contract.py``):

* Jobs are *put* once, with notes of theirs, all of them or none: ``then(None)`` says that they are
  safe, ``then(StoreFailed)`` that none of it is there or will be.
* After that they are only *marked*. What one is when it is written counts, in the order of the
  marks, and no mark is ever lost: what cannot be written now is written later.
* What is marked, noted and put in one turn of the home's thread is one commit: a power failure
  leaves all of it or none. (Where the put cannot be written, the marks are written later; that a
  job was taken may be so, too: it only counts an attempt.)
* Reading comes after all that was marked before, and shows it. What is read at once ends with the
  job that makes it ``PAGE_BYTES`` or more, for these may be large.
* Everything is asked and answered on the home's thread.

A replicated engine can follow as another ``Store``: nothing here says that what is safe is so on
this machine, ``then`` may come as late as it likes, and reads may take as long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from patterns.queues.errors import StoreFailed
from patterns.queues.notes import Note
from patterns.queues.ticket import State, Ticket
from patterns.queues.window import Place

__all__ = ["LineStore", "Run", "RunLater", "Store", "Then"]

Then = Callable[[StoreFailed | None], None]
Run = Callable[[Callable[[], None]], object]
"""Calls a function on the home's thread, soon; from any thread."""
RunLater = Callable[[float, Callable[[], None]], object]
"""The same after some seconds; on the home's thread."""


class LineStore(Protocol):
    """The jobs of one group of one queue. ``counts`` are those that were there at the start.

    Where it ``keeps_all`` in memory itself, a window that is cut saves nothing: it needs none, and
    no pages.
    """

    keeps_all: bool
    counts: dict[State, int]

    def mark(self, ticket: Ticket) -> None:
        """It has changed, or is gone."""

    def mark_many(self, tickets: Sequence[Ticket]) -> None:
        """Several have been taken, all of them, or are gone. It is called with each batch of jobs,
        so it is made to be quick."""

    def page(
        self,
        state: State,
        after: Place | None,
        limit: int,
        done: Callable[[Sequence[Ticket]], None],
    ) -> None:
        """Read the first ``limit`` of a state behind a place, in order."""

    def find(self, number: int, done: Callable[[Ticket | None], None]) -> None:
        """Look for one; None when it is not there."""

    def oldest(self, limit: int, done: Callable[[Sequence[Ticket]], None]) -> None:
        """Of those that wait, ready or delayed, the first that were put.

        What is reserved is ready to a store, so it may be among them; with ``expired`` as well.
        """

    def expired(self, before_ms: int, limit: int, done: Callable[[Sequence[Ticket]], None]) -> None:
        """Of those that wait some that are of no use any more at that time."""


class Store(Protocol):
    """``id`` is 8 hex digits that stay with the store; ``last_number`` the highest that was ever
    given to a job."""

    id: str
    last_number: int

    def open(self) -> list[tuple[str, str]]:
        """On any thread, before all else; returns the queues and groups that are there already.

        Raises ConfigError when it cannot be used.
        """

    def start(self, run: Run, run_later: RunLater, offset_ms: int) -> None:
        """Begin. ``offset_ms`` is the wall clock's lead before the home's clock."""

    def line(self, name: str, group: str) -> LineStore:
        """The jobs of a group of a queue; there is one for each name."""

    def rename(self, name: str, group: str, to: str) -> None:
        """A line, with all that is in it, is another group's from now on.

        Raises ValueError if that one has a line already.
        """

    def drop(self, name: str, group: str) -> None:
        """A line that is empty is forgotten: it is not there at the next start."""

    def put(
        self,
        jobs: Sequence[tuple[LineStore, Sequence[Ticket]]],
        notes: Sequence[tuple[str, Note]],
        then: Then,
    ) -> None:
        """New jobs of several lines, those of each in the order of their numbers, and notes of the
        queues named; ``then`` is called when they are safe, or cannot be."""

    def note(self, name: str, note: Note) -> None:
        """Keep a note of a queue, instead of any of its name."""

    def drop_note(self, name: str, note: str) -> None:
        """Forget one."""

    def find_note(self, name: str, note: str, done: Callable[[Note | None], None]) -> None:
        """Look for one; None when it is not there."""

    def notes(
        self, name: str, prefix: str, limit: int, done: Callable[[Sequence[Note]], None]
    ) -> None:
        """The first ``limit`` whose names begin so, in the order of their names."""

    def sweep(self, now_ms: int) -> None:
        """Forget the notes whose time is over, soon."""

    def close(self, wait: float = 1.0) -> bool:
        """Write what is left, and end; returns whether that is over within ``wait`` seconds. Who
        calls again waits on."""
