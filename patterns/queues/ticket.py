"""``Ticket``: one job in one line, and what has become of it so far.

Times are whole milliseconds, in memory as in a store: so both have one order of what is due.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = [
    "DEAD",
    "DEFAULT_PRIORITY",
    "DELAYED",
    "GONE",
    "MAX_PRIORITY",
    "NEVER",
    "READY",
    "RESERVED",
    "STATES",
    "Extra",
    "State",
    "Ticket",
]

MAX_PRIORITY = 2**32 - 1
"""The least urgent; 0 is the most urgent."""

DEFAULT_PRIORITY = 1024
"""beanstalkd's usual one: there is room above it."""


NEVER = 2**62
"""As a time."""


class State(IntEnum):
    """Where a job is. The numbers are stored: none is ever used for something else.

    A store knows no RESERVED: a lease does not outlive the home that gave it, so after a restart
    what was reserved is READY.
    """

    READY = 0
    DELAYED = 1
    RESERVED = 2
    DEAD = 3
    """Given up, and kept for people."""
    GONE = 4
    """Done, deleted or expired: nothing is kept of it."""


# For what is done with each job: Python 3.11 takes 80 ns to look ``State.READY`` up.
READY: Final = State.READY
DELAYED: Final = State.DELAYED
RESERVED: Final = State.RESERVED
DEAD: Final = State.DEAD
GONE: Final = State.GONE


STATES = {
    state.name.lower(): state for state in (State.READY, State.DELAYED, State.RESERVED, State.DEAD)
}
"""As people write them."""


class Extra:
    """What few jobs have.

    ``id``      the name that its producer gave it
    ``unique``  while it is queued or runs, another of this name is the same job
    ``keep_ms`` how long its outcome is kept
    ``headers`` what the worker is told beside the body
    """

    __slots__ = ("headers", "id", "keep_ms", "unique")

    def __init__(
        self,
        id: str | None = None,
        unique: str | None = None,
        keep_ms: int = 0,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.id = id
        self.unique = unique
        self.keep_ms = keep_ms
        self.headers = headers


class Ticket:
    """A plain class on purpose: there are millions of them. What it is made of may be given by
    position, which takes half the time.

    ``number``      of the job at its store: it grows, and is never given twice. The same in the
                    lines of all groups
    ``body``        the packed job, opaque here
    ``priority``    0 to ``MAX_PRIORITY``, the smaller the sooner; FIFO inside one
    ``put_ms``      when it was put, on the home's clock
    ``due_ms``      before then it is not handed out; 0: at once
    ``expires_ms``  then it is of no use any more; ``NEVER``
    ``key``         jobs of one key are handed out one after the other, in order; None: it has none
    ``attempts``    how often it was handed out
    ``reason``      why it came back last, or is dead
    ``extra``       what few jobs have; None
    """

    __slots__ = (
        "attempts",
        "body",
        "due_ms",
        "expires_ms",
        "extra",
        "key",
        "lease_until_ms",
        "number",
        "priority",
        "put_ms",
        "reason",
        "state",
    )

    def __init__(
        self,
        number: int,
        body: bytes,
        put_ms: int,
        priority: int = DEFAULT_PRIORITY,
        due_ms: int = 0,
        expires_ms: int = NEVER,
        key: bytes | None = None,
        attempts: int = 0,
        reason: str = "",
        extra: Extra | None = None,
    ) -> None:
        self.number = number
        self.body = body
        self.put_ms = put_ms
        self.priority = priority
        self.due_ms = due_ms
        self.expires_ms = expires_ms
        self.key = key
        self.attempts = attempts
        self.reason = reason
        self.extra = extra
        self.state = DELAYED if due_ms else READY
        self.lease_until_ms = 0

    def __lt__(self, other: Ticket) -> bool:
        """For heaps, where an old copy of a job may lie beside it at the same place."""
        return self.number < other.number

    def __repr__(self) -> str:
        return f"<Ticket {self.number} {self.state.name.lower()}, {self.attempts} attempts>"
