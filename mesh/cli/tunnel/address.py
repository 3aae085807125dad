"""``[HOST:]PORT`` on a command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

__all__ = ["LOOPBACK", "Address", "AddressType", "shown"]

LOOPBACK = "127.0.0.1"
"""What is meant without a host: nobody but this machine gets at it by mistake."""

MAX_PORT = 65535


@dataclass(frozen=True)
class Address:
    """Where to connect, or to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return shown((self.host, self.port))


def shown(address: Any) -> str:
    """A socket's address as text, an IPv6 one in brackets."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class AddressType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """``3000``, ``127.0.0.1:3000``, ``db.lan:5432`` or ``[::1]:3000``."""

    def __init__(self, least: int) -> None:
        self.name = "address"
        self._least = least
        """0 where any free port will do, else 1."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        if isinstance(value, Address):
            return value
        host, colon, port = str(value).rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            self.fail(f"{value!r}: put an IPv6 address into brackets, as in [::1]:3000", param, ctx)
        if not (port.isascii() and port.isdigit()) or (colon and not host):
            self.fail(f"{value!r}: write PORT or HOST:PORT", param, ctx)
        if len(port) > len(str(MAX_PORT)) or not self._least <= int(port) <= MAX_PORT:
            self.fail(f"{value!r:.80}: a port is a number up to {MAX_PORT}", param, ctx)
        try:
            host.encode("idna")
        except UnicodeError:
            self.fail(f"{value!r:.80}: that is no name of a host", param, ctx)
        return Address(host or LOOPBACK, int(port))
