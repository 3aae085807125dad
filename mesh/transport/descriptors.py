"""Looks ahead whether this process has the descriptors for what is to be opened.

libzmq needs that. Without a descriptor it aborts the process where a context starts or a socket
binds, and where it accepts connections it tries again for ever, at full speed. So nodes stop before
the last one: a link is opened, or granted to a peer, only while some are left over (``FOR_LINK``).
Those are for what nobody asks us about: what linked peers open to us, and the program's own files.

The limit is the process's soft one, ``RLIMIT_NOFILE``; the count is of all that is open, whoever
opened it. What libzmq's threads have still to open is not in it yet: the reserve covers that, too.
"""

from __future__ import annotations

import errno
import os
import resource
from dataclasses import dataclass

__all__ = ["FOR_LANE", "FOR_LINK", "FOR_NODE", "FOR_PLAIN", "Need", "check", "shortage"]

_FOLDERS = ("/proc/self/fd", "/dev/fd")
"""Where a process sees its own descriptors: Linux, and macOS and the BSDs."""


@dataclass(frozen=True, slots=True)
class Need:
    """What something takes, and what must be left after it: so much, or that part of the limit if
    the limit is small."""

    what: str
    descriptors: int
    reserve: int = 0
    part: int = 4


FOR_NODE = Need("a node", 24)
"""The loop's end of each socket, the sockets, libzmq's threads, and discovery: 14 to 20."""

FOR_PLAIN = Need("the endpoints of plain clients", 12)

FOR_LINK = Need("one more link", 3, 128)
"""Our connection, its socket, and the peer's connection to us."""

FOR_LANE = Need("one more connection for calls or work", 2, 16)


def shortage(need: Need) -> str | None:
    """Why that should not be opened now, and what to do; None when it can be."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = in_use()
    if limit == resource.RLIM_INFINITY or used is None:
        return None
    reserve = min(need.reserve, limit // need.part)
    if used + need.descriptors + reserve <= limit:
        return None
    return (
        f"too few descriptors for {need.what}: {used} of {limit} (RLIMIT_NOFILE) are open and "
        f"{need.descriptors + reserve} must be free; raise the limit (ulimit -n, LimitNOFILE=)"
    )


def check(need: Need) -> None:
    """Raises OSError (EMFILE) with the text of ``shortage``."""
    why = shortage(need)
    if why is not None:
        raise OSError(errno.EMFILE, why)


def in_use() -> int | None:
    """How many descriptors are open; None where that cannot be known."""
    for folder in _FOLDERS:
        try:
            return _entries(folder)
        except FileNotFoundError:
            continue
        except OSError:
            # To list them takes one, too, and there is none left.
            return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None


def _entries(folder: str) -> int:
    # From Linux 6.2 on their number is the size of the folder, without the cost of listing it: some
    # milliseconds for thousands. Older ones and others say 0, or something else.
    if folder == _FOLDERS[0] and (size := os.stat(folder).st_size):
        return size
    return len(os.listdir(folder)) - 1
