"""Waits for a condition on the node's state, each with a deadline.

A wait is a check that is asked again after every change that could matter (``poke``): a handful
of waits and short checks, so no wait needs to know which change it waits for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mesh.engine.ports import Clock
from patterns.errors import ConfigError
from patterns.port import Timer, Waiter

__all__ = ["NOT_YET", "Waits", "check_seconds"]

NOT_YET: Any = object()
"""What a check returns while its condition does not hold."""


MAX_SECONDS = 365 * 86_400.0
"""The longest wait; event loops refuse infinity."""


def check_seconds(name: str, value: object) -> float:
    """A time to wait, bounded; below 0 is 0. Raises ConfigError for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ConfigError(f"{name}={value!r}: give seconds")
    return max(0.0, min(float(value), MAX_SECONDS))


class _Wait:
    __slots__ = ("check", "on_timeout", "timer", "waiter")

    def __init__(
        self, check: Callable[[], Any], waiter: Waiter, on_timeout: Callable[[], Any]
    ) -> None:
        self.check = check
        self.waiter = waiter
        self.on_timeout = on_timeout
        self.timer: Timer | None = None


class Waits:
    """The waits of one node."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waits: dict[_Wait, None] = {}
        self._is_poke_due = False
        self._closed_by: BaseException | None = None

    def add(
        self,
        check: Callable[[], Any],
        waiter: Waiter,
        timeout: float,
        on_timeout: Callable[[], Any],
    ) -> None:
        """Complete ``waiter`` with what ``check`` returns once that is not ``NOT_YET``.

        After ``timeout`` seconds ``on_timeout()`` gives the result, or the exception, instead.
        """
        if self._closed_by is not None:
            waiter.set_exception(self._closed_by)
            return
        seconds = check_seconds("timeout", timeout)
        wait = _Wait(check, waiter, on_timeout)
        if self._try(wait):
            return
        self._waits[wait] = None
        wait.timer = self._clock.call_later(seconds, lambda: self._expire(wait))

    def poke(self) -> None:
        """Something changed: ask the checks, once, at the end of the turn."""
        if self._waits and not self._is_poke_due:
            self._is_poke_due = True
            self._clock.call_soon(self._ask_all)

    def close(self, error: BaseException) -> None:
        """Fail what is left, and what is added from now on."""
        self._closed_by = error
        for wait in list(self._waits):
            self._finish(wait, error)

    def _ask_all(self) -> None:
        self._is_poke_due = False
        for wait in list(self._waits):
            if wait in self._waits and self._try(wait):
                self._remove(wait)

    def _try(self, wait: _Wait) -> bool:
        if wait.waiter.done():
            return True
        result = wait.check()
        if result is NOT_YET:
            return False
        wait.waiter.set_result(result)
        return True

    def _expire(self, wait: _Wait) -> None:
        if wait in self._waits:
            if self._try(wait):
                self._remove(wait)
            else:
                self._finish(wait, wait.on_timeout())

    def _finish(self, wait: _Wait, outcome: Any) -> None:
        self._remove(wait)
        if wait.waiter.done():
            return
        if isinstance(outcome, BaseException):
            wait.waiter.set_exception(outcome)
        else:
            wait.waiter.set_result(outcome)

    def _remove(self, wait: _Wait) -> None:
        self._waits.pop(wait, None)
        if wait.timer is not None:
            wait.timer.cancel()
