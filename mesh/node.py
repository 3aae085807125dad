"""``Node``: a node of the mesh for programs without an event loop.

It runs an ``AsyncNode`` (``node.aio``) on a loop in a thread of its own. Every method may be
called from any thread but that one: there a blocking verb raises RuntimeError instead of waiting
for itself for ever. Plain handlers run in a bounded pool, coroutines on the node's loop.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from discovery import Source
from mesh import waiting
from mesh.aio import DEFAULT_OPTIONS, AsyncNode
from mesh.engine.publisher import Publishing
from mesh.finding import SourceReport
from mesh.host import Attach, Host
from mesh.key_settings import IdentityInput
from mesh.logs import get_logger
from mesh.measuring import BlockingMeasuring
from mesh.membership import Peer
from mesh.queuing import BlockingQueuing
from mesh.registrations import Registrations
from mesh.runtime import LoopThread, ThreadWaiter, forget_in_child
from mesh.services import Service
from mesh.serving import DRAIN_TIMEOUT, serve_blocking
from mesh.settings import SOURCES, PolicyInput
from mesh.streaming import BlockingStreaming
from mesh.streams import AsyncSubscription, BlockingSubscription, BlockingWatch
from mesh.surveying import BlockingSurveying
from mesh.tracing import TracingInput
from mesh.transport import PlainEndpoints
from patterns.backlog import DEFAULT_BUFFER, Policy
from patterns.errors import NodeClosed
from patterns.keys import Key
from patterns.names import group_subject
from patterns.rpc import CallOptions

__all__ = ["Node"]

logger = get_logger("mesh.node")

T = TypeVar("T")

_open_nodes: weakref.WeakSet[Node] = weakref.WeakSet()


class Node(BlockingSurveying, BlockingStreaming, BlockingMeasuring, Registrations, BlockingQueuing):
    """A node. The arguments are those of ``AsyncNode``; so are the verbs and what they promise."""

    _inline_by_default = False

    def __init__(
        self,
        name: str | None = None,
        *,
        mesh: str | None = None,
        key: str | None = None,
        key_file: str | os.PathLike[str] | None = None,
        insecure: bool | None = None,
        host: str | None = None,
        port: int = 0,
        seeds: Iterable[str] = (),
        discovery: Iterable[str | Source] = SOURCES,
        interfaces: Iterable[str] = (),
        tags: Mapping[str, str] | None = None,
        instance: str | None = None,
        weight: float = 1.0,
        observer: bool = False,
        plain: bool | tuple[int, int] | None = None,
        max_payload_bytes: int | None = None,
        identity: IdentityInput = None,
        policy: PolicyInput = None,
        allow: Iterable[str] | None = None,
        metrics_port: int | str | None = None,
        tracing: TracingInput = None,
    ) -> None:
        self.aio = AsyncNode(
            name,
            mesh=mesh,
            key=key,
            key_file=key_file,
            insecure=insecure,
            host=host,
            port=port,
            seeds=seeds,
            discovery=discovery,
            interfaces=interfaces,
            tags=tags,
            instance=instance,
            weight=weight,
            observer=observer,
            plain=plain,
            max_payload_bytes=max_payload_bytes,
            identity=identity,
            policy=policy,
            allow=allow,
            metrics_port=metrics_port,
            tracing=tracing,
        )
        super().__init__(self.aio.name, observer)
        self._running: LoopThread | None = None
        self._life = threading.RLock()
        """Guards ``_running``. Re-entrant, and never held while anything is waited for: a signal
        handler may call ``close`` in the middle of ``start``."""
        forget_in_child(self)

    @property
    def id(self) -> str:
        """32 hex digits, fresh for each node object."""
        return self.aio.id

    @property
    def name(self) -> str:
        return self.aio.name

    @property
    def mesh(self) -> str:
        """The mesh's name."""
        return self.aio.mesh

    @property
    def me(self) -> Peer:
        """This node as others see it."""
        return self.aio.me

    @property
    def plain(self) -> PlainEndpoints | None:
        """Where plain ZeroMQ clients connect; None without ``plain=``. NodeClosed before start."""
        return self.aio.plain

    def __repr__(self) -> str:
        return repr(self.aio).replace("AsyncNode", "Node", 1)

    # Life.

    def start(self) -> Self:
        """Bind and announce; does not wait for peers. A second start does nothing."""
        running = self._running
        if running is not None and running.is_current:
            return self
        self._check_thread("start")
        try:
            running = self._begin()
            running.started.wait()
        except NodeClosed:
            raise
        except BaseException:  # Ctrl-C: nothing stays behind
            self.close()
            raise
        if running.error is not None or self.aio.is_closed:
            running.ended.wait()
            with self._life:
                if self._running is running:
                    self._running = None
            raise running.error or NodeClosed("this node was closed while it started")
        return self

    def _begin(self) -> LoopThread:
        with self._life:
            if self.aio.is_closed:
                raise self.aio.not_running()
            if self._running is not None:
                return self._running
            running = LoopThread(f"mesh-{self.name}", self._live)
            try:
                running.thread.start()
            finally:
                # Not before: a signal handler that closes waits for the thread that is here.
                if running.thread.ident is not None:
                    self._running = running
                    _open_nodes.add(self)
        return running

    async def _live(self, running: LoopThread) -> None:
        await self.aio.start()
        running.started.open()
        await self.aio.stopping.wait()
        await self.aio.close()

    def close(self) -> None:
        """Say goodbye and give everything back, within a second. Never raises; idempotent."""
        self._check_thread("close")
        with self._life:
            self.aio.refuse()
            running = self._running
        if running is None:
            return
        running.call_soon(self.aio.stopping.set)
        running.ended.wait()
        _open_nodes.discard(self)

    def forget(self) -> None:
        """In a forked child: the thread is not here, or is the child, and the lock is not ours."""
        self._life = threading.RLock()
        if self._running is not None:
            self._running.forget()
            self._running = None
        _open_nodes.discard(self)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leaving normally is ``flush(1)`` and ``close()``; with an exception ``close()`` alone."""
        if error is None and not self.aio.is_closed:
            try:
                self.flush(1)
            except (TimeoutError, NodeClosed) as left:
                logger.warning("%r: %s", self, left)
        self.close()

    def run(self, *, drain: float = DRAIN_TIMEOUT) -> None:
        """Serve until Ctrl-C, SIGTERM or ``close``: start, wait, drain, close.

        ``drain`` is the time in seconds for what runs when a signal comes; 0: none. A second
        signal closes at once.
        """
        self._check_thread("run")
        serve_blocking(self, drain)

    # Verbs that do not wait.

    def publish(
        self, subject: str, data: Any = None, *, headers: dict[str, str] | None = None
    ) -> int:
        """To every node with a matching subscription; returns to how many it was queued.

        Waits a bounded time, but on the node's own loop, while more than enough is queued for one
        of them that is alive and has a subscription with ``policy="block"``.
        """
        host = self.aio.started
        if host is None or host.is_closed:
            host = self.aio.host
        try:
            publisher: Publishing = host.publishers.here.publisher
        except AttributeError:
            publisher = host.publishers.add()
        count = publisher.publish(subject, data, headers)
        if host.blocking:
            host.hold_back(subject)
        return count

    def broadcast(
        self, group: str, data: Any = None, *, headers: dict[str, str] | None = None
    ) -> int:
        """To every member of a group; returns how many. Waits as ``publish`` does."""
        count = self.aio.broadcast(group, data, headers=headers)
        self.aio.host.hold_back(group_subject(group))
        return count

    def send(
        self,
        peer: Peer | str,
        subject: str,
        data: Any = None,
        *,
        headers: dict[str, str] | None = None,
    ) -> bool:
        """To one peer's subscribers of the subject; returns whether it has any.

        Waits as ``publish`` does.
        """
        is_subscribed = self.aio.send(peer, subject, data, headers=headers)
        if is_subscribed:
            self.aio.host.hold_back(subject, peer)
        return is_subscribed

    def service(
        self,
        name: str,
        *,
        timeout: float = 5.0,
        key: Key | None = None,
        retry: bool = False,
        peer: Peer | str | None = None,
        wait: float | None = None,
        headers: dict[str, str] | None = None,
        hedge: float | str | None = None,
    ) -> Service:
        """A service to call methods of: ``node.service("calc", timeout=0.5).add(2, 3)``."""
        options = self.aio.call_options(timeout, retry, peer, wait, headers, key, hedge)
        return Service(self._call, self._iterate, name, options)

    def peers(self, *, all: bool = False) -> list[Peer]:
        """The other nodes, alive or in doubt; ``all`` adds observers, the failed and the left."""
        return self._on_loop(lambda: self.aio.peers(all=all))

    def owner(
        self, name: str | None = None, key: Key | None = None, *, group: str | None = None
    ) -> Peer:
        """Who owns a key of the service ``name``, or of ``group``; it may be this node."""
        return self._on_loop(lambda: self.aio.owner(name, key, group=group))

    def owners(
        self,
        name: str | None = None,
        key: Key | None = None,
        n: int | None = None,
        *,
        group: str | None = None,
    ) -> list[Peer]:
        """The owner of a key and who would be next, best first: ``n`` of them, or all."""
        return self._on_loop(lambda: self.aio.owners(name, key, n, group=group))

    def fence(self, service: str, key: Key) -> int | None:
        """The fencing token with which this node may work on a key now; None if it may not."""
        return self._on_loop(lambda: self.aio.fence(service, key))

    def counters(self) -> dict[str, int]:
        """What was lost, refused or malformed so far, by name; a name appears when it happens."""
        return self._on_loop(self.aio.counters)

    def discovery(self) -> dict[str, SourceReport]:
        """How each discovery source is doing, what it has found, and what became of that."""
        return self._on_loop(self.aio.discovery)

    def watch(self) -> BlockingWatch:
        """Changes of the mesh: ``for event in node.watch()``; the known peers first."""
        return BlockingWatch(self._on_loop(self.aio.watch), self._on_loop, self._check_thread)

    # Verbs that wait.

    def groupcast(
        self,
        group: str,
        data: Any = None,
        *,
        key: Key | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = 5.0,
    ) -> Peer:
        """To exactly one member of a group; returns which, once the message is in its credit."""
        self._check_thread("groupcast")
        peer: Peer = waiting.groupcast(self.aio.host, group, data, key, headers, timeout)
        return peer

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call "service.method" with these arguments; options go by ``service(...)``."""
        return self._call(method, args, kwargs, DEFAULT_OPTIONS)

    def _call(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        self._check_thread("call")
        return waiting.call(self.aio.host, method, args, kwargs, options)

    def subscribe(
        self,
        pattern: str,
        *,
        group: str | None = None,
        buffer: int = DEFAULT_BUFFER,
        policy: Policy = "drop_oldest",
        echo: bool = True,
        timeout: float = 5.0,
    ) -> BlockingSubscription:
        """Listen to ``pattern``; returns when every alive peer has confirmed."""
        self._check_thread("subscribe")
        source = self._on_loop(
            lambda: self.aio.subscribe(
                pattern, group=group, buffer=buffer, policy=policy, echo=echo, timeout=timeout
            )
        )
        return self._begun(source)

    def join(
        self,
        group: str,
        *,
        buffer: int = DEFAULT_BUFFER,
        policy: Policy = "drop_oldest",
        echo: bool = True,
        timeout: float = 5.0,
    ) -> BlockingSubscription:
        """Join a group and iterate what is broadcast and groupcast to it."""
        self._check_thread("join")
        source = self._on_loop(
            lambda: self.aio.join(group, buffer=buffer, policy=policy, echo=echo, timeout=timeout)
        )
        return self._begun(source)

    def wait_for(
        self,
        name: str | None = None,
        *,
        group: str | None = None,
        count: int = 1,
        timeout: float = 5.0,
    ) -> list[Peer]:
        """Until ``count`` alive nodes, this one included, provide the service or are in the group.

        Without a name: until every peer heard of so far is linked or refused (at most 1 s).
        """
        self._check_thread("wait_for")
        return self._wait(
            lambda: self.aio.wait_for(name, group=group, count=count, timeout=timeout)
        )

    def ping(self, peer: Peer | str, *, timeout: float = 5.0) -> float:
        """Seconds for a small message to a peer (which may be this node) and back."""
        self._check_thread("ping")
        return self._wait(lambda: self.aio.ping(peer, timeout=timeout))

    def flush(self, timeout: float = 5.0) -> None:
        """Until no message waits here for a peer that takes any, and every groupcast is handled.

        A peer whose subscription blocks is waited for, however slow it is. Raises Timeout.
        """
        self._check_thread("flush")
        self._wait(lambda: self.aio.flush(timeout))

    def drain(self, timeout: float = DRAIN_TIMEOUT) -> None:
        """Leave well: take no new work, end what runs, hand on the rest; then ``close()``."""
        self._check_thread("drain")
        self._wait(lambda: self.aio.drain(timeout))

    # Inside.

    def _begun(self, source: AsyncSubscription) -> BlockingSubscription:
        subscription = BlockingSubscription(source, self._on_loop, self._check_thread)
        try:
            self._wait(source.begin)
        except BaseException:  # Ctrl-C: nobody will read it
            subscription.close()
            raise
        return subscription

    def _check_thread(self, verb: str) -> None:
        if self.aio.is_simulated:
            raise RuntimeError(
                f"Node.{verb}() blocks, and a simulated node must not: use 'node.aio.{verb}(...)'"
            )
        if self._running is not None and self._running.is_current:
            raise RuntimeError(
                f"Node.{verb}() would block the node's own loop; in a coroutine handler use "
                f"'await node.aio.{verb}(...)', in a plain one inline=False"
            )

    def _on_loop(self, function: Callable[..., T], *args: Any) -> T:
        result: T = self.aio.host.on_loop(function, *args)
        return result

    def _wait(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the loop and wait for its outcome."""
        waiter = ThreadWaiter()
        host = self.aio.host
        host.hand_over(host.spawn, make, waiter)
        result: T = waiter.wait()
        return result

    def _now_or_at_start(self, attach: Attach) -> None:
        self.aio._now_or_at_start(attach)

    def _running_host(self) -> Host:
        return self.aio.host


@atexit.register
def _close_at_exit() -> None:
    """A program that ends without ``close()`` still says goodbye, and does not hang."""
    for node in list(_open_nodes):
        node.close()
