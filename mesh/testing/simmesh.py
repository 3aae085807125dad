"""``SimMesh``: a whole mesh in one thread on virtual time, to test services with.

The nodes are those of production; network, clocks, discovery and randomness are simulated. So an
hour passes in a moment, every fault can be made at will, and the same seed gives the same run.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from mesh.aio import AsyncNode
from mesh.node import Node
from mesh.security import Identity
from mesh.testing.air import Air
from mesh.testing.connections import Plane
from mesh.testing.hosting import HostedProcess
from mesh.testing.loop import SimLoop
from mesh.testing.world import JITTER, LATENCY, World
from patterns.errors import ConfigError

__all__ = ["LeftBehind", "SimMesh"]

T = TypeVar("T")
AnyNode = Node | AsyncNode
Place = AnyNode | HostedProcess
"""What faults befall: a node's process, or one that ``spawn`` made."""

WITHIN = 86_400.0
"""Seconds of virtual time that a test may take: more than any waits for, and no endless loop."""

CLOSE_WITHIN = 10.0
"""Seconds of virtual time in which nodes close; they promise one."""


class LeftBehind(AssertionError):
    """What a simulation found at its end: tasks that nobody ended, errors that nobody saw."""


class SimMesh:
    """A simulated network and the nodes on it; a context manager, which closes it.

    ``seed``     decides everything that is random; the same one gives the same run
    ``latency``  seconds one way between hosts
    ``jitter``   the most that is added to it, as a part of it
    ``identities``  who the nodes of a name prove to be; the others prove nothing

    All methods are for the test's thread. Those that let time pass may be used in the body of
    ``run`` as well: it stands still meanwhile, and the mesh goes on.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        latency: float = LATENCY,
        jitter: float = JITTER,
        identities: Mapping[str, Identity] | None = None,
    ) -> None:
        self.seed = seed
        self.world = World(seed, latency=latency, jitter=jitter)
        self.world.identities.update(identities or {})
        self._loop = SimLoop()  # type: ignore[abstract]  # the rest of it is refused
        self._air = Air(self.world.network)
        self._hosts: dict[str, str] = {}
        self._processes: list[HostedProcess] = []
        self._made: dict[AsyncNode, tuple[HostedProcess, Callable[[], AnyNode] | None]] = {}
        self._is_closed = False
        self._test = self._loop.outside = self._process("test", None)

    @property
    def now(self) -> float:
        """Seconds of virtual time since the beginning."""
        return self.world.now

    @property
    def trace(self) -> str:
        """A digest of all arrivals so far, with their times: equal runs have equal ones."""
        return self.world.network.trace

    @property
    def random(self) -> random.Random:
        """The randomness of this run, for the test to draw from."""
        return self.world.random

    # Nodes.

    def node(
        self, name: str | None = None, *, host: str | None = None, **options: Any
    ) -> AsyncNode:
        """A new running ``AsyncNode``; ``options`` are its own.

        ``host`` is the simulated host, by any name; by default each node has one to itself.
        """
        return self.add(lambda: AsyncNode(name, **options), host=host)

    @overload
    def add(
        self, node: AsyncNode | Callable[[], AsyncNode], *, host: str | None = None
    ) -> AsyncNode: ...

    @overload
    def add(self, node: Node | Callable[[], Node], *, host: str | None = None) -> Node: ...

    def add(self, node: Any, *, host: str | None = None) -> Any:
        """Start a node in a process of its own: one that is not started, or a function that makes
        one, which ``restart`` needs. Returns it, running.

        A ``Node`` is used by ``node.aio`` here: nothing may block. Raises what its start raises,
        and ConfigError for a node that was started before.
        """
        make = None if isinstance(node, AnyNode) else node
        title = node.name if make is None else getattr(make, "__name__", "node")
        return self._start(self._process(title, host), node, make)

    def _start(self, process: HostedProcess, node: Any, make: Callable[[], AnyNode] | None) -> Any:
        if make is not None:
            node = process.run_within(make)
            process.title = node.name
        aio = node.aio if isinstance(node, Node) else node
        if aio.environment is not None or aio.is_closed:
            raise ConfigError(f"{node!r} was started before; add one that was not")
        aio.environment = process.environment
        self._made[aio] = process, make
        self._wait(process.spawn(aio.start(), f"start of {aio.name}"), WITHIN)
        return node

    def spawn(
        self,
        main: Callable[[], Coroutine[Any, Any, Any]],
        *,
        host: str | None = None,
    ) -> HostedProcess:
        """Run a program's ``async def main()`` as a process of its own; the nodes that it starts
        are in this mesh. Returns the process, for the faults."""
        process = self._process(main.__name__, host)
        process.spawn(main(), main.__name__)
        return process

    def _process(self, title: str, host: str | None) -> HostedProcess:
        process = HostedProcess(self.world, self._loop, self._air, self._address(host), title)
        self._processes.append(process)
        return process

    def _address(self, host: str | None) -> str:
        name = host if host is not None else f"host {len(self._hosts) + 1}"
        if name not in self._hosts:
            number = len(self._hosts) + 1
            try:
                self._hosts[name] = str(ipaddress.ip_address(name))
            except ValueError:
                self._hosts[name] = f"10.0.{number // 250}.{number % 250 + 1}"
        return self._hosts[name]

    # Time.

    def run(self, body: Coroutine[Any, Any, T], *, within: float = WITHIN) -> T:
        """Drive an async test body to its end; returns its value or raises its error.

        Raises TimeoutError when it takes more than ``within`` seconds of virtual time.
        """
        return self._wait(self._test.spawn(body, "test"), within)

    def _wait(self, task: asyncio.Task[T], within: float) -> T:
        limit = self.now + within
        with self._loop.driving():
            while not task.done() and self.world.clock.step(limit):
                pass
            if not task.done():
                task.cancel()
                while not task.done() and self.world.clock.step(limit + CLOSE_WITHIN):
                    pass
                raise TimeoutError(f"{task.get_name()!r} did not end within {within:g} s")
            return task.result()

    def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        with self._loop.driving():
            self.world.run(seconds)

    def until(self, condition: Callable[[], bool], within: float = 60.0) -> float:
        """Let time pass until the condition holds; returns the seconds it took.

        Raises AssertionError when it does not hold within so many seconds.
        """
        with self._loop.driving():
            return self.world.until(condition, within)

    # Faults.

    def process(self, place: Place) -> HostedProcess:
        """The process that a node runs in. Raises LookupError for one that is not of this mesh."""
        if isinstance(place, HostedProcess):
            return place
        aio = place.aio if isinstance(place, Node) else place
        for process in self._processes:
            if aio.environment is process.environment:
                return process
        raise LookupError(f"{place!r} is not in this simulation: sim.add(node)")

    def kill(self, place: Place) -> None:
        """As ``kill -9``. Who awaits one of its verbs gets NodeClosed."""
        process = self.process(place)
        if process.is_alive:
            self.world.kill(process)
            process.vanish()

    def restart(self, place: AnyNode) -> Any:
        """Kill its process if it runs, and start what it was made by anew on the same host.

        Returns the new node. Raises ConfigError unless it came by ``node`` or ``add(function)``.
        """
        old = self.process(place)
        aio = place.aio if isinstance(place, Node) else place
        _, make = self._made.get(aio, (old, None))
        if make is None:
            raise ConfigError("a node starts once: give add() the function that makes it")
        self.kill(old)
        process = HostedProcess(self.world, self._loop, self._air, old.host, old.title)
        self._processes.append(process)
        return self._start(process, None, make)

    def freeze(self, place: Place) -> None:
        """As SIGSTOP, or a machine that sleeps."""
        self.world.freeze(self.process(place))

    def thaw(self, place: Place) -> None:
        """What fell due meanwhile runs now."""
        self.world.thaw(self.process(place))

    def block(self, place: Place) -> None:
        """Its Python stops, as in a handler that blocks; the machine below goes on."""
        self.world.block(self.process(place))

    def unblock(self, place: Place) -> None:
        self.world.unblock(self.process(place))

    def partition(self, *sides: Sequence[Place]) -> None:
        """Nothing passes between the hosts of different sides until ``heal``."""
        self.world.partition(*(list(map(self.process, side)) for side in sides))

    def block_path(self, source: Place, target: Place) -> None:
        """Nothing passes from one host to the other until ``heal``; the other way it does."""
        self.world.block_path(self.process(source), self.process(target))

    def heal(self) -> None:
        """Everything passes again."""
        self.world.heal()

    def cut(self, client: Place, server: Place, plane: Plane = "link") -> None:
        """The connection that ``client`` made to ``server`` is reset; what was under way is lost.

        Raises LookupError when there is none.
        """
        self.world.cut(self.process(client), self.process(server), plane)

    def replace(self, client: Place, server: Place) -> None:
        """The link that ``client`` made breaks unnoticed by ``server``, and is made again."""
        self.world.replace(self.process(client), self.process(server))

    def set_latency(self, source: Place, target: Place, seconds: float) -> None:
        """Of one direction between two hosts, from now on."""
        hosts = self.process(source).host, self.process(target).host
        self.world.network.set_latency(*hosts, seconds)

    def set_wall_clock(self, seconds: float) -> None:
        """All dates are wrong by so much from now on; the dates of peers, not ``datetime.now``."""
        self.world.set_wall_clock(seconds)

    # The end.

    def close(self, *, check: bool = True) -> None:
        """Close the nodes that run, and end the simulation. Idempotent.

        With ``check`` raises LeftBehind when a process that is not killed or stopped has tasks
        left, or errors went unseen.
        """
        if self._is_closed:
            return
        self._is_closed = True
        try:
            left = self._close_processes()
        finally:
            for process in self._processes:
                process.clock.end()
                process.dispose()
            self._loop.close()
        left += [f"unseen: {fault}" for fault in self._loop.faults]
        if left and check:
            raise LeftBehind("left at the end of the simulation:\n  " + "\n  ".join(left))

    def _close_processes(self) -> list[str]:
        for process in self._processes:
            if process.is_frozen or process.is_blocked:
                self.kill(process)
        self.heal()
        alive = [process for process in self._processes if process.is_alive]
        closing = [
            process.spawn(host.close(), f"end of {process.title}")
            for process in alive
            for host, _ in process.environment.running
        ]
        with self._loop.driving():
            limit = self.now + CLOSE_WITHIN
            while not all(task.done() for task in closing) and self.world.clock.step(limit):
                pass
            # What has ended meanwhile is told in callbacks.
            self.world.run(0)
        return [
            f"{process.title}: the task {task.get_name()} is at {task.get_coro()!r}"
            for process in alive
            for task in process.tasks
            if not task.done()
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(check=error is None)

    def __repr__(self) -> str:
        return (
            f"<SimMesh seed={self.seed}, {len(self._processes) - 1} processes, at {self.now:.3f} s>"
        )
