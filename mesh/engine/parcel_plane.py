"""Parcels in: chunks become entries again, and go where any entry of their kind goes.

What a node keeps of them is bounded (``Budget``): a peer whose parcel finds no room is not
acknowledged, so its parcels wait, and nothing else does. One that is above this node's limit is
taken and thrown away; a call is answered, a message is told as a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mesh.engine import control as c
from mesh.engine.core import Core
from mesh.engine.parcel_lane import MESSAGES
from mesh.engine.session import Session
from mesh.links import Assembly, Budget
from mesh.links.parcels import MAX_WINDOW_BYTES
from mesh.logs import get_logger
from mesh.wire import frames
from mesh.wire.frames import BadFrame
from mesh.wire.split import leading_int
from patterns.port import Handle

__all__ = ["KEPT_BYTES", "ParcelPlane"]

logger = get_logger("mesh.link")

KEPT_BYTES = 256 * 1024 * 1024
"""Of all peers' parcels, in the making or not consumed; one may always be, whatever its size."""

MAX_INCOMING = 1024
"""Parcels of one peer that are whole and wait for their number; the smallest of them fill
``KEPT_BYTES``."""

Deliver = Callable[[int, Handle, Sequence[Any], int, int, Callable[[int], None]], None]


class ParcelPlane:
    """``deliver`` takes messages; ``on_call`` entries of calls; ``on_call_refused`` is told the
    kind and id of a call's entry that is too large; ``gap`` tells of a lost message."""

    def __init__(
        self,
        core: Core,
        deliver: Deliver,
        on_call: Callable[[Session, int, Any], None],
        on_call_refused: Callable[[Session, int, int, str], None],
        gap: Callable[[Session, int | None], None],
    ) -> None:
        self._core = core
        self._deliver = deliver
        self._on_call = on_call
        self._on_call_refused = on_call_refused
        self._gap = gap
        self._budget = Budget(KEPT_BYTES)

    def on_chunk(self, session: Session, body: memoryview) -> None:
        """A chunk of the present link. Raises BadFrame for one that makes no sense there."""
        lane = session.parcels
        header, piece = frames.unpack_chunk(body)
        lane.received += len(piece)
        if header.total == 0:
            self._forget(session, header.id)
            self._acknowledge(session)
            return
        if header.offset == 0:
            self._begin(session, header, piece)
        if lane.refused == header.id:
            self._acknowledge(session)
            return
        assembly = lane.incoming.get(header.id)
        is_one = assembly is not None and (assembly.kind, assembly.total) == header[::2]
        if assembly is None or not is_one or not assembly.add(header.offset, piece):
            raise BadFrame(f"a chunk at {header.offset} of parcel {header.id} that is not the next")
        if assembly.is_admitted:
            self._acknowledge(session)
        elif lane.received - lane.acknowledged > MAX_WINDOW_BYTES:
            raise BadFrame(f"parcel {header.id} goes on though there is no room for it")
        if assembly.is_whole and assembly.kind not in MESSAGES:
            del lane.incoming[header.id]
            self._hand_over_call(session, assembly)

    def _begin(self, session: Session, header: frames.ChunkHeader, piece: memoryview) -> None:
        lane = session.parcels
        is_unfinished = any(not assembly.is_whole for assembly in lane.incoming.values())
        if is_unfinished or header.id in lane.incoming or len(lane.incoming) >= MAX_INCOMING:
            raise BadFrame(f"parcel {header.id} begins though another is not through")
        limit = self._core.config.max_payload_bytes
        if header.total > limit:
            lane.refused = header.id
            self._core.count("parcels_refused")
            text = f"{header.total} bytes packed; this node takes at most {limit}"
            self._core.tell.warning(logger, "a payload of %s was refused: %s", session.peer, text)
            call_id = leading_int(piece)
            if header.kind not in MESSAGES and call_id is not None:
                self._on_call_refused(session, header.kind, call_id, text)
            return
        lane.refused = None
        admit = partial(self._acknowledge, session)
        assembly = Assembly(header.id, header.kind, header.total, admit)
        lane.incoming[header.id] = assembly
        self._budget.ask(assembly)

    def opened(self, session: Session) -> None:
        """Our half of a link began anew: what was not through begins again, and what was told of
        the peer's parcels, and perhaps lost with the old one, is told again."""
        session.parcels.open()
        self._tell(session)

    def _acknowledge(self, session: Session) -> None:
        session.parcels.acknowledged = session.parcels.received
        self._tell(session)

    def _tell(self, session: Session) -> None:
        if session.inbox.link is not None:
            session.control(c.PARCEL_ACK, session.inbox.link, session.parcels.acknowledged)

    def _hand_over_call(self, session: Session, assembly: Assembly) -> None:
        try:
            value = self._core.codec.unpack_all(memoryview(assembly.data), 1)[0]
        except BadFrame as error:
            self._core.count("bad_frames")
            self._tell_undecodable(session, error)
        else:
            self._on_call(session, assembly.kind, value)
        self._budget.withdraw(assembly)

    def on_numbers(self, session: Session, ids: Sequence[Any], missed: int) -> None:
        """The PARCEL entries of a frame: these are messages now, in this order."""
        for id in ids:
            assembly = session.parcels.incoming.pop(id, None) if type(id) is int else None
            if assembly is None or not assembly.is_whole or assembly.kind not in MESSAGES:
                # Cut off by a lost link, or refused.
                self._gap(session, 1)
                missed += 1
                if assembly is not None:
                    self._budget.withdraw(assembly)
                continue
            try:
                values = self._core.codec.unpack_all(memoryview(assembly.data), 1)
            except BadFrame as error:
                self._core.count("bad_frames")
                self._tell_undecodable(session, error)
                self._gap(session, 1)
                missed += 1
                self._budget.withdraw(assembly)
                continue
            free = self._budget.free
            self._deliver(assembly.kind, session, values, missed, assembly.total, free)
            missed = 0

    def _tell_undecodable(self, session: Session, error: BadFrame) -> None:
        text = "a parcel of %s could not be decoded: %s"
        self._core.tell.info(logger, text, session.peer, error)

    def _forget(self, session: Session, id: int) -> None:
        assembly = session.parcels.incoming.pop(id, None)
        if assembly is not None:
            self._budget.withdraw(assembly)

    def restart(self, session: Session) -> None:
        """The peer's half of a link began anew, or it is gone: nothing of the old is whole."""
        lane = session.parcels
        lane.received = lane.acknowledged = 0
        lane.refused = None
        incoming, lane.incoming = lane.incoming, {}
        for assembly in incoming.values():
            self._budget.withdraw(assembly)

    def end(self, session: Session) -> None:
        """The peer has failed or left."""
        self.restart(session)
        lost = session.parcels.outgoing.clear(MESSAGES)
        if lost:
            session.outbox.lose(lost)
            self._core.count("messages_lost", lost)

    def on_ack(self, session: Session, link: int, received: int) -> None:
        """PARCEL_ACK of the control lane."""
        if not session.parcels.acknowledge(link, received):
            self._core.count("bad_acks")
