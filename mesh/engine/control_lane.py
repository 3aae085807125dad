"""What the control lane's messages do: joining, records, acknowledgements, leaving.

A peer is *joined*, and users hear of it, when its record is in force here and ours is in force
there: from then on whatever either side sends reaches the other, and interest is complete. Every
link epoch starts with OPEN and the whole record, so no step has to be repeated or remembered
across epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mesh.engine import control as c
from mesh.engine.core import Core
from mesh.engine.dialer import Dialer
from mesh.engine.exchange import Exchange
from mesh.engine.liveness import Liveness
from mesh.engine.session import MAX_CONTROLS, Session
from mesh.engine.targets import Why
from mesh.engine.telling import shown
from mesh.logs import get_logger
from mesh.membership import MAX_RECORD_BYTES, Member, Record, State
from mesh.wire import frames
from mesh.wire.frames import BadFrame
from patterns.groupcast import casts as k
from patterns.names import MAX_SUBJECT_BYTES

__all__ = ["ControlLane"]

logger = get_logger("mesh.link")

MAX_RECORDS = 64
"""Records and changes of one in a frame: each is told to all who watch. A node takes one a turn."""

CALL_KINDS = frozenset({c.REPLY, c.CALLS, c.CALLS_MISSING})
STREAM_KINDS = frozenset({c.STREAM_ACK, c.STREAMS_LOST})
RECORD_KINDS = frozenset({c.OPEN, c.DELTA})
CAST_KINDS = frozenset(
    {k.WANT, k.GRANT, k.RETURN, k.RECALL, k.DONE, k.BACK, k.HELD, k.CHECK, k.DENY}
)


class ControlLane:
    """The control messages of all links.

    Callbacks tell what happened: ``joined(session)``; ``updated(session, added, removed)`` with
    its interest; ``readdressed(session, addresses)``; ``left(session, reason)``;
    ``gap(session, missed)``; ``renewed(session)`` after a link was replaced; ``opened(session)``
    when our half of a link begins, ``opened_by_peer`` when theirs does; ``confirmed()`` after any
    acknowledgement; ``on_call_control`` and ``on_cast_control`` for the kinds that belong to calls
    and to groupcast; ``on_pong(session, number)`` for the answer to a user's ping;
    ``on_loss(session, subject, count)`` for messages that the peer dropped;
    ``on_parcel_ack(session, link, received)`` for what the peer has taken of our parcels;
    ``on_stream_control`` for the kinds that belong to streams;
    ``on_owned(session, service, slots, whole, fence)`` for its statements on ownership.

    ``admit(session, record, patterns)`` takes out of a record, of which these patterns are new,
    what the peer may not have.
    """

    def __init__(self, core: Core, dialer: Dialer, liveness: Liveness, exchange: Exchange) -> None:
        self._core = core
        self._exchange = exchange
        self._dialer = dialer
        self._liveness = liveness
        self._is_record_due = False
        self._is_leaving = False
        self.admit: Callable[[Session, Record, Iterable[str]], None] = _all
        self.joined: Callable[[Session], None]
        self.updated: Callable[[Session, list[str], list[str]], None]
        self.readdressed: Callable[[Session, tuple[str, ...]], None]
        self.left: Callable[[Session, str], None]
        self.gap: Callable[[Session, int | None], None]
        self.renewed: Callable[[Session], None]
        self.confirmed: Callable[[], None]
        self.on_call_control: Callable[[Session, int, list[Any]], None]
        self.on_cast_control: Callable[[Session, int, int, list[Any]], None]
        self.on_loss: Callable[[Session, str, int], None]
        self.on_pong: Callable[[Session, int], None]
        self.on_parcel_ack: Callable[[Session, int, int], None]
        self.on_stream_control: Callable[[Session, int, list[Any]], None]
        self.on_owned: Callable[[Session, str, bytes, bool, int], None]
        self.opened: Callable[[Session], None]
        self.opened_by_peer: Callable[[Session], None]
        self._handlers: dict[int, Callable[[Session, int, list[Any]], None]] = {
            c.OPEN: self._on_open,
            c.REFUSE: self._on_refuse,
            c.DELTA: self._on_delta,
            c.APPLIED: self._on_applied,
            c.ACK: self._on_ack,
            c.GOODBYE: self._on_goodbye,
            c.GOODBYE_ACK: self._on_goodbye_ack,
            c.PEERS: self._on_peers,
            c.DIGEST: self._on_digest,
            c.PING: self._on_ping,
            c.PONG: self._on_pong,
            c.PARCEL_ACK: self._on_parcel_ack,
            c.LOST: self._on_lost,
            c.OWNED: lambda session, _, fields: self.on_owned(session, *fields[:4]),
        }

    # Links.

    def open_link(self, session: Session) -> None:
        """Begin an epoch on the peer's newest connection: everything it needs to know."""
        if session.link is None:
            return
        core = self._core
        self.send_record_changes()
        session.acked_version = 0
        session.outbox.open(session.link, core.clock.now())
        knows = self._exchange.knows
        number, is_uncounted = session.outbox.next_number, session.is_uncounted
        session.control(c.OPEN, number, core.record.to_wire(), knows, is_uncounted)
        if session.record is not None:
            session.control(c.APPLIED, session.record.version)
        if session.inbox.link is not None:
            # What was told on the old one may be lost, and the window there full for ever.
            session.control(c.ACK, session.inbox.link, session.inbox.consumed)
        if session.outbox.losses.counts:
            session.control(c.LOST, session.outbox.losses.take())
        if session.outbox.is_waiting and not session.is_dirty:
            core.mark(session)
        self.opened(session)
        if session.is_joined:
            self.renewed(session)

    def on_entries(self, session: Session, link: int, entries: Sequence[Any]) -> None:
        """The control messages of one frame; nonsense resets the link."""
        if len(entries) > MAX_CONTROLS:
            self.reset(session, BadFrame(f"{len(entries)} control messages in a frame"))
            return
        records = 0
        for entry in entries:
            try:
                checked = c.check_control(entry)
                if checked is None:
                    continue
                kind, fields = checked
                records += kind in RECORD_KINDS
                if records > MAX_RECORDS:
                    raise BadFrame(f"more than {MAX_RECORDS} records and changes in a frame")
                handler = self._handlers.get(kind)
                if handler is not None:
                    handler(session, link, fields)
                elif kind in CAST_KINDS:
                    self.on_cast_control(session, link, kind, fields)
                elif kind in STREAM_KINDS:
                    self.on_stream_control(session, kind, fields)
                    self.confirmed()
                elif kind in CALL_KINDS:
                    self.on_call_control(session, kind, fields)
            except BadFrame as error:
                self.reset(session, error)
                return

    def reset(self, session: Session, error: BaseException) -> None:
        """A control lane that makes no sense is of no use: connect anew, which starts afresh."""
        self._core.count("link_resets")
        self._core.tell.warning(logger, "the link from %s is reset: %s", session.peer, error)
        address = session.address
        session.hang_up()
        self._dialer.forget_address(address)
        self._dialer.hint(session.id, [address, *session.info_addresses], Why.REDIAL)

    # Joining.

    def _on_open(self, session: Session, link: int, fields: list[Any]) -> None:
        next_number, told, session.knows = fields[:3]
        record = Record.from_wire(session.id, told)
        missed = session.inbox.open(link, next_number)
        if fields[3:] and fields[3] is True:
            missed = None  # it failed to count what was for us while we were absent
        previous = session.record
        session.record = record
        self.admit(session, record, record.interest)
        self.opened_by_peer(session)
        if session.outbox.link is None and session.links:
            # They failed here while their connection to us stayed up: begin anew on it.
            self.open_link(session)
        else:
            session.control(c.APPLIED, record.version)
        if missed != 0 or session.is_doubted:
            session.is_doubted = False
            self.gap(session, missed)
        if session.is_joined and session.member is not None and previous is not None:
            session.member.record = record
            session.member.refresh()
            added = [p for p in record.interest if p not in previous.interest]
            removed = [p for p in previous.interest if p not in record.interest]
            is_other = _others(record) != _others(previous)
            if added or removed or is_other:
                self.updated(session, added, removed)
        self._join_if_ready(session)

    def _on_refuse(self, session: Session, link: int, fields: list[Any]) -> None:
        session.hang_up()

    def _on_delta(self, session: Session, link: int, fields: list[Any]) -> None:
        record = session.record
        if record is None:
            raise BadFrame("a record delta before the record")
        addresses = record.addresses
        added, removed = record.apply(fields[0])
        self.admit(session, record, added)
        added = [pattern for pattern in added if record.wants(pattern)]
        if record.addresses != addresses:
            self.readdressed(session, tuple(filter(frames.is_address, record.addresses)))
        if session.member is not None:
            session.member.refresh()
        if session.is_joined:
            self.updated(session, added, removed)
        session.control(c.APPLIED, record.version)

    def _on_applied(self, session: Session, link: int, fields: list[Any]) -> None:
        version = fields[0]
        if version > self._core.record.version:
            raise BadFrame(f"version {version} of our record does not exist")
        session.acked_version = max(session.acked_version, version)
        if not session.is_joined:
            self._join_if_ready(session)
        elif session.outbox.link is not None:
            self._liveness.link_back(session)
        self.confirmed()

    def _join_if_ready(self, session: Session) -> None:
        if (
            session.is_joined
            or session.record is None
            or session.dial is None
            or session.outbox.link is None
            or not session.acked_version
        ):
            return
        session.is_joined = True
        session.member = self._core.membership.join(session.record, session.dial.address)
        self._dialer.drop(session.id)
        self.joined(session)
        self._exchange.joined(session)

    # Small ones.

    def _on_ack(self, session: Session, link: int, fields: list[Any]) -> None:
        if not session.outbox.acknowledge(fields[0], fields[1], self._core.clock.now()):
            self._core.count("bad_acks")
        elif session.outbox.is_waiting and not session.is_dirty:
            self._core.mark(session)
        self.confirmed()

    def _on_lost(self, session: Session, link: int, fields: list[Any]) -> None:
        for item in fields[0]:
            match item:
                case [str(subject), int(count)] if count > 0 and len(subject) <= MAX_SUBJECT_BYTES:
                    self.on_loss(session, subject, count)
                case _:
                    raise BadFrame("lost messages are told as subject and count")

    def _on_parcel_ack(self, session: Session, link: int, fields: list[Any]) -> None:
        self.on_parcel_ack(session, fields[0], fields[1])
        self.confirmed()

    def _on_peers(self, session: Session, link: int, fields: list[Any]) -> None:
        self._exchange.on_peers(session, fields[0], fields[1])

    def _on_digest(self, session: Session, link: int, fields: list[Any]) -> None:
        self._exchange.on_digest(session, fields[0])

    def _on_ping(self, session: Session, link: int, fields: list[Any]) -> None:
        session.control(c.PONG, fields[0])

    def _on_pong(self, session: Session, link: int, fields: list[Any]) -> None:
        # To liveness every frame is a sign of life; it needs no word of an answer.
        if fields[0] >= c.FIRST_PING:
            self.on_pong(session, fields[0])
        else:
            self.on_cast_control(session, link, c.PONG, fields)

    # Our own record.

    def record_changed(self) -> None:
        """Tell everybody at the end of the turn."""
        if not self._is_record_due:
            self._is_record_due = True
            self._core.clock.call_soon(self.send_record_changes)

    def send_record_changes(self) -> None:
        """One delta for all changes of this turn."""
        self._is_record_due = False
        delta = self._core.record.take_delta()
        if delta is None:
            return
        is_small = len(self._core.pack(c.DELTA, delta)) <= MAX_RECORD_BYTES
        for session in list(self._core.sessions.values()):
            if session.outbox.link is None:
                continue
            if is_small:
                session.control(c.DELTA, delta)
            else:
                self.open_link(session)

    def unconfirmed(self, version: int) -> list[Member]:
        """Alive members in which ``version`` of our record is not in force yet."""
        return [
            session.member
            for session in self._core.sessions.values()
            if session.state is State.ALIVE
            and session.member is not None
            and session.acked_version < version
        ]

    # Leaving.

    def say_goodbye(self, reason: str) -> list[Session]:
        """Tell everybody that we leave; returns those whose answer is worth a moment's wait.

        Those, too, that are no members here as yet: we may be one there.
        """
        self._is_leaving = True
        told = [s for s in self._core.sessions.values() if s.outbox.link is not None]
        for session in told:
            session.control(c.GOODBYE, reason)
        return [session for session in told if session.state in (None, State.ALIVE)]

    def _on_goodbye(self, session: Session, link: int, fields: list[Any]) -> None:
        reason = shown(fields[0])
        session.control(c.GOODBYE_ACK)
        session.flush()
        session.has_left = True
        if self._is_leaving:
            self.confirmed()
        elif not session.is_joined:
            session.hang_up()
            self._dialer.left(session.id)
        else:
            self.left(session, reason)

    def _on_goodbye_ack(self, session: Session, link: int, fields: list[Any]) -> None:
        if self._is_leaving:  # else nobody has said goodbye, and it goes on as a peer
            session.has_left = True
            self.confirmed()


def _all(session: Session, record: Record, patterns: Iterable[str]) -> None:
    """Without a policy."""


def _others(record: Record) -> tuple[object, ...]:
    """What of a record is in force elsewhere, but for its interest."""
    return record.services, record.queues, record.blocks, record.owns
