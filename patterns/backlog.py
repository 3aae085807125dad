"""What waits in a subscription, and what gives way when that is too much: its *policy*.

``drop_oldest``  holds its senders' windows until it stalls; then the oldest messages give way
``latest``       holds no window; of each subject only the newest message waits
``block``        holds the windows for as long as it takes, and drops nothing

Every one is bounded: in messages (with ``latest`` that is in subjects) and in bytes, but ``block``
by the windows that it holds.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Literal

from patterns.errors import ConfigError
from patterns.messages import Message
from patterns.portions import Portion

__all__ = ["DEFAULT_BUFFER", "POLICIES", "Backlog", "Policy", "check_policy", "make_backlog"]

Policy = Literal["drop_oldest", "latest", "block"]

POLICIES: tuple[Policy, ...] = ("drop_oldest", "latest", "block")

DEFAULT_BUFFER = 10_000
"""Messages that a stalled subscription keeps."""

STALLED_BYTES = 64 * 1024 * 1024
"""Bytes that a stalled subscription keeps: large messages must not make ``buffer`` gigabytes."""

MOST_TAKEN = 1024
"""Messages handed to an iterator at once, so that crossing to its thread costs little for each."""

OVERHEAD_BYTES = 64
"""What a value costs besides its characters, about: enough that a million of nothing is no 0."""


def check_policy(policy: object) -> Policy:
    """A user's policy. Raises ConfigError."""
    if policy not in POLICIES:
        known = ", ".join(map(repr, POLICIES))
        raise ConfigError(f"policy={policy!r:.40}: there are {known}")
    return policy


class Backlog:
    """Portions in order; the oldest messages give way. ``drop_excess`` says how many."""

    __slots__ = ("buffer", "dropped", "portions", "replaced", "size", "waiting")

    most_taken = MOST_TAKEN
    never_holds = False
    """Whether it holds no sender back, stalled or not."""
    always_holds = False
    """Whether it holds its senders back for as long as it takes."""

    def __init__(self, buffer: int) -> None:
        self.buffer = buffer
        self.portions: deque[Portion] = deque()
        self.waiting = 0
        """Messages in ``portions``."""
        self.size = 0
        """Their bytes, about."""
        self.dropped = 0
        """Messages that gave way to the bound."""
        self.replaced = 0
        """Messages that gave way to newer ones of their subject."""

    def add(self, portion: Portion) -> None:
        self.portions.append(portion)
        self.waiting += len(portion.messages)
        self.size += portion.size

    def pop(self) -> Portion:
        """The oldest portion."""
        portion = self.portions.popleft()
        self.waiting -= len(portion.messages)
        self.size -= portion.size
        return portion

    def pop_message(self) -> Portion:
        """The oldest message, by itself; its frame's hold goes with the last one."""
        head = self.portions[0]
        if len(head.messages) == 1:
            return self.pop()
        self.waiting -= 1
        return Portion(deque((head.messages.popleft(),)), None, head.arrived)

    def drop_excess(self) -> int:
        """Make the oldest give way to the bound; returns how many messages did."""
        before = self.dropped
        while self._has_excess():
            portion = self.portions[0]
            excess = len(portion.messages)
            if self.size <= STALLED_BYTES:
                excess = min(self.waiting - self.buffer, excess)
            for _ in range(excess):
                portion.messages.popleft()
            self.waiting -= excess
            self.dropped += excess
            if not portion.messages:
                portion.let_go()
                self.pop()
        return self.dropped - before

    def _has_excess(self) -> bool:
        """More than may wait here; the newest frame may, whatever its size."""
        too_many_bytes = self.size > STALLED_BYTES and len(self.portions) > 1
        return self.waiting > self.buffer or too_many_bytes

    def clear(self) -> None:
        """Give up what waits."""
        while self.portions:
            self.pop().let_go()


class Block(Backlog):
    """Nothing gives way: its senders' windows are its bound."""

    __slots__ = ()
    always_holds = True


class _Place(Portion):
    """Where one subject's newest message waits."""

    __slots__ = ("subject",)

    def __init__(self, subject: str | None, message: Message, arrived: float) -> None:
        super().__init__(deque((message,)), None, arrived)
        self.subject = subject
        self.size = size_of(message)


class Latest(Backlog):
    """One message a subject, the newest, where the oldest of its subject waited.

    In its place and not behind the others: a subject that changes faster than all others would
    else never have its turn. Handed out one by one, for what was taken cannot be replaced.
    """

    __slots__ = ("_places",)

    most_taken = 1
    never_holds = True

    def __init__(self, buffer: int) -> None:
        super().__init__(buffer)
        self._places: dict[str | None, _Place] = {}

    def add(self, portion: Portion) -> None:
        portion.let_go()
        for message in portion.messages:
            subject = message.subject  # None for all broadcasts: they are one subject
            place = self._places.get(subject)
            if place is None:
                place = self._places[subject] = _Place(subject, message, portion.arrived)
                super().add(place)
                continue
            place.messages[0] = message
            self.size -= place.size
            place.size = size_of(message)
            self.size += place.size
            self.replaced += 1

    def pop(self) -> Portion:
        place = super().pop()
        if isinstance(place, _Place):
            del self._places[place.subject]
        return place


_BACKLOGS: dict[Policy, type[Backlog]] = {
    "drop_oldest": Backlog,
    "latest": Latest,
    "block": Block,
}


def make_backlog(policy: Policy, buffer: int) -> Backlog:
    """The backlog of a subscription with that policy."""
    return _BACKLOGS[policy](buffer)


def size_of(message: Message) -> int:
    """Bytes that a message takes, about.

    Without recursion: what is nested as deep as may travel is deeper than Python calls itself.
    """
    size = 0
    left: list[Any] = [message.data, message.headers]
    while left:
        value = left.pop()
        size += OVERHEAD_BYTES
        if isinstance(value, str | bytes):
            size += len(value)
        elif isinstance(value, dict):
            left += value
            left += value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            left += value
    return size
