"""How much of one pool's casts is kept here: accepted, and not acknowledged.

A window for each pool, so that one group that does not work any more is no hindrance to others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patterns.groupcast.accounts import Cast

__all__ = ["MAX_UNACKED", "MAX_UNACKED_BYTES", "Window"]

MAX_UNACKED = 65_536
"""Casts of one pool that are accepted and not acknowledged: a second's work of a fast group."""

MAX_UNACKED_BYTES = 64 * 1024 * 1024


class Window:
    """One pool's. ``room`` are casts that wait for room in it, with their keys, in order."""

    __slots__ = ("bytes", "count", "is_dropping", "room")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self.room: dict[Cast, bytes | None] = {}
        self.is_dropping = False
        """Whether the copies that do not fit have been logged since one did."""

    @property
    def is_full(self) -> bool:
        """Whether no more is accepted."""
        return self.count >= MAX_UNACKED or self.bytes >= MAX_UNACKED_BYTES

    def add(self, size: int) -> None:
        """One more is accepted."""
        self.count += 1
        self.bytes += size

    def remove(self, count: int, size: int) -> None:
        """So many are settled."""
        self.count -= count
        self.bytes -= size
        self.is_dropping = False
