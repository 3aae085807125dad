"""A plain TCP connect to where a peer was: does anything listen there, and does it greet us?"""

from __future__ import annotations

import asyncio
import socket as stdlib_socket

from mesh.engine.ports import ProbeResult
from mesh.logs import get_logger

__all__ = ["probe"]

logger = get_logger("mesh.transport")

PROBE_TIMEOUT = 1.0


async def probe(loop: asyncio.AbstractEventLoop, host: str, port: int) -> ProbeResult:
    """A refusal proves a process gone; the greeting that libzmq's own thread sends (RFC 23) proves
    one alive, also while its Python is blocked."""
    family = stdlib_socket.AF_INET6 if ":" in host else stdlib_socket.AF_INET
    result: ProbeResult = "unknown"
    try:
        with stdlib_socket.socket(family, stdlib_socket.SOCK_STREAM) as plain:
            plain.setblocking(False)
            async with asyncio.timeout(PROBE_TIMEOUT):
                await loop.sock_connect(plain, (host, port))
                # A TCP socket can meet itself on a free local port: nobody listens there.
                is_itself = plain.getsockname() == plain.getpeername()
                result = "refused" if is_itself else "open"
                if not is_itself and await loop.sock_recv(plain, 1):
                    result = "alive"
    except ConnectionRefusedError:
        result = "refused"
    except (OSError, TimeoutError) as error:
        logger.debug("probe of %s:%d: %r", host, port, error)
    return result
