"""What has passed a node, and passes: ``_mesh.spans``, ``_mesh.traces`` and ``_mesh.tap``.

A span carries names, times and outcomes. A tap shows the same of each call and message, and what
they carry if that is asked for, as text and cut: whoever is let tap sees payloads.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from patterns.errors import BadRequest

if TYPE_CHECKING:
    from mesh.host import Host

__all__ = ["ObservedViews"]

TAP_PERIOD = 0.05
"""Seconds between two looks into the buffer of a tap: nobody reads faster, and so what passes pays
for no wake-up."""

EVENTS_AT_ONCE = 128
"""Of a tap in one item of its stream, so that others have their turn."""

TRACES_AT_ONCE = 100

_TRACE = re.compile(r"[0-9a-f]{1,32}")


class ObservedViews:
    """Of one node."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def spans(self, trace: str) -> dict[str, Any]:
        """The spans kept here of the traces whose id begins like that."""
        if not isinstance(trace, str) or not _TRACE.fullmatch(trace):
            raise BadRequest("trace: give its id, or the first of its 32 hex digits")
        ring = self._host.observing.ring
        return {"spans": ring.of_trace(trace), "recorded": ring.recorded}

    def traces(self, limit: int = TRACES_AT_ONCE) -> dict[str, Any]:
        """The traces that spans are kept of here, the newest first."""
        if type(limit) is not int or limit < 1:
            raise BadRequest("limit: give a number above 0")
        ring = self._host.observing.ring
        return {"traces": ring.traces(limit), "recorded": ring.recorded}

    async def tap(
        self, kinds: list[str] | None = None, match: str | None = None, payload: bool = False
    ) -> AsyncIterator[dict[str, Any]]:
        """What passes from now on: lists of events, and how many were dropped before them."""
        taps = self._host.observing.taps
        tap = taps.open(kinds, match, payload)
        try:
            yield {"events": [], "dropped": 0}  # it is open
            while True:
                events, dropped = tap.take(EVENTS_AT_ONCE)
                if events or dropped:
                    yield {"events": events, "dropped": dropped}
                if len(events) < EVENTS_AT_ONCE:
                    await asyncio.sleep(TAP_PERIOD)
        finally:
            taps.close(tap)
