"""The work plane: casts to one of many, out by ``PUSH`` and in by ``PULL``.

A sender connects to each member at its first wish for credit. What comes back, credit and
acknowledgements, goes over the link's control lane; so a work frame names the link epoch that its
credit was granted in, and one of another epoch is discarded: the sender learns from the member's
HELD what became of its casts and gives the rest to others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from mesh.engine import control as c
from mesh.engine.core import Core
from mesh.engine.liveness import Liveness
from mesh.engine.local import LocalSession
from mesh.engine.packing import check_size
from mesh.engine.ports import Lane
from mesh.engine.rings import Rings
from mesh.engine.session import Session, WorkLane
from mesh.logs import get_logger
from mesh.membership import State
from mesh.wire import frames
from mesh.wire.frames import BadFrame
from mesh.wire.split import split
from patterns.groupcast import CastReceiver, CastSender
from patterns.groupcast import casts as k
from patterns.names import EVERYONE, group_of
from patterns.port import CastPort, Timer
from patterns.pubsub import PubSub

__all__ = ["WorkPlane"]

logger = get_logger("mesh.groupcast")

_OF_MEMBERS = frozenset({k.GRANT, k.RECALL, k.DONE, k.BACK, k.HELD, k.DENY})
"""What members tell senders; the other kinds go the other way."""


class WorkPlane:
    """Implements ``patterns.port.CastPort`` and moves its entries."""

    def __init__(
        self,
        core: Core,
        local: LocalSession,
        liveness: Liveness,
        rings: Rings,
        pubsub: PubSub,
        grace_left: Callable[[], float],
        make_receiver: Callable[[CastPort], CastReceiver] = CastReceiver,
    ) -> None:
        self._core = core
        self.local = local
        self._liveness = liveness
        self._rings = rings
        self._pubsub = pubsub
        self.now: Callable[[], float] = core.clock.now
        self.count = core.count
        self.mark = core.mark
        self.is_paused = liveness.is_paused
        local.work = LocalWorkLane(local, self)
        self.sender = CastSender(self, grace_left)
        self.receiver = make_receiver(self)

    # The port.

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return self._core.clock.call_later(delay, callback)

    def pack(self, value: Any) -> bytes:
        return check_size(self._core.codec.pack(value), self._core.config.max_payload_bytes)

    def unpack(self, entry: bytes) -> Any:
        return self._core.codec.unpack_all(entry, 1)[0]

    def tell(self, target: Session, *fields: Any) -> None:
        if fields[0] == k.WANT:
            target.work.prepare()
        target.control(*fields)

    def ask(self, target: Session, number: int) -> int:
        target.control(c.PING, c.FIRST_QUESTION + number)
        return c.FIRST_QUESTION + number

    def send_cast(self, target: Session, entry: bytes) -> int:
        lane = target.work
        queue = lane.queue
        queue.entries.append(entry)
        if not lane.is_dirty:
            self._core.mark(lane)
        return queue.first + len(queue.entries) - 1

    def mark_casts(self, target: Session) -> None:
        if not target.work.is_dirty:
            self._core.mark(target.work)

    def send_casts(self, target: Session, entries: list[bytes]) -> int:
        queue = target.work.queue
        first = queue.next_number
        queue.entries += entries
        self.mark_casts(target)
        return first

    def next_cast_number(self, target: Session) -> int:
        return target.work.queue.next_number

    def sent_cast_number(self, target: Session) -> int:
        return target.work.queue.first

    def drop_unsent_casts(self, target: Session) -> None:
        target.work.queue.clear()

    def members(self, pool: str, subject: str | None) -> tuple[Session, ...]:
        if subject is not None:
            return cast(tuple[Session, ...], self._pubsub.queues.members(pool, subject))
        route = cast(tuple[Session, ...], self._pubsub.group_route(group_of(pool) or EVERYONE))
        return tuple(session for session in route if not session.is_observer)

    def weight(self, target: Session) -> float:
        record = self._core.record if target is self.local else target.record
        return record.weight if record is not None else 1.0

    def is_healthy(self, target: Session) -> bool:
        return target is self.local or target.state is State.ALIVE

    def owners(self, pool: str, key: bytes) -> Sequence[Session]:
        return self._rings.group_owners(group_of(pool) or EVERYONE, key)

    def better_owner(self, pool: str, key: bytes) -> bytes | None:
        for session in self.owners(pool, key):
            if session is self.local:
                return None
            if session.state is State.ALIVE:
                return session.id
        return None

    # Frames.

    def on_work_frame(self, frame: bytes) -> None:
        """Casts from somebody's lane."""
        core = self._core
        try:
            receiver, link, version, kind, sender, first, count = frames.unpack_link(
                frame, self._core.config.max_payload_bytes + frames.LINK_HEADER_SIZE
            )
            if version != frames.PROTOCOL_VERSION or kind != frames.CAST:
                raise BadFrame(f"kind {kind} of protocol {version} on the work socket")
            if first > k.MAX_NUMBER:
                raise BadFrame(f"cast number {first}")
            session = core.sessions.get(sender)
            if receiver != core.id or session is None or session.outbox.link != link:
                # Meant for who was here before, or sent on a link that is no more. What it holds
                # is given to others by its sender, who knows it undone.
                core.count("stale_frames")
                return
            entries = self._decode(memoryview(frame)[frames.LINK_HEADER_SIZE :], count)
        except BadFrame as error:
            core.count("bad_frames")
            core.tell.info(logger, "a work frame was refused: %s", error)
            return
        session.last_heard = core.clock.now()
        if session.pinged_at is not None:
            self._liveness.heard(session)
        self.receiver.on_casts(session, link, first, entries)

    def _decode(self, body: memoryview, count: int) -> list[Any]:
        codec = self._core.codec
        try:
            return codec.unpack_all(body, count)
        except BadFrame as error:
            text = "a work frame could not be decoded as a whole: %s"
            self._core.tell.info(logger, text, error)
        return [self._decode_one(part) for part in split(body, count)]

    def _decode_one(self, part: bytes | memoryview) -> Any:
        """None for what cannot be decoded, which the receiver takes for what it is."""
        try:
            return self._core.codec.unpack_all(part, 1)[0]
        except BadFrame as error:
            self._core.tell.info(logger, "a cast could not be decoded: %s", error)
            return None

    def take_local(self, first: int, entries: list[bytes]) -> None:
        """What this node sends to itself."""
        self.receiver.on_casts(self.local, 0, first, [self._decode_one(e) for e in entries])

    def on_work_ready(self, lane: Lane) -> None:
        """A lane is connected; what it could not take before may go."""
        session = lane.owner
        if session is not None:
            session.work.flush()

    # The control lane.

    def on_control(self, session: Session, link: int, kind: int, fields: list[Any]) -> None:
        """One of groupcast's kinds, or a PONG. Raises BadFrame."""
        if any(type(field) is int and field > k.MAX_NUMBER for field in fields):
            raise BadFrame(f"control message {kind} with a number beyond all bounds")
        try:
            self._handle(session, link, kind, fields)
        except (ValueError, TypeError) as error:
            raise BadFrame(f"control message {kind}: {error}") from error

    def _handle(self, session: Session, link: int, kind: int, fields: list[Any]) -> None:
        if kind in _OF_MEMBERS:
            # Grants belong to the link that they came by.
            if kind in (k.DONE, k.BACK) or link == session.inbox.link:
                self._on_member(session, kind, fields)
        elif kind == c.PONG:
            self.receiver.on_answer(session, fields[0])
        else:
            self._on_sender(session, kind, fields)

    def _on_member(self, session: Session, kind: int, fields: list[Any]) -> None:
        sender = self.sender
        if kind == k.DONE:
            sender.on_done(session, fields[0])
        elif kind == k.BACK:
            reason, ranges, owner = fields[:3]
            sender.on_back(session, reason, ranges, self._session_of(owner))
        elif kind == k.GRANT:
            sender.on_grant(session, *fields[:3])
        elif kind == k.RECALL:
            sender.on_recall(session, *fields[:2])
        elif kind == k.DENY:
            sender.on_deny(session, *fields[:3])
        else:
            sender.on_held(session, *fields[:4])

    def _on_sender(self, session: Session, kind: int, fields: list[Any]) -> None:
        if kind == k.WANT:
            self.receiver.on_want(session, *fields[:4])
        elif kind == k.RETURN:
            self.receiver.on_return(session, *fields[:4])
        else:
            self.receiver.on_check(session, *fields[:2])

    def _session_of(self, id: bytes) -> Session | None:
        return self.local if id == self._core.id else self._core.sessions.get(id)

    # Links and members; the others tell.

    def link_opened(self, session: Session) -> None:
        """Our half of a link to that peer began anew, on which we grant and report."""
        link = session.outbox.link
        if link is not None:
            self.receiver.link_opened(session, link)
            self.sender.link_reopened(session)

    def link_opened_by_peer(self, session: Session) -> None:
        """Its half of a link to us began anew, on which it grants and reports."""
        self.sender.link_opened(session)
        self.receiver.ask_again(session)

    def link_lost(self, session: Session) -> None:
        if not session.has_left:
            self.receiver.link_lost(session)

    def gone(self, session: Session) -> None:
        """It failed or left."""
        if session.has_left:
            self.receiver.sender_left(session)
        else:
            self.receiver.link_lost(session)
        session.work.close()
        self.sender.member_gone(session)

    def forget(self, session: Session) -> None:
        """Nothing is remembered of it any more."""
        self.receiver.forget(session)
        self.sender.forget(session)

    def end_turn(self) -> None:
        """What a drain brought is in: report and grant, in the same turn."""
        if self.receiver.reports.is_dirty:
            self.receiver.reports.flush()


class LocalWorkLane(WorkLane):
    """Casts of this node to itself."""

    __slots__ = ("plane",)

    def __init__(self, session: Session, plane: WorkPlane) -> None:
        super().__init__(session)
        self.plane = plane

    def prepare(self) -> None:
        """There is nothing to connect."""

    def flush(self) -> None:
        # Not what a handler sends to this node meanwhile: that is the next turn's.
        end = self.queue.next_number
        while self.queue.first < end:
            first, entries = self.queue.first, self.queue.head()
            self.queue.drop(len(entries))
            self.plane.take_local(first, entries)
