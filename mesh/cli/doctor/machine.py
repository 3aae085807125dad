"""Looks at this machine. Nothing here needs a right, and what cannot be read is left out."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from discovery.groups import MDNS_PORT
from discovery.interfaces import Interface, all_interfaces, choose
from discovery.multicast import port_trouble, probe_multicast
from mesh.cli.doctor.facts import Adapter, Machine
from mesh.transport import descriptors

__all__ = ["Look", "holder_of"]

HOLDER_SECONDS = 1.0
"""For finding out who has a port: a machine has thousands of processes."""

_LISTS = ("/proc/net/udp", "/proc/net/udp6")


class Look:
    """The interfaces, once; ``wanted`` are those that the user asks for."""

    def __init__(self, wanted: Sequence[str], *, is_loopback_only: bool) -> None:
        """Raises OSError or ValueError when they cannot be listed."""
        self._found = all_interfaces()
        choice = choose(self._found, wanted)
        self._is_loopback_only = is_loopback_only
        self._used = () if is_loopback_only else choice.used
        self._skipped = dict(choice.skipped)
        self._names = {interface.name for interface in self._found}

    def machine(self) -> Machine:
        """All but multicast."""
        trouble = port_trouble()
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return Machine(
            adapters=tuple(self._adapters()),
            missing=tuple(name for name in self._skipped if name not in self._names),
            mdns_trouble=trouble,
            mdns_holder=holder_of(MDNS_PORT) if trouble else "",
            descriptors=descriptors.in_use(),
            descriptor_limit=None if limit == resource.RLIM_INFINITY else limit,
        )

    def _adapters(self) -> list[Adapter]:
        used = {interface.name for interface in self._used}
        adapters = []
        for one in self._found:
            if one.is_loopback and one.name not in used:
                continue
            why_not = "" if one.name in used else self._skipped.get(one.name, "")
            if not why_not and one.name not in used:
                why_not = "this node keeps to loopback"
            addresses = tuple(str(address) for address in one.addresses)
            adapters.append(Adapter(one.name, addresses, why_not))
        return adapters

    async def multicast(self, machine: Machine, seconds: float) -> Machine:
        """With what multicast does on each interface that is up, also on those not used: who is
        heard there alone is looked for in the wrong place."""
        if machine.mdns_trouble:
            return machine
        own = [str(a.ip) for interface in self._found for a in interface.addresses]
        reports = await probe_multicast(self._used, own, seconds, unused=self._unused())
        return replace(machine, multicast=tuple(reports))

    def _unused(self) -> list[Interface]:
        """Those that would work."""
        if self._is_loopback_only:
            return []
        return [
            one
            for one in self._found
            if one not in self._used and one.is_up and one.has_carrier and not one.is_loopback
        ]


def holder_of(port: int) -> str:
    """Which program has the UDP port, as far as this user may see: "avahi-daemon (pid 7)", "user
    105"; "" if that is not to be seen."""
    inodes: dict[str, str] = {}
    for path in _LISTS:
        with contextlib.suppress(OSError, IndexError, ValueError):
            for line in Path(path).read_text().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == port:
                    inodes[f"socket:[{fields[9]}]"] = fields[7]
    if not inodes:
        return ""
    return _program_with(inodes) or f"user {next(iter(inodes.values()))}"


def _program_with(sockets: dict[str, str]) -> str:
    deadline = time.monotonic() + HOLDER_SECONDS
    for process in Path("/proc").iterdir():
        if time.monotonic() > deadline:
            break
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                if os.readlink(descriptor) in sockets:
                    return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""
