"""The engine's transport on ZeroMQ: an XPUB, a ROUTER and a PULL bound, a SUB a peer, and a DEALER
and a PUSH for each peer that is called or given work.

The publisher names each pipe (``XPUB_MANUAL``). A peer's SUB subscribes to its hello; the XPUB
reads that as a message and at once subscribes *that pipe* to ``hello + link number``, so a frame
that begins with those bytes goes there and nowhere else, and nobody can ask for another's frames.
When the connection ends the XPUB reads the hello's unsubscription: 0 to 1 ms after a ``kill -9``,
and with the peer's id in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import zmq

from discovery.address import format_address
from mesh.engine.ports import Bound, Dial, Lane, ProbeResult, ReplyResult, TransportEvents
from mesh.runtime.threads import call_in_thread
from mesh.security import CurveKeys
from mesh.transport import descriptors
from mesh.transport.backlog import Backlog
from mesh.transport.hellos import Pipes
from mesh.transport.probe import probe
from mesh.transport.shared import Rings, View
from mesh.transport.sockets import (
    CLOSE_LINGER_MS,
    DRAIN,
    MAX_PUSH_INPUT_BYTES,
    REQUEST_DRAIN,
    DrainedSocket,
    PushSocket,
    bind,
    new_socket,
    skip_rest,
)
from mesh.transport.zap import ZapHandler
from mesh.wire import frames
from mesh.wire.sharing import PLACE_SIZE

__all__ = ["ZmqTransport"]

logger = logging.getLogger("mesh.transport")

# Plain ints: pyzmq's enum members cost several times as much, at every send and receive.
_NOBLOCK = int(zmq.NOBLOCK)
_SNDMORE = int(zmq.SNDMORE)
_RCVMORE = int(zmq.RCVMORE)

MAX_SOCKETS = 65_535
MAX_TOPIC_BYTES = frames.MAX_INFO_BYTES + 1
MAX_UNREAD_FRAMES = 100_000
"""Frames read from a connection that is given up: more than a window of the smallest ones."""

ZERO_COPY_BYTES = 64 * 1024
"""Frames from here on are handed to libzmq without a copy; below, copying is cheaper."""


class _Dial:
    """One SUB connected to one peer's XPUB."""

    __slots__ = ("address", "owner", "sub", "view")

    def __init__(self, address: str) -> None:
        self.address = address
        self.owner: Any = None
        self.sub: DrainedSocket | None = None
        self.view: View | None = None


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


class ZmqTransport:
    """Binds on ``host`` (port 0: any free one), and gives out ``hosts`` as where others can dial.

    ``keys`` switch CURVE on for every socket. ``max_work_bytes`` bounds a frame of casts.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        hosts: Sequence[str] = ("127.0.0.1",),
        keys: CurveKeys | None = None,
        max_work_bytes: int = frames.MAX_DATA_FRAME_BYTES,
    ) -> None:
        self._loop = loop
        self._max_work_bytes = max_work_bytes
        self._host = host
        self._port = port
        self._hosts = hosts
        self._keys = keys
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._zap: ZapHandler | None = None
        self._events: TransportEvents
        self._xpub: DrainedSocket
        self._router: DrainedSocket
        self._pull: DrainedSocket
        self._dials: set[_Dial] = set()
        self._lanes: set[_Lane] = set()
        self._work_lanes: set[_WorkLane] = set()
        self._backlogs: dict[bytes, Backlog] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pipes: Pipes
        self._rings = Rings()
        self._closed = False

    def open(self, events: TransportEvents) -> Bound:
        """Bind the sockets. Raises OSError when the address, the port or enough descriptors are
        not to be had."""
        descriptors.check(descriptors.FOR_NODE)
        self._events = events
        self._pipes = Pipes(events.is_member, self._gone)
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)
        self._context.set(zmq.BLOCKY, False)
        try:
            if self._keys is not None:
                self._zap = ZapHandler(self._loop, self._context, self._keys)
            xpub = self._new(zmq.XPUB, MAX_TOPIC_BYTES, serves=True)
            link_port = bind(xpub, self._host, self._port)
            router = self._new(zmq.ROUTER, frames.MAX_DATA_FRAME_BYTES, serves=True)
            rpc_port = bind(router, self._host, 0)
            pull = self._new(zmq.PULL, self._max_work_bytes, serves=True)
            work_port = bind(pull, self._host, 0)
        except (OSError, zmq.ZMQError):
            if self._zap is not None:
                self._zap.close()
            self._context.destroy(linger=0)
            raise
        self._xpub = self._drained(xpub, self._receive_topic)
        self._router = self._drained(router, self._receive_request, REQUEST_DRAIN)
        self._pull = self._drained(pull, self._receive_work)
        addresses = tuple(format_address(host, link_port) for host in self._hosts)
        return Bound(addresses, rpc_port, work_port)

    def _new(self, kind: int, max_bytes: int, *, serves: bool) -> zmq.Socket[bytes]:
        if self._context is None:
            raise RuntimeError("the transport is not open")
        try:
            socket = new_socket(self._context, kind, max_bytes)
        except zmq.ZMQError as error:
            raise OSError(error.errno, f"no socket to be had: {error.strerror}") from error
        if self._keys is not None:
            self._keys.apply(socket, serves=serves)
        return socket

    def _drained(
        self, socket: zmq.Socket[bytes], receive: Callable[[], None], limit: int = DRAIN
    ) -> DrainedSocket:
        events = self._events
        return DrainedSocket(
            self._loop, socket, receive, events.begin_drain, events.end_drain, limit
        )

    # The link plane.

    def _receive_topic(self) -> None:
        xpub = self._xpub.socket
        topic = xpub.recv(_NOBLOCK)
        is_up = topic[:1] == b"\x01"
        if not is_up and topic[:1] != b"\x00":
            return
        topic = topic[1:]
        hello = frames.unpack_hello(topic)
        if hello is not None:
            if is_up:
                self._on_hello(topic, *hello)
            else:
                self._on_bye(topic, hello[0])
        elif is_up and topic[:1] == b"\x01":
            self._events.on_info(topic)
        elif is_up:
            self._rings.answered(topic)

    def _on_hello(self, topic: bytes, id: bytes, dial: int) -> None:
        """Name the pipe at once: the subscription applies to the one just read from."""
        link = self._pipes.begin(topic, id, dial)
        if link is not None:
            self._xpub.socket.set(zmq.SUBSCRIBE, frames.link_prefix(id, link))
            self._events.on_hello(id, link)

    def _on_bye(self, topic: bytes, id: bytes) -> None:
        link = self._pipes.end(topic, id)
        if link is not None:
            self._gone(id, link)

    def _gone(self, id: bytes, link: int) -> None:
        self._rings.end(frames.link_prefix(id, link))
        self._events.on_bye(id, link)

    def send_link(self, frame: bytes, payload: bytes = b"") -> None:
        """The frame's first bytes are the prefix that only its receiver's pipe is given."""
        if self._closed:
            return
        xpub = self._xpub.socket
        if payload:
            prefix = frame[: frames.LINK_PREFIX_SIZE]
            place = self._rings.put(prefix, payload)
            if place is not None:
                frame = frames.with_place(frame, place)
            else:
                # First, for what is raised between two parts would leave half a message.
                offer = self._rings.offer(prefix)
                xpub.send(frame, _NOBLOCK | _SNDMORE)
                frame = payload
                if offer:
                    xpub.send(frame, _NOBLOCK | _SNDMORE)
                    frame = offer
        xpub.send(frame, _NOBLOCK, copy=len(frame) < ZERO_COPY_BYTES)
        self._xpub.check_soon()

    def dial(self, address: str, hello: bytes, info: bytes) -> Dial:
        """Connect a SUB; libzmq keeps it connected, and repeats hello and info, until hang-up."""
        descriptors.check(descriptors.FOR_LINK)
        dial = _Dial(address)
        sub = self._new(zmq.SUB, frames.MAX_LINK_FRAME_BYTES, serves=False)
        sub.set(zmq.SUBSCRIBE, hello)
        sub.set(zmq.SUBSCRIBE, info)
        on_frame = self._events.on_link_frame

        def tell(topic: bytes, is_up: bool) -> None:
            sub.set(zmq.SUBSCRIBE if is_up else zmq.UNSUBSCRIBE, topic)

        dial.view = view = View(tell, is_local=self._is_own(address))

        def receive() -> None:
            frame = sub.recv(_NOBLOCK)
            payload = b""
            # A part that was not announced is read as the next frame, and is none.
            if frames.is_in_parts(frame):
                if frames.is_in_place(frame):
                    payload = view.read(frame[-PLACE_SIZE:])
                    frame = frame[:-PLACE_SIZE]
                elif sub.getsockopt(_RCVMORE):
                    payload = sub.recv(_NOBLOCK)
                    if sub.getsockopt(_RCVMORE):
                        view.offered(sub.recv(_NOBLOCK))
            on_frame(dial, frame, payload)

        dial.sub = self._drained(sub, receive)
        self._dials.add(dial)
        self._connect(dial.sub, address)
        return dial

    def _is_own(self, address: str) -> bool:
        """Whether it is this host that one gets to there."""
        host = address.rpartition(":")[0].strip("[]")
        return host in self._hosts or host in ("::1", "localhost") or host.startswith("127.")

    def shortage(self) -> str | None:
        """Why there is no room for one more link, None when there is."""
        return descriptors.shortage(descriptors.FOR_LINK)

    def hang_up(self, dial: Dial) -> None:
        """Disconnect; the peer sees a bye."""
        if isinstance(dial, _Dial) and dial in self._dials:
            self._dials.discard(dial)
            if dial.sub is not None:
                dial.sub.close()
            if dial.view is not None:
                dial.view.close()

    def catch_up(self, dial: Dial) -> None:
        """Tell at once of what has arrived."""
        if isinstance(dial, _Dial) and dial.sub is not None and dial in self._dials:
            dial.sub.drain_all(MAX_UNREAD_FRAMES)

    def _connect(self, socket: DrainedSocket, address: str) -> None:
        if connect(socket.socket, address):
            socket.check()

    # The request/reply plane.

    def _receive_request(self) -> None:
        router = self._router.socket
        # A part too many belongs to no message of ours, and would be read as a route.
        if skip_rest(router):
            return
        route = router.recv(_NOBLOCK)
        if router.getsockopt(_RCVMORE):
            self._events.on_request_frame(route, router.recv(_NOBLOCK))

    def send_reply(self, route: bytes, frame: bytes) -> ReplyResult:
        """One frame back to where a request came from."""
        if self._closed:
            return "gone"
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

    def open_lane(self, address: str) -> Lane:
        """Connect a DEALER."""
        descriptors.check(descriptors.FOR_LANE)
        lane = _Lane()
        dealer = self._new(zmq.DEALER, frames.MAX_DATA_FRAME_BYTES, serves=False)
        on_frame = self._events.on_reply_frame

        def receive() -> None:
            on_frame(lane, dealer.recv(_NOBLOCK))

        lane.dealer = self._drained(dealer, receive)
        self._lanes.add(lane)
        self._connect(lane.dealer, address)
        return lane

    def close_lane(self, lane: Lane) -> None:
        if isinstance(lane, _Lane) and lane in self._lanes:
            self._lanes.discard(lane)
            if lane.dealer is not None:
                lane.dealer.close()
        elif isinstance(lane, _WorkLane) and lane in self._work_lanes:
            self._work_lanes.discard(lane)
            if lane.push is not None:
                lane.push.close()

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

    # The work plane.

    def _receive_work(self) -> None:
        pull = self._pull.socket
        if not skip_rest(pull):
            self._events.on_work_frame(pull.recv(_NOBLOCK))

    def open_work_lane(self, address: str) -> Lane:
        """Connect a PUSH; libzmq keeps it connected, to whoever answers there."""
        descriptors.check(descriptors.FOR_LANE)
        lane = _WorkLane()
        events = self._events

        def ready() -> None:
            events.begin_drain()
            try:
                events.on_work_ready(lane)
            finally:
                events.end_drain()

        push = self._new(zmq.PUSH, MAX_PUSH_INPUT_BYTES, serves=False)
        lane.push = PushSocket(self._loop, push, ready)
        self._work_lanes.add(lane)
        connect(push, address)
        return lane

    def send_work(self, lane: Lane, frame: bytes) -> bool:
        """False when there is no connection: nothing is queued for one that may come."""
        push = lane.push if isinstance(lane, _WorkLane) else None
        return push is not None and push.send(frame, copy=len(frame) < ZERO_COPY_BYTES)

    # Probes.

    def probe(self, address: str, done: Callable[[ProbeResult], None]) -> None:
        """A plain TCP connect, within a second; see ``mesh.transport.probe``."""
        host, _, port = address.rpartition(":")

        async def look() -> None:
            result = await probe(self._loop, host.strip("[]"), int(port))
            if not self._closed:
                done(result)

        self._spawn(look())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The end.

    def close(self) -> None:
        """Close every socket. What was sent has a moment to leave: see ``wait_closed``."""
        if self._closed:
            return
        self._closed = True
        for task in self._tasks:
            task.cancel()
        for dial in list(self._dials):
            self.hang_up(dial)
        for lane in list(self._lanes):
            self.close_lane(lane)
        for work_lane in list(self._work_lanes):
            self.close_lane(work_lane)
        self._rings.close()
        self._xpub.socket.set(zmq.LINGER, CLOSE_LINGER_MS)
        self._xpub.close()
        self._router.close()
        self._pull.close()
        if self._zap is not None:
            self._zap.close()

    async def wait_closed(self) -> None:
        """Until libzmq has let go of everything; bounded by the lingering of the sockets."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        context, self._context = self._context, None
        if context is not None:
            await call_in_thread(self._loop, context.term)

    def abandon(self) -> None:
        """When there is no time for ``wait_closed``: let go of all at once, and lose what waits."""
        context, self._context = self._context, None
        if context is not None:
            context.destroy(linger=0)


def connect(socket: zmq.Socket[bytes], address: str) -> bool:
    """Let libzmq connect; False when it cannot even try."""
    try:
        socket.connect(f"tcp://{address}")
    except zmq.ZMQError as error:
        # An address that cannot even be parsed behaves like one that never answers.
        logger.debug("cannot connect to %s: %s", address, error)
        return False
    return True
