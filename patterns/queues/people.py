"""What people do to the jobs of a queue: look at them, and take them in hand.

Each of these asks the store, so its answer comes later, by ``done``. A group is named, or None for
all of them; an unknown one is BadRequest, at once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from copy import copy
from typing import TYPE_CHECKING

from patterns.errors import BadRequest
from patterns.queues.group import Group, place_of
from patterns.queues.ticket import NEVER, State, Ticket
from patterns.queues.upkeep import CHUNK, Count
from patterns.queues.window import Place

if TYPE_CHECKING:
    from patterns.queues.home import Home

__all__ = ["MAX_PEEK", "MAX_PEEK_BYTES", "People"]

MAX_PEEK = 1_000
"""Jobs that are shown at once."""

MAX_PEEK_BYTES = 8 * 1024 * 1024
"""Of bodies that are shown at once, and one more: each may have 1 MiB."""


class People:
    """At one home."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def groups(self, name: str | None) -> list[Group]:
        """One group, or all. Raises BadRequest."""
        lines = self._home.lines
        if name is None:
            return list(lines.values())
        group = lines.get(name)
        if group is None:
            known = ", ".join(repr(other) for other in sorted(lines))
            raise BadRequest(f"queue {self._home.name} has no group {name!r}: it has {known}")
        return [group]

    def peek(
        self,
        group: str,
        state: State,
        after: Place | None,
        limit: int,
        done: Callable[[list[Ticket], Place | None], None],
    ) -> None:
        """Look at up to ``limit`` jobs (at most ``MAX_PEEK``, and ``MAX_PEEK_BYTES``) of a state
        behind a place, in order.

        ``done`` gets copies, and where to go on, None: there is no more.
        """
        (of,) = self.groups(group)
        limit = max(1, min(limit, MAX_PEEK))
        if state is State.RESERVED:
            done(*_page(of.held(), after, limit))
            return
        shown: list[Ticket] = []
        size = 0

        def found(tickets: Sequence[Ticket], last: Place | None) -> None:
            # What is reserved is ready to the store.
            nonlocal size
            for ticket in map(of.known, tickets):
                if ticket.state is not state:
                    continue
                if len(shown) >= limit or size >= MAX_PEEK_BYTES:
                    done(shown, place_of(shown[-1], state))
                    return
                size += len(ticket.body)
                shown.append(copy(ticket))
            if last is None:
                done(shown, None)
            elif len(shown) >= limit or size >= MAX_PEEK_BYTES:
                done(shown, place_of(shown[-1], state))
            else:
                of.reading.jobs(state, last, limit, found)

        of.reading.jobs(state, after, limit, found)

    def kick(self, group: str | None, most: int, done: Count) -> None:
        """Up to so many of the dead ones of each group are ready again; ``done`` gets how many."""
        _each(self.groups(group), lambda of, one: self._kick(of, most, one), done)

    def _kick(self, of: Group, most: int, done: Count) -> None:
        kicked = 0

        def again(after: Place | None) -> None:
            of.reading.jobs(State.DEAD, after, min(CHUNK, most - kicked), found)

        def found(tickets: Sequence[Ticket], last: Place | None) -> None:
            nonlocal kicked
            kicked += self._kick_these(of, tickets)
            if last is None or kicked >= most or self._home.is_closed:
                done(kicked)
            else:
                again(last)

        if most > 0:
            again(None)
        else:
            done(0)

    def kick_one(self, number: int, done: Callable[[bool], None]) -> None:
        """A dead or delayed job is ready, wherever it is one; ``done`` hears whether it was."""
        self._in_all(None, number, lambda of, ticket: self._kick_these(of, [ticket]) > 0, done)

    def _kick_these(self, of: Group, tickets: Sequence[Ticket]) -> int:
        if any(ticket.expires_ms != NEVER for ticket in tickets):
            self._home.upkeep.is_expiring = True
        return of.kick(tickets)

    def delete(self, number: int, done: Callable[[bool], None]) -> None:
        """A job goes, in all groups and whatever its state: a worker that has it is told.

        ``done`` hears whether there was anything of it.
        """

        def delete(of: Group, ticket: Ticket) -> bool:
            self._home.remove(of, ticket, "deleted")
            return True

        self._in_all(None, number, delete, done)

    def edit(
        self, group: str | None, number: int, body: bytes, done: Callable[[bool], None]
    ) -> None:
        """A job that waits or is dead has another body; ``done`` hears whether it was one."""
        self._in_all(group, number, lambda of, ticket: of.edit(ticket, body), done)

    def _in_all(
        self,
        group: str | None,
        number: int,
        do: Callable[[Group, Ticket], bool],
        done: Callable[[bool], None],
    ) -> None:
        def one(of: Group, counted: Count) -> None:
            def found(ticket: Ticket | None) -> None:
                is_there = ticket is not None and ticket.state is not State.GONE
                counted(1 if ticket is not None and is_there and do(of, ticket) else 0)

            of.find(number, found)

        _each(self.groups(group), one, lambda count: done(count > 0))

    def empty(self, group: str | None, done: Count) -> None:
        """All that waits goes, while other work goes on; ``done`` gets how many went.

        What comes after this was asked for stays, and what is handed out meanwhile is done.
        """
        _each(self.groups(group), self._home.upkeep.empty, done)

    def purge(self, group: str | None, done: Count) -> None:
        """All that is dead goes; ``done`` gets how many went."""
        _each(self.groups(group), self._home.upkeep.purge, done)


def _each(groups: list[Group], one: Callable[[Group, Count], None], done: Count) -> None:
    """The sum of what is counted in each group."""
    left, total = len(groups), 0

    def counted(count: int) -> None:
        nonlocal left, total
        left -= 1
        total += count
        if not left:
            done(total)

    for group in groups:
        one(group, counted)


def _page(held: list[Ticket], after: Place | None, limit: int) -> tuple[list[Ticket], Place | None]:
    """Of what is reserved."""
    places = [(ticket.lease_until_ms, ticket.number) for ticket in held]
    begin = 0 if after is None else bisect_right(places, after)
    end = begin + limit
    shown = [copy(ticket) for ticket in held[begin:end]]
    return shown, places[end - 1] if end < len(held) else None
