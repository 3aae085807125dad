"""The simulated network: who reaches whom, connections, and what breaks them.

It behaves as TCP and libzmq do:

* A connection is two channels, each in order. While the path is blocked they hold what was sent,
  as TCP does, and deliver it when the path is back.
* A connector connects again by itself, at growing intervals, until it is hung up. It then repeats
  what it said first, at whoever listens there.
* The listening side of a *link* has heartbeats: it gives up a connection whose other end was
  silent for ``HEARTBEAT_TIMEOUT``. Nothing else notices silence.
* A process that ends takes its connections with it: the other ends know ``DEATH_NOTICE`` later,
  after what was on its way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from hashlib import blake2b
from random import Random
from typing import Any, Protocol

from tests.sim.clock import SimClock, SimTimer
from tests.sim.process import Process

__all__ = ["Connector", "Network", "Pipe", "Server"]

HEARTBEAT_TIMEOUT = 2.7
DEATH_NOTICE = 0.001
RECONNECT = 0.1
RECONNECT_MAX = 5.0
PROBE_TIMEOUT = 1.0
END: Any = object()
"""The last item of a channel: its sender has closed the connection."""


class Server(Protocol):
    """A bound socket."""

    process: Process
    has_heartbeats: bool

    def on_item(self, pipe: Pipe, item: Any) -> None: ...

    def on_end(self, pipe: Pipe) -> None: ...


class Channel:
    """One direction of a connection."""

    def __init__(
        self, network: Network, source: str, target: str, deliver: Callable[[Any], None]
    ) -> None:
        self._network = network
        self._path = (source, target)
        self._deliver = deliver
        self._held: deque[Any] = deque()
        self._last_arrival = 0.0
        self.is_closed = False

    def send(self, item: Any, delay: float = 0.0) -> None:
        if self.is_closed:
            return
        network = self._network
        if self._held or network.is_blocked(*self._path):
            self._held.append(item)
            return
        clock = network.clock
        arrival = clock.now() + delay + network.latency(*self._path)
        self._last_arrival = max(self._last_arrival, arrival)
        clock.call_at(self._last_arrival, lambda: self._arrive(item))

    def release(self) -> None:
        """The path is back: what was held goes on."""
        held, self._held = self._held, deque()
        for item in held:
            self.send(item)

    def close(self) -> None:
        """Nothing comes out any more."""
        self.is_closed = True
        self._held.clear()

    def _arrive(self, item: Any) -> None:
        if self.is_closed:
            return
        self._network.record(self._path, item)
        self._deliver(item)


class Pipe:
    """One established connection. ``label`` is the server's, to name it by."""

    def __init__(self, network: Network, connector: Connector, server: Server) -> None:
        here, there = connector.process.host, server.process.host
        self.network = network
        self.connector = connector
        self.server = server
        self.up = Channel(network, here, there, self._at_server)
        self.down = Channel(network, there, here, self._at_client)
        self.label: Any = None
        self.silence: SimTimer | None = None

    @property
    def is_silent(self) -> bool:
        """Whether the connecting side answers no heartbeat."""
        client, server = self.connector.process, self.server.process
        return client.is_frozen or self.network.is_blocked(client.host, server.host)

    def end_at_server(self) -> None:
        """The server gives it up, or learns that it is gone."""
        if self not in self.network.pipes:
            return
        self.network.forget(self)
        self.up.close()
        self.server.on_end(self)
        self.down.send(END)

    def _at_server(self, item: Any) -> None:
        if item is END:
            self.end_at_server()
        else:
            self.server.on_item(self, item)

    def _at_client(self, item: Any) -> None:
        if item is END:
            self.connector.process.in_background(lambda: self.connector.lose(self))
        elif self.connector.pipe is self:
            self.connector.on_item(item)


class Connector:
    """A connecting socket: connected by itself, again and again, until ``hang_up``.

    ``greeting`` is said first on each connection. With ``keeps`` what is sent while there is no
    connection waits for the next one, whoever answers there (a DEALER does that).
    """

    def __init__(
        self,
        network: Network,
        process: Process,
        address: str,
        on_item: Callable[[Any], None],
        greeting: Iterable[Any] = (),
        *,
        keeps: bool = False,
    ) -> None:
        self._network = network
        self.process = process
        self.address = address
        self.on_item = on_item
        self.pipe: Pipe | None = None
        self.is_hung_up = False
        self._greeting = tuple(greeting)
        self._keeps = keeps
        self._kept: list[Any] = []
        self._interval = RECONNECT
        network.connect(self)

    def send(self, item: Any) -> None:
        if self.pipe is not None:
            self.pipe.up.send(item)
        elif self._keeps:
            self._kept.append(item)

    def hang_up(self) -> None:
        self.is_hung_up = True
        if self.pipe is not None:
            self.pipe.down.close()
            self.pipe.up.send(END)
            self.pipe = None

    def lose(self, pipe: Pipe) -> None:
        """The connection is gone at this end."""
        if self.pipe is pipe:
            self.pipe = None
            pipe.down.close()
            self.retry(RECONNECT)

    def retry(self, delay: float) -> None:
        self._network.clock.call_later(
            delay, lambda: self.process.in_background(lambda: self._network.connect(self))
        )

    def refused(self) -> None:
        self.retry(self._interval)
        self._interval = min(2 * self._interval, RECONNECT_MAX)

    def establish(self, server: Server) -> None:
        """The handshake is through, if both ends still want it."""
        if self.is_hung_up or self.pipe is not None or not self.process.is_alive:
            return
        if not server.process.is_alive or not self._network.reaches(self.process, server.process):
            self.retry(RECONNECT)
            return
        self._interval = RECONNECT
        self.pipe = self._network.new_pipe(self, server)
        kept, self._kept = self._kept, []
        for item in (*self._greeting, *kept):
            self.pipe.up.send(item)


class Network:
    """Hosts, paths and connections. All randomness (jitter) is that of ``random``."""

    def __init__(self, clock: SimClock, random: Random, *, latency: float, jitter: float) -> None:
        self.clock = clock
        self._random = random
        self._latency = latency
        self._jitter = jitter
        self._latencies: dict[tuple[str, str], float] = {}
        self._blocked: set[tuple[str, str]] = set()
        self._aliases: dict[str, str] = {}
        self._servers: dict[str, Server] = {}
        self._stuck: list[Connector] = []
        self._half_ended: list[Pipe] = []
        self.pipes: dict[Pipe, None] = {}
        self._trace = blake2b(digest_size=16)
        self.items = 0

    # Paths.

    def latency(self, source: str, target: str) -> float:
        base = self._latencies.get((source, target), self._latency)
        return base * (1 + self._jitter * self._random.random())

    def set_latency(self, source: str, target: str, seconds: float) -> None:
        """For one direction, from now on."""
        self._latencies[source, target] = seconds

    def is_blocked(self, source: str, target: str) -> bool:
        return (source, target) in self._blocked

    def reaches(self, one: Process, other: Process) -> bool:
        return not self.is_blocked(one.host, other.host)

    def partition(self, *sides: Iterable[str]) -> None:
        """Nothing passes between hosts of different sides."""
        groups = [list(side) for side in sides]
        for index, group in enumerate(groups):
            for other in groups[index + 1 :]:
                for a in group:
                    for b in other:
                        self._blocked |= {(a, b), (b, a)}
        self.look_at_silence()

    def heal(self) -> None:
        """Everything passes again; what was held goes on, and connectors try again."""
        self._blocked.clear()
        for pipe in list(self.pipes):
            pipe.up.release()
            pipe.down.release()
            if not pipe.connector.process.is_alive:
                pipe.end_at_server()
        half_ended, self._half_ended = self._half_ended, []
        for pipe in half_ended:
            pipe.down.release()
        stuck, self._stuck = self._stuck, []
        for connector in stuck:
            connector.retry(RECONNECT)
        self.look_at_silence()

    # Connections.

    def alias(self, name: str, host: str) -> None:
        """Another address of a host."""
        self._aliases[name] = host

    def _host(self, address: str) -> str:
        name = address.rpartition(":")[0]
        return self._aliases.get(name, name)

    def listen(self, address: str, server: Server) -> None:
        if address in self._servers:
            raise OSError(f"address {address} is in use")
        self._servers[address] = server

    def connect(self, connector: Connector) -> None:
        """One attempt: a round trip, a refusal, or nothing for as long as the path is blocked."""
        if connector.is_hung_up or connector.pipe is not None or not connector.process.is_alive:
            return
        here, there = connector.process.host, self._host(connector.address)
        if self.is_blocked(here, there):
            self._stuck.append(connector)
            return
        round_trip = self.latency(here, there) + self.latency(there, here)
        server = self._servers.get(connector.address)
        if server is None:
            self.clock.call_later(round_trip, connector.refused)
            return
        self.clock.call_later(
            round_trip,
            lambda: server.process.in_background(lambda: connector.establish(server))
            if server.process.is_alive
            else connector.refused(),
        )

    def new_pipe(self, connector: Connector, server: Server) -> Pipe:
        pipe = Pipe(self, connector, server)
        self.pipes[pipe] = None
        self._watch_silence(pipe)
        return pipe

    def forget(self, pipe: Pipe) -> None:
        """The server's end of it is gone."""
        del self.pipes[pipe]
        if not self.reaches(pipe.server.process, pipe.connector.process):
            self._half_ended.append(pipe)
        if pipe.silence is not None:
            pipe.silence.cancel()

    def pipe_between(self, client: Process, server: Process, *, link: bool = True) -> Pipe:
        """The newest connection from one to the other. Raises LookupError."""
        for pipe in reversed(self.pipes):
            if (
                pipe.connector.process is client
                and pipe.server.process is server
                and pipe.server.has_heartbeats is link
                and pipe.connector.pipe is pipe
            ):
                return pipe
        raise LookupError(f"{client.host} is not connected to {server.host}")

    def cut(self, pipe: Pipe) -> None:
        """Both ends lose the connection now, with what was on its way."""
        pipe.up.close()
        pipe.down.close()
        pipe.end_at_server()
        pipe.connector.lose(pipe)

    def replace(self, pipe: Pipe) -> None:
        """The connecting end loses it and connects again; the other end notices much later."""
        pipe.up.close()
        pipe.connector.lose(pipe)
        self.clock.call_later(HEARTBEAT_TIMEOUT, pipe.end_at_server)

    def end(self, process: Process) -> None:
        """The process is gone, its sockets with it."""
        process.end()
        self.close_servers(process)
        for pipe in list(self.pipes):
            if pipe.connector.process is process:
                pipe.down.close()
                pipe.up.send(END, DEATH_NOTICE)

    def close_servers(self, process: Process) -> None:
        """Its bound sockets are closed: nobody listens there, and their connections end."""
        for address in [a for a, s in self._servers.items() if s.process is process]:
            del self._servers[address]
        for pipe in list(self.pipes):
            if pipe.server.process is process:
                self.forget(pipe)
                pipe.up.close()
                pipe.down.send(END, DEATH_NOTICE)

    def look_at_silence(self) -> None:
        """A path or a process has changed: start or stop the heartbeats' clocks."""
        for pipe in self.pipes:
            self._watch_silence(pipe)

    def _watch_silence(self, pipe: Pipe) -> None:
        if not pipe.server.has_heartbeats:
            return
        if not pipe.is_silent or pipe.server.process.is_frozen:
            if pipe.silence is not None:
                pipe.silence.cancel()
                pipe.silence = None
        elif pipe.silence is None:
            pipe.silence = self.clock.call_later(HEARTBEAT_TIMEOUT, pipe.end_at_server)

    def probe(self, process: Process, address: str, done: Callable[[str], None]) -> None:
        """A plain connect."""
        here, there = process.host, self._host(address)
        if self.is_blocked(here, there):
            delay, result = PROBE_TIMEOUT, "unknown"
        else:
            delay = self.latency(here, there) + self.latency(there, here)
            result = "open" if address in self._servers else "refused"
        self.clock.call_later(delay, lambda: process.clock.arrive(lambda: done(result)))

    # What happened.

    def record(self, path: tuple[str, str], item: Any) -> None:
        """Add an arrival to the trace."""
        self.items += 1
        payload = b"end" if item is END else item
        self._trace.update(f"{self.clock.now()!r} {path}".encode() + payload)

    @property
    def trace(self) -> str:
        """A digest of all arrivals so far, with their times."""
        return self._trace.hexdigest()
