"""Who a node is: what its certificate says of it, once the certificate is verified."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Identity"]


@dataclass(frozen=True, slots=True)
class Identity:
    """A name, and the roles that the mesh's authority gave it."""

    name: str
    roles: frozenset[str]
