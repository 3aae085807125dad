"""A node as an mDNS service (RFC 6763): the instance it announces, and reading another's.

The instance name is the node id. TXT carries the short keys `id`, `mesh`, `v` (protocol) and `fp`
(key fingerprint), the port is in SRV, the addresses are in A and AAAA. zeroconf is imported where
it is used, because that takes longer than importing all the rest.
"""

import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING

from discovery.address import format_address
from discovery.interfaces import LOOPBACK, is_loopback
from discovery.source import MAX_HOSTS, Announcement, Candidate

if TYPE_CHECKING:
    from zeroconf import ServiceInfo

SERVICE_TYPE = "_mesh._tcp.local."
SOURCE = "mdns"


def instance_name(node_id: str) -> str:
    """The full name of the instance of a node."""
    return f"{node_id}.{SERVICE_TYPE}"


def build_service(announcement: Announcement, loopback_only: bool) -> "ServiceInfo":
    """The mDNS service of this node.

    With `loopback_only` it has loopback addresses only, else it has none of them: they would lead
    other hosts to themselves.
    """
    from zeroconf import ServiceInfo

    hosts = [host for host in announcement.hosts if is_loopback(host) == loopback_only]
    if loopback_only and not hosts:
        hosts = [LOOPBACK]
    return ServiceInfo(
        SERVICE_TYPE,
        instance_name(announcement.id),
        port=announcement.port,
        # A host name per node: the addresses of two nodes of one host are not one set.
        server=f"{announcement.id}.local.",
        parsed_addresses=hosts[:MAX_HOSTS],
        properties={
            "id": announcement.id,
            "mesh": announcement.mesh,
            "v": str(announcement.protocol),
            "fp": announcement.fingerprint,
        },
    )


def parse_service(node_id: str, info: "ServiceInfo", *, loopback_only: bool) -> Candidate:
    """What the resolved instance named `node_id` announces.

    With `loopback_only` its other addresses are left out. Raises `ValueError` if a field is wrong,
    or no address is left that this node could dial.
    """
    text = info.properties
    if _text(text, b"id") != node_id:
        raise ValueError("the id is not the instance name")
    version = _text(text, b"v")
    if not (version.isascii() and version.isdecimal() and len(version) <= 5):
        raise ValueError("the protocol is not a small number")
    scoped = [host for host in info.parsed_scoped_addresses() if _dialable(host, loopback_only)]
    scoped = scoped[:MAX_HOSTS]
    announced = Announcement(
        id=node_id,
        mesh=_text(text, b"mesh"),
        protocol=int(version),
        hosts=tuple(host.partition("%")[0] for host in scoped),
        port=info.port or 0,
        fingerprint=_text(text, b"fp"),
    )
    addresses = tuple(format_address(host, announced.port) for host in scoped)
    return replace(announced.candidate(SOURCE), addresses=addresses)


def _dialable(host: str, loopback_only: bool) -> bool:
    address = ipaddress.ip_address(host)
    if loopback_only:
        return address.is_loopback
    # A link-local IPv6 address needs the interface too: records do not carry it, but zeroconf adds
    # the one that they came by, if they came by IPv6.
    if isinstance(address, ipaddress.IPv6Address) and address.is_link_local:
        return address.scope_id is not None
    return not (address.is_unspecified or address.is_multicast)


def _text(properties: "dict[bytes, bytes | None]", key: bytes) -> str:
    """A TXT value, "" if there is none. Raises `ValueError` if it is not UTF-8."""
    return (properties.get(key) or b"").decode()
