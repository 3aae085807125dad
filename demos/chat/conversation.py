"""A room or a private conversation: its lines in their order, and how many of them are unread.

The order is that of a logical clock: who speaks counts one on from the highest count seen, so an
answer stands behind its question at everybody, however wrong the laptops' clocks are. Notes of
one's own (who came, what failed) take the count at hand and stand behind what was said at it.

Surprise: lines arrive out of order (history), so ``add`` inserts; a line has one identity, its
writer and the writer's number for it, so what comes twice is kept once.
"""

from __future__ import annotations

import bisect
import enum
from dataclasses import dataclass, field

__all__ = ["KEPT_LINES", "Conversation", "Kind", "Line"]

KEPT_LINES = 400
"""Of each conversation; the oldest give way."""


class Kind(enum.Enum):
    SAID = "said"
    """By a person."""
    NOTE = "note"
    """Of what happened, or the answer to a command."""
    ERROR = "error"
    FILE = "file"
    """A file on its way; its text changes as that goes on."""


@dataclass(slots=True, eq=False)
class Line:
    """One line, of one or more rows of text that is fit to be shown.

    ``order``     the logical time
    ``at``        seconds since 1970, by the writer's clock
    ``author``    the id of the node that wrote it, or whose file it is; "" for a note
    ``number``    the author's count of lines, from 1
    ``mark``      of a line of one's own: what became of it
    ``has_arrived`` is False once it is known that it has not
    ``revision``  grows when ``text`` or ``mark`` changes
    """

    kind: Kind
    text: str
    order: int
    at: float
    author: str = ""
    nick: str = ""
    number: int = 0
    is_mine: bool = False
    mark: str = ""
    has_arrived: bool = True
    revision: int = 0

    @property
    def position(self) -> tuple[int, bool, str, int]:
        is_said = self.kind is Kind.SAID
        return (self.order, not is_said, self.author if is_said else "", self.number)

    @property
    def identity(self) -> tuple[bool, str, int]:
        return (self.kind is Kind.SAID, self.author, self.number)


@dataclass(slots=True, eq=False)
class Conversation:
    """``key`` is "#room", or "@" and the id of a person's node."""

    key: str
    lines: list[Line] = field(default_factory=list)
    unread: int = 0
    has_mention: bool = False
    """Whether one of the unread lines is for this person in particular."""
    revision: int = 0
    """Grows with every change."""
    _identities: set[tuple[bool, str, int]] = field(default_factory=set)

    @property
    def is_room(self) -> bool:
        return self.key.startswith("#")

    @property
    def target(self) -> str:
        """The room's name, or the person's id."""
        return self.key[1:]

    def add(self, line: Line) -> bool:
        """Put a line in its place; False when it is there already, or older than all that is kept.

        When too many are kept the oldest goes.
        """
        is_full = len(self.lines) >= KEPT_LINES
        if line.identity in self._identities or (
            is_full and line.position < self.lines[0].position
        ):
            return False
        if is_full:
            self._identities.discard(self.lines.pop(0).identity)
        self._identities.add(line.identity)
        bisect.insort(self.lines, line, key=lambda known: known.position)
        self.revision += 1
        return True

    def change(self, line: Line, *, text: str | None = None, mark: str | None = None) -> None:
        """Another text or mark for a line of this conversation."""
        line.text = line.text if text is None else text
        line.mark = line.mark if mark is None else mark
        line.revision += 1
        self.revision += 1

    def mark_unread(self, *, mention: bool) -> None:
        self.unread += 1
        self.has_mention = self.has_mention or mention
        self.revision += 1

    def mark_read(self) -> None:
        self.unread = 0
        self.has_mention = False
        self.revision += 1

    def said(self, limit: int) -> list[Line]:
        """The newest ``limit`` lines that people said, oldest first."""
        return [line for line in self.lines if line.kind is Kind.SAID][-limit:]
