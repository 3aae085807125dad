"""ZeroMQ sockets as this library uses them: options, and a bounded drain on the event loop.

Every option here was learnt by breaking something.

* ``RCVHWM=0`` on sockets that connect and receive: a full inbound pipe whose connection is
  replaced aborts the process (libzmq #3937, #4767), and a full pipe stops heartbeats' answers.
  The byte window bounds memory instead. ``SNDHWM=0`` on SUB, or subscriptions vanish silently.
* Heartbeats on the XPUB only: it covers both directions of a pair, and a busy receiver on the
  other sockets would be cut off. Its ``SNDBUF`` is small, or a slow link looks dead.
* The descriptor of a socket is edge-triggered: after every send or receive its EVENTS must be
  looked at again, or a message stays unread.
* A socket is touched by the loop's thread only; from two threads it aborts the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import cast

import zmq

__all__ = ["DRAIN", "REQUEST_DRAIN", "DrainedSocket", "has_input", "int_option", "new_socket"]

logger = logging.getLogger("mesh.transport")

# Plain ints: pyzmq's enum members cost several times as much, at every send and receive.
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)

DRAIN_SECONDS = 0.01
"""And no longer than this, whatever is in them: one peer's flood must not stop the others."""

DRAIN = 32
"""Frames read in one turn: a frame is up to a thousand messages, and others wait for the loop."""

REQUEST_DRAIN = 2048
"""Request frames read in one turn: decoding is cheap, and a backlog's cancellations lie behind
the requests that must not be started any more."""

HEARTBEAT_IVL_MS = 500
HEARTBEAT_TIMEOUT_MS = 2500
"""A frozen or unplugged peer is noticed after 2.5 to 3 s; answered by libzmq's own thread."""

XPUB_SNDBUF_BYTES = 128 * 1024
WIRE_OVERHEAD_BYTES = 64
"""libzmq holds MAXMSGSIZE against what is on the wire: encryption adds 33 bytes to a message, a
subscription's command name 10."""

BACKLOG = 4096
"""A thousand nodes dial at once after a power cut; with the default 100 that takes 28 s."""

MAX_UNREAD_FRAMES = 1000
"""Frames on a request connection that its reader has not taken; a frame is many calls or replies.
There is no window on that plane, so this bounds what a reader that stopped can make us keep."""

MAX_UNSERVED_FRAMES = 128
"""Request frames of one caller that libzmq reads ahead of us. A bound socket may have such a limit:
its pipes end with their connections, and there are no heartbeats on it that could starve."""

HANDSHAKE_IVL_MS = 3000
RECONNECT_IVL_MS = 100
RECONNECT_IVL_MAX_MS = 5000
CONNECT_TIMEOUT_MS = 3000
CLOSE_LINGER_MS = 200
"""What was sent before ``close()`` has this long to leave."""


def new_socket(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, max_bytes: int
) -> zmq.Socket[bytes]:
    """A socket of ``kind`` with the options above; nothing above ``max_bytes`` gets in."""
    socket = context.socket(kind)
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.SNDHWM, 0)
    socket.set(zmq.RCVHWM, 0)
    socket.set(zmq.MAXMSGSIZE, max_bytes + WIRE_OVERHEAD_BYTES)
    socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_IVL_MS)
    socket.set(zmq.IPV6, 1)
    if kind in (zmq.XPUB, zmq.ROUTER):
        socket.set(zmq.BACKLOG, BACKLOG)
    else:
        socket.set(zmq.RECONNECT_IVL, RECONNECT_IVL_MS)
        socket.set(zmq.RECONNECT_IVL_MAX, RECONNECT_IVL_MAX_MS)
        socket.set(zmq.CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS)
    if kind == zmq.XPUB:
        socket.set(zmq.XPUB_MANUAL, 1)
        socket.set(zmq.HEARTBEAT_IVL, HEARTBEAT_IVL_MS)
        socket.set(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        socket.set(zmq.SNDBUF, XPUB_SNDBUF_BYTES)
    elif kind in (zmq.ROUTER, zmq.DEALER):
        socket.set(zmq.SNDHWM, MAX_UNREAD_FRAMES)
    if kind == zmq.ROUTER:
        socket.set(zmq.RCVHWM, MAX_UNSERVED_FRAMES)
        socket.set(zmq.ROUTER_MANDATORY, 1)
        socket.set(zmq.LINGER, CLOSE_LINGER_MS)
    return socket


def int_option(socket: zmq.Socket[bytes], option: int) -> int:
    """The value of a numeric socket option."""
    return cast(int, socket.getsockopt(option))


def has_input(socket: zmq.Socket[bytes]) -> bool:
    """Whether a receive would get something now."""
    return bool(cast(int, socket.getsockopt(_EVENTS)) & _POLLIN)


class DrainedSocket:
    """A socket whose frames are read by ``receive(socket)`` whenever there are some.

    ``receive`` takes one message, NOBLOCK, and may raise ``zmq.Again``. ``begin`` and ``end``
    bracket each drain of at most ``limit`` messages.
    """

    __slots__ = ("_begin", "_end", "_fd", "_is_due", "_limit", "_loop", "_receive", "socket")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        socket: zmq.Socket[bytes],
        receive: Callable[[], None],
        begin: Callable[[], None],
        end: Callable[[], None],
        limit: int = DRAIN,
    ) -> None:
        self._limit = limit
        self._loop = loop
        self.socket = socket
        self._receive = receive
        self._begin = begin
        self._end = end
        self._is_due = False
        self._fd = int_option(socket, zmq.FD)
        loop.add_reader(self._fd, self.drain)
        self.check()

    def drain(self) -> None:
        """Read what is there, a bounded number of frames; the rest in the next turn."""
        self._is_due = False
        socket = self.socket
        if socket.closed:
            return
        self._begin()
        is_empty = False
        try:
            until = monotonic() + DRAIN_SECONDS
            for _ in range(self._limit):
                try:
                    self._receive()
                except zmq.Again:
                    is_empty = True
                    return
                if socket.closed or not has_input(socket):
                    is_empty = True
                    return
                if monotonic() > until:
                    return
        finally:
            # Also after an exception: the edge is spent, and the next frame must not wait for one.
            if not is_empty and not socket.closed:
                self._schedule()
            self._end()

    def drain_all(self, most: int) -> None:
        """Read everything that has arrived, at most ``most`` frames; within somebody's drain."""
        for _ in range(most):
            # Closed by what it told of, perhaps.
            if self.socket.closed:
                return
            try:
                self._receive()
            except zmq.Again:
                return

    def check(self) -> None:
        """Look again after a send, which may have swallowed the edge."""
        if not self._is_due and has_input(self.socket):
            self._schedule()

    def _schedule(self) -> None:
        self._is_due = True
        self._loop.call_soon(self.drain)

    def close(self) -> None:
        """Stop reading and close the socket; a second call does nothing."""
        if not self.socket.closed:
            self._loop.remove_reader(self._fd)
            self.socket.close()
