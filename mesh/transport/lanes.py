"""The sockets of calls and of work: a ROUTER and a PULL bound, and a DEALER and a PUSH for each
peer that is called or given work.

With keys a frame is let in when its sender's id belongs to the key of the connection that it came
by. A ROUTER numbers its connections, so that is looked up once for each; a PULL does not, and asks
for every frame, each of many casts.
"""

from __future__ import annotations

from typing import Any

import zmq

from mesh.engine.ports import Lane, ReplyResult
from mesh.security import Credentials
from mesh.transport import descriptors
from mesh.transport.backlog import Backlog
from mesh.transport.making import SocketMaker
from mesh.transport.sockets import (
    MAX_PUSH_INPUT_BYTES,
    REQUEST_DRAIN,
    DrainedSocket,
    PushSocket,
    bind,
    connect,
    skip_rest,
)
from mesh.wire import frames

__all__ = ["ZERO_COPY_BYTES", "Lanes"]

# Plain ints: pyzmq's enum members cost several times as much, at every send and receive.
_NOBLOCK = int(zmq.NOBLOCK)
_SNDMORE = int(zmq.SNDMORE)
_RCVMORE = int(zmq.RCVMORE)

ZERO_COPY_BYTES = 64 * 1024
"""Frames from here on are handed to libzmq without a copy; below, copying is cheaper."""

MAX_USERS = 8192
"""Connections whose owner is remembered; one more is looked up anew, and so are the others."""


class _Lane:
    """One DEALER connected to one peer's ROUTER."""

    __slots__ = ("backlog", "dealer", "owner")

    def __init__(self) -> None:
        self.backlog = Backlog()
        self.owner: Any = None
        self.dealer: DrainedSocket | None = None


class _WorkLane:
    """One PUSH connected to one peer's PULL."""

    __slots__ = ("owner", "push")

    def __init__(self) -> None:
        self.owner: Any = None
        self.push: PushSocket | None = None


class Lanes:
    """Bound by ``open``. ``max_work_bytes`` bounds a frame of casts."""

    def __init__(
        self, maker: SocketMaker, credentials: Credentials | None, max_work_bytes: int
    ) -> None:
        self._maker = maker
        self._events = maker.events
        self._credentials = credentials
        self._max_work_bytes = max_work_bytes
        self._router: DrainedSocket
        self._pull: DrainedSocket
        self._lanes: set[_Lane] = set()
        self._work_lanes: set[_WorkLane] = set()
        self._backlogs: dict[bytes, Backlog] = {}
        self._users: dict[bytes, tuple[str, bytes]] = {}
        """User-Id of each connection to the ROUTER, and the id that it was found to be."""

    def open(self, host: str) -> tuple[int, int]:
        """Bind, and return the ports for requests and for work."""
        maker = self._maker
        router = maker.binding(zmq.ROUTER, frames.MAX_DATA_FRAME_BYTES)
        rpc_port = bind(router, host, 0)
        pull = maker.binding(zmq.PULL, self._max_work_bytes)
        work_port = bind(pull, host, 0)
        is_keyed = self._credentials is not None
        self._router = maker.drained(router, self._receive_request, REQUEST_DRAIN)
        self._pull = maker.drained(
            pull, self._receive_signed_work if is_keyed else self._receive_work
        )
        return rpc_port, work_port

    # Requests.

    def _receive_request(self) -> None:
        router = self._router.socket
        # A part too many belongs to no message of ours, and would be read as a route.
        if skip_rest(router):
            return
        route = router.recv(_NOBLOCK)
        if not router.getsockopt(_RCVMORE):
            return
        if self._credentials is None or route in self._users:
            frame = router.recv(_NOBLOCK)
        else:
            whole = router.recv(_NOBLOCK, copy=False)
            frame = whole.bytes
            if len(self._users) >= MAX_USERS:
                self._users.clear()
            self._users[route] = (str(whole.get("User-Id")), b"")
        if self._credentials is None or self._is_from_its_sender(route, frame):
            self._events.on_request_frame(route, frame)

    def _is_from_its_sender(self, route: bytes, frame: bytes) -> bool:
        user, id = self._users[route]
        sender = frame[frames.DATA_SENDER]
        if sender == id:
            return True
        # A client that names its own connection could take over the name of one that has ended.
        is_ours = route[:1] == b"\0"
        if is_ours and self._credentials is not None and self._credentials.may_say(user, sender):
            self._users[route] = (user, sender)
            return True
        self._events.on_stranger()
        return False

    def send_reply(self, route: bytes, frame: bytes) -> ReplyResult:
        """One frame back to where a request came from."""
        router = self._router.socket
        is_large = len(frame) >= ZERO_COPY_BYTES
        if is_large and self._backlog_of(route).is_full:
            return "full"
        try:
            router.send(route, _NOBLOCK | _SNDMORE)
            if is_large:
                self._backlogs[route].send(router, frame)
            else:
                router.send(frame, _NOBLOCK)
        except zmq.Again:
            return "full"
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._backlogs.pop(route, None)
            return "gone"
        self._router.check()
        return "sent"

    def _backlog_of(self, route: bytes) -> Backlog:
        backlog = self._backlogs.get(route)
        if backlog is None:
            for other in [r for r, b in self._backlogs.items() if not b.is_full and b.is_empty]:
                del self._backlogs[other]
            backlog = self._backlogs[route] = Backlog()
        return backlog

    def open_lane(self, address: str, server: bytes) -> Lane:
        """Connect a DEALER to the node with that key."""
        descriptors.check(descriptors.FOR_LANE)
        lane = _Lane()
        dealer = self._maker.connecting(zmq.DEALER, frames.MAX_DATA_FRAME_BYTES, server)
        on_frame = self._events.on_reply_frame

        def receive() -> None:
            on_frame(lane, dealer.recv(_NOBLOCK))

        lane.dealer = self._maker.drained(dealer, receive)
        self._lanes.add(lane)
        if connect(dealer, address):
            lane.dealer.check()
        return lane

    def send_request(self, lane: Lane, frame: bytes) -> bool:
        """False when the connection is of no use: libzmq has ended it for good, as it does after
        an error, or its reader takes nothing."""
        dealer = lane.dealer if isinstance(lane, _Lane) else None
        if not isinstance(lane, _Lane) or dealer is None or dealer.socket.closed:
            return False
        is_large = len(frame) >= ZERO_COPY_BYTES
        if is_large and lane.backlog.is_full:
            return False
        try:
            if is_large:
                lane.backlog.send(dealer.socket, frame)
            else:
                dealer.socket.send(frame, _NOBLOCK)
        except zmq.Again:
            return False
        dealer.check()
        return True

    # Work.

    def _receive_work(self) -> None:
        pull = self._pull.socket
        if not skip_rest(pull):
            self._events.on_work_frame(pull.recv(_NOBLOCK))

    def _receive_signed_work(self) -> None:
        pull = self._pull.socket
        if skip_rest(pull):
            return
        whole = pull.recv(_NOBLOCK, copy=False)
        user, frame = str(whole.get("User-Id")), whole.bytes
        if self._credentials is not None and self._credentials.may_say(
            user, frame[frames.LINK_SENDER]
        ):
            self._events.on_work_frame(frame)
        else:
            self._events.on_stranger()

    def open_work_lane(self, address: str, server: bytes) -> Lane:
        """Connect a PUSH to the node with that key; libzmq keeps it connected."""
        descriptors.check(descriptors.FOR_LANE)
        lane = _WorkLane()
        events = self._events

        def ready() -> None:
            events.begin_drain()
            try:
                events.on_work_ready(lane)
            finally:
                events.end_drain()

        push = self._maker.connecting(zmq.PUSH, MAX_PUSH_INPUT_BYTES, server)
        lane.push = PushSocket(self._maker.loop, push, ready)
        self._work_lanes.add(lane)
        connect(push, address)
        return lane

    def send_work(self, lane: Lane, frame: bytes) -> bool:
        """False when there is no connection: nothing is queued for one that may come."""
        push = lane.push if isinstance(lane, _WorkLane) else None
        return push is not None and push.send(frame, copy=len(frame) < ZERO_COPY_BYTES)

    # Ends.

    def forget_users(self) -> None:
        """Who was let in may be out: ask again."""
        self._users.clear()

    def close_lane(self, lane: Lane) -> None:
        """Disconnect one of either kind."""
        if isinstance(lane, _Lane) and lane in self._lanes:
            self._lanes.discard(lane)
            if lane.dealer is not None:
                lane.dealer.close()
        elif isinstance(lane, _WorkLane) and lane in self._work_lanes:
            self._work_lanes.discard(lane)
            if lane.push is not None:
                lane.push.close()

    def close(self) -> None:
        """Close every socket."""
        for lane in list(self._lanes):
            self.close_lane(lane)
        for work_lane in list(self._work_lanes):
            self.close_lane(work_lane)
        self._router.close()
        self._pull.close()
