"""What a home does to many jobs at once: those that have expired, that are too many, that people
want to be rid of.

Rules:

* At most ``CHUNK`` jobs in a turn, read from the store; so other work goes on.
* What is read may have been taken since: only what still waits goes.
* ``empty`` and ``purge`` are about what was there when they were asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from patterns.queues.group import Group
from patterns.queues.ticket import NEVER, State, Ticket
from patterns.queues.window import Place

if TYPE_CHECKING:
    from patterns.queues.home import Home

__all__ = ["CHUNK", "Upkeep"]

CHUNK = 1_000
"""Jobs that go in one turn: some milliseconds."""

Count = Callable[[int], None]

_WAITING = (State.READY, State.DELAYED)


class Upkeep:
    """Of one home's groups."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.is_expiring = False
        """Whether any job expires."""
        self._sweeping: set[Group] = set()
        self._trimming: set[Group] = set()

    # Time.

    def begin(self, group: Group) -> None:
        """A group was restored: does anything in it expire?"""

        def found(tickets: Sequence[Ticket]) -> None:
            if tickets:
                self.is_expiring = True

        if group.waiting:
            group.reading.store.expired(NEVER - 1, 1, found)

    def hold_keys(self, group: Group, done: Callable[[], None]) -> None:
        """A group was restored: what waits to be tried again holds up its key."""

        def found(tickets: Sequence[Ticket], last: Place | None) -> None:
            for ticket in tickets:
                if ticket.attempts:
                    group.hold_key(ticket)
            if last is None or self._home.is_closed:
                done()
            else:
                group.reading.jobs(State.DELAYED, last, CHUNK, found)

        if group.delayed.count:
            group.reading.jobs(State.DELAYED, None, CHUNK, found)
        else:
            done()

    def sweep(self) -> None:
        """Called each second."""
        if self.is_expiring:
            for group in self._home.lines.values():
                if group.waiting and group not in self._sweeping:
                    self._sweeping.add(group)
                    self._expire(group)

    def _expire(self, group: Group) -> None:
        # A store gives what is reserved, too.
        limit = CHUNK + group.reserved

        def found(tickets: Sequence[Ticket], read: int) -> None:
            went = 0
            for ticket in self._waiting(group, tickets):
                group.delete(ticket)
                group.expired += 1
                self._home.expired(group, ticket)
                went += 1
            if went and read >= limit and not self._home.is_closed:
                self._expire(group)
            else:
                self._sweeping.discard(group)

        group.reading.expired(self._home.now_ms(), limit, found)

    # Room.

    def trim(self) -> None:
        """Something was put: with ``drop_oldest`` those that wait longest make room."""
        if self._home.options.overflow == "drop_oldest":
            for group in self._home.lines.values():
                if self._excess(group) > 0 and group not in self._trimming:
                    self._trimming.add(group)
                    self._drop_oldest(group)

    def _excess(self, group: Group) -> int:
        most = self._home.options.max_length
        return 0 if most is None else group.length - most

    def _drop_oldest(self, group: Group) -> None:
        limit = min(self._excess(group), CHUNK) + group.reserved

        def found(tickets: Sequence[Ticket], read: int) -> None:
            went = 0
            for ticket in self._waiting(group, tickets):
                if self._excess(group) > 0 and went < CHUNK:
                    self._home.remove(group, ticket, "dropped")
                    went += 1
            is_all = not went and read < limit
            if self._excess(group) > 0 and not is_all and not self._home.is_closed:
                self._drop_oldest(group)
            else:
                self._trimming.discard(group)

        group.reading.oldest(limit, found)

    # People.

    def empty(self, group: Group, done: Count) -> None:
        """All that waits now goes; ``done`` gets how many went."""
        last_number = self._home.store.last_number
        gone = 0

        def again() -> None:
            limit = CHUNK + group.reserved
            group.reading.oldest(limit, lambda tickets, read: found(tickets, read, limit))

        def found(tickets: Sequence[Ticket], read: int, limit: int) -> None:
            nonlocal gone
            went = 0
            for ticket in self._waiting(group, tickets):
                if ticket.number <= last_number:
                    self._home.remove(group, ticket, "deleted")
                    went += 1
            gone += went
            is_behind = any(ticket.number > last_number for ticket in tickets)
            if is_behind or self._home.is_closed or (not went and read < limit):
                done(gone)
            else:
                again()

        again()

    def purge(self, group: Group, done: Count) -> None:
        """All that is dead goes; ``done`` gets how many went."""
        gone = 0

        def again(after: Place | None) -> None:
            group.reading.jobs(State.DEAD, after, CHUNK, found)

        def found(tickets: Sequence[Ticket], last: Place | None) -> None:
            nonlocal gone
            for ticket in tickets:
                self._home.remove(group, ticket, "deleted")
                gone += 1
            if last is None or self._home.is_closed:
                done(gone)
            else:
                again(last)

        again(None)

    def drop(self, group: Group, done: Count) -> None:
        """All of a group's jobs go, whatever their state."""
        held = group.held()
        for ticket in held:
            self._home.remove(group, ticket, "deleted")

        def emptied(waiting: int) -> None:
            self.purge(group, lambda dead: done(len(held) + waiting + dead))

        self.empty(group, emptied)

    def drop_late(self, group: Group, tickets: Sequence[Ticket]) -> None:
        """Jobs that were put while their group was deleted."""
        group.put_many(tickets)
        for ticket in tickets:
            self._home.remove(group, ticket, "deleted")

    def _waiting(self, group: Group, tickets: Sequence[Ticket]) -> list[Ticket]:
        known = [group.known(ticket) for ticket in tickets]
        return [ticket for ticket in known if ticket.state in _WAITING]
