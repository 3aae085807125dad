"""Whole nodes in a simulation: the process that they run in, and what they run on there.

``HostedProcess`` is a process with a context: whatever runs in that is on the process's clock, and
nodes that start in it run on the simulated machine, ``SimEnvironment``.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from mesh.engine.ports import Clock
from mesh.environment import Environment, enter_environment
from mesh.finding import Finding
from mesh.runtime import LoopRunner
from mesh.security import Credentials, Identity, MeshKey, NodeKey
from mesh.settings import Settings
from mesh.testing.air import Air, SimFinding
from mesh.testing.clock import Callback, ProcessClock, SimClock, SimTimer
from mesh.testing.loop import SimLoop, current_process
from mesh.testing.process import Process
from mesh.testing.transport import LINK_PORT, SimTransport
from mesh.testing.world import World
from patterns.errors import ConfigError

if TYPE_CHECKING:
    from mesh.host import Host

__all__ = ["HostedProcess"]

T = TypeVar("T")

logger = logging.getLogger("mesh")

MAX_ENDS = 10
"""Attempts to close a coroutine that awaits while it is closed."""


class ContextClock(ProcessClock):
    """A process's clock, whose callbacks run in the process's context."""

    def __init__(self, clock: SimClock, context: contextvars.Context) -> None:
        super().__init__(clock)
        self._context = context

    def call_later(self, delay: float, callback: Callback) -> SimTimer:
        return super().call_later(delay, lambda: self.run_within(callback))

    def arrive(self, callback: Callback) -> None:
        super().arrive(lambda: self.run_within(callback))

    def run_within(self, function: Callable[[], T]) -> T:
        """Run it in a copy of the context, for one can be entered once only."""
        return self._context.copy().run(function)


class HostedProcess(Process):
    """A process of a ``SimMesh``: on ``host``, with tasks, and with nodes if it starts some."""

    def __init__(self, world: World, loop: SimLoop, air: Air, host: str, title: str) -> None:
        super().__init__(world.clock, host)
        self.title = title
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.environment = SimEnvironment(world, self, air)
        self._loop = loop
        self._context = contextvars.copy_context()
        self._context.run(current_process.set, self)
        self._context.run(enter_environment, self.environment)
        self.clock = self._own_clock = ContextClock(world.clock, self._context)

    @property
    def process(self) -> Process:
        return self

    def run_within(self, function: Callable[[], T]) -> T:
        """Run a function now, as this process."""
        return self._own_clock.run_within(function)

    def call_soon(self, function: Callable[[], object]) -> None:
        """Run a function in a turn of its own."""
        self._loop.call_soon(function, context=self._context.copy())

    def spawn(self, coroutine: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Run a coroutine as a task of this process."""
        return self._loop.create_task(coroutine, name=name, context=self._context.copy())

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Remember a task of this process until it ends."""
        self.tasks[task] = None
        task.add_done_callback(lambda task: self.tasks.pop(task, None))

    def vanish(self) -> None:
        """It was killed: nothing of it runs again, and who awaits its nodes is told."""
        for host, transport in self.environment.running:
            transport.vanish()
            host.vanish()

    def dispose(self) -> None:
        """The simulation is over: let go of tasks that will never end, without a word."""
        for task in list(self.tasks):
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _end(task.get_coro())
        self.tasks.clear()


def _end(coroutine: Any) -> None:
    """Close a coroutine that is suspended for ever; what it awaits in ``finally`` is over, too."""
    for _ in range(MAX_ENDS):
        try:
            coroutine.close()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  nobody waits for it
            logger.debug("a task raised as its simulation ended: %r", error)
            continue
        return


class SimEnvironment(Environment):
    """What nodes run on in one simulated process."""

    is_simulated = True

    def __init__(self, world: World, process: HostedProcess, air: Air) -> None:
        self._world = world
        self._process = process
        self._air = air
        self._transport: HostedTransport
        self.running: list[tuple[Host, HostedTransport]] = []

    def settings(self, settings: Settings) -> Settings:
        """An id of this run, and the address of the simulated host."""
        if settings.plain is not None:
            raise ConfigError("endpoints for plain clients are not simulated; leave out plain=")
        if settings.metrics is not None:
            raise ConfigError("a simulation has no HTTP; leave out metrics_port=, ask health()")
        id = self._world.random.randbytes(16)
        identity = self._world.identities.get(settings.name)
        if identity is not None:
            self._world.network.identities[id] = identity
        is_drawn = settings.instance == settings.id.hex()
        is_anonymous = settings.name == f"anon-{settings.id.hex()[:8]}"
        return replace(
            settings,
            id=id,
            name=f"anon-{id.hex()[:8]}" if is_anonymous else settings.name,
            instance=id.hex() if is_drawn else settings.instance,
            host=self._process.host,
        )

    async def credentials(self, settings: Settings) -> Credentials | None:
        given = settings.keys
        if not given:
            return None
        keys = [_key(text, given.mesh) for text in given.texts]
        return Credentials(settings.id, given.mesh, keys, NodeKey(given.secret))

    def identity(self, settings: Settings) -> Identity | None:
        return self._world.network.identities.get(settings.id)

    def prepare(self, settings: Settings) -> None: ...

    def finding(self, settings: Settings, credentials: Credentials | None) -> Finding:
        return SimFinding(settings, credentials, self._air, self._process)

    def transport(
        self, settings: Settings, hosts: Sequence[str], credentials: Credentials | None
    ) -> HostedTransport:
        port = settings.port or self._world.network.free_port(self._process.host, LINK_PORT, 3)
        self._transport = HostedTransport(self._world.network, self._process, hosts, port)
        return self._transport

    def clock(self) -> Clock:
        return self._process.clock

    def runner(self) -> LoopRunner:
        return SimRunner(self._process)

    def random(self, settings: Settings) -> Random:
        return Random(self._world.random.random())

    def wall_clock(self) -> datetime:
        return self._world.wall_clock()

    def hosts(self, host: Host) -> None:
        self.running.append((host, self._transport))


@functools.cache
def _key(text: str, mesh: str) -> MeshKey:
    return MeshKey(text, mesh)


class HostedTransport(SimTransport):
    """``mesh.environment.HostTransport``."""

    refused = 0

    async def wait_closed(self) -> None: ...

    def abandon(self) -> None: ...

    def spread_news(self) -> None: ...

    def vanish(self) -> None:
        """Its process is gone, and its sockets with it: nothing leaves any more."""
        self.is_closed = True
        self.dials.clear()
        self.lanes.clear()
        self.work_lanes.clear()


class SimRunner(LoopRunner):
    """Runs coroutines as tasks of the process, and plain functions in a turn of their own."""

    def __init__(self, process: HostedProcess) -> None:
        super().__init__(asyncio.get_running_loop())
        self._process = process

    def _run_coroutine(self, *args: Any) -> asyncio.Task[Any] | None:
        start = super()._run_coroutine
        task = self._process.run_within(lambda: start(*args))
        if task is not None and task not in self._process.tasks:
            self._process.adopt(task)  # an eager one, which the loop was not asked for
        return task

    def _to_pool(
        self, work: Callable[[], Callable[[], None]], refuse: Callable[[RuntimeError], None]
    ) -> None:
        self._process.call_soon(lambda: None if self._closed else work()())
