"""What a queue needs of where its jobs are kept: a ``Store``, with a ``LineStore`` for each team.

Rules, the same for all (``tests/unit/mesh/stores/test_contract.py``):

* A job is *added* once: ``then(None)`` says that it is safe, ``then(StoreFailed)`` that it is not
  there and will not be.
* After that it is only *marked*. What it is when it is written counts, in the order of the marks,
  and no mark is ever lost: what cannot be written now is written later.
* Reading comes after all that was marked before, and shows it.
* Everything is asked and answered on the home's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from patterns.queues.errors import StoreFailed
from patterns.queues.ticket import State, Ticket
from patterns.queues.window import Place

__all__ = ["LineStore", "Run", "RunLater", "Store", "Then"]

Then = Callable[[StoreFailed | None], None]
Run = Callable[[Callable[[], None]], object]
"""Calls a function on the home's thread, soon; from any thread."""
RunLater = Callable[[float, Callable[[], None]], object]
"""The same after some seconds; on the home's thread."""


class LineStore(Protocol):
    """The jobs of one team. ``counts`` are those that were there at the start."""

    counts: dict[State, int]

    def add(self, ticket: Ticket, then: Then) -> None:
        """A new job; ``then`` is called when it is safe, or cannot be."""

    def mark(self, ticket: Ticket) -> None:
        """It has changed, or is gone."""

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


class Store(Protocol):
    """``last_number`` is the highest that was ever given to a job."""

    last_number: int

    def open(self) -> list[tuple[str, str]]:
        """On any thread, before all else; returns the queues and teams that are there already.

        Raises ConfigError when it cannot be used.
        """

    def start(self, run: Run, run_later: RunLater, offset_ms: int) -> None:
        """Begin. ``offset_ms`` is the wall clock's lead before the home's clock."""

    def line(self, name: str, team: str) -> LineStore:
        """The jobs of a team of a queue; there is one for each name."""

    def close(self) -> bool:
        """Write what is left, and end; returns whether that went well. Idempotent."""
