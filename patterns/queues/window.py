"""``Window``: the first of the jobs that wait, in memory; the rest is in the store.

``bound`` is the place where the window ends: what is behind it is in the store alone, None: nothing
is. The window is read on when half of it is used up, and cut when it has grown to twice its size,
which happens when more urgent jobs keep coming.

Surprise: the store is written behind, in order, so a page shows all that was written before it was
asked for, and may miss what came while it was read. That is kept apart until then (``_arrived``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import nsmallest
from operator import attrgetter
from typing import Protocol

from patterns.queues.runs import Place, Runs
from patterns.queues.ticket import GONE, NEVER, READY, State, Ticket

__all__ = ["BEFORE_ALL", "PAGE_BYTES", "WINDOW", "WINDOW_BYTES", "Place", "TicketStore", "Window"]

WINDOW = 10_000
"""Jobs in memory, of each line and state: a second's work of a fast one. It may be twice that, and
what is put at once."""

WINDOW_BYTES = 32 * 1024 * 1024
"""And their bytes, about, if that is less."""

PAGE_BYTES = WINDOW_BYTES // 2
"""Of bodies in one page: it ends with the job that is too much, however many were asked for."""

SPARE = 1_000
"""Jobs that have left the state which are kept at least until they are tidied up."""

_number = attrgetter("number")

BEFORE_ALL: Place = (-1, -1)
"""No job has that place."""


class TicketStore(Protocol):
    """Where a line's jobs are kept. Written behind, in order."""

    def mark(self, ticket: Ticket) -> None:
        """It is new, has changed, or is gone: what it is when it is written counts."""

    def mark_many(self, tickets: Sequence[Ticket]) -> None:
        """Several have been taken, all of them, or are gone."""

    def page(
        self,
        state: State,
        after: Place | None,
        limit: int,
        done: Callable[[Sequence[Ticket]], None],
    ) -> None:
        """Read the first ``limit`` of a state behind a place, in order; ``done`` comes later.

        It shows what was marked before, as it was marked last. One that has fewer jobs than that,
        and less than ``PAGE_BYTES`` in their bodies, has all there are.
        """


class Window:
    """The jobs in one state of one line. ``here`` are all of the line's in memory, by number.

    ``size`` None: all of them are in memory, for they are in the store's memory anyway.
    """

    def __init__(
        self,
        state: State,
        store: TicketStore,
        here: dict[int, Ticket],
        size: int | None,
        loaded: Callable[[], None],
    ) -> None:
        self.state = state
        self._store = store
        self._here = here
        self._size = NEVER if size is None else size
        self._is_bounded = size is not None
        self._loaded = loaded
        self._runs = Runs(state, weighs=self._is_bounded)
        self._place = self._runs.place
        self.bound: Place | None = None
        self.count = 0
        """All that wait, wherever they are."""
        self.aside = 0
        """Of those in memory, how many are not in the runs: they wait for their key."""
        self._is_loading = False
        self._is_void = False
        """Whether the page that is read would leave a hole: the window has been cut since."""
        self._arrived: list[Ticket] = []
        self._gone: set[int] = set()
        """What was deleted while a page was read, which may still show it."""

    def begin(self, count: int) -> None:
        """So many are in the store, at the start."""
        self.count = count
        if count:
            self.bound = BEFORE_ALL
            self._read_on()

    def __len__(self) -> int:
        """How many are in memory, and not aside; some of them have left the state."""
        return len(self._runs)

    # They come.

    def add(self, ticket: Ticket) -> None:
        """One more waits."""
        ticket.state = self.state
        self.count += 1
        place = self._place(ticket)
        if self.bound is not None and place > self.bound and ticket.number not in self._here:
            if self._is_loading:
                self._arrived.append(ticket)
            return
        self._keep(place, ticket)

    def add_many(self, tickets: Sequence[Ticket]) -> None:
        """The same for several that are ready."""
        if self.bound is not None:
            for ticket in tickets:
                self.add(ticket)
            return
        here, state = self._here, self.state
        for ticket in tickets:
            ticket.state = state
            here[ticket.number] = ticket
        self.count += len(tickets)
        self._runs.extend(tickets)
        self._cut_if_large()

    def put_back(self, ticket: Ticket) -> None:
        """One that waited aside waits here again."""
        self.aside -= 1
        self._keep(self._place(ticket), ticket)

    def exchange(self, old: Ticket, new: Ticket) -> None:
        """One that waits has become another, of the same place."""
        if new.number in self._here:
            old.state = GONE
            self._keep(self._place(new), new)
        elif self._is_loading:
            others = [ticket for ticket in self._arrived if ticket.number != new.number]
            self._arrived = [*others, new]

    def _keep(self, place: Place, ticket: Ticket) -> None:
        self._here[ticket.number] = ticket
        self._runs.insert(place, ticket)
        self._cut_if_large()

    # They go.

    def first(self) -> Ticket | None:
        """The next one, which stays."""
        ticket = self._runs.first()
        if ticket is not None and (self.bound is None or self._place(ticket) <= self.bound):
            return ticket
        # What comes next is not in memory.
        self._read(self.bound)
        return None

    def pop_many(self, most: int) -> list[Ticket]:
        """Up to so many of the next ones, in order; they are still counted, until ``left``."""
        popped = self._runs.pop_many(most, self.bound)
        if self.bound is not None:
            self._read_on(is_used_up=len(popped) < most)
        return popped

    def pop_due(self, now: int) -> list[Ticket]:
        """Those delayed that are due, in the order of their numbers; they are ready now, and still
        counted, until ``left``."""
        popped: list[Ticket] = []
        while (ticket := self.first()) is not None and ticket.due_ms <= now:
            self._runs.pop_first()
            # At once: it may be here twice, at the same place.
            ticket.state = READY
            popped.append(ticket)
        self._read_on()
        popped.sort(key=_number)
        return popped

    def put_back_first(self, tickets: Sequence[Ticket]) -> None:
        """What was popped last, in order, is not wanted after all."""
        self._runs.put_back(tickets)

    def left(self, tickets: Sequence[Ticket]) -> None:
        """Some of those counted do not wait any more."""
        self.count -= len(tickets)
        if self._is_loading:
            self._gone.update([ticket.number for ticket in tickets])
        if not self._is_bounded:
            self._tidy_if_stale()

    # What is in memory, and what is not.

    def _cut_if_large(self) -> None:
        runs = self._runs
        if not self._is_bounded:
            self._tidy_if_stale()
        elif len(runs) > 2 * self._size or runs.bytes > 2 * WINDOW_BYTES:
            self._cut()

    def _tidy_if_stale(self) -> None:
        """What was deleted is met when it would be its turn: where nobody takes any, never."""
        if len(self._runs) > 2 * (self.count - self.aside) + SPARE:
            self._runs.tidy()

    def _cut(self) -> None:
        """Let go of the last ones in memory: the store has them."""
        live = self._runs.items()
        kept = nsmallest(self._size, live)
        size = 0
        for number, item in enumerate(kept):
            size += len(item[2].body)
            if size > WINDOW_BYTES and number:
                del kept[number:]
                break
        if len(kept) < len(live):
            last = kept[-1][0], kept[-1][1]
            # What came back stays in memory though it is behind the bound: between may be others.
            self.bound = last if self.bound is None else min(self.bound, last)
            self._is_void = self._is_loading
            inside = {item[1] for item in kept}
            for item in live:
                if item[1] not in inside:
                    self._here.pop(item[1], None)
        self._runs.keep(kept)

    def _read_on(self, *, is_used_up: bool = False) -> None:
        if is_used_up or (
            len(self._runs) + self.aside <= self._size // 2
            and self._runs.bytes <= WINDOW_BYTES // 2
        ):
            self._read(self.bound)

    def _read(self, after: Place | None) -> None:
        if after is None or self._is_loading:
            return
        self._is_loading = True
        limit = self._size
        self._store.page(self.state, after, limit, lambda page: self._on_page(page, limit))

    def _on_page(self, page: Sequence[Ticket], limit: int) -> None:
        self._is_loading = False
        arrived, self._arrived = self._arrived, []
        gone, self._gone = self._gone, set()
        if self._is_void:
            self._is_void = False
            self._read_on()
            return
        is_part = len(page) >= limit or sum([len(ticket.body) for ticket in page]) >= PAGE_BYTES
        bound = self._place(page[-1]) if is_part else None
        self.bound = bound
        # What came or changed meanwhile is newer than the page.
        for ticket in (*arrived, *page):
            place = self._place(ticket)
            is_inside = bound is None or place <= bound
            if is_inside and ticket.number not in self._here and ticket.number not in gone:
                self._keep(place, ticket)
        self._loaded()
