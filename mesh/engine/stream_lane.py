"""The messages of all streams with one peer: those on the way to it, and what came from it.

A destination like the others: at the end of the turn what may leave goes, in frames of their own
between those of the small messages. First what must go again (``mesh.links.resending``), then what
opens and ends streams and gives credit, then the streams with data, one piece each in turn.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mesh.engine import control as c
from mesh.links import Arrivals, Resending
from mesh.wire import frames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mesh.engine.session import Session
    from patterns.streams import Stream

__all__ = ["STALLED_AFTER", "StreamLane"]

FRAME_BYTES = 64 * 1024
"""A frame is closed from here on, so a piece of data has one to itself: larger ones were not
faster, and what comes between would wait longer."""

FRAME_ENTRIES = 4096
"""Messages in a frame: a turn's work for its receiver."""

STALLED_AFTER = 3.0
"""Seconds without an acknowledgement after which ``flush`` does not wait for a peer's streams any
more: as long as a dead link takes to be noticed."""


class StreamLane:
    """``urgent`` goes ahead of the ``ready`` streams' data."""

    __slots__ = ("_is_ack_due", "_is_era_told", "_progress_at", "_waiting", "_was_reset",
                 "arrivals", "is_dirty", "outgoing", "ready", "session", "urgent")  # fmt: skip

    def __init__(self, session: Session) -> None:
        self.session = session
        self.outgoing = Resending(session.core.era)
        self.arrivals = Arrivals()
        self.urgent: deque[bytes] = deque()
        """Bounded by the streams: a few for each, and credit as it is used."""
        self.ready: deque[Stream] = deque()
        self.is_dirty = False
        self._is_ack_due = False
        self._was_reset = False
        self._is_era_told = True
        """Whether there is nothing to say of it: of the first one there never is."""
        self._waiting: dict[Stream, None] = {}
        """Those that wait for credit."""
        self._progress_at = 0.0

    def tell(self, entry: bytes) -> None:
        """Send a message ahead of all data."""
        self.urgent.append(entry)
        self.mark()

    def add(self, stream: Stream) -> None:
        """It has something to send."""
        self._waiting.pop(stream, None)
        self.ready.append(stream)
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
        if self._is_ack_due:
            self.acknowledge()
        if session.outbox.control:
            # The epoch's beginning may be among it: what comes before that is void.
            session.flush()
        outgoing = self.outgoing
        now = core.clock.now()
        if not (outgoing.is_waited_for or self._waiting):
            self._progress_at = now
        while True:
            first = outgoing.next_number
            entries = self._frame(now)
            if not entries and self._is_era_told:
                return
            self._is_era_told = True
            count = len(entries) + 1
            header = frames.pack_link(session.id, link, frames.STREAM, core.id, first, count)
            era = core.codec.pack(outgoing.era)
            core.transport.send_link(b"".join((header, era, *entries)))

    def _frame(self, now: float) -> list[bytes]:
        entries = []
        size = 0
        for entry in self._leaving(now):
            entries.append(entry)
            size += len(entry)
            if size >= FRAME_BYTES or len(entries) >= FRAME_ENTRIES:
                break
        return entries

    def _leaving(self, now: float) -> Iterator[bytes]:
        outgoing = self.outgoing
        yield from outgoing.old(now)
        while outgoing.has_room():
            if self.urgent:
                entry: bytes | None = self.urgent.popleft()
            elif self.ready:
                stream = self.ready.popleft()
                entry = stream.next_entry()
                if entry is None:
                    stream.is_queued = False
                    if not stream.is_sent:
                        self._waiting[stream] = None
                    continue
                self.ready.append(stream)
            else:
                return
            if entry is not None:
                outgoing.put(entry, now)
                yield entry

    # What comes back.

    def arrived(self) -> None:
        """Something came: it is acknowledged at the end of the turn."""
        self._is_ack_due = True
        self.mark()

    def acknowledge(self) -> None:
        """Say how far it is here; on a new link, too, where the old one may have lost it."""
        self._is_ack_due = False
        if self.arrivals.era:
            self.session.control(c.STREAM_ACK, self.arrivals.era, self.arrivals.expected)

    def on_ack(self, era: int, number: int) -> bool:
        """The peer has all before ``number``; False if that cannot be."""
        now = self.session.core.clock.now()
        self._progress_at = now
        if not self.outgoing.acknowledge(era, number, now):
            return False
        self.mark()
        return True

    def open(self) -> None:
        """Our half of a link began anew."""
        self.outgoing.open()
        self.acknowledge()
        # It has no number, so nothing says whether the old link has brought it.
        self._is_era_told = not self._was_reset
        self.mark()

    def reset(self) -> None:
        """All streams with the peer are over here: so they shall be there."""
        self.urgent.clear()
        for stream in self.ready:
            stream.is_queued = False
        self.ready.clear()
        self._waiting.clear()
        self.outgoing.begin(self.session.core.next_era())
        self._was_reset, self._is_era_told = True, False
        self.mark()

    @property
    def is_in_use(self) -> bool:
        """Whether anything ever went this way, or came."""
        outgoing = self.outgoing
        is_used = outgoing.acked > 0 or outgoing.is_waited_for or self._was_reset
        return is_used or bool(self.urgent) or self.arrivals.era > 0

    @property
    def is_waiting(self) -> bool:
        """Whether anything waits, or is not acknowledged, though the peer takes some."""
        self._waiting = {stream: None for stream in self._waiting if not stream.is_sent}
        if not (self.outgoing.is_waited_for or self.urgent or self.ready or self._waiting):
            return False
        return self.session.core.clock.now() - self._progress_at <= STALLED_AFTER
