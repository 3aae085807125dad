"""The casts that wait in one subscription for its handler or its reader, in order per key.

Bounded by the credit that the node granted; nothing here is ever dropped. Of one key at most one
is with the handlers at a time, so its order holds whatever the concurrency. ``prefetch`` says how
many the node may ask for ahead of the handler: as many as it does in ``PREFETCH_SECONDS``, so a
slow handler has next to nothing waiting behind it that another member could do meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from patterns.groupcast.casts import CastMessage
from patterns.keys import key_bytes

__all__ = ["MAX_PREFETCH", "PREFETCH_SECONDS", "Worklist"]

PREFETCH_SECONDS = 0.02
"""A handler's work kept at hand: far above a round trip, so it never idles; short to wait for."""

MAX_PREFETCH = 1024
"""Casts per slot, however fast the handler is: a few batches."""

MOST_AT_ONCE = 128
"""Casts handed to a handler in one portion: acknowledged together, so not too many."""

SMOOTHING = 16
"""Weight of the past, in casts, when the handler's time is averaged."""


class Worklist:
    """Waiting casts of one subscription with ``concurrency`` slots."""

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.seconds: float | None = None
        """What the handler takes for one cast, smoothed; None before the first."""
        self.running = 0
        self._waiting: deque[CastMessage] = deque()
        self._behind: dict[bytes, deque[CastMessage]] = {}
        """By key, what waits for the one of that key that is in ``_waiting`` or being handled."""
        self._behind_count = 0

    def __len__(self) -> int:
        return len(self._waiting) + self._behind_count

    def __iter__(self) -> Iterator[CastMessage]:
        return chain(self._waiting, *self._behind.values())

    @property
    def load(self) -> float:
        """Casts here for each slot: the emptiest of several subscriptions gets the next."""
        return (len(self) + self.running) / self.concurrency

    @property
    def is_ready(self) -> bool:
        """Whether there is one that may start."""
        return bool(self._waiting)

    @property
    def capacity(self) -> int:
        """How many may be here at once, running or waiting."""
        prefetch = 1
        if self.seconds is not None:
            prefetch = MAX_PREFETCH
            if self.seconds * MAX_PREFETCH > PREFETCH_SECONDS:
                prefetch = max(1, int(PREFETCH_SECONDS / self.seconds))
        return self.concurrency * prefetch

    def took(self, seconds: float, count: int) -> None:
        """``count`` casts took the handler ``seconds`` together."""
        if self.seconds is None:
            self.seconds = seconds / count
        else:
            self.seconds += (seconds / count - self.seconds) * count / (count + SMOOTHING)

    def put(self, message: CastMessage) -> None:
        """Behind all others of its key, or all others."""
        if self.concurrency > 1 and message.key is not None:
            key = key_bytes(message.key)
            behind = self._behind.get(key)
            if behind is not None:
                behind.append(message)
                self._behind_count += 1
                return
            self._behind[key] = deque()
        self._waiting.append(message)

    def put_back(self, messages: Iterable[CastMessage]) -> None:
        """Taken, but not started: to the front again, in this order."""
        self._waiting.extendleft(reversed(list(messages)))

    def take(self) -> list[CastMessage]:
        """The next portion for one slot: one, or as many as it does in a moment at order's cost."""
        waiting = self._waiting
        most = 1
        if self.concurrency == 1 and self.seconds is not None:
            most = MOST_AT_ONCE
            if self.seconds * MOST_AT_ONCE > PREFETCH_SECONDS / 4:
                most = max(1, int(PREFETCH_SECONDS / 4 / self.seconds))
        return [waiting.popleft() for _ in range(min(most, len(waiting)))]

    def take_one(self) -> CastMessage:
        """The next one, for a reader."""
        return self._waiting.popleft()

    def ended(self, message: CastMessage) -> None:
        """A cast is through: the next of its key may come."""
        if self.concurrency == 1 or message.key is None:
            return
        key = key_bytes(message.key)
        behind = self._behind.get(key)
        if behind:
            self._waiting.append(behind.popleft())
            self._behind_count -= 1
        elif behind is not None:
            del self._behind[key]

    def remove(self, unwanted: Callable[[CastMessage], bool]) -> list[CastMessage]:
        """Take out what has not been taken and is ``unwanted``; returns it, in order per key."""
        removed: list[CastMessage] = []
        kept: list[CastMessage] = []
        freed: list[CastMessage] = []
        for message in self._waiting:
            if not unwanted(message):
                kept.append(message)
                continue
            removed.append(message)
            freed.append(message)
        self._waiting = deque(kept)
        for key, behind in self._behind.items():
            gone = [message for message in behind if unwanted(message)]
            if gone:
                removed += gone
                self._behind_count -= len(gone)
                self._behind[key] = deque(m for m in behind if not unwanted(m))
        for message in freed:
            self.ended(message)
        return removed
