"""What a process uses, as Linux tells it in /proc; the workers report it of themselves."""

from __future__ import annotations

import os
import time
from pathlib import Path

KIB = 1024


def resident_bytes() -> int:
    """Resident memory of this process, pages it shares with others included."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def proportional_bytes() -> int:
    """The same, but a page that n processes share counts as 1/n here (PSS): these can be added."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * KIB
    raise OSError("/proc/self/smaps_rollup has no line 'Pss:'")


def descriptors() -> int:
    """Open descriptors of this process; the one that this look needs is not counted."""
    return len(os.listdir("/proc/self/fd")) - 1


def threads() -> int:
    """Threads of this process, those of C libraries included."""
    return len(os.listdir("/proc/self/task"))


def usage() -> dict[str, float]:
    """All of it, and the CPU time so far: the fields of a report."""
    return {
        "at_ns": time.monotonic_ns(),
        "cpu_s": time.process_time(),
        "rss_bytes": resident_bytes(),
        "pss_bytes": proportional_bytes(),
        "descriptors": descriptors(),
        "threads": threads(),
    }
