"""A finding: what is the case, why, and what to do about it. Its code never changes meaning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["GRAVITIES", "Finding", "Gravity", "graver_first", "listed"]

Gravity = Literal["problem", "warning", "note", "ok"]

GRAVITIES: tuple[Gravity, ...] = ("problem", "warning", "note", "ok")
"""The gravest first. A problem keeps nodes from seeing each other, or from working together; a
warning may; a note explains; ok is what was looked at and is right."""

MOST_LISTED = 4
"""Names in one line; the others are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``nodes`` are the ids it is about, ``addresses`` theirs; with neither it is about this
    machine or the mesh as a whole."""

    code: str
    gravity: Gravity
    what: str
    why: str = ""
    do: str = ""
    nodes: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """All of it on one line."""
        text = f"{self.what}: {self.why}" if self.why else self.what
        return f"{text} -> {self.do}" if self.do else text


def graver_first(found: Iterable[Finding]) -> list[Finding]:
    """The order in which they are told; those of one gravity stay in theirs."""
    return sorted(found, key=lambda finding: GRAVITIES.index(finding.gravity))


def listed(names: Iterable[str], most: int = MOST_LISTED) -> str:
    """ "a, b and 3 more"."""
    all_names = list(dict.fromkeys(names))
    more = len(all_names) - most
    if more > 0:
        return f"{', '.join(all_names[:most])} and {more} more"
    return ", ".join(all_names)
