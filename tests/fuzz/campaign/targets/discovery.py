"""What strangers of the network say: rendezvous datagrams, mDNS packets, files and addresses."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from zeroconf import (
    DNSIncoming,
    DNSOutgoing,
    ServiceInfo,
)

from discovery import address, datagram
from discovery.file import File
from discovery.listed import Listed
from discovery.service import SERVICE_TYPE, build_service, instance_name, parse_service
from discovery.source import MAX_HOSTS, Announcement
from tests.fuzz.campaign.target import Target

__all__ = ["TARGETS"]

ID = "0123456789abcdef" * 2
ANNOUNCEMENT = Announcement(ID, "lab", 1, ("10.0.0.1", "fe80::1"), 7000, "f" * 16)
LOCAL = Announcement(ID, "lab", 1, ("127.0.0.1",), 7000)


def check_datagram(data: bytes, result: Any) -> Hashable:
    kind, announcement = result
    again = datagram.encode(kind, announcement)
    assert datagram.decode(again) == (kind, announcement) or len(announcement.hosts) > MAX_HOSTS
    return kind, len(announcement.hosts)


# mDNS. A service as text records, address records and a port; then whole packets.


def service_of(data: bytes) -> Any:
    """Four bytes say where the address, the port and the texts end; the rest is TXT."""
    if len(data) < 20:
        raise ValueError("too short to be anything")
    info = ServiceInfo(
        SERVICE_TYPE,
        instance_name(ID),
        port=int.from_bytes(data[:2], "big"),
        addresses=[data[2:6], data[2:18]] if data[18] & 1 else [data[2:6]],
        properties=data[19:],
        server=f"{ID}.local.",
    )
    return parse_service(ID, info, loopback_only=bool(data[18] & 2))


def service_bytes(announcement: Announcement, *, loopback_only: bool) -> bytes:
    info = build_service(announcement, loopback_only)
    addresses = info.addresses_by_version
    del addresses
    flags = 2 if loopback_only else 0
    head = (info.port or 0).to_bytes(2, "big") + info.addresses[0].ljust(16, b"\0")[:16]
    return head + bytes([flags]) + info.text


def check_service(data: bytes, candidate: Any) -> Hashable:
    assert candidate.id == ID
    assert 1 <= len(candidate.addresses) <= MAX_HOSTS
    for text in candidate.addresses:
        host, port = address.parse_address(text)
        assert address.format_address(host, port) == text
    return len(candidate.addresses)


def packet_of(announcement: Announcement) -> bytes:
    out = DNSOutgoing(0x8400)
    info = build_service(announcement, False)
    for record in (info.dns_pointer(), info.dns_service(), info.dns_text(), *info.dns_addresses()):
        out.add_answer_at_time(record, 0)
    return out.packets()[0]


def packet(data: bytes) -> Any:
    """As zeroconf reads it; it is third party, but nothing stands before it."""
    incoming = DNSIncoming(data)
    return incoming.valid, incoming.answers() if incoming.valid else []


def check_packet(data: bytes, result: Any) -> Hashable:
    is_valid, answers = result
    assert len(answers) <= len(data)
    return is_valid, min(len(answers), 8)


# Addresses, and files of them.


def check_address(data: bytes, result: Any) -> Hashable:
    host, port = result
    text = address.format_address(host, port)
    assert address.parse_address(text) == result
    assert 1 <= port <= address.MAX_PORT
    return address.is_ip_literal(host), ":" in host


class SeedFile(File):
    """The lines of a file, without the file."""

    def __init__(self) -> None:
        Listed.__init__(self, 5.0)
        self._path: Any = "seeds"
        self._lines = frozenset()
        self._names = None
        self.asked: list[str] = []

    def _ask_for(self, names: list[str]) -> None:
        self.asked = names

    def set_entry(self, name: str, addresses: tuple[str, ...]) -> None:
        self.asked += addresses

    def drop_entry(self, name: str) -> None: ...


def seed_file(data: bytes) -> Any:
    file = SeedFile()
    file._use(data.decode())
    return file


def check_seed_file(data: bytes, file: Any) -> Hashable:
    for text in file.asked:
        address.parse_address(text)
    assert len(file._problems) <= 3
    assert all(len(text) < 2000 + len(data) for text in file._problems.values())
    return min(len(file._lines), 4), len(file._problems)


TARGETS = [
    Target(
        "datagram",
        datagram.decode,
        (
            datagram.encode(datagram.Kind.HELLO, ANNOUNCEMENT),
            datagram.encode(datagram.Kind.HERE, LOCAL),
        ),
        refuses=(ValueError,),
        law=check_datagram,
        packed_at=5,
    ),
    Target(
        "mdns_service",
        service_of,
        (
            service_bytes(ANNOUNCEMENT, loopback_only=False),
            service_bytes(LOCAL, loopback_only=True),
        ),
        refuses=(ValueError,),
        law=check_service,
        packed_at=None,
    ),
    Target(
        "mdns_packet", packet, (packet_of(ANNOUNCEMENT),), refuses=(), law=check_packet,
        packed_at=None,
    ),
    Target(
        "address",
        lambda data: address.parse_address(data.decode("utf-8", "surrogatepass")),
        (b"host:7000", b"10.0.0.1:7000", b"[2001:db8::1]:7000", b"[fe80::1%e]:1", b"a.b.:65535"),
        refuses=(ValueError,),
        law=check_address,
        is_own=True,
        packed_at=None,
    ),
    Target(
        "service_name",
        lambda data: address.is_service_name(data.decode("utf-8", "surrogatepass")),
        (b"_mesh._tcp.example.org", b"_mesh._udp.x."),
        refuses=(ValueError,),
        law=lambda data, result: result,
        packed_at=None,
    ),
    Target(
        "seed_file",
        seed_file,
        (b"# seeds\n10.0.0.1:7000\nhost:7000 # one\n\n[::1]:7000\n", b"x\ny\nz\nw\nhost:1\n"),
        refuses=(ValueError,),
        law=check_seed_file,
        packed_at=None,
    ),
]  # fmt: skip
