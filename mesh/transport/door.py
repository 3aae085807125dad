"""The door: where a node with a key is reached first, by TCP, before any socket of ZeroMQ.

One question, one answer, and the connection ends (``mesh.security.knocking``). What a stranger can
make it do is bounded: so many connections at once, so many bytes, so many seconds; and who only
ever knocks wrongly is soon not listened to. Answers come from Python, so a node whose Python is
blocked answers late.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

from mesh.engine.telling import Telling
from mesh.security.knocking import HEADER_BYTES, MAGIC, BadKnock, body_bytes
from mesh.transport.listening import BACKLOG

__all__ = ["Door", "knock"]

logger = logging.getLogger("mesh.security")

DOOR_SECONDS = 2.0
"""For a question to come whole: it is one packet, mostly."""

MAX_AT_DOOR = 256
"""Connections at once. An honest one takes milliseconds; one more is closed unheard."""

FREE_MISTAKES = 20
"""Wrong knocks in a row from one host before it has to wait: a typing error is no attack."""

CURVE_GREETING = (
    b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + b"\x01" + bytes(31)
)
"""What a CURVE server says first (RFC 23). A node without a key that hears it does not try again by
itself, several times a second: ZeroMQ takes a connection that was closed without a word for an
accident."""

MISTAKE_COSTS_SECONDS = 0.05
"""For each further one the host is not heard for that much longer."""

LONGEST_DEAF_SECONDS = 30.0
MAX_HOSTS = 1024
"""Hosts whose mistakes are remembered; the oldest go first."""


class ZeroMQSpoke(BadKnock):
    """There is a ZeroMQ socket at the other end."""


class Door:
    """Answers knocks. ``answer(frame)`` gives the frame to send back, and raises BadKnock for
    what is not worth one. ``start`` it on a running loop."""

    def __init__(self, listener: socket.socket, answer: Callable[[bytes], bytes]) -> None:
        self._listener = listener
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._visits: set[asyncio.Task[Any]] = set()
        self._mistakes: dict[str, tuple[int, float]] = {}
        """Wrong knocks in a row of a host, and until when it is not heard."""
        self._tell = Telling(monotonic)
        self.refused = 0

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    async def start(self) -> None:
        """Open it."""
        self._server = await asyncio.start_server(
            self._visit, sock=self._listener, limit=HEADER_BYTES * 4, backlog=BACKLOG
        )

    def close(self) -> None:
        """No more answers; see ``wait_closed``. Idempotent."""
        if self._server is not None:
            self._server.close()
        self._listener.close()
        for visit in self._visits:
            visit.cancel()

    async def wait_closed(self) -> None:
        """Until nobody is at the door any more."""
        if self._visits:
            await asyncio.wait(self._visits)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._visits) >= MAX_AT_DOOR:
            self.refused += 1
            writer.transport.abort()
            return
        self._visits.add(task)
        try:
            await self._hear(reader, writer)
        except OSError as error:
            logger.debug("a visitor has gone: %s", error)
        finally:
            self._visits.discard(task)
            writer.close()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = str((writer.get_extra_info("peername") or ("",))[0])
        now = asyncio.get_running_loop().time()
        count, deaf_until = self._mistakes.get(host, (0, 0.0))
        if now < deaf_until:
            self.refused += 1
            writer.transport.abort()
            return
        try:
            async with asyncio.timeout(DOOR_SECONDS):
                reply = self._answer(await _read_frame(reader))
                writer.write(reply)
                await writer.drain()
        except (BadKnock, TimeoutError, asyncio.IncompleteReadError) as error:
            if isinstance(error, ZeroMQSpoke):
                writer.write(CURVE_GREETING)
            self.refused += 1
            self._remember(host, count + 1, now)
            why = error if isinstance(error, BadKnock) else "it did not say all of a question"
            self._tell.info(logger, "a knock from %s was refused: %s", host, why)
        else:
            self._mistakes.pop(host, None)

    def _remember(self, host: str, count: int, now: float) -> None:
        deaf = min(max(0, count - FREE_MISTAKES) * MISTAKE_COSTS_SECONDS, LONGEST_DEAF_SECONDS)
        self._mistakes.pop(host, None)
        self._mistakes[host] = (count, now + deaf)
        if len(self._mistakes) > MAX_HOSTS:
            del self._mistakes[next(iter(self._mistakes))]


async def knock(host: str, port: int, question: Callable[[], bytes]) -> bytes:
    """Ask at a door and return the answer's frame. The question is made when somebody is there.

    Raises OSError when nobody listens, BadKnock when it is no door. Has no deadline of its own.
    """
    reader, writer = await asyncio.open_connection(host, port, limit=HEADER_BYTES * 4)
    try:
        writer.write(question())
        return await _read_frame(reader)
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("the door was closed without an answer") from error
    finally:
        writer.close()


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    # ZeroMQ begins with ten bytes and waits: four are enough to know.
    begin = await reader.readexactly(len(MAGIC))
    if begin[:1] == b"\xff":
        raise ZeroMQSpoke("a node without a key is there")
    if begin != MAGIC:
        raise BadKnock("it is no mesh node with a key")
    header = begin + await reader.readexactly(HEADER_BYTES - len(MAGIC))
    return header + await reader.readexactly(body_bytes(header))
