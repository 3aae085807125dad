"""A work queue is a service: every home of the queue ``emails`` provides ``_queue-emails``.

So workers find homes as callers find providers, and permissions are those of calls: ``put`` and
``work`` of that service are its methods like any others. What begins with ``_`` is shown to nobody
who has not asked for it.
"""

from __future__ import annotations

from patterns.errors import BadName
from patterns.names import MAX_NAME_CHARS, check_name

__all__ = [
    "ANY_HOME",
    "MAX_QUEUE_NAME_CHARS",
    "check_group",
    "check_queue",
    "queue_of_service",
    "service_of",
]

_PREFIX = "_queue-"

ANY_HOME = "*"
"""As ``hosts=``: whoever keeps the queue."""

MAX_QUEUE_NAME_CHARS = MAX_NAME_CHARS - len(_PREFIX)
"""What is left of the name of a service."""


def check_queue(name: object) -> str:
    """A valid name of a queue. Raises BadName."""
    name = check_name("queue", name)
    if len(name) > MAX_QUEUE_NAME_CHARS:
        raise BadName(f"bad queue name {name!r}: more than {MAX_QUEUE_NAME_CHARS} characters")
    return name


def check_group(name: object) -> str:
    """A valid name of a group of workers; empty: the group that has none. Raises BadName."""
    return "" if name == "" else check_name("group", name)


def service_of(queue: str) -> str:
    """The service of a queue's homes. Raises BadName."""
    return _PREFIX + check_queue(queue)


def queue_of_service(service: str) -> str | None:
    """The queue whose homes provide a service; None: it is something else."""
    return service.removeprefix(_PREFIX) if service.startswith(_PREFIX) else None
