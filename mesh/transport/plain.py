"""The sockets of plain ZeroMQ clients: a ROUTER for their requests, an XPUB for what they hear.

They share nothing with the mesh's own sockets but the loop: a context of their own, so an I/O
thread and an authentication handler of their own, and bounds on everything (the engine's window is
not there to keep a plain client in its). With keys they ask for the mesh's, as all its sockets do.

* A client's pipe is bounded both ways, in messages. A subscriber that is too slow loses messages,
  silently: ZeroMQ does not tell. A caller that reads no replies loses those.
* Requests are read at a bounded rate, whatever is sent: behind it TCP holds the clients back.
* Surprise: the number of frames in one message, and of prefixes in ZeroMQ's own table, is bounded
  by nothing that can be set. What a client says is bounded; what it makes libzmq keep is not.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

import zmq

from discovery.address import format_address
from mesh.plain import Gateway
from mesh.plain.wire import MAX_PARTS, MAX_PREFIX_BYTES, MAX_VALUE_BYTES
from mesh.runtime.threads import call_in_thread
from mesh.security import NodeKey
from mesh.transport import descriptors
from mesh.transport.sockets import (
    BACKLOG,
    CLOSE_LINGER_MS,
    HANDSHAKE_IVL_MS,
    WIRE_OVERHEAD_BYTES,
    DrainedSocket,
    bind,
    has_input,
    int_option,
    set_keepalive,
)
from mesh.transport.zap import ZapHandler

__all__ = ["PlainEndpoints", "PlainSockets"]

_NOBLOCK = int(zmq.NOBLOCK)
_SNDMORE = int(zmq.SNDMORE)
_RCVMORE = int(zmq.RCVMORE)

MAX_UNREAD_MESSAGES = 1000
"""For one subscriber, behind what the kernel holds. At 256 KiB each, the largest there are, 250 MiB
for one that is stuck; usually some KiB."""

MAX_UNREAD_REPLIES = 16
MAX_UNSERVED_REQUESTS = 16
"""For one client. Both as many as it may have in flight; a request or reply has up to 1 MiB."""

MAX_REQUESTS_PER_SECOND = 10_000
"""From all clients together. Each costs the loop some 30 µs, so a flood gets a third of it."""

REQUESTS_AT_ONCE = 100
"""How many may come after a silence before that counts."""

REFILL_SECONDS = 0.002
"""How long nothing is read once the allowance is used up."""

PREFIX_DRAIN = 256
"""Subscriptions read in one turn."""


@dataclass(frozen=True, slots=True)
class PlainEndpoints:
    """Where plain ZeroMQ clients connect: ``rpc`` with a REQ, ``pubsub`` with a SUB."""

    rpc: str
    pubsub: str


class PlainSockets:
    """Binds on ``host``, at ``ports`` for requests and subscriptions; 0 takes any free one.

    ``shown_host`` is the address by which others can reach it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        host: str,
        shown_host: str,
        ports: tuple[int, int],
        key: NodeKey | None,
    ) -> None:
        self._loop = loop
        self._host = host
        self._shown_host = shown_host
        self._ports = ports
        self._key = key
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._zap: ZapHandler | None = None
        self._gateway: Gateway
        self._requests: PacedSocket
        self._subscribers: DrainedSocket
        self._is_rest_unread = False
        self._closed = False

    def open(self, gateway: Gateway) -> PlainEndpoints:
        """Bind. Raises OSError when the address, a port or enough descriptors are not to be had."""
        descriptors.check(descriptors.FOR_PLAIN)
        self._gateway = gateway
        self._context = context = zmq.Context()
        context.set(zmq.BLOCKY, False)
        try:
            if self._key is not None:
                self._zap = ZapHandler(self._loop, context, self._admit)
            router = self._new(context, zmq.ROUTER, MAX_VALUE_BYTES)
            rpc_port = bind(router, self._host, self._ports[0])
            xpub = self._new(context, zmq.XPUB, MAX_PREFIX_BYTES + 1)
            pubsub_port = bind(xpub, self._host, self._ports[1])
        except (OSError, zmq.ZMQError):
            if self._zap is not None:
                self._zap.close()
            self._closed = True
            self.abandon()
            raise
        self._requests = PacedSocket(self._loop, router, self._receive_request, gateway)
        self._subscribers = DrainedSocket(
            self._loop,
            xpub,
            self._receive_prefix,
            gateway.begin_drain,
            gateway.end_drain,
            PREFIX_DRAIN,
        )
        host = self._shown_host
        return PlainEndpoints(
            f"tcp://{format_address(host, rpc_port)}", f"tcp://{format_address(host, pubsub_port)}"
        )

    def _new(
        self, context: zmq.Context[zmq.Socket[bytes]], kind: int, max_bytes: int
    ) -> zmq.Socket[bytes]:
        socket = context.socket(kind)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.MAXMSGSIZE, max_bytes + WIRE_OVERHEAD_BYTES)
        socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_IVL_MS)
        socket.set(zmq.BACKLOG, BACKLOG)
        socket.set(zmq.IPV6, 1)
        set_keepalive(socket)
        if kind == zmq.ROUTER:
            socket.set(zmq.ROUTER_MANDATORY, 1)
            socket.set(zmq.RCVHWM, MAX_UNSERVED_REQUESTS)
            socket.set(zmq.SNDHWM, MAX_UNREAD_REPLIES)
        else:
            socket.set(zmq.SNDHWM, MAX_UNREAD_MESSAGES)
        if self._key is not None:
            self._key.serve(socket)
        return socket

    def _admit(self, key: bytes) -> bytes:
        """All plain clients have the one pair that follows from the mesh key."""
        is_ours = self._key is not None and hmac.compare_digest(key, self._key.public)
        return b"plain" if is_ours else b""

    # Requests.

    def _receive_request(self) -> None:
        """One request; of one with too many frames some, and the others next time, unread."""
        router = self._requests.socket
        parts: list[bytes] = []
        client = router.recv(_NOBLOCK)
        while (has_more := bool(router.getsockopt(_RCVMORE))) and len(parts) <= MAX_PARTS:
            parts.append(router.recv(_NOBLOCK))
        is_rest, self._is_rest_unread = self._is_rest_unread, has_more
        if not is_rest:
            self._gateway.on_request(client, parts)

    def reply(self, client: bytes, parts: Sequence[bytes]) -> bool:
        """Send one reply; False when the client is gone or reads nothing."""
        router = self._requests.socket
        if router.closed:
            return False
        try:
            router.send(client, _NOBLOCK | _SNDMORE)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            return False
        for part in parts[:-1]:
            router.send(part, _NOBLOCK | _SNDMORE)
        router.send(parts[-1], _NOBLOCK)
        self._requests.check()
        return True

    # Subscriptions.

    def _receive_prefix(self) -> None:
        topic = self._subscribers.socket.recv(_NOBLOCK)
        # Else it is of a message: a client may send one, and nobody here listens. ZeroMQ takes a
        # frame that looks like a subscription for one wherever it stands in a message.
        if topic[:1] in (b"\x00", b"\x01"):
            self._gateway.on_prefix(topic[1:], topic[:1] == b"\x01")

    def publish(self, frame: bytes) -> None:
        """To every subscriber with a prefix of it; those that are too slow lose it."""
        if not self._subscribers.socket.closed:
            self._subscribers.socket.send(frame, _NOBLOCK)
            self._subscribers.check()

    # The end.

    def close(self) -> None:
        """Close the sockets. Replies have a moment to leave: see ``wait_closed``."""
        if self._closed:
            return
        self._closed = True
        self._requests.socket.set(zmq.LINGER, CLOSE_LINGER_MS)
        self._requests.close()
        self._subscribers.close()
        if self._zap is not None:
            self._zap.close()

    async def wait_closed(self) -> None:
        """Until libzmq has let go of everything; bounded by the lingering of the sockets."""
        context, self._context = self._context, None
        if context is not None:
            await call_in_thread(self._loop, context.term)

    def abandon(self) -> None:
        """When there is no time for ``wait_closed``: let go of all at once."""
        context, self._context = self._context, None
        if context is not None:
            context.destroy(linger=0)


class PacedSocket:
    """Reads a socket on the loop, at `MAX_REQUESTS_PER_SECOND` on average and no faster."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        socket: zmq.Socket[bytes],
        receive: Callable[[], None],
        gateway: Gateway,
    ) -> None:
        self._loop = loop
        self.socket = socket
        self._receive = receive
        self._gateway = gateway
        self._allowance = float(REQUESTS_AT_ONCE)
        self._at = monotonic()
        self._pause: asyncio.TimerHandle | None = None
        self._is_due = False
        self._fd = int_option(socket, zmq.FD)
        loop.add_reader(self._fd, self._drain)
        self.check()

    def check(self) -> None:
        """Look again after a send, which may have swallowed the edge."""
        if not self._is_due and self._pause is None and has_input(self.socket):
            self._is_due = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._is_due = False
        if self.socket.closed:
            return
        if self._pause is not None:
            # Looking is what quiets the descriptor; the loop would spin.
            has_input(self.socket)
            return
        now = monotonic()
        earned = (now - self._at) * MAX_REQUESTS_PER_SECOND
        self._allowance = min(self._allowance + earned, REQUESTS_AT_ONCE)
        self._at = now
        self._gateway.begin_drain()
        try:
            self._read()
        finally:
            self._gateway.end_drain()
            self.check()

    def _read(self) -> None:
        while self._allowance >= 1:
            self._allowance -= 1
            try:
                self._receive()
            except zmq.Again:
                return
        self._pause = self._loop.call_later(REFILL_SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._drain()

    def close(self) -> None:
        """Stop reading and close the socket; a second call does nothing."""
        if not self.socket.closed:
            self._loop.remove_reader(self._fd)
            if self._pause is not None:
                self._pause.cancel()
            self.socket.close()
