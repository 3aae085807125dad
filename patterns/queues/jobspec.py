"""What is put into a queue, how the queue is kept, and what is answered to who puts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

from patterns.errors import ConfigError
from patterns.queues.ticket import DEFAULT_PRIORITY, Extra

__all__ = ["MAX_ATTEMPTS", "HomeOptions", "JobSpec", "NewPuts", "Put", "default_id"]

MAX_ATTEMPTS = 16
"""How often a job is handed out whose workers never say what has become of it."""


class HomeOptions:
    """How a queue is kept at one home. Seconds, except where it says ms.

    ``max_length``   jobs that wait or are worked on, in the longest group; None: what there is
                     memory or disk for. Dead ones do not count: they would close the queue
    ``overflow``     what gives when it is reached: ``reject`` (QueueFull, nothing is put) or
                     ``drop_oldest`` (of those that wait)
    ``ttl``          after so long a job is of no use any more, unless it says otherwise; None: never
    ``dedup``        for so long after its end another job of its id is the same job
    ``max_attempts`` a job that was handed out so often and never ended is buried; None: never
    ``keep_results`` for so long the outcome of a job is kept, unless the job says otherwise

    Raises ConfigError.
    """

    __slots__ = ("dedup_ms", "keep_ms", "max_attempts", "max_length", "overflow", "ttl_ms")

    def __init__(
        self,
        *,
        max_length: int | None = None,
        overflow: str = "reject",
        ttl: float | None = None,
        dedup: float = 0.0,
        max_attempts: int | None = MAX_ATTEMPTS,
        keep_results: float = 0.0,
    ) -> None:
        if overflow not in ("reject", "drop_oldest"):
            raise ConfigError(f"overflow={overflow!r}: it is 'reject' or 'drop_oldest'")
        for name, value in (("max_length", max_length), ("max_attempts", max_attempts)):
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value}: at least 1, or None for no limit")
        if ttl is not None and ttl <= 0:
            raise ConfigError(f"ttl={ttl}: it is more than 0 s, or None")
        for name, seconds in (("dedup", dedup), ("keep_results", keep_results)):
            if seconds < 0:
                raise ConfigError(f"{name}={seconds}: at least 0 s")
        self.max_length = max_length
        self.overflow = overflow
        self.ttl_ms = None if ttl is None else round(ttl * 1000)
        self.dedup_ms = round(dedup * 1000)
        self.max_attempts = max_attempts
        self.keep_ms = round(keep_results * 1000)


class JobSpec:
    """One job to be put. ``body`` is packed, and opaque here.

    ``priority``       0 is the most urgent
    ``delay_ms``       not handed out before
    ``ttl_ms``         of no use after that; None: as the queue has it
    ``key``            jobs of one key are handed out one after the other
    ``id``             its name; None: one is made of the store's and its number
    ``unique``         while a job of this name is queued or runs, this is the same job
    ``keep_result_ms`` how long its outcome is kept; None: as the queue has it
    ``headers``        what the worker is told beside the body
    """

    __slots__ = ("body", "delay_ms", "extra", "is_named", "keep_result_ms", "key", "priority", "ttl_ms")

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
        self.keep_result_ms = keep_result_ms
        self.is_named = id is not None or unique is not None
        self.extra: Extra | None = None
        if self.is_named or headers is not None or keep_result_ms is not None:
            self.extra = Extra(id, unique, keep_result_ms or 0, headers)


class Put(NamedTuple):
    """What became of one that was put. ``is_new`` is False for one that is the same as another,
    which ``number`` and ``id`` are of."""

    number: int
    id: str
    is_new: bool = True


class NewPuts(Sequence[Put]):
    """What became of jobs that are all new and have no names: no ``Put`` is made until asked for.

    Their numbers are ``first`` and what follows.
    """

    __slots__ = ("_store_id", "first", "_count")

    def __init__(self, store_id: str, first: int, count: int) -> None:
        self._store_id = store_id
        self.first = first
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Put: ...
    @overload
    def __getitem__(self, index: slice) -> list[Put]: ...
    def __getitem__(self, index: int | slice) -> Put | list[Put]:
        numbers = range(self.first, self.first + self._count)[index]
        if isinstance(numbers, int):
            return Put(numbers, default_id(self._store_id, numbers))
        return [Put(number, default_id(self._store_id, number)) for number in numbers]

    def __iter__(self) -> Iterator[Put]:
        for number in range(self.first, self.first + self._count):
            yield Put(number, default_id(self._store_id, number))


def default_id(store_id: str, number: int) -> str:
    """The id of a job that was given none."""
    return f"{store_id}-{number}"
