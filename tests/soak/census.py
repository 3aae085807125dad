"""What a process holds: memory, descriptors, threads, tasks, timers, and our objects by class.

Objects show a leak long before memory does, and name it. Counted after a full collection, so that
what is counted is held by somebody.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections import Counter

__all__ = ["OURS", "census"]

OURS = ("mesh.", "patterns.", "discovery.", "zeroconf.")
_ALSO = ("Task", "TimerHandle", "Future", "Socket", "Context", "socket", "deque")


def census() -> dict[str, int]:
    """Figures by name; those of objects are "objects: <class>". Called on the event loop."""
    gc.collect()
    objects = gc.get_objects()
    classes = Counter(map(type, objects))
    figures = {
        "resident bytes": _resident(),
        "python blocks": sys.getallocatedblocks(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "system threads": len(os.listdir("/proc/self/task")),
        "tasks": len(asyncio.all_tasks()),
        "objects": len(objects),
    }
    for kind, count in classes.items():
        # A class may have made its module something else than a text.
        module = str(kind.__module__)
        if module.startswith(OURS) or kind.__name__ in _ALSO:
            name = f"objects: {module}.{kind.__qualname__}"
            figures[name] = figures.get(name, 0) + count
    return figures


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
