"""What the control lane's messages do: joining, records, acknowledgements, leaving.

A peer is *joined*, and users hear of it, when its record is in force here and ours is in force
there: from then on whatever either side sends reaches the other, and interest is complete. Every
link epoch starts with OPEN and the whole record, so no step has to be repeated or remembered
across epochs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from mesh.engine import control as c
from mesh.engine.core import Core
from mesh.engine.dialer import Dialer, Why
from mesh.engine.exchange import Exchange
from mesh.engine.liveness import Liveness
from mesh.engine.session import MAX_CONTROLS, Session
from mesh.membership import MAX_RECORD_BYTES, Member, Record, State
from mesh.membership.record import MAX_TEXT
from mesh.wire.frames import BadFrame

__all__ = ["ControlLane"]

logger = logging.getLogger("mesh.link")

CALL_KINDS = frozenset({c.REPLY, c.CALLS, c.CALLS_MISSING})


class ControlLane:
    """The control messages of all links.

    Callbacks tell what happened: ``joined(session)``; ``updated(session, added, removed)`` with
    its interest; ``left(session, reason)``; ``gap(session, missed)``; ``renewed(session)`` after
    a link was replaced; ``confirmed()`` after any acknowledgement; ``on_call_control`` for the
    kinds that belong to calls.
    """

    def __init__(self, core: Core, dialer: Dialer, liveness: Liveness, exchange: Exchange) -> None:
        self._core = core
        self._exchange = exchange
        self._dialer = dialer
        self._liveness = liveness
        self._is_record_due = False
        self._is_leaving = False
        self.joined: Callable[[Session], None]
        self.updated: Callable[[Session, list[str], list[str]], None]
        self.left: Callable[[Session, str], None]
        self.gap: Callable[[Session, int | None], None]
        self.renewed: Callable[[Session], None]
        self.confirmed: Callable[[], None]
        self.on_call_control: Callable[[Session, int, list[Any]], None]
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
        session.control(c.OPEN, session.outbox.next_number, core.record.to_wire(), knows)
        if session.record is not None:
            session.control(c.APPLIED, session.record.version)
        if session.outbox.is_waiting and not session.is_dirty:
            core.mark(session)
        if session.is_joined:
            self.renewed(session)

    def on_entries(self, session: Session, link: int, entries: Sequence[Any]) -> None:
        """The control messages of one frame; nonsense resets the link."""
        if len(entries) > MAX_CONTROLS:
            self.reset(session, BadFrame(f"{len(entries)} control messages in a frame"))
            return
        for entry in entries:
            try:
                checked = c.check_control(entry)
                if checked is None:
                    continue
                kind, fields = checked
                handler = self._handlers.get(kind)
                if handler is not None:
                    handler(session, link, fields)
                elif kind in CALL_KINDS:
                    self.on_call_control(session, kind, fields)
            except BadFrame as error:
                self.reset(session, error)
                return

    def reset(self, session: Session, error: BaseException) -> None:
        """A control lane that makes no sense is of no use: connect anew, which starts afresh."""
        self._core.count("link_resets")
        logger.warning("the link from %s is reset: %s", session.peer, error)
        address = session.address
        session.hang_up()
        self._dialer.forget_address(address)
        self._dialer.hint(session.id, [address, *session.info_addresses], Why.REDIAL)

    # Joining.

    def _on_open(self, session: Session, link: int, fields: list[Any]) -> None:
        next_number, told, session.knows = fields[:3]
        record = Record.from_wire(session.id, told)
        missed = session.inbox.open(link, next_number)
        previous = session.record
        session.record = record
        if session.outbox.link is None and session.links:
            # They failed here while their connection to us stayed up: begin anew on it.
            self.open_link(session)
        else:
            session.control(c.APPLIED, record.version)
        if missed != 0:
            self.gap(session, missed)
        if session.is_joined and session.member is not None and previous is not None:
            session.member.record = record
            session.member.refresh()
            added = [p for p in record.interest if p not in previous.interest]
            removed = [p for p in previous.interest if p not in record.interest]
            if added or removed or record.services != previous.services:
                self.updated(session, added, removed)
        self._join_if_ready(session)

    def _on_refuse(self, session: Session, link: int, fields: list[Any]) -> None:
        session.hang_up()

    def _on_delta(self, session: Session, link: int, fields: list[Any]) -> None:
        record = session.record
        if record is None:
            raise BadFrame("a record delta before the record")
        added, removed = record.apply(fields[0])
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

    def _on_peers(self, session: Session, link: int, fields: list[Any]) -> None:
        self._exchange.on_peers(session, fields[0], fields[1])

    def _on_digest(self, session: Session, link: int, fields: list[Any]) -> None:
        self._exchange.on_digest(session, fields[0])

    def _on_ping(self, session: Session, link: int, fields: list[Any]) -> None:
        session.control(c.PONG, fields[0])

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
        """Tell everybody that we leave; returns those whose answer is worth a moment's wait."""
        self._is_leaving = True
        told = [
            s for s in self._core.sessions.values() if s.is_joined and s.outbox.link is not None
        ]
        for session in told:
            session.control(c.GOODBYE, reason)
        return [session for session in told if session.state in (None, State.ALIVE)]

    def _on_goodbye(self, session: Session, link: int, fields: list[Any]) -> None:
        session.control(c.GOODBYE_ACK)
        session.flush()
        session.has_left = True
        if self._is_leaving:
            self.confirmed()
        elif not session.is_joined:
            session.hang_up()
            self._dialer.drop(session.id)
        else:
            self.left(session, fields[0][:MAX_TEXT])

    def _on_goodbye_ack(self, session: Session, link: int, fields: list[Any]) -> None:
        session.has_left = True
        self.confirmed()
