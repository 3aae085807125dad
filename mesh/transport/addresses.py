"""What the address that a node is bound to means."""

from __future__ import annotations

import ipaddress

__all__ = ["is_loopback", "is_wildcard"]


def is_wildcard(host: str) -> bool:
    """Whether binding to it means every interface."""
    return host in ("0.0.0.0", "::", "*")  # noqa: S104  compared, not bound


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
