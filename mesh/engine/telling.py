"""Log lines that others can cause, so many and no more.

A peer, or a stranger, decides how often a frame is malformed or a link makes no sense. What it
causes is worth a line, and not a disk full of them: of one kind ``BURST`` lines come at once, then
``PER_SECOND``. What is left out is counted, and said with the next line of its kind.

Surprise: a kind is the text before anything is put into it, so a flood of one peer can hide a line
about another of the same kind; counters miss nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

__all__ = ["BURST", "PER_SECOND", "Telling", "shown"]

BURST = 20
"""Lines of one kind at once: enough to see what is the matter, and with whom."""

PER_SECOND = 1.0
"""And after that: 20 MB of log a day for each kind, at worst."""

MAX_KINDS = 256
"""Kinds that are remembered; they are texts of this program, and fewer."""

MAX_SHOWN = 255
"""Characters of a text of a peer's."""


class _Kind:
    __slots__ = ("allowance", "at", "left_out")

    def __init__(self, now: float) -> None:
        self.allowance = float(BURST)
        self.at = now
        self.left_out = 0


class Telling:
    """The lines of one node. ``now`` is its clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._kinds: dict[str, _Kind] = {}

    def warning(self, logger: logging.Logger, text: str, *args: Any) -> None:
        """Warn, unless that was said too often just now."""
        self._tell(logger, logging.WARNING, text, args)

    def info(self, logger: logging.Logger, text: str, *args: Any) -> None:
        """Tell those who look into the matter."""
        self._tell(logger, logging.INFO, text, args)

    def _tell(self, logger: logging.Logger, level: int, text: str, args: tuple[Any, ...]) -> None:
        if not logger.isEnabledFor(level):
            return
        now = self._now()
        kind = self._kinds.get(text)
        if kind is None:
            if len(self._kinds) >= MAX_KINDS:
                del self._kinds[next(iter(self._kinds))]
            kind = self._kinds[text] = _Kind(now)
        kind.allowance = min(float(BURST), kind.allowance + (now - kind.at) * PER_SECOND)
        kind.at = now
        if kind.allowance < 1.0:
            kind.left_out += 1
            return
        kind.allowance -= 1.0
        left_out, kind.left_out = kind.left_out, 0
        if left_out:
            text, args = text + " (%d more of these were left out)", (*args, left_out)
        logger.log(level, text, *args, stacklevel=3)


def shown(text: str) -> str:
    """A peer's text, fit for a line of a log or a table: short, and without control characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:MAX_SHOWN])
