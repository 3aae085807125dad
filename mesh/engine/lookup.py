"""From a ``Peer``, or an id as text, to the session that stands for it, and to what is listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mesh.engine.core import Core
from mesh.membership import Peer, State
from patterns.errors import ConfigError, PeerLost

__all__ = ["find_session", "has_fallen_silent", "with_ejected"]

ID_DIGITS = 32


def find_session(core: Core, local: Any, peer: Peer | str) -> Any:
    """The session of a peer; ``local`` for the own node.

    Raises PeerLost when it is gone, ConfigError for what names no peer.
    """
    text = peer.id if isinstance(peer, Peer) else peer
    if not isinstance(text, str) or len(text) != ID_DIGITS:
        raise ConfigError(f"a peer is named by a Peer or its id of 32 hex digits, not {peer!r}")
    try:
        id = bytes.fromhex(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no peer id: 32 hex digits are needed") from None
    if id == core.id:
        return local
    session = core.sessions.get(id)
    if session is None or not session.is_joined:
        state = m.state if (m := core.membership.get(id)) is not None else "unknown"
        raise PeerLost(f"peer {text[:8]} is {state}")
    return session


def with_ejected(peers: list[Peer], ejected: Mapping[bytes, Sequence[str]]) -> list[Peer]:
    """The peers, those among them that are passed over for methods with these."""
    if not ejected:
        return peers
    by_id = {id.hex(): tuple(sorted(methods)) for id, methods in ejected.items()}
    return [replace(peer, ejected=by_id[peer.id]) if peer.id in by_id else peer for peer in peers]


def has_fallen_silent(handle: Any) -> bool:
    """Whether a node was given up since it was not heard: it may be there, and work on."""
    member = getattr(handle, "member", None)
    return member is not None and member.state is State.FAILED and bool(handle.may_return)
