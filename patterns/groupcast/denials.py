"""Members that take no groupcasts of this node, because their policy says so.

To us they are no members: nothing waits for their credit, and when nobody else is left in a group,
a groupcast to it ends with what they said. It holds for as long as the link on which it was said.
"""

from __future__ import annotations

from patterns.errors import AccessDenied
from patterns.port import Handle

__all__ = ["Denials"]

MAX_TEXT = 1000
"""Characters of a text or a name from a peer that are kept."""


class Denials:
    """Who denied what. There is at most one for each account of a stream."""

    def __init__(self) -> None:
        self._by_pool: dict[str, dict[Handle, tuple[str, str]]] = {}

    def add(self, pool: str, handle: Handle, rule: str, text: str) -> None:
        """That member denies that pool to us."""
        self._by_pool.setdefault(pool, {})[handle] = text[:MAX_TEXT], rule[:MAX_TEXT]

    def others(self, pool: str, members: tuple[Handle, ...]) -> tuple[Handle, ...]:
        """Those of the members that do not."""
        denied = self._by_pool.get(pool)
        return members if denied is None else tuple(m for m in members if m not in denied)

    def error(self, pool: str) -> AccessDenied | None:
        """What one of them said; None when nobody denies it."""
        denied = self._by_pool.get(pool)
        return None if denied is None else AccessDenied(*next(iter(denied.values())))

    def forget(self, handle: Handle) -> bool:
        """That member may have changed its mind; returns whether it denied anything."""
        pools = [pool for pool, denied in self._by_pool.items() if handle in denied]
        for pool in pools:
            del self._by_pool[pool][handle]
            if not self._by_pool[pool]:
                del self._by_pool[pool]
        return bool(pools)
