"""``Outcome``: what became of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Kind", "Outcome", "Progress"]

Progress = tuple[int, int, bytes | None]

Kind = Literal["done", "dead", "gone", "progress"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job in one group.

    ``packed``   ``done``: the result; None when there is none
    ``progress`` ``progress``: how far it is, of how much, and what else its worker said, packed
    ``reason``   ``dead``: what its last attempt ended with; ``gone``: ``deleted``, ``dropped`` or
                 ``expired``
    ``attempts`` how often it was handed out; 0 when nobody knows any more
    """

    kind: Kind
    number: int
    group: str
    packed: bytes | None = None
    reason: str = ""
    attempts: int = 0
    progress: Progress | None = None
