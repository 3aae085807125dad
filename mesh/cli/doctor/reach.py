"""Tries to reach addresses by plain TCP: does anybody listen there, and what does it say?

A node without a key greets first: libzmq's own thread does, so also one whose Python is blocked
(RFC 23). One with a key waits for a knock, and its Python answers one with a key that nobody has:
with that it says no. A process that is stopped says nothing, though the kernel accepts for it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import socket
import struct
from collections.abc import Iterable

from discovery.address import parse_address
from mesh.cli.doctor.facts import Tried
from mesh.security.knocking import KNOCK, MAGIC, VERSION

__all__ = ["GREETING", "MAX_TRIED", "try_all"]

CONNECT = 1.0
"""Seconds for a connection: a LAN takes milliseconds, one lost packet a second."""

GREETING = 0.4
"""Seconds in which ZeroMQ greets, before a knock is tried."""

ANSWER = 2.0
"""Seconds for the answer to a knock: Python gives it, and a busy one takes a second."""

AT_ONCE = 64
"""Connections at the same time."""

MAX_TRIED = 256
"""Addresses that are tried at all; the others are told as not looked at."""

_UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}
_ZEROMQ = b"\xff"
_HINT_BYTES = 8


async def try_all(addresses: Iterable[str], deadline: float) -> dict[str, Tried]:
    """What became of each, until the loop's time ``deadline``; those that are no IP literals, or
    that there was no time for, are not in it."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(address: str) -> Tried | None:
        async with turns:
            return await _try(address, deadline)

    wanted = list(dict.fromkeys(addresses))[:MAX_TRIED]
    results = await asyncio.gather(*map(one, wanted))
    return {tried.address: tried for tried in results if tried is not None}


async def _try(address: str, deadline: float) -> Tried | None:
    loop = asyncio.get_running_loop()
    left = deadline - loop.time()
    place = _place(address)
    if place is None or left <= 0.05:
        return None
    family, where = place
    with socket.socket(family, socket.SOCK_STREAM) as tcp:
        tcp.setblocking(False)
        try:
            async with asyncio.timeout(min(CONNECT, left)):
                await loop.sock_connect(tcp, where)
        except TimeoutError:
            if not _is_connected(tcp):
                return Tried(address, "timeout") if left >= CONNECT else None
        except OSError as error:
            return _failed(address, error)
        if tcp.getsockname() == tcp.getpeername():
            return Tried(address, "refused")  # it has met itself on a free port
        return await _listen(address, tcp, deadline)


async def _listen(address: str, tcp: socket.socket, deadline: float) -> Tried | None:
    """Somebody has accepted: who is it?"""
    loop = asyncio.get_running_loop()
    try:
        said = await _hear(tcp, min(GREETING, deadline - loop.time()))
        if said is None:
            await loop.sock_sendall(tcp, _knock())
            left = deadline - loop.time()
            said = await _hear(tcp, min(ANSWER, left))
            if said is None and left < ANSWER:
                return None
    except OSError:
        return Tried(address, "closed")
    if said is None:
        return Tried(address, "silent")
    if not said:
        return Tried(address, "closed")
    if said.startswith(_ZEROMQ):
        return Tried(address, "alive")
    return Tried(address, "keyed" if said.startswith(MAGIC) else "alien")


def _is_connected(tcp: socket.socket) -> bool:
    """After a time-out: this loop may have had no time to see that it is."""
    try:
        tcp.getpeername()
    except OSError:
        return False
    return True


async def _hear(tcp: socket.socket, seconds: float) -> bytes | None:
    """What comes first; None when nothing does."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            return await asyncio.get_running_loop().sock_recv(tcp, len(MAGIC))
    except TimeoutError:
        try:
            return tcp.recv(len(MAGIC))  # this loop may have had no time for it
        except BlockingIOError:
            return None


def _knock() -> bytes:
    """A question at a door, with a key that nobody has, and nothing in it."""
    hint = secrets.token_bytes(_HINT_BYTES)
    return struct.pack(">4sBBI8s", MAGIC, VERSION, KNOCK, _HINT_BYTES, hint)


def _failed(address: str, error: OSError) -> Tried:
    if isinstance(error, ConnectionRefusedError):
        return Tried(address, "refused")
    if error.errno == errno.ETIMEDOUT:
        return Tried(address, "timeout")
    detail = os.strerror(error.errno) if error.errno else str(error)
    is_known = error.errno in _UNREACHABLE or error.errno in (errno.EINVAL, errno.EADDRNOTAVAIL)
    return Tried(address, "unreachable" if is_known else "closed", detail)


def _place(address: str) -> tuple[socket.AddressFamily, tuple[object, ...]] | None:
    """As sockets take it; None for what is no IP literal, or of an interface that is not here."""
    try:
        host, port = parse_address(address)
        [(family, _, _, _, where), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
    except (ValueError, OSError):
        return None
    return family, where
