"""Which peer is meant: by name, instance, id, or the first digits of an id."""

from __future__ import annotations

from collections.abc import Iterable

import click

import mesh

__all__ = ["MIN_PREFIX", "matching", "the_one"]

MIN_PREFIX = 4
"""Digits of an id that may stand for it; fewer are more likely a name, or a slip."""


def matching(peers: Iterable[mesh.Peer], wanted: str) -> list[mesh.Peer]:
    """All that can be meant; replicas share a name."""
    digits = wanted.lower() if len(wanted) >= MIN_PREFIX else None
    return [
        peer
        for peer in peers
        if wanted in (peer.name, peer.instance)
        or (digits is not None and peer.id.startswith(digits))
    ]


def the_one(peers: Iterable[mesh.Peer], wanted: str, *, among: str, advice: str) -> mesh.Peer:
    """The only one that can be meant. Raises ClickException for none or several.

    :param among: what the peers are, in the plural
    :param advice: where the user sees them
    """
    found = matching(peers, wanted)
    if len(found) == 1:
        return found[0]
    if not found:
        raise click.ClickException(f"{wanted!r} is none of the {among}; {advice}")
    names = ", ".join(str(peer) for peer in found)
    raise click.ClickException(
        f"{wanted!r} can mean {len(found)} {among}: {names}; give more digits of the id"
    )
