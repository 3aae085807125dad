"""The messages of peers that are forgotten: so that what a node counts of all never goes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mesh.engine.session import Session

__all__ = ["Totals"]


class Totals:
    """Messages of the link: sent, received, and dropped here."""

    __slots__ = ("dropped", "received", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.dropped = 0

    def add(self, session: Session) -> None:
        """What passed between that peer and us."""
        outbox = session.outbox
        self.sent += max(0, outbox.next_number - outbox.dropped)
        self.received += session.inbox.received
        self.dropped += outbox.dropped
