"""``Simulation``: a network of nodes, the faults that can befall them, and time that jumps.

Each node is a whole ``mesh.engine.Engine`` with its own seeded randomness. ``SimNode`` has the
verbs of a node and keeps what it saw; faults are verbs of the simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any

from mesh.engine import Engine, EngineConfig
from mesh.engine import events as e
from mesh.membership import Peer
from mesh.testing.process import Process
from mesh.testing.transport import LINK_PORT, SimTransport
from mesh.testing.world import JITTER, LATENCY, World
from patterns.backlog import DEFAULT_BUFFER, Policy
from patterns.keys import Key
from patterns.messages import Message
from patterns.names import group_subject
from patterns.rpc import CallOptions, Method
from patterns.rpc.method import is_async_callable
from patterns.subscription import Subscription
from tests.sim.runner import SimRunner
from tests.sim.waiter import SimWaiter

__all__ = ["SimNode", "Simulation"]

SEEDS_EVERY = 5.0
"""Seconds between hints at a seed, as in ``discovery.Seeds``."""


class SimNode:
    """One node. ``events`` are all it was told, in order; ``at`` are their times."""

    def __init__(
        self, simulation: Simulation, host: str, config: EngineConfig, aliases: Sequence[str] = ()
    ) -> None:
        self.simulation = simulation
        self.host = host
        self.aliases = tuple(aliases)
        self.config = config
        self.id = config.id.hex()
        self.name = config.name
        clock = simulation.clock
        self.process = Process(clock, host)
        self.runner = SimRunner(self.process.clock)
        for alias in aliases:
            simulation.network.alias(alias, host)
        self.transport = SimTransport(simulation.network, self.process, (host, *aliases))
        self.engine = Engine(
            config,
            clock=self.process.clock,
            transport=self.transport,
            runner=self.runner,
            random=Random(simulation.random.random()),
            wall_clock=simulation.wall_clock,
        )
        self.events: list[e.Event] = []
        self.at: list[float] = []
        self.on_event: Callable[[e.Event], None] | None = None

    @property
    def address(self) -> str:
        """Where its link socket is, for hints."""
        return f"{self.host}:{LINK_PORT}"

    def open(self, seeds: Iterable[str] = ()) -> SimNode:
        """Start, watch, and hint at the seeds ("host:port") now and then, as discovery does."""
        watcher = self.engine.watch()

        def collect() -> None:
            for event in watcher.take():
                self.events.append(event)
                self.at.append(self.simulation.now)
                if self.on_event is not None:
                    self.on_event(event)

        watcher.on_ready = collect
        self.engine.open()
        if addresses := list(seeds):
            self._hint_at_seeds(addresses)
        return self

    def _hint_at_seeds(self, addresses: list[str]) -> None:
        for address in addresses:
            self.engine.hint(None, [address])
        self.process.clock.call_later(SEEDS_EVERY, lambda: self._hint_at_seeds(addresses))

    def saw(self, kind: type[e.Event], of: SimNode) -> list[e.Event]:
        """The events of that kind about that node."""
        return [x for x in self.events if type(x) is kind and x.peer.id == of.id]

    def time_of(self, kind: type[e.Event], of: SimNode) -> float:
        """When the first of them came. Raises LookupError."""
        for event, at in zip(self.events, self.at, strict=True):
            if type(event) is kind and event.peer.id == of.id:
                return at
        raise LookupError(f"{self.name} saw no {kind.__name__} of {of.name}")

    def peers(self) -> dict[str, str]:
        """Id to state, of all it lists."""
        return {peer.id: peer.state for peer in self.engine.peers()}

    def knows(self, *others: SimNode) -> bool:
        """Whether all of them are alive here."""
        states = self.peers()
        return all(states.get(other.id) == "alive" for other in others)

    # Verbs.

    def publish(self, subject: str, data: Any = None) -> int:
        return self.engine.publish(subject, data, None)

    def hear(self, pattern: str, **options: Any) -> list[Message]:
        """Subscribe with an inline handler; returns the list that its messages go to."""
        heard: list[Message] = []
        self.subscribe(pattern, heard.append, inline=True, **options)
        return heard

    def join(self, group: str) -> list[Message]:
        """The same for what is broadcast to a group."""
        return self.hear(group_subject(group))

    def subscribe(
        self,
        pattern: str,
        handler: Callable[[Message], Any] | None = None,
        *,
        inline: bool = False,
        concurrency: int = 1,
        buffer: int = DEFAULT_BUFFER,
        policy: Policy = "drop_oldest",
        echo: bool = True,
        group: str | None = None,
    ) -> Subscription:
        """With ``group`` it is part of that queue group."""
        subscription = Subscription(
            pattern,
            self.runner,
            handler=handler,
            is_async=handler is not None and is_async_callable(handler),
            inline=inline,
            concurrency=concurrency,
            buffer=buffer,
            policy=policy,
            echo=echo,
            group=group,
        )
        self.engine.subscribe(subscription)
        return subscription

    def member(
        self,
        group: str,
        handler: Callable[[Message], Any] | None = None,
        *,
        inline: bool = False,
        concurrency: int = 1,
    ) -> Subscription:
        """Handle (or read) what is broadcast and groupcast to a group."""
        pattern = group_subject(group)
        return self.subscribe(pattern, handler, inline=inline, concurrency=concurrency)

    def groupcast(
        self,
        group: str,
        data: Any = None,
        *,
        key: Key | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = 5.0,
    ) -> SimWaiter:
        """To one member of a group; the outcome is its peer, or what is raised at once."""
        waiter = self.waiter()
        try:
            peer = self.engine.cast(group, data) if key is None and headers is None else None
            if peer is not None:
                waiter.set_result(peer)
            else:
                self.engine.groupcast(group, data, key, headers, timeout, waiter)
        except Exception as error:  # noqa: BLE001  the outcome, whatever it is
            waiter.set_exception(error)
        return waiter

    def abandon(self, waiter: SimWaiter) -> None:
        """The caller of that groupcast was cancelled."""
        waiter.is_cancelled = True
        self.engine.abandon(waiter)

    def ping(self, peer: SimNode, timeout: float = 5.0) -> SimWaiter:
        """Ask a node for a sign of life; the outcome is the seconds it took."""
        waiter = self.waiter()
        try:
            session = self.engine.session_of(peer.id)
            self.engine.pings.ping(session, timeout, waiter)
        except Exception as error:  # noqa: BLE001  the outcome, whatever it is
            waiter.set_exception(error)
        return waiter

    def flush(self, timeout: float = 5.0) -> SimWaiter:
        waiter = self.waiter()
        self.engine.flush(timeout, waiter)
        return waiter

    def confirm(self, timeout: float = 5.0) -> SimWaiter:
        waiter = self.waiter()
        self.engine.confirm(timeout, waiter)
        return waiter

    def serve(
        self,
        method: str,
        function: Callable[..., Any],
        *,
        service: str | None = None,
        concurrency: int = 64,
    ) -> None:
        """Serve a function as ``<node name>.<method>``; plain ones run inline."""
        self.engine.serve(
            service or self.name, Method(method, function, concurrency=concurrency, inline=True)
        )

    def call(
        self,
        method: str,
        *args: Any,
        timeout: float = 5.0,
        key: Key | None = None,
        retry: bool = False,
        peer: SimNode | Peer | None = None,
        wait: float | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> SimWaiter:
        """Start a call. What it raises at once is the outcome too."""
        waiter = self.waiter()
        target = None
        if peer is not None:
            target = lambda: self.engine.session_of(peer.id)  # noqa: E731
        options = CallOptions(timeout, retry, target, wait, key=key)
        try:
            self.engine.call(method, args, dict(kwargs or {}), options, waiter)
        except Exception as error:  # noqa: BLE001  the outcome, whatever it is
            waiter.set_exception(error)
        return waiter

    def drain(self, timeout: float = 30.0) -> SimWaiter:
        waiter = self.waiter()
        self.engine.drain(timeout, waiter)
        return waiter

    def waiter(self) -> SimWaiter:
        return SimWaiter(lambda: self.simulation.now)

    def leave(self) -> None:
        """Say goodbye, and close when that was heard."""
        waiter = self.waiter()
        self.engine.leave("closed", waiter)

        def close_when_done() -> None:
            if waiter.done():
                self.engine.close()
            else:
                self.process.clock.call_later(0.001, close_when_done)

        close_when_done()


class Simulation(World):
    """A ``World`` of engines. ``seed`` decides everything that is random."""

    def __init__(self, seed: int = 0, *, latency: float = LATENCY, jitter: float = JITTER) -> None:
        super().__init__(seed, latency=latency, jitter=jitter)
        self.nodes: list[SimNode] = []
        self._hosts = 0

    # Nodes.

    def node(
        self,
        name: str = "node",
        *,
        host: str | None = None,
        aliases: Sequence[str] = (),
        mesh: str = "mesh",
        exchange: bool = True,
        observer: bool = False,
        weight: float = 1.0,
        instance: str = "",
        seeds: Iterable[SimNode] = (),
        open: bool = True,
    ) -> SimNode:
        """A new node, opened unless told otherwise. ``host`` is its own unless given.

        ``aliases`` are other addresses of the same host, where it listens too.
        """
        if host is None:
            self._hosts += 1
            host = f"10.0.{self._hosts // 256}.{self._hosts % 256}"
        config = EngineConfig(
            id=self.random.randbytes(16),
            name=name,
            mesh=mesh,
            exchange=exchange,
            is_observer=observer,
            weight=weight,
            instance=instance,
        )
        node = SimNode(self, host, config, aliases)
        self.nodes.append(node)
        return node.open([seed.address for seed in seeds]) if open else node

    def meshed(self, count: int, name: str = "n", *, within: float = 5.0) -> list[SimNode]:
        """``count`` nodes that all know each other, found by the first as seed."""
        first = self.node(f"{name}0")
        nodes = [first, *(self.node(f"{name}{i}", seeds=[first]) for i in range(1, count))]
        self.until(lambda: all_know_all(nodes), within)
        return nodes

    def restart(self, node: SimNode, *, open: bool = True) -> SimNode:
        """Another process with the same name at the same address; the old one has ended."""
        return self.node(node.name, host=node.host, mesh=node.config.mesh, open=open)

    def outcome(self, waiter: SimWaiter, within: float = 30.0) -> Any:
        """Run until it is there; returns it or raises it."""
        self.until(waiter.done, within)
        return waiter.result()


def all_know_all(nodes: Sequence[SimNode]) -> bool:
    return all(node.knows(*(other for other in nodes if other is not node)) for node in nodes)
