"""Who is here, in which rooms, and how they are called.

A nick is a tag of a node and belongs to nobody: two may have the same. Then each is called by the
nick and the first digits of its id, ``ana~3f2c``, everywhere, and that is what commands take.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mesh
from demos.chat.text import clean_nick
from demos.chat.wire import SERVICE, room_of

__all__ = ["Change", "People", "Person", "UnknownPerson"]

NICK_TAG = "nick"
GONE = frozenset({"failed", "left"})
ID_DIGITS = 4
REMEMBERED = 1000
"""People that are gone, whose names private conversations still show."""


class UnknownPerson(LookupError):
    """Raised for a name that nobody here has, or several; says which."""


@dataclass(frozen=True, slots=True)
class Person:
    """One chat of the mesh at one moment."""

    id: str
    nick: str
    rooms: frozenset[str] = frozenset()
    state: str = "alive"

    @property
    def is_here(self) -> bool:
        return self.state not in GONE


@dataclass(frozen=True, slots=True)
class Change:
    """What an event of the mesh came to: of whom, and which rooms they entered and quit."""

    person: Person
    entered: frozenset[str]
    quit: frozenset[str]
    has_come: bool
    has_gone: bool


class People:
    """All people that are known, oneself included."""

    def __init__(self, my_id: str, my_nick: str) -> None:
        self.me = Person(my_id, my_nick)
        self._known: dict[str, Person] = {my_id: self.me}
        self._labels: dict[str, str] = {}
        """Labels that were asked for; they hold until somebody comes or goes."""

    def __iter__(self) -> Iterator[Person]:
        """Who is here, without oneself, by nick."""
        others = (p for p in self._known.values() if p.is_here and p.id != self.me.id)
        return iter(sorted(others, key=lambda person: (person.nick.casefold(), person.id)))

    def find(self, id: str) -> Person | None:
        return self._known.get(id)

    def in_room(self, room: str) -> list[Person]:
        """The others in a room."""
        return [person for person in self if room in person.rooms]

    def rooms(self) -> dict[str, int]:
        """The rooms that others are in, and how many they are."""
        found: dict[str, int] = {}
        for person in self:
            for room in person.rooms:
                found[room] = found.get(room, 0) + 1
        return found

    def update(self, peer: mesh.Peer) -> Change | None:
        """Take note of a peer; None when it is no chat or nothing changed."""
        if SERVICE not in peer.services or NICK_TAG not in peer.tags:
            return None
        is_here = peer.state not in GONE
        rooms = frozenset(filter(None, map(room_of, peer.groups))) if is_here else frozenset()
        person = Person(peer.id, clean_nick(peer.tags[NICK_TAG]), rooms, peer.state)
        before = self._known.get(peer.id)
        if before == person or (before is None and not is_here):
            return None
        self._known.pop(peer.id, None)
        self._known[peer.id] = person
        self._labels.clear()
        self._forget()
        known = before.rooms if before is not None else frozenset()
        was_here = before is not None and before.is_here
        return Change(
            person, rooms - known, known - rooms, is_here and not was_here, was_here and not is_here
        )

    def _forget(self) -> None:
        gone = [id for id, person in self._known.items() if not person.is_here]
        for id in gone[: max(0, len(gone) - REMEMBERED)]:
            del self._known[id]

    def label(self, person: Person) -> str:
        """How a person is called here: the nick, and part of the id if another has the same."""
        label = self._labels.get(person.id)
        if label is None:
            nick = person.nick.casefold()
            others = (p for p in self._known.values() if p.is_here and p.id != person.id)
            is_alone = all(other.nick.casefold() != nick for other in others)
            label = person.nick if is_alone else f"{person.nick}~{person.id[:ID_DIGITS]}"
            self._labels[person.id] = label
        return label

    def resolve(self, name: str) -> Person:
        """Who is meant by ``nick`` or ``nick~3f2c``. Raises UnknownPerson."""
        nick, _, digits = name.removeprefix("@").partition("~")
        same = [p for p in self if p.nick.casefold() == nick.casefold()]
        found = [p for p in same if p.id.startswith(digits.lower())]
        if len(found) == 1:
            return found[0]
        if found:
            raise UnknownPerson(
                f"{len(found)} people are called {nick}: "
                + ", ".join(f"{p.nick}~{p.id[: max(ID_DIGITS, len(digits) + 2)]}" for p in found)
            )
        if nick.casefold() == self.me.nick.casefold():
            raise UnknownPerson(f"{nick} is you")
        raise UnknownPerson(f"nobody here is called {name}; /who lists who is here")
