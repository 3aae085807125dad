"""The engine's transport on the simulated network, with the habits of its ZeroMQ sockets.

The publisher names each pipe: the hello that arrives on one is answered by a link number, and
from then on a frame that begins with that receiver and number goes to that pipe and to no other.
What came in is handed over by the process's own clock, so a blocked Python gets it late, in order.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from mesh.engine.ports import (
    Bound,
    Dial,
    Identity,
    Lane,
    ProbeResult,
    ReplyResult,
    TransportEvents,
)
from mesh.testing.connections import Connector, Pipe, Plane
from mesh.testing.network import Network
from mesh.testing.process import Process
from mesh.wire import frames

__all__ = ["LINK_PORT", "REQUEST_PORT", "WORK_PORT", "SimTransport"]

LINK_PORT = 7000
REQUEST_PORT = 7001
WORK_PORT = 7002
DRAIN = 32
REQUEST_DRAIN = 2048
"""Events that a socket hands over in one go, the request socket more; the rest come next turn."""


class _Inlet:
    """What has arrived at one socket, on its way to the engine, in bounded drains."""

    def __init__(self, transport: SimTransport, limit: int = DRAIN) -> None:
        self._transport = transport
        self._limit = limit
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_due = False

    def put(self, event: Callable[[], None]) -> None:
        self._waiting.append(event)
        if not self._is_due:
            self._is_due = True
            self._transport.process.clock.arrive(self._drain)

    def _drain(self) -> None:
        self._is_due = False
        transport = self._transport
        if transport.is_closed:
            return
        transport.events.begin_drain()
        try:
            self.empty(self._limit)
        finally:
            transport.events.end_drain()
        if self._waiting and not self._is_due:
            self._is_due = True
            transport.process.clock.call_soon(self._drain)

    def empty(self, limit: int) -> None:
        """Hand over what waits, up to ``limit`` events."""
        while self._waiting and limit and not self._transport.is_closed:
            limit -= 1
            self._waiting.popleft()()


class SimDial:
    """``mesh.engine.ports.Dial``."""

    def __init__(self, transport: SimTransport, address: str) -> None:
        self.address = address
        self.owner: Any = None
        self.connector: Connector
        self.inlet = _Inlet(transport)


class SimLane:
    """``mesh.engine.ports.Lane``."""

    def __init__(self, transport: SimTransport) -> None:
        self.owner: Any = None
        self.connector: Connector
        self.inlet = _Inlet(transport)


class SimWorkLane:
    """``mesh.engine.ports.Lane`` of the work plane. Not connected, it takes nothing (IMMEDIATE)."""

    def __init__(self, transport: SimTransport) -> None:
        self.owner: Any = None
        self.connector: Connector
        self.inlet = _Inlet(transport)
        self.is_awaited = False


class SimTransport:
    """``mesh.engine.ports.Transport`` of one process."""

    def __init__(
        self,
        network: Network,
        process: Process,
        hosts: Sequence[str] = (),
        port: int = LINK_PORT,
    ) -> None:
        """It binds ``port`` and the two above it."""
        self._network = network
        self._port = port
        self._hosts = tuple(hosts) or (process.host,)
        self.process = process
        self.events: TransportEvents
        self.is_closed = False
        self.is_full = False
        """Whether there is no room for another link, as without descriptors."""
        self.dials: dict[SimDial, None] = {}
        self.lanes: dict[SimLane, None] = {}
        self.work_lanes: dict[SimWorkLane, None] = {}
        self._publisher = _Publisher(self)
        self._router = _Router(self)
        self._pull = _Pull(self)

    def open(self, events: TransportEvents) -> Bound:
        self.events = events
        link, request, work = range(self._port, self._port + 3)
        for host in self._hosts:
            self._network.listen(f"{host}:{link}", self._publisher)
            self._network.listen(f"{host}:{request}", self._router)
            self._network.listen(f"{host}:{work}", self._pull)
        return Bound(tuple(f"{host}:{link}" for host in self._hosts), request, work)

    def identity_of(self, id: bytes) -> Identity | None:
        return self._network.identities.get(id)

    def dial(self, address: str, hello: bytes, info: bytes) -> Dial:
        self._check_open()
        if (shortage := self.shortage()) is not None:
            raise OSError(errno.EMFILE, shortage)
        dial = SimDial(self, address)

        def on_frame(parts: tuple[bytes, bytes]) -> None:
            dial.inlet.put(lambda: self._give_frame(dial, *parts))

        dial.connector = Connector(self._network, self.process, address, on_frame, (hello, info))
        self.dials[dial] = None
        return dial

    def shortage(self) -> str | None:
        return "too few descriptors for one more link" if self.is_full else None

    def _give_frame(self, dial: SimDial, frame: bytes, payload: bytes) -> None:
        if dial in self.dials:
            self.events.on_link_frame(dial, frame, payload)

    def hang_up(self, dial: Dial) -> None:
        if isinstance(dial, SimDial) and dial in self.dials:
            del self.dials[dial]
            dial.connector.hang_up()

    def catch_up(self, dial: Dial) -> None:
        if isinstance(dial, SimDial) and dial in self.dials:
            dial.inlet.empty(-1)

    def send_link(self, frame: bytes, payload: bytes = b"") -> None:
        if len(frame) + len(payload) > frames.MAX_LINK_FRAME_BYTES:
            raise AssertionError(f"a link frame of {len(frame) + len(payload)} bytes")
        if frames.is_in_parts(frame) != bool(payload):
            raise AssertionError("a second part without an announcement, or the reverse")
        if not self.is_closed:
            self._publisher.send(frame, payload)

    def open_lane(self, address: str, id: bytes = b"") -> Lane:
        self._check_open()
        lane = SimLane(self)

        def on_frame(frame: bytes) -> None:
            lane.inlet.put(lambda: self._give_reply(lane, frame))

        lane.connector = Connector(self._network, self.process, address, on_frame, keeps=True)
        self.lanes[lane] = None
        return lane

    def _give_reply(self, lane: SimLane, frame: bytes) -> None:
        if lane in self.lanes:
            self.events.on_reply_frame(lane, frame)

    def close_lane(self, lane: Lane) -> None:
        if isinstance(lane, SimLane) and lane in self.lanes:
            del self.lanes[lane]
            lane.connector.hang_up()
        elif isinstance(lane, SimWorkLane) and lane in self.work_lanes:
            del self.work_lanes[lane]
            lane.connector.hang_up()

    def send_request(self, lane: Lane, frame: bytes) -> bool:
        if len(frame) > frames.MAX_DATA_FRAME_BYTES:
            raise AssertionError(f"a request frame of {len(frame)} bytes")
        if isinstance(lane, SimLane) and lane in self.lanes:
            lane.connector.send(frame)
            return True
        return False

    def open_work_lane(self, address: str, id: bytes = b"") -> Lane:
        self._check_open()
        lane = SimWorkLane(self)

        def ready() -> None:
            if lane in self.work_lanes and lane.is_awaited and lane.connector.pipe is not None:
                lane.is_awaited = False
                self.events.on_work_ready(lane)

        lane.connector = Connector(
            self._network,
            self.process,
            address,
            lambda item: None,
            lingers=False,
            on_up=lambda: lane.inlet.put(ready),
        )
        self.work_lanes[lane] = None
        return lane

    def send_work(self, lane: Lane, frame: bytes) -> bool:
        if not isinstance(lane, SimWorkLane) or lane not in self.work_lanes:
            return False
        lane.is_awaited = not lane.connector.send(frame)
        return not lane.is_awaited

    def send_reply(self, route: bytes, frame: bytes) -> ReplyResult:
        return "sent" if not self.is_closed and self._router.send(route, frame) else "gone"

    def probe(self, address: str, done: Callable[[ProbeResult], None]) -> None:
        self._check_open()

        def tell(result: ProbeResult) -> None:
            if not self.is_closed:
                done(result)

        self._network.probe(self.process, address, tell)

    def close(self) -> None:
        """As if the process ended, but its clock goes on: a closed node may still be asked."""
        if self.is_closed:
            return
        self.is_closed = True
        own = (self._publisher, self._router, self._pull)
        self._network.close_servers(lambda server: server in own)
        for dial in list(self.dials):
            self.hang_up(dial)
        for lane in list(self.lanes):
            self.close_lane(lane)
        for work_lane in list(self.work_lanes):
            self.close_lane(work_lane)

    def _check_open(self) -> None:
        if self.is_closed:
            raise AssertionError("a closed transport is used")


class _Publisher:
    """The bound link socket.

    The end of a pipe is told by its hello, so of several pipes with the same hello (one dial,
    connected again) the oldest is taken for the one that ended.
    """

    plane: Plane = "link"

    def __init__(self, transport: SimTransport) -> None:
        self.process = transport.process
        self._transport = transport
        self.inlet = _Inlet(transport)
        self._pipes: dict[bytes, Pipe] = {}
        self._links: dict[bytes, list[int]] = {}
        self._last_link = 0

    def on_item(self, pipe: Pipe, item: Any) -> None:
        self.inlet.put(lambda: self._on_topic(pipe, item))

    def _on_topic(self, pipe: Pipe, topic: bytes) -> None:
        hello = frames.unpack_hello(topic)
        if hello is None:
            self._transport.events.on_info(topic)
            return
        id, dial = hello
        self._last_link += 1
        link = frames.link_number(dial, self._last_link)
        pipe.label = topic, frames.link_prefix(id, link)
        self._pipes[pipe.label[1]] = pipe
        self._links.setdefault(topic, []).append(link)
        self._transport.events.on_hello(id, link)

    def on_end(self, pipe: Pipe) -> None:
        self.inlet.put(lambda: self._on_bye(pipe))

    def _on_bye(self, pipe: Pipe) -> None:
        if pipe.label is None:
            return
        topic, prefix = pipe.label
        del self._pipes[prefix]
        links = self._links[topic]
        link = links.pop(0)
        if not links:
            del self._links[topic]
        self._transport.events.on_bye(topic[1 : 1 + frames.ID_SIZE], link)

    def send(self, frame: bytes, payload: bytes) -> None:
        pipe = self._pipes.get(frame[: frames.LINK_PREFIX_SIZE])
        if pipe is not None and pipe in pipe.network.pipes:
            pipe.down.send((frame, payload))


class _Router:
    """The bound request socket."""

    plane: Plane = "request"

    def __init__(self, transport: SimTransport) -> None:
        self.process = transport.process
        self._transport = transport
        self._inlet = _Inlet(transport, REQUEST_DRAIN)
        self._pipes: dict[bytes, Pipe] = {}
        self._last_route = 0

    def on_item(self, pipe: Pipe, item: Any) -> None:
        if pipe.label is None:
            self._last_route += 1
            pipe.label = self._last_route.to_bytes(5, "big")
            self._pipes[pipe.label] = pipe
        self._inlet.put(lambda: self._transport.events.on_request_frame(pipe.label, item))

    def on_end(self, pipe: Pipe) -> None:
        if pipe.label is not None:
            del self._pipes[pipe.label]

    def send(self, route: bytes, frame: bytes) -> bool:
        pipe = self._pipes.get(route)
        if pipe is None:
            return False
        pipe.down.send(frame)
        return True


class _Pull:
    """The bound work socket. What arrived before a connection ended is still read."""

    plane: Plane = "work"

    def __init__(self, transport: SimTransport) -> None:
        self.process = transport.process
        self._transport = transport
        self._inlet = _Inlet(transport)

    def on_item(self, pipe: Pipe, item: Any) -> None:
        self._inlet.put(lambda: self._transport.events.on_work_frame(item))

    def on_end(self, pipe: Pipe) -> None: ...
