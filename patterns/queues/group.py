"""``Group``: a line with a name, as a home has it; and reading of it that is true when it comes.

Surprise: what is read of a store is as old as the question. Until the answer comes a job may be
taken, ended, even kicked again, and may be in memory no more. So a line notes which of its jobs
change while it waits for an answer, and those are left out of it: who pages meets them in the next
page or not at all, and who looks for one looks again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from patterns.queues.line import Ending, Holder, Line
from patterns.queues.stores import LineStore
from patterns.queues.ticket import NEVER, State, Ticket
from patterns.queues.window import WINDOW, Place

__all__ = ["Found", "Group", "Reading", "place_of"]

Found = Callable[[Sequence[Ticket], int], None]
"""Gets what is still as it was read, and how many were read."""


class Reading:
    """The store of one line. ``mark`` is the store's own, while nobody reads."""

    def __init__(self, store: LineStore) -> None:
        self.store = store
        self._open: list[set[int]] = []
        """For each question that is open, what has changed since."""
        self.mark: Callable[[Ticket], None] = store.mark
        self._mark_many = store.mark_many
        self.page = store.page
        """For the line itself, which keeps its own account."""

    def _mark(self, ticket: Ticket) -> None:
        for changed in self._open:
            changed.add(ticket.number)
        self.store.mark(ticket)

    def mark_many(self, tickets: Sequence[Ticket]) -> None:
        """The same for several."""
        for changed in self._open:
            changed.update([ticket.number for ticket in tickets])
        self._mark_many(tickets)

    def ask(self) -> set[int]:
        """A question begins; returns what will have changed until ``answered``."""
        changed: set[int] = set()
        self._open.append(changed)
        self.mark = self._mark
        return changed

    def answered(self, changed: set[int]) -> None:
        """It has its answer."""
        self._open = [other for other in self._open if other is not changed]
        if not self._open:
            self.mark = self.store.mark

    def _several(self, done: Found) -> Callable[[Sequence[Ticket]], None]:
        changed = self.ask()

        def answer(found: Sequence[Ticket]) -> None:
            self.answered(changed)
            done([ticket for ticket in found if ticket.number not in changed], len(found))

        return answer

    def jobs(
        self,
        state: State,
        after: Place | None,
        limit: int,
        done: Callable[[Sequence[Ticket], Place | None], None],
    ) -> None:
        """The first of a state behind a place, and where to go on; None: nothing was there."""
        changed = self.ask()

        def answer(found: Sequence[Ticket]) -> None:
            self.answered(changed)
            if state is State.DEAD and not changed.isdisjoint(t.number for t in found):
                # They change seldom, and none of them may be missed.
                self.jobs(state, after, limit, done)
                return
            last = place_of(found[-1], state) if found else None
            done([ticket for ticket in found if ticket.number not in changed], last)

        self.store.page(state, after, limit, answer)

    def oldest(self, limit: int, done: Found) -> None:
        """The first that were put, of those that wait; what is reserved may be among them."""
        self.store.oldest(limit, self._several(done))

    def expired(self, before_ms: int, limit: int, done: Found) -> None:
        """Of those that wait some that are of no use any more at that time; the same."""
        self.store.expired(before_ms, limit, self._several(done))

    def find(self, number: int, done: Callable[[Ticket | None], None]) -> None:
        """Look for one, again while it changes; None when it is not there."""
        changed = self.ask()

        def answer(found: Ticket | None) -> None:
            self.answered(changed)
            if number in changed:
                self.find(number, done)
            else:
                done(found)

        self.store.find(number, answer)


class Group(Line):
    """The jobs of one group of workers.

    ``on_ready``, ``lost`` and ``workers`` are for who hands them out. ``on_ready`` says that there
    may be more: it takes none there and then.
    """

    def __init__(
        self,
        name: str,
        store: LineStore,
        now: Callable[[], int],
        *,
        max_attempts: int | None,
        taken: Callable[[Group, Holder, Sequence[Ticket]], None],
        ended: Callable[[Group, Ticket, Ending], None],
    ) -> None:
        self.name = name
        self.on_ready: Callable[[], None] = _nothing
        self.on_dropped: Callable[[], None] = _nothing
        """Its workers have to come again, and make it anew."""
        self.workers = 0
        """How many there are; set by who hands jobs out."""
        self.is_dropped = False
        self._taken = taken
        self.reading = Reading(store)
        super().__init__(
            self.reading,
            now,
            is_ready=lambda: self.on_ready(),
            window=None if store.keeps_all else WINDOW,
            max_attempts=max_attempts,
        )
        self.ended = lambda ticket, ending: ended(self, ticket, ending)
        counts = store.counts
        self.restore(
            counts.get(State.READY, 0), counts.get(State.DELAYED, 0), counts.get(State.DEAD, 0)
        )

    def take(self, holder: Holder, most: int, most_bytes: int = NEVER) -> list[Ticket]:
        """See ``Line.take``; the home hears of it, so that leases end in time."""
        tickets = super().take(holder, most, most_bytes)
        if tickets:
            self._taken(self, holder, tickets)
        return tickets

    @property
    def length(self) -> int:
        """Jobs that wait or are worked on."""
        return self.ready.count + self.delayed.count + self.reserved

    def known(self, ticket: Ticket) -> Ticket:
        """The one in memory, if there is; ``ticket`` is one that was read, and still true."""
        return self._here.get(ticket.number, ticket)

    def held(self) -> list[Ticket]:
        """All that is reserved, the lease that ends first at the front."""
        held = [ticket for holder in self._holders for ticket in holder.held.values()]
        return sorted(held, key=lambda ticket: (ticket.lease_until_ms, ticket.number))

    def came_back(self, ticket: Ticket) -> None:
        """One that was to end has not, and is ready again."""
        # In memory, wherever the window ends: a page that is read may not show it.
        self._here[ticket.number] = ticket
        self._again(ticket, 0.0)

    def find(self, number: int, done: Callable[[Ticket | None], None]) -> None:
        """Look for a job, whatever its state; as it is when the answer comes."""
        self.reading.find(number, lambda t: done(None if t is None else self.known(t)))


def place_of(ticket: Ticket, state: State) -> Place:
    """What jobs of a state are in order of."""
    first = ticket.due_ms if state is State.DELAYED else ticket.priority
    return first, ticket.number


def _nothing() -> None:
    pass
