"""Between the queues of one worker: which gets the next credit, when several have jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from patterns.errors import ConfigError

__all__ = ["GUARD", "Order", "Strict", "Weights", "order_of"]

GUARD = 16
"""One of so many goes to the queues behind the first that has jobs: a strict order must not starve
them for as long as that has some, which may be for ever."""


class Order(Protocol):
    """``queues`` are those that it knows."""

    queues: tuple[str, ...]

    def pick(self, among: Sequence[str], count: int) -> str:
        """Which of these gets the next ``count`` jobs."""


class Strict:
    """The first that has jobs comes first, but for the guard: the others share that in turn."""

    def __init__(self, queues: Sequence[str]) -> None:
        self.queues = tuple(queues)
        self._rank = {queue: rank for rank, queue in enumerate(self.queues)}
        self._owed = 0
        self._turns = dict.fromkeys(self.queues, 0)
        """When each was last served behind another."""
        self._turn = 0

    def pick(self, among: Sequence[str], count: int) -> str:
        """See ``Order``."""
        first = min(among, key=self._rank.__getitem__)
        if len(among) == 1:
            return first
        if self._owed < (GUARD - 1) * count:
            self._owed += count
            return first
        self._owed -= (GUARD - 1) * count
        behind = (queue for queue in self.queues if queue in among and queue != first)
        queue = min(behind, key=self._turns.__getitem__)
        self._turn += 1
        self._turns[queue] = self._turn
        return queue


class Weights:
    """Shares as the weights are, of those that have jobs: start-time fair queueing (Goyal, Vin and
    Cheng, SIGCOMM 1996). One that had none for a while does not make up for it."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        for queue, weight in weights.items():
            if not isinstance(weight, int | float) or not 0 < weight < float("inf"):
                raise ConfigError(f"the weight of queue {queue!r} is {weight!r}: it must be > 0")
        self.queues = tuple(weights)
        self._weights = dict(weights)
        self._ends = dict.fromkeys(weights, 0.0)
        self._time = 0.0

    def pick(self, among: Sequence[str], count: int) -> str:
        """See ``Order``."""
        if len(among) == 1:
            return among[0]
        queue = min(among, key=self._start)
        self._time = self._start(queue)
        self._ends[queue] = self._time + count / self._weights[queue]
        return queue

    def _start(self, queue: str) -> float:
        return max(self._ends[queue], self._time)


def order_of(queues: str | Sequence[str] | Mapping[str, float]) -> Order:
    """As a user writes it: one name, a list (the first comes first) or a map of weights."""
    if isinstance(queues, str):
        return Strict((queues,))
    if not queues and isinstance(queues, Sequence | Mapping):
        raise ConfigError("a worker needs at least one queue")
    if isinstance(queues, Mapping):
        return Weights(queues)
    if not isinstance(queues, Sequence):
        raise ConfigError(f"{queues!r:.80}: give the name of a queue, a list, or a map of weights")
    if len(set(queues)) < len(queues):
        raise ConfigError(f"a queue is named twice: {list(queues)}")
    return Strict(queues)
