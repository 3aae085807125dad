"""Hosts and networks made of this machine, for tests of what happens between machines.

A ``Lab`` has *segments* (Ethernet switches: bridges, all in one more namespace, so that nothing is
added to the machine's own) and *hosts* (network namespaces). A host is attached to a segment by a
virtual cable, an ``Interface``, which can be unplugged, cut in one direction, throttled, closed to
multicast and given other addresses while programs run. ``Host.command`` is the prefix with which a
program runs there.

Names begin with the process id of whoever made them, so that what a killed run has left is found
and removed by the next one (``sweep``).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.net.processes import halt

__all__ = ["Host", "Interface", "Lab", "Segment", "reason_against"]

PREFIX = "meshlab"
NETNS_ETC = Path("/etc/netns")
NETWORK = "10.77.{segment}.{host}/24"
NETWORK6 = "fd77:{segment}::{host}/64"
NOBODY = "02:00:00:00:00:99"
"""A link-layer address that no interface has."""

_labs = itertools.count(1)


def reason_against() -> str | None:
    """Why no lab can be made here; None when it can."""
    if os.name != "posix" or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "making network namespaces needs root"
    name = f"{PREFIX}-{os.getpid()}-try"
    try:
        _run("ip", "netns", "add", name)
    except FileNotFoundError:
        return "there is no program 'ip' (the package iproute2)"
    except LabError as error:
        return f"no network namespace can be made here: {error}"
    try:
        _run("ip", "-n", name, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", name, "link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
    except LabError as error:
        return f"no virtual network can be made here: {error}"
    finally:
        _run("ip", "netns", "del", name)
    return None


class LabError(Exception):
    """A command failed; the text is what it said."""


class Lab:
    """Use it as a context: at its end every process in it is killed, every name removed."""

    def __init__(self) -> None:
        self._prefix = f"{PREFIX}-{os.getpid()}-{next(_labs)}"
        self.switch = f"{self._prefix}-sw"
        self.switch_command = ("ip", "netns", "exec", self.switch)
        self.hosts: dict[str, Host] = {}
        self.segments: dict[str, Segment] = {}
        self.nameserver: str | None = None
        """Whom hosts that are made from now on ask for names."""
        self._ports = itertools.count(1)

    def __enter__(self) -> Self:
        sweep()
        _run("ip", "netns", "add", self.switch)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for host in self.hosts.values():
            _remove(host.namespace)
        _remove(self.switch)

    def segment(self, name: str = "lan") -> Segment:
        """A switch; made when it is first asked for."""
        if name not in self.segments:
            self.segments[name] = Segment(self, name, len(self.segments) + 1)
        return self.segments[name]

    def host(self, name: str, segment: str | None = "lan") -> Host:
        """A machine; with ``segment`` its ``eth0`` is plugged in there, with IPv4 and IPv6."""
        host = self.hosts[name] = Host(self, f"{self._prefix}-{name}", len(self.hosts) + 1)
        if segment is not None:
            host.attach("eth0", self.segment(segment))
        return host

    def next_port(self) -> str:
        return f"port{next(self._ports)}"


class Segment:
    """One Ethernet: what is sent to all reaches all who are plugged in."""

    def __init__(self, lab: Lab, name: str, number: int) -> None:
        self.lab = lab
        self.bridge = f"br-{name}"
        self.number = number
        _batch(
            lab.switch,
            # Without snooping: a switch that learns groups would need a querier.
            f"link add {self.bridge} type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
            f"link set {self.bridge} up",
        )
        self._split: list[Interface] = []

    def split(self, hosts: Iterable[Host]) -> None:
        """From now on ``hosts`` reach each other and no one else here; every carrier stays."""
        other = f"{self.bridge}-2"
        _batch(
            self.lab.switch,
            f"link add {other} type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
            f"link set {other} up",
        )
        self._split = [i for h in hosts for i in h.interfaces.values() if i.segment is self]
        _batch(self.lab.switch, *(f"link set {i.port} master {other}" for i in self._split))

    def heal(self) -> None:
        """One segment again."""
        _batch(
            self.lab.switch,
            *(f"link set {i.port} master {self.bridge}" for i in self._split),
            f"link del {self.bridge}-2",
        )


class Host:
    """One machine. ``command`` runs a program in it: ``[*host.command, "python", ...]``."""

    def __init__(self, lab: Lab, namespace: str, number: int) -> None:
        self.lab = lab
        self.namespace = namespace
        self.number = number
        self.interfaces: dict[str, Interface] = {}
        self.command = ("ip", "netns", "exec", namespace)
        self.server: subprocess.Popen[str] | None = None
        """A service that a test runs here."""
        if lab.nameserver is not None:
            # "ip netns exec" puts these files in the place of those in /etc.
            configuration = NETNS_ETC / namespace
            configuration.mkdir(parents=True)
            (configuration / "resolv.conf").write_text(f"nameserver {lab.nameserver}\n")
        _run("ip", "netns", "add", namespace)
        # Duplicate address detection would keep each IPv6 address unusable for a second.
        self.sysctl("net.ipv6.conf.default.accept_dad", 0)
        self.sysctl("net.ipv6.conf.all.accept_dad", 0)
        # Else the second address of a network goes with the first.
        self.sysctl("net.ipv4.conf.all.promote_secondaries", 1)
        self.ip("link set lo up")

    def ip(self, *commands: str) -> None:
        """Run ``ip`` commands here."""
        _batch(self.namespace, *commands)

    def sysctl(self, name: str, value: int) -> None:
        path = Path("/proc/sys", *name.split("."))
        self.run("sh", "-c", f"echo {value} > {path}")

    def run(self, *command: str) -> str:
        """Run a program here to its end; what it prints. Raises LabError with what it complains."""
        return _run(*self.command, *command)

    def attach(
        self,
        name: str,
        segment: Segment,
        *,
        ipv4: str | None = NETWORK,
        ipv6: str | None = NETWORK6,
    ) -> Interface:
        """Plug in one more cable."""
        interface = self.interfaces[name] = Interface(self, name, segment)
        for network in (ipv4, ipv6):
            if network is not None:
                interface.add_address(network.format(segment=segment.number, host=self.number))
        return interface

    @property
    def eth0(self) -> Interface:
        return self.interfaces["eth0"]

    @property
    def address(self) -> str:
        """The first address of the first interface."""
        return next(iter(self.interfaces.values())).addresses[0].partition("/")[0]

    def close_port(self, port: int) -> None:
        """As a firewall does: nobody but this host itself gets an answer from that TCP port."""
        for version, others in (("-4", "10.77.0.0/16"), ("-6", "fd77::/16"), ("-6", "fe80::/10")):
            rule = f"rule add ipproto tcp sport {port} to {others} blackhole"
            self.run("ip", version, *rule.split())

    def processes(self) -> list[int]:
        """Who runs here."""
        return [int(pid) for pid in _run("ip", "netns", "pids", self.namespace).split()]

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Every process here is stopped, as by a machine that sleeps."""
        stopped = self.processes()
        for pid in stopped:
            halt(pid)
        try:
            yield
        finally:
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def reaches(self, host: str) -> bool:
        """Whether a packet goes there and the answer comes back."""
        attempt = f"import socket; socket.create_connection(({host!r}, 9), 1)"
        try:
            self.run(sys.executable, "-S", "-c", attempt)
        except LabError as error:
            return "ConnectionRefusedError" in str(error)
        return True


class Interface:
    """A cable between a host and a switch. ``port`` is its end in the switch."""

    def __init__(self, host: Host, name: str, segment: Segment) -> None:
        self.host = host
        self.name = name
        self.segment = segment
        self.addresses: list[str] = []
        self._switch = segment.lab.switch
        self.port = segment.lab.next_port()
        _batch(
            self._switch,
            f"link add {self.port} type veth peer name {name} netns {host.namespace}",
            f"link set {self.port} master {segment.bridge} up",
        )
        host.ip(f"link set {name} up")

    def add_address(self, address: str) -> None:
        """``address`` has its prefix length: "10.77.1.2/24"."""
        self.addresses.append(address)
        # "nodad" is for IPv6 alone.
        once = " nodad" if ":" in address else ""
        self.host.ip(f"addr add {address} dev {self.name}{once}")

    def drop_address(self, address: str) -> None:
        self.addresses.remove(address)
        self.host.ip(f"addr del {address} dev {self.name}")

    def change_address(self, before: str, after: str) -> None:
        """In this order: the kernel drops a second address of a network with the first."""
        self.drop_address(before)
        self.add_address(after)

    def unplug(self) -> None:
        """Both ends lose the carrier."""
        _batch(self._switch, f"link set {self.port} down")

    def plug(self) -> None:
        _batch(self._switch, f"link set {self.port} up")
        # The kernel takes the addresses of IPv6 away with the carrier, but for the link-local one.
        for address in self.addresses:
            if ":" in address:
                self.host.ip(f"addr replace {address} dev {self.name} nodad")

    def cut_outgoing(self) -> None:
        """What the host sends is lost; what is sent to it arrives."""
        self._shape(self.host.namespace, self.name, "rate 8bit burst 1b limit 1b")

    def cut_incoming(self) -> None:
        """What is sent to the host is lost; what it sends arrives."""
        self._shape(self._switch, self.port, "rate 8bit burst 1b limit 1b")

    def misdirect(self, others: Iterable[Host]) -> None:
        """What the host sends to ``others`` is lost on the way; what they send to it arrives."""
        self.host.ip(
            *(
                f"neigh replace {address.partition('/')[0]} lladdr {NOBODY} dev {self.name}"
                " nud permanent"
                for other in others
                for address in other.eth0.addresses
            )
        )

    def direct(self, others: Iterable[Host]) -> None:
        """As before ``misdirect``."""
        self.host.ip(
            *(
                f"neigh del {address.partition('/')[0]} dev {self.name}"
                for other in others
                for address in other.eth0.addresses
            )
        )

    def throttle(self, bytes_per_second: int) -> None:
        """So slow in both directions, with the buffers of a bad access point."""
        for namespace, name in ((self.host.namespace, self.name), (self._switch, self.port)):
            self._shape(namespace, name, f"rate {bytes_per_second * 8}bit burst 16kb latency 1s")

    def mend(self) -> None:
        """Neither cut nor throttled any more."""
        for namespace, name in ((self.host.namespace, self.name), (self._switch, self.port)):
            with contextlib.suppress(LabError):  # there was none
                _run("tc", "-n", namespace, "qdisc", "del", "dev", name, "root")

    def block_multicast(self) -> None:
        """No multicast comes to the host, as on many a Wi-Fi; broadcasts do, so ARP works."""
        _run("bridge", "-n", self._switch, "link", "set", "dev", self.port, "mcast_flood", "off")

    def allow_multicast(self) -> None:
        _run("bridge", "-n", self._switch, "link", "set", "dev", self.port, "mcast_flood", "on")

    @staticmethod
    def _shape(namespace: str, name: str, how: str) -> None:
        _run(*("tc", "-n", namespace, "qdisc", "replace", "dev", name, "root", "tbf"), *how.split())


def sweep() -> None:
    """Remove what processes that are gone have left."""
    for line in _run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        parts = name.split("-")
        if parts[0] == PREFIX and not Path("/proc", parts[1]).exists():
            _remove(name)


def _remove(namespace: str) -> None:
    for pid in _run("ip", "netns", "pids", namespace).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    _run("ip", "netns", "del", namespace)
    shutil.rmtree(NETNS_ETC / namespace, ignore_errors=True)


def _batch(namespace: str, *commands: str) -> None:
    _run("ip", "-n", namespace, "-batch", "-", text="\n".join(commands) + "\n")


def _run(*command: str, text: str | None = None) -> str:
    """What it prints. Raises LabError with what it complains of."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
