"""What happened in a run: the evidence that laws are judged by.

It is what users see (messages, events, outcomes), and what was sent to whom at which time.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from patterns.messages import Message
from patterns.subscription import Subscription
from tests.sim import SimNode
from tests.sim.waiter import SimWaiter

__all__ = ["CallMade", "CallRun", "Reader", "Station", "Stream", "origin_of"]


def origin_of(message: Message) -> tuple[str, int]:
    """Who published it, and its number; large ones are bytes."""
    if isinstance(message.data, bytes):
        name, number = message.data.split()
        return name.decode(), int(number)
    return message.data[0], message.data[2]


class Station:
    """A node of a run, and what befell it."""

    def __init__(self, node: SimNode) -> None:
        self.node = node
        self.stopped = ""
        """How it is stopped: "freeze" or "block"; empty while it runs."""
        self.went_on_at = 0.0
        self.touched_at = -1.0
        """When a fault met it last, or a path or connection of it; -1: never."""
        self.is_impaired = False
        """Whether a fault of a path or connection of it lasts."""
        self.readers: list[Reader] = []
        self.has_services = False

    def __repr__(self) -> str:
        return self.node.name

    @property
    def id(self) -> str:
        return self.node.id


class Stream:
    """The messages of one node to one other, in the order in which they were sent.

    ``told`` is what ``Gap`` events said since the last message; None: an unknown number.
    """

    def __init__(self) -> None:
        self.places: dict[int, int] = {}
        self.next = 0
        self.told: int | None = 0
        self.lost = 0

    def send(self, number: int) -> None:
        self.places[number] = len(self.places)


class Reader:
    """A subscription that reads slowly, or not at all, and how many messages it should have had."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.due = 0
        self.taken = 0
        self.lost = 0
        """Messages, of whatever subject, that did not come to its node."""
        self.disorder = ""
        """The first that came out of order."""
        self.last: dict[str, int] = defaultdict(lambda: -1)

    def take(self) -> bool:
        messages = self.subscription.take()
        for message in messages or ():
            self.note(message)
        return messages is not None

    def read_all(self) -> None:
        """From now on it is quick."""
        self.subscription.on_ready = self.read_all
        while self.take():
            pass

    def note(self, message: Message) -> None:
        self.taken += 1
        sender, number = origin_of(message)
        if number <= self.last[sender]:
            self.disorder = self.disorder or f"{message} after number {self.last[sender]}"
        self.last[sender] = number


class CallRun:
    """One start of a handler."""

    def __init__(self, station: Station, start: float) -> None:
        self.station = station
        self.start = start
        self.end: float | None = None


class CallMade:
    """One call, from the caller's side."""

    def __init__(
        self,
        caller: Station,
        number: int,
        method: str,
        at: float,
        timeout: float,
        waiter: SimWaiter,
        *,
        may_repeat: bool,
    ) -> None:
        self.caller = caller
        self.number = number
        self.method = method
        self.at = at
        self.timeout = timeout
        self.waiter = waiter
        self.may_repeat = may_repeat
        self.id: int | None = None
        self.ended_at: float | None = None
        """When the caller had its outcome, or gave up."""
        self.arrived: dict[str, float] = {}
        """When it first came to each node, by name."""
        self.runs: list[CallRun] = []

    @property
    def deadline(self) -> float:
        return self.at + self.timeout

    def __repr__(self) -> str:
        return f"call {self.number} of {self.method} by {self.caller} at {self.at:.3f}"


class History:
    """All of it. ``story`` is for people: the steps, as they came out."""

    def __init__(self) -> None:
        self.streams: dict[tuple[str, str], Stream] = defaultdict(Stream)
        self.calls: dict[int, CallMade] = {}
        self.waits: list[tuple[Station, str, float, SimWaiter]] = []
        """Pings and flushes: who, what, their deadline, the outcome."""
        self.casts: dict[tuple[Any, ...], tuple[Station, float, SimWaiter]] = {}
        self.copies: dict[tuple[Any, ...], Station] = {}
        self.story: list[str] = []
        self._numbers = 0

    def number(self) -> int:
        self._numbers += 1
        return self._numbers
