"""Peers tell peers whom they know, so that one seed is enough to find a whole mesh.

Rules:

* A newcomer that knows few nodes, or far fewer than we do, is told at once: it came by a seed.
* Otherwise nobody is told anything until it is quiet. Then each node sends the others a digest
  of whom it is linked with; where two digests differ, lists are compared, once for each change
  and then at a slow pace: what cannot be reached now may be reachable later.

The second rule keeps a cold start of N nodes that all heard of each other by multicast from
sending N lists of N to N nodes (at N = 100 that was most of the work of joining).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mesh.engine import control as c
from mesh.engine.core import Core
from mesh.engine.dialer import Dialer
from mesh.engine.session import Session
from mesh.engine.targets import Why
from mesh.membership import State
from mesh.wire import frames
from mesh.wire.frames import BadFrame
from patterns.port import Timer

__all__ = ["QUIET", "Exchange"]

QUIET = 2.0
"""Seconds without a change of membership after which digests are sent."""

DIFFERENCE_PAUSE = 30.0
"""Seconds between digests while views differ and nothing changes."""

MAX_TOLD_ADDRESSES = 3
"""Addresses told of one peer: a thousand of them must fit one control message."""

ANSWER_PAUSE = 1.0
"""Seconds between answers of one kind to one peer: a question takes three bytes, its answer 80 KB.
An honest node asks once in ``QUIET``."""

FEW = 8
"""Who knows no more than this many is told at once; the list is short, or it is a newcomer."""


class Exchange:
    """Peer exchange of one node; does nothing when it is switched off."""

    def __init__(self, core: Core, dialer: Dialer) -> None:
        self._core = core
        self._dialer = dialer
        self._timer: Timer | None = None
        self._is_changing = False

    @property
    def knows(self) -> int:
        """How many other nodes this one has heard of: linked ones and those being dialled."""
        return self._dialer.known

    def joined(self, session: Session) -> None:
        """A peer is linked; ``session.knows`` is what it said of itself."""
        if not self._core.config.exchange:
            return
        linked = self._linked()
        if session.knows <= FEW or session.knows * 2 < len(linked):
            self._tell(session, linked, is_all=False)
        self.changed()

    def changed(self) -> None:
        """The membership has changed: compare notes when it is quiet again."""
        if not self._core.config.exchange:
            return
        self._is_changing = True
        self._send_digests_in(QUIET)

    def _send_digests_in(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._core.clock.call_later(delay, self._send_digests)

    def on_digest(self, session: Session, digest: int) -> None:
        """A peer's digest; while we are still changing, ours will come to it."""
        if not self._core.config.exchange or self._is_changing or digest == self._digest():
            return
        if self._may_answer(session, c.DIGEST):
            self._tell(session, self._linked(), is_all=True)
        if self._timer is None:
            self._send_digests_in(DIFFERENCE_PAUSE)

    def on_peers(self, session: Session, peers: list[Any], is_all: bool) -> None:
        """Whom a peer knows; ``is_all`` asks for those of ours that it lacks."""
        if not self._core.config.exchange:
            return
        told = set()
        for item in peers[: c.MAX_PEERS_TOLD]:
            match item:
                case [bytes(id), [*addresses]] if len(id) == frames.ID_SIZE and all(
                    frames.is_address(address) for address in addresses
                ):
                    told.add(id)
                    self._dialer.hint(id, addresses, Why.TOLD)
                case _:
                    raise BadFrame("a peer is told as [id, [address, ...]]")
        if is_all and self._may_answer(session, c.PEERS):
            lacking = [s for s in self._linked() if s.id not in told]
            self._tell(session, lacking, is_all=False)

    def _may_answer(self, session: Session, kind: int) -> bool:
        now = self._core.clock.now()
        if now - session.answered_at.get(kind, now - ANSWER_PAUSE) < ANSWER_PAUSE:
            self._core.count("questions_unanswered")
            return False
        session.answered_at[kind] = now
        return True

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _linked(self) -> list[Session]:
        return [s for s in self._core.sessions.values() if s.state is State.ALIVE]

    def _digest(self) -> int:
        """The same for all nodes that know the same nodes, themselves included."""
        digest = int.from_bytes(self._core.id[:8], "big")
        for session in self._linked():
            digest ^= int.from_bytes(session.id[:8], "big")
        return digest

    def _send_digests(self) -> None:
        self._timer = None
        if not self._dialer.is_settled:
            self.changed()
            return
        self._is_changing = False
        digest = self._digest()
        for session in self._linked():
            session.control(c.DIGEST, digest)

    def _tell(self, session: Session, known: Iterable[Session], is_all: bool) -> None:
        peers = []
        for other in known:
            addresses = dict.fromkeys((other.address, *other.info_addresses))
            if other is not session and other.address:
                peers.append([other.id, list(addresses)[:MAX_TOLD_ADDRESSES]])
        if peers or is_all:
            session.control(c.PEERS, peers[: c.MAX_PEERS_TOLD], is_all)
