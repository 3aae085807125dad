"""``Window``: the first of the jobs that wait, in memory; the rest is in the store.

``bound`` is the place where the window ends: what is behind it is in the store alone, None: nothing
is. The window is read on when half of it is used up, and cut when it has grown to twice its size,
which happens when more urgent jobs keep coming.

Surprise: the store is written behind, in order, so a page shows all that was written before it was
asked for, and may miss what came while it was read. That is kept apart until then (``_arrived``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush, nsmallest
from typing import Protocol

from patterns.queues.ticket import NEVER, State, Ticket

__all__ = ["WINDOW", "WINDOW_BYTES", "Place", "TicketStore", "Window"]

WINDOW = 10_000
"""Jobs in memory, of each line and state: a second's work of a fast one. It may be twice that."""

WINDOW_BYTES = 32 * 1024 * 1024
"""And their bytes, about, if that is less."""

Place = tuple[int, int]
"""Of a job in its line: priority, or the time when it is due, then its number."""


_BEFORE_ALL: Place = (-1, -1)


class TicketStore(Protocol):
    """Where a line's jobs are kept. Written behind, in order."""

    def mark(self, ticket: Ticket) -> None:
        """It is new, has changed, or is gone: what it is when it is written counts."""

    def page(
        self,
        state: State,
        after: Place | None,
        limit: int,
        done: Callable[[Sequence[Ticket]], None],
    ) -> None:
        """Read the first ``limit`` of a state behind a place, in order; ``done`` comes later.

        It shows what was marked before, as it was marked last.
        """


class Window:
    """The jobs in one state of one line. ``here`` are all of the line's in memory, by number."""

    def __init__(
        self,
        state: State,
        place: Callable[[Ticket], Place],
        store: TicketStore,
        here: dict[int, Ticket],
        size: int | None,
        loaded: Callable[[], None],
    ) -> None:
        self.state = state
        self._place = place
        self._store = store
        self._here = here
        self._size = NEVER if size is None else size
        self._loaded = loaded
        self._heap: list[tuple[int, int, Ticket]] = []
        self.bytes = 0
        self.bound: Place | None = None
        self.count = 0
        """All that wait, wherever they are."""
        self.aside = 0
        """Of those in memory, how many are not in the heap: they wait for their key."""
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
            self.bound = _BEFORE_ALL
            self._read_on()

    # What is in memory and has left the state stays in the heap until it is met there.

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

    def put_back(self, ticket: Ticket) -> None:
        """One that waited aside waits here again."""
        self.aside -= 1
        self._keep(self._place(ticket), ticket)

    def exchange(self, old: Ticket, new: Ticket) -> None:
        """One that waits has become another, of the same place."""
        if new.number in self._here:
            old.state = State.GONE
            self._keep(self._place(new), new)
        elif self._is_loading:
            self._arrived.append(new)

    def _keep(self, place: Place, ticket: Ticket) -> None:
        self._here[ticket.number] = ticket
        self.bytes += len(ticket.body)
        heappush(self._heap, (*place, ticket))
        if len(self._heap) > 2 * self._size or self.bytes > 2 * WINDOW_BYTES:
            self._cut()

    def first(self) -> Ticket | None:
        """The next one, which stays."""
        heap = self._heap
        while heap:
            place, number, ticket = heap[0]
            if ticket.state is not self.state or place != self._place(ticket)[0]:
                self._drop_first()
            elif self.bound is None or (place, number) <= self.bound:
                return ticket
            else:
                break
        # What comes next is not in memory.
        self._read(self.bound)
        return None

    def pop(self) -> Ticket | None:
        """The next one; it is still counted, until ``left``."""
        ticket = self.first()
        if ticket is not None:
            self._drop_first()
            self._read_on()
        return ticket

    def left(self, number: int) -> None:
        """One of those counted does not wait any more."""
        self.count -= 1
        if self._is_loading:
            self._gone.add(number)

    def _drop_first(self) -> None:
        self.bytes -= len(heappop(self._heap)[2].body)

    def _cut(self) -> None:
        """Let go of the last ones in memory: the store has them."""
        live = [
            item
            for item in self._heap
            if item[2].state is self.state and item[0] == self._place(item[2])[0]
        ]
        kept = nsmallest(self._size, live)
        size = 0
        for number, item in enumerate(kept):
            size += len(item[2].body)
            if size > WINDOW_BYTES and number:
                del kept[number:]
                break
        self._heap = kept
        heapify(self._heap)
        if len(kept) < len(live):
            last = kept[-1][0], kept[-1][1]
            # What came back stays in memory though it is behind the bound: between may be others.
            self.bound = last if self.bound is None else min(self.bound, last)
            self._is_void = self._is_loading
            inside = {item[1] for item in kept}
            for item in live:
                if item[1] not in inside:
                    del self._here[item[1]]
        self.bytes = sum(len(item[2].body) for item in self._heap)

    def _read_on(self) -> None:
        if len(self._heap) + self.aside <= self._size // 2 and self.bytes <= WINDOW_BYTES // 2:
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
        bound = self._place(page[-1]) if len(page) >= limit else None
        self.bound = bound
        # What came or changed meanwhile is newer than the page.
        for ticket in (*arrived, *page):
            place = self._place(ticket)
            is_inside = bound is None or place <= bound
            if is_inside and ticket.number not in self._here and ticket.number not in gone:
                self._keep(place, ticket)
        self._loaded()
