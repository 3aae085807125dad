"""What a member knows of those who send to it, and of the pools that it takes casts for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

from patterns.groupcast import casts as k
from patterns.groupcast.casts import CastMessage, CopyMessage, MarkedCast
from patterns.groupcast.credit import CreditBook
from patterns.groupcast.desk import Desk
from patterns.keys import key_bytes
from patterns.names import MAX_SUBJECT_BYTES, queue_of
from patterns.port import Handle
from patterns.subjects import SubjectMap

__all__ = [
    "DONE_KEPT",
    "KNOWS_NOTHING",
    "MAX_CREDIT",
    "Pool",
    "Source",
    "is_held",
    "oldest",
    "read_cast",
]

MAX_CREDIT = 4096
"""Casts that one pool takes at once, whatever its handlers' speed and number."""

DONE_KEPT = 8192
"""Ranges of handled casts that are remembered for each sender, in case its link is lost with our
reports: twice what one pool can hold, even if every other one still ran."""


KNOWS_NOTHING = 1 << 62
"""Above all numbers of casts: of none of them is known whether it was handled."""


class Source:
    """One sender. ``epoch`` is the link epoch of its credit, None while it has none."""

    __slots__ = (
        "_done",
        "_done_now",
        "asked_after",
        "back",
        "epoch",
        "epoch_first",
        "era",
        "expected",
        "handle",
        "hold",
        "is_dirty",
        "is_own",
        "open",
        "parked",
        "since",
    )  # fmt: skip

    def __init__(self, handle: Handle, is_own: bool = False) -> None:
        self.handle = handle
        self.is_own = is_own
        """Whether it is this node itself."""
        self.epoch: int | None = None
        self.era = 0
        self.expected: int | None = None
        """The number of its next cast; None until it has asked for credit in this era."""
        self.epoch_first = 0
        """Casts from this number on are of the link epoch that is."""
        self.since = KNOWS_NOTHING
        """Of numbers below this nothing is known."""
        self.open: dict[int, CastMessage] = {}
        """Taken in and not through."""
        self._done: deque[list[int]] = deque()
        self._done_now: list[int] = []
        self.back: dict[tuple[int, bytes], list[int]] = {}
        self.parked: deque[CastMessage] = deque()
        self.hold: int | None = None
        """The question whose answer permits to begin again."""
        self.asked_after: tuple[int, float] | None = None
        self.is_dirty = False

    def add_done(self, ranges: list[int]) -> None:
        """These are handled, and their sender does not know yet."""
        now = self._done_now
        if now and len(ranges) == 2 and now[-2] + now[-1] == ranges[0]:
            now[-1] += ranges[1]
        else:
            now += ranges

    def take_done(self) -> list[int]:
        """What is to be reported; it is remembered, in case the report is lost."""
        now, self._done_now = self._done_now, []
        done = self._done
        for first, count in zip(now[::2], now[1::2], strict=True):
            if done and done[-1][0] + done[-1][1] == first:
                done[-1][1] += count
            else:
                done.append([first, count])
        while len(done) > DONE_KEPT:
            first, count = done.popleft()
            self.since = max(self.since, first + count)
        return now

    def all_done(self) -> list[int]:
        """All that is remembered."""
        self.take_done()
        return [number for pair in self._done for number in pair]

    def count_in(self, pool: str) -> int:
        """How many of its casts to that pool are here."""
        return sum(message.pool == pool for message in self.open.values())

    def is_current(self, message: CastMessage) -> bool:
        """Whether it came in the link epoch that is: its credit counts."""
        return self.epoch is not None and message.number >= self.epoch_first

    def give_back(self, reason: int, numbers: Iterable[int], owner: bytes = b"") -> None:
        self.back.setdefault((reason, owner), []).extend(numbers)


class Pool:
    """One group or queue group here: its desks and its credit."""

    __slots__ = ("book", "by_pattern", "desk", "desks", "is_dirty", "name")

    def __init__(self, name: str, numbers: Iterator[int]) -> None:
        self.name = name
        self.desks: list[Desk] = []
        self.desk: Desk | None = None
        """The one that takes all, where there is no other."""
        self.by_pattern: SubjectMap[Desk] | None = SubjectMap() if queue_of(name) else None
        """What each desk of a queue group listens to."""
        self.book = CreditBook(numbers)
        self.is_dirty = False

    def add(self, desk: Desk) -> None:
        """Another handler or reader."""
        self.desks.append(desk)
        if self.by_pattern is not None:
            self.by_pattern.add(desk.subscription.pattern, desk)
        self._choose()

    def remove(self, desk: Desk) -> None:
        """One less; gone already when the node has left."""
        if desk not in self.desks:
            return
        self.desks.remove(desk)
        if self.by_pattern is not None:
            self.by_pattern.remove(desk.subscription.pattern, desk)
        self._choose()

    def _choose(self) -> None:
        is_single = self.by_pattern is None and len(self.desks) == 1
        self.desk = self.desks[0] if is_single else None

    @property
    def capacity(self) -> int:
        return min(MAX_CREDIT, sum(desk.worklist.capacity for desk in self.desks))

    def desk_for(self, message: CastMessage) -> Desk | None:
        """The emptiest desk that takes it; for a key always the same, so that its order holds."""
        desks: Sequence[Desk] = self.desks
        if self.by_pattern is not None:
            desks = self.by_pattern.match(message.subject or "")
        if message.source.is_own:
            desks = [desk for desk in desks if desk.subscription.echo]
        if len(desks) == 1:
            return desks[0]
        if message.key is not None and desks:
            key = key_bytes(message.key)
            there = next((desk for desk in desks if desk.has_key(key)), None)
            return there or desks[crc32(key) % len(desks)]
        return min(desks, key=lambda desk: desk.worklist.load, default=None)


def oldest(sources: Mapping[Handle, Source]) -> Handle:
    """Whom to forget first: one that has no credit, if there is such."""
    gone = next((handle for handle, source in sources.items() if source.epoch is None), None)
    return gone if gone is not None else next(iter(sources))


def is_held(message: CastMessage) -> bool:
    """Whether it waits for its sender to say that it has not revoked."""
    return message.source.hold is not None


def read_cast(entry: Sequence[Any], source: Source, number: int) -> CastMessage:
    """A cast as it waits here. Raises ValueError and its like."""
    pool, data, peer = entry[0], entry[1], source.handle.peer
    if type(pool) is not str:
        raise ValueError("a pool has a name")
    if len(entry) == 2 and queue_of(pool) is None:
        return CastMessage(pool, data, {}, peer, source, number)
    headers = entry[2]
    flags = entry[3] if len(entry) > 3 else 0
    key = entry[4] if len(entry) > 4 else None
    if not isinstance(headers, dict) or type(flags) is not int:
        raise ValueError("headers are a map, flags a number")
    if key is not None:
        key_bytes(key)
    if (len(entry) > 5) is (queue_of(pool) is None):
        raise ValueError("a queue group's copy has a subject, and nothing else has")
    if len(entry) > 5:
        copy = CopyMessage(pool, data, headers, peer, source, number)
        copy.published_to = entry[5]
        if not isinstance(entry[5], str) or len(entry[5]) > MAX_SUBJECT_BYTES:
            raise ValueError("a subject is a short text")
        message: MarkedCast = copy
    else:
        message = MarkedCast(pool, data, headers, peer, source, number)
    message.key = key
    message.redelivered = bool(flags & k.FLAG_REDELIVERED)
    return message
