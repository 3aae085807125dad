"""``AsyncNode``: a node of the mesh for programs on asyncio.

It belongs to the thread of the loop that started it, but for ``publish``, ``broadcast`` and
``send``, which any thread may use. Constructing one touches nothing; ``start`` binds and
announces. The engine does the work; this is its face, its resources and their end.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import resource
import signal
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import discovery as d
from discovery.address import parse_address
from mesh.engine import Engine, EngineConfig
from mesh.membership import Peer
from mesh.registrations import Registrations
from mesh.runtime import Handover, LoopClock, LoopRunner
from mesh.runtime.threads import ThreadWaiter, call_in_thread
from mesh.security import CurveKeys
from mesh.services import AsyncService, make_options
from mesh.settings import SOURCES, Settings
from mesh.streams import AsyncSubscription, AsyncWatch
from mesh.transport import ZmqTransport
from mesh.wire import frames
from mesh.wire.codec import Codec
from patterns.errors import NodeClosed
from patterns.names import check_pattern, group_subject
from patterns.port import Runner, Waiter
from patterns.rpc import CallOptions
from patterns.subscription import DEFAULT_BUFFER, Subscription

__all__ = ["DEFAULT_OPTIONS", "AsyncNode"]

logger = logging.getLogger("mesh")

DEFAULT_OPTIONS = CallOptions()


class AsyncNode(Registrations):
    """A node. All arguments are optional and named but the first.

    ``name``       service name; nodes of one name are replicas of one service. None: ``anon-...``
    ``mesh``       only nodes of the same mesh name meet (``MESH_NAME``; default "mesh")
    ``key``        passphrase or generated key (``MESH_KEY``): encrypts and authenticates all
    ``insecure``   go on the network without a key (``MESH_INSECURE``); warns once
    ``host``       address to bind; without a key 127.0.0.1, else every interface (``MESH_HOST``)
    ``port``       TCP port of the link socket; 0 takes any free one
    ``seeds``      "host:port" of nodes to dial, needed where multicast does not reach
    ``discovery``  sources to use, of "mdns", "local" (same host), "exchange" (peers tell peers)
    ``tags``       ``dict[str, str]`` shown to others
    ``observer``   sees and calls, but serves nothing and is not listed

    Raises BadName and ConfigError for what cannot work.
    """

    _inline_by_default = True

    def __init__(
        self,
        name: str | None = None,
        *,
        mesh: str | None = None,
        key: str | None = None,
        insecure: bool | None = None,
        host: str | None = None,
        port: int = 0,
        seeds: Iterable[str] = (),
        discovery: Iterable[str] = SOURCES,
        tags: Mapping[str, str] | None = None,
        observer: bool = False,
    ) -> None:
        self._settings = s = Settings.make(
            name,
            mesh=mesh,
            key=key,
            insecure=insecure,
            host=host,
            port=port,
            seeds=seeds,
            discovery=discovery,
            tags=tags,
            observer=observer,
        )
        super().__init__(s.name, s.is_observer)
        self._to_attach: list[Callable[[Engine, Runner], None]] = []
        self._engine: Engine | None = None
        self._loop: asyncio.AbstractEventLoop
        self._thread_id = 0
        self._handover: Handover
        self._runner: LoopRunner
        self._transport: ZmqTransport
        self._discovery: d.Discovery | None = None
        self._local_codecs = threading.local()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Future[None] | None = None
        self._is_closed = False
        self._fingerprint = ""

    # Who it is.

    @property
    def id(self) -> str:
        """32 hex digits, fresh for each node object."""
        return self._settings.id.hex()

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def mesh(self) -> str:
        """The mesh's name."""
        return self._settings.mesh

    @property
    def me(self) -> Peer:
        """This node as others see it."""
        return self._running().me

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "running" if self._engine else "not started"
        return f"<{type(self).__name__} {self.name}/{self.id[:8]} in {self.mesh!r}, {state}>"

    # Life.

    async def start(self) -> Self:
        """Bind and announce; does not wait for peers. A second start does nothing.

        Raises NodeClosed after close, ConfigError for a bad key, OSError when the address or the
        port is not to be had.
        """
        if self._is_closed or self._closing is not None:
            raise NodeClosed("this node was closed; make a new one")
        if self._engine is not None:
            return self
        s = self._settings
        self._loop = loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        keys = None
        if s.key is not None:
            # The stretching of a passphrase takes 0.1 s, during which the loop must go on.
            keys = await call_in_thread(loop, functools.partial(CurveKeys, s.key, s.mesh))
            self._fingerprint = keys.fingerprint
        elif not s.is_loopback_only:
            _warn_insecure()
        _raise_descriptor_limit()
        self._handover = Handover(loop)
        self._runner = LoopRunner(loop)
        self._transport = ZmqTransport(loop, host=s.host, port=s.port, keys=keys)
        engine = self._new_engine()
        for attach in self._to_attach:
            attach(engine, self._runner)
        addresses, _ = engine.open()
        self._engine = engine
        try:
            await self._start_discovery(addresses)
        except BaseException:
            await self.close()
            raise
        return self

    def _new_engine(self) -> Engine:
        s = self._settings
        config = EngineConfig(
            id=s.id,
            name=s.name,
            mesh=s.mesh,
            tags=s.tags,
            is_observer=s.is_observer,
            exchange="exchange" in s.discovery,
        )
        return Engine(
            config,
            clock=LoopClock(self._loop),
            transport=self._transport,
            runner=self._runner,
            random=random.Random(s.id),
            wall_clock=lambda: datetime.now(UTC),
        )

    async def _start_discovery(self, addresses: tuple[str, ...]) -> None:
        s = self._settings
        hosts = tuple(parse_address(address)[0] for address in addresses)
        announcement = d.Announcement(
            id=self.id,
            mesh=s.mesh,
            protocol=frames.PROTOCOL_VERSION,
            hosts=hosts,
            port=parse_address(addresses[0])[1],
            fingerprint=self._fingerprint,
        )
        sources: list[d.Source] = []
        if s.seeds:
            sources.append(d.Seeds(s.seeds))
        if "local" in s.discovery:
            sources.append(d.Local())
        if "mdns" in s.discovery:
            sources.append(d.Mdns(loopback_only=s.is_loopback_only))
        self._discovery = d.Discovery(sources, self._on_candidate)
        await self._discovery.start(announcement)

    def _on_candidate(self, candidate: d.Candidate) -> None:
        """A hint of discovery; one of another mesh or key is not worth a dial."""
        engine = self._engine
        if engine is None or self._closing is not None:
            return
        if candidate.mesh not in (None, self._settings.mesh):
            return
        if candidate.fingerprint not in (None, self._fingerprint):
            return
        id = bytes.fromhex(candidate.id) if candidate.id is not None else None
        engine.hint(id, candidate.addresses)

    async def close(self) -> None:
        """Say goodbye and give everything back, within a second. Never raises; idempotent.

        Calls and waits still open end with NodeClosed. What was lost is logged in one line.
        """
        if self._engine is None:
            self._is_closed = True
            return
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close(self._engine))
        await asyncio.shield(self._closing)

    async def _close(self, engine: Engine) -> None:
        found = self._discovery
        closing_discovery = asyncio.ensure_future(found.close()) if found is not None else None
        left = self._loop.create_future()
        engine.leave("closed", left)
        await left
        self._is_closed = True
        lost = engine.close()
        self._handover.close()
        still_running = await self._runner.close()
        await self._transport.wait_closed()
        if closing_discovery is not None:
            await asyncio.gather(closing_discovery, return_exceptions=True)
        if still_running:
            lost = f"{lost}, " if lost else ""
            lost += f"{still_running} handlers that are still running in threads"
        if lost:
            logger.warning("%r lost at close: %s", self, lost)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leaving normally is ``flush(1)`` and ``close()``; with an exception ``close()`` alone."""
        if error is None and not self._is_closed:
            try:
                await self.flush(1)
            except TimeoutError as left:
                logger.warning("%r: %s", self, left)
        await self.close()

    async def run(self) -> None:
        """Serve until SIGINT or SIGTERM: start, wait, flush, close."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        handled = []
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, stop.set)
            except (NotImplementedError, RuntimeError, ValueError):
                continue  # not the main thread: whoever owns it ends us by cancelling
            handled.append(number)
        try:
            async with self:
                await stop.wait()
        finally:
            for number in handled:
                loop.remove_signal_handler(number)

    # Publish, broadcast, send: from any thread.

    def publish(
        self, subject: str, data: Any = None, *, headers: dict[str, str] | None = None
    ) -> int:
        """To every node with a matching subscription; returns to how many it was queued.

        No round trip and no wait for receivers. Raises BadName, BadPayload, PayloadTooLarge.
        """
        engine = self._engine
        if engine is None or self._is_closed:
            raise self._not_running()
        if threading.get_ident() == self._thread_id:
            return engine.publish(subject, data, headers)
        targets = engine.pubsub.known_route(subject)
        if targets is None:
            targets = self.on_loop(engine.pubsub.route, subject)
        entry = engine.pack_message(subject, data, headers, self._thread_codec())
        if targets:
            self._handover.put(engine.send, (frames.PUBLISH, targets, entry), len(entry))
        return len(targets)

    def broadcast(
        self, group: str, data: Any = None, *, headers: dict[str, str] | None = None
    ) -> int:
        """To every member of a group; returns how many. "*" is the group of all who joined it.

        Raises BadName, BadPayload, PayloadTooLarge.
        """
        engine = self._running()
        if threading.get_ident() == self._thread_id:
            return engine.broadcast(group, data, headers)
        return int(self.on_loop(engine.broadcast, group, data, headers))

    def send(
        self,
        peer: Peer | str,
        subject: str,
        data: Any = None,
        *,
        headers: dict[str, str] | None = None,
    ) -> bool:
        """To one peer's subscribers of the subject; returns whether it has any.

        ``peer`` is a Peer or an id. Raises PeerLost when it is gone, BadName, BadPayload.
        """
        engine = self._running()
        if threading.get_ident() == self._thread_id:
            return engine.send_to(peer, subject, data, headers)
        return bool(self.on_loop(engine.send_to, peer, subject, data, headers))

    # Calls.

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Call "service.method" with these arguments; options go by ``service(...)``.

        Raises NoProvider, BadRequest, RemoteError, CallTimeout, PeerLost, Overloaded, BadPayload.
        """
        return self._call(method, args, kwargs, DEFAULT_OPTIONS)

    async def _call(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        engine = self._engine
        if engine is None or self._is_closed:
            raise self._not_running()
        future = self._loop.create_future()
        call_id = engine.call(method, args, kwargs, options, future)
        try:
            return await future
        except asyncio.CancelledError:
            engine.cancel(call_id)
            raise

    def service(
        self,
        name: str,
        *,
        timeout: float = 5.0,
        retry: bool = False,
        peer: Peer | str | None = None,
        wait: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> AsyncService:
        """A service to call methods of: ``await node.service("calc", timeout=0.5).add(2, 3)``.

        ``timeout``  seconds until CallTimeout, waiting for a provider included
        ``retry``    the methods are idempotent: try another member when one is in doubt
        ``peer``     this one and no other
        ``wait``     seconds to wait for a first provider; None: what is left of the start's grace
        ``headers``  ``dict[str, str]`` for handlers that take a ``Request``
        """
        return AsyncService(
            self._call, name, self.call_options(timeout, retry, peer, wait, headers)
        )

    def call_options(
        self,
        timeout: float,
        retry: bool,
        peer: Peer | str | None,
        wait: float | None,
        headers: dict[str, str] | None,
    ) -> CallOptions:
        target = None
        if peer is not None:
            target = functools.partial(self._session_of, peer)
        return make_options(timeout, retry, target, wait, headers)

    def _session_of(self, peer: Peer | str) -> Any:
        return self._running().session_of(peer)

    # Subscriptions.

    def subscribe(
        self,
        pattern: str,
        *,
        buffer: int = DEFAULT_BUFFER,
        echo: bool = True,
        timeout: float = 5.0,
    ) -> AsyncSubscription:
        """Listen to ``pattern``: ``async with node.subscribe("a.*") as sub: async for msg in sub``.

        Awaited or entered, it returns when every alive peer has confirmed, or after ``timeout``
        seconds with the rest in ``sub.unconfirmed``; nothing that the confirmed publish from then
        on is missed. ``buffer`` messages are kept for a reader that stalled. Raises BadName.
        """
        return self._subscription(check_pattern(pattern), buffer, echo, timeout)

    def join(
        self,
        group: str,
        *,
        buffer: int = DEFAULT_BUFFER,
        echo: bool = True,
        timeout: float = 5.0,
    ) -> AsyncSubscription:
        """Join a group and iterate what is sent to it; otherwise as ``subscribe``."""
        return self._subscription(group_subject(group), buffer, echo, timeout)

    def _subscription(
        self, pattern: str, buffer: int, echo: bool, timeout: float
    ) -> AsyncSubscription:
        engine = self._running()
        core = Subscription(pattern, self._runner, buffer=buffer, echo=echo)
        return AsyncSubscription(engine, core, self._loop, timeout)

    # Membership.

    def peers(self, *, all: bool = False) -> list[Peer]:
        """The other nodes, alive or in doubt; ``all`` adds observers, the failed and the left."""
        return self._running().peers(all=all)

    def watch(self) -> AsyncWatch:
        """Changes of the mesh: ``async for event in node.watch()``; the known peers first."""
        return AsyncWatch(self._running(), self._loop)

    async def wait_for(
        self,
        name: str | None = None,
        *,
        group: str | None = None,
        count: int = 1,
        timeout: float = 5.0,
    ) -> list[Peer]:
        """Until ``count`` alive nodes, this one included, provide the service or are in the group.

        Without a name: until every peer heard of so far is linked or refused (at most 1 s).
        Raises Timeout, which says who is there.
        """
        future = self._loop_future()
        self._running().wait_for(name, group, count, timeout, future)
        peers: list[Peer] = await future
        return peers

    async def flush(self, timeout: float = 5.0) -> None:
        """Until no message waits here for a peer that takes any. Raises Timeout: what remains."""
        future = self._loop_future()
        self._handover.drain()
        self._running().flush(timeout, future)
        await future

    def counters(self) -> dict[str, int]:
        """What was lost, refused or malformed so far, by name; a name appears when it happens."""
        return self._running().counters

    def sources(self) -> dict[str, d.SourceState]:
        """How each discovery source is doing."""
        return self._discovery.states() if self._discovery is not None else {}

    # For ``Node``, which drives this from other threads.

    def hand_over(self, function: Callable[..., None], args: tuple[Any, ...]) -> None:
        """Run a function that does not raise on the loop's thread soon. Raises NodeClosed."""
        self._running()
        self._handover.put(function, args)

    def on_loop(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a plain function on the loop's thread and wait for its result, from another."""
        waiter = ThreadWaiter()
        self.hand_over(_complete, (waiter, function, args))
        return waiter.wait()

    def spawn(self, make: Callable[[], Coroutine[Any, Any, Any]], waiter: ThreadWaiter) -> None:
        """Run a coroutine as a task; its outcome goes to ``waiter``."""

        def ended(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                waiter.set_exception(NodeClosed("the node was closed during the wait"))
            elif (error := task.exception()) is not None:
                waiter.set_exception(error)
            else:
                waiter.set_result(task.result())

        task = self._loop.create_task(make())
        self._tasks.add(task)
        task.add_done_callback(ended)

    def begin_call(
        self,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: CallOptions,
        waiter: Waiter,
    ) -> int:
        """Start a call on the loop's thread; returns its id for ``cancel_call``."""
        return self._running().call(method, args, kwargs, options, waiter)

    def cancel_call(self, call_id: int) -> None:
        self._running().cancel(call_id)

    # Inside.

    def _running(self) -> Engine:
        engine = self._engine
        if engine is None or self._is_closed:
            raise self._not_running()
        return engine

    def _not_running(self) -> NodeClosed:
        what = "is closed" if self._is_closed else "is not started: call start(), or use 'with'"
        return NodeClosed(f"the node {self.name} {what}")

    def _loop_future(self) -> asyncio.Future[Any]:
        self._running()
        return self._loop.create_future()

    def _thread_codec(self) -> Codec:
        """A codec belongs to one thread; each publishing thread gets its own."""
        try:
            return self._local_codecs.codec  # type: ignore[no-any-return]
        except AttributeError:
            codec = self._local_codecs.codec = Codec()
            return codec

    def _now_or_at_start(self, attach: Callable[[Engine, Runner], None]) -> None:
        engine = self._engine
        if engine is None:
            self._to_attach.append(attach)
        elif threading.get_ident() == self._thread_id:
            attach(engine, self._runner)
        else:
            self.on_loop(attach, engine, self._runner)


def _complete(waiter: ThreadWaiter, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        waiter.set_result(function(*args))
    except Exception as error:  # noqa: BLE001  raised in the thread that waits
        waiter.set_exception(error)


@functools.cache
def _warn_insecure() -> None:
    logger.warning(
        "no mesh key: anybody on this network can join, read and call; give key='some words'"
    )


def _raise_descriptor_limit() -> None:
    """A node needs 3 to 8 descriptors a peer; the soft limit of 1024 ends that at 300 peers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:
        logger.info("the descriptor limit stays at %d: %s", soft, error)
