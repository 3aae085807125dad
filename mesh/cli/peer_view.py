"""How a peer is shown: as JSON, and as a row of a table."""

from __future__ import annotations

from collections.abc import Sequence

import mesh
from mesh.cli.text import relative

__all__ = ["COLUMNS", "DETAILS", "as_document", "as_row", "is_shown"]

COLUMNS = ("name", "id", "address", "state", "since", "services", "groups", "tags")
DETAILS = ("services", "groups", "tags")
"""What moves below its row when the terminal is narrow."""


def is_shown(service: str, *, show_all: bool) -> bool:
    """Whether people want to see a service, or a method by its whole name. What begins with ``_``
    is the mesh's own: the homes of queues."""
    return show_all or not service.startswith("_")


def as_document(peer: mesh.Peer, *, show_all: bool = True) -> dict[str, object]:
    """All there is to know of it."""
    return {
        "id": peer.id,
        "name": peer.name,
        "address": peer.address,
        "state": peer.state,
        "since": peer.since,
        "services": {
            name: methods
            for name, methods in peer.services.items()
            if is_shown(name, show_all=show_all)
        },
        "groups": sorted(peer.groups),
        "tags": peer.tags,
        "instance": peer.instance,
        "weight": peer.weight,
        "observer": peer.is_observer,
        "ejected": peer.ejected,
    }


def as_row(peer: mesh.Peer, *, show_all: bool = False) -> Sequence[str]:
    """The cells of ``COLUMNS``."""
    return (
        peer.name,
        peer.id[:8],
        peer.address,
        _state(peer),
        relative(peer.since),
        ", ".join(name for name in sorted(peer.services) if is_shown(name, show_all=show_all)),
        ", ".join(sorted(peer.groups)),
        ", ".join(f"{key}={value}" for key, value in sorted(peer.tags.items())),
    )


def _state(peer: mesh.Peer) -> str:
    """With what else there is to say of how far it takes part."""
    words = [peer.state]
    if peer.is_observer:
        words.append("observer")
    if peer.ejected:
        words.append(f"not called for {' '.join(peer.ejected)}")
    return ", ".join(words)
