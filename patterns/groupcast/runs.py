"""Runs: plain casts for the member that was chosen for a while.

Choosing a member, numbering a cast and counting its bytes cost more than sending it. So a member
gets what comes in a row, a part of its credit, and all else is done once, when the run ends: with
the turn at the latest, and before anything that must find the casts in their place.
"""

from __future__ import annotations

from patterns.groupcast.accounts import Line
from patterns.groupcast.demand import Demand
from patterns.groupcast.window import MAX_UNACKED
from patterns.port import CastPort

__all__ = ["RUN_ENTRY_BYTES", "Runs"]

RUN_ENTRY_BYTES = 4096
"""An entry above this is a run by itself: the bytes of a run are counted when it ends."""


class Runs:
    """The runs of this turn."""

    def __init__(self, port: CastPort, demand: Demand) -> None:
        self._port = port
        self._demand = demand
        self._lines: dict[Line, None] = {}
        self.is_dirty = False

    def begin(self, line: Line, is_large: bool) -> bool:
        """Choose a member for what comes; False when it must wait."""
        self.end(line)
        window = line.window
        if line.is_waiting or window.room or window.is_full:
            return False
        if not line.begin_run(1 if is_large else MAX_UNACKED - window.count):
            return False
        self._lines[line] = None
        if not self.is_dirty:
            self._port.mark(self)
        # Marked behind this, which will give it the casts: they leave in the same turn.
        self._port.mark_casts(line.current.stream.handle)
        return True

    def end(self, line: Line) -> None:
        """Put what came in flight, if the line has a run."""
        if line not in self._lines:
            return
        del self._lines[line]
        entries = line.end_run()
        account = line.current
        stream = account.stream
        if not stream.in_flight:
            stream.progress_at = self._port.now()
        stream.in_flight.add(self._port.send_casts(stream.handle, entries), entries, account)
        size = sum(map(len, entries))
        stream.bytes += size
        line.window.bytes += size
        # A tick in the midst of the run would have found nothing to look after.
        self._demand.arm()

    def flush(self) -> None:
        """End all."""
        for line in list(self._lines):
            self.end(line)
