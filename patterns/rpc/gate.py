"""Keyed calls of services whose ownership moves with care: where they wait for their slot.

A call of a slot that this node may not work on yet waits here, in order, until it may; until the
key turns out to be another's (MOVED); or until the patience of the handover is over, and then it is
served. One that was sent on for the last time, or because its caller cannot reach the owner, is not
served beside an owner that this node sees alive: its caller is told (ELSEWHERE), and asks anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from patterns import messages as m
from patterns.ownership.tenure import Tenure
from patterns.port import RpcPort, Timer
from patterns.rpc.job import Job
from patterns.rpc.placement import Placement

if TYPE_CHECKING:
    from patterns.rpc.server import RpcServer

__all__ = ["MAX_HELD_UP", "Gate", "NotHere", "OwnedJob"]

MAX_HELD_UP = 4096
"""Calls that wait for slots at one node: a handover takes a moment, this many more than that."""

FOREIGN_WAIT = 0.1
"""Seconds that a call which was sent on for the last time waits for this node to see what its
caller saw; views agree within milliseconds, mostly."""

TICK = 0.1
"""Seconds between looks at who has waited long enough."""


class NotHere(Exception):
    """Raised by a handler that has begun nothing: the key is another node's by now."""


class OwnedJob(Job):
    """A keyed call of a service with a tenure."""

    __slots__ = ("arrived_at", "fence", "form", "full_name", "held_until", "is_final",
                 "is_forced", "slot", "tenure")  # fmt: skip

    def __init__(
        self, tenure: Tenure, form: bytes, slot: int, full_name: str, is_final: bool, *parts: Any
    ) -> None:
        super().__init__(*parts)
        self.tenure = tenure
        self.form = form
        self.slot = slot
        self.full_name = full_name
        self.is_final = is_final
        self.is_forced = False
        """Whether it has waited long enough."""
        self.arrived_at = self.held_until = 0.0
        self.fence: int | None = None

    @property
    def may_start(self) -> bool:
        return self.is_forced or self.tenure.may_start(self.slot)


class Gate:
    """The lines of one server."""

    def __init__(self, server: RpcServer, port: RpcPort, placement: Placement) -> None:
        self._server = server
        self._port = port
        self._placement = placement
        self._lines: dict[Tenure, dict[OwnedJob, None]] = {}
        self._count = 0
        self._timer: Timer | None = None
        self.longest = 0.0
        """Seconds that a call has waited here, at most."""

    def arrive(self, job: OwnedJob) -> None:
        """Start it, have it wait, or send it where it belongs."""
        if job.may_start:
            self._server.admit(job)
            return
        owner = self._placement.better(job.full_name, job.form)
        if owner is not None and not job.is_final:
            self._server.move(job, owner)
            return
        if self._count >= MAX_HELD_UP:
            self._server.refuse(
                job, m.STATUS_OVERLOADED, f"{self._count} calls wait for their keys to come here"
            )
            return
        patience = job.tenure.patience if owner is None else FOREIGN_WAIT
        job.arrived_at = self._port.now()
        job.held_until = min(job.arrived_at + patience, job.deadline)
        self._server.keep(job)
        self._lines.setdefault(job.tenure, {})[job] = None
        self._count += 1
        if self._timer is None:
            self._timer = self._port.call_later(TICK, self._on_tick)

    def reconsider(self, tenure: Tenure) -> None:
        """Slots may have come, or gone: for those that wait here, and in line for their method."""
        for job in self._server.take_waiting(tenure):
            self.arrive(job)
        for job in list(self._lines.get(tenure, ())):
            if not self._server.has(job):
                self._leave(job)
            elif job.may_start:
                self._leave(job)
                self._go(job)
            elif (owner := self._placement.better(job.full_name, job.form)) is None:
                continue
            elif job.is_final:
                job.held_until = min(job.held_until, self._port.now() + FOREIGN_WAIT)
            else:
                self._leave(job)
                self._server.move(job, owner)

    def drain(self) -> Sequence[OwnedJob]:
        """All that wait; they are the caller's to answer."""
        jobs = [job for line in self._lines.values() for job in line if self._server.has(job)]
        self.close()
        return jobs

    def close(self) -> None:
        self._lines.clear()
        self._count = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go(self, job: OwnedJob) -> None:
        self.longest = max(self.longest, self._port.now() - job.arrived_at)
        self._server.admit(job)

    def _leave(self, job: OwnedJob) -> None:
        line = self._lines.get(job.tenure)
        if line is not None and job in line:
            del line[job]
            self._count -= 1
            if not line:
                del self._lines[job.tenure]

    def _on_tick(self) -> None:
        self._timer = None
        now = self._port.now()
        for job in [job for line in self._lines.values() for job in line]:
            if not self._server.has(job):
                self._leave(job)
            elif job.held_until <= now:
                self._leave(job)
                self._give_up(job)
        if self._lines and self._timer is None:
            self._timer = self._port.call_later(TICK, self._on_tick)

    def _give_up(self, job: OwnedJob) -> None:
        owner = self._placement.better(job.full_name, job.form)
        if owner is not None:
            self._server.refuse(job, m.STATUS_ELSEWHERE, f"{owner.peer} owns the key; not started")
            return
        job.is_forced = True
        self._go(job)
