"""The families of work queues: of those at home at a node, and of its workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

__all__ = ["QUEUE_FAMILIES"]

Kind = Literal["counter", "gauge", "histogram"]
Row = tuple[tuple[str, ...], Any]
Rows = Callable[[Mapping[str, Any]], Iterator[Row]]

MAX_QUEUES = 100
"""Groups of queues, and workers, with series of their own, some ten each; the rest are one."""

OTHER = "other"

_STATES = ("ready", "delayed", "reserved", "dead")
_OUTCOMES = ("done", "retried", "dead", "lost")


def _labelled(state: Mapping[str, Any], part: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for number, one in enumerate(state["queues"][part]):
        is_listed = number < MAX_QUEUES
        yield one["queue"] if is_listed else OTHER, one.get("group", "") if is_listed else "", one


def _jobs(state: Mapping[str, Any]) -> Iterator[Row]:
    for queue, group, one in _labelled(state, "groups"):
        for name in _STATES:
            yield (queue, group, name), one[name]


def _by_group(key: str) -> Rows:
    return lambda state: (
        ((queue, group), int(one[key])) for queue, group, one in _labelled(state, "groups")
    )


def _oldest(state: Mapping[str, Any]) -> Iterator[Row]:
    for queue, group, one in _labelled(state, "groups"):
        if queue != OTHER:  # a sum of ages is none
            yield (queue, group), one["oldest"] or 0.0


def _by_home(key: str) -> Rows:
    return lambda state: (((queue,), one[key]) for queue, _, one in _labelled(state, "homes"))


def _held(state: Mapping[str, Any]) -> Iterator[Row]:
    return (((queue, group), one["held"]) for queue, group, one in _labelled(state, "workers"))


def _handled(state: Mapping[str, Any]) -> Iterator[Row]:
    for queue, group, one in _labelled(state, "workers"):
        for name in _OUTCOMES:
            yield (queue, group, name), one[name]


def _durations(state: Mapping[str, Any]) -> Iterator[Row]:
    for queue, group, one in _labelled(state, "workers"):
        if one["latency"] is not None:
            yield (queue, group), (one["latency"]["counts"], one["latency"]["total"])


QUEUE_FAMILIES: tuple[tuple[Kind, str, str, tuple[str, ...], Rows], ...] = (
    ("gauge", "mesh_queue_jobs", "Jobs of a queue at home here: ready, delayed, reserved, dead.",
     ("queue", "group", "state"), _jobs),
    ("gauge", "mesh_queue_oldest_job_age_seconds",
     "How long the job has waited that was put first; 0 without any.",
     ("queue", "group"), _oldest),
    ("gauge", "mesh_queue_workers", "Workers that draw from a queue at home here.",
     ("queue", "group"), _by_group("workers")),
    ("gauge", "mesh_queue_paused", "1 if a queue at home here hands out no jobs.",
     ("queue", "group"), _by_group("is_paused")),
    ("counter", "mesh_queue_jobs_put_total", "Jobs put into a queue at home here.",
     ("queue",), _by_home("put")),
    ("counter", "mesh_queue_jobs_done_total", "Jobs that are done, in each group.",
     ("queue",), _by_home("done")),
    ("counter", "mesh_queue_jobs_retried_total", "Attempts after which a job is tried again.",
     ("queue",), _by_home("retried")),
    ("counter", "mesh_queue_jobs_died_total", "Jobs that were given up.",
     ("queue",), _by_home("dead")),
    ("counter", "mesh_queue_jobs_expired_total", "Jobs whose time was over before they were done.",
     ("queue",), _by_home("expired")),
    ("counter", "mesh_queue_jobs_dropped_total", "Jobs deleted by people or by a full queue.",
     ("queue",), _by_home("dropped")),
    ("counter", "mesh_queue_leases_lost_total", "Leases that ended before their jobs were done.",
     ("queue",), _by_home("leases_lost")),
    ("gauge", "mesh_worker_jobs_held", "Jobs that this node's workers have.",
     ("queue", "group"), _held),
    ("counter", "mesh_worker_jobs_total", "Jobs of this node's workers: done, retried, dead, lost.",
     ("queue", "group", "outcome"), _handled),
    ("histogram", "mesh_worker_job_duration_seconds",
     "Of calls of this node's job handlers; a batch is one.",
     ("queue", "group"), _durations),
)  # fmt: skip
"""Kind, name, help, labels, and how rows are made of a state."""
