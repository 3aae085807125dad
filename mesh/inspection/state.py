"""The parts of a node's state, as values that can be packed: what ``_mesh.state`` gives.

``node``           who it is, where, since when, and how it was made
``process``        what its process takes
``totals``         calls, messages and what waits, in sums, and how far a drain is
``counters``       ``node.counters()``
``methods``        what it serves: running, waiting, and measured from the first question on
``calls``          what it called, likewise
``subscriptions``  what it listens to
``groups``         what it sent to one of many, and is not acknowledged
``peers``          whom it knows, and both directions of each link
``discovery``      its sources and what they found
``health``         the verdict, with reasons
``queues``         the work queues at home here, their groups, and the workers

A reader must do without a part or a field that it does not find: nodes of other versions have
fewer, or more. Times are seconds, sizes bytes, moments aware datetimes.
"""

from __future__ import annotations

import functools
import os
import platform
import resource
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mesh.queues.observing import queues_state
from mesh.settings import Settings
from mesh.transport import descriptors
from mesh.wire import frames

if TYPE_CHECKING:
    from mesh.host import Host

__all__ = ["PARTS", "state_of", "version"]


def _node(host: Host, settings: Settings) -> dict[str, Any]:
    engine, me = host.engine, host.engine.me
    credentials = host.credentials
    return {
        "id": me.id,
        "name": me.name,
        "mesh": settings.mesh,
        "instance": me.instance,
        "version": version(),
        "protocol": frames.PROTOCOL_VERSION,
        "python": platform.python_version(),
        "platform": sys.platform,
        "pid": os.getpid(),
        "host": platform.node(),
        "since": me.since,
        "now": host.wall_clock(),
        "is_observer": me.is_observer,
        "is_draining": engine.inspection.is_draining,
        "tags": dict(me.tags),
        "addresses": [me.address] if me.address else [],
        "services": {name: list(methods) for name, methods in me.services.items()},
        "groups_joined": sorted(me.groups),
        "allow": sorted(settings.allow),
        "fingerprint": credentials.key.fingerprint if credentials is not None else None,
        "certificate_ends": _certificate_ends(host),
        "has_policy": settings.policy is not None,
        "traffic": engine.inspection.own(),
        "link_totals": engine.inspection.link_totals(),
    }


def _certificate_ends(host: Host) -> datetime | None:
    certificate = host.credentials.certificate if host.credentials is not None else None
    return datetime.fromtimestamp(certificate.not_after, UTC) if certificate is not None else None


def _process(host: Host, settings: Settings) -> dict[str, Any]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "memory_bytes": _memory_bytes(),
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "descriptors": descriptors.in_use(),
        "descriptor_limit": None if limit == resource.RLIM_INFINITY else limit,
        "threads": threading.active_count(),
        "lag": host.engine.inspection.lag(),
    }


def _discovery(host: Host, settings: Settings) -> dict[str, Any]:
    return {
        name: {
            "status": report.status,
            "reason": report.reason,
            "found": [
                {
                    "addresses": list(found.addresses),
                    "outcome": found.outcome,
                    "cause": found.cause,
                    "id": found.id,
                    "mesh": found.mesh,
                }
                for found in report.found
            ],
        }
        for name, report in host.finding.reports().items()
    }


def _health(host: Host, settings: Settings) -> dict[str, Any]:
    health = host.vitals.health()
    return {
        "status": health.status,
        "reasons": list(health.reasons),
        "problems": list(health.problems),
    }


_MAKERS: dict[str, Callable[[Host, Settings], Any]] = {
    "node": _node,
    "process": _process,
    "totals": lambda host, _: host.engine.inspection.totals(),
    "counters": lambda host, _: host.counters,
    "methods": lambda host, _: host.engine.inspection.methods(),
    "calls": lambda host, _: host.engine.inspection.calls(),
    "subscriptions": lambda host, _: host.engine.inspection.subscriptions(),
    "groups": lambda host, _: host.engine.inspection.groups(),
    "peers": lambda host, _: host.engine.inspection.peers(),
    "discovery": _discovery,
    "health": _health,
    "queues": lambda host, _: queues_state(host.queues),
}

PARTS = tuple(_MAKERS)


def state_of(part: str, host: Host, settings: Settings) -> Any:
    """One of ``PARTS``, as it is now."""
    return _MAKERS[part](host, settings)


@functools.cache
def version() -> str:
    """Of the mesh that is installed; "unknown" where it is not."""
    # It takes long to import, and most nodes are never asked.
    from importlib import metadata

    try:
        return metadata.version("mesh-p2p")
    except metadata.PackageNotFoundError:
        return "unknown"


def _memory_bytes() -> int | None:
    """What is resident; None where that is not told."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * resource.getpagesize()
