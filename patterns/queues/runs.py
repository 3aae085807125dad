"""``Runs``: the jobs of one state that are in memory, in the order in which they are handed out.

Most of those that are ready are in the *run* of their priority: new jobs have growing numbers, and
go to its end. What belongs elsewhere, for it came back, is in a heap beside the runs. Those that
are delayed are all in the heap.

Surprise: what has left the state stays here until it is met.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush

from patterns.queues.ticket import DELAYED, READY, State, Ticket

__all__ = ["RUNS", "Item", "Place", "Runs", "by_priority", "by_time"]

RUNS = 64
"""Priorities that have a run of their own: more are in use only where they are a kind of time."""

Place = tuple[int, int]
"""Of a job in its line: priority, or the time when it is due, then its number."""

Item = tuple[int, int, Ticket]
"""A job and its place."""


def by_priority(ticket: Ticket) -> Place:
    """Of a ready job."""
    return ticket.priority, ticket.number


def by_time(ticket: Ticket) -> Place:
    """Of a delayed one."""
    return ticket.due_ms, ticket.number


class Runs:
    """``weighs``: whether their bytes are counted."""

    def __init__(self, state: State, weighs: bool) -> None:
        self.state = state
        self.place = by_time if state is DELAYED else by_priority
        self.bytes = 0
        self._weighs = weighs
        # The place of a ready job is always the same. A delayed one may be here at several of which
        # only the last is right: an item of the heap tells, a run would not.
        self._most_runs = RUNS if state is READY else 0
        self._runs: dict[int, deque[Ticket]] = {}
        self._priorities: list[int] = []
        """Of the runs, in order."""
        self._in_runs = 0
        self._heap: list[Item] = []

    def __len__(self) -> int:
        return self._in_runs + len(self._heap)

    # They come.

    def insert(self, place: Place, ticket: Ticket) -> None:
        """One of that place."""
        run = self._run_of(place[0])
        if run is None or (run and place[1] <= run[-1].number):
            heappush(self._heap, (*place, ticket))
        else:
            run.append(ticket)
            self._in_runs += 1
        if self._weighs:
            self.bytes += len(ticket.body)

    def extend(self, tickets: Sequence[Ticket]) -> None:
        """Several ready ones, most of them with growing numbers."""
        heap = self._heap
        beside = len(heap)
        run: deque[Ticket] | None = None
        priority = last = -1
        for ticket in tickets:
            number = ticket.number
            if ticket.priority != priority:
                priority = ticket.priority
                run = self._run_of(priority)
                last = run[-1].number if run else -1
            if run is not None and number > last:
                run.append(ticket)
                last = number
            else:
                heappush(heap, (priority, number, ticket))
        self._in_runs += len(tickets) - (len(heap) - beside)
        if self._weighs:
            self.bytes += _weight(tickets)

    def put_back(self, tickets: Sequence[Ticket]) -> None:
        """Those that were popped last, in order: they come before all else."""
        for ticket in reversed(tickets):
            run = self._run_of(ticket.priority)
            if run is None:
                heappush(self._heap, (*self.place(ticket), ticket))
            else:
                run.appendleft(ticket)
                self._in_runs += 1
        if self._weighs:
            self.bytes += _weight(tickets)

    def _run_of(self, priority: int) -> deque[Ticket] | None:
        """That to which a job goes, which may be new; None: it goes to the heap."""
        run = self._runs.get(priority)
        if run is None and len(self._runs) < self._most_runs:
            run = self._runs[priority] = deque()
            insort(self._priorities, priority)
        return run

    # They go.

    def first(self) -> Ticket | None:
        """The first one, which stays."""
        run, item = self._first_run(), self._first_item()
        if run is not None and (item is None or self.place(run[0]) < item[:2]):
            return run[0]
        return None if item is None else item[2]

    def pop_first(self) -> None:
        """The ``first`` one goes."""
        run, item = self._first_run(), self._first_item()
        if run is not None and (item is None or self.place(run[0]) < item[:2]):
            self._in_runs -= 1
            self._forget(run.popleft())
        elif item is not None:
            self._forget(heappop(self._heap)[2])

    def pop_many(self, most: int, bound: Place | None) -> list[Ticket]:
        """The first ones, in order, and none behind ``bound``."""
        popped: list[Ticket] = []
        while (room := most - len(popped)) > 0:
            run = self._first_run()
            if run is not None:
                room = min(room, len(run))
                last = run[room - 1]
                if self._is_before_all(last, bound):
                    popleft, state = run.popleft, self.state
                    tickets = [popleft() for _ in range(room)]
                    self._in_runs -= room
                    if self._weighs:
                        self.bytes -= _weight(tickets)
                    popped += [ticket for ticket in tickets if ticket.state is state]
                    continue
            ticket = self.first()
            if ticket is None or (bound is not None and self.place(ticket) > bound):
                break
            self.pop_first()
            popped.append(ticket)
        return popped

    def _is_before_all(self, ticket: Ticket, bound: Place | None) -> bool:
        """Whether the first run may be used up to this one of it."""
        place = by_priority(ticket)
        return (not self._heap or place < self._heap[0][:2]) and (bound is None or place <= bound)

    def _first_run(self) -> deque[Ticket] | None:
        """The most urgent one; the first job in it is in the state."""
        while self._priorities:
            run = self._runs[self._priorities[0]]
            while run and run[0].state is not READY:
                self._in_runs -= 1
                self._forget(run.popleft())
            if run:
                return run
            del self._runs[self._priorities.pop(0)]
        return None

    def _first_item(self) -> Item | None:
        """Of the heap; the job is in the state, and this is its place."""
        heap = self._heap
        while heap:
            if self._is_live(heap[0]):
                return heap[0]
            self._forget(heappop(heap)[2])
        return None

    def _is_live(self, item: Item) -> bool:
        ticket = item[2]
        return ticket.state is self.state and item[0] == self.place(ticket)[0]

    def _forget(self, ticket: Ticket) -> None:
        if self._weighs:
            self.bytes -= len(ticket.body)

    # All of them.

    def items(self) -> list[Item]:
        """Those in the state, in no order."""
        items = [item for item in self._heap if self._is_live(item)]
        for run in self._runs.values():
            items += [(t.priority, t.number, t) for t in run if t.state is READY]
        return items

    def tidy(self) -> None:
        """Let go of what has left the state."""
        for run in self._runs.values():
            # Most often the first ones have: then there is nothing to be put in order.
            while run and run[0].state is not READY:
                self._in_runs -= 1
                self._forget(run.popleft())
        live = self.items()
        if len(live) < len(self):
            self.keep(sorted(live))

    def keep(self, items: Sequence[Item]) -> None:
        """Just these, which are in order."""
        self._heap.clear()
        self._runs.clear()
        self._priorities.clear()
        self._in_runs = self.bytes = 0
        for first, number, ticket in items:
            self.insert((first, number), ticket)


def _weight(tickets: Sequence[Ticket]) -> int:
    return sum([len(ticket.body) for ticket in tickets])
