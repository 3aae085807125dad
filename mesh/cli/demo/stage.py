"""What the scenes work with: the demo's own node, its processes, its checks, and marks.

A mark is a message to every process after what a scene sent. What one node sends another arrives
in the order it was sent, so once a process reports the mark, it has reported all that came before
it: only so can a scene know that nothing came twice or to the wrong one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import Protocol

import mesh
from mesh.cli.demo.checks import Checks
from mesh.cli.fleet import Fleet, Process, Trouble

__all__ = ["LOOPBACK", "PATIENCE_SECONDS", "START_SECONDS", "Scene", "Stage"]

LOOPBACK = "127.0.0.1"

START_SECONDS = 20.0
"""Seven interpreters on a machine that is busy with other things."""

PATIENCE_SECONDS = 5.0
"""For everything else, which takes milliseconds."""


class EventReader(Protocol):
    """What ``Node.watch`` gives, as far as it is used here."""

    def get(self, timeout: float | None = None) -> mesh.Event: ...


class Stage:
    """Handed to every scene."""

    def __init__(self, node: mesh.Node, fleet: Fleet, checks: Checks) -> None:
        self.node = node
        self.fleet = fleet
        self.check = checks.check
        self.has_met = False
        """Whether the nodes have found each other, without which there is nothing to show."""
        self._marks = count(1)

    def mark(self) -> None:
        """Until every running process has reported all that was sent to it. Raises Trouble."""
        number = next(self._marks)
        self.node.publish("demo.mark", number)

        def missing() -> list[Process]:
            return [p for p in self.fleet.running if number not in p.got("mark")]

        if not self.fleet.wait_until(lambda: not missing(), PATIENCE_SECONDS):
            names = ", ".join(str(process) for process in missing())
            raise Trouble(f"no answer from {names} within {PATIENCE_SECONDS:g} s")

    def peer(self, process: Process) -> mesh.Peer:
        """The process as the mesh shows it. Raises Trouble when the mesh does not."""
        for peer in self.node.peers():
            if peer.id == process.id:
                return peer
        raise Trouble(f"the mesh does not show {process}")

    def events_until(
        self, events: EventReader, process: Process, last: type[mesh.Event], since: float
    ) -> list[tuple[float, mesh.Event]]:
        """What happened to a process, up to one of the kind ``last``, or what was told in time.

        Each event comes with the milliseconds from ``since``, which is monotonic time. That it is
        here, with which a watch begins, is left out.
        """
        found: list[tuple[float, mesh.Event]] = []
        while (left := since + PATIENCE_SECONDS - monotonic()) > 0:
            try:
                event = events.get(timeout=left)
            except mesh.Timeout:
                break
            if event.peer.id == process.id and not isinstance(event, mesh.PeerJoined):
                found.append(((monotonic() - since) * 1e3, event))
                if isinstance(event, last):
                    break
        return found


@dataclass(frozen=True, slots=True)
class Scene:
    """Something to show: a title, what it is in plain words and as code, and the play."""

    title: str
    words: str
    code: str
    play: Callable[[Stage], None]
