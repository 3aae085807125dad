"""The network interfaces of this machine, and which of them a mesh uses.

Without a word from the user an interface is used when it is up, has a carrier, and is neither
point-to-point (VPNs, modems) nor, by its name, one of containers, virtual machines or VPNs: what is
announced there leads other hosts to themselves, or into a tunnel that swallows it. What was asked
for is used whatever it is. What is skipped is skipped for a reason that can be shown.
"""

import ipaddress
import re
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from discovery.address import parse_address

Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface

LOOPBACK = "127.0.0.1"

MAX_WANTED = 64
"""Interfaces, addresses or networks that a user can ask for."""

_CONTAINERS = (
    "docker*", "br-[0-9a-f][0-9a-f][0-9a-f]*", "veth*", "virbr*", "vnet*", "lxc*", "lxd*", "cni*",
    "cali*", "flannel*", "cilium*", "podman*", "kube-*", "nodelocaldns*", "vmnet*", "vboxnet*",
    "dummy*", "ifb*", "bridge[0-9]*",
)  # fmt: skip
_VPNS = (
    "tun*", "tap*", "wg*", "utun*", "ppp*", "tailscale*", "zt*", "ipsec*", "nordlynx*", "proton*",
    "vpn*", "awdl*", "llw*", "wwan*", "gre*", "sit*", "he-*", "gif*", "stf*", "anpi*",
)  # fmt: skip

_SIOCGIFFLAGS = {"linux": 0x8913, "darwin": 0xC0206911}.get(sys.platform)
_UP, _LOOPBACK, _POINT_TO_POINT, _RUNNING = 0x1, 0x8, 0x10, 0x40
_NAME_BYTES = 16

_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(/[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface; `addresses` with their networks, those of IPv4 first."""

    name: str
    index: int
    addresses: tuple[Address, ...]
    is_up: bool = True
    has_carrier: bool = True
    is_loopback: bool = False
    is_point_to_point: bool = False

    @property
    def ipv4(self) -> tuple[str, ...]:
        return tuple(str(a.ip) for a in self.addresses if a.version == 4)

    @property
    def has_ipv6(self) -> bool:
        return any(a.version == 6 for a in self.addresses)


@dataclass(frozen=True, slots=True)
class Choice:
    """The interfaces in use, and the others as (name, why not)."""

    used: tuple[Interface, ...]
    skipped: tuple[tuple[str, str], ...] = ()

    def hosts(self, *, link_local: bool = False) -> list[str]:
        """Their addresses as others may dial them: IPv4, then IPv6, at last link-local ones.

        Those of link-local IPv6 mean something only to who can tell the interface they came by.
        """
        addresses = [a.ip for interface in self.used for a in interface.addresses]
        ranked = sorted(addresses, key=lambda ip: (ip.is_link_local, ip.version))
        return [
            str(ip)
            for ip in dict.fromkeys(ranked)
            if link_local or ip.version == 4 or not ip.is_link_local
        ]

    def nearest_first(self, addresses: Iterable[str]) -> tuple[str, ...]:
        """`host:port` texts: first those in a network that this machine is in."""
        networks = [a.network for interface in self.used for a in interface.addresses]

        def is_far(address: str) -> bool:
            try:
                ip = ipaddress.ip_address(parse_address(address)[0])
            except ValueError:
                return True
            if ip.version == 6 and ip.scope_id is not None:
                return False
            return not any(ip in network for network in networks)

        return tuple(sorted(addresses, key=is_far))

    def explain(self) -> str:
        """In one line, why there is nothing better."""
        return "; ".join(f"{name}: {why}" for name, why in self.skipped)


def check_wanted(wanted: Iterable[str]) -> tuple[str, ...]:
    """What a user asks for: names ("eth0", "wl*"), addresses or networks ("10.0.0.0/8").

    Raises `ValueError` for what can be none of these.
    """
    if isinstance(wanted, str):
        raise ValueError("interfaces is a list of names, addresses or networks, not one text")
    checked = tuple(wanted)
    if len(checked) > MAX_WANTED:
        raise ValueError(f"more than {MAX_WANTED} interfaces")
    for item in checked:
        if not isinstance(item, str) or not item.strip() or item != item.strip():
            raise ValueError(f"{item!r} is no interface: give a name, an address or a network")
        looks_like_one = "/" in item or item[0].isdecimal() or _IPV6.fullmatch(item)
        if looks_like_one and _network(item) is None:
            raise ValueError(f"{item!r} is neither an address nor a network such as 10.0.0.0/8")
    return checked


def all_interfaces() -> list[Interface]:
    """Every interface that has an address."""
    import ifaddr  # comes with zeroconf; slow to import, so only where it is needed

    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for adapter in ifaddr.get_adapters():
            addresses: list[Address] = []
            for ip in adapter.ips:
                literal = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
                addresses.append(ipaddress.ip_interface(f"{literal}/{ip.network_prefix}"))
            addresses.sort(key=lambda address: address.version)
            if addresses:
                name = adapter.name if isinstance(adapter.name, str) else adapter.name.decode()
                found.append(_interface(probe, name, adapter.index or 0, addresses))
    return found


def _interface(
    probe: socket.socket, name: str, index: int, addresses: Sequence[Address]
) -> Interface:
    flags = _flags(probe, name)
    if flags is None:
        flags = _UP | _RUNNING
        flags |= _LOOPBACK if all(a.ip.is_loopback for a in addresses) else 0
    return Interface(
        name,
        index,
        tuple(addresses),
        is_up=bool(flags & _UP),
        has_carrier=bool(flags & _RUNNING),
        is_loopback=bool(flags & _LOOPBACK),
        is_point_to_point=bool(flags & _POINT_TO_POINT),
    )


def _flags(probe: socket.socket, name: str) -> int | None:
    """What the kernel says of an interface; None where it cannot be asked."""
    if _SIOCGIFFLAGS is None:
        return None
    from fcntl import ioctl

    request = struct.pack(f"{_NAME_BYTES}sH14x", name.encode()[: _NAME_BYTES - 1], 0)
    try:
        answer = ioctl(probe, _SIOCGIFFLAGS, request)
    except OSError:
        return None  # it is gone, or has a name that only its owner knows
    return int(struct.unpack_from("H", answer, _NAME_BYTES)[0])


def choose(found: Iterable[Interface], wanted: Sequence[str] = ()) -> Choice:
    """The interfaces to use of those `found`: the `wanted` ones, or by the rule. Never loopback,
    unless it is wanted."""
    used: list[Interface] = []
    skipped: list[tuple[str, str]] = []
    matched: set[str] = set()
    for interface in found:
        asked_for = {item for item in wanted if _matches(item, interface)}
        matched |= asked_for
        why = _why_not(interface, bool(asked_for), bool(wanted))
        if why is None:
            used.append(interface)
        elif why:
            skipped.append((interface.name, why))
    skipped += [(item, "no interface is, or has, that") for item in wanted if item not in matched]
    return Choice(tuple(used), tuple(skipped))


def _why_not(interface: Interface, is_asked_for: bool, are_some: bool) -> str | None:
    """None to use it, "" to leave it without a word."""
    if not interface.is_up:
        return "it is down"
    if not interface.has_carrier:
        return "it has no carrier: no cable, or no wireless network"
    if is_asked_for:
        return None
    if interface.is_loopback:
        return ""
    if are_some:
        return "it was not asked for"
    if interface.is_point_to_point or _is_named(interface, _VPNS):
        return "point-to-point, as VPNs and modems are; ask for it to use it"
    if _is_named(interface, _CONTAINERS):
        return "of containers or virtual machines, by its name; ask for it to use it"
    return None


def _is_named(interface: Interface, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(interface.name, pattern) for pattern in patterns)


def _matches(item: str, interface: Interface) -> bool:
    network = _network(item)
    if network is None:
        return fnmatchcase(interface.name, item)
    return any(a.version == network.version and a.ip in network for a in interface.addresses)


def _network(item: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(item, strict=False)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Is this IP literal one of the loopback interface?"""
    return ipaddress.ip_address(host).is_loopback
