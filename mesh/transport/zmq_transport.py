"""The engine's transport on ZeroMQ: an XPUB bound and a SUB for each peer; calls and work go by
``mesh.transport.lanes``.

The publisher names each pipe (``XPUB_MANUAL``). A peer's SUB subscribes to its hello; the XPUB
reads that as a message and at once subscribes *that pipe* to ``hello + link number``, so a frame
that begins with those bytes goes there and nowhere else, and nobody can ask for another's frames.
When the connection ends the XPUB reads the hello's unsubscription: 0 to 1 ms after a ``kill -9``,
and with the peer's id in it.

With keys an address is that of a door (``mesh.transport.entrance``): a dial asks there first, and
its SUB is connected to the link socket of the node that answered, with that node's key. So what
comes by a dial comes from that node; and what comes by a connection of others is believed when its
sender's id belongs to the connection's key.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import zmq

from discovery.address import format_address
from mesh.engine.ports import Bound, Dial, Lane, ProbeResult, ReplyResult, TransportEvents
from mesh.logs import get_logger
from mesh.runtime.threads import call_in_thread
from mesh.security import Credentials
from mesh.security.curve import is_bound
from mesh.security.identity import Identity
from mesh.security.knocking import DoorRefusal
from mesh.transport import descriptors
from mesh.transport.entrance import Entrance
from mesh.transport.hellos import Pipes
from mesh.transport.lanes import ZERO_COPY_BYTES, Lanes
from mesh.transport.making import SocketMaker
from mesh.transport.probe import probe
from mesh.transport.shared import Rings, View
from mesh.transport.sockets import CLOSE_LINGER_MS, DrainedSocket, bind, connect
from mesh.wire import frames
from mesh.wire.sharing import PLACE_SIZE

__all__ = ["ZmqTransport"]

logger = get_logger("mesh.transport")

# Plain ints: pyzmq's enum members cost several times as much, at every send and receive.
_NOBLOCK = int(zmq.NOBLOCK)
_SNDMORE = int(zmq.SNDMORE)
_RCVMORE = int(zmq.RCVMORE)

MAX_SOCKETS = 65_535
MAX_TOPIC_BYTES = frames.MAX_INFO_BYTES + 1
MAX_UNREAD_FRAMES = 100_000
"""Frames read from a connection that is given up: more than a window of the smallest ones."""


class _Dial:
    """One SUB connected to one peer's XPUB, or on its way there by the door (``task``)."""

    __slots__ = ("address", "key", "owner", "sub", "task", "view")

    def __init__(self, address: str) -> None:
        self.address = address
        self.owner: Any = None
        self.sub: DrainedSocket | None = None
        self.task: asyncio.Task[None] | None = None
        self.key = b""
        """The key of the node that it is to, once that is known."""
        self.view: View | None = None


class ZmqTransport:
    """Binds on ``host`` (port 0: any free one), and gives out ``hosts`` as where others can dial.

    ``credentials`` switch CURVE on for every socket. ``max_work_bytes`` bounds a frame of casts.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        hosts: Sequence[str] = ("127.0.0.1",),
        credentials: Credentials | None = None,
        max_work_bytes: int = frames.MAX_DATA_FRAME_BYTES,
    ) -> None:
        self._loop = loop
        self._max_work_bytes = max_work_bytes
        self._host = host
        self._port = port
        self._hosts = hosts
        self._credentials = credentials
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._entrance: Entrance | None = None
        self._events: TransportEvents
        self._maker: SocketMaker
        self._xpub: DrainedSocket
        self._lanes: Lanes
        self.send_request: Callable[[Lane, bytes], bool]
        self.send_work: Callable[[Lane, bytes], bool]
        self.close_lane: Callable[[Lane], None]
        self._dials: set[_Dial] = set()
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
        credentials = self._credentials
        key = credentials.node if credentials is not None else None
        self._maker = maker = SocketMaker(self._loop, self._context, events, key)
        self._lanes = lanes = Lanes(maker, credentials, self._max_work_bytes)
        try:
            if credentials is not None:
                credentials.on_expelled = self._on_expelled
                credentials.is_linked = events.is_member
                self._entrance = Entrance(self._loop, self._context, credentials, self._spawn)
                port = self._entrance.listen(self._host, self._port)
            xpub = maker.binding(zmq.XPUB, MAX_TOPIC_BYTES)
            link_port = bind(xpub, self._host, 0 if self._entrance else self._port)
            rpc_port, work_port = lanes.open(self._host)
        except (OSError, zmq.ZMQError):
            if self._entrance is not None:
                self._entrance.close()
            self._context.destroy(linger=0)
            raise
        if self._entrance is not None:
            self._entrance.open(link_port)
            self._xpub = maker.drained(xpub, self._receive_signed_topic)
        else:
            port = link_port
            self._xpub = maker.drained(xpub, self._receive_topic)
        self.send_request, self.send_work = lanes.send_request, lanes.send_work
        self.close_lane = lanes.close_lane
        addresses = tuple(format_address(host, port) for host in self._hosts)
        return Bound(addresses, rpc_port, work_port)

    # The link plane.

    def _receive_topic(self) -> None:
        self._on_topic(self._xpub.socket.recv(_NOBLOCK))

    def _receive_signed_topic(self) -> None:
        whole = self._xpub.socket.recv(_NOBLOCK, copy=False)
        topic = whole.bytes
        try:
            user = str(whole.get("User-Id"))
        except zmq.ZMQError:
            # Said by libzmq itself: the connection has ended.
            self._on_topic(topic)
            return
        names_a_node = topic[1:2] in (b"\x00", b"\x01")
        is_its_own = self._credentials is not None and self._credentials.may_say(
            user, topic[2 : 2 + frames.ID_SIZE]
        )
        if is_its_own or not names_a_node:
            self._on_topic(topic)
        else:
            self._events.on_stranger()

    def _on_topic(self, topic: bytes) -> None:
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
        self._dials.add(dial)
        if self._entrance is None:
            self._connect(dial, address, b"", hello, info)
        else:
            dial.task = self._spawn(self._enter(self._entrance, dial, hello, info))
        return dial

    async def _enter(self, entrance: Entrance, dial: _Dial, hello: bytes, info: bytes) -> None:
        """By the door."""
        try:
            said = await entrance.enter(dial.address)
        except OSError as error:
            # As an address where nobody answers: the engine waits, and tries the next one.
            logger.debug("nobody is at %s: %s", dial.address, error)
            return
        if self._closed or dial not in self._dials:
            return
        dial.task = None
        if isinstance(said, DoorRefusal):
            self._events.on_refused(dial, said.code, said.text)
            return
        link_address, card = said
        dial.key = card.key
        try:
            self._connect(dial, link_address, card.key, hello, info)
        except OSError as error:
            logger.info("no link to %s: %s", dial.address, error)

    def _connect(
        self, dial: _Dial, link_address: str, server: bytes, hello: bytes, info: bytes
    ) -> None:
        try:
            sub = self._maker.connecting(zmq.SUB, frames.MAX_LINK_FRAME_BYTES, server)
        except OSError:
            self._dials.discard(dial)
            raise
        sub.set(zmq.SUBSCRIBE, hello)
        sub.set(zmq.SUBSCRIBE, info)
        on_frame = self._signed(server) if server else self._events.on_link_frame

        def tell(topic: bytes, is_up: bool) -> None:
            sub.set(zmq.SUBSCRIBE if is_up else zmq.UNSUBSCRIBE, topic)

        dial.view = view = View(tell, is_local=self._is_own(dial.address))

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

        dial.sub = self._maker.drained(sub, receive)
        if connect(sub, link_address):
            dial.sub.check()

    def _signed(self, server: bytes) -> Callable[[_Dial, bytes, bytes], None]:
        """Takes the frames of the nodes with that key, and no others."""
        events = self._events
        known = b""

        def on_frame(dial: _Dial, frame: bytes, payload: bytes) -> None:
            nonlocal known
            sender = frame[frames.LINK_SENDER]
            if sender == known:
                events.on_link_frame(dial, frame, payload)
            elif is_bound(server, sender):
                known = sender
                events.on_link_frame(dial, frame, payload)
            else:
                events.on_stranger()

        return on_frame

    def _is_own(self, address: str) -> bool:
        """Whether it is this host that one gets to there."""
        host = address.rpartition(":")[0].strip("[]")
        return host in self._hosts or host in ("::1", "localhost") or host.startswith("127.")

    def shortage(self) -> str | None:
        return descriptors.shortage(descriptors.FOR_LINK)

    def hang_up(self, dial: Dial) -> None:
        if isinstance(dial, _Dial) and dial in self._dials:
            self._dials.discard(dial)
            if dial.task is not None:
                dial.task.cancel()
            if dial.sub is not None:
                dial.sub.close()
            if dial.view is not None:
                dial.view.close()

    def catch_up(self, dial: Dial) -> None:
        if isinstance(dial, _Dial) and dial.sub is not None and dial in self._dials:
            dial.sub.drain_all(MAX_UNREAD_FRAMES)

    # Calls and work.

    def open_lane(self, address: str, id: bytes) -> Lane:
        """Connect a DEALER."""
        return self._lanes.open_lane(address, self._key_of(id))

    def open_work_lane(self, address: str, id: bytes) -> Lane:
        """Connect a PUSH."""
        return self._lanes.open_work_lane(address, self._key_of(id))

    def _key_of(self, id: bytes) -> bytes:
        if self._credentials is None:
            return b""
        node = self._credentials.members.get(id)
        if node is None:
            raise OSError(errno.EACCES, "the peer has not shown its key, or is out")
        return node.key

    def send_reply(self, route: bytes, frame: bytes) -> ReplyResult:
        """One frame back to where a request came from."""
        return "gone" if self._closed else self._lanes.send_reply(route, frame)

    def identity_of(self, id: bytes) -> Identity | None:
        """Who that node is, by its certificate."""
        return self._credentials.identity_of(id) if self._credentials is not None else None

    def _on_expelled(self, ids: list[bytes], reason: str) -> None:
        """Nothing of them comes in from now on: neither by what is linked nor by what may be."""
        self._lanes.forget_users()
        for id in ids:
            self._events.on_expelled(id, reason)
        if self._credentials is not None:
            has_key = self._credentials.members.has_key
            for dial in [dial for dial in self._dials if dial.key and not has_key(dial.key)]:
                self._events.on_refused(dial, "expelled", reason)

    @property
    def refused(self) -> int:
        """Connections that were not let in, for want of the right key."""
        return self._entrance.refused if self._entrance is not None else 0

    def spread_news(self) -> None:
        """Tell all peers what is new of keys and certificates."""
        if self._entrance is not None:
            self._entrance.spread()

    # Probes.

    def probe(self, address: str, done: Callable[[ProbeResult], None]) -> None:
        """A plain TCP connect, within a second; see ``mesh.transport.probe``."""
        if self._entrance is not None:
            address = self._entrance.link_address(address)
        host, _, port = address.rpartition(":")

        async def look() -> None:
            result = await probe(self._loop, host.strip("[]"), int(port))
            if not self._closed:
                done(result)

        self._spawn(look())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

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
        self._lanes.close()
        self._rings.close()
        self._xpub.socket.set(zmq.LINGER, CLOSE_LINGER_MS)
        self._xpub.close()
        if self._entrance is not None:
            self._entrance.close()

    async def wait_closed(self) -> None:
        """Until libzmq has let go of everything; bounded by the lingering of the sockets."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._entrance is not None:
            await self._entrance.wait_closed()
        context, self._context = self._context, None
        if context is not None:
            await call_in_thread(self._loop, context.term)

    def abandon(self) -> None:
        """When there is no time for ``wait_closed``: let go of all at once, and lose what waits."""
        context, self._context = self._context, None
        if context is not None:
            context.destroy(linger=0)
