"""Does multicast really work here? Asks on each interface, and tells what came of it.

A question of mDNS is sent from a port of our own, as simple clients do (RFC 6762, section 6.7): it
comes back to this machine (else a firewall here drops it), and others answer by unicast, which
proves that it was carried to them. Meanwhile the group is listened to: what others send there shows
that theirs is carried to us. For that somebody must ask them by multicast; a node that is just
starting does (``discovery.Mdns``).

It asks for nodes and for all kinds of services, so that printers and laptops answer, too. Silence
proves nothing: there may be nobody.

Surprises: the listening socket is bound to the group's address. Bound to all addresses it would
take unicast answers away from another program of this host that shares port 5353. And it asks for
unicast answers (QU) though it would get them anyway: a node of this host that heard anything else
would not ask the same for a second (section 7.3), and start in vain.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import struct
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from discovery.announced import announced_in
from discovery.groups import MDNS_GROUP, MDNS_GROUP6, MDNS_PORT, shared_socket
from discovery.interfaces import Interface
from discovery.service import SERVICE_TYPE
from discovery.source import Candidate

__all__ = ["Multicast", "port_trouble", "probe_multicast"]

SETTLE = 0.3
"""Seconds to go on once every interface has been heard on: the others answer within 0.12 s."""

ASK_AGAIN = 0.45
"""Seconds until the question is repeated: packets get lost."""

MAX_HOSTS_HEARD = 64
"""Hosts that are remembered for an interface: a few are proof enough."""

MAX_NODES_HEARD = 256
"""Announcements that are remembered for an interface."""

MAX_PACKETS = 2_000
"""Packets that are looked at on a socket; a flood ends the hearing there."""

MAX_PACKET_BYTES = 9_000
"""The largest packet of mDNS (RFC 6762, section 17)."""

QUESTIONS = (SERVICE_TYPE, "_services._dns-sd._udp.local.")
_POINTER, _INTERNET_UNICAST = 12, 0x8001

# Linux gives a socket the groups of all others, unless told not to; Python has no names for these.
_IP_MULTICAST_ALL = 49
_IPV6_MULTICAST_ALL = 29


@dataclass(frozen=True, slots=True)
class Multicast:
    """What came of it on one interface, for IPv4 or IPv6.

    ``error`` says why nothing could be sent or heard, "" if it could. ``own_copy``: what was sent
    came back; on an interface that is not listened to it never does. ``heard`` are other hosts
    whose multicast arrived, ``answered`` those that answered by unicast, ``nodes`` the
    announcements of nodes in what came, those of this host included.
    """

    interface: str
    version: Literal[4, 6]
    error: str = ""
    own_copy: bool = False
    heard: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()
    nodes: tuple[Candidate, ...] = ()


def port_trouble() -> str:
    """Why the port of mDNS cannot be shared with other programs here; "" if it can."""
    try:
        shared_socket(socket.AF_INET).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


async def probe_multicast(
    interfaces: Iterable[Interface],
    own: Iterable[str],
    seconds: float,
    *,
    unused: Collection[Interface] = (),
) -> list[Multicast]:
    """Ask on each of the interfaces, and listen for at most so many seconds.

    On the ``unused`` ones it asks, too, and does not listen to the group: on Linux what one program
    listens to comes to others of the host as well. ``own`` are the addresses of this machine: what
    comes from them is not from others. Never raises OSError: an interface on which it does not
    work has an ``error``.
    """
    own = frozenset(own)
    probes = []
    for interface in (*interfaces, *unused):
        is_used = interface not in unused
        if interface.ipv4:
            probes.append(_Probe(interface, 4, own, is_used))
        # Loopback carries no multicast of IPv6, and nobody asks it to.
        if interface.has_ipv6 and socket.has_ipv6 and not interface.is_loopback:
            probes.append(_Probe(interface, 6, own, is_used))
    loop = asyncio.get_running_loop()
    began = loop.time()
    with contextlib.ExitStack() as ends:
        for probe in probes:
            ends.callback(probe.close)
            probe.open(loop)
            probe.ask()
        has_asked_again = False
        complete_since: float | None = None
        while (passed := loop.time() - began) < seconds:
            await asyncio.sleep(0.02)
            if all(probe.is_complete for probe in probes):
                complete_since = passed if complete_since is None else complete_since
                if passed - complete_since >= SETTLE:
                    break
            elif passed > ASK_AGAIN and not has_asked_again:
                has_asked_again = True
                for probe in probes:
                    probe.ask()
        return [probe.report() for probe in probes]


class _Probe:
    """One interface, one version of IP."""

    def __init__(
        self, interface: Interface, version: Literal[4, 6], own: frozenset[str], listens: bool
    ) -> None:
        self._interface = interface
        self._version = version
        self._own = own
        self._listens = listens
        self._sockets: list[socket.socket] = []
        self._loop: asyncio.AbstractEventLoop
        self._error = ""
        self._own_copy = False
        self._heard: dict[str, None] = {}
        self._answered: dict[str, None] = {}
        self._nodes: dict[str, Candidate] = {}
        self._packets = 0
        self._question = question()

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing more to find out, but for more nodes."""
        if not self._listens:
            return bool(self._error or self._answered)
        return bool(self._error) or (self._own_copy and bool(self._heard))

    def report(self) -> Multicast:
        return Multicast(
            self._interface.name,
            self._version,
            self._error,
            self._own_copy,
            tuple(self._heard),
            tuple(self._answered),
            tuple(self._nodes.values()),
        )

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        try:
            if self._version == 4:
                self._open4()
            else:
                self._open6()
        except OSError as error:
            self._fail(error)
            return
        for one, hosts in zip(self._sockets, (self._answered, self._heard), strict=False):
            loop.add_reader(one, self._receive, one, hosts)

    def close(self) -> None:
        for one in self._sockets:
            self._loop.remove_reader(one)
            one.close()
        self._sockets.clear()

    def ask(self) -> None:
        if self._error:
            return
        scope = self._interface.index
        group = (
            (MDNS_GROUP, MDNS_PORT) if self._version == 4 else (MDNS_GROUP6, MDNS_PORT, 0, scope)
        )
        try:
            self._sockets[0].sendto(self._question, group)
        except BlockingIOError:
            return  # its buffer is full: it is asked again
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self._error = os.strerror(error.errno) if error.errno else str(error)
        self.close()

    def _open4(self) -> None:
        address = self._interface.ipv4[0]
        asker = self._socket(socket.AF_INET, (address, 0))
        asker.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
        asker.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        asker.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        if not self._listens:
            return
        listener = self._socket(socket.AF_INET, (MDNS_GROUP, MDNS_PORT))
        membership = socket.inet_aton(MDNS_GROUP) + socket.inet_aton(address)
        if sys.platform == "linux":
            listener.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            membership += struct.pack("@i", self._interface.index)
        listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)

    def _open6(self) -> None:
        index = self._interface.index
        asker = self._socket(socket.AF_INET6, ("::", 0))
        asker.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        asker.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        asker.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
        if not self._listens:
            return
        listener = self._socket(socket.AF_INET6, (MDNS_GROUP6, MDNS_PORT, 0, index))
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # Linux before 4.20: others' groups come as well
                listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
        membership = socket.inet_pton(socket.AF_INET6, MDNS_GROUP6) + struct.pack("@I", index)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)

    def _socket(
        self, family: int, address: tuple[str, int] | tuple[str, int, int, int]
    ) -> socket.socket:
        made = socket.socket(family, socket.SOCK_DGRAM)
        self._sockets.append(made)
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        return made

    def _receive(self, one: socket.socket, hosts: dict[str, None]) -> None:
        while True:
            try:
                data, source = one.recvfrom(MAX_PACKET_BYTES)
            except BlockingIOError:
                return
            except OSError as error:  # an answer of ICMP to what was sent: the network is down
                self._fail(error)
                return
            self._packets += 1
            if self._packets > MAX_PACKETS:
                self._loop.remove_reader(one)
                return
            self._take(data, str(source[0]).partition("%")[0], hosts)

    def _take(self, data: bytes, host: str, hosts: dict[str, None]) -> None:
        if data == self._question:
            self._own_copy = True
            return
        if host not in self._own and len(hosts) < MAX_HOSTS_HEARD:
            hosts[host] = None
        for node in announced_in(data):
            if len(self._nodes) < MAX_NODES_HEARD or node.key in self._nodes:
                self._nodes[node.key] = node


def question(names: Sequence[str] = QUESTIONS) -> bytes:
    """A query for the pointers of the names, answered by unicast, with a number of its own."""
    packet = [struct.pack(">HHHHHH", secrets.randbits(16), 0, len(names), 0, 0, 0)]
    for name in names:
        for label in name.rstrip(".").split("."):
            packet.append(bytes([len(label)]) + label.encode("ascii"))
        packet.append(b"\0" + struct.pack(">HH", _POINTER, _INTERNET_UNICAST))
    return b"".join(packet)
