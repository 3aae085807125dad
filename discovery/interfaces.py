"""The IPv4 interfaces that mDNS can use here.

Asked of the kernel by trying: a probe socket joins the mDNS group on each, as zeroconf will. So an
interface that cannot is left out with a reason, instead of failing the others (a disconnected VPN)
or being passed over in silence (Linux lets one socket join 20 groups).
"""

import errno
import ipaddress
import os
import socket
from collections.abc import Iterable

MDNS_GROUP = "224.0.0.251"
MDNS_PORT = 5_353
LOOPBACK = "127.0.0.1"


def machine_interfaces() -> list[str]:
    """The IPv4 addresses of this machine, loopback last (nodes of one host need no network)."""
    import ifaddr  # comes with zeroconf; slow to import, so only where it is needed

    addresses = [
        ip.ip
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if isinstance(ip.ip, str) and not is_loopback(ip.ip)
    ]
    return [*dict.fromkeys(addresses), LOOPBACK]


def is_loopback(host: str) -> bool:
    """Is this IP literal one of the loopback interface?"""
    return ipaddress.ip_address(host).is_loopback


def joinable(interfaces: Iterable[str]) -> tuple[list[str], list[str]]:
    """The interfaces on which the mDNS group can be joined, and what to say of the others.

    Raises `OSError` if the mDNS port cannot be shared.
    """
    usable: list[str] = []
    refused: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        probe.bind(("", MDNS_PORT))
        for address in interfaces:
            reason = _join(probe, address)
            if reason is None:
                usable.append(address)
            elif reason:
                refused.append(f"{address}: {reason}")
    return usable, refused


def _join(probe: socket.socket, address: str) -> str | None:
    """Join on one interface: `None` if joined, "" if another address of it is, else why not."""
    membership = socket.inet_aton(MDNS_GROUP) + socket.inet_aton(address)
    try:
        probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return ""
        if error.errno == errno.ENOBUFS:
            return "too many interfaces; raise net.ipv4.igmp_max_memberships or name fewer"
        if error.errno in (errno.ENODEV, errno.EADDRNOTAVAIL):
            return "no interface with this address is up"
        return os.strerror(error.errno) if error.errno else str(error)
    return None
