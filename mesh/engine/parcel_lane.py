"""Parcels of one peer: those on the way to it, and those of it in the making here.

A destination like the others: what is queued leaves at the end of the turn, chunk by chunk, as
far as the parcels' own window allows. See ``mesh.links.parcels``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.links import Assembly, Batch, Parcels
from mesh.links.parcels import PENDING_PARCEL_BYTES
from mesh.wire import frames

if TYPE_CHECKING:
    from mesh.engine.session import Session

__all__ = ["MESSAGES", "STALLED_AFTER", "ParcelLane"]

MESSAGES = frozenset({frames.PUBLISH, frames.SEND, frames.BROADCAST})
"""The kinds that have a number among the messages: that of the PARCEL entry at their end."""

STALLED_AFTER = 3.0
"""Seconds without an acknowledged chunk after which ``flush`` does not wait for a peer's parcels
any more. As long as a dead link takes to be noticed: a chunk on a bad one may take a second."""


class ParcelLane:
    """``outgoing`` waits for the peer; ``incoming`` is in the making, or waits for its number."""

    __slots__ = (
        "_progress_at",
        "acknowledged",
        "incoming",
        "is_dirty",
        "outgoing",
        "received",
        "refused",
        "session",
    )

    def __init__(self, session: Session) -> None:
        self.session = session
        self.outgoing = Parcels()
        self.incoming: dict[int, Assembly] = {}
        self.refused: int | None = None
        """The number of the parcel under way that is too large for this node."""
        self.received = 0
        """Bytes of chunks in this link epoch."""
        self.acknowledged = 0
        """And how many of them were told."""
        self.is_dirty = False
        self._progress_at = 0.0

    def send(self, kind: int, entry: bytes, tag: int | None = None) -> None:
        """Queue a parcel; the oldest messages and replies give way when the bound is reached."""
        core = self.session.core
        if not self.outgoing.queue:
            self._progress_at = core.clock.now()
        self.outgoing.append(kind, entry, tag)
        limit = max(PENDING_PARCEL_BYTES, 4 * core.config.max_payload_bytes)
        if self.outgoing.size > limit:
            lost = self.outgoing.drop_oldest(limit, MESSAGES | {frames.REPLY})
            messages = sum(parcel.kind in MESSAGES for parcel in lost)
            if messages:
                self.session.outbox.lose(messages)
            if len(lost) > messages:
                core.count("replies_lost", len(lost) - messages)
        self.mark()

    def mark(self) -> None:
        """Send what may leave, at the end of the turn."""
        if not self.is_dirty:
            self.session.core.mark(self)

    def flush(self) -> None:
        session = self.session
        core, link = session.core, session.outbox.link
        if link is None:
            return
        if session.outbox.control:
            # The epoch's beginning may be among it: what comes before that is void.
            session.flush()
        header = frames.pack_link(session.id, link, frames.CHUNK, core.id, 0, 0)
        for chunk in self.outgoing.ready(core.clock.now()):
            parcel = chunk.parcel
            inner = frames.pack_chunk(parcel.kind, parcel.id, chunk.total, chunk.offset)
            core.transport.send_link(b"".join((header, inner, chunk.piece)))
            if chunk.is_last and parcel.kind in MESSAGES:
                session.outbox.add(Batch(frames.PARCEL, core.codec.pack(parcel.id)))
                if not session.is_dirty:
                    core.mark(session)

    def acknowledge(self, link: int, received: int) -> bool:
        """The peer has taken so many bytes of chunks of that epoch; False if that cannot be."""
        if link != self.session.outbox.link:
            return True
        now = self.session.core.clock.now()
        self._progress_at = now
        if not self.outgoing.acknowledge(received, now):
            return False
        if self.outgoing.queue:
            self.mark()
        return True

    def open(self) -> None:
        """Our half of a link began anew."""
        self.outgoing.open()
        if self.outgoing.queue:
            self._progress_at = self.session.core.clock.now()
            self.mark()

    @property
    def messages(self) -> int:
        """How many messages wait here."""
        return sum(parcel.kind in MESSAGES for parcel in self.outgoing.queue)

    @property
    def is_waiting(self) -> bool:
        """Whether a parcel is not through, though its peer takes some."""
        now = self.session.core.clock.now()
        return bool(self.outgoing.queue) and now - self._progress_at <= STALLED_AFTER
