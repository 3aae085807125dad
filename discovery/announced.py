"""The nodes in one packet of mDNS, without a cache: for who looks once and asks no further."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from discovery.service import SERVICE_TYPE, parse_service
from discovery.source import Candidate

if TYPE_CHECKING:
    from zeroconf import DNSIncoming  # type: ignore[attr-defined]  # public, and not in __all__

__all__ = ["announced_in"]

MAX_RECORDS = 256
"""Records of one packet that are looked at; that of a node has some twenty."""


@dataclass(slots=True)
class _Instance:
    port: int = 0
    server: str = ""
    text: bytes = b""


@dataclass(slots=True)
class _Records:
    instances: dict[str, _Instance] = field(default_factory=dict)
    addresses: dict[str, list[bytes]] = field(default_factory=dict)


def announced_in(packet: bytes) -> list[Candidate]:
    """The nodes whose records are all in the packet. What is wrong with it or them is left out."""
    from zeroconf import BadTypeInNameException, DNSIncoming, ServiceInfo  # type: ignore[attr-defined]

    parsed = DNSIncoming(packet)
    if not parsed.valid or not parsed.is_response():
        return []
    records = _sorted(parsed)
    found = []
    for name, instance in records.instances.items():
        try:
            info = ServiceInfo(
                SERVICE_TYPE,
                name,
                port=instance.port,
                server=instance.server,
                properties=instance.text,
                addresses=records.addresses.get(instance.server, []),
            )
            found.append(
                parse_service(name.removesuffix("." + SERVICE_TYPE), info, loopback_only=False)
            )
        except (ValueError, BadTypeInNameException):
            continue  # forged, of another version, or not whole
    return found


def _sorted(packet: DNSIncoming) -> _Records:
    from zeroconf import DNSAddress, DNSService, DNSText  # type: ignore[attr-defined]

    records = _Records()
    for record in packet.answers()[:MAX_RECORDS]:
        if isinstance(record, DNSAddress):
            records.addresses.setdefault(record.name, []).append(record.address)
        elif record.name.endswith("." + SERVICE_TYPE) and record.ttl:
            instance = records.instances.setdefault(record.name, _Instance())
            if isinstance(record, DNSService):
                instance.port, instance.server = record.port, record.server
            elif isinstance(record, DNSText):
                instance.text = record.text
    return records
