"""Listening TCP sockets that are not ZeroMQ's: of doors and of invites."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from discovery.address import format_address
from mesh.transport.addresses import ALL_IPV4, is_wildcard

__all__ = ["BACKLOG", "listen"]

BACKLOG = 1024
"""Connections that the kernel holds while Python is busy: a thousand nodes may start at once."""


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket on ``host``, "*" for all, both IP versions if there are both.

    Raises OSError when the address or the port is not to be had.
    """
    try:
        if is_wildcard(host) and host != ALL_IPV4 and socket.has_dualstack_ipv6():
            with contextlib.suppress(OSError):
                # Without IPv6 in the kernel's configuration there is IPv4.
                return _listening(("::", port), socket.AF_INET6, dualstack=True)
        name = ALL_IPV4 if is_wildcard(host) else host
        family, _, _, _, place = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0]
        return _listening(place, family, dualstack=False)
    except OSError as error:
        where = format_address(host, port)
        raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from error


def _listening(place: tuple[Any, ...], family: int, *, dualstack: bool) -> socket.socket:
    made = socket.create_server(place, family=family, backlog=BACKLOG, dualstack_ipv6=dualstack)
    made.setblocking(False)
    return made
