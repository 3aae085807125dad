"""Who a node is to others: a name, and the roles that it has."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Identity"]


@dataclass(frozen=True, slots=True)
class Identity:
    """``name`` is one for the whole mesh, however often the node restarts."""

    name: str
    roles: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(sorted(self.roles)) or 'no roles'})"
