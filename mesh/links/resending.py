"""A way on a link that loses nothing while the link is replaced: the sending and receiving half.

Go-back-N, as in any textbook: messages are numbered, kept until they are acknowledged, and sent
again on a new link epoch, where the receiver drops what it has. Within an epoch the link neither
loses nor reorders, so nothing is sent twice there. Pure.

Numbers belong to an *era*, which only grows in the life of a node. One that gives its peer up
begins a new one, from number 0; to the peer, which may not have noticed, that says that whatever
began in an older one is void.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from mesh.links.window import Window

__all__ = ["MAX_WINDOW_BYTES", "Arrivals", "Resending"]

FIRST_WINDOW_BYTES = 256 * 1024
"""On the way before anything is known of the link; 0.7 s at 0.4 MB/s, so no heartbeat is late."""

LEAST_WINDOW_BYTES = 64 * 1024
"""On the way at least: one piece of a stream."""

MAX_WINDOW_BYTES = 1024 * 1024
"""On the way at most, and kept for the next epoch: 9 ms at 1 Gbit/s."""


class Resending:
    """The sending half for one peer."""

    __slots__ = ("_again", "_on_the_way", "_taken", "acked", "era", "window")

    def __init__(self, era: int) -> None:
        self.era = era
        self.acked = 0
        """The first number that the peer has not acknowledged."""
        self._on_the_way: deque[bytes] = deque()
        self._again: deque[bytes] = deque()
        """What an older epoch left, to be sent before anything new."""
        self._taken = 0
        """Bytes of this epoch that were acknowledged."""
        self.window = Window(FIRST_WINDOW_BYTES, LEAST_WINDOW_BYTES, MAX_WINDOW_BYTES)

    def begin(self, era: int) -> None:
        """A new era: what was of the old one is void."""
        self.era = era
        self.acked = 0
        self._on_the_way.clear()
        self._again.clear()
        self.window.open()
        self._taken = 0

    def open(self) -> None:
        """A new link epoch: what was not acknowledged goes again."""
        self._on_the_way.extend(self._again)
        self._again, self._on_the_way = self._on_the_way, deque()
        self.window.open()
        self._taken = 0

    @property
    def next_number(self) -> int:
        """Of what leaves next."""
        return self.acked + len(self._on_the_way)

    @property
    def is_waited_for(self) -> bool:
        """Whether anything is not acknowledged."""
        return bool(self._on_the_way or self._again)

    def old(self, now: float) -> Iterator[bytes]:
        """What must go again, as far as the window allows."""
        while self._again and self.window.fits(len(self._again[0])):
            entry = self._again.popleft()
            self.put(entry, now)
            yield entry

    def has_room(self) -> bool:
        """Whether something new may leave. A piece more than the window allows is none too much."""
        return not self._again and self.window.fits(0)

    def put(self, entry: bytes, now: float) -> None:
        """It leaves now, under ``next_number``."""
        self._on_the_way.append(entry)
        self.window.send(len(entry), now)

    def acknowledge(self, era: int, number: int, now: float) -> bool:
        """The peer has all before ``number``; False if that cannot be."""
        if era != self.era or number < self.acked:
            return True  # it was told on an older link, and came late
        count = number - self.acked
        if count > len(self._on_the_way) + len(self._again):
            return False
        self.acked = number
        for _ in range(count):
            if self._on_the_way:
                self._taken += len(self._on_the_way.popleft())
            else:
                self._again.popleft()  # the old epoch had brought it
        self.window.acknowledge(self._taken, now)
        return True


class Arrivals:
    """The receiving half: what of a frame is new."""

    __slots__ = ("era", "expected")

    def __init__(self) -> None:
        self.era = 0
        """Of the peer's numbers; 0: none came."""
        self.expected = 0

    def begins(self, era: int) -> bool:
        """Whether a frame of this era is the first of it. It is in force from now on."""
        if era <= self.era:
            return False
        self.era, self.expected = era, 0
        return True

    def receive(self, first: int, count: int) -> int | None:
        """How many of ``count`` messages from number ``first`` on are known already; None: some
        before them are missing."""
        known = self.expected - first
        if known < 0:
            return None
        self.expected = max(self.expected, first + count)
        return min(known, count)
