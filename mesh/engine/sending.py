"""Messages out: packed and checked where the verb is called, then queued for each target.

What fits a frame of the link goes there with what else leaves in this turn; what does not is a
parcel (``mesh.links.parcels``). To the own node everything goes as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mesh.engine import packing
from mesh.engine.core import Core
from mesh.engine.packing import PAYLOAD_PART_BYTES
from mesh.engine.session import Session
from mesh.links import PARCEL_BYTES, Batch
from mesh.wire.codec import Codec
from mesh.wire.frames import PUBLISH

__all__ = ["Sending"]


class Sending:
    """The way out of ``publish``, ``broadcast`` and ``send``."""

    def __init__(self, core: Core, local: Session) -> None:
        self._core = core
        self.codec = core.codec
        self._local = local
        self.batch = Batch(0, b"")
        """The one that was begun last, for ``targets``."""
        self.targets: tuple[Any, ...] = ()
        self.audience: tuple[Any, ...] = ()
        """The same where it is one of publishes: what ``Publisher`` need look at."""
        self.limit = core.config.max_payload_bytes

    def pack(
        self, codec: Codec, subject: str, data: Any, headers: dict[str, str] | None
    ) -> tuple[bytes, bytes]:
        """The entry of a message, and its payload where that is a part of its own, else nothing.

        Raises BadPayload, PayloadTooLarge.
        """
        if type(data) is bytes and PAYLOAD_PART_BYTES <= len(data) < PARCEL_BYTES:
            entry = packing.pack_message(codec, self.limit, subject, None, headers)
            if len(entry) + len(data) <= min(PARCEL_BYTES, self.limit):
                return entry, data
        return packing.pack_message(codec, self.limit, subject, data, headers), b""

    def pack_copy(
        self, codec: Codec, pool: str, subject: str, data: Any, headers: dict[str, str] | None
    ) -> bytes:
        """The entry of a queue group's copy. Raises BadPayload, PayloadTooLarge."""
        return packing.pack_copy(codec, self.limit, pool, subject, data, headers)

    def send(self, kind: int, targets: tuple[Any, ...], entry: bytes, payload: bytes = b"") -> None:
        """Queue what ``pack`` gave for each target; it leaves at the end of the turn.

        What goes to the same tuple as the entry before joins its batch, once for all of them.
        """
        batch = self.batch
        is_next = not payload and targets is self.targets and batch.kind == kind
        if is_next and batch.append(entry):
            return
        if len(entry) > PARCEL_BYTES:
            packing.check_size(entry, self.limit)
            self._send_parcels(kind, targets, entry)
        elif targets:
            batch = self.batch = Batch(kind, entry, payload, is_shared=len(targets) > 1)
            self.targets = targets
            self.audience = targets if kind == PUBLISH else ()
            self._queue(batch, targets)

    def _queue(self, batch: Batch, targets: Iterable[Session]) -> None:
        for session in targets:
            session.outbox.add(batch)
            if not session.is_dirty:
                self._core.mark(session)

    def _send_parcels(self, kind: int, targets: Iterable[Session], entry: bytes) -> None:
        for session in targets:
            if session is self._local:
                self._queue(Batch(kind, entry), session.alone)
            else:
                session.parcels.send(kind, entry)
