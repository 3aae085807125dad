"""The simulated network: who reaches whom, and what breaks connections.

It behaves as TCP and libzmq do:

* The listening side of a *link* has heartbeats: it gives up a connection whose other end was
  silent for ``HEARTBEAT_TIMEOUT``. Nothing else notices silence.
* A process that ends takes its connections with it: the other ends know ``DEATH_NOTICE`` later,
  after what was on its way.
* The rest is in ``mesh.testing.connections``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from itertools import count
from random import Random
from struct import pack
from typing import Any

from mesh.security.identity import Identity
from mesh.testing.clock import SimClock
from mesh.testing.connections import END, RECONNECT, Connector, Pipe, Plane, Server
from mesh.testing.process import Process

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
        self._paths: dict[tuple[str, str], bytes] = {}
        self.identities: dict[bytes, Identity] = {}
        """What the nodes prove to be, by id; those that are not here prove nothing."""
        self.items = 0
        """Frames, hellos and ends that have arrived so far, and their bytes."""
        self.bytes = 0

    # Paths.

    def latency(self, source: str, target: str) -> float:
        base = self._latencies.get((source, target), self._latency)
        return base * (1 + self._jitter * self._random.random())

    def draw(self, most: int) -> int:
        """A random number from 0 to ``most``; 0 takes no randomness."""
        return self._random.randint(0, most) if most else 0

    def set_latency(self, source: str, target: str, seconds: float | None) -> None:
        """For one direction, from now on; None for what all others have."""
        if seconds is None:
            self._latencies.pop((source, target), None)
        else:
            self._latencies[source, target] = seconds

    def is_blocked(self, source: str, target: str) -> bool:
        return (source, target) in self._blocked

    def reaches(self, one: Process, other: Process) -> bool:
        """Whether packets pass both ways, as any handshake needs."""
        return not self.is_cut(one.host, other.host)

    def is_cut(self, one: str, other: str) -> bool:
        """Whether at least one direction is blocked."""
        return (one, other) in self._blocked or (other, one) in self._blocked

    def block_path(self, source: str, target: str) -> None:
        """One direction passes nothing until ``heal``; the other one does."""
        self._blocked.add((source, target))
        self.look_at_silence()

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

    def take_away(self, alias: str) -> None:
        """It is no host's any more; connections that are up stay."""
        del self._aliases[alias]
        for address in [a for a in self._servers if a.rpartition(":")[0] == alias]:
            del self._servers[address]

    def _host(self, address: str) -> str:
        name = address.rpartition(":")[0]
        return self._aliases.get(name, name)

    def listen(self, address: str, server: Server) -> None:
        if address in self._servers:
            raise OSError(f"address {address} is in use")
        self._servers[address] = server

    def free_port(self, host: str, first: int, step: int) -> int:
        """The first one from ``first`` on, in steps, at which nobody listens."""
        return next(p for p in count(first, step) if f"{host}:{p}" not in self._servers)

    def connect(self, connector: Connector) -> None:
        """One attempt: a round trip, a refusal, or nothing for as long as the path is blocked."""
        if connector.is_hung_up or connector.pipe is not None or not connector.process.is_alive:
            return
        here, there = connector.process.host, self._host(connector.address)
        if self.is_cut(here, there):
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

    def pipe_between(self, client: Process, server: Process, plane: Plane = "link") -> Pipe:
        """The newest connection from one to the other. Raises LookupError."""
        for pipe in reversed(self.pipes):
            if (
                pipe.connector.process is client
                and pipe.server.process is server
                and pipe.server.plane == plane
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

    def swallow(self, pipe: Pipe) -> None:
        """What the connecting end sends gets lost from now on, and neither end is told."""
        pipe.up.close()

    def strand(self, process: Process) -> None:
        """The address is gone that the process's connections are from and to: they are dead, and
        only the heartbeats of links tell. It connects, and is reached, by its others."""
        for pipe in self.pipes:
            if process in (pipe.connector.process, pipe.server.process):
                self.strand_pipe(pipe)

    def strand_pipe(self, pipe: Pipe) -> None:
        """Nothing passes on that connection any more, in no direction, and nobody is told."""
        pipe.strand()
        self._watch_silence(pipe)

    def replace(self, pipe: Pipe) -> None:
        """The connecting end loses it and connects again; the other end notices much later."""
        pipe.up.close()
        pipe.connector.lose(pipe)
        self.clock.call_later(HEARTBEAT_TIMEOUT, pipe.end_at_server)

    def end(self, process: Process) -> None:
        """The process is gone, its sockets with it."""
        process.end()
        self.close_servers(lambda server: server.process is process)
        for pipe in list(self.pipes):
            if pipe.connector.process is process:
                pipe.down.close()
                pipe.up.send(END, DEATH_NOTICE)

    def close_servers(self, is_closed: Callable[[Server], bool]) -> None:
        """Bound sockets are closed: nobody listens there, and their connections end."""
        for address in [a for a, s in self._servers.items() if is_closed(s)]:
            del self._servers[address]
        for pipe in list(self.pipes):
            if is_closed(pipe.server):
                self.forget(pipe)
                pipe.up.close()
                pipe.down.send(END, DEATH_NOTICE)

    def look_at_silence(self) -> None:
        """A path or a process has changed: start or stop the heartbeats' clocks."""
        for pipe in self.pipes:
            self._watch_silence(pipe)

    def _watch_silence(self, pipe: Pipe) -> None:
        if pipe.server.plane != "link":
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
        if self.is_cut(here, there):
            delay, result = PROBE_TIMEOUT, "unknown"
        else:
            delay = self.latency(here, there) + self.latency(there, here)
            result = "open" if address in self._servers else "refused"
        self.clock.call_later(delay, lambda: process.clock.arrive(lambda: done(result)))

    # What happened.

    def record(self, path: tuple[str, str], item: Any) -> None:
        """Add an arrival to the trace."""
        self.items += 1
        payload = b"end" if item is END else b"".join(item) if type(item) is tuple else item
        self.bytes += len(payload)
        head = self._paths.get(path)
        if head is None:
            head = self._paths[path] = f"{path}".encode()
        self._trace.update(b"%b%b%b" % (pack("<d", self.clock.now()), head, payload))

    @property
    def trace(self) -> str:
        """A digest of all arrivals so far, with their times."""
        return self._trace.hexdigest()
