"""The link plane: hellos in, frames out, and the steps from a stranger to a joined peer.

How two nodes join. A dials B's link socket with a hello and an info; B sees both and checks mesh
and protocol. If they fit, B opens its half of the link on that connection (OPEN, with B's record)
and dials A back if it has no connection to it yet. A does the same the other way round. Each side
applies the other's record and says so (APPLIED). A peer is *joined*, and users hear of it, when
its record is in force here and ours is in force there: from then on whatever either side sends
reaches the other, and interest is complete.

A link epoch is one connection: its number is new for each hello. The newest is current, and only
hellos minus byes = 0 means that the peer is gone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mesh.engine import control as c
from mesh.engine.core import Core
from mesh.engine.dialer import Dialer, Target
from mesh.engine.liveness import Liveness
from mesh.engine.ports import Dial
from mesh.engine.session import Session
from mesh.membership import Member, Record, State
from mesh.wire import frames
from mesh.wire.frames import BadFrame
from patterns.port import Handle

__all__ = ["MAX_SESSIONS", "LinkPlane"]

logger = logging.getLogger("mesh.link")

MAX_SESSIONS = 4096
"""Nodes known at once, ended ones included: four times what the design is for."""

IDLE_ACK_AFTER = 0.05
"""Seconds after which consumed bytes below the regular step are acknowledged too."""

Deliver = Callable[[int, Handle, Sequence[Any], int, int, Callable[[int], None]], None]


class LinkPlane:
    """Joins, records, windows and gaps of all links.

    The callbacks tell what happened: ``joined(session)`` and ``updated(session, added, removed)``
    with its interest; ``left(session, reason)``; ``gap(session, missed)``; ``renewed(session)``
    after a link was replaced; ``confirmed()`` when a peer applied a version of our record;
    ``on_control`` for the types that belong to calls.
    """

    def __init__(self, core: Core, dialer: Dialer, liveness: Liveness, deliver: Deliver) -> None:
        self._core = core
        self._dialer = dialer
        self._liveness = liveness
        self._deliver = deliver
        self._unacked: dict[Session, None] = {}
        self._is_record_due = False
        self._is_leaving = False
        self.joined: Callable[[Session], None]
        self.updated: Callable[[Session, list[str], list[str]], None]
        self.left: Callable[[Session, str], None]
        self.gap: Callable[[Session, int | None], None]
        self.renewed: Callable[[Session], None]
        self.confirmed: Callable[[], None]
        self.on_call_control: Callable[[Session, int, list[Any]], None]

    # Their side of the handshake: somebody connected to us.

    def session(self, id: bytes) -> Session | None:
        """The session with ``id``, made on demand; None when there are too many."""
        sessions = self._core.sessions
        session = sessions.get(id)
        if session is None:
            if len(sessions) >= MAX_SESSIONS and not self._forget_one():
                self._core.count("peers_refused")
                return None
            session = sessions[id] = Session(self._core, id)
        return session

    def _forget_one(self) -> bool:
        for id, session in self._core.sessions.items():
            if not session.is_joined and not session.hellos and session.dial is None:
                del self._core.sessions[id]
                return True
        return False

    def on_hello(self, id: bytes, link: int) -> None:
        """A connection of ``id`` came up."""
        session = self.session(id)
        if session is None:
            return
        session.hellos += 1
        session.link = link
        if id == self._core.id:
            session.refuse(c.REFUSED_SELF, "you reached yourself")
        elif session.is_accepted and not session.has_left:
            self._open(session)

    def on_info(self, topic: bytes) -> None:
        """What the node behind a hello says of itself."""
        try:
            id, info = frames.unpack_info(topic)
        except BadFrame as error:
            self._core.count("bad_frames")
            logger.info("a malformed info was ignored: %s", error)
            return
        session = self._core.sessions.get(id)
        if session is None or session.has_left or id == self._core.id:
            return
        config = self._core.config
        if info["v"] != frames.PROTOCOL_VERSION:
            ours = frames.PROTOCOL_VERSION
            text = f"this node speaks protocol {ours}, you speak {info['v']}"
            session.refuse(c.REFUSED_PROTOCOL, text)
        elif info["mesh"] != config.mesh:
            text = f"this is mesh {config.mesh!r}, not {info['mesh']!r}"
            session.refuse(c.REFUSED_MESH, text)
        else:
            session.info_addresses = tuple(info["link"])
            if not session.is_accepted:
                session.is_accepted = True
                self._open(session)
            if session.dial is None:
                self._dialer.hint(id, session.info_addresses)

    def on_bye(self, id: bytes) -> None:
        """A connection of ``id`` is gone."""
        session = self._core.sessions.get(id)
        if session is None or not session.hellos:
            return
        session.hellos -= 1
        if session.hellos:
            return
        session.link = None
        session.outbox.close()
        if session.is_joined:
            self._liveness.link_lost(session, "its link was lost")
        elif session.dial is None:
            session.is_accepted = False

    def _open(self, session: Session) -> None:
        """Begin a link epoch on the newest connection: everything the peer needs to know."""
        if session.link is None:
            return
        core = self._core
        is_renewed = session.is_joined
        self.send_record_changes()
        session.acked_version = 0
        session.outbox.open(session.link, core.clock.now())
        session.control(c.OPEN, session.outbox.next_number, core.record.to_wire())
        if session.record is not None:
            session.control(c.APPLIED, session.record.version)
        if is_renewed:
            self.renewed(session)

    # Our side: frames on the connections that we dialled.

    def on_link_frame(self, dial: Dial, frame: bytes) -> None:
        """One frame from whoever listens at the dialled address."""
        try:
            _, link, version, kind, sender, first, count = frames.unpack_link(frame)
        except BadFrame as error:
            self._bad_frame(dial, error)
            return
        owner = dial.owner
        if version != frames.PROTOCOL_VERSION:
            text = f"the peer speaks protocol {version}"
            self._dialer.refused(dial, c.REFUSED_PROTOCOL, text)
            return
        body = memoryview(frame)[frames.LINK_HEADER_SIZE :]
        if type(owner) is Session and sender == owner.id:
            owner.last_heard = self._core.clock.now()
            if owner.pinged_at is not None:
                self._liveness.heard(owner)
            if kind == frames.CONTROL:
                self._on_control_frame(dial, owner, link, body, count)
            else:
                self._on_data_frame(owner, link, kind, first, count, body)
        elif kind == frames.CONTROL:
            self._on_stranger(dial, sender, link, body, count)

    def _on_data_frame(
        self, session: Session, link: int, kind: int, first: int, count: int, body: memoryview
    ) -> None:
        missed = session.inbox.receive(link, first, count)
        if missed is None:
            self._core.count("stale_frames")
            return
        if missed:
            self.gap(session, missed)
        size = len(body)
        release = partial(self._release, session, link)
        try:
            entries = self._core.codec.unpack_all(body, count)
        except BadFrame as error:
            self._core.count("bad_frames")
            logger.warning("a frame of %s could not be decoded: %s", session.peer, error)
            self.gap(session, count)
            release(size)
            return
        self._deliver(kind, session, entries, missed, size, release)

    def _release(self, session: Session, link: int, size: int) -> None:
        """``size`` bytes of a frame have been consumed here."""
        if session.inbox.consume(link, size):
            self._acknowledge(session)
        elif session not in self._unacked:
            if not self._unacked:
                self._core.clock.call_later(IDLE_ACK_AFTER, self._acknowledge_all)
            self._unacked[session] = None

    def _acknowledge(self, session: Session) -> None:
        consumed = session.inbox.take_ack()
        if consumed is not None and session.inbox.link is not None:
            session.control(c.ACK, session.inbox.link, consumed)

    def _acknowledge_all(self) -> None:
        unacked, self._unacked = self._unacked, {}
        for session in unacked:
            self._acknowledge(session)

    def _on_stranger(
        self, dial: Dial, sender: bytes, link: int, body: memoryview, count: int
    ) -> None:
        """The first answer on a dial, or somebody else's on a dial we knew."""
        if sender == self._core.id:
            self._dialer.reached_self(dial)
            return
        try:
            entries = self._core.codec.unpack_all(body, count)
            checked = c.check_control(entries[0]) if entries else None
        except BadFrame as error:
            self._bad_frame(dial, error)
            return
        if checked is None:
            return
        kind, fields = checked
        if kind == c.REFUSE:
            self._dialer.refused(dial, fields[0], fields[1])
            return
        if kind != c.OPEN:
            return
        owner = dial.owner
        if isinstance(owner, Session):
            self._on_wrong_peer(dial, owner, sender)
            return
        expected = owner.id if isinstance(owner, Target) else None
        session = self.session(sender)
        if session is None or session.has_left:
            self._dialer.refused(dial, "left", "that node has said goodbye")
            return
        self._dialer.answered(dial, sender)
        if expected is not None and expected != sender:
            self._on_replaced(expected)
        if session.dial is not None and session.dial is not dial:
            self._core.transport.hang_up(session.dial)
        session.dial = dial
        dial.owner = session
        session.last_heard = self._core.clock.now()
        self._on_control_entries(dial, session, link, entries)

    def _on_wrong_peer(self, dial: Dial, expected: Session, actual: bytes) -> None:
        """Another node answers at a linked peer's address: its process is gone."""
        address = dial.address
        self._drop_dial(expected)
        self._dialer.forget_address(address)
        self._on_replaced(expected.id)
        self._dialer.hint(actual, [address])

    def _on_replaced(self, id: bytes) -> None:
        session = self._core.sessions.get(id)
        if session is not None and not session.hellos:
            self._liveness.fail(session, "another node answers at its address")

    def _drop_dial(self, session: Session) -> None:
        dial, session.dial = session.dial, None
        if dial is not None:
            dial.owner = None
            self._core.transport.hang_up(dial)

    def _bad_frame(self, dial: Dial, error: BadFrame) -> None:
        self._core.count("bad_frames")
        logger.warning("a frame from %s was refused: %s", dial.address, error)

    # The control lane.

    def _on_control_frame(
        self, dial: Dial, session: Session, link: int, body: memoryview, count: int
    ) -> None:
        try:
            entries = self._core.codec.unpack_all(body, count)
        except BadFrame as error:
            self._reset(session, error)
            return
        self._on_control_entries(dial, session, link, entries)

    def _on_control_entries(
        self, dial: Dial, session: Session, link: int, entries: Sequence[Any]
    ) -> None:
        for entry in entries:
            try:
                checked = c.check_control(entry)
                if checked is not None:
                    self._on_control(dial, session, link, checked[0], checked[1])
            except BadFrame as error:
                self._reset(session, error)
                return

    def _on_control(
        self, dial: Dial, session: Session, link: int, kind: int, fields: list[Any]
    ) -> None:
        if kind == c.ACK:
            now = self._core.clock.now()
            if not session.outbox.acknowledge(fields[0], fields[1], now):
                self._core.count("bad_acks")
            elif session.outbox.is_waiting and not session.is_dirty:
                self._core.mark(session)
            self.confirmed()
        elif kind == c.OPEN:
            self._on_open(session, link, fields[0], fields[1])
        elif kind == c.DELTA:
            self._on_delta(session, fields[0])
        elif kind == c.APPLIED:
            self._on_applied(session, fields[0])
        elif kind == c.PING:
            session.control(c.PONG, fields[0])
        elif kind == c.GOODBYE:
            self._on_goodbye(session, fields[0])
        elif kind == c.PEERS:
            self._on_peers(fields[0])
        elif kind == c.REFUSE:
            self._drop_dial(session)
        elif kind in (c.REPLY, c.CALLS, c.CALLS_MISSING):
            self.on_call_control(session, kind, fields)
        elif kind == c.GOODBYE_ACK:
            session.has_left = True
            self.confirmed()

    def _on_open(self, session: Session, link: int, next_number: int, fields: object) -> None:
        record = Record.from_wire(session.id, fields)
        missed = session.inbox.open(link, next_number)
        if missed != 0:
            self.gap(session, missed)
        previous = session.record
        session.record = record
        if session.outbox.link is None and session.hellos:
            # They failed here while their connection to us stayed up: begin anew on it.
            self._open(session)
        else:
            session.control(c.APPLIED, record.version)
        if session.is_joined and session.member is not None and previous is not None:
            session.member.record = record
            session.member.refresh()
            added = [p for p in record.interest if p not in previous.interest]
            removed = [p for p in previous.interest if p not in record.interest]
            if added or removed or record.services != previous.services:
                self.updated(session, added, removed)
        self._join_if_ready(session)

    def _on_delta(self, session: Session, delta: object) -> None:
        record = session.record
        if record is None:
            raise BadFrame("a record delta before the record")
        added, removed = record.apply(delta)
        if session.member is not None:
            session.member.refresh()
        if session.is_joined:
            self.updated(session, added, removed)
        session.control(c.APPLIED, record.version)

    def _on_applied(self, session: Session, version: int) -> None:
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
        if self._core.config.exchange:
            self._tell_peers(session)

    def _tell_peers(self, newcomer: Session) -> None:
        """Whom we know, for one that may know nobody else."""
        known = [
            [session.id, [session.address, *session.info_addresses]]
            for session in self._core.sessions.values()
            if session.state is State.ALIVE and session is not newcomer and session.dial is not None
        ]
        if known:
            newcomer.control(c.PEERS, known[: c.MAX_PEERS_TOLD])

    def _on_peers(self, peers: list[Any]) -> None:
        if not self._core.config.exchange:
            return
        for item in peers[: c.MAX_PEERS_TOLD]:
            match item:
                case [bytes(id), [*addresses]] if len(id) == frames.ID_SIZE and all(
                    frames.is_address(address) for address in addresses
                ):
                    self._dialer.hint(id, addresses)
                case _:
                    raise BadFrame("a peer is told as [id, [address, ...]]")

    def _reset(self, session: Session, error: BaseException) -> None:
        """A control lane that makes no sense is of no use: connect anew, which starts afresh."""
        self._core.count("link_resets")
        logger.warning("the link from %s is reset: %s", session.peer, error)
        address = session.address
        self._drop_dial(session)
        self._dialer.forget_address(address)
        self._dialer.hint(session.id, [address, *session.info_addresses], redial=True)

    # Our own record and our own leaving.

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
        for session in self._core.sessions.values():
            if session.outbox.link is not None:
                session.control(c.DELTA, delta)

    def unconfirmed(self, version: int) -> list[Member]:
        """Alive members in which ``version`` of our record is not in force yet."""
        return [
            session.member
            for session in self._core.sessions.values()
            if session.state is State.ALIVE
            and session.member is not None
            and session.acked_version < version
        ]

    def say_goodbye(self, reason: str) -> list[Session]:
        """Tell everybody that we leave; returns those whose answer is worth a moment's wait."""
        self._is_leaving = True
        told = [
            s for s in self._core.sessions.values() if s.is_joined and s.outbox.link is not None
        ]
        for session in told:
            session.control(c.GOODBYE, reason)
        return [session for session in told if session.state is State.ALIVE]

    def _on_goodbye(self, session: Session, reason: str) -> None:
        session.control(c.GOODBYE_ACK)
        session.flush()
        if self._is_leaving:
            return
        session.has_left = True
        self.left(session, reason)

    def end(self, session: Session) -> None:
        """The peer has failed or left: give back what it held; its numbers stay."""
        session.is_joined = False
        session.record = None
        session.acked_version = 0
        self._liveness.settle(session)
        self._drop_dial(session)
        lost = session.outbox.discard()
        session.outbox.close()
        if lost:
            self._core.count("messages_lost", lost)
        self._unacked.pop(session, None)
        session.lane.close()
        session.routes.clear()
        if session.has_left:
            self._dialer.drop(session.id)
        else:
            address = session.address
            self._dialer.forget_address(address)
            self._dialer.hint(session.id, [address, *session.info_addresses], redial=True)
