"""The link plane: hellos in, frames out, and the steps from a stranger to a known peer.

How two nodes join. A dials B's link socket with a hello and an info; B sees both and checks mesh
and protocol. If they fit, B opens its half of the link on that connection (OPEN, with B's record)
and dials A back if it has no connection to it yet. A does the same the other way round. Each side
applies the other's record and says so; ``mesh.engine.control_lane`` goes on from there.

A link epoch is one connection: its number is new for each hello. The newest is used; when it ends
and another is left, a new epoch begins on that one; a peer that has none left is gone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mesh.engine import control as c
from mesh.engine.control_lane import ControlLane
from mesh.engine.core import Core
from mesh.engine.dialer import Dialer, Target, Why
from mesh.engine.liveness import Liveness
from mesh.engine.ports import Dial
from mesh.engine.session import Session
from mesh.wire import frames
from mesh.wire.frames import BadFrame
from patterns.port import Handle

__all__ = ["MAX_SESSIONS", "LinkPlane"]

logger = logging.getLogger("mesh.link")

MAX_SESSIONS = 4096
"""Nodes known at once, ended ones included: four times what the design is for."""

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
    ) -> None:
        self._core = core
        self._dialer = dialer
        self._liveness = liveness
        self._control = control
        self._deliver = deliver
        self._unacked: dict[Session, None] = {}
        self._strangers: dict[bytes, int] = {}
        """Link numbers of hellos whose info has not been read, the oldest first."""

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
        """Make room: first by what is gone, then by the oldest that never joined."""
        sessions = self._core.sessions
        gone = (s for s in sessions.values() if not s.is_joined and not s.links and s.dial is None)
        session = next(gone, None) or next(
            (s for s in sessions.values() if not s.is_joined and not s.has_left), None
        )
        if session is None:
            return False
        session.hang_up()
        del sessions[session.id]
        return True

    def on_hello(self, id: bytes, link: int) -> None:
        """A connection of ``id`` came up. Only its info makes a stranger more than a number."""
        session = self._core.sessions.get(id)
        if session is None:
            self._strangers.pop(id, None)
            self._strangers[id] = link
            if len(self._strangers) > MAX_STRANGERS:
                del self._strangers[next(iter(self._strangers))]
            return
        session.links[link] = None
        session.link = link
        if len(session.links) > MAX_LINKS_PER_PEER:
            del session.links[next(iter(session.links))]
        if session.is_accepted and not session.has_left:
            self._control.open_link(session)
            self._liveness.link_up(session)

    def on_info(self, topic: bytes) -> None:
        """What the node behind a hello says of itself."""
        try:
            id, info = frames.unpack_info(topic)
        except BadFrame as error:
            self._core.count("bad_frames")
            logger.info("a malformed info was ignored: %s", error)
            return
        link = self._strangers.pop(id, None)
        refusal = self._refusal_of(id, info)
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
        session.info_addresses = tuple(info["link"])
        if not session.is_accepted:
            session.is_accepted = True
            self._control.open_link(session)
        if session.dial is None:
            self._dialer.hint(id, session.info_addresses)

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
        if session.is_joined and session.is_replaced:
            self._liveness.fail(session, REPLACED)
        elif session.is_joined and not session.has_left:
            self._liveness.link_lost(session, "its link was lost")
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
        if session.is_joined:
            self._dialer.hint(session.id, addresses, Why.RENEWAL)
            return
        session.hang_up()
        session.record = None
        self._dialer.forget_address(addresses[0])
        self._dialer.hint(session.id, addresses)

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
                self._on_control_frame(owner, link, body, count)
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
            self._control.gap(session, missed)
        size = len(body)
        release = partial(self._release, session, link)
        try:
            entries = self._core.codec.unpack_all(body, count)
        except BadFrame as error:
            self._core.count("bad_frames")
            logger.info("a frame of %s could not be decoded: %s", session.peer, error)
            self._control.gap(session, count)
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
        if self._is_stale(session, fields):
            self._core.transport.hang_up(dial)
            return
        if expected is not None and expected != sender:
            self._on_replaced(expected)
        self._bind(dial, session)
        self._control.on_entries(session, link, entries)

    def _bind(self, dial: Dial, session: Session) -> None:
        """From now on ``dial`` is our connection to that peer."""
        if session.dial is not None and session.dial is not dial:
            # Two ways to one peer: what came by the older was sent before this epoch began.
            older = session.dial
            self._core.transport.catch_up(older)
            self._core.transport.hang_up(older)
        session.dial = dial
        session.is_replaced = False
        dial.owner = session
        session.last_heard = self._core.clock.now()

    def _is_stale(self, session: Session, fields: list[Any]) -> bool:
        """Whether an OPEN on a second dial is older than what came by the first.

        Two dials are two connections, and a Python that was blocked may read the older one last.
        """
        if session.dial is None or session.record is None or session.inbox.expected is None:
            return False
        next_number, record = fields[0], fields[1]
        version = record.get("version")
        is_older = isinstance(version, int) and version < session.record.version
        return next_number < session.inbox.expected or is_older

    def _on_wrong_peer(self, dial: Dial, expected: Session, actual: bytes) -> None:
        """Another node answers at a linked peer's address: its process is gone."""
        address = dial.address
        expected.hang_up()
        self._dialer.forget_address(address)
        self._on_replaced(expected.id)
        self._dialer.hint(actual, [address])

    def _on_replaced(self, id: bytes) -> None:
        """Evidence, unless its own connection to us proves the contrary, as yet."""
        session = self._core.sessions.get(id)
        if session is None:
            return
        session.is_replaced = True
        if not session.links:
            self._liveness.fail(session, REPLACED)

    def _bad_frame(self, dial: Dial, error: BadFrame) -> None:
        self._core.count("bad_frames")
        logger.info("a frame from %s was refused: %s", dial.address, error)

    # The control lane.

    def _on_control_frame(self, session: Session, link: int, body: memoryview, count: int) -> None:
        try:
            entries = self._core.codec.unpack_all(body, count)
        except BadFrame as error:
            self._control.reset(session, error)
            return
        self._control.on_entries(session, link, entries)

    def end(self, session: Session) -> None:
        """The peer has failed or left: give back what it held; its numbers stay."""
        session.is_joined = False
        session.record = None
        session.pinged_at = None
        session.acked_version = 0
        self._liveness.settle(session)
        session.hang_up()
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
            self._dialer.hint(session.id, [address, *session.info_addresses], Why.REDIAL)
