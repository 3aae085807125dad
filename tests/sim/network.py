"""The simulated network: who reaches whom, and what breaks connections.

It behaves as TCP and libzmq do:

* The listening side of a *link* has heartbeats: it gives up a connection whose other end was
  silent for ``HEARTBEAT_TIMEOUT``. Nothing else notices silence.
* A process that ends takes its connections with it: the other ends know ``DEATH_NOTICE`` later,
  after what was on its way.
* The rest is in ``tests.sim.connections``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from random import Random
from typing import Any

from tests.sim.clock import SimClock
from tests.sim.connections import END, RECONNECT, Connector, Pipe, Server
from tests.sim.process import Process

__all__ = ["Network"]

HEARTBEAT_TIMEOUT = 2.7
DEATH_NOTICE = 0.001
PROBE_TIMEOUT = 1.0


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
            lambda: (
                server.process.in_background(lambda: connector.establish(server))
                if server.process.is_alive
                else connector.refused()
            ),
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
