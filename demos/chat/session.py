"""The chat as an object: a node of the mesh, the rooms it is in, what comes in and goes out.

Everything that a screen shows is state here; ``on_change`` says that some of it is new, and nothing
more, so a screen may be as slow as it likes. ``Session`` is entered and left like a node. A task
of it that fails ends the whole with its error: a chat that silently hears nothing is no chat.

Surprise: private messages and files are keyed by node, not by nick. Who starts anew is somebody
else here, because anybody could take that nick.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import re
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import mesh
from demos.chat.conversation import Conversation, Kind, Line
from demos.chat.files import DEFAULT_MAX_BYTES, Files, State, Transfer
from demos.chat.people import NICK_TAG, Change, People, Person
from demos.chat.room import Room
from demos.chat.service import Service
from demos.chat.text import MAX_TEXT_CHARS, clean, clean_line, nick_fault
from demos.chat.wire import MALFORMED, SERVICE, Clock, group_of, pack, read_line

__all__ = ["ChatError", "Session"]

logger = logging.getLogger(__name__)

MAX_CONVERSATIONS = 100
"""Rooms and people together: past that strangers cannot open more."""

MAX_TYPED_CHARS = 100_000
"""How far a text is looked at before it is called too long."""

PENDING, DELIVERED = "…", "✓"


class ChatError(Exception):
    """Raised for what cannot be done, with a text for the person who asked for it."""


class Session:
    """One person's chat. ``settings`` are those of ``mesh.AsyncNode``.

    Raises ChatError for the nick, and what a node raises for its settings.
    """

    def __init__(
        self,
        nick: str,
        *,
        downloads: Path,
        max_file_bytes: int = DEFAULT_MAX_BYTES,
        **settings: Any,
    ) -> None:
        if fault := nick_fault(nick):
            raise ChatError(f"the nick {clean_line(nick)!r} cannot be used: {fault}")
        self.node = mesh.AsyncNode(SERVICE, tags={NICK_TAG: nick}, **settings)
        self._has_key = bool(settings.get("key") or os.environ.get("MESH_KEY"))
        self.people = People(self.node.id, nick)
        self.conversations: dict[str, Conversation] = {}
        self.current: Conversation | None = None
        """The one that is looked at: what comes there is read."""
        self.files = Files(self.node, downloads, max_file_bytes, self._on_transfer)
        self.on_change: Callable[[], None] = lambda: None
        self._rooms: dict[str, Room] = {}
        self._transfers: dict[Transfer, tuple[Conversation, Line]] = {}
        self._clock = Clock()
        self._count = 0
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._mention = re.compile(rf"(?<!\w){re.escape(nick)}(?!\w)", re.IGNORECASE)
        self.node.serve(Service(self))

    # Life.

    async def __aenter__(self) -> Self:
        await self.node.start()
        await self._group.__aenter__()
        self._spawn(self._watch())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        try:
            await self.node.__aexit__(kind, error, traceback)
        finally:
            self.files.close()
            if isinstance(error, Exception):  # goes on by itself, not in a group
                kind = error = traceback = None
            await self._group.__aexit__(kind, error, traceback)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def reach(self) -> str:
        """Who can be met, for people."""
        host = self.node.me.address.rpartition(":")[0].strip("[]")
        if ipaddress.ip_address(host).is_loopback:
            return "this machine only"
        return "encrypted" if self._has_key else "open to the whole network"

    # Conversations.

    def open(self, conversation: Conversation) -> None:
        """Look at this one: it is read, and what comes there is."""
        self.current = conversation
        conversation.mark_read()
        self.on_change()

    def open_next(self, step: int = 1) -> None:
        """Look at the next one, or at the one before with -1."""
        if self.current is not None:
            all = list(self.conversations.values())
            self.open(all[(all.index(self.current) + step) % len(all)])

    async def join(self, name: str) -> Conversation:
        """Enter a room, or go back to it, and look at it. Raises ChatError."""
        name = name.removeprefix("#").lower()
        room = self._rooms.get(name)
        if room is None:
            try:
                group_of(name)
            except ValueError as error:
                raise ChatError(str(error)) from None
            room = Room(
                name,
                self._conversation(f"#{name}"),
                self.node,
                self.people,
                self._clock,
                self._hear,
            )
            self._rooms[name] = room
            self.open(room.conversation)
            await room.enter()
            if self._rooms.get(name) is not room:
                return room.conversation  # it was left meanwhile
            room.tasks = [self._spawn(room.read()), self._spawn(room.catch_up())]
        self.open(room.conversation)
        return room.conversation

    def open_private(self, person: Person) -> Conversation:
        """Look at the conversation with one person. Raises ChatError when there are too many."""
        conversation = self._conversation(f"@{person.id}")
        self.open(conversation)
        return conversation

    def close(self, conversation: Conversation) -> None:
        """Leave a room, or put away what was said with a person. Raises ChatError."""
        if len(self.conversations) == 1:
            raise ChatError("this is the last one; /quit ends the chat")
        if conversation is self.current:
            self.open_next(-1)
        del self.conversations[conversation.key]
        if conversation.is_room:
            self._rooms.pop(conversation.target).leave()
        self.on_change()

    def _conversation(self, key: str) -> Conversation:
        """The one with this key, made if need be: rooms stand before people."""
        found = self.conversations.get(key)
        if found is None:
            if len(self.conversations) >= MAX_CONVERSATIONS:
                raise ChatError("there are too many conversations; /leave some")
            found = Conversation(key)
            all = [*self.conversations.values(), found]
            all.sort(key=lambda conversation: not conversation.is_room)
            self.conversations = {conversation.key: conversation for conversation in all}
        return found

    def title(self, conversation: Conversation) -> str:
        """What it is called: "#lobby", "@ben"."""
        if conversation.is_room:
            return conversation.key
        person = self.people.find(conversation.target)
        return f"@{self.people.label(person) if person is not None else conversation.target[:8]}"

    def name_of(self, line: Line) -> str:
        """Who wrote a line: as one is called now, or was when the line was written."""
        person = self.people.find(line.author)
        return self.people.label(person) if person is not None and person.is_here else line.nick

    # What goes out.

    def say(self, conversation: Conversation, text: str) -> Line:
        """Say something in a room or to a person. Raises ChatError."""
        text = clean(text.strip("\n").rstrip(), MAX_TYPED_CHARS)
        if not text.strip():
            raise ChatError("there is nothing to say")
        if len(text) > MAX_TEXT_CHARS:
            raise ChatError(
                f"that has {len(text)} characters, a message at most {MAX_TEXT_CHARS}; "
                "/send it as a file"
            )
        self._count += 1
        packed = {"n": self._count, "order": self._clock.tick(), "at": time.time(), "text": text}
        me = self.people.me
        line = read_line(packed, self._clock, me.id, me.nick)
        line.is_mine = True
        if conversation.is_room:
            if self._rooms[conversation.target].say(line) == 0:
                line.mark = "nobody else is here"
        else:
            person = self._person_here(conversation)
            line.mark = PENDING
            self._spawn(self._tell(person, conversation, line))
        conversation.add(line)
        self.on_change()
        return line

    async def _tell(self, person: Person, conversation: Conversation, line: Line) -> None:
        try:
            refusal = await self.node.service(SERVICE, peer=person.id).tell(pack(line))
            fault = None if refusal is None else str(refusal)
        except mesh.MeshError as error:
            fault = str(error)
        line.has_arrived = fault is None
        mark = DELIVERED if fault is None else f"not delivered: {clean_line(fault)}"
        conversation.change(line, mark=mark)
        self.on_change()

    def send_file(self, person: Person, path: Path) -> Transfer:
        """Begin to send a file to a person. Raises ChatError."""
        conversation = self._conversation(f"@{person.id}")
        self._person_here(conversation)
        try:
            transfer = self.files.begin(person.id, path)
        except OSError as error:
            raise ChatError(f"{path}: {error.strerror}") from None
        except ValueError as error:
            raise ChatError(clean_line(str(error))) from None
        self._spawn(self.files.send(transfer))
        return transfer

    def _person_here(self, conversation: Conversation) -> Person:
        person = self.people.find(conversation.target)
        if person is None or not person.is_here:
            raise ChatError(f"{self.title(conversation)[1:]} is gone")
        return person

    # What comes in.

    def note(self, conversation: Conversation, text: str, *, is_error: bool = False) -> None:
        """A line for this person alone."""
        self._count += 1
        kind = Kind.ERROR if is_error else Kind.NOTE
        conversation.add(Line(kind, text, self._clock.now, time.time(), number=self._count))
        self.on_change()

    def _hear(self, conversation: Conversation, line: Line, is_news: bool) -> None:
        """A line that came from another; ``is_news``: not from before one was here."""
        if not conversation.add(line):
            return
        if is_news and conversation is not self.current:
            is_for_me = not conversation.is_room or bool(self._mention.search(line.text))
            conversation.mark_unread(mention=is_for_me)
        self.on_change()

    def hear_private(self, caller: mesh.Peer, data: Any) -> str | None:
        """A private message that a call brought; why not, if it cannot be taken."""
        self._update(caller)
        person = self.people.find(caller.id)
        if person is None:
            return "only people can talk here"
        try:
            line = read_line(data, self._clock, person.id, person.nick)
            self._hear(self._conversation(f"@{person.id}"), line, True)
        except (MALFORMED, ChatError) as error:
            logger.warning("a private message from %s is not taken: %s", caller, error)
            return str(error)
        return None

    def refusal_of(self, caller: mesh.Peer) -> str | None:
        """Why a file from there cannot be taken, whatever it is."""
        self._update(caller)
        try:
            if self.people.find(caller.id) is None:
                return "only people can send files"
            self._conversation(f"@{caller.id}")
        except ChatError as error:
            return str(error)
        return None

    def history(self, name: object, limit: object) -> dict[str, Any]:
        """What was said in a room, for one who came late."""
        room = self._rooms.get(name) if isinstance(name, str) else None
        if room is None or type(limit) is not int:
            return {"lines": [], "is_settled": False}
        return room.history(limit)

    def _on_transfer(self, transfer: Transfer) -> None:
        known = self._transfers.get(transfer)
        if known is None and transfer.state is State.RUNNING:
            self._count += 1
            conversation = self._conversation(f"@{transfer.person}")
            person = self.people.find(transfer.person)
            line = Line(Kind.FILE, transfer.text, self._clock.now, time.time(),
                        author=transfer.person, nick=person.nick if person else "",
                        number=self._count, is_mine=not transfer.is_incoming)  # fmt: skip
            conversation.add(line)
            self._transfers[transfer] = (conversation, line)
            if conversation is not self.current:
                conversation.mark_unread(mention=transfer.is_incoming)
        elif known is not None:
            conversation, line = known
            conversation.change(line, text=transfer.text)
        if transfer.state is not State.RUNNING:
            self._transfers.pop(transfer, None)
        self.on_change()

    # Who comes and goes.

    async def _watch(self) -> None:
        async for event in self.node.watch():
            if isinstance(event, mesh.Gap):
                self._on_gap(event)
            else:
                self._update(event.peer, event)

    def _on_gap(self, gap: mesh.Gap) -> None:
        """Ask the one whose messages were lost for what was said."""
        person = self.people.find(gap.peer.id)
        for room in self._rooms.values():
            if person is not None and room.name in person.rooms:
                self._fetch(room, person)

    def _fetch(self, room: Room, person: Person) -> None:
        async def fetch() -> None:
            await room.fetch(person.id, is_news=True)

        room.tasks = [task for task in room.tasks if not task.done()]
        room.tasks.append(self._spawn(fetch()))

    def _update(self, peer: mesh.Peer, event: mesh.Event | None = None) -> None:
        was_known = self.people.find(peer.id) is not None
        change = self.people.update(peer)
        if change is None:
            return
        for name in change.entered & self._rooms.keys():
            self._on_entered(self._rooms[name], change, was_known=was_known)
        has_failed = isinstance(event, mesh.PeerFailed)
        how = f"is gone ({clean_line(event.reason)})" if event and has_failed else "left"
        label = self.people.label(change.person)
        for name in change.quit & self._rooms.keys():
            self.note(self._rooms[name].conversation, f"{label} {how}")
            self._rooms[name].people_changed()
        private = self.conversations.get(f"@{peer.id}")
        if change.has_gone:
            self.files.person_gone(peer.id, f"{label} {how}")
            if private is not None:
                self.note(private, f"{label} {how}")
        elif change.has_come and private is not None:
            self.note(private, f"{label} is back")
        self.on_change()

    def _on_entered(self, room: Room, change: Change, *, was_known: bool) -> None:
        person = change.person
        how = "is here" if room.is_new else "joined"
        self.note(room.conversation, f"{self.people.label(person)} {how}")
        room.people_changed()
        if was_known and change.has_come:
            self._fetch(room, person)  # it was cut off: what was said over there?
