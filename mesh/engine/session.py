"""A session: everything this node holds for one other node while it knows it.

It is the handle that patterns see (``id``, ``peer``, ``outstanding``) and the place where the
halves of the link, the request lane and the liveness clocks of that peer meet. Sessions of ended
peers are kept while the membership remembers them: message numbers go on when the peer returns.
"""

from __future__ import annotations

from typing import Any

from mesh.engine.control import REPLY
from mesh.engine.core import Core
from mesh.engine.ports import Dial, Lane
from mesh.links import BatchQueue, Inbox, Outbox
from mesh.membership import Member, Peer, Record, State
from mesh.wire import frames

__all__ = ["MAX_CONTROL_BYTES", "ReplyRoute", "RequestLane", "Session"]

MAX_CONTROL_BYTES = 256 * 1024 - frames.LINK_HEADER_SIZE
"""A control frame is bounded like any other of the link."""

MAX_CONTROLS = 4096
"""Control messages in a frame."""


class Session:
    """One peer. ``flush`` sends what the link's window allows."""

    __slots__ = (
        "acked_version",
        "core",
        "dial",
        "has_left",
        "id",
        "inbox",
        "info_addresses",
        "is_accepted",
        "is_dirty",
        "is_joined",
        "is_replaced",
        "knows",
        "lane",
        "last_heard",
        "link",
        "links",
        "member",
        "outbox",
        "outstanding",
        "pinged_at",
        "record",
        "routes",
        "suspicion",
    )

    def __init__(self, core: Core, id: bytes) -> None:
        self.core = core
        self.id = id
        self.outbox = Outbox(self)
        self.inbox = Inbox()
        self.outstanding = 0
        self.is_dirty = False
        self.links: dict[int, None] = {}
        """Their link connections to us that are up, the newest last; none: they are gone."""
        self.link: int | None = None
        """The one of those in use: the newest when it was chosen."""
        self.is_accepted = False
        """Whether their info was right: our mesh, our protocol."""
        self.info_addresses: tuple[str, ...] = ()
        self.dial: Dial | None = None
        """Our link connection to them, once they have answered on it."""
        self.record: Record | None = None
        self.member: Member | None = None
        self.acked_version = 0
        """The version of our record that is in force there."""
        self.is_joined = False
        self.is_replaced = False
        """Whether somebody else has answered at its address."""
        self.knows = 0
        """How many nodes it knew when it opened its link."""
        self.has_left = False
        """Whether a goodbye was said, by either side: its id never comes back."""
        self.suspicion: Any = None
        self.last_heard = 0.0
        self.pinged_at: float | None = None
        self.lane = RequestLane(self)
        self.routes: dict[bytes, ReplyRoute] = {}

    @property
    def peer(self) -> Peer:
        """The node as users see it."""
        if self.member is not None:
            return self.member.peer
        return Peer(id=self.id.hex(), name=self.record.name if self.record else "unknown")

    @property
    def address(self) -> str:
        """Where its link socket is, as far as we know."""
        if self.dial is not None:
            return self.dial.address
        return self.member.address if self.member is not None else ""

    @property
    def state(self) -> State | None:
        """Its state as a member; None before it joined."""
        return self.member.state if self.is_joined and self.member is not None else None

    def control(self, *fields: Any) -> None:
        """Queue a control message; without a link it is void, the next OPEN says it all."""
        outbox = self.outbox
        if outbox.link is None:
            return
        outbox.control.append(self.core.pack(*fields))
        if not self.is_dirty:
            self.core.mark(self)

    def flush(self) -> None:
        """Send the control lane, then the batches that the window allows."""
        outbox = self.outbox
        link = outbox.link
        core = self.core
        if link is None:
            outbox.note_waiting(core.clock.now())
            return
        if outbox.control:
            self._flush_control(link)
        for batch in outbox.ready():
            header = frames.pack_link(
                self.id, link, batch.kind, core.id, batch.first, len(batch.entries)
            )
            core.transport.send_link(b"".join((header, *batch.entries)))
        if outbox.queue.batches or outbox.waiting_since is not None:
            outbox.note_waiting(core.clock.now())

    def hang_up(self) -> None:
        """Give up our connection to it."""
        dial, self.dial = self.dial, None
        if dial is not None:
            dial.owner = None
            self.core.transport.hang_up(dial)

    def _flush_control(self, link: int) -> None:
        entries, self.outbox.control = self.outbox.control, []
        start, size = 0, 0
        for index, entry in enumerate(entries):
            is_full = size + len(entry) > MAX_CONTROL_BYTES or index - start >= MAX_CONTROLS
            if size and is_full:
                self._send_control(link, entries[start:index])
                start, size = index, 0
            size += len(entry)
        self._send_control(link, entries[start:])

    def _send_control(self, link: int, entries: list[bytes]) -> None:
        header = frames.pack_link(self.id, link, frames.CONTROL, self.core.id, 0, len(entries))
        self.core.transport.send_link(b"".join((header, *entries)))


class RequestLane:
    """Requests to one peer: the queue of this turn, and the connection, opened on first use."""

    __slots__ = ("is_dirty", "lane", "queue", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.queue = BatchQueue()
        self.lane: Lane | None = None
        self.is_dirty = False

    def flush(self) -> None:
        session = self.session
        core = session.core
        record = session.record
        if record is None or not session.address:
            return
        while (batch := self.queue.pop()) is not None:
            header = frames.pack_data(
                batch.kind, core.id, session.id, session.link or 0, len(batch.entries)
            )
            frame = b"".join((header, *batch.entries))
            if not core.transport.send_request(self._open_lane(record), frame):
                core.count("lanes_reopened")
                self._drop_lane()
                core.transport.send_request(self._open_lane(record), frame)

    def _open_lane(self, record: Record) -> Lane:
        if self.lane is None:
            session = self.session
            host = session.address.rpartition(":")[0]
            self.lane = session.core.transport.open_lane(f"{host}:{record.rpc_port}")
            self.lane.owner = session
        return self.lane

    def _drop_lane(self) -> None:
        if self.lane is not None:
            self.session.core.transport.close_lane(self.lane)
            self.lane = None

    def close(self) -> None:
        self.queue.clear()
        self._drop_lane()


class ReplyRoute:
    """Replies on the way back by the connection that the requests came by."""

    __slots__ = ("is_dirty", "queue", "route", "session")

    def __init__(self, session: Session, route: bytes) -> None:
        self.session = session
        self.route = route
        self.queue = BatchQueue()
        self.is_dirty = False

    def flush(self) -> None:
        session = self.session
        core = session.core
        while (batch := self.queue.pop()) is not None:
            header = frames.pack_data(
                batch.kind, core.id, session.id, session.link or 0, len(batch.entries)
            )
            result = core.transport.send_reply(self.route, b"".join((header, *batch.entries)))
            if result == "gone":
                self._send_by_link(batch.entries)
            elif result == "full":
                core.count("replies_lost", len(batch.entries))

    def _send_by_link(self, entries: list[bytes]) -> None:
        """The connection is gone but the peer may not be: its link still reaches it."""
        session = self.session
        for entry in entries:
            if len(entry) < MAX_CONTROL_BYTES - 64:
                session.control(REPLY, entry)
            else:
                session.core.count("replies_lost")
