"""Casts: messages for exactly one member of a *pool*, as they travel and as handlers see them.

A pool is everybody who handles one group's groupcasts, or one queue group's copies; its name is a
reserved subject (``patterns.names.group_subject``, ``queue_pool``). An entry is one msgpack array,

    ``[pool, data, headers?, flags?, key?, subject?]``

whose missing tail means ``{}``, 0, None, None. The casts of one sender to one member are numbered
from 0 for as long as the two know each other; a frame says the number of its first.

An *era* begins with each HELD: grants of the one before are void. A sender names the era that it
knows of when it asks for credit, so what it said before it knew is of no consequence.

What both sides tell each other about them goes over the link's control lane:

=========  ========================================  ===============================================
type       fields                                    meaning
=========  ========================================  ===============================================
WANT       pool, wish, next number, era              sender: I would have this many with you
GRANT      pool, share, total                        member: so many, in this share of my book
RETURN     pool, share, total, wish                  sender: so many of these I did not use
RECALL     pool, share                               member: others need what you do not
DONE       [first, count, ...]                       member: handled
BACK       reason, [first, count, ...], owner        member: not handled, have them back
HELD       era, since, running, done                 member, on a new link: what I still know of
CHECK      next number, bytes                        sender: I hear nothing; did all of it arrive?
DENY       pool, rule, text                          member: my policy denies you this pool
=========  ========================================  ===============================================
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from patterns.keys import Key
from patterns.messages import Message
from patterns.names import group_of, queue_of

__all__ = [
    "BACK",
    "BACK_DENIED",
    "BACK_LOST",
    "BACK_MOVED",
    "BACK_REFUSED",
    "BACK_TOUCHED",
    "BACK_UNREADABLE",
    "BACK_UNSTARTED",
    "CHECK",
    "CREDIT_COMES_BACK",
    "DENY",
    "DONE",
    "FLAG_FINAL",
    "FLAG_REDELIVERED",
    "GRANT",
    "HANDLED",
    "HELD",
    "MAX_NUMBER",
    "RECALL",
    "REFUSALS",
    "REFUSED",
    "RETURN",
    "UNSTARTED",
    "WANT",
    "CastMessage",
    "CopyMessage",
    "GroupcastMessage",
    "MarkedCast",
    "check_ranges",
    "membership_of",
    "numbers_of",
    "ranges_of",
    "set_flag",
]

# Types on the control lane, beside those of ``mesh.engine.control``.
WANT = 15
GRANT = 16
RETURN = 17
DONE = 18
BACK = 19
HELD = 20
CHECK = 21
RECALL = 22
DENY = 25

# Why casts come back.
BACK_UNSTARTED = 0  # never begun here: nobody here takes them any more
BACK_REFUSED = 1  # the handler raised Refuse
BACK_MOVED = 2  # keyed, and by my view the owner is another
BACK_TOUCHED = 3  # given to an iterator that never came back for more: it may have been handled
BACK_LOST = 4  # it never came here, though later ones did
BACK_UNREADABLE = 5  # it cannot be decoded here, so it is refused
BACK_DENIED = 6  # the policy here denies it to its sender, so it is refused
REFUSALS = frozenset({BACK_REFUSED, BACK_UNREADABLE, BACK_DENIED})
"""Passed on to a member that has not refused it, a few times."""
CREDIT_COMES_BACK = frozenset({BACK_LOST, BACK_UNREADABLE, BACK_DENIED})
"""Which pool's credit these used only their sender knows: it has it again."""

MAX_NUMBER = 1 << 62
"""Numbers of casts stay below; what claims more is no honest one."""

FLAG_REDELIVERED = 1
FLAG_FINAL = 2
"""Keyed: whoever gets it handles it; no more answers that the owner is another."""

# What became of a cast here; None while its handler runs, or when that was cancelled.
UNSTARTED = 0
HANDLED = 1
REFUSED = 2


class GroupcastMessage(Message):
    """A groupcast, as its handler sees it."""

    __slots__ = ()

    kind = "groupcast"
    missed = 0

    def __init__(self, pool: str, data: Any, headers: dict[str, str], sender: Any) -> None:
        self._subject = pool
        self.data = data
        self.headers = headers
        self.sender = sender

    @property
    def pool(self) -> str:
        """The pool's name."""
        return self._subject

    @property
    def subject(self) -> str | None:
        return None

    @property
    def group(self) -> str | None:  # type: ignore[override]
        return group_of(self._subject)


class CastMessage(GroupcastMessage):
    """One that may have to wait here: number so-and-so of those from ``source``.

    ``outcome`` is None until its handler is through with it.
    """

    __slots__ = ("number", "outcome", "source")

    def __init__(
        self, pool: str, data: Any, headers: dict[str, str], sender: Any, source: Any, number: int
    ) -> None:
        self._subject = pool
        self.data = data
        self.headers = headers
        self.sender = sender
        self.source = source
        self.number = number
        self.outcome: int | None = None


class MarkedCast(CastMessage):
    """One with a key, or a mark."""

    __slots__ = ("key", "redelivered")

    key: Key | None
    redelivered: bool


class CopyMessage(MarkedCast):
    """A queue group's copy of what was published."""

    __slots__ = ("published_to",)

    kind = "publish"
    published_to: str

    @property
    def subject(self) -> str | None:
        return self.published_to

    @property
    def group(self) -> str | None:  # type: ignore[override]
        return queue_of(self._subject)


def set_flag(fields: list[Any], flag: int) -> bool:
    """Set a flag in the fields of an entry; False when it was set already."""
    fields += [{}, 0][len(fields) - 2 :] if len(fields) < 4 else []
    is_new = not fields[3] & flag
    fields[3] |= flag
    return is_new


def ranges_of(numbers: Iterable[int]) -> list[int]:
    """Numbers as ``[first, count, first, count, ...]``, in ascending order."""
    ranges: list[int] = []
    after = -1
    for number in sorted(numbers):
        if number == after:
            ranges[-1] += 1
        else:
            ranges += (number, 1)
        after = number + 1
    return ranges


def membership_of(ranges: list[Any]) -> Callable[[int], bool]:
    """Asks whether a number is in ranges from outside. Raises ValueError for nonsense."""
    _check_ranges(ranges)
    pairs = sorted(zip(ranges[::2], ranges[1::2], strict=True))
    starts = [first for first, _ in pairs]

    def is_in(number: int) -> bool:
        index = bisect_right(starts, number) - 1
        return index >= 0 and number < pairs[index][0] + pairs[index][1]

    return is_in


def numbers_of(ranges: list[Any], at_most: int) -> Iterator[int]:
    """The numbers in ranges from outside. Raises ValueError, before the first, for nonsense."""
    check_ranges(ranges, at_most)
    return (
        number
        for first, count in zip(ranges[::2], ranges[1::2], strict=True)
        for number in range(first, first + count)
    )


def check_ranges(ranges: list[Any], at_most: int) -> None:
    """Raises ValueError for ranges from outside that are none, or hold too many numbers."""
    _check_ranges(ranges)
    if sum(ranges[1::2]) > at_most:
        raise ValueError(f"ranges of more than {at_most} numbers")


def _check_ranges(ranges: list[Any]) -> None:
    if len(ranges) % 2 or any(type(number) is not int or number < 0 for number in ranges):
        raise ValueError("ranges are pairs of whole numbers")
