"""The door: where a node with a key is reached first, by TCP, before any socket of ZeroMQ.

One question, one answer, and the connection ends (``mesh.security.knocking``). What a stranger can
make it do is bounded: so many connections at once and a second, so many bytes, so many seconds.
Answers come from Python, so a node whose Python is
blocked answers late.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic

from discovery.pace import Pace
from mesh.engine.telling import Telling
from mesh.logs import get_logger
from mesh.security.knocking import HEADER_BYTES, MAGIC, BadKnock, body_bytes
from mesh.transport.listening import BACKLOG

__all__ = ["Door", "knock"]

logger = get_logger("mesh.security")

DOOR_SECONDS = 2.0
"""For a question to come whole: it is one packet, mostly."""

MAX_AT_DOOR = 256
"""Connections at once. An honest one takes milliseconds; one more is closed unheard."""

MAX_OF_HOST = 64
"""Of these, connections from one address: who says nothing there leaves room for others."""

VISITS_PER_SECOND = 200.0
VISITS_AT_ONCE = 1000
"""From one address: a thousand nodes may start at once on one machine, or behind one router, and
the answers to so many a second cost some percent of a CPU. One more is closed unheard."""

MAX_HOSTS = 1024
"""Addresses whose visits are counted; the oldest go first."""

CURVE_GREETING = (
    b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + b"\x01" + bytes(31)
)
"""What a CURVE server says first (RFC 23). A node without a key that hears it does not try again by
itself, several times a second: ZeroMQ takes a connection that was closed without a word for an
accident."""


class ZeroMQSpoke(BadKnock):
    """There is a ZeroMQ socket at the other end."""


class Door:
    """Answers knocks. ``answer(frame)`` gives the frame to send back, and raises BadKnock for
    what is not worth one. ``start`` it on a running loop."""

    def __init__(self, listener: socket.socket, answer: Callable[[bytes], bytes]) -> None:
        self._listener = listener
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._is_closed = False
        self._visits: dict[asyncio.Task[None], str] = {}
        """Who is at the door, and from which address."""
        self._hosts: Counter[str] = Counter()
        self._paces: dict[str, Pace] = {}
        self._tell = Telling(monotonic)
        self.refused = 0

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    async def start(self) -> None:
        """Open it."""
        self._server = await asyncio.start_server(
            self._on_connection, sock=self._listener, limit=HEADER_BYTES * 4, backlog=BACKLOG
        )

    def close(self) -> None:
        """No more answers; see ``wait_closed``. Idempotent."""
        self._is_closed = True
        if self._server is not None:
            self._server.close()
        self._listener.close()
        for visit in self._visits:
            visit.cancel()

    async def wait_closed(self) -> None:
        """Until nobody is at the door any more."""
        if self._visits:
            await asyncio.wait(self._visits)

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = str((writer.get_extra_info("peername") or ("",))[0])
        is_full = len(self._visits) >= MAX_AT_DOOR or self._hosts[host] >= MAX_OF_HOST
        # One may have been accepted in the moment before the close.
        if self._is_closed or is_full or not self._pace_of(host).may_pass():
            self.refused += 1
            writer.transport.abort()
            return
        # Not a coroutine for asyncio to run: it would log those that are cancelled at the end.
        visit = asyncio.get_running_loop().create_task(self._visit(host, reader, writer))
        self._visits[visit] = host
        self._hosts[host] += 1
        visit.add_done_callback(partial(self._leave, writer))

    def _leave(self, writer: asyncio.StreamWriter, visit: asyncio.Task[None]) -> None:
        # Here, for a visit that is cancelled before it has begun runs none of its own code.
        writer.transport.abort()
        host = self._visits.pop(visit)
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]

    def _pace_of(self, host: str) -> Pace:
        pace = self._paces.pop(host, None) or Pace(VISITS_PER_SECOND, VISITS_AT_ONCE)
        self._paces[host] = pace
        if len(self._paces) > MAX_HOSTS:
            del self._paces[next(iter(self._paces))]
        return pace

    async def _visit(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async with asyncio.timeout(DOOR_SECONDS):
                await self._hear(host, reader, writer)
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError) as error:
            logger.debug("a visitor has gone, or does not listen: %r", error)

    async def _hear(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            writer.write(self._answer(await _read_frame(reader.readexactly)))
            return
        except BadKnock as error:
            why = str(error)
            if isinstance(error, ZeroMQSpoke):
                writer.write(CURVE_GREETING)
        except asyncio.IncompleteReadError:
            why = "it did not say all of a question"
        except asyncio.CancelledError:
            # Its time is over, or this node's.
            self.refused += 1
            raise
        self.refused += 1
        self._tell.info(logger, "a knock from %s was refused: %s", host, why)


async def knock(host: str, port: int, question: Callable[[], bytes]) -> bytes:
    """Ask at a door and return the answer's frame. The question is made when somebody is there.

    Raises OSError when nobody listens, BadKnock when it is no door. Has no deadline of its own.
    On a bare socket: most addresses that are not worth a knock are found out by connecting.
    """
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as tcp:
        tcp.setblocking(False)
        await loop.sock_connect(tcp, (host, port))
        await loop.sock_sendall(tcp, question())

        async def read(count: int) -> bytes:
            said = b""
            while len(said) < count:
                more = await loop.sock_recv(tcp, count - len(said))
                if not more:
                    raise ConnectionResetError("the door was closed without an answer")
                said += more
            return said

        return await _read_frame(read)


async def _read_frame(read: Callable[[int], Awaitable[bytes]]) -> bytes:
    """``read(count)`` gives so many bytes, or raises."""
    # ZeroMQ begins with ten bytes and waits: four are enough to know.
    begin = await read(len(MAGIC))
    if begin[:1] == b"\xff":
        raise ZeroMQSpoke("a node without a key is there")
    if begin != MAGIC:
        raise BadKnock("it is no mesh node with a key")
    header = begin + await read(HEADER_BYTES - len(MAGIC))
    return header + await read(body_bytes(header))
