"""The own node as a peer of itself: the same queues, numbers and windows, no socket.

A publish to oneself and a call to oneself are packed, queued for the end of the turn, decoded and
delivered like any other, so that nothing depends on where a subscriber or a provider happens to
live.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from mesh.engine.call_plane import CallPlane
from mesh.engine.core import Core
from mesh.engine.session import MAX_CONTROLS, RequestLane, Session
from mesh.logs import get_logger
from mesh.membership import Peer
from mesh.wire.frames import BadFrame
from patterns.port import Handle

__all__ = ["LocalLane", "LocalSession"]

logger = get_logger("mesh.link")


class LocalSession(Session):
    """This node's handle for itself."""

    __slots__ = ("_peer", "_peer_version", "_since", "deliver", "deliver_control", "deliver_loss",
                 "released")  # fmt: skip

    released: Callable[[], None]
    """Called when some of what was published here has been consumed."""
    deliver_loss: Callable[[Handle, str, int], None]
    deliver_control: Callable[[Session, int, list[Any]], None]
    deliver: Callable[[int, Handle, Sequence[Any], int, int, Callable[[int], None]], None]

    def __init__(self, core: Core, since: datetime) -> None:
        super().__init__(core, core.id)
        self._since = since
        self._peer: Peer | None = None
        self._peer_version = -1
        self.outbox.open(0, core.clock.now())
        self.inbox.open(0, 0)

    @property
    def peer(self) -> Peer:
        """This node as it describes itself now."""
        record = self.core.record
        if self._peer is None or self._peer_version != record.changes:
            self._peer_version = record.changes
            self._peer = Peer(
                id=record.id.hex(),
                name=record.name,
                services=dict(record.services),
                groups=record.groups,
                tags=dict(record.tags),
                address=record.addresses[0] if record.addresses else "",
                since=self._since,
                is_observer=record.is_observer,
                instance=record.instance,
                weight=record.weight,
            )
        return self._peer

    @property
    def is_observer(self) -> bool:
        return self.core.record.is_observer

    def flush(self) -> None:
        if self.outbox.control:
            entries, self.outbox.control = self.outbox.control, []
            unpack = self.core.codec.unpack_all
            for start in range(0, len(entries), MAX_CONTROLS):
                part = entries[start : start + MAX_CONTROLS]
                self.deliver_control(self, 0, unpack(b"".join(part), len(part)))
        # Not what a handler publishes to itself meanwhile: that is the next turn's.
        ready = self.outbox.ready(self.core.clock.now())
        for first, batch in islice(ready, self.outbox.queue.seal()):
            if self.outbox.losses.counts:
                for subject, count in self.outbox.losses.take():
                    self.deliver_loss(self, subject, count)
            missed = self.inbox.receive(0, first, batch.count) or 0
            try:
                if batch.payload:
                    entries = self.core.codec.unpack_with(batch.frame(), batch.payload)
                else:
                    entries = self.core.codec.unpack_all(batch.frame(), batch.count)
            except BadFrame as error:
                # A registered type whose decoder refuses what its encoder made.
                self.core.count("bad_frames")
                logger.warning("a frame to this node itself could not be decoded: %s", error)
                self._release(batch.size)
                continue
            self.deliver(batch.kind, self, entries, missed, batch.size, self._release)

    def _release(self, size: int) -> None:
        self.inbox.consume(0, size)
        self.outbox.acknowledge(0, self.inbox.consumed, self.core.clock.now())
        self.released()
        if self.outbox.is_waiting and not self.is_dirty:
            self.core.mark(self)


class LocalLane(RequestLane):
    """Requests to oneself."""

    __slots__ = ("plane",)

    def __init__(self, session: Session, plane: CallPlane) -> None:
        super().__init__(session)
        self.plane = plane

    def flush(self) -> None:
        for _ in range(self.queue.seal()):
            taken = self.queue.pop()
            if taken is None:
                return
            self.plane.serve_local(taken[1])
