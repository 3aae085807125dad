"""Connections of the simulated network: channels, pipes, and the sockets at their two ends.

* A channel is one direction, in order. While its path is blocked it holds what was sent, as TCP
  does, and delivers it when the path is back.
* A connector connects again by itself, at growing intervals, until it is hung up. It then repeats
  what it said first, at whoever listens there.
* What was sent and is still on its way when a connector is hung up arrives, unless it lingers not:
  then a part at the end of what the path holds back does not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mesh.testing.clock import SimTimer
from mesh.testing.process import Process

if TYPE_CHECKING:
    from mesh.testing.network import Network

__all__ = ["END", "RECONNECT", "Connector", "Pipe", "Plane", "Server"]

Plane = Literal["link", "request", "work"]
"""What a bound socket is for."""

RECONNECT = 0.1
RECONNECT_MAX = 5.0
END: Any = object()
"""The last item of a channel: its sender has closed the connection."""


class Server(Protocol):
    """A bound socket."""

    process: Process
    plane: Plane

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

    def drop_unsent(self) -> None:
        """A part of what is held back had not even left the sender's own buffers."""
        for _ in range(self._network.draw(len(self._held))):
            self._held.pop()

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
        self.is_stranded = False
        """Whether an address that it is between is gone: nothing passes, and nobody says so."""

    @property
    def is_silent(self) -> bool:
        """Whether the connecting side's answers to heartbeats do not come, or not in time."""
        client, server = self.connector.process, self.server.process
        is_cut = self.is_stranded or self.network.is_cut(client.host, server.host)
        return client.is_frozen or is_cut

    def strand(self) -> None:
        self.is_stranded = True
        self.up.close()
        self.down.close()

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
    connection waits for the next one, whoever answers there (a DEALER does that); without, ``send``
    says so. ``on_up`` is called at each connection.
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
        lingers: bool = True,
        on_up: Callable[[], None] | None = None,
    ) -> None:
        self._network = network
        self.process = process
        self.address = address
        self.on_item = on_item
        self.pipe: Pipe | None = None
        self.is_hung_up = False
        self._greeting = tuple(greeting)
        self._keeps = keeps
        self._lingers = lingers
        self._on_up = on_up
        self._kept: list[Any] = []
        self._interval = RECONNECT
        network.connect(self)

    def send(self, item: Any) -> bool:
        """False when it is not connected, and the item is not kept."""
        if self.pipe is not None:
            self.pipe.up.send(item)
        elif self._keeps:
            self._kept.append(item)
        else:
            return False
        return True

    def hang_up(self) -> None:
        self.is_hung_up = True
        if self.pipe is not None:
            self.pipe.down.close()
            if not self._lingers:
                self.pipe.up.drop_unsent()
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
        if self._on_up is not None:
            self._on_up()
