"""Back-pressure: whom a publisher waits for, and until when.

A node with a subscription that blocks (``patterns.blocking``) is waited for by ``flush()``, and by
a thread that publishes to it, while it is alive. Never on the loop's thread, for that would stop
everything else; and never without end, for it may be waiting for us.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mesh.engine.local import LocalSession
from mesh.engine.session import Session
from mesh.engine.waits import NOT_YET, Waits
from mesh.links.outbox import PENDING_BYTES
from mesh.membership import State
from patterns.blocking import Blocking
from patterns.port import Waiter

__all__ = ["BLOCK_WAIT", "FULL_BYTES", "ROOM_BYTES", "Pressure"]

FULL_BYTES = PENDING_BYTES // 4
"""Waiting for a node that blocks, from which on its publishers wait. Well below where the oldest
give way, for what threads have handed over meanwhile (``MAX_HANDOVER_BYTES``) comes on top."""

ROOM_BYTES = FULL_BYTES // 2
"""Where they go on: many messages for each wait."""

BLOCK_WAIT = 5.0
"""Seconds that one publish waits, as other verbs do: two nodes whose handlers publish to each
other's blocking subscriptions wait for each other."""


class Pressure:
    """The publishers' side of the policy ``block``."""

    def __init__(self, local: LocalSession, blocking: Blocking, waits: Waits) -> None:
        self._local = local
        self._nodes = blocking.nodes
        self._waits = waits

    @staticmethod
    def size_for(session: Session) -> int:
        """Bytes that wait for it here: of messages, and of parcels."""
        return session.outbox.queue.size + session.parcels.outgoing.size

    def is_waited_for(self, session: Session) -> bool:
        """Whether it blocks, and is there to take what it is waited for."""
        return session in self._nodes and (session is self._local or session.state is State.ALIVE)

    def full(self, targets: Sequence[Any], spare_own: bool) -> list[Session]:
        """Those of ``targets`` that a publisher has to wait for now; any thread may ask.

        ``spare_own`` for a handler's thread: its own node may be waiting for this very handler.
        """
        return [
            session
            for session in targets
            if self.size_for(session) > FULL_BYTES
            and self.is_waited_for(session)
            and not (spare_own and session is self._local)
        ]

    def wait(self, sessions: Sequence[Session], waiter: Waiter) -> None:
        """Until there is room for each of them again, it is gone, or the time is over."""

        def check() -> Any:
            is_held = any(
                self.size_for(session) > ROOM_BYTES and self.is_waited_for(session)
                for session in sessions
            )
            return NOT_YET if is_held else None

        self._waits.add(check, waiter, BLOCK_WAIT, lambda: None)
