"""What the address that a node is bound to means."""

from __future__ import annotations

import ipaddress

__all__ = ["ALL_IPV4", "is_loopback", "is_wildcard"]

ALL_IPV4 = "0.0.0.0"  # noqa: S104  whoever asks for it gets it; by default no node does


def is_wildcard(host: str) -> bool:
    """Whether binding to it means every interface."""
    return host in (ALL_IPV4, "::", "*")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
