"""What others can have a node do: drain, and end afterwards as after SIGTERM.

The drain is begun and goes on by itself: whoever asked may go away, and asking again does not begin
it anew but tells how far it is. It waits neither for the question itself nor for those who look
(``_mesh.*`` streams); they are no work of the mesh.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mesh.logs import get_logger
from patterns.errors import BadRequest, NodeClosed, Timeout
from patterns.rpc.method import Request

if TYPE_CHECKING:
    from mesh.host import Host

__all__ = ["MAX_DRAIN_SECONDS", "Operating"]

logger = get_logger("mesh.node")

MAX_DRAIN_SECONDS = 3600.0
"""Longer than supervisors wait; after it the node takes no work either, but nobody looks."""


class Operating:
    """The drains of one node that others asked for; at most one is waited for at a time."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._waiting: asyncio.Future[None] | None = None
        self._ends = False
        self._deadline = 0.0
        """On the loop's clock, when the last one who asked for the end has waited long enough."""
        self._timer: asyncio.TimerHandle | None = None

    def drain(self, request: Request, timeout: float = 30.0, stop: bool = False) -> dict[str, Any]:
        """Begin to drain, or go on; tells ``is_over``, what is ``left``, and whether it ``ends``.

        With ``stop`` the node's ``run()`` ends when the drain does, at the latest after
        ``timeout`` seconds of the last one who asked for that. Raises BadRequest for a node that
        is not in ``run()``.
        """
        host = self._host
        is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
        if not is_number or not 0 <= timeout <= MAX_DRAIN_SECONDS:
            raise BadRequest(f"timeout={timeout!r}: give seconds from 0 to {MAX_DRAIN_SECONDS:g}")
        if not isinstance(stop, bool):
            raise BadRequest(f"stop={stop!r:.80}: give True or False")
        if stop and host.end_run is None:
            raise BadRequest(
                "this node is not in run(), so its program has to end it: drain it without stop"
            )
        if stop:
            self._ends = True
            self._deadline = host.loop.time() + timeout
            self._stop_timer()
            self._timer = host.loop.call_later(timeout, self._end)
        if self._waiting is None:
            logger.warning(
                "%s: %s asked it to drain%s", host.title, request.caller, " and end" * stop
            )
            self._wait(float(timeout))
        return {**host.engine.inspection.drain(), "ends": self._ends}

    def _wait(self, seconds: float) -> None:
        self._waiting = self._host.drain(seconds)
        self._waiting.add_done_callback(self._on_end)

    def _on_end(self, waiting: asyncio.Future[None]) -> None:
        self._waiting = None
        error = None if waiting.cancelled() else waiting.exception()
        if isinstance(error, NodeClosed):
            self._stop_timer()
            return
        if isinstance(error, Timeout):
            left = self._deadline - self._host.loop.time()
            if left > 0:  # somebody who came later has more patience
                self._wait(left)
                return
            logger.warning("%s is %s", self._host.title, error)
        elif error is not None:
            logger.error("%s: the drain went wrong", self._host.title, exc_info=error)
        if self._ends:
            self._end()

    def _end(self) -> None:
        self._stop_timer()
        if self._host.end_run is not None:
            self._host.end_run()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
