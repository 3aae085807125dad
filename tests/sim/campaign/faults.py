"""The faults of a run. Each takes the dice of its step; none is told to the nodes.

A fault is a method here and a row in ``plan.FAULTS``. Whoever it may have met is ``touched``:
laws about nodes that nothing befell need to know.
"""

from __future__ import annotations

import contextlib
from random import Random
from typing import TYPE_CHECKING

from mesh.testing.connections import Plane
from tests.sim.campaign.history import Station

if TYPE_CHECKING:
    from tests.sim.campaign.run import Run

__all__ = ["Faults"]

PLANES: tuple[Plane, ...] = ("link", "link", "request", "work")
MOST_NODES = 30


class Faults:
    def __init__(self, run: Run) -> None:
        self._run = run
        self._lost: list[tuple[Station, Station, Plane]] = []
        """Connections that swallow; TCP notices in the end, which is when all is mended."""
        self._slow: list[tuple[Station, Station]] = []

    def _touch(self, *stations: Station, lasts: bool = False) -> None:
        """A fault meets them; one that ``lasts`` is over when all is mended."""
        for station in stations:
            station.touched_at = self._run.sim.now
            station.is_impaired |= lasts

    def _pair(self, random: Random, *, lasts: bool = False) -> tuple[Station, Station]:
        one, other = self._run.pick(random), self._run.pick(random)
        self._touch(one, other, lasts=lasts)
        return one, other

    # Connections.

    def cut(self, random: Random) -> None:
        one, other = self._pair(random)
        with contextlib.suppress(LookupError):  # nothing there to break
            self._run.sim.cut(one.node, other.node, random.choice(PLANES))

    def replace(self, random: Random) -> None:
        one, other = self._pair(random)
        with contextlib.suppress(LookupError):
            self._run.sim.replace(one.node, other.node)

    def swallow(self, random: Random) -> None:
        one, other = self._pair(random, lasts=True)
        plane: Plane = random.choice(["request", "work"])
        with contextlib.suppress(LookupError):
            self._run.sim.swallow(one.node, other.node, plane)
            self._lost.append((one, other, plane))

    def strand(self, random: Random) -> None:
        one, other = self._pair(random, lasts=True)
        with contextlib.suppress(LookupError):
            self._run.sim.strand(one.node, other.node)

    def reopen(self, random: Random) -> None:
        """As a change of a record does that is too large for a delta."""
        one, other = self._pair(random)
        engine = one.node.engine
        session = engine._core.sessions.get(other.node.config.id)
        if session is not None and session.outbox.link is not None and not one.stopped:
            engine._control.open_link(session)

    # Processes.

    def freeze(self, random: Random) -> None:
        self._stop(self._run.pick(random), "freeze")

    def block(self, random: Random) -> None:
        self._stop(self._run.pick(random), "block")

    def _stop(self, station: Station, how: str) -> None:
        self._touch(station)
        if not station.stopped:
            station.stopped = how
            getattr(self._run.sim, how)(station.node)

    def nap(self, random: Random) -> None:
        """One alone is stopped, for a while that is its own; the others go on."""
        station = self._run.pick(random)
        self._stop(station, random.choice(["freeze", "block"]))
        for _ in range(2):
            self._run.act("groupcast", random.getrandbits(32))
            self._run.act("publish", random.getrandbits(32))
        self._run.pass_time(random.choice([0.5, 1.3, 2.0, 3.0, 4.0, 5.5, 8.0]))
        self._wake(station)

    def go_on(self, random: Random) -> None:
        for station in self._run.live:
            self._wake(station)

    def _wake(self, station: Station) -> None:
        if station.stopped and station in self._run.live:
            self._touch(station)
            how = {"freeze": "thaw", "block": "unblock"}[station.stopped]
            station.stopped = ""
            station.went_on_at = self._run.sim.now
            getattr(self._run.sim, how)(station.node)

    def _busy(self) -> list[Station]:
        """Who handles groupcasts now."""
        busy = {run.node for run in self._run.ledger.runs if run.end is None}
        return [station for station in self._run.live if station.node in busy]

    def cut_busy(self, random: Random) -> None:
        """Links of a member that works, one after the other."""
        self._run.act("groupcast", random.getrandbits(32))
        self._run.pass_time(0.01)
        for station in self._busy()[:1]:
            for other in list(self._run.live):
                client, server = random.choice([(station, other), (other, station)])
                self._touch(client, server)
                with contextlib.suppress(LookupError):
                    self._run.sim.cut(client.node, server.node)
                self._run.pass_time(random.choice([0.0, 0.02]))

    def kill_busy(self, random: Random) -> None:
        """Members that work, one after the other, so that what one leaves is left again."""
        self._run.act("groupcast", random.getrandbits(32))
        for _ in range(3):
            self._run.pass_time(0.02)
            for station in self._busy()[:1]:
                self._kill(station)
            self._run.pass_time(0.2)

    def kill(self, random: Random) -> None:
        self._kill(self._run.pick(random))

    def _kill(self, station: Station) -> None:
        if len(self._run.live) > 3:
            self._touch(station)
            self._run.sim.kill(station.node)
            self._run.bury(station)

    def restart(self, random: Random) -> None:
        """A new process at the address of one that ended, or of one that ends now."""
        if not self._run.free_hosts:
            self.kill(random)
        if self._run.free_hosts:
            host = self._run.free_hosts.pop(random.randrange(len(self._run.free_hosts)))
            self._run.start(random, host)

    def join(self, random: Random) -> None:
        if len(self._run.live) < MOST_NODES:
            self._run.start(random)

    def leave(self, random: Random) -> None:
        station = self._run.pick_running(random)
        if station is not None and len(self._run.live) > 3:
            station.node.leave()
            self._run.laws.left(station)
            self._run.bury(station, has_left=True)

    def jump_date(self, random: Random) -> None:
        self._run.sim.set_wall_clock(random.choice([-1e6, -3600.0, 60.0, 1e6]))

    # Paths.

    def partition(self, random: Random) -> None:
        """It comes when calls wait in line: what takes them back does not get there."""
        self._run.workload.call_in_line(random)
        stations = list(self._run.live)
        random.shuffle(stations)
        count = random.randrange(1, len(stations))
        self._touch(*stations, lasts=True)
        self._run.sim.partition(
            [s.node for s in stations[:count]], [s.node for s in stations[count:]]
        )

    def block_path(self, random: Random) -> None:
        one, other = self._pair(random, lasts=True)
        if one is not other:
            self._run.sim.block_path(one.node, other.node)

    def _slowness(self, random: Random) -> float:
        """With its jitter no more than that: what is on its way holds up what comes after it."""
        return random.choice([0.1, 0.4, 1.5]) / (1 + self._run.plan.jitter)

    def slow_path(self, random: Random) -> None:
        one, other = self._pair(random, lasts=True)
        self._slow.append((one, other))
        self._run.sim.slow_path(one.node, other.node, self._slowness(random))

    def slow_all(self, random: Random) -> None:
        """A tail: everything of one node is slow."""
        one = self._run.pick(random)
        self._touch(*self._run.live, lasts=True)
        seconds = self._slowness(random)
        for other in self._run.live:
            self._slow.append((one, other))
            self._run.sim.slow_path(one.node, other.node, seconds)

    def heal(self, random: Random | None = None) -> None:
        self._run.sim.heal()
        for one, other, plane in self._lost:
            with contextlib.suppress(LookupError):
                self._run.sim.cut(one.node, other.node, plane)
        for one, other in self._slow:
            self._run.sim.slow_path(one.node, other.node, None)
        for station in self._run.live:
            if station.is_impaired:
                station.is_impaired = False
                self._touch(station)
        self._lost.clear()
        self._slow.clear()
