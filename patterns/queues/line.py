"""``Line``: the jobs of one group of one queue at one home, and who has which.

Rules:

* A job is READY, DELAYED, RESERVED or DEAD, or it is gone. What is ready is handed out by priority,
  then in the order in which it was put; one that comes back has its old place.
* A RESERVED job is its holder's until its lease ends. Then, or when the holder is gone, it is ready
  again. Only its holder can end, extend or give it back; a former one gets ``LeaseLost``.
* Of one key at most one job is reserved, and one that waits to be tried again holds up the others
  of its key: so these are handed out one by one, in the order of the line.
* What has expired is not handed out; it is gone, and counted.

Surprise: leases are kept by holder, in the order in which they end, for all of one holder are of
the same length. So a job that is done leaves nothing behind that would have to be met later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from heapq import heapify, heappop, heappush
from typing import Literal

from patterns.queues.errors import JobGone, LeaseLost
from patterns.queues.runs import Place, by_priority
from patterns.queues.ticket import DEAD, DELAYED, GONE, NEVER, READY, RESERVED, Ticket
from patterns.queues.window import SPARE, WINDOW, TicketStore, Window

__all__ = ["Ending", "Holder", "Line"]

Ending = Literal["dead", "expired", "lease"]
"""What became of a job without its holder's doing: it was handed out too often, and is buried; it
was of no use any more, and is gone; its lease ended, and it is ready again."""


class Holder:
    """A worker that takes jobs of one line: ``lease`` seconds each."""

    __slots__ = ("held", "lease", "lease_ms", "name")

    def __init__(self, name: str, lease: float) -> None:
        self.name = name
        self.lease = lease
        self.lease_ms = round(lease * 1000)
        self.held: dict[int, Ticket] = {}
        """What it has, the lease that ends first at the front."""


class Line:
    """See the rules. ``now()`` is the home's clock in ms; ``is_ready()`` is told when there may be
    more to hand out: it does not take any there and then."""

    def __init__(
        self,
        store: TicketStore,
        now: Callable[[], int],
        *,
        is_ready: Callable[[], None],
        window: int | None = WINDOW,
        max_attempts: int | None = None,
    ) -> None:
        self._store = store
        self._now = now
        self._is_ready = is_ready
        self._here: dict[int, Ticket] = {}
        self.ready = Window(READY, store, self._here, window, is_ready)
        self.delayed = Window(DELAYED, store, self._here, window, is_ready)
        self._holders: dict[Holder, None] = {}
        self._busy: dict[bytes, int] = {}
        """Of each key the number of the one that is reserved, or waits to be tried again."""
        self._parked: dict[bytes, list[tuple[Place, Ticket]]] = {}
        """Ready but for their key, as heaps; also some that are gone."""
        self._in_heaps = 0
        """All of these."""
        self._aside: set[int] = set()
        """Their numbers, without those that are gone."""
        self.reserved = 0
        self.dead = 0
        self.expired = 0
        """Jobs that were of no use any more when it was their turn, or were found so."""
        self.is_paused = False
        self.max_attempts = max_attempts
        """A job that its holder lost, and that was handed out so often, is buried. None: never."""
        self.ended: Callable[[Ticket, Ending], None] | None = None
        """Told of each job to which something happened that nobody asked for. Like ``is_ready`` it
        takes no job there and then."""
        self.lost: Callable[[Holder, Sequence[int], str], None] | None = None
        """Told what a holder does not have any more, and why; not when it is gone itself."""

    # Jobs come.

    def put(self, ticket: Ticket) -> None:
        """A new job, when the store says that it is safe, and not later: a page that was asked for
        after it shows it, too."""
        self._wait(ticket)

    def put_many(self, tickets: Sequence[Ticket]) -> None:
        """The same for several."""
        if len(tickets) == 1:
            self._wait(tickets[0])
            return
        now = self._now()
        ready = [ticket for ticket in tickets if ticket.due_ms <= now]
        if len(ready) != len(tickets):
            for ticket in tickets:
                if ticket.due_ms > now:
                    self.delayed.add(ticket)
        if ready:
            self.ready.add_many(ready)
            self._is_ready()

    def restore(self, ready: int, delayed: int, dead: int) -> None:
        """So many are in the store, at the start."""
        for window, count in ((self.ready, ready), (self.delayed, delayed)):
            window.begin(count)
        self.dead = dead

    def _wait(self, ticket: Ticket) -> None:
        if ticket.due_ms > self._now():
            self.delayed.add(ticket)
        else:
            self.ready.add(ticket)
            self._is_ready()

    # Workers take them.

    def take(self, holder: Holder, most: int, most_bytes: int = NEVER) -> list[Ticket]:
        """Up to ``most`` of what is ready; they are the holder's from now on. The last one may be
        the one with which ``most_bytes`` of bodies are reached, or passed."""
        taken: list[Ticket] = []
        if self.is_paused:
            return taken
        now = self._now()
        until = now + holder.lease_ms
        busy, held = self._busy, holder.held
        expired: list[Ticket] = []
        while len(taken) < most:
            popped = self.ready.pop_many(most - len(taken))
            if not popped:
                break
            following = iter(popped)
            for ticket in following:
                if ticket.expires_ms <= now:
                    expired.append(ticket)
                    # What it frees may be next.
                    self.ready.put_back_first(list(following))
                    self._expire(ticket)
                    break
                number, key = ticket.number, ticket.key
                if key is not None and busy.setdefault(key, number) != number:
                    self._park(key, ticket)
                    continue
                ticket.state = RESERVED
                ticket.attempts += 1
                ticket.lease_until_ms = until
                held[number] = ticket
                taken.append(ticket)
                most_bytes -= len(ticket.body)
                if most_bytes <= 0:
                    self.ready.put_back_first(list(following))
                    most = 0
                    break
        if taken:
            self.ready.left(taken)
            self.reserved += len(taken)
            self._holders[holder] = None
            self._store.mark_many(taken)
        self._tell(expired, "expired")
        return taken

    def touch(self, holder: Holder, number: int) -> int:
        """Its lease begins anew; returns when it ends. Raises LeaseLost."""
        ticket = self._held_by(holder, number)
        ticket.lease_until_ms = self._now() + holder.lease_ms
        # At the end: all of this holder's leases are as long.
        holder.held[number] = holder.held.pop(number)
        return ticket.lease_until_ms

    def finish(self, holder: Holder, number: int) -> Ticket:
        """It is done. Raises LeaseLost."""
        ticket = self._let_go(holder, number)
        self._end(ticket)
        return ticket

    def finish_for_now(self, holder: Holder, number: int) -> Ticket:
        """The same, but its key is busy until ``free_key``: it may come back. Raises LeaseLost."""
        ticket = self._let_go(holder, number)
        ticket.state = GONE
        self._here.pop(number, None)
        self._store.mark(ticket)
        return ticket

    def finish_many(self, holder: Holder, numbers: Sequence[int]) -> list[int]:
        """These are done. Returns those that are not the holder's any more: of them nothing is
        changed."""
        return self.end_many(holder, numbers)[1]

    def end_many(self, holder: Holder, numbers: Sequence[int]) -> tuple[list[Ticket], list[int]]:
        """The same; returns those that are done as well."""
        held, here = holder.held, self._here
        found = [held.pop(number, None) for number in numbers]
        done = [ticket for ticket in found if ticket is not None]
        lost: list[int] = []
        if len(done) < len(found):
            lost = [n for n, ticket in zip(numbers, found, strict=True) if ticket is None]
        for ticket in done:
            ticket.state = GONE
            del here[ticket.number]
        self.reserved -= len(done)
        self._store.mark_many(done)
        for ticket in done:
            if ticket.key is not None:
                self.free_key(ticket)
        return done, lost

    def give_back(
        self, holder: Holder, number: int, delay: float = 0.0, reason: str = ""
    ) -> Ticket:
        """It is to be tried again after so many seconds. Raises LeaseLost."""
        ticket = self._let_go(holder, number)
        ticket.reason = reason
        self._again(ticket, delay)
        return ticket

    def bury(self, holder: Holder, number: int, reason: str) -> Ticket:
        """It is given up, and kept for people. Raises LeaseLost."""
        ticket = self._let_go(holder, number)
        self._bury(ticket, reason)
        return ticket

    def holder_gone(self, holder: Holder) -> list[Ticket]:
        """All it had is ready again, at once, or dead (``max_attempts``); returns these."""
        self._holders.pop(holder, None)
        back = list(holder.held.values())
        holder.held.clear()
        self._tell(self._lose(back, f"{holder.name} is gone"), "dead")
        return back

    def _lose(self, tickets: list[Ticket], reason: str) -> list[Ticket]:
        """They come back, and their holder has not said how they went; returns those buried."""
        self.reserved -= len(tickets)
        dead: list[Ticket] = []
        for ticket in tickets:
            if self.max_attempts is not None and ticket.attempts >= self.max_attempts:
                times = f"{ticket.attempts} times" if ticket.attempts != 1 else "once"
                self._bury(ticket, f"handed out {times} and never finished: {reason}")
                dead.append(ticket)
            else:
                ticket.reason = reason
                self._again(ticket, 0.0)
        return dead

    def _bury(self, ticket: Ticket, reason: str) -> None:
        ticket.reason = reason
        ticket.state = DEAD
        self.dead += 1
        self._here.pop(ticket.number, None)
        self._store.mark(ticket)
        self.free_key(ticket)

    def _tell(self, tickets: Iterable[Ticket], ending: Ending) -> None:
        """Last of all: who is told finds the line in order."""
        if self.ended is not None:
            for ticket in tickets:
                self.ended(ticket, ending)

    def _held_by(self, holder: Holder, number: int) -> Ticket:
        ticket = holder.held.get(number)
        if ticket is None:
            raise LeaseLost(
                f"job {number} is not {holder.name}'s any more: its lease of {holder.lease:g} s "
                "ended, or it was deleted"
            )
        return ticket

    def _let_go(self, holder: Holder, number: int) -> Ticket:
        ticket = self._held_by(holder, number)
        del holder.held[number]
        self.reserved -= 1
        return ticket

    def _again(self, ticket: Ticket, delay: float) -> None:
        ticket.due_ms = self._now() + round(delay * 1000) if delay > 0 else 0
        self._wait(ticket)
        self._store.mark(ticket)

    # Keys.

    def _park(self, key: bytes, ticket: Ticket) -> None:
        self.ready.aside += 1
        self._aside.add(ticket.number)
        self._in_heaps += 1
        heappush(self._parked.setdefault(key, []), (by_priority(ticket), ticket))

    def hold_key(self, ticket: Ticket) -> None:
        """At the start: this one waits to be tried again, and others of its key wait for it."""
        if ticket.key is not None:
            self._busy.setdefault(ticket.key, ticket.number)

    def _left_aside(self, ticket: Ticket) -> None:
        """One that is ready goes, or becomes another. It may lie aside for as long as its key is
        busy, so those that are gone are let go of when they are the most."""
        if ticket.number not in self._aside:
            return
        self._aside.discard(ticket.number)
        self.ready.aside -= 1
        ticket.state = GONE
        if self._in_heaps > 2 * len(self._aside) + SPARE:
            for key, parked in list(self._parked.items()):
                live = [item for item in parked if item[1].state is READY]
                if live:
                    heapify(live)
                    self._parked[key] = live
                else:
                    del self._parked[key]
            self._in_heaps = len(self._aside)

    def free_key(self, ticket: Ticket) -> None:
        """It has ended, for good or for people: the next one of its key may come."""
        key = ticket.key
        if key is None:
            return
        if self._busy.get(key) == ticket.number:
            del self._busy[key]
        elif key in self._busy:
            return
        parked = self._parked.get(key)
        while parked:
            _, following = heappop(parked)
            self._in_heaps -= 1
            if following.state is READY:
                self._aside.discard(following.number)
                self.ready.put_back(following)
                self._is_ready()
                break
        if not parked:
            self._parked.pop(key, None)

    # Time.

    def advance(self) -> int:
        """What is due is ready, leases that are over have ended; returns when to come again."""
        now = self._now()
        due = self.delayed.pop_due(now)
        if due:
            self.delayed.left(due)
            self.ready.add_many(due)
            for ticket in due:
                self._store.mark(ticket)
            self._is_ready()
        first = self.delayed.first()
        next_at = NEVER if first is None else first.due_ms
        for holder in list(self._holders):
            next_at = min(next_at, self._end_leases(holder, now))
        return next_at

    def _end_leases(self, holder: Holder, now: int) -> int:
        over: list[Ticket] = []
        next_at = NEVER
        for ticket in holder.held.values():
            if ticket.lease_until_ms > now:
                next_at = ticket.lease_until_ms
                break
            over.append(ticket)
        for ticket in over:
            del holder.held[ticket.number]
        if not holder.held:
            self._holders.pop(holder, None)
        if over:
            dead = self._lose(over, f"the lease of {holder.name} ended")
            ready = [ticket for ticket in over if ticket.state is not DEAD]
            self._tell(dead, "dead")
            self._tell(ready, "lease")
            if self.lost is not None:
                numbers = [ticket.number for ticket in over]
                self.lost(holder, numbers, f"the lease of {holder.lease:g} s ended")
        return next_at

    # The end.

    def _expire(self, ticket: Ticket) -> None:
        self.expired += 1
        self.ready.left([ticket])
        self._end(ticket)

    def _end(self, ticket: Ticket) -> None:
        ticket.state = GONE
        self._here.pop(ticket.number, None)
        self._store.mark(ticket)
        if ticket.key is not None:
            self.free_key(ticket)

    # What people do.

    def kick(self, tickets: Iterable[Ticket]) -> int:
        """Dead or delayed jobs are ready now; returns how many. ``tickets`` are the store's."""
        kicked = 0
        for ticket in tickets:
            known = self._here.get(ticket.number, ticket)
            if known.state is DEAD:
                self.dead -= 1
                known.attempts = 0
            elif known.state is DELAYED:
                self.delayed.left([known])
            else:
                continue
            known.due_ms = 0
            self.ready.add(known)
            self._store.mark(known)
            kicked += 1
        if kicked:
            self._is_ready()
        return kicked

    def delete(self, ticket: Ticket) -> None:
        """A job goes, in whatever state. ``ticket`` is the store's. Raises JobGone."""
        known = self._here.get(ticket.number, ticket)
        holder: Holder | None = None
        if known.state is READY:
            self.ready.left([known])
            self._left_aside(known)
        elif known.state is DELAYED:
            self.delayed.left([known])
        elif known.state is DEAD:
            self.dead -= 1
        elif known.state is RESERVED:
            holder = next(h for h in self._holders if known.number in h.held)
            del holder.held[known.number]
            self.reserved -= 1
        else:
            raise JobGone(f"job {ticket.number} is gone")
        self._end(known)
        if holder is not None and self.lost is not None:
            self.lost(holder, [known.number], "the job was deleted")

    def edit(self, ticket: Ticket, body: bytes) -> bool:
        """Another body for a job that waits or is dead; returns whether it was one. ``ticket`` is
        the store's."""
        known = self._here.get(ticket.number, ticket)
        edited = copy(known)
        edited.body = body
        if known.state is READY:
            self._left_aside(known)
            self.ready.exchange(known, edited)
        elif known.state is DELAYED:
            self.delayed.exchange(known, edited)
        elif known.state is not DEAD:
            return False
        self._store.mark(edited)
        return True

    @property
    def waiting(self) -> int:
        """Jobs that are ready or delayed."""
        return self.ready.count + self.delayed.count

    def __len__(self) -> int:
        return self.waiting + self.reserved + self.dead
