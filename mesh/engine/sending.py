"""Messages out: packed and checked where the verb is called, then queued for each target.

``Sending`` is what a ``Publisher`` needs, on any thread; ``LinkSending`` is the engine's.
What fits a frame of the link goes there with what else leaves in this turn; what does not is a
parcel (``mesh.links.parcels``). To the own node everything goes as it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Protocol

from mesh.engine import packing
from mesh.engine.core import Core
from mesh.engine.packing import PAYLOAD_PART_BYTES
from mesh.engine.session import Session
from mesh.links import PARCEL_BYTES, Batch
from mesh.wire.codec import Codec
from mesh.wire.frames import PUBLISH

__all__ = ["LinkSending", "Sending"]


class Growing(Protocol):
    """Entries that leave together; ``size`` in bytes."""

    size: int

    def append(self, entry: bytes) -> bool:
        """One more at its end; False when it is closed, or would get too large."""
        ...


class Sending(ABC):
    """The way out of ``publish``, ``broadcast`` and ``send``, for one thread."""

    def __init__(self, codec: Codec, limit: int) -> None:
        self.codec = codec
        self.limit = limit
        """``max_payload_bytes``"""
        self.last: tuple[tuple[Any, ...], Growing] = (), Batch(0, b"")
        """The batch that was begun last, and whom it goes to if it is one of publishes. One pair,
        for a signal handler that publishes begins another one at any moment."""

    @abstractmethod
    def send(self, kind: int, targets: tuple[Any, ...], entry: bytes, payload: bytes = b"") -> None:
        """Queue what ``pack`` gave for each target. Raises PayloadTooLarge."""

    def pack(self, subject: str, data: Any, headers: dict[str, str] | None) -> tuple[bytes, bytes]:
        """The entry of a message, and its payload where that is a part of its own, else nothing.

        Raises BadPayload, PayloadTooLarge.
        """
        if type(data) is bytes and PAYLOAD_PART_BYTES <= len(data) < PARCEL_BYTES:
            entry = packing.pack_message(self.codec, self.limit, subject, None, headers)
            if len(entry) + len(data) <= min(PARCEL_BYTES, self.limit):
                return entry, data
        return packing.pack_message(self.codec, self.limit, subject, data, headers), b""

    def pack_copy(
        self, pool: str, subject: str, data: Any, headers: dict[str, str] | None
    ) -> bytes:
        """The entry of a queue group's copy. Raises BadPayload, PayloadTooLarge."""
        return packing.pack_copy(self.codec, self.limit, pool, subject, data, headers)


class LinkSending(Sending):
    """On the loop's thread: into the outboxes of the links."""

    def __init__(self, core: Core, local: Session) -> None:
        super().__init__(core.codec, core.config.max_payload_bytes)
        self._core = core
        self._local = local
        self._last: tuple[tuple[Any, ...], Batch] = (), Batch(0, b"")
        """The same as ``last``, of any kind."""

    def send(self, kind: int, targets: tuple[Any, ...], entry: bytes, payload: bytes = b"") -> None:
        """Queue it; it leaves at the end of the turn.

        What goes to the same tuple as the entry before joins its batch, once for all of them.
        """
        audience, batch = self._last
        is_next = not payload and targets is audience and batch.kind == kind
        if is_next and batch.append(entry):
            return
        if len(entry) > PARCEL_BYTES:
            packing.check_size(entry, self.limit)
            self._send_parcels(kind, targets, entry)
        elif targets:
            self._begin(Batch(kind, entry, payload, is_shared=len(targets) > 1), targets)

    def send_run(self, kind: int, targets: tuple[Any, ...], entries: list[bytes]) -> None:
        """The same for several, which together are mostly no more than one batch."""
        audience, batch = self._last
        if targets is audience and batch.kind == kind and batch.extend(entries):
            return
        batch = Batch(kind, entries[0], is_shared=len(targets) > 1)
        rest = () if batch.extend(entries[1:]) else entries[1:]
        self._begin(batch, targets)
        for entry in rest:
            self.send(kind, targets, entry)

    def _begin(self, batch: Batch, targets: tuple[Any, ...]) -> None:
        self._last = targets, batch
        self.last = targets if batch.kind == PUBLISH else (), batch
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
