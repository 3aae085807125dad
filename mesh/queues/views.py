"""What people see of a queue: plain values, from all of its homes together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mesh.membership import Peer
from mesh.runtime.thread_codec import thread_codec
from patterns.queues.figures import QueueStats as HomeStats
from patterns.queues.outcomes import JobStatus, Outcome
from patterns.queues.ticket import NEVER, State, Ticket

__all__ = [
    "GroupStats",
    "JobView",
    "QueueStats",
    "gather_stats",
    "told_outcome",
    "told_stats",
    "told_status",
    "told_view",
    "view_of",
]


@dataclass(frozen=True, slots=True)
class GroupStats:
    """One group of workers of a queue, "" for the one without a name.

    ``age_of_oldest`` is how long, in seconds, the job has waited that was put first; None: there is
    none. ``paused`` homes hand out none of its jobs.
    """

    ready: int = 0
    delayed: int = 0
    reserved: int = 0
    dead: int = 0
    workers: int = 0
    paused: int = 0
    age_of_oldest: float | None = None


@dataclass(frozen=True, slots=True)
class QueueStats:
    """A queue, at all of its homes together. Counters are since each home began, rates are jobs a
    second over the last ten.

    ``homes`` has what each of them said, by its peer; ``draining`` of them take no jobs.
    """

    name: str
    put: int
    done: int
    retried: int
    buried: int
    """Jobs that were given up; those that are dead now are ``dead``."""
    expired: int
    dropped: int
    leases_lost: int
    put_rate: float
    done_rate: float
    draining: int
    groups: dict[str, GroupStats]
    homes: dict[Peer, dict[str, Any]] = field(repr=False)

    @property
    def ready(self) -> int:
        """In all groups."""
        return sum(group.ready for group in self.groups.values())

    @property
    def delayed(self) -> int:
        return sum(group.delayed for group in self.groups.values())

    @property
    def reserved(self) -> int:
        return sum(group.reserved for group in self.groups.values())

    @property
    def dead(self) -> int:
        return sum(group.dead for group in self.groups.values())


@dataclass(frozen=True, slots=True)
class JobView:
    """A job that was looked at. ``data`` is None, and ``is_readable`` False, where it cannot be
    decoded here. ``due_at`` is until when it waits, or its lease lasts."""

    id: str
    queue: str
    group: str
    home: Peer
    state: str
    priority: int
    attempts: int
    reason: str
    put_at: datetime
    due_at: datetime | None
    expires_at: datetime | None
    key: bytes | None
    headers: dict[str, str]
    data: Any
    is_readable: bool


_COUNTERS = ("put", "done", "retried", "dead", "expired", "dropped", "leases_lost")


def told_stats(stats: HomeStats) -> dict[str, Any]:
    """As a home tells them."""
    options = stats.options
    return {
        "store": stats.store,
        "is_draining": stats.is_draining,
        "put_rate": stats.put_rate,
        "done_rate": stats.done_rate,
        "counters": {name: getattr(stats.counters, name) for name in _COUNTERS},
        "options": {name: getattr(options, name) for name in options.__slots__},
        "groups": [
            {name: getattr(group, name) for name in group.__slots__} for group in stats.groups
        ],
    }


def gather_stats(name: str, told: Iterable[tuple[Peer, Mapping[str, Any]]]) -> QueueStats:
    """What all homes have told, in one."""
    homes = {peer: dict(one) for peer, one in told}
    groups: dict[str, GroupStats] = {}
    for home in homes.values():
        for one in home["groups"]:
            groups[one["name"]] = _sum(groups.get(one["name"], GroupStats()), one)
    counters = {
        counter: sum(home["counters"][counter] for home in homes.values()) for counter in _COUNTERS
    }
    return QueueStats(
        name=name,
        buried=counters.pop("dead"),
        put_rate=sum(home["put_rate"] for home in homes.values()),
        done_rate=sum(home["done_rate"] for home in homes.values()),
        draining=sum(home["is_draining"] for home in homes.values()),
        groups=groups,
        homes=homes,
        **counters,
    )


def _sum(stats: GroupStats, one: Mapping[str, Any]) -> GroupStats:
    ages = [age for age in (stats.age_of_oldest, one["age_of_oldest"]) if age is not None]
    return GroupStats(
        stats.ready + one["ready"],
        stats.delayed + one["delayed"],
        stats.reserved + one["reserved"],
        stats.dead + one["dead"],
        stats.workers + one["workers"],
        stats.paused + one["is_paused"],
        max(ages, default=None),
    )


def told_view(ticket: Ticket, id: str, group: str, offset_ms: int) -> list[Any]:
    """A job as a home tells it; times are Unix ms."""

    def wall(ms: int) -> int | None:
        return None if not 0 < ms < NEVER else ms + offset_ms

    due_ms = ticket.lease_until_ms if ticket.state is State.RESERVED else ticket.due_ms
    extra = ticket.extra
    return [
        id,
        group,
        State(ticket.state).name.lower(),
        ticket.priority,
        ticket.attempts,
        ticket.reason,
        ticket.put_ms + offset_ms,
        wall(due_ms),
        wall(ticket.expires_ms),
        ticket.key,
        extra.headers if extra is not None else None,
        ticket.body,
    ]


def told_status(status: JobStatus, offset_ms: int) -> list[Any]:
    """Where a job is in one group, as a home tells it."""
    if status.outcome is not None:
        return ["done", status.group, status.outcome.attempts, "", None]
    state = State(status.state).name.lower()
    return [state, status.group, status.attempts, status.reason, status.put_ms + offset_ms]


def told_outcome(outcome: Outcome) -> list[Any]:
    """How a job has ended, as a home tells it."""
    o = outcome
    return [o.kind, o.number, o.group, o.packed, o.reason, o.attempts]


def outcome_of(told: list[Any]) -> Outcome:
    """How a job has ended, as it was told."""
    kind, number, group, packed, reason, attempts = told
    check_types((kind, group, reason), number, attempts)
    if kind not in ("done", "dead", "gone") or not isinstance(packed, bytes | None):
        raise ValueError(f"{kind!r:.80} is no end of a job")
    return Outcome(kind, number, group, packed, reason, attempts)


def check_types(texts: Iterable[object], *numbers: object) -> None:
    """Raises TypeError for what a home would not tell."""
    if not all(type(text) is str for text in texts) or any(type(n) is not int for n in numbers):
        raise TypeError("a field is of another type")


def view_of(queue: str, home: Peer, told: list[Any]) -> JobView:
    """A job as it was told."""
    id, group, state, priority, attempts, reason, put, due, expires, key, headers, body = told
    check_types((id, group, state, reason), priority, attempts)
    if not isinstance(headers, dict | None) or not isinstance(key, bytes | None):
        raise TypeError("a key or headers are of another type")
    try:
        data, is_readable = thread_codec().unpack_all(body, 1)[0], True
    except (ValueError, IndexError):
        data, is_readable = None, False
    return JobView(
        id,
        queue,
        group,
        home,
        state,
        priority,
        attempts,
        reason,
        _time(put),
        None if due is None else _time(due),
        None if expires is None else _time(expires),
        key,
        headers or {},
        data,
        is_readable,
    )


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
