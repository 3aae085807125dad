"""Where the mDNS groups can be joined: 224.0.0.251 and ff02::fb, port 5353.

Asked of the kernel by trying: a probe socket joins on each interface, as zeroconf will. So one that
cannot is left out with a reason, instead of failing the others (a disconnected VPN) or being passed
over in silence (Linux lets one socket join 20 groups).
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable

from discovery.interfaces import LOOPBACK, Choice, Interface

MDNS_GROUP = "224.0.0.251"
MDNS_GROUP6 = "ff02::fb"
MDNS_PORT = 5_353

ZeroconfInterface = str | int
"""As zeroconf is told of one: an IPv4 address, or the index of an interface for its IPv6."""


def joinable(choice: Choice, *, loopback_only: bool) -> tuple[list[ZeroconfInterface], list[str]]:
    """What zeroconf can use of `choice`, and what to say of the rest.

    Loopback is always among it, last: nodes of one host need no network. Raises `OSError` if the
    mDNS port cannot be shared.
    """
    usable: list[ZeroconfInterface] = []
    refused = []
    used: Iterable[Interface] = () if loopback_only else choice.used
    with shared_socket(socket.AF_INET) as probe:
        for address in [*(a for interface in used for a in interface.ipv4), LOOPBACK]:
            reason = _join(probe, address)
            if reason is None:
                usable.append(address)
            elif reason:
                refused.append(f"{address}: {reason}")
    with_ipv6 = [interface for interface in used if interface.has_ipv6]
    if with_ipv6 and socket.has_ipv6:
        with shared_socket(socket.AF_INET6) as probe:
            for interface in with_ipv6:
                reason = _join6(probe, interface.index) or _bind6(interface)
                if reason is None:
                    usable.append(interface.index)
                else:
                    refused.append(f"{interface.name}: {reason}")
    return usable, refused


def shared_socket(family: int) -> socket.socket:
    """A socket on the port of mDNS, beside those of others. Raises OSError if it cannot be."""
    probe = socket.socket(family, socket.SOCK_DGRAM)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(("", MDNS_PORT))
    except BaseException:
        probe.close()
        raise
    return probe


def _join(probe: socket.socket, address: str) -> str | None:
    """Join on one interface: `None` if joined, "" if another address of it is, else why not."""
    membership = socket.inet_aton(MDNS_GROUP) + socket.inet_aton(address)
    try:
        probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return ""
        return _explain(error)
    return None


def _join6(probe: socket.socket, index: int) -> str | None:
    membership = socket.inet_pton(socket.AF_INET6, MDNS_GROUP6) + struct.pack("@I", index)
    try:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
    except OSError as error:
        return _explain(error)
    return None


def _bind6(interface: Interface) -> str | None:
    """Whether an address there can be bound: one that is still checked for duplicates cannot."""
    address = next(str(a.ip) for a in interface.addresses if a.version == 6)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0, 0, interface.index))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return "its IPv6 address is not ready yet"
            return _explain(error)
    return None


def _explain(error: OSError) -> str:
    if error.errno == errno.ENOBUFS:
        return "too many interfaces; raise net.ipv4.igmp_max_memberships or name fewer"
    if error.errno in (errno.ENODEV, errno.EADDRNOTAVAIL):
        return "no interface with this address is up"
    return os.strerror(error.errno) if error.errno else str(error)
