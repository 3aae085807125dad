"""Nodes on the hosts of a lab, and whether they see each other as they should."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from typing import Any

from tests.multihost.lab import Host
from tests.net.processes import NodeProcess

__all__ = ["Nodes"]

POLL = 0.02


class Nodes:
    """Starts node processes on hosts; they are on the network without a key."""

    def __init__(self) -> None:
        self.mesh = f"lab-{uuid.uuid4().hex[:8]}"
        self.all: list[NodeProcess] = []

    def begin(self, host: Host, name: str | None = None, **settings: Any) -> NodeProcess:
        """Start one; its process starts while the test goes on."""
        agent: dict[str, Any] = {
            key: settings.pop(key)
            for key in ("subscribe", "member", "workers", "protocol")
            if key in settings
        }  # what the agent does; the rest is for the node
        node = {"name": name, "mesh": self.mesh, "insecure": True, **settings}
        process = NodeProcess({"node": node, **agent}, prefix=host.command)
        self.all.append(process)
        return process

    def start(self, hosts: Iterable[Host], **settings: Any) -> list[NodeProcess]:
        """One on each host, named "n1", "n2", ... like the hosts' numbers."""
        begun = [self.begin(host, f"n{host.number}", **settings) for host in hosts]
        return [process.wait_started() for process in begun]

    def end(self) -> None:
        for process in self.all:
            process.end()


def wait_right(processes: Iterable[NodeProcess], within: float) -> float:
    """Until each sees exactly all others, alive; returns the seconds that it took."""
    processes = list(processes)
    began = time.monotonic()
    ids = {process.id for process in processes}
    left = list(processes)
    while left:
        views = {p.id: p.ask("peers") for p in left}
        left = [p for p in left if views[p.id] != dict.fromkeys(ids - {p.id}, "alive")]
        took = time.monotonic() - began
        if left:
            assert took < within, {p.id[:8]: views[p.id] for p in left}
            time.sleep(POLL)
    return time.monotonic() - began


def events_about(witness: NodeProcess, other: NodeProcess) -> list[str]:
    """The kinds of events that a node has seen of another."""
    return [kind for _, kind, *_ in witness.ask("seen", peer=other.id)]
