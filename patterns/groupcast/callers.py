"""Groupcasts that no member has yet: their callers wait, each until its deadline."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import cast as typed

from patterns.deadlines import Deadlines
from patterns.errors import MeshError, Overloaded
from patterns.groupcast.accounts import Cast
from patterns.port import CastPort, Handle, Waiter

__all__ = ["MAX_WAITING", "MAX_WAITING_BYTES", "Callers"]

MAX_WAITING = 65_536
"""Callers at once: past this they are far behind their own demand."""


MAX_WAITING_BYTES = 256 * 1024 * 1024
"""Of what they would send; as much as calls in flight may take."""


class Callers:
    """Who waits, by the order number of the cast.

    ``give_up(cast)`` takes it out of where it waits; ``error_of(cast)`` says why it was in vain.
    """

    def __init__(
        self,
        port: CastPort,
        give_up: Callable[[Cast], None],
        error_of: Callable[[Cast], MeshError],
    ) -> None:
        self._now = port.now
        self._give_up = give_up
        self._error_of = error_of
        self._waiting: dict[int, Cast] = {}
        self._by_waiter: dict[Waiter, Cast] = {}
        self.bytes = 0
        self._deadlines = Deadlines(port.now, port.call_later, self._on_deadline)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, cast: Cast, waiter: Waiter, timeout: float, first: float) -> None:
        """``timeout`` seconds for ``cast``, of which ``first`` for a member to appear at all."""
        if len(self._waiting) >= MAX_WAITING or self.bytes >= MAX_WAITING_BYTES:
            raise Overloaded(
                f"{len(self._waiting)} groupcasts of {self.bytes} bytes wait for a member already"
            )
        now = self._now()
        cast.waiter = waiter
        if first < timeout:
            cast.deadline = now + timeout
        self._waiting[cast.seq] = cast
        self._by_waiter[waiter] = cast
        self.bytes += len(cast.entry)
        cast.tick = self._deadlines.add(cast.seq, now + min(first, timeout))

    def accepted(self, cast: Cast, handle: Handle) -> None:
        """A member has it."""
        waiter = self._forget(cast)
        if waiter is not None and not waiter.done():
            waiter.set_result(handle.peer)

    def members_came(self, is_served: Callable[[str], bool]) -> None:
        """Who waited for a first member of its pool waits for credit now."""
        for cast in self._waiting.values():
            if cast.deadline is not None and is_served(cast.pool):
                self._deadlines.discard(cast.seq, cast.tick)
                cast.tick = self._deadlines.add(cast.seq, cast.deadline)
                cast.deadline = None

    def abandon(self, waiter: Waiter) -> None:
        """The caller of that one went away: it must not be sent any more."""
        cast = self._by_waiter.get(waiter)
        if cast is not None:
            cast.is_over = True
            self._forget(cast)
            self._give_up(cast)

    def expire(self, cast: Cast) -> None:
        """Its time is over, if it still waits."""
        if cast.seq in self._waiting:
            self.fail(cast, self._error_of(cast))

    def fail(self, cast: Cast, error: MeshError) -> None:
        """End its wait with ``error``."""
        cast.is_over = True
        waiter = self._forget(cast)
        self._give_up(cast)
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    def fail_all(self, pool: str, why: Callable[[str], MeshError]) -> None:
        """End the wait of all who have something for that pool."""
        for cast in [cast for cast in self._waiting.values() if cast.pool == pool]:
            self.fail(cast, why(pool))

    def close(self, error: MeshError) -> None:
        """Fail all."""
        for cast in list(self._waiting.values()):
            self.fail(cast, error)
        self._deadlines.close()

    def _forget(self, cast: Cast) -> Waiter | None:
        if self._waiting.pop(cast.seq, None) is not None:
            self._deadlines.discard(cast.seq, cast.tick)
            self.bytes -= len(cast.entry)
        waiter, cast.waiter = cast.waiter, None
        if waiter is not None:
            self._by_waiter.pop(waiter, None)
        return waiter

    def _on_deadline(self, key: Hashable) -> None:
        cast = self._waiting.get(typed(int, key))
        if cast is not None:
            self.expire(cast)
