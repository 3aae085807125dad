"""``meshctl bench serve``: takes part in the benches of others, from this host.

Its node serves ``echo``, and ``take_part``, which starts a node of the run in this process. Who
is in the mesh may ask for that, so it is bounded; a part whose bench is gone ends by itself.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import mesh
from mesh.cli.bench import NAME, RUN_ID
from mesh.cli.bench.part import Kind, Part

__all__ = ["MAX_PARTS", "Event", "Server"]

MAX_PARTS = 16
"""Runs at once: each is a node, with links to all others."""


@dataclass(frozen=True)
class Event:
    """That a part has begun or ended, for people and programs."""

    what: str
    """ "begun" or "ended"."""
    run: str
    kind: str
    bench: mesh.Peer
    """Who has asked for it."""
    received: int


class Server:
    """The node of ``bench serve`` and the parts that it takes.

    :param settings: arguments of the nodes
    :param tell: given the events, from any thread, one at a time
    """

    def __init__(self, settings: dict[str, Any], tell: Callable[[Event], None]) -> None:
        self._settings = settings
        self._tell = tell
        self._parts: dict[str, tuple[Part, mesh.Peer]] = {}
        self._changing = threading.Lock()
        """Parts begin on threads of the node's pool, and end on the one that tidies up."""
        self.node = mesh.Node(NAME, **settings)
        self.node.rpc(inline=True)(self.echo)
        self.node.rpc(self.take_part)

    def __enter__(self) -> Self:
        self.node.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.node.close()
        with self._changing:
            for run in list(self._parts):
                self._end(run)

    def echo(self, data: Any = None) -> Any:
        """What it is given."""
        return data

    def take_part(self, run: str, kind: Kind, size: int, request: mesh.Request) -> None:
        """Start a subscriber or a worker of a run; returns when it is in the mesh."""
        if not re.fullmatch(RUN_ID, str(run)):
            raise ValueError(f"{run!r} is no id of a run")
        with self._changing:
            if run in self._parts:
                raise ValueError(f"the run {run} is here already")
            if len(self._parts) >= MAX_PARTS:
                raise RuntimeError(f"{MAX_PARTS} benches are here already; try again later")
            part = Part(kind, run, size, self._settings)
            part.node.start()
            self._parts[run] = (part, request.caller)
            self._tell(Event("begun", run, kind, request.caller, 0))

    def tidy(self) -> None:
        """End the parts that are over."""
        with self._changing:
            for run in [run for run, (part, _) in self._parts.items() if part.is_over]:
                self._end(run)

    def _end(self, run: str) -> None:
        part, bench = self._parts.pop(run)
        part.node.close()
        received = part.received + part.receipt.received
        self._tell(Event("ended", run, part.kind, bench, received))
