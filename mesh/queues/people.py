"""What people may ask a home of a queue, and have it do: ``look``, ``manage`` and ``tail`` of its
service. What they say comes from outside: each field is looked at."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from mesh.queues.specs import MAX_JOB_BYTES
from mesh.queues.views import told_stats, told_status, told_view
from patterns.errors import BadRequest, Overloaded
from patterns.queues.people import MAX_PEEK, MAX_PEEK_BYTES
from patterns.queues.ticket import STATES, State, Ticket

if TYPE_CHECKING:
    from mesh.queues.keeping import Keeper
    from patterns.queues.group import Group

__all__ = ["TAILS", "People"]

TAILS = 16
"""Who look on at once; each has up to ``TAIL_EVENTS`` that it has not read, older ones give way."""

TAIL_EVENTS = 10_000

PEEKS = 2
"""At once; others wait. Each reads some 16 MiB from a file."""


class People:
    """Of one queue at its home."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._tails: set[_Tail] = set()
        self._peeks = asyncio.Semaphore(PEEKS)

    async def look(self, what: str, *args: Any) -> Any:
        """``stats``; ``peek`` state limit group; ``show`` id; ``status`` id."""
        keeper = self._keeper
        home = keeper.home
        match what, args:
            case "stats", ():
                return told_stats(await keeper.ask(home.stats))
            case "peek", (str(state), int(limit), None | str() as group) if state in STATES:
                async with self._peeks:
                    return await self._peek(STATES[state], limit, group)
            case "show", (id,):
                return await self._show(await keeper.number_of(id))
            case "status", (id,):
                number = await keeper.number_of(id)
                if number is None:
                    return []
                statuses = await keeper.ask(home.status, number)
                return [told_status(one, home.offset_ms) for one in statuses]
        raise BadRequest(f"{what!r:.80} is no question to a queue, or not with {len(args)} such")

    async def _peek(self, state: State, limit: int, group: str | None) -> list[list[Any]]:
        if not 0 < limit <= MAX_PEEK:
            raise BadRequest(f"limit={limit}: give 1 to {MAX_PEEK}")
        home = self._keeper.home
        told: list[list[Any]] = []
        size = 0
        for of in home.people.groups(group):
            for ticket in await self._keeper.ask(home.people.peek, of.name, state, None, limit):
                size += len(ticket.body)
                if size > MAX_PEEK_BYTES and told:
                    return told
                told.append(self._told(ticket, of))
        return told

    async def _show(self, number: int | None) -> list[list[Any]]:
        """A job, in each group that has it still."""
        told: list[list[Any]] = []
        if number is not None:
            for of in list(self._keeper.home.lines.values()):
                ticket = await self._keeper.ask(of.find, number)
                if ticket is not None and ticket.state is not State.GONE:
                    told.append(self._told(ticket, of))
        return told

    def _told(self, ticket: Ticket, of: Group) -> list[Any]:
        home = self._keeper.home
        id = (ticket.extra and ticket.extra.id) or home.id_of(ticket.number)
        return told_view(ticket, id, of.name, home.offset_ms)

    async def manage(self, what: str, group: str | None = None, *args: Any) -> Any:
        """``pause``, ``resume``, ``empty``, ``purge``, ``kick`` most, ``edit`` id body: of a group,
        or all; ``drop``: one group; ``drain``, ``undrain``, ``kick_one`` id, ``delete`` id: of all.
        """
        if group is not None and not isinstance(group, str):
            raise BadRequest(f"group={group!r:.80}: give a name, or nil for all")
        home, people = self._keeper.home, self._keeper.home.people
        match what, args:
            case ("pause" | "resume") as verb, ():
                return getattr(home, verb)(group)
            case ("drain" | "undrain") as verb, () if group is None:
                return getattr(home, verb)()
            case ("empty" | "purge") as verb, ():
                return await self._keeper.ask(getattr(people, verb), group)
            case "drop", () if group is not None:
                if group not in home.lines:
                    return None  # it may be at other homes
                return await self._keeper.ask(self._keeper.home.drop_group, group)
            case "kick", (int(most),):
                return await self._keeper.ask(people.kick, group, most)
        return await self._manage_one(what, group, args)

    async def _manage_one(self, what: str, group: str | None, args: tuple[Any, ...]) -> Any:
        people = self._keeper.home.people
        match what, args:
            case "kick_one", (id,) if group is None:
                return int(await self._one(id, people.kick_one))
            case "delete", (id,) if group is None:
                return await self._one(id, people.delete)
            case "edit", (id, bytes(body)) if len(body) <= MAX_JOB_BYTES:

                def edit(number: int, done: Callable[[bool], None]) -> None:
                    people.edit(group, number, body, done)

                return await self._one(id, edit)
        raise BadRequest(
            f"{what!r:.80} is nothing to do with a queue, or not with {len(args)} such"
        )

    async def _one(self, id: Any, do: Callable[..., object]) -> bool:
        number = await self._keeper.number_of(id)
        return number is not None and bool(await self._keeper.ask(do, number))

    async def tail(self) -> AsyncIterator[list[Any]]:
        """What happens, as it happens: ``[event, group, id, detail]``; the event ``missed`` tells
        how many were too much to be told."""
        if len(self._tails) >= TAILS:
            refusal = Overloaded(f"{TAILS} look on at {self._keeper.name!r} here already: end one")
            refusal.is_answer = True
            raise refusal
        home = self._keeper.home
        tail = _Tail(asyncio.get_running_loop())
        self._tails.add(tail)
        home.on_event = self._on_event
        try:
            while True:
                for event in await tail.take():
                    yield event
        finally:
            self._tails.discard(tail)
            if not self._tails:
                home.on_event = None

    def _on_event(self, event: str, group: str, number: int, detail: str) -> None:
        told = [event, group, self._keeper.home.id_of(number), detail]
        for tail in self._tails:
            tail.put(told)


class _Tail:
    """Events for one who looks on; the oldest give way."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events: deque[list[Any]] = deque(maxlen=TAIL_EVENTS)
        self._missed = 0
        self._waiter: asyncio.Future[None] | None = None

    def put(self, event: list[Any]) -> None:
        """Tell an event."""
        if len(self._events) == TAIL_EVENTS:
            self._missed += 1
        self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> list[list[Any]]:
        """What there is, at least one."""
        if not self._events:
            self._waiter = self._loop.create_future()
            await self._waiter
        events = list(self._events)
        self._events.clear()
        if self._missed:
            events.insert(0, ["missed", "", "", str(self._missed)])
            self._missed = 0
        return events
