"""What did not succeed: how often, by kind, and the first text of each."""

from __future__ import annotations

__all__ = ["OTHERS", "Failures"]

MAX_KINDS = 32
"""Kinds come from other nodes: the classes of what their handlers raise."""

OTHERS = "others"


class Failures:
    """Counts by kind; what is of too many kinds counts as "others"."""

    __slots__ = ("counts", "first")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.first: dict[str, str] = {}

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def add(self, kind: str, text: str) -> None:
        """Count one; ``text`` says what happened."""
        if kind not in self.counts and len(self.counts) >= MAX_KINDS:
            kind = OTHERS
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.first.setdefault(kind, text)
