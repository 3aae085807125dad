"""``World``: processes on one network, the faults that can befall them, and time that jumps.

What the processes run is the business of whoever puts them here: bare engines, or whole nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Protocol

from mesh.security.identity import Identity
from mesh.testing.clock import SimClock
from mesh.testing.connections import Plane
from mesh.testing.network import Network
from mesh.testing.process import Process

__all__ = ["JITTER", "LATENCY", "Placed", "World"]

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)

LATENCY = 0.0003
"""Seconds one way on a quiet LAN."""

JITTER = 0.5
"""The most that is added to a latency, as a part of it."""


class Placed(Protocol):
    """Something that runs as a process on a host."""

    @property
    def process(self) -> Process: ...

    @property
    def host(self) -> str: ...


class World:
    """``seed`` decides everything that is random; the same one gives the same run."""

    def __init__(self, seed: int = 0, *, latency: float = LATENCY, jitter: float = JITTER) -> None:
        self.random = Random(seed)
        self.clock = SimClock()
        self._date_is_off = 0.0
        self.identities: dict[str, Identity] = {}
        """What the nodes of a name prove to be."""
        self.network = Network(
            self.clock, Random(self.random.random()), latency=latency, jitter=jitter
        )

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self.clock.now()

    def wall_clock(self) -> datetime:
        """The date, for people. It may jump (``set_wall_clock``); nothing else depends on it."""
        return EPOCH + timedelta(seconds=self.clock.now() + self._date_is_off)

    def set_wall_clock(self, seconds: float) -> None:
        """All dates are wrong by so much from now on."""
        self._date_is_off = seconds

    # Faults.

    def kill(self, node: Placed) -> None:
        """As ``kill -9``."""
        self.network.end(node.process)

    def freeze(self, node: Placed) -> None:
        """As SIGSTOP, or a machine that sleeps."""
        node.process.freeze()
        self.network.look_at_silence()

    def thaw(self, node: Placed) -> None:
        node.process.thaw()
        self.network.look_at_silence()

    def block(self, node: Placed) -> None:
        """Its Python does not come back; ZeroMQ's thread goes on."""
        node.process.block()

    def unblock(self, node: Placed) -> None:
        node.process.unblock()

    def partition(self, *sides: Sequence[Placed]) -> None:
        """Nothing passes between the sides; who is on none reaches all."""
        self.network.partition(*([node.host for node in side] for side in sides))

    def block_path(self, source: Placed, target: Placed) -> None:
        """Nothing passes from one to the other; the other way it does."""
        self.network.block_path(source.host, target.host)

    def slow_path(self, source: Placed, target: Placed, seconds: float | None) -> None:
        """The latency of one direction; None for that of all others."""
        self.network.set_latency(source.host, target.host, seconds)

    def heal(self) -> None:
        self.network.heal()

    def cut(self, client: Placed, server: Placed, plane: Plane = "link") -> None:
        """The connection that ``client`` dialled is reset; what was on its way is lost."""
        self.network.cut(self.network.pipe_between(client.process, server.process, plane))

    def strand(self, client: Placed, server: Placed, plane: Plane = "link") -> None:
        """Nothing passes on that connection any more, in no direction, and nobody is told."""
        self.network.strand_pipe(self.network.pipe_between(client.process, server.process, plane))

    def swallow(self, client: Placed, server: Placed, plane: Plane) -> None:
        """What ``client`` sends on that connection gets lost, as at a firewall that has forgotten
        it, and neither of them notices. ``cut`` ends that, as TCP does in the end."""
        self.network.swallow(self.network.pipe_between(client.process, server.process, plane))

    def replace(self, client: Placed, server: Placed) -> None:
        """That connection breaks unnoticed by ``server``, which sees the new one first."""
        self.network.replace(self.network.pipe_between(client.process, server.process))

    # Time.

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.clock.step(until):
            pass

    def until(self, condition: Callable[[], bool], within: float) -> float:
        """Run until it holds; returns the seconds it took. AssertionError when it does not."""
        start = self.now
        limit = start + within
        while not condition():
            if not self.clock.step(limit):
                if condition():
                    break
                raise AssertionError(f"not within {within} s")
        return self.now - start
