"""Queues and jobs as rows of tables and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from mesh.cli.text import relative
from mesh.cli.values import to_json

if TYPE_CHECKING:
    from mesh.queues.jobs import JobStatus
    from mesh.queues.views import GroupStats, JobView, QueueStats

__all__ = [
    "GROUP_COLUMNS",
    "HOME_COLUMNS",
    "JOB_COLUMNS",
    "JOB_DETAILS",
    "STATUS_COLUMNS",
    "counters",
    "group_rows",
    "home_rows",
    "job_document",
    "job_row",
    "job_text",
    "stats_document",
    "status_row",
]

COUNTERS = ("put", "done", "retried", "buried", "expired", "dropped", "leases_lost")

GROUP_COLUMNS = ("queue", "group", "ready", "delayed", "reserved", "dead", "workers", "oldest",
                 "put/s", "done/s", "homes", "note")  # fmt: skip
HOME_COLUMNS = ("home", "store", "put/s", "done/s", "note")
JOB_COLUMNS = ("id", "group", "state", "attempts", "put", "due", "priority", "home", "reason",
               "data")  # fmt: skip
JOB_DETAILS = ("reason", "data")
STATUS_COLUMNS = ("group", "state", "attempts", "put", "reason")

MAX_CELL = 60
"""Characters of a reason, or of data, in a row."""


def seconds(age: float | None) -> str:
    """ "3 s", "5 min": in the largest unit that fits."""
    if age is None:
        return ""
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if age < limit:
            return f"{int(age / size)} {unit}"
    return f"{int(age / 86400)} d"


def group_rows(stats: QueueStats) -> list[Sequence[str]]:
    """One for each group; the rates and homes are of the whole queue, in its first row."""
    whole = (f"{stats.put_rate:.1f}", f"{stats.done_rate:.1f}", str(len(stats.homes)))
    rows: list[Sequence[str]] = []
    for number, (name, group) in enumerate(sorted(stats.groups.items())):
        counts = (group.ready, group.delayed, group.reserved, group.dead, group.workers)
        rows.append(
            (
                stats.name,
                name,
                *map(str, counts),
                seconds(group.age_of_oldest),
                *(("", "", "") if number else whole),
                _note(stats, group),
            )
        )
    return rows


def _note(stats: QueueStats, group: GroupStats) -> str:
    words = []
    if group.paused:
        words.append(_at("paused", group.paused, stats))
    if stats.draining:
        words.append(_at("takes no jobs", stats.draining, stats))
    if not group.workers and group.ready:
        words.append("no workers")
    return ", ".join(words)


def _at(what: str, homes: int, stats: QueueStats) -> str:
    return what if homes == len(stats.homes) else f"{what} at {homes} of {len(stats.homes)} homes"


def home_rows(stats: QueueStats) -> list[Sequence[str]]:
    """One for each home."""
    return [
        (
            str(peer),
            str(home["store"]),
            f"{home['put_rate']:.1f}",
            f"{home['done_rate']:.1f}",
            "takes no jobs" if home["is_draining"] else "",
        )
        for peer, home in sorted(stats.homes.items(), key=lambda one: str(one[0]))
    ]


def counters(stats: QueueStats) -> str:
    """ "put 12, done 7, ..."."""
    told = (f"{name.replace('_', ' ')} {getattr(stats, name)}" for name in COUNTERS)
    return f"since their homes began: {', '.join(told)}"


def stats_document(stats: QueueStats) -> dict[str, Any]:
    """All there is to know of a queue."""
    return {
        "queue": stats.name,
        **{name: getattr(stats, name) for name in COUNTERS},
        "put_rate": stats.put_rate,
        "done_rate": stats.done_rate,
        "draining": stats.draining,
        "groups": [
            {"group": name, **{field.name: getattr(group, field.name) for field in fields(group)}}
            for name, group in sorted(stats.groups.items())
        ],
        "homes": [{"id": peer.id, "name": peer.name, **home} for peer, home in stats.homes.items()],
    }


def job_row(job: JobView) -> Sequence[str]:
    """The cells of ``JOB_COLUMNS``."""
    return (
        job.id,
        job.group,
        job.state,
        str(job.attempts),
        f"{relative(job.put_at)} ago",
        f"{job.due_at.astimezone():%Y-%m-%d %H:%M:%S}" if job.due_at is not None else "",
        str(job.priority),
        str(job.home),
        _cell(_last_line(job.reason)),
        _cell(to_json(job.data)) if job.is_readable else "(cannot be decoded here)",
    )


def _last_line(text: str) -> str:
    """Of a traceback that is what was raised."""
    return text.rstrip().rpartition("\n")[2]


def _cell(text: str) -> str:
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 3]}..."


def job_document(job: JobView) -> dict[str, Any]:
    """All there is to know of a job."""
    return {
        "id": job.id,
        "queue": job.queue,
        "group": job.group,
        "state": job.state,
        "attempts": job.attempts,
        "priority": job.priority,
        "reason": job.reason,
        "put_at": job.put_at,
        "due_at": job.due_at,
        "expires_at": job.expires_at,
        "key": None if job.key is None else job.key.decode(errors="replace"),
        "headers": job.headers,
        "data": job.data,
        "readable": job.is_readable,
        "home": {"id": job.home.id, "name": job.home.name},
    }


def job_text(job: JobView) -> str:
    """For people who look at one: the whole reason, with its traceback."""
    return "\n".join(_lines(job_document(job)))


def _lines(document: dict[str, Any]) -> Iterator[str]:
    long = ("reason", "data")
    for name, value in document.items():
        if value not in (None, "", {}) and name not in (*long, "readable", "home"):
            yield f"{name:10}  {value if isinstance(value, str) else to_json(value).strip(chr(34))}"
    yield f"home        {document['home']['name']}/{document['home']['id'][:8]}"
    if document["reason"]:
        yield "reason"
        yield from (f"    {line}" for line in document["reason"].splitlines())
    yield "data"
    data = to_json(document["data"], indent=2) if document["readable"] else "(cannot be decoded)"
    yield from (f"    {line}" for line in data.splitlines())


def status_row(status: JobStatus) -> Sequence[str]:
    """The cells of ``STATUS_COLUMNS``."""
    return (
        status.group,
        status.state,
        str(status.attempts),
        f"{relative(status.put_at)} ago" if status.put_at is not None else "",
        _cell(_last_line(status.reason)),
    )
