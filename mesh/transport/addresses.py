"""Which of this machine's addresses others can dial, given what the node is bound to."""

from __future__ import annotations

import ipaddress

from discovery.interfaces import machine_interfaces

__all__ = ["advertised_hosts", "is_loopback", "is_wildcard"]


def is_wildcard(host: str) -> bool:
    """Whether binding to it means every interface."""
    return host in ("0.0.0.0", "::", "*")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def advertised_hosts(host: str) -> list[str]:
    """IP literals to announce: the bound one, or every interface's, loopback only if alone."""
    if not is_wildcard(host):
        return ["127.0.0.1" if host == "localhost" else host.strip("[]")]
    interfaces = machine_interfaces()
    return [address for address in interfaces if not is_loopback(address)] or interfaces
