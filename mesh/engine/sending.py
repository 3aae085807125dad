"""Messages out: packed and checked where the verb is called, then queued for each target.

What fits a frame of the link goes there with what else leaves in this turn; what does not is a
parcel (``mesh.links.parcels``). To the own node everything goes as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mesh.engine import packing
from mesh.engine.core import Core
from mesh.engine.session import Session
from mesh.links import PARCEL_BYTES, Batch
from mesh.wire.codec import Codec
from patterns.groupcast import CastSender
from patterns.queuegroups import QueueGroups

__all__ = ["Copies", "Sending"]


class Sending:
    """The way out of ``publish``, ``broadcast`` and ``send``."""

    def __init__(self, core: Core, local: Session) -> None:
        self._core = core
        self.codec = core.codec
        self._local = local
        self._batch = Batch(0, b"")
        """The one that was begun last, for ``_targets``."""
        self._targets: tuple[Session, ...] = ()
        self.limit = core.config.max_payload_bytes

    def pack(self, codec: Codec, subject: str, data: Any, headers: dict[str, str] | None) -> bytes:
        """The entry of a message. Raises BadPayload, PayloadTooLarge."""
        return packing.pack_message(codec, self.limit, subject, data, headers)

    def pack_copy(
        self, codec: Codec, pool: str, subject: str, data: Any, headers: dict[str, str] | None
    ) -> bytes:
        """The entry of a queue group's copy. Raises BadPayload, PayloadTooLarge."""
        return packing.pack_copy(codec, self.limit, pool, subject, data, headers)

    def send(self, kind: int, targets: tuple[Any, ...], entry: bytes) -> None:
        """Queue an entry for each target; it leaves at the end of the turn.

        What goes to the same tuple as the entry before joins its batch, once for all of them.
        """
        batch = self._batch
        if targets is not self._targets or batch.kind != kind or not batch.append(entry):
            if len(entry) > PARCEL_BYTES:
                self._send_parcels(kind, targets, entry)
            else:
                batch = self._batch = Batch(kind, entry, is_shared=len(targets) > 1)
                self._targets = targets
                self._queue(batch, targets)

    def _queue(self, batch: Batch, targets: Iterable[Session]) -> None:
        for session in targets:
            session.outbox.add(batch)
            if not session.is_dirty:
                self._core.mark(session)

    def _send_parcels(self, kind: int, targets: Iterable[Session], entry: bytes) -> None:
        packing.check_size(entry, self.limit)
        for session in targets:
            if session is self._local:
                self._queue(Batch(kind, entry), session.alone)
            else:
                session.parcels.send(kind, entry)


class Copies:
    """The copies of a publish, one for each queue group that listens."""

    def __init__(self, sending: Sending, queues: QueueGroups, sender: CastSender) -> None:
        self._sending = sending
        self._queues = queues
        self._sender = sender

    def publish(self, subject: str, data: Any, headers: dict[str, str] | None) -> int:
        """Pack and give out; returns how many. Raises BadPayload, PayloadTooLarge."""
        route = self._queues.route(subject)
        if route:
            pack, codec = self._sending.pack_copy, self._sending.codec
            self.send(subject, [(p, pack(codec, p, subject, data, headers)) for p, _ in route])
        return len(route)

    def send(self, subject: str, copies: Sequence[tuple[str, bytes]]) -> None:
        """Give each copy to its queue group."""
        for pool, entry in copies:
            members = self._queues.members(pool, subject)
            if members:
                self._sender.copy(pool, subject, members, entry)
