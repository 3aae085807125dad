"""One subscriber or worker of a run: a node of the run's name that counts and checks what it gets.

Its handler runs on the node's loop, as inline handlers of services do. The bench asks it by its
methods: ``begin`` a stage, ``report``. Nobody has to end it well: whoever made it looks whether
the bench is still there.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from time import monotonic, monotonic_ns
from typing import Any, Literal, get_args

import mesh
from mesh.cli.bench import pattern_of, run_name
from mesh.cli.bench.core.receipt import MIN_SIZE, Receipt

__all__ = ["KINDS", "LEASE_SECONDS", "MAX_SIZE", "Kind", "Part", "clock_name"]

Kind = Literal["subscriber", "worker"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MAX_SIZE = 16 * 1024 * 1024
"""Bytes of one message: as much as any command sends."""

LEASE_SECONDS = 30.0
"""Without a question of its bench for so long a part is over: the bench is gone."""


class Part:
    """A node that takes part, not started. ``settings`` are arguments of ``mesh.Node``.

    Raises ValueError for a kind or size that there is not, ConfigError and BadName for settings.
    """

    def __init__(self, kind: Kind, run: str, size: int, settings: dict[str, Any]) -> None:
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is none of {', '.join(KINDS)}")
        if not MIN_SIZE <= size <= MAX_SIZE:
            raise ValueError(f"messages have {MIN_SIZE} to {MAX_SIZE} bytes, not {size}")
        self.kind = kind
        self.receipt = Receipt(size)
        self.received = 0
        """In all stages before this one."""
        self.is_ended = False
        self._asked = monotonic()
        node = self.node = mesh.Node(run_name(run), **settings)
        if kind == "subscriber":
            node.subscriber(pattern_of(run), inline=True)(self._take)
        else:
            node.member(run_name(run), inline=True)(self._take)
        for method in (self.begin, self.report, self.end):
            node.rpc(inline=True)(method)

    @property
    def is_over(self) -> bool:
        """Whether its bench has ended it, or has not asked for too long."""
        return self.is_ended or monotonic() - self._asked > LEASE_SECONDS

    def begin(self, first: int) -> str:
        """Count from 0 again; messages with a lower number than ``first`` are of a stage before.

        Returns the name of the clock by which the times of the receipt go.
        """
        self.received += self.receipt.received
        self.receipt = Receipt(self.receipt.size, first)
        self._asked = monotonic()
        return clock_name()

    def report(self) -> dict[str, Any]:
        """The receipt of this stage so far, packed."""
        self._asked = monotonic()
        return self.receipt.packed()

    def end(self) -> None:
        """The bench needs it no more."""
        self.is_ended = True

    def _take(self, message: mesh.Message) -> None:
        self.receipt.take(message.data, monotonic_ns(), message.redelivered)


def clock_name() -> str:
    """The same for two processes only if they have the same monotonic clock, that of one kernel.

    Containers of a host share it, unless a time namespace sets one of them apart.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/time').readlink()}"
    except OSError:
        return f"{uuid.getnode():012x}"
