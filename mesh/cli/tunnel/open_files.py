"""Room for as many connections as there may be: each is an open file of this process."""

from __future__ import annotations

import resource

__all__ = ["SPARE", "make_room"]

SPARE = 1024
"""Open files beside the connections: those of a node in a large mesh."""


def make_room(connections: int) -> None:
    """Raise the limit on open files, as far as the system lets us. Beyond it connections fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
