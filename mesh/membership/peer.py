"""``Peer``: a node as users see it, a value that never changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

__all__ = ["Peer"]


@dataclass(frozen=True, slots=True)
class Peer:
    """A node of the mesh at one moment.

    ``id`` is 32 hex digits, fresh at each start. ``services`` maps service names to their
    methods. ``address`` is the ``host:port`` it is linked at. ``state`` is "alive",
    "unresponsive", "suspect", "failed" or "left", and ``since`` when that began (aware, UTC).
    ``instance`` and ``weight`` are its name and its share in the ring that finds owners of keys.
    ``ejected`` are the methods ("service.method") for which this node passes it over now, as its
    calls there failed much more than elsewhere; it is of the moment when ``peers()`` was asked.
    Two are equal when their ids are: one node is one peer, whatever changed.
    """

    id: str
    name: str = field(compare=False)
    services: Mapping[str, tuple[str, ...]] = field(compare=False, default_factory=dict)
    groups: frozenset[str] = field(compare=False, default=frozenset())
    tags: Mapping[str, str] = field(compare=False, default_factory=dict)
    address: str = field(compare=False, default="")
    state: str = field(compare=False, default="alive")
    since: datetime | None = field(compare=False, default=None)
    is_observer: bool = field(compare=False, default=False)
    instance: str = field(compare=False, default="")
    weight: float = field(compare=False, default=1.0)
    ejected: tuple[str, ...] = field(compare=False, default=())

    def __str__(self) -> str:
        return f"{self.name}/{self.id[:8]}"
