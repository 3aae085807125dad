"""What people are told of a queue at one home."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patterns.queues.home import Home
    from patterns.queues.jobspec import HomeOptions
    from patterns.queues.ticket import Ticket

__all__ = ["RATE_OVER", "Counters", "GroupStats", "QueueStats", "Rates", "gather"]

RATE_OVER = 10
"""Seconds over which a rate is an average."""


@dataclass(slots=True)
class Counters:
    """Since the home began. A job counts as put once, whatever groups there are, and once in each
    of them at its end."""

    put: int = 0
    done: int = 0
    retried: int = 0
    dead: int = 0
    expired: int = 0
    dropped: int = 0
    """Deleted by people, or because the queue was full."""
    leases_lost: int = 0


class Rates:
    """Of jobs put and done, from one sample a second."""

    def __init__(self, counters: Counters, now_ms: int) -> None:
        self._counters = counters
        self._samples = deque([(now_ms, 0, 0)], maxlen=RATE_OVER + 1)

    def sample(self, now_ms: int) -> None:
        """Called each second."""
        self._samples.append((now_ms, self._counters.put, self._counters.done))

    def per_second(self, now_ms: int) -> tuple[float, float]:
        """How many were put, and done, each second."""
        then_ms, put, done = self._samples[0]
        seconds = max(now_ms - then_ms, 1000) / 1000
        counters = self._counters
        return (counters.put - put) / seconds, (counters.done - done) / seconds


@dataclass(slots=True)
class GroupStats:
    """One group. ``age_of_oldest`` is how long, in seconds, the first that was put has not been
    done or buried; None when there is none."""

    name: str
    ready: int
    delayed: int
    reserved: int
    dead: int
    workers: int
    is_paused: bool
    age_of_oldest: float | None = None


@dataclass(slots=True)
class QueueStats:
    """A queue at one home. Rates are jobs a second over ``RATE_OVER`` s."""

    name: str
    store: str
    """The class of the store, and its id."""
    options: HomeOptions
    is_draining: bool
    counters: Counters
    put_rate: float
    done_rate: float
    groups: list[GroupStats] = field(default_factory=list)


def gather(home: Home, done: Callable[[QueueStats], None]) -> None:
    """``done`` gets them when the store has said which jobs are the oldest."""
    put_rate, done_rate = home.rates.per_second(home.now_ms())
    stats = QueueStats(
        home.name,
        f"{type(home.store).__name__} {home.store.id}",
        home.options,
        home.is_draining,
        replace(home.counters),  # as they are now, like the groups
        put_rate,
        done_rate,
    )
    groups = list(home.lines.values())
    left = len(groups)

    def aged(of: GroupStats, found: Sequence[Ticket]) -> None:
        nonlocal left
        left -= 1
        if found:
            of.age_of_oldest = max(0.0, (home.now_ms() - found[0].put_ms) / 1000)
        if not left:
            done(stats)

    for group in groups:
        one = GroupStats(
            group.name,
            group.ready.count,
            group.delayed.count,
            group.reserved,
            group.dead,
            group.workers,
            group.is_paused,
        )
        stats.groups.append(one)
        # As it was read: it is only looked at.
        group.reading.store.oldest(1, partial(aged, one))
