"""The queues and workers of a node as values that can be packed: the part ``queues`` of its state.

It waits for no disk, and a handler is measured from the first question on; until then it costs
nothing.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from patterns.rpc.measures import Histogram

if TYPE_CHECKING:
    from mesh.queues.keeping import Keeper
    from mesh.queues.registry import Queues

__all__ = ["MAX_TOLD", "queues_state", "timed"]

MAX_TOLD = 1000
"""Queues, groups and workers that are told of: each is some 200 bytes."""

_COUNTERS = ("put", "done", "retried", "dead", "expired", "dropped", "leases_lost")


def queues_state(queues: Queues | None) -> dict[str, list[dict[str, Any]]]:
    """``homes`` are the queues at home here, ``groups`` their groups, ``workers`` what is done."""
    if queues is None:
        return {"homes": [], "groups": [], "workers": []}
    keepers = list(queues.keepers.values())
    return {
        "homes": [_home(keeper) for keeper in keepers[:MAX_TOLD]],
        "groups": list(islice((one for keeper in keepers for one in _groups(keeper)), MAX_TOLD)),
        "workers": list(islice((one for desk in queues.desks for one in desk.told()), MAX_TOLD)),
    }


def _home(keeper: Keeper) -> dict[str, Any]:
    home = keeper.home
    return {
        "queue": keeper.name,
        "store": type(home.store).__name__,
        "is_draining": home.is_draining,
        **{name: getattr(home.counters, name) for name in _COUNTERS},
    }


def _groups(keeper: Keeper) -> Iterator[dict[str, Any]]:
    ages = keeper.ages()
    for name, group in keeper.home.lines.items():
        yield {
            "queue": keeper.name,
            "group": name,
            "ready": group.ready.count,
            "delayed": group.delayed.count,
            "reserved": group.reserved,
            "dead": group.dead,
            "workers": group.workers,
            "is_paused": group.is_paused,
            "oldest": ages.get(name),
        }


def timed(
    function: Callable[[Any], Any],
    now: Callable[[], float],
    durations: dict[str, Histogram],
    is_async: bool,
) -> Callable[[Any], Any]:
    """The handler, and how long it took by the queue of its (first) job."""
    lock = threading.Lock()  # plain handlers are in several threads

    def note(jobs: Any, began: float) -> None:
        queue = (jobs[0] if isinstance(jobs, list) else jobs).queue
        with lock:
            durations.setdefault(queue, Histogram()).add(now() - began)

    @functools.wraps(function)
    def plain(jobs: Any) -> Any:
        began = now()
        try:
            return function(jobs)
        finally:
            note(jobs, began)

    @functools.wraps(function)
    async def coroutine(jobs: Any) -> Any:
        began = now()
        try:
            return await function(jobs)
        finally:
            note(jobs, began)

    return coroutine if is_async else plain
