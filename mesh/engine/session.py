"""A session: everything this node holds for one other node while it knows it.

It is the handle that patterns see (``id``, ``peer``, ``outstanding``) and the place where the
halves of the link, the request lane and the liveness clocks of that peer meet. Sessions of ended
peers are kept while the membership remembers them: message numbers go on when the peer returns.
"""

from __future__ import annotations

from typing import Any

from mesh.engine.control import LOST, REPLY
from mesh.engine.core import Core
from mesh.engine.parcel_lane import ParcelLane
from mesh.engine.ports import Dial, Lane
from mesh.engine.stream_lane import StreamLane
from mesh.links import Batch, BatchQueue, EntryQueue, Inbox, Outbox
from mesh.logs import get_logger
from mesh.membership import Member, Peer, Record, State
from mesh.wire import frames
from mesh.wire.split import leading_int

__all__ = ["MAX_CONTROL_BYTES", "LinkRoute", "ReplyRoute", "RequestLane", "Session", "WorkLane"]

logger = get_logger("mesh.groupcast")
rpc_logger = get_logger("mesh.rpc")

MAX_CONTROL_BYTES = 256 * 1024 - frames.LINK_HEADER_SIZE
"""A control frame is bounded like any other of the link."""

MAX_CONTROLS = 4096
"""Control messages in a frame."""


class Session:
    """One peer. ``flush`` sends what the link's window allows."""

    __slots__ = (
        "acked_version",
        "alone",
        "answered_at",
        "core",
        "dial",
        "has_dialled_again",
        "has_left",
        "id",
        "inbox",
        "info_addresses",
        "is_accepted",
        "is_dirty",
        "is_doubted",
        "is_joined",
        "is_replaced",
        "is_uncounted",
        "knows",
        "lane",
        "last_heard",
        "link",
        "links",
        "may_return",
        "member",
        "outbox",
        "outstanding",
        "parcels",
        "pinged_at",
        "record",
        "routes",
        "streams",
        "suspicion",
        "work",
    )

    def __init__(self, core: Core, id: bytes) -> None:
        self.core = core
        self.id = id
        self.alone = (self,)
        """The targets of what goes to it alone: always the same tuple."""
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
        self.is_doubted = False
        """Whether users were told that what came from it may be incomplete, and not by how much."""
        self.may_return = False
        """Whether it failed by silence alone."""
        self.is_uncounted = False
        """Whether there may have been messages for it that took no number."""
        self.has_dialled_again = False
        """Whether it has connected to us once more, and we have not heard it since."""
        self.answered_at: dict[int, float] = {}
        """When it was told whom we know last, by the kind of its question."""
        self.knows = 0
        """How many nodes it knew when it opened its link."""
        self.has_left = False
        """Whether a goodbye was said, by either side: its id never comes back."""
        self.suspicion: Any = None
        self.last_heard = 0.0
        self.pinged_at: float | None = None
        self.lane = RequestLane(self)
        self.routes: dict[bytes, ReplyRoute] = {}
        self.work = WorkLane(self)
        self.parcels = ParcelLane(self)
        self.streams = StreamLane(self)

    @property
    def is_observer(self) -> bool:
        """Whether it takes no work."""
        return self.record is not None and self.record.is_observer

    @property
    def is_gone(self) -> bool:
        """Whether it is no member, and there is no connection either way."""
        return not self.is_joined and not self.links and self.dial is None

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
        now = core.clock.now()
        if link is None:
            outbox.note_waiting(now)
            return
        if outbox.control:
            self._flush_control(link)
        for first, batch in outbox.ready(now):
            if outbox.losses.counts:
                self.tell_losses(link)
            kind = batch.kind | frames.IN_PARTS if batch.payload else batch.kind
            header = frames.pack_link(self.id, link, kind, core.id, first, batch.count)
            core.transport.send_link(batch.frame(header), batch.payload)
        if outbox.queue.batches or outbox.waiting_since is not None:
            outbox.note_waiting(now)

    def tell_losses(self, link: int) -> None:
        """Say which messages were dropped; only when the peer takes some, which bounds it."""
        self._send_control(link, [self.core.pack(LOST, self.outbox.losses.take())])

    def reconnect_lanes(self) -> None:
        """It is reached in another way now; the lanes connect there when they are used."""
        self.lane.reconnect()
        self.work.reconnect()

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
        while (taken := self.queue.pop()) is not None:
            _, batch = taken
            frame = batch.frame(
                frames.pack_data(batch.kind, core.id, session.id, session.link or 0, batch.count)
            )
            try:
                if not core.transport.send_request(self._open_lane(record), frame):
                    core.count("lanes_reopened")
                    self.reconnect()
                    core.transport.send_request(self._open_lane(record), frame)
            except OSError as error:
                # No descriptor left. The link is there, and carries them, too.
                core.count("lanes_not_opened")
                rpc_logger.info("no connection for calls to %s: %s", session.peer, error)
                self._send_by_link(batch)

    def _send_by_link(self, batch: Batch) -> None:
        for entry in batch.entries:
            tag = leading_int(entry) if batch.kind == frames.REQUEST else None
            self.session.parcels.send(batch.kind, entry, tag)

    def _open_lane(self, record: Record) -> Lane:
        if self.lane is None:
            session = self.session
            host = session.address.rpartition(":")[0]
            self.lane = session.core.transport.open_lane(f"{host}:{record.rpc_port}", session.id)
            self.lane.owner = session
        return self.lane

    def reconnect(self) -> None:
        """Use another connection from the next frame on."""
        if self.lane is not None:
            self.session.core.transport.close_lane(self.lane)
            self.lane = None

    def close(self) -> None:
        self.queue.clear()
        self.reconnect()


class WorkLane:
    """Casts to one peer: the queue of this turn, and the connection."""

    __slots__ = ("is_dirty", "lane", "queue", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.queue = EntryQueue()
        self.lane: Lane | None = None
        self.is_dirty = False

    def prepare(self) -> None:
        """Connect, so that the way is open when credit comes."""
        session = self.session
        record = session.record
        if self.lane is None and record is not None and session.address:
            host = session.address.rpartition(":")[0]
            try:
                self.lane = session.core.transport.open_work_lane(
                    f"{host}:{record.work_port}", session.id
                )
            except OSError as error:
                # No descriptor left. What waits here goes when the next one finds one.
                session.core.count("lanes_not_opened")
                logger.info("no connection for work to %s: %s", session.peer, error)
            else:
                self.lane.owner = session

    def flush(self) -> None:
        session = self.session
        link, queue = session.inbox.link, self.queue
        if link is None or not queue.entries:
            return
        self.prepare()
        core, lane = session.core, self.lane
        while lane is not None and queue.entries:
            entries = queue.head()
            header = frames.pack_link(
                session.id, link, frames.CAST, core.id, queue.first, len(entries)
            )
            if not core.transport.send_work(lane, b"".join((header, *entries))):
                return
            queue.drop(len(entries))

    def close(self) -> None:
        """Disconnect; what waits is given to others."""
        self.queue.clear()
        self.reconnect()

    def reconnect(self) -> None:
        """Disconnect; what waits goes by the next connection."""
        lane, self.lane = self.lane, None
        if lane is not None:
            lane.owner = None
            self.session.core.transport.close_lane(lane)


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
        while (taken := self.queue.pop()) is not None:
            _, batch = taken
            header = frames.pack_data(
                batch.kind, core.id, session.id, session.link or 0, batch.count
            )
            result = core.transport.send_reply(self.route, batch.frame(header))
            if result == "gone":
                self._send_by_link(batch)
            elif result == "full":
                core.count("replies_lost", batch.count)

    def _send_by_link(self, batch: Batch) -> None:
        """The connection is gone but the peer may not be: its link still reaches it."""
        session = self.session
        for entry in batch.entries:
            if len(entry) < MAX_CONTROL_BYTES - 64:
                session.control(REPLY, entry)
            else:
                session.parcels.send(frames.REPLY, entry, leading_int(entry))


class LinkRoute(ReplyRoute):
    """Replies to requests that came by the link, as parcels."""

    __slots__ = ()

    def flush(self) -> None:
        while (taken := self.queue.pop()) is not None:
            self._send_by_link(taken[1])
