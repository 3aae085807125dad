"""The link plane: hellos in, frames out, and the steps from a stranger to a known peer.

How two nodes join. A dials B's link socket with a hello and an info; B sees both and checks mesh
and protocol. If they fit, B opens its half of the link on that connection (OPEN, with B's record)
and dials A back if it has no connection to it yet. A does the same the other way round. Each side
applies the other's record and says so; ``mesh.engine.control_lane`` goes on from there.

A link epoch is one connection: its number is new for each hello. The newest is used; when it ends
and another is left, a new epoch begins on that one; a peer that has none left is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from mesh.engine import control as c
from mesh.engine.control_lane import ControlLane
from mesh.engine.core import Core
from mesh.engine.dialer import Dialer
from mesh.engine.liveness import Liveness
from mesh.engine.parcel_plane import ParcelPlane
from mesh.engine.ports import Dial
from mesh.engine.session import Session
from mesh.engine.targets import Target, Why
from mesh.logs import get_logger
from mesh.wire import frames
from mesh.wire.frames import BadFrame
from patterns.port import Handle

__all__ = ["MAX_SESSIONS", "LinkPlane"]

logger = get_logger("mesh.link")

MAX_SESSIONS = 4096
"""Nodes known at once, ended ones included: four times what the design is for."""

MAX_UNJOINED = 256
"""Nodes remembered that we had a link with and that never were members: who has just said goodbye
and hears of us, who was killed as it came."""

MAX_STRANGERS = 256
"""Hellos without an info: the info follows at once, on the same connection."""

MAX_LINKS_PER_PEER = 8
"""Connections of one peer that are remembered: an honest one has one, for moments two."""

REPLACED = "another node answers at its address"

IDLE_ACK_AFTER = 0.05
"""Seconds after which consumed bytes below the regular step are acknowledged too."""

Deliver = Callable[[int, Handle, Sequence[Any], int, int, Callable[[int], None]], None]


class LinkPlane:
    """Connections, frames, windows and gaps of all links; see ``ControlLane`` for the rest.

    ``deliver`` takes the entries of one frame of user messages.
    """

    def __init__(
        self,
        core: Core,
        dialer: Dialer,
        liveness: Liveness,
        control: ControlLane,
        deliver: Deliver,
        parcels: ParcelPlane,
    ) -> None:
        self._core = core
        self._dialer = dialer
        self._liveness = liveness
        self._control = control
        self._deliver = deliver
        self._parcels = parcels
        self.lost: Callable[[Session], None]
        """Called when a known peer has no link to us any more."""
        self.on_stream_frame: Callable[[Session, frames.LinkHeader, memoryview], None]
        """Called with messages of streams, and may raise BadFrame."""
        self.forgotten: Callable[[Session], None]
        """Called when nothing of a peer is remembered any more."""
        self._unacked: dict[Session, None] = {}
        self._strangers: dict[bytes, int] = {}
        """Link numbers of hellos whose info has not been read, the oldest first."""

    # Their side of the handshake: somebody connected to us.

    def session(self, id: bytes) -> Session | None:
        """The session with ``id``, made on demand; None when there are too many."""
        sessions = self._core.sessions
        session = sessions.get(id)
        if session is None:
            if len(sessions) - len(self._core.membership) >= MAX_UNJOINED:
                self._forget_first(s for s in sessions.values() if s.member is None and s.is_gone)
            if len(sessions) >= MAX_SESSIONS and not self._make_room():
                self._core.count("peers_refused")
                return None
            session = sessions[id] = Session(self._core, id)
        return session

    def _make_room(self) -> bool:
        """First by what is gone, then by the oldest that never joined."""
        sessions = self._core.sessions.values()
        return self._forget_first(s for s in sessions if s.is_gone) or self._forget_first(
            s for s in sessions if not s.is_joined and not s.has_left
        )

    def _forget_first(self, sessions: Iterator[Session]) -> bool:
        session = next(sessions, None)
        if session is None:
            return False
        session.hang_up()
        self._core.forgotten.add(self._core.sessions.pop(session.id))
        self._core.next_era()
        self.forgotten(session)
        return True

    def forget_member(self, id: bytes) -> None:
        """Nobody remembers it as a member: nor do we what was between it and us.

        Should it come back, which hardly any does, its gap is unknown.
        """
        session = self._core.sessions.get(id)
        if session is not None and session.is_gone:
            self._forget_first(iter((session,)))

    def on_hello(self, id: bytes, link: int) -> None:
        """A connection of ``id`` came up. Only its info makes a stranger more than a number."""
        session = self._core.sessions.get(id)
        if session is None:
            self._strangers.pop(id, None)
            self._strangers[id] = link
            if len(self._strangers) > MAX_STRANGERS:
                del self._strangers[next(iter(self._strangers))]
            return
        is_second = bool(session.links)
        session.links[link] = None
        session.link = link
        if len(session.links) > MAX_LINKS_PER_PEER:
            del session.links[next(iter(session.links))]
        if session.is_accepted and not session.has_left:
            self._control.open_link(session)
            self._liveness.link_up(session)
            if is_second and session.is_joined:
                self._liveness.linked_twice(session)

    def on_info(self, topic: bytes) -> None:
        """What the node behind a hello says of itself."""
        try:
            id, info = frames.unpack_info(topic)
        except BadFrame as error:
            self._core.count("bad_frames")
            self._core.tell.info(logger, "a malformed info was ignored: %s", error)
            return
        link = self._strangers.pop(id, None)
        refusal = self._refusal_of(id, info)
        if refusal is None and link is not None:
            refusal = self._lack_of_room(id)
        if refusal is not None:
            if link is not None:
                self._refuse(id, link, *refusal)
            return
        session = self.session(id)
        if session is None or session.has_left:
            return
        if link is not None:
            session.links[link] = None
            session.link = link
        if not session.is_accepted:
            session.is_accepted = True
            self._control.open_link(session)
        self.readdressed(session, tuple(info["link"]))
        if session.dial is None:
            self._dialer.invited(session.info_addresses)
            self._dialer.hint(id, session.info_addresses)

    def readdressed(self, session: Session, addresses: tuple[str, ...]) -> None:
        """It says where it can be dialled; if that is elsewhere than before we dial it there."""
        before, session.info_addresses = session.info_addresses, addresses
        # What it says first may not be where we reach it (a forwarded port, a name): no move.
        is_news = before not in ((), addresses)
        if is_news and session.dial is not None and self._has_moved(session):
            self.renew(session)

    def _refusal_of(self, id: bytes, info: frames.LinkInfo) -> tuple[str, str] | None:
        """Why a node with that info gets no link: code and text; None when it is welcome."""
        if id == self._core.id:
            return c.REFUSED_SELF, "you reached yourself"
        if info["v"] != frames.PROTOCOL_VERSION:
            ours = frames.PROTOCOL_VERSION
            return c.REFUSED_PROTOCOL, f"this node speaks protocol {ours}, you speak {info['v']}"
        ours_too = self._core.config.mesh
        if info["mesh"] != ours_too:
            return c.REFUSED_MESH, f"this is mesh {ours_too!r}, not {info['mesh']!r:.80}"
        return None

    def _lack_of_room(self, id: bytes) -> tuple[str, str] | None:
        """A stranger whom we could not dial back would keep a connection, and gain nothing."""
        shortage = self._core.transport.shortage()
        if shortage is None or self._dialer.is_dialling(id):
            return None
        self._core.count("peers_refused")
        self._dialer.tell_shortage("no link for a node that dialled us", shortage)
        return c.REFUSED_FULL, shortage

    def _refuse(self, id: bytes, link: int, code: str, text: str) -> None:
        entry = self._core.pack(c.REFUSE, code, text)
        header = frames.pack_link(id, link, frames.CONTROL, self._core.id, 0, 1)
        self._core.transport.send_link(header + entry)

    def on_bye(self, id: bytes, link: int) -> None:
        """A connection of ``id`` is gone."""
        if self._strangers.get(id) == link:
            del self._strangers[id]
        session = self._core.sessions.get(id)
        if session is None or link not in session.links:
            return
        del session.links[link]
        if session.link != link:
            return
        if session.links:
            # They gave up the newest of several ways and are still there by an older one.
            session.link = next(reversed(session.links))
            if session.is_accepted and not session.has_left:
                self._control.open_link(session)
            return
        if session.dial is not None:
            # Its goodbye came by another connection, and may lie there unread.
            self._core.transport.catch_up(session.dial)
        session.link = None
        session.outbox.close()
        self.lost(session)
        if session.is_joined and session.is_replaced:
            self._liveness.fail(session, REPLACED)
        elif session.is_joined and not session.has_left:
            self._liveness.link_lost(session, "its link was lost")
            self._try_other_ways(session)
        else:
            session.is_accepted = False
            if session.dial is not None and not session.has_left:
                self.renew(session)

    def renew(self, session: Session) -> None:
        """Dial anew one that is silent.

        A joined peer keeps the connection that it has until it answers on the new one: its Python
        may be blocked, or one side may have lost what the other believes to have, and a new hello
        heals that. One that answered our dial and never joined is given up: its address may be
        somebody else's by now.
        """
        addresses = [session.address, *session.info_addresses]
        if self._has_moved(session):
            addresses = addresses[1:] + addresses[:1]
        if session.is_joined:
            self._dialer.hint(session.id, addresses, Why.RENEWAL)
            return
        self._dialer.forget_address(session.address)
        session.hang_up()
        session.record = None
        self._dialer.hint(session.id, addresses)

    def _try_other_ways(self, session: Session) -> None:
        """Its link was lost, and libzmq connects again where it was: perhaps it is elsewhere now,
        or that way is cut and another is not."""
        others = [a for a in session.info_addresses if a != session.address]
        self._dialer.hint(session.id, others, Why.RENEWAL)

    @staticmethod
    def _has_moved(session: Session) -> bool:
        """Whether it says that it is elsewhere than where it answered us."""
        return bool(session.info_addresses) and session.address not in session.info_addresses

    # Our side: frames on the connections that we dialled.

    def on_link_frame(self, dial: Dial, frame: bytes, payload: bytes) -> None:
        """One frame from whoever listens at the dialled address."""
        try:
            header = frames.unpack_link(frame)
        except BadFrame as error:
            self._bad_frame(dial, error)
            return
        _, link, version, kind, sender, _, count = header
        owner = dial.owner
        if version != frames.PROTOCOL_VERSION:
            text = f"the peer speaks protocol {version}"
            self._dialer.refused(dial, c.REFUSED_PROTOCOL, text)
            if isinstance(owner, Session):
                self._lose_dial(owner, dial.address)
            return
        body = memoryview(frame)[frames.LINK_HEADER_SIZE :]
        if type(owner) is Session and sender == owner.id:
            owner.last_heard = self._core.clock.now()
            if owner.pinged_at is not None:
                self._liveness.heard(owner)
            try:
                if kind == frames.CONTROL:
                    entries = self._core.codec.unpack_all(body, count)
                    self._control.on_entries(owner, link, entries)
                elif kind in (frames.CHUNK, frames.STREAM):
                    self._on_bulk_frame(owner, header, body)
                else:
                    self._on_data_frame(owner, header, body, payload)
            except BadFrame as error:
                self._control.reset(owner, error)
        elif kind == frames.CONTROL:
            self._on_stranger(dial, sender, link, body, count)

    def _on_bulk_frame(self, session: Session, header: frames.LinkHeader, body: memoryview) -> None:
        if header.link != session.inbox.link:
            self._core.count("stale_frames")
        elif header.kind == frames.CHUNK:
            self._parcels.on_chunk(session, body)
        else:
            self.on_stream_frame(session, header, body)

    def _on_data_frame(
        self, session: Session, header: frames.LinkHeader, body: memoryview, payload: bytes
    ) -> None:
        _, link, _, kind, _, first, count = header
        size = len(body) + len(payload)
        missed = session.inbox.receive(link, first, count, size)
        if missed is None:
            self._core.count("stale_frames")
            return
        if missed:
            self._control.gap(session, missed)
        if session.inbox.untold:
            missed += session.inbox.take_untold()
        release = partial(self._release, session, link)
        codec = self._core.codec
        try:
            if kind & frames.IN_PARTS:
                kind = frames.kind_of_message(kind)
                entries = codec.unpack_with(body, payload)
            else:
                entries = codec.unpack_all(body, count)
        except BadFrame as error:
            self._core.count("bad_frames")
            text = "a frame of %s could not be decoded: %s"
            self._core.tell.info(logger, text, session.peer, error)
            self._control.gap(session, count)
            release(size)
            return
        if kind == frames.PARCEL:
            release(size)
            self._parcels.on_numbers(session, entries, missed)
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
            self._on_self(dial)
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
        owner = dial.owner
        if isinstance(owner, Session) and kind in (c.OPEN, c.REFUSE):
            self._on_wrong_peer(dial, owner, sender)
            return
        if kind == c.REFUSE:
            self._dialer.refused(dial, fields[0], fields[1])
            return
        if kind != c.OPEN:
            return
        session = self.session(sender)
        if session is None or session.has_left:
            self._dialer.refused(dial, "left", "that node has said goodbye")
            return
        expected = owner.id if isinstance(owner, Target) else None
        self._dialer.answered(dial, sender)
        if self._is_stale(dial, session, fields):
            self._core.transport.hang_up(dial)
            return
        if expected is not None and expected != sender:
            self._on_replaced(expected, dial.address)
        self._bind(dial, session)
        self._control.on_entries(session, link, entries)

    def _bind(self, dial: Dial, session: Session) -> None:
        """From now on ``dial`` is our connection to that peer."""
        if session.dial is not None and session.dial is not dial:
            older = session.dial
            self._core.transport.hang_up(older)
            if older.address != dial.address:
                session.reconnect_lanes()
        session.dial = dial
        session.is_replaced = False
        dial.owner = session
        session.last_heard = self._core.clock.now()
        session.pinged_at = None
        session.has_dialled_again = False
        member = session.member
        if session.is_joined and member is not None and member.address != dial.address:
            member.address = dial.address
            member.refresh()
            self._control.updated(session, [], [])

    def _is_stale(self, dial: Dial, session: Session, fields: list[Any]) -> bool:
        """Whether an OPEN on a second dial is older than what came by the first.

        Two dials are two connections, and a Python that was blocked may read the older one last.
        So all that has come by the first is read before: mostly it was sent before this epoch.
        """
        if session.dial is not None and session.dial is not dial:
            self._core.transport.catch_up(session.dial)
        if session.dial is None or session.record is None or session.inbox.expected is None:
            return False
        next_number, record = fields[0], fields[1]
        version = record.get("version")
        is_older = isinstance(version, int) and version < session.record.version
        return next_number < session.inbox.expected or is_older

    def _on_self(self, dial: Dial) -> None:
        expected = dial.owner
        self._dialer.reached_self(dial)
        if isinstance(expected, Session):
            self._lose_dial(expected, dial.address)

    def _on_wrong_peer(self, dial: Dial, expected: Session, actual: bytes) -> None:
        """Another node answers at a linked peer's address."""
        self._dialer.forget_address(dial.address)
        self._lose_dial(expected, dial.address)
        self._dialer.hint(actual, [dial.address])

    def _lose_dial(self, session: Session, address: str) -> None:
        """Somebody else has the address that it had: it is elsewhere, or gone."""
        self._on_replaced(session.id, address)
        session.hang_up()
        self._dialer.hint(session.id, [a for a in session.info_addresses if a != address])

    def _on_replaced(self, id: bytes, address: str) -> None:
        """Evidence, unless its own connection to us proves the contrary, as yet.

        Only where it answered us: of its other addresses some are another's in our network.
        """
        session = self._core.sessions.get(id)
        if session is None or session.address != address:
            return
        session.is_replaced = True
        if not session.links:
            self._liveness.fail(session, REPLACED)

    def _bad_frame(self, dial: Dial, error: BadFrame) -> None:
        self._core.count("bad_frames")
        self._core.tell.info(logger, "a frame from %s was refused: %s", dial.address, error)

    def end(self, session: Session) -> None:
        """The peer has failed or left: give back what it held; its numbers stay."""
        session.is_joined = False
        session.record = None
        session.pinged_at = None
        session.acked_version = 0
        self._liveness.settle(session)
        session.hang_up()
        self._parcels.end(session)
        lost = session.outbox.discard()
        session.outbox.close()
        if lost:
            self._core.count("messages_lost", lost)
        self._unacked.pop(session, None)
        session.lane.close()
        session.routes.clear()
        if session.has_left:
            self._dialer.left(session.id)
        else:
            address = session.address
            self._dialer.forget_address(address)
            self._dialer.hint(session.id, [address, *session.info_addresses], Why.REDIAL)
