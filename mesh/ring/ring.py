"""The ring: weighted rendezvous hashing of a fixed number of slots.

A key belongs to one of 65,536 slots by its hash, and a slot to the members by their scores, best
first. A score depends on the slot and on one member only. So all who know the same members name
the same owner, in whatever order they met them; who comes takes over what it is best at and
nothing else moves; and what belonged to one who goes passes to whoever was next.

A member is known to the ring by its *instance*, a name that may outlive its process, and by its
weight: of two, one with twice the weight owns twice the keys.

Surprise: scores are floating-point numbers and equal ones do occur, if very rarely: order is then
by instance (its UTF-8 bytes), then by id. Two members of the same instance always tie.

Source of the weighted score: Schindelhauer and Schomaker, "Weighted Distributed Hash Tables",
SPAA 2005 (logarithmic method).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Generic, Protocol, TypeVar

from patterns.keys import SLOTS, slot_of

__all__ = ["PREFERRED", "SLOTS", "Identified", "Ring", "score", "slot_of"]

PREFERRED = 8
"""Members that are remembered for a slot: the owner, and as many to turn to as may be in doubt
at once."""

_HASH_BYTES = 8
_SLOT_BYTES = 2
_RANGE = 2.0**64


class Identified(Protocol):
    """A member's handle. Ids are compared with one another only."""

    @property
    def id(self) -> Any: ...


H = TypeVar("H", bound=Identified)


def score(slot: int, instance: str, weight: float) -> float:
    """How much a member is entitled to a slot: above 0, possibly infinite; the highest owns it."""
    return _score(slot.to_bytes(_SLOT_BYTES, "big") + instance.encode(), weight)


def _slot_bytes(key: bytes) -> bytes:
    return blake2b(key, digest_size=_HASH_BYTES).digest()[:_SLOT_BYTES]


def _score(slot_and_instance: bytes, weight: float) -> float:
    h = int.from_bytes(blake2b(slot_and_instance, digest_size=_HASH_BYTES).digest(), "big")
    u = (h + 0.5) / _RANGE
    # The 1025 greatest hashes round to 1, whose logarithm is 0.
    return -weight / math.log(u) if u < 1.0 else math.inf


class Ring(Generic[H]):
    """The members of one service or group: (handle, instance, weight). It never changes.

    Orders are computed when a slot is first asked for and remembered. Not thread-safe.
    """

    __slots__ = ("_by_name", "_preferred", "members")

    def __init__(self, members: Iterable[tuple[H, str, float]]) -> None:
        self.members = tuple(sorted(members, key=_name_order))
        """By instance, then by id, in whatever order they were given."""
        self._by_name = tuple(
            (handle, name.encode(), weight) for handle, name, weight in self.members
        )
        self._preferred: dict[bytes, tuple[H, ...]] = {}

    def __len__(self) -> int:
        return len(self.members)

    def preferred(self, key: bytes) -> tuple[H, ...]:
        """Who owns the key and who would be next, best first, at most ``PREFERRED``."""
        slot = blake2b(key, digest_size=8).digest()[:2]  # as _slot_bytes, without the call
        found = self._preferred.get(slot)
        return found if found is not None else self._preferred_of(slot)

    def _preferred_of(self, slot: bytes) -> tuple[H, ...]:
        found = self._preferred.get(slot)
        if found is None:
            found = tuple(handle for handle, _ in self._ranked(slot)[:PREFERRED])
            self._preferred[slot] = found
        return found

    def holder(self, slot: int) -> H | None:
        """Who owns the slot; remembered."""
        best = self._preferred_of(slot.to_bytes(_SLOT_BYTES, "big"))
        return best[0] if best else None

    def first(self, slot: int) -> H | None:
        """The same, computed each time: for who asks for all slots. Any thread may."""
        name = slot.to_bytes(_SLOT_BYTES, "big")
        if not self._by_name:
            return None
        # Of equal ones ``max`` gives the first, and so does the order of names.
        return max(self._by_name, key=lambda member: _score(name + member[1], member[2]))[0]

    def second(self, slot: int) -> H | None:
        """Who would own the slot if its owner went; computed each time."""
        ranked = self._ranked(slot.to_bytes(_SLOT_BYTES, "big"))
        return ranked[1][0] if len(ranked) > 1 else None

    def owners(self, key: bytes, n: int | None = None) -> list[H]:
        """The first ``n`` of all members for the key, best first; all without ``n``."""
        if n is not None and n <= PREFERRED:
            return list(self.preferred(key)[:n])
        return [handle for handle, _ in self._ranked(_slot_bytes(key))[:n]]

    def scores(self, key: bytes) -> list[tuple[H, float]]:
        """All members with their scores for the key, best first."""
        return self._ranked(_slot_bytes(key))

    def _ranked(self, slot: bytes) -> list[tuple[H, float]]:
        scored = [(handle, _score(slot + name, weight)) for handle, name, weight in self._by_name]
        # Sorting is stable, in reverse too: ties stay in the order of names.
        scored.sort(key=_score_of, reverse=True)
        return scored


def _name_order(member: tuple[Identified, str, float]) -> tuple[str, Any]:
    # Python compares texts by code points, which is the order of their UTF-8 bytes.
    return member[1], member[0].id


def _score_of(scored: tuple[Any, float]) -> float:
    return scored[1]
