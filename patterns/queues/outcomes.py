"""Who waits for the end of a job, and what is kept of it.

Rules:

* A watcher hears the end of its job once in each group: ``done`` or ``dead``, or ``gone`` for a job
  that was deleted, dropped or has expired; and how far it is, in between. One that watches from
  the moment in which the job is safe misses nothing.
* The outcome of a job that is done is kept as a note for as long as was asked for; that of a dead
  one is the job itself, until people delete it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from patterns.queues.ticket import State

__all__ = ["JobStatus", "Kind", "Outcome", "Watcher"]

Kind = Literal["done", "dead", "gone", "progress"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job in one group.

    ``packed``   ``done``: the result, None when there is none; ``progress``: what its worker said
    ``reason``   ``dead``: what the last attempt ended with; ``gone``: ``deleted``, ``dropped``,
                 ``expired``
    ``attempts`` how often it was handed out; 0 when that is not known any more
    """

    kind: Kind
    number: int
    group: str
    packed: bytes | None = None
    reason: str = ""
    attempts: int = 0


Watcher = Callable[[Outcome], None]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job in one group. ``state`` is GONE when only its outcome is left. Times are ms on the
    home's clock; ``due_ms`` of a dead one is when it died, of one that is reserved when its lease
    ends; 0: at once."""

    group: str
    state: State
    attempts: int = 0
    reason: str = ""
    put_ms: int = 0
    due_ms: int = 0
    outcome: Outcome | None = None
