"""Asking all nodes again and again, and keeping the last two answers of each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic

import mesh
from mesh.cli.asking import Answer, ask_all
from mesh.cli.top.nodes import GONE, Seen
from mesh.cli.top.samples import Sample

__all__ = ["Looker"]

REMEMBERED = {"failed": 600.0, "left": 30.0}
"""Seconds for which a node that has gone is listed: after a night of restarts there are many."""

SHARE = 0.8
"""Of the interval, in which a node has to answer: questions of two looks never meet."""


class Looker:
    """What is known of the nodes of a mesh."""

    def __init__(self, node: mesh.AsyncNode) -> None:
        self._node = node
        self._seen: dict[str, Seen] = {}
        self._since: dict[str, float] = {}
        """When it last answered, or was first asked, by id."""

    def seen(self, *, show_all: bool) -> list[Seen]:
        """The nodes, as they were at the last look."""
        return [one for one in self._seen.values() if _is_shown(one.peer, show_all)]

    async def look(
        self, parts: Callable[[str], tuple[str, ...]], interval: float, *, show_all: bool
    ) -> None:
        """Ask all that can answer, at most so many at once, and take what comes in time."""
        peers = {peer.id: peer for peer in self._node.peers(all=True)}
        shown = [peer for peer in peers.values() if _is_shown(peer, show_all)]
        now = monotonic()
        for peer in shown:
            self._since.setdefault(peer.id, now)
        asked = [peer for peer in shown if peer.state not in REMEMBERED]
        # Who was silent comes last, and holds up nobody else.
        asked.sort(key=lambda peer: peer.id in self._seen and bool(self._seen[peer.id].trouble))
        answers = await ask_all(
            self._node, asked, "state", lambda peer: [list(parts(peer.id))], interval * SHARE
        )
        of_peer = {answer.peer.id: answer for answer in answers}
        after = {peer.id: peer for peer in self._node.peers(all=True)}
        self._seen = {
            peer.id: self._next(after.get(peer.id, peer), of_peer.get(peer.id)) for peer in shown
        }
        self._since = {id: self._since[id] for id in self._seen}

    def _next(self, peer: mesh.Peer, answer: Answer | None) -> Seen:
        old = self._seen.get(peer.id, Seen(peer))
        if answer is None:
            return Seen(peer, None, old.last, GONE, _age(peer))
        if answer.trouble:
            silent = monotonic() - self._since[peer.id] if peer.state == "alive" else _age(peer)
            return Seen(peer, None, old.last, answer.trouble, silent)
        self._since[peer.id] = answer.at
        return Seen(peer, old.last, Sample(answer.at, answer.value))


def _is_shown(peer: mesh.Peer, show_all: bool) -> bool:
    if show_all:
        return True
    if peer.is_observer:
        return False
    limit, age = REMEMBERED.get(peer.state), _age(peer)
    return limit is None or age is None or age < limit


def _age(peer: mesh.Peer) -> float | None:
    """Seconds that it has been in its state; a clock that was set may make it less than nothing."""
    return (
        None if peer.since is None else max(0.0, (datetime.now(UTC) - peer.since).total_seconds())
    )
