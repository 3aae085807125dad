"""The event loop as the engine's clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

__all__ = ["LoopClock"]


class LoopClock:
    """``patterns.port.Clock`` on an event loop: monotonic seconds, callbacks on its thread.

    ``now`` is not ``loop.time``: uvloop's stands still during a turn, and a handler that blocks
    for a second would go unnoticed.
    """

    now: Callable[[], float] = staticmethod(monotonic)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(delay, callback)

    def call_soon(self, callback: Callable[[], None]) -> asyncio.Handle:
        return self._loop.call_soon(callback)
