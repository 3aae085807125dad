"""What this node itself wants has changed: its record says so, and others are told."""

from __future__ import annotations

from collections.abc import Callable

from mesh.engine.core import Core

__all__ = ["OwnInterest"]


class OwnInterest:
    """``changed()`` is called when there is something to tell."""

    changed: Callable[[], None]

    def __init__(self, core: Core) -> None:
        self._record = core.record

    def plain(self, pattern: str, is_wanted: bool) -> None:
        """A pattern of its own; ``want`` was said before, since it may be refused."""
        if not is_wanted:
            self._record.unwant(pattern)
        self.changed()

    def queue(self, group: str, pattern: str, is_wanted: bool) -> None:
        """A pattern within a queue group."""
        if not is_wanted:
            self._record.unwant_queue(group, pattern)
        self.changed()

    def blocking(self, is_blocking: bool) -> None:
        """Whether any of its subscriptions blocks."""
        self._record.block(is_blocking)
        self.changed()
