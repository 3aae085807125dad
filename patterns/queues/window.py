"""``Window``: the first of the jobs that wait, in memory; the rest is in the store.

``bound`` is the place where the window ends: what is behind it is in the store alone, None: nothing
is. The window is read on when half of it is used up, and cut when it has grown to twice its size,
which happens when more urgent jobs keep coming.

In memory most jobs are in a *run*, in order: new ones have growing numbers, and go to its end. What
belongs elsewhere, more urgent or come back, is in a heap beside it.

Surprise: the store is written behind, in order, so a page shows all that was written before it was
asked for, and may miss what came while it was read. That is kept apart until then (``_arrived``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush, nsmallest
from typing import Protocol

from patterns.queues.ticket import DELAYED, GONE, NEVER, READY, State, Ticket

__all__ = ["WINDOW", "WINDOW_BYTES", "Place", "TicketStore", "Window", "by_priority"]

WINDOW = 10_000
"""Jobs in memory, of each line and state: a second's work of a fast one. It may be twice that, and
what is put at once."""

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
        self._place = _by_time if state is DELAYED else by_priority
        self._store = store
        self._here = here
        self._size = NEVER if size is None else size
        self._is_bounded = size is not None
        self._loaded = loaded
        self._has_run = state is READY
        """A ready job's place is always the same; a delayed one may be in the heap at several, of
        which only the last is right."""
        self._run: deque[Ticket] = deque()
        self._heap: list[tuple[int, int, Ticket]] = []
        self.bytes = 0
        """Of what is in memory; 0 when there is no bound."""
        self.bound: Place | None = None
        self.count = 0
        """All that wait, wherever they are."""
        self.aside = 0
        """Of those in memory, how many are in neither: they wait for their key."""
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

    def __len__(self) -> int:
        """How many are in memory; some of them have left the state."""
        return len(self._run) + len(self._heap)

    # What is in memory and has left the state stays there until it is met.

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
        """The same for several that are new."""
        run, here, state = self._run, self._here, self.state
        if self.bound is not None or not self._has_run:
            for ticket in tickets:
                self.add(ticket)
            return
        append = run.append
        last = run[-1] if run else None
        for ticket in tickets:
            number = ticket.number
            if last is None or (number > last.number and ticket.priority == last.priority):
                append(ticket)
                last = ticket
            else:
                self._insert(self._place(ticket), ticket)
                last = run[-1]
            ticket.state = state
            here[number] = ticket
        self.count += len(tickets)
        if self._is_bounded:
            self.bytes += sum([len(ticket.body) for ticket in tickets])
            self._cut_if_large()

    def put_back(self, ticket: Ticket) -> None:
        """One that waited aside waits here again."""
        self.aside -= 1
        self._keep(self._place(ticket), ticket)

    def put_back_first(self, tickets: list[Ticket]) -> None:
        """What was popped last, in order, is not wanted after all."""
        self._run.extendleft(reversed(tickets))
        if self._is_bounded:
            self.bytes += sum([len(ticket.body) for ticket in tickets])

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
        self._insert(place, ticket)
        if self._is_bounded:
            self.bytes += len(ticket.body)
            self._cut_if_large()

    def _insert(self, place: Place, ticket: Ticket) -> None:
        run = self._run
        if self._has_run and (not run or place > self._place(run[-1])):
            run.append(ticket)
        else:
            heappush(self._heap, (*place, ticket))

    def first(self) -> Ticket | None:
        """The next one, which stays."""
        run, heap = self._run, self._heap
        while run and run[0].state is not self.state:
            self._forget(run.popleft())
        while heap and not self._is_live(heap[0]):
            self._forget(heappop(heap)[2])
        place: Place
        if heap and not (run and self._place(run[0]) < heap[0][:2]):
            place, ticket = heap[0][:2], heap[0][2]
        elif run:
            place, ticket = self._place(run[0]), run[0]
        else:
            self._read(self.bound)
            return None
        if self.bound is None or place <= self.bound:
            return ticket
        # What comes next is not in memory.
        self._read(self.bound)
        return None

    def pop(self) -> Ticket | None:
        """The next one; it is still counted, until ``left``."""
        popped = self.pop_many(1)
        return popped[0] if popped else None

    def pop_many(self, most: int) -> list[Ticket]:
        """The next ones, in order; they are still counted, until ``left``."""
        popped: list[Ticket] = []
        run, heap, state = self._run, self._heap, self.state
        popleft = run.popleft
        while (room := most - len(popped)) > 0:
            room = min(room, len(run))
            if room and self._is_next(run[room - 1]):
                tickets = [popleft() for _ in range(room)]
                if self._is_bounded:
                    self.bytes -= sum([len(ticket.body) for ticket in tickets])
                popped += [ticket for ticket in tickets if ticket.state is state]
                continue
            ticket = self.first()
            if ticket is None:
                break
            popped.append(popleft() if run and run[0] is ticket else heappop(heap)[2])
            self._forget(ticket)
        self._read_on()
        return popped

    def left(self, tickets: Sequence[Ticket]) -> None:
        """Some of those counted do not wait any more."""
        self.count -= len(tickets)
        if self._is_loading:
            self._gone.update([ticket.number for ticket in tickets])

    def _is_next(self, ticket: Ticket) -> bool:
        """Whether all of the run up to this one comes before all else."""
        place = ticket.priority, ticket.number
        return (not self._heap or place < self._heap[0][:2]) and (
            self.bound is None or place <= self.bound
        )

    def _is_live(self, item: tuple[int, int, Ticket]) -> bool:
        ticket = item[2]
        return ticket.state is self.state and item[0] == self._place(ticket)[0]

    def _forget(self, ticket: Ticket) -> None:
        if self._is_bounded:
            self.bytes -= len(ticket.body)

    def _cut_if_large(self) -> None:
        if len(self) > 2 * self._size or self.bytes > 2 * WINDOW_BYTES:
            self._cut()

    def _cut(self) -> None:
        """Let go of the last ones in memory: the store has them."""
        live = [item for item in self._heap if self._is_live(item)]
        live += [(*self._place(t), t) for t in self._run if t.state is self.state]
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
        self._run.clear()
        self._heap.clear()
        if self._has_run:
            self._run.extend([item[2] for item in kept])
        else:
            self._heap += kept
        self.bytes = sum([len(item[2].body) for item in kept])

    def _read_on(self) -> None:
        if self.bound is not None and (
            len(self) + self.aside <= self._size // 2 and self.bytes <= WINDOW_BYTES // 2
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
        bound = self._place(page[-1]) if len(page) >= limit else None
        self.bound = bound
        # What came or changed meanwhile is newer than the page.
        for ticket in (*arrived, *page):
            place = self._place(ticket)
            is_inside = bound is None or place <= bound
            if is_inside and ticket.number not in self._here and ticket.number not in gone:
                self._keep(place, ticket)
        self._loaded()


def by_priority(ticket: Ticket) -> Place:
    """Of a ready job."""
    return ticket.priority, ticket.number


def _by_time(ticket: Ticket) -> Place:
    return ticket.due_ms, ticket.number
