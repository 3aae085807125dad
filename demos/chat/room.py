"""A room that one is in: what is said there, and what was said before one came.

A room is a group. Its history is nowhere but at those who are in it, so whoever comes asks one of
them for the newest lines. That one may have just come, too, and says so (``is_settled``); then the
next is asked, until one who is settled has answered, or everybody has and time has passed. What
comes twice is kept once, so nothing is lost by asking twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import mesh
from demos.chat.conversation import Conversation, Line
from demos.chat.people import People
from demos.chat.wire import MALFORMED, SERVICE, Clock, group_of, pack, read_line

__all__ = ["HISTORY_LINES", "Room"]

logger = logging.getLogger(__name__)

HISTORY_LINES = 200
"""Lines that a late joiner gets."""

SETTLE_SECONDS = 3.0
"""After this long in a room one has found who else is there: a few times what finding takes."""

ARRIVAL_SECONDS = 1.0
"""Who is found this soon was there before; finding takes a tenth of it."""

BUFFER = 2000
"""Messages of a room that wait while this chat is busy; past that it asks for what it missed."""

Hear = Callable[[Conversation, Line, bool], None]
"""What is done with a line that came, and whether it is one that should be noticed."""


class Room:
    """Its membership. The owner runs ``read`` and ``catch_up`` as tasks, and cancels them."""

    def __init__(
        self,
        name: str,
        conversation: Conversation,
        node: mesh.AsyncNode,
        people: People,
        clock: Clock,
        hear: Hear,
    ) -> None:
        self.name = name
        self.conversation = conversation
        self.tasks: list[asyncio.Task[None]] = []
        self._node = node
        self._people = people
        self._clock = clock
        self._hear = hear
        self._since = time.monotonic()
        self._has_history = False
        self._has_changed = asyncio.Event()
        self._subscription = node.join(group_of(name), buffer=BUFFER, echo=False, timeout=2.0)

    @property
    def is_new(self) -> bool:
        """Whether those who are found now were here before."""
        return time.monotonic() < self._since + ARRIVAL_SECONDS

    @property
    def is_settled(self) -> bool:
        """Whether the history here is as good as anybody's."""
        return self._has_history or time.monotonic() > self._since + SETTLE_SECONDS

    async def enter(self) -> None:
        """Join the group: everybody who is alive sends here from now on."""
        await self._subscription

    def leave(self) -> None:
        for task in self.tasks:
            task.cancel()
        self._subscription.close()

    def say(self, line: Line) -> int:
        """Send a line to all who are here; returns how many."""
        return self._node.broadcast(group_of(self.name), pack(line))

    async def read(self) -> None:
        """Hear what is said, until cancelled."""
        missed = 0
        async for message in self._subscription:
            sender = message.sender
            person = self._people.find(sender.id)
            try:
                nick = person.nick if person is not None else sender.name
                line = read_line(message.data, self._clock, sender.id, nick)
            except MALFORMED as error:
                logger.warning("%s sent a message to %s that is none: %s", sender, self.name, error)
                continue
            self._hear(self.conversation, line, True)
            if self._subscription.missed > missed:
                missed = self._subscription.missed
                await self.fetch(sender.id, is_news=True)

    def people_changed(self) -> None:
        """Somebody came or went: there may be another one to ask."""
        self._has_changed.set()

    async def catch_up(self) -> None:
        """Ask those who are here for what was said before, until it is known."""
        asked: set[str] = set()
        has_answer = False
        while not (self._has_history or (has_answer and self.is_settled)):
            self._has_changed.clear()
            person = next((p for p in self._people.in_room(self.name) if p.id not in asked), None)
            if person is None:
                await self._has_changed.wait()
                continue
            asked.add(person.id)
            answer = await self.fetch(person.id)
            has_answer = has_answer or answer is not None
            self._has_history = bool(answer)

    async def fetch(self, person: str, *, is_news: bool = False) -> bool | None:
        """Get one person's history; whether that one is settled, None when nothing came."""
        try:
            service = self._node.service(SERVICE, peer=person)
            answer = await service.history(self.name, HISTORY_LINES)
        except mesh.MeshError as error:
            logger.info("no history of %s from %s: %s", self.name, person[:8], error)
            return None
        lines = answer.get("lines") if isinstance(answer, dict) else None
        if not isinstance(lines, list):
            logger.warning("%s gave a history of %s that is none", person[:8], self.name)
            return None
        for data in lines[-HISTORY_LINES:]:
            try:
                line = read_line(data, self._clock)
            except MALFORMED as error:
                logger.warning("in the history of %s by %s: %s", self.name, person[:8], error)
                continue
            if line.author != self._node.id:
                self._hear(self.conversation, line, is_news)
        return bool(answer.get("is_settled"))

    def history(self, limit: int) -> dict[str, Any]:
        """What ``fetch`` gets."""
        lines = self.conversation.said(max(0, min(limit, HISTORY_LINES)))
        return {"lines": [pack(line, with_author=True) for line in lines],
                "is_settled": self.is_settled}  # fmt: skip
