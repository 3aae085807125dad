"""The request/reply plane: request lanes out, reply routes back, and calls that outlive a link.

Requests go by a connection of their own to each peer, opened on first use, so a small call never
waits behind bulk on the link. Replies return on the connection that the request came by; when it
is gone they go over the link. A frame that reaches another process than it was meant for (a
successor on a dead node's port) is refused by name and never handled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mesh.engine import control as c
from mesh.engine.core import Core
from mesh.engine.liveness import Liveness
from mesh.engine.packing import check_size
from mesh.engine.ports import Lane
from mesh.engine.rings import Rings
from mesh.engine.session import LinkRoute, ReplyRoute, Session
from mesh.links import PARCEL_BYTES, Batch
from mesh.logs import get_logger
from mesh.ring import PREFERRED
from mesh.wire import frames
from mesh.wire.frames import BadFrame
from mesh.wire.split import leading_int
from patterns import messages as m
from patterns.port import Timer
from patterns.rpc import RpcClient, RpcServer

__all__ = ["CallPlane"]

logger = get_logger("mesh.rpc")

MAX_ROUTES_PER_PEER = 16
"""Connections a peer may have to our request socket; the oldest route is forgotten."""

MAX_CALLS_ASKED = 10_000
"""Call ids in one CALLS message, about 90 KB."""

SERVED_AT_ONCE = 32
"""Requests of one frame that are served before their replies leave, so that their caller goes on
while the others are served. With all in one go each side would wait for the other in turn."""

RENEWAL_GRACE = 1.0
"""Seconds for a reply under way, before a call that the peer no longer has is given up."""


class CallPlane:
    """Implements ``patterns.port.RpcPort`` and moves its entries."""

    def __init__(self, core: Core, local: Session, liveness: Liveness) -> None:
        self._core = core
        self.local = local
        self._local_route = LocalRoute(self, local)
        self._liveness = liveness
        self.random = core.random
        # Not a method around it: it is asked several times for each call.
        self.now: Callable[[], float] = core.clock.now
        self._arrived: list[tuple[Session, ReplyRoute, list[Any]]] = []
        self.rings: Rings
        self.client: RpcClient
        self.server: RpcServer

    # The port.

    def call_later(self, delay: float, callback: Any) -> Timer:
        return self._core.clock.call_later(delay, callback)

    def pack(self, value: Any) -> bytes:
        entry = self._core.codec.pack(value)
        if len(entry) > PARCEL_BYTES:
            check_size(entry, self._core.config.max_payload_bytes)
        return entry

    def unpack(self, entry: bytes) -> Any:
        return self._core.codec.unpack_all(entry, 1)[0]

    def owners(self, service: str, key: bytes) -> Sequence[Session]:
        return self.rings.service_owners(service, key)

    def other_owners(self, service: str, key: bytes) -> Sequence[Session]:
        if len(self.rings.service_owners(service, key)) < PREFERRED:
            return ()
        ids = [bytes.fromhex(peer.id) for peer in self.rings.owners(service, key)[PREFERRED:]]
        return [session for id in ids if (session := self.handle_of(id)) is not None]

    def handle_of(self, id: bytes) -> Session | None:
        if id == self._core.id:
            return self.local
        session = self._core.sessions.get(id)
        return session if session is not None and session.is_joined else None

    def send_request(self, target: Session, entry: bytes) -> None:
        if len(entry) > PARCEL_BYTES and target is not self.local:
            target.parcels.send(frames.REQUEST, entry, leading_int(entry))
            return
        lane = target.lane
        lane.queue.append(frames.REQUEST, entry)
        if not lane.is_dirty:
            self._core.flush_soonest(lane)

    def send_cancel(self, target: Session, call_id: int) -> None:
        entry = self._core.codec.pack(call_id)
        parcels = target.parcels
        if parcels.outgoing.is_in_use:
            if parcels.outgoing.give_up(frames.REQUEST, call_id):
                return
            # Its request may still be on its way there: this stays behind it.
            parcels.send(frames.CANCEL, entry)
        lane = target.lane
        lane.queue.append(frames.CANCEL, entry)
        if not lane.is_dirty:
            self._core.mark(lane)

    def send_reply(self, route: Any, entry: bytes) -> None:
        if len(entry) > PARCEL_BYTES and route is not self._local_route:
            route.session.parcels.send(frames.REPLY, entry, leading_int(entry))
            return
        route.queue.append(frames.REPLY, entry)
        if not route.is_dirty:
            self._core.mark(route)

    # Frames.

    def on_request_frame(self, route: bytes, frame: bytes) -> None:
        """Requests from somebody's lane."""
        core = self._core
        try:
            version, kind, sender, receiver, _, count = frames.unpack_data(frame)
            if version != frames.PROTOCOL_VERSION:
                raise BadFrame(f"protocol {version} on the request socket")
            session = core.sessions.get(sender)
            if receiver != core.id or session is None or session.record is None:
                self._refuse(route, sender)
                return
            entries = core.codec.unpack_all(memoryview(frame)[frames.DATA_HEADER_SIZE :], count)
        except BadFrame as error:
            core.count("bad_frames")
            core.tell.info(logger, "a request frame was refused: %s", error)
            return
        if kind == frames.REQUEST:
            self._arrived.append((session, self._route(session, route), entries))
        elif kind == frames.CANCEL:
            self._on_cancel(session, entries)
        else:
            core.count("bad_frames")

    def serve_arrived(self) -> None:
        """Start what the last drain brought.

        Not frame by frame: after a time in which Python was blocked, the cancellation of a call
        that has timed out meanwhile lies behind it in the same drain, and must be seen first.
        """
        arrived, self._arrived = self._arrived, []
        for session, route, entries in arrived:
            now = self.now()
            for first in range(0, len(entries), SERVED_AT_ONCE):
                if first:
                    route.flush()
                part = entries[first : first + SERVED_AT_ONCE]
                malformed = self.server.on_requests(session, route, part, now)
                if malformed:
                    self._core.count("bad_entries", malformed)

    def _on_cancel(self, session: Session, ids: list[Any]) -> None:
        given_up = {id for id in ids if type(id) is int}
        for caller, _, entries in self._arrived:
            if caller is session:
                entries[:] = [e for e in entries if not _is_call(e, given_up)]
        self.server.cancel(session.id, given_up)

    def _route(self, session: Session, route: bytes) -> ReplyRoute:
        known = session.routes.get(route)
        if known is None:
            if len(session.routes) >= MAX_ROUTES_PER_PEER:
                del session.routes[next(iter(session.routes))]
            known = session.routes[route] = ReplyRoute(session, route)
        return known

    # Parcels, by the link.

    def on_parcel(self, session: Session, kind: int, entry: Any) -> None:
        """A large request or reply, or a cancellation that stayed behind its request."""
        if kind == frames.REQUEST:
            self._arrived.append((session, LinkRoute(session, b""), [entry]))
        elif kind == frames.CANCEL:
            self._on_cancel(session, [entry])
        elif kind != frames.REPLY or self.client.on_replies(session, [entry]):
            self._core.count("bad_entries")

    def on_parcel_refused(self, session: Session, kind: int, call_id: int, text: str) -> None:
        """A request or reply is larger than this node takes: its caller is told."""
        if kind == frames.REQUEST:
            entry = self._core.codec.pack([call_id, m.STATUS_BAD_REQUEST, text])
            session.control(c.REPLY, entry)
        elif kind == frames.REPLY:
            reply = [call_id, m.STATUS_ERROR, "PayloadTooLarge", text, ""]
            self.client.on_replies(session, [reply])

    # Refusals.

    def _refuse(self, route: bytes, sender: bytes) -> None:
        """Whoever sent this meant another node, or one that does not know it."""
        self._core.count("refused_frames")
        header = frames.pack_data(frames.REFUSED, self._core.id, sender, 0, 0)
        self._core.transport.send_reply(route, header)

    def on_reply_frame(self, lane: Lane, frame: bytes) -> None:
        """Replies on one of our lanes."""
        core = self._core
        session = lane.owner
        try:
            version, kind, sender, receiver, _, count = frames.unpack_data(frame)
            if version != frames.PROTOCOL_VERSION or receiver != core.id:
                raise BadFrame("a reply frame for another node or protocol")
            if kind == frames.REFUSED:
                self._on_refused(session, sender)
                return
            if kind != frames.REPLY or sender != session.id:
                raise BadFrame(f"a frame of kind {kind} where replies belong")
            entries = core.codec.unpack_all(memoryview(frame)[frames.DATA_HEADER_SIZE :], count)
        except BadFrame as error:
            core.count("bad_frames")
            core.tell.info(logger, "a reply frame was refused: %s", error)
            return
        session.last_heard = core.clock.now()
        core.expects_batch = count > 1
        malformed = self.client.on_replies(session, entries)
        if malformed:
            core.count("bad_entries", malformed)

    def _on_refused(self, session: Session, actual: bytes) -> None:
        core = self._core
        core.count("refused_by_peer")
        session.lane.close()
        if actual == session.id:
            reason = "the peer does not know this node any more"
            self._liveness.forgotten_by(session)
        else:
            reason = f"another node ({actual.hex()[:8]}) answers at its address"
            if not session.links:
                self._liveness.fail(session, reason)
        self.client.on_lost(session, reason)

    # Calls and the life of links.

    def on_link_renewed(self, session: Session) -> None:
        """Its link was replaced; its request connection may have been, with calls in it."""
        on_their_way = session.parcels.outgoing.tags(frames.REQUEST)
        ids = [id for id in self.client.in_flight_at(session) if id not in on_their_way]
        if ids:
            session.control(c.CALLS, ids[:MAX_CALLS_ASKED])

    def on_control(self, session: Session, kind: int, fields: list[Any]) -> None:
        """REPLY, CALLS and CALLS_MISSING of the control lane."""
        if kind == c.REPLY:
            self.client.on_replies(session, [self.unpack(fields[0])])
            return
        ids = [id for id in fields[0] if type(id) is int]
        if kind == c.CALLS:
            known = self.server.running_of(session.id)
            known |= session.parcels.outgoing.tags(frames.REPLY)
            missing = [id for id in ids if id not in known]
            if missing:
                session.control(c.CALLS_MISSING, missing)
        else:
            reason = "its connection was replaced and the call, or its reply, was lost with it"
            self._core.clock.call_later(
                RENEWAL_GRACE, lambda: self.client.on_lost(session, reason, ids)
            )

    # The own node as a peer.

    def serve_local(self, batch: Batch) -> None:
        """What this node asks of itself: the same decoding, the same server."""
        decoded = self._decode_local(batch)
        if batch.kind == frames.CANCEL:
            self.server.cancel(self.local.id, decoded)
        else:
            self.server.on_requests(self.local, self._local_route, decoded)

    def settle_local(self, batch: Batch) -> None:
        self.client.on_replies(self.local, self._decode_local(batch))

    def _decode_local(self, batch: Batch) -> list[Any]:
        """One by one if need be: a type that cannot be decoded must not cost other calls."""
        codec = self._core.codec
        try:
            return codec.unpack_all(batch.frame(), batch.count)
        except BadFrame as error:
            logger.warning("a call of this node to itself could not be decoded: %s", error)
        decoded = []
        for entry in batch.entries:
            try:
                decoded += codec.unpack_all(entry, 1)
            except BadFrame:
                self._core.count("bad_frames")
        return decoded


class LocalRoute:
    """Replies of this node to itself."""

    __slots__ = ("is_dirty", "plane", "queue")

    def __init__(self, plane: CallPlane, local: Session) -> None:
        self.plane = plane
        self.queue = ReplyRoute(local, b"").queue
        self.is_dirty = False

    def flush(self) -> None:
        for _ in range(self.queue.seal()):
            taken = self.queue.pop()
            if taken is None:
                return
            self.plane.settle_local(taken[1])


def _is_call(entry: Any, ids: set[int]) -> bool:
    return isinstance(entry, list) and bool(entry) and type(entry[0]) is int and entry[0] in ids
