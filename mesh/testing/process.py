"""A simulated process: what it can suffer, seen from its host's network stack.

* ``end``: it is gone, like after ``kill -9``.
* ``freeze``: all its threads stop (SIGSTOP, a suspended machine). Its kernel still accepts
  connections; nothing answers, heartbeats neither.
* ``block``: only its Python stops. ZeroMQ's own thread goes on: it answers heartbeats, connects
  again by itself, and queues what arrives.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.testing.clock import Callback, ProcessClock, SimClock

__all__ = ["Process"]


class Process:
    """One process on ``host``. ``clock`` is what its Python sees."""

    def __init__(self, clock: SimClock, host: str) -> None:
        self.host = host
        self.clock = ProcessClock(clock)
        self.is_frozen = False
        self.is_blocked = False
        self._held: list[Callback] = []

    @property
    def is_alive(self) -> bool:
        return not self.clock.has_ended

    def in_background(self, action: Callable[[], None]) -> None:
        """Something ZeroMQ's thread does by itself: now, or when the process is thawed."""
        if not self.is_alive:
            return
        if self.is_frozen:
            self._held.append(action)
        else:
            action()

    def freeze(self) -> None:
        self.is_frozen = True
        self.clock.stop()

    def thaw(self) -> None:
        self.is_frozen = False
        held, self._held = self._held, []
        for action in held:
            action()
        if not self.is_blocked:
            self.clock.go_on()

    def block(self) -> None:
        self.is_blocked = True
        self.clock.stop()

    def unblock(self) -> None:
        self.is_blocked = False
        if not self.is_frozen:
            self.clock.go_on()

    def end(self) -> None:
        self._held.clear()
        self.clock.end()
