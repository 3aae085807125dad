"""What is put into a queue, how the queue is kept, and what is answered to who puts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

from patterns.errors import ConfigError
from patterns.names import check_name
from patterns.queues.options import check_number, check_whole
from patterns.queues.ticket import DEFAULT_PRIORITY

__all__ = [
    "MAX_ATTEMPTS",
    "MAX_GROUPS",
    "Alike",
    "HomeOptions",
    "JobSpec",
    "NewPuts",
    "Put",
    "default_id",
]

MAX_ATTEMPTS = 16
"""How often a job is handed out whose workers never say what has become of it."""

MAX_GROUPS = 64
"""Of one queue: each has a copy of every job."""


class HomeOptions:
    """How a queue is kept at one home.

    ``max_length``   jobs that wait or are worked on, in the longest group; None: as many as there
                     is room for. Dead ones do not count: they would close the queue
    ``overflow``     what gives way then: ``reject`` (QueueFull, nothing is put) or ``drop_oldest``
                     (of those that wait)
    ``ttl``          seconds until a job is of no use any more, where it does not say; None: never
    ``dedup``        seconds after its end in which another job of its id is the same job
    ``max_attempts`` a job that was handed out so often and never ended is buried; None: never
    ``keep_results`` seconds for which the outcome of a job is kept, unless it says otherwise
    ``groups``       the groups of workers, each with a copy of every job from the start, and no
                     other; None: those whose workers come

    Raises ConfigError, BadName.
    """

    __slots__ = (
        "dedup_ms",
        "groups",
        "keep_ms",
        "max_attempts",
        "max_length",
        "overflow",
        "ttl_ms",
    )

    def __init__(
        self,
        *,
        max_length: int | None = None,
        overflow: str = "reject",
        ttl: float | None = None,
        dedup: float = 0.0,
        max_attempts: int | None = MAX_ATTEMPTS,
        keep_results: float = 0.0,
        groups: Sequence[str] | None = None,
    ) -> None:
        if overflow not in ("reject", "drop_oldest"):
            raise ConfigError(f"overflow={overflow!r}: it is 'reject' or 'drop_oldest'")
        for name, count in (("max_length", max_length), ("max_attempts", max_attempts)):
            if count is not None:
                check_whole(name, count)
        if ttl is not None:
            check_number("ttl", ttl, least=0.001)
        check_number("dedup", dedup, least=0)
        check_number("keep_results", keep_results, least=0)
        self.max_length = max_length
        self.overflow = overflow
        self.ttl_ms = None if ttl is None else round(ttl * 1000)
        self.dedup_ms = round(dedup * 1000)
        self.max_attempts = max_attempts
        self.keep_ms = round(keep_results * 1000)
        self.groups = None if groups is None else _groups(groups)


def _groups(names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not 0 < len(names) <= MAX_GROUPS:
        raise ConfigError(f"groups={names!r:.80}: give 1 to {MAX_GROUPS} names")
    return tuple(sorted({check_name("group", name) for name in names}))


class JobSpec:
    """One job to be put. ``body`` is packed, and opaque here.

    ``priority``       0 is the most urgent
    ``delay_ms``       it is not handed out before
    ``ttl_ms``         it is of no use after that; None: as the queue has it
    ``key``            jobs of one key are handed out one after the other
    ``id``             its name; None: one is made of its number
    ``unique``         while a job of this name is queued or runs, this is the same job
    ``keep_result_ms`` how long its outcome is kept; None: as the queue has it
    ``headers``        what the worker is told beside the body
    """

    __slots__ = (
        "body",
        "delay_ms",
        "has_extra",
        "headers",
        "id",
        "is_named",
        "is_usual",
        "keep_result_ms",
        "key",
        "priority",
        "ttl_ms",
        "unique",
    )

    def __init__(
        self,
        body: bytes,
        priority: int = DEFAULT_PRIORITY,
        delay_ms: int = 0,
        ttl_ms: int | None = None,
        key: bytes | None = None,
        id: str | None = None,
        unique: str | None = None,
        keep_result_ms: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.body = body
        self.priority = priority
        self.delay_ms = delay_ms
        self.ttl_ms = ttl_ms
        self.key = key
        self.id = id
        self.unique = unique
        self.keep_result_ms = keep_result_ms
        self.headers = headers
        self.is_named = id is not None or unique is not None
        self.has_extra = self.is_named or keep_result_ms is not None or headers is not None
        self.is_usual = (
            priority == DEFAULT_PRIORITY
            and not (delay_ms or self.has_extra)
            and ttl_ms is None
            and key is None
        )


class Alike(Sequence[JobSpec]):
    """Jobs that are the same but for their bodies, as most are that are put together: ``like`` is
    how they are, and no ``JobSpec`` is made of each."""

    __slots__ = ("bodies", "like")

    def __init__(self, bodies: Sequence[bytes], like: JobSpec) -> None:
        self.bodies = bodies
        self.like = like

    def __len__(self) -> int:
        return len(self.bodies)

    @overload
    def __getitem__(self, index: int) -> JobSpec: ...
    @overload
    def __getitem__(self, index: slice) -> list[JobSpec]: ...
    def __getitem__(self, index: int | slice) -> JobSpec | list[JobSpec]:
        if isinstance(index, slice):
            return [self._spec(body) for body in self.bodies[index]]
        return self._spec(self.bodies[index])

    def _spec(self, body: bytes) -> JobSpec:
        like = self.like
        return JobSpec(
            body,
            like.priority,
            like.delay_ms,
            like.ttl_ms,
            like.key,
            like.id,
            like.unique,
            like.keep_result_ms,
            like.headers,
        )


class Put(NamedTuple):
    """What became of one that was put. ``is_new`` is False for one that is the same as another:
    ``number`` and ``id`` are of that."""

    number: int
    id: str
    is_new: bool = True


class NewPuts(Sequence[Put]):
    """What became of jobs that are all new and have no names of their own: their numbers follow
    each other, and no ``Put`` is made until it is asked for."""

    __slots__ = ("numbers", "store_id")

    def __init__(self, store_id: str, numbers: range) -> None:
        self.store_id = store_id
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Put: ...
    @overload
    def __getitem__(self, index: slice) -> list[Put]: ...
    def __getitem__(self, index: int | slice) -> Put | list[Put]:
        if isinstance(index, slice):
            return [self._put(number) for number in self.numbers[index]]
        return self._put(self.numbers[index])

    def __iter__(self) -> Iterator[Put]:
        return map(self._put, self.numbers)

    def _put(self, number: int) -> Put:
        return Put(number, default_id(self.store_id, number))


def default_id(store_id: str, number: int) -> str:
    """The id of a job that was given none."""
    return f"{store_id}-{number}"
