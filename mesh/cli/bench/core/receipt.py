"""What is sent in a bench, and what its receiver makes of it: each message counted and checked.

A message is a stamp, its number and when it was due (ns), and a filler that both sides know. The
numbers go on for as long as a run does; a receiver is told with which one a new stage begins, and
what is older and late is set apart. Who knows how many were sent knows exactly what is missing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, fields
from typing import Any, Self

from mesh.cli.bench.core.histogram import Histogram

__all__ = ["MIN_SIZE", "Receipt", "Stamper"]

STAMP = struct.Struct("<QQ")
MIN_SIZE = STAMP.size
"""Bytes of the smallest message: its number and its time."""


def filler_of(size: int) -> bytes:
    """What follows the stamp in a message of this size: bytes that differ from their neighbours."""
    length = size - MIN_SIZE
    return (bytes(range(256)) * (length // 256 + 1))[:length]


class Stamper:
    """Makes the messages of one size."""

    __slots__ = ("_filler",)

    def __init__(self, size: int) -> None:
        self._filler = filler_of(size)

    def message(self, number: int, due: int) -> bytes:
        """The message with this number, due then (ns)."""
        return STAMP.pack(number, due) + self._filler


@dataclass(slots=True)
class Receipt:
    """What one receiver got in one stage. Times in ns of the receiver's clock."""

    size: int
    first: int = 0
    """The number with which this stage begins."""
    received: int = 0
    broken: int = 0
    """Not as they were sent."""
    disordered: int = 0
    """Behind one with a higher number: twice, or out of order."""
    stragglers: int = 0
    """Of the stage before."""
    redelivered: int = 0
    """Marked as perhaps handled by another one before."""
    numbers: int = 0
    """The sum of all numbers received: tells whether it was each of them, and each once."""
    began: int = 0
    ended: int = 0
    """When the first came and when the last; 0 when there was none."""
    latency: Histogram = field(default_factory=Histogram)
    _last: int = field(default=-1, init=False)
    _filler: bytes = field(default=b"", init=False)

    def __post_init__(self) -> None:
        self._filler = filler_of(self.size)

    def take(self, data: Any, now: int, redelivered: bool = False) -> None:
        """Count and check a message that came now."""
        if type(data) is not bytes or len(data) != self.size or not data.endswith(self._filler):
            self.broken += 1
            return
        number, due = STAMP.unpack_from(data)
        if number < self.first:
            self.stragglers += 1
            return
        if number <= self._last:
            self.disordered += 1
        else:
            self._last = number
        if redelivered:
            self.redelivered += 1
        if not self.received:
            self.began = now
        self.received += 1
        self.ended = now
        self.numbers += number
        self.latency.add(now - due)

    @property
    def seconds(self) -> float:
        """From the first one that came to the last."""
        return (self.ended - self.began) / 1e9

    def packed(self) -> dict[str, Any]:
        """For a message."""
        shown = {name: getattr(self, name) for name in _NUMBERS}
        return shown | {"latency": self.latency.packed()}

    @classmethod
    def unpacked(cls, packed: Any) -> Self:
        """The other way. Raises ValueError for what is no receipt."""
        if not isinstance(packed, dict):
            raise ValueError("this is no receipt")
        numbers: dict[str, Any] = {name: packed.get(name) for name in _NUMBERS}
        if not all(type(value) is int and value >= 0 for value in numbers.values()):
            raise ValueError("this is no receipt")
        return cls(**numbers, latency=Histogram.unpacked(packed.get("latency")))


_NUMBERS = tuple(f.name for f in fields(Receipt) if not f.name.startswith("_"))[:-1]
