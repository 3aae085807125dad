"""What travels between chats, and its check on arrival: nothing of it is believed.

A room's message is broadcast to the group ``room-<name>`` as ``{"n", "order", "at", "text"}``; its
author is the node that it came from, whatever it says. In an answer of ``history`` each line has
``"author"`` and ``"nick"`` as well, and those are hearsay.
"""

from __future__ import annotations

import math
import re
from typing import Any

from demos.chat.conversation import Kind, Line
from demos.chat.text import clean, clean_nick

__all__ = ["MALFORMED", "SERVICE", "Clock", "group_of", "pack", "read_line", "room_of"]

SERVICE = "chat"
"""The service that every chat provides, and the name of its node."""

MALFORMED = ValueError

MAX_LEAP = 1_000_000
"""How far a count may be ahead of ours: a far larger one is wrong, and would stay for ever."""

LAST_YEAR = 4e9
"""Seconds since 1970; no date beyond can be meant."""

_PREFIX = "room-"
_ROOM = re.compile(r"[a-z0-9_-]{1,32}")
_ID = re.compile(r"[0-9a-f]{32}")


class Clock:
    """The logical clock of one chat."""

    def __init__(self) -> None:
        self.now = 0

    def tick(self) -> int:
        """The count for a line of one's own."""
        self.now += 1
        return self.now

    def see(self, order: int) -> int:
        """Another's count; returns it, or our next if it cannot be."""
        if not 0 < order <= self.now + MAX_LEAP:
            order = self.now + 1
        self.now = max(self.now, order)
        return order


def group_of(room: str) -> str:
    """The group of a room. Raises ValueError for what is no room's name."""
    if not _ROOM.fullmatch(room):
        raise ValueError("a room's name is 1 to 32 of the characters a-z 0-9 _ -")
    return _PREFIX + room


def room_of(group: str) -> str | None:
    """The room whose group that is; None for any other group."""
    room = group.removeprefix(_PREFIX)
    return room if room != group and _ROOM.fullmatch(room) else None


def pack(line: Line, *, with_author: bool = False) -> dict[str, Any]:
    """A line as it travels."""
    packed = {"n": line.number, "order": line.order, "at": line.at, "text": line.text}
    return packed | ({"author": line.author, "nick": line.nick} if with_author else {})


def read_line(data: Any, clock: Clock, author: str | None = None, nick: str | None = None) -> Line:
    """The line in ``data``, fit to be shown. Raises MALFORMED for what is none.

    Without ``author`` and ``nick`` they are taken from it.
    """
    if not isinstance(data, dict):
        raise MALFORMED("it is no map")
    if author is None:
        author, nick = data.get("author"), data.get("nick")
        if not (isinstance(author, str) and _ID.fullmatch(author) and isinstance(nick, str)):
            raise MALFORMED("it names no author")
    number, order, at = data.get("n"), data.get("order"), data.get("at")
    if type(number) is not int or type(order) is not int or not 0 < number < 2**53:
        raise MALFORMED("its numbers are none")
    if not isinstance(at, int | float) or not math.isfinite(at) or not 0 <= at < LAST_YEAR:
        raise MALFORMED("its time is none")
    text = data.get("text")
    if not isinstance(text, str) or not text.strip():
        raise MALFORMED("it has no text")
    return Line(
        Kind.SAID,
        clean(text),
        clock.see(order),
        float(at),
        author=author,
        nick=clean_nick(nick or ""),
        number=number,
    )
