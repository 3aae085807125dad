"""One function that runs at one member of those that offer it.

Those that offer it are a service of its own, and its name is the key: so the owner runs it, and
the rules of a handover (``patterns.ownership.tenure``) are those of a call. What is added here is
when to stop (ownership moves, the node leaves, or it sees less than half of the others) and when to
begin again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from patterns.logs import get_logger
from patterns.ownership.tenure import OwnershipPort, Tenure
from patterns.port import Runner, Running, Timer

__all__ = ["FIRST_PAUSE", "LONGEST_PAUSE", "Sight", "Singleton"]

logger = get_logger("mesh.ownership")

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds before a function that raised is begun again: doubled each time, up to this. One that
has run for longer than this begins with the first."""


class Sight(NamedTuple):
    """How many of those that offer it answer now, this node included, of how many."""

    seen: int
    known: int

    @property
    def is_minority(self) -> bool:
        return self.seen * 2 < self.known


class Run(Protocol):
    """What the function is given. ``mesh.Active`` is one."""

    def stop(self) -> None:
        """Ask it to end."""


class Singleton:
    """The function at this node. ``make(fence)`` makes its argument; ``sight()`` looks round."""

    def __init__(
        self,
        port: OwnershipPort,
        tenure: Tenure,
        slot: int,
        name: str,
        runner: Runner,
        function: Callable[..., Any],
        is_async: bool,
        make: Callable[[int], Run],
        sight: Callable[[], Sight] | None,
    ) -> None:
        self._port = port
        self._tenure = tenure
        self._slot = slot
        self.name = name
        self._runner = runner
        self._function = function
        self._is_async = is_async
        self._make = make
        self._sight = sight
        self._run: Run | None = None
        self._running: Running | None = None
        self._began_at = 0.0
        self._pause = FIRST_PAUSE
        self._timer: Timer | None = None
        self._is_done = False
        """Whether it has returned: it is not begun again before the ownership has moved."""
        self._is_stopping = False
        self._is_isolated = False
        self._closed = False
        tenure.changed.append(self.poke)

    @property
    def is_running(self) -> bool:
        return self._run is not None

    def poke(self) -> None:
        """Begin or stop, as things are now."""
        if self._closed:
            return
        is_minority = self._sight is not None and self._sight().is_minority
        if is_minority is not self._is_isolated:
            self._is_isolated = is_minority
            if self._sight is not None:
                logger.warning("singleton %s: %s", self.name, _told(is_minority, self._sight()))
        is_ours = self._tenure.may_start(self._slot)
        if not is_ours:
            self._is_done = False
        if is_ours and not is_minority:
            if self._run is None and self._timer is None and not self._is_done:
                self._begin()
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._run is not None and not self._is_stopping:
            self._stop()

    def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._run is not None:
            self._stop()

    def _begin(self) -> None:
        fence = self._tenure.fence(self._slot)
        self._tenure.began(self._slot)
        logger.info("singleton %s runs here, with the fence %d", self.name, fence)
        self._began_at = self._port.now()
        self._is_stopping = False
        run = self._run = self._make(fence)
        running = self._runner.start(self._function, (run,), {}, self._is_async, self._ended)
        # It may have ended within ``start``.
        self._running = running if self._run is run else None

    def _stop(self) -> None:
        self._is_stopping = True
        if self._run is not None:
            self._run.stop()
        if self._running is not None:
            self._running.cancel()

    def _ended(self, value: Any, error: BaseException | None) -> None:
        self._run = self._running = None
        if self._closed:
            return
        self._tenure.ended(self._slot)
        if self._is_stopping:
            is_fault = isinstance(error, Exception)
            logger.log(
                logging.ERROR if is_fault else logging.INFO,
                "singleton %s has stopped here", self.name, exc_info=error if is_fault else None,
            )  # fmt: skip
        elif error is None:
            self._is_done = True
            logger.info("singleton %s has returned; it is done here", self.name)
        else:
            self._fail(error)
        self._is_stopping = False
        self._port.poke()

    def _fail(self, error: BaseException) -> None:
        if self._port.now() - self._began_at > LONGEST_PAUSE:
            self._pause = FIRST_PAUSE
        logger.error(
            "singleton %s raised %s; it begins again in %g s",
            self.name, type(error).__name__, self._pause, exc_info=error,
        )  # fmt: skip
        self._timer = self._port.call_later(self._pause, self._on_pause_over)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _on_pause_over(self) -> None:
        self._timer = None
        self.poke()


def _told(is_minority: bool, sight: Sight) -> str:
    seen = f"{sight.seen} of {sight.known} that offer it answer"
    return f"{seen}; it does not run here" if is_minority else f"{seen} again"
