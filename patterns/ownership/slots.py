"""Sets of slots: as a user sees them, and as they travel.

A set that a change of owners makes is a rule, not a list: whether it has a slot is computed from
the members before and after, in some microseconds. So a change costs nothing until it is looked
at. Surprise: ``len`` and iteration look at all 65,536 slots, some 100 ms for each member.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Set

from patterns.keys import SLOTS, Key, key_bytes, slot_of

__all__ = ["Slots", "pack_slots", "unpack_slots"]

_BYTES = 2


class Slots(Set[int]):
    """A set of slots, read-only; any thread may read it. ``in``, ``len``, iteration, ``&``, ..."""

    __slots__ = ("_has", "_listed")

    def __init__(self, has: Callable[[int], bool] | None = None) -> None:
        """``has`` says of a slot whether it is one; None for the empty set."""
        self._has = has
        self._listed: array[int] | None = array("H") if has is None else None

    @classmethod
    def _from_iterable(cls, it: Iterable[int]) -> set[int]:  # type: ignore[override]
        """What the operators of ``Set`` make."""
        return set(it)

    def __contains__(self, slot: object) -> bool:
        return isinstance(slot, int) and 0 <= slot < SLOTS and bool(self._has and self._has(slot))

    def contains_key(self, key: Key) -> bool:
        """Whether the slot of a key is one. Raises BadName."""
        return slot_of(key_bytes(key)) in self

    def __iter__(self) -> Iterator[int]:
        """In order."""
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __bool__(self) -> bool:
        """Whether there is any; mostly known after a few."""
        if self._listed is not None:
            return bool(self._listed)
        return any(slot in self for slot in range(SLOTS))

    def _all(self) -> array[int]:
        if self._listed is None:
            self._listed = array("H", (slot for slot in range(SLOTS) if slot in self))
        return self._listed

    def __repr__(self) -> str:
        if self._listed is None:
            return "<Slots, not counted>"
        return f"<{len(self._listed)} slots>"


def pack_slots(slots: Iterable[int]) -> bytes:
    """As they travel: two bytes each, big-endian, in order."""
    return b"".join(slot.to_bytes(_BYTES, "big") for slot in sorted(slots))


def unpack_slots(packed: bytes) -> frozenset[int] | None:
    """The slots again; None for what is no list of them."""
    if len(packed) % _BYTES or len(packed) > SLOTS * _BYTES:
        return None
    return frozenset(
        int.from_bytes(packed[at : at + _BYTES], "big") for at in range(0, len(packed), _BYTES)
    )
