"""``Group``: a line with a name, as a home has it; and reading of it that is true when it comes.

Surprise: what is read of a store is as old as the question. Until the answer comes a job may be
taken, ended, even kicked again, and may be in memory no more. So a group notes which of its jobs
change while it waits for an answer, and those are left out of it: whoever pages finds them in the
next page, and who looks for one looks again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from patterns.queues.line import Holder, Line
from patterns.queues.stores import LineStore
from patterns.queues.ticket import State, Ticket
from patterns.queues.window import Place

__all__ = ["Group", "Reading"]


def _nothing() -> None:
    pass


class Reading:
    """A line's store. ``mark`` is the store's own, while nobody reads."""

    def __init__(self, store: LineStore) -> None:
        self._store = store
        self._changed: list[set[int]] = []
        """A set for each question that is open."""
        self.mark: Callable[[Ticket], None] = store.mark
        self.page = store.page

    def _mark(self, ticket: Ticket) -> None:
        for changed in self._changed:
            changed.add(ticket.number)
        self._store.mark(ticket)

    def _open(self) -> set[int]:
        changed: set[int] = set()
        self._changed.append(changed)
        self.mark = self._mark
        return changed

    def _close(self, changed: set[int]) -> None:
        self._changed = [other for other in self._changed if other is not changed]
        if not self._changed:
            self.mark = self._store.mark

    def _several(
        self, done: Callable[[Sequence[Ticket], bool], None], limit: int
    ) -> Callable[[Sequence[Ticket]], None]:
        changed = self._open()

        def answer(found: Sequence[Ticket]) -> None:
            self._close(changed)
            done([t for t in found if t.number not in changed], len(found) >= limit)

        return answer

    # ``done`` gets what is still as it was read, and whether there may be more.

    def jobs(
        self,
        state: State,
        after: Place | None,
        limit: int,
        done: Callable[[Sequence[Ticket], bool], None],
    ) -> None:
        """The first of a state behind a place."""
        self._store.page(state, after, limit, self._several(done, limit))

    def oldest(self, limit: int, done: Callable[[Sequence[Ticket], bool], None]) -> None:
        """The first that were put, of those that wait."""
        self._store.oldest(limit, self._several(done, limit))

    def expired(
        self, before_ms: int, limit: int, done: Callable[[Sequence[Ticket], bool], None]
    ) -> None:
        """Of those that wait some that are of no use any more at that time."""
        self._store.expired(before_ms, limit, self._several(done, limit))

    def find(self, number: int, done: Callable[[Ticket | None], None]) -> None:
        """Look for one, again while it changes; None when it is not there."""
        changed = self._open()

        def answer(found: Ticket | None) -> None:
            self._close(changed)
            if number in changed:
                self.find(number, done)
            else:
                done(found)

        self._store.find(number, answer)


class Group(Line):
    """The jobs of one group of workers. ``on_ready`` is for who hands them out: it is told when
    there may be more, and takes none there and then."""

    def __init__(
        self,
        name: str,
        store: LineStore,
        now: Callable[[], int],
        *,
        on_lost: Callable[[Group, Holder, Sequence[Ticket], str], None],
        on_expired: Callable[[Group, Ticket], None],
        on_due: Callable[[], None],
    ) -> None:
        self.name = name
        self.on_ready: Callable[[], None] = _nothing
        self.reading = Reading(store)
        super().__init__(self.reading, now, is_ready=lambda: self.on_ready())
        self.lost = lambda holder, tickets, why: on_lost(self, holder, tickets, why)
        self.has_expired = lambda ticket: on_expired(self, ticket)
        self.may_be_due = on_due
        counts = store.counts
        self.restore(
            counts.get(State.READY, 0), counts.get(State.DELAYED, 0), counts.get(State.DEAD, 0)
        )

    @property
    def length(self) -> int:
        """Jobs that wait or are worked on."""
        return self.ready.count + self.delayed.count + self.reserved
