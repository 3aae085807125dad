"""``Run``: one plan on whole engines. The same plan gives the same run, event by event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from unittest.mock import patch

import mesh.engine.publisher
import mesh.engine.sending
import mesh.links.batches
import mesh.links.inbox
import mesh.links.outbox
from tests.sim import Simulation
from tests.sim.campaign.ending import Ending
from tests.sim.campaign.faults import Faults
from tests.sim.campaign.history import History, Station
from tests.sim.campaign.laws import Laws
from tests.sim.campaign.plan import FAULTS, Plan
from tests.sim.campaign.workload import Workload
from tests.sim.groupcast import Ledger

__all__ = ["Run"]

DISCOVERY_EVERY = 5.0
"""Seconds between hints of everybody at everybody, as multicast gives them."""


class Run:
    """``execute`` runs the plan, lets all come to rest, and judges; it raises ``LawBroken``."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sim = Simulation(plan.seed, latency=plan.latency, jitter=plan.jitter)
        self.history = History()
        self.ledger = Ledger()
        self.live: dict[Station, None] = {}
        self.all: list[Station] = []
        self.free_hosts: list[str] = []
        self.laws = Laws(self)
        self.workload = Workload(self)
        self.faults = Faults(self)
        self.is_discovering = True

    @property
    def premises(self) -> Counter[str]:
        """How often each law had something to judge."""
        return self.laws.premises

    def execute(self) -> Run:
        try:
            with narrow_links(self.plan.is_narrow):
                self._execute()
        except AssertionError as error:
            raise self.laws.broken or error from None
        if self.laws.broken is not None:
            raise self.laws.broken
        return self

    def _execute(self) -> None:
        random = Random(self.plan.seed)
        for _ in range(self.plan.nodes):
            self.start(random)
            self.pass_time(random.random() * 0.05)
        self._discover()
        self.pass_time(1.0)
        for step in self.plan.steps:
            self.act(step.kind, step.dice)
            self.pass_time(step.pause)
            self.laws.check_step()
        self.faults.heal()
        self.faults.go_on(random)
        self.workload.hire()
        if not self.plan.has_discovery:
            # The seed that a node was given may be gone; whoever runs a mesh names one that is not.
            seed = next(iter(self.live))
            for station in self.live:
                station.node.engine.hint(None, [seed.node.address])
        Ending(self, self.laws).check()

    def act(self, kind: str, dice: int) -> None:
        """One step."""
        self.history.story.append(f"{self.sim.now:9.4f} {kind} {dice}")
        verbs = self.faults if kind in FAULTS else self.workload
        getattr(verbs, kind)(Random(dice))

    def pass_time(self, seconds: float) -> None:
        self.sim.run(seconds)

    # Nodes.

    def start(self, random: Random, host: str | None = None) -> Station:
        node = self.sim.node(
            f"n{len(self.all)}", host=host, open=False, weight=random.choice([1.0, 1.0, 2.0])
        )
        station = Station(node)
        others = list(self.live)
        self.all.append(station)
        self.live[station] = None
        self.workload.equip(station, random)
        node.open([random.choice(others).node.address] if others else [])
        return station

    def pick(self, random: Random) -> Station:
        return random.choice(list(self.live))

    def pick_running(self, random: Random) -> Station | None:
        running = [station for station in self.live if not station.stopped]
        return random.choice(running) if running else None

    def bury(self, station: Station, *, has_left: bool = False) -> None:
        """It is gone, and what it had with it."""
        del self.live[station]
        station.stopped = ""
        self.workload.forget(station)
        if not has_left:
            self.free_hosts.append(station.node.host)

    def _discover(self) -> None:
        if not self.is_discovering or not self.plan.has_discovery:
            return
        for station in self.live:
            if not station.stopped:
                for other in self.live:
                    station.node.engine.hint(other.node.config.id, [other.node.address])
        self.sim.clock.call_later(DISCOVERY_EVERY, self._discover)


@contextmanager
def narrow_links(is_narrow: bool) -> Iterator[None]:
    """Windows and queues of a few KiB, so that a few messages fill them."""
    if not is_narrow:
        yield
        return
    with (
        patch.object(mesh.links.outbox, "WINDOW_BYTES", 2048),
        patch.object(mesh.links.outbox, "MAX_WINDOW_BYTES", 4096),
        patch.object(mesh.links.outbox, "PENDING_BYTES", 8192),
        patch.object(mesh.links.inbox, "ACK_BYTES", 512),
        patch.object(mesh.links.batches, "BATCH_BYTES", 512),
        patch.object(mesh.engine.publisher, "PAYLOAD_PART_BYTES", 256),
        patch.object(mesh.engine.sending, "PAYLOAD_PART_BYTES", 256),
    ):
        yield
