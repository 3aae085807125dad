"""What an engine is told at its birth; the faces make it from arguments and environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.engine.ports import Access, Identity

__all__ = ["GRACE", "LISTEN", "MAX_PAYLOAD_BYTES", "EngineConfig"]

GRACE = 1.0
"""Seconds after start in which calls wait for a first provider instead of failing at once."""

LISTEN = 0.3
"""Seconds after start that ``wait_for()`` listens at least: discovery's first answers take 0.1."""

MAX_PAYLOAD_BYTES = 64 * 1024 * 1024
"""Of a packed message, call, reply or groupcast, unless a node is made with another limit."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """``id`` is 16 random bytes, fresh at each start; ``name`` and ``mesh`` are checked names.

    ``instance`` is the node's name in the ring; empty: its id, in hex.
    """

    id: bytes
    name: str
    mesh: str
    tags: Mapping[str, str] = field(default_factory=dict)
    is_observer: bool = False
    exchange: bool = True
    """Whether to tell newcomers whom we know."""
    instance: str = ""
    weight: float = 1.0
    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    identity: Identity | None = None
    """Who this node is to others; a policy needs one."""
    policy: Access | None = None
    """Who may do what here; None: members may do all."""
