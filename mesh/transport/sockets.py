"""ZeroMQ sockets as this library uses them: options, and a bounded drain on the event loop.

Every option here was learnt by breaking something.

* ``RCVHWM=0`` on sockets that connect and receive: a full inbound pipe whose connection is
  replaced aborts the process (libzmq #3937, #4767), and a full pipe stops heartbeats' answers.
  The byte window bounds memory instead. ``SNDHWM=0`` on SUB, or subscriptions vanish silently.
* A PUSH has no connection until it sends (``IMMEDIATE``), or it queues for an endpoint where nobody
  listens; and then frames for one process reach the next one at its port.
* Heartbeats on the XPUB only: it covers both directions of a pair, and a busy receiver on the
  other sockets would be cut off. Its ``SNDBUF`` is small, or a slow link looks dead.
* The descriptor of a socket is edge-triggered: after every send or receive its EVENTS must be
  looked at again, or a message stays unread. A socket that only sends needs that look as well: what
  libzmq's thread tells it of ended connections waits, with all that was queued on them, until then.
* A socket is touched by the loop's thread only; from two threads it aborts the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import cast

import zmq

from discovery.address import format_address
from mesh.logs import get_logger

__all__ = [
    "DRAIN",
    "MAX_PUSH_INPUT_BYTES",
    "REQUEST_DRAIN",
    "DrainedSocket",
    "PushSocket",
    "bind",
    "connect",
    "has_input",
    "int_option",
    "new_socket",
    "set_keepalive",
    "skip_rest",
]

logger = get_logger("mesh.transport")

# Plain ints: pyzmq's enum members cost several times as much, at every send and receive.
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_POLLOUT = int(zmq.POLLOUT)
_NOBLOCK = int(zmq.NOBLOCK)
_RCVMORE = int(zmq.RCVMORE)

DRAIN_SECONDS = 0.01
"""And no longer than this, whatever is in them: one peer's flood must not stop the others."""

PARTS_AT_ONCE = 256
"""Parts of a message that nobody asked for, dropped in one go: there may be a million in one."""

DRAIN = 32
"""Frames read in one turn: a frame is up to a thousand messages, and others wait for the loop."""

REQUEST_DRAIN = 2048
"""Request frames read in one turn: decoding is cheap, and a backlog's cancellations lie behind
the requests that must not be started any more."""

HEARTBEAT_IVL_MS = 1000
HEARTBEAT_TIMEOUT_MS = 2300
"""A frozen or unplugged peer is noticed after 2.3 to 3.3 s; answered by libzmq's own thread. They
are most of what an idle node costs in a large mesh, so they are as rare as that allows."""

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
"""Request or work frames of one peer that libzmq reads ahead of us. A bound socket may have such a
limit: its pipes end with their connections, and there are no heartbeats on it that could starve."""

MAX_PUSH_INPUT_BYTES = 1024
"""The most that a PUSH takes in one piece: the handshake needs some 200. Nobody has anything to say
to it, nobody would read it, and so one such message is kept (``RCVHWM``) and no more."""

KEEPALIVE_IDLE_S = 60
KEEPALIVE_INTVL_S = 10
KEEPALIVE_CNT = 3
"""An idle work connection is probed by TCP, or a firewall forgets it after some minutes and the
next frame goes nowhere. Both ends do it; the PULL's end would otherwise keep it for ever."""

HANDSHAKE_IVL_MS = 3000
RECONNECT_IVL_MS = 100
RECONNECT_IVL_MAX_MS = 2000
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
    if kind in (zmq.XPUB, zmq.ROUTER, zmq.PULL):
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
    elif kind == zmq.PULL:
        socket.set(zmq.RCVHWM, MAX_UNSERVED_FRAMES)
    elif kind == zmq.PUSH:
        # Nothing bounds what is unsent but the sender's window: it is a part of what that keeps.
        socket.set(zmq.IMMEDIATE, 1)
        socket.set(zmq.RCVHWM, 1)
    if kind in (zmq.PUSH, zmq.PULL):
        set_keepalive(socket)
    return socket


def set_keepalive(socket: zmq.Socket[bytes]) -> None:
    """Let TCP find out whether the other end is still there."""
    socket.set(zmq.TCP_KEEPALIVE, 1)
    socket.set(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S)
    socket.set(zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_INTVL_S)
    socket.set(zmq.TCP_KEEPALIVE_CNT, KEEPALIVE_CNT)


def int_option(socket: zmq.Socket[bytes], option: int) -> int:
    """The value of a numeric socket option."""
    return cast(int, socket.getsockopt(option))


def has_input(socket: zmq.Socket[bytes]) -> bool:
    """Whether a receive would get something now."""
    return bool(cast(int, socket.getsockopt(_EVENTS)) & _POLLIN)


def skip_rest(socket: zmq.Socket[bytes]) -> bool:
    """Drop what is left of the message read last, some parts at a time; False if it was whole."""
    if not socket.getsockopt(_RCVMORE):
        return False
    for _ in range(PARTS_AT_ONCE):
        socket.recv(_NOBLOCK)
        if not socket.getsockopt(_RCVMORE):
            break
    return True


def bind(socket: zmq.Socket[bytes], host: str, port: int) -> int:
    """Listen on a port, 0 for any free one, and return it.

    Raises OSError when the address or the port is not to be had.
    """
    literal = f"[{host}]" if ":" in host else host
    try:
        socket.bind(f"tcp://{literal}:{port or '*'}")
    except zmq.ZMQError as error:
        where = format_address(host, port)
        raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from error
    endpoint = cast(bytes, socket.getsockopt(zmq.LAST_ENDPOINT))
    return int(endpoint.rstrip(b"\0").rpartition(b":")[2])


def connect(socket: zmq.Socket[bytes], address: str) -> bool:
    """Let libzmq connect; False when it cannot even try."""
    try:
        socket.connect(f"tcp://{address}")
    except zmq.ZMQError as error:
        # An address that cannot even be parsed behaves like one that never answers.
        logger.debug("cannot connect to %s: %s", address, error)
        return False
    return True


class DrainedSocket:
    """A socket whose frames are read by ``receive(socket)`` whenever there are some.

    ``receive`` takes one message, NOBLOCK, and may raise ``zmq.Again``. ``begin`` and ``end``
    bracket each drain of at most ``limit`` messages.
    """

    __slots__ = ("_begin", "_end", "_fd", "_is_check_due", "_is_due", "_limit", "_loop", "_receive",
                 "socket")  # fmt: skip

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
        self._is_check_due = False
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
            for taken in range(self._limit):
                try:
                    self._receive()
                except zmq.Again:
                    is_empty = True
                    return
                # Mostly there is one. Of several the end shows when there is none to receive.
                if socket.closed or (not taken and not has_input(socket)):
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

    def check_soon(self) -> None:
        """The same before the loop sleeps, once for all sends of this turn."""
        if not self._is_due and not self._is_check_due:
            self._is_check_due = True
            self._loop.call_soon(self._check_now)

    def _check_now(self) -> None:
        self._is_check_due = False
        if not self.socket.closed:
            self.check()

    def _schedule(self) -> None:
        self._is_due = True
        self._loop.call_soon(self.drain)

    def close(self) -> None:
        """Stop reading and close the socket; a second call does nothing."""
        if not self.socket.closed:
            self._loop.remove_reader(self._fd)
            self.socket.close()


class PushSocket:
    """A socket that only sends, and knows whether it is connected (``IMMEDIATE``).

    ``ready`` is called when it is again, after a frame that it did not take.
    """

    __slots__ = ("_fd", "_is_awaited", "_loop", "_ready", "socket")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        socket: zmq.Socket[bytes],
        ready: Callable[[], None],
    ) -> None:
        self._loop = loop
        self.socket = socket
        self._ready = ready
        self._is_awaited = False
        self._fd = int_option(socket, zmq.FD)
        loop.add_reader(self._fd, self._look)

    def send(self, frame: bytes, *, copy: bool) -> bool:
        """Send a frame; False when there is no connection."""
        if self.socket.closed:
            return False
        try:
            self.socket.send(frame, _NOBLOCK, copy=copy)
        except zmq.Again:
            self._is_awaited = True
            return False
        self._is_awaited = False
        return True

    def _look(self) -> None:
        """A connection came or went: looking at the state is what makes libzmq take note."""
        is_connected = not self.socket.closed and bool(int_option(self.socket, _EVENTS) & _POLLOUT)
        if is_connected and self._is_awaited:
            self._is_awaited = False
            self._ready()

    def close(self) -> None:
        """Close it, and drop what is unsent; a second call does nothing."""
        if not self.socket.closed:
            self._loop.remove_reader(self._fd)
            self.socket.close()
