"""What a running node is made of: made in order by ``start``, given back in reverse by ``close``.

The loop's thread owns the sockets and the engine. Other threads come in by ``hand_over`` and
``on_loop`` only; what they publish is packed in their own thread (``mesh.publishing``).
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from mesh.engine import Engine, EngineConfig, engine_for
from mesh.engine.observing import Observing
from mesh.environment import Environment, HostTransport
from mesh.finding import Finding
from mesh.inspection import Inspector, Vitals
from mesh.key_keeping import KeyKeeper
from mesh.logs import get_logger
from mesh.membership import Peer
from mesh.plain import Gateway
from mesh.publishing import Publishers
from mesh.runtime import Handover, forget_in_child
from mesh.runtime.runner import CLOSE_WAIT
from mesh.runtime.threads import ThreadWaiter
from mesh.security import Credentials, MeshKey
from mesh.settings import Settings, check_has_identity
from mesh.tracing import begins_traces, carried_by, tracer_maker
from mesh.transport import PlainEndpoints, PlainSockets
from patterns.errors import NodeClosed
from patterns.port import Runner

if TYPE_CHECKING:
    from random import Random

    from mesh.metrics.exporter import Questions
    from mesh.metrics.server import MetricsServer
    from mesh.queues.registry import Queues

__all__ = ["Attach", "Host"]

logger = get_logger("mesh.node")

T = TypeVar("T")

Attach = Callable[[Engine, Runner], None]
"""Adds something to an engine: a method, a handler."""


class Host:
    """The resources of one node, on the running loop. ``start`` first."""

    def __init__(self, settings: Settings, environment: Environment) -> None:
        self.settings = settings
        self._environment = environment
        self.loop = asyncio.get_running_loop()
        self.thread_id = threading.get_ident()
        self.handover = Handover(self.loop)
        self.runner = environment.runner()
        self.clock = environment.clock()
        self.is_simulated = environment.is_simulated
        self.random: Random
        self.queues: Queues | None = None
        """Its work queues and workers; None where nobody asked for any."""
        self.engine: Engine
        self.vitals: Vitals
        self.metrics: MetricsServer | None = None
        self.observing: Observing
        """Who looks at what passes: traces and taps."""
        self.publishers: Publishers
        self.blocking: Mapping[Any, None] = {}
        """The nodes that block (``patterns.blocking``): mostly none."""
        self.finding: Finding
        self.credentials: Credentials | None = None
        """None without a mesh key."""
        self._keeper: KeyKeeper | None = None
        self._transport: HostTransport
        self.plain: PlainEndpoints | None = None
        self._gateway: Gateway | None = None
        self._plain_sockets: PlainSockets | None = None
        self._plain_key: MeshKey | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Future[None] | None = None
        self._until_loop_ends = self._stop_with_loop()
        self.end_run: Callable[[], object] | None = None
        """Ends ``run``, called on the loop; None while the node is not in it."""
        self._inspector = Inspector(self, settings)
        self.is_open = False
        """Whether it serves, and has not ceased to unless it ``is_closed``."""
        self.is_closed = False
        forget_in_child(self)

    # Life.

    async def start(self, attachments: Iterable[Attach]) -> None:
        """Bind and announce. After an exception nothing is left behind.

        Raises ConfigError for a bad key and for a policy without an identity, AccessDenied for
        an attachment that the policy denies to this node itself, OSError when the address, the
        port or enough descriptors are not to be had.
        """
        s = self.settings
        environment = self._environment
        check_has_identity(s.policy, environment.identity(s))
        self.random = environment.random(s)
        credentials = self.credentials = await environment.credentials(s)
        environment.prepare(s)
        self.finding = environment.finding(s, credentials)
        hosts = self.finding.look()
        try:
            self._transport = environment.transport(s, hosts, credentials)
            if credentials is not None:
                self._keeper = KeyKeeper(s.keys, credentials, self._on_new_keys)
            self.engine = self._new_engine()
            self.observing = self._new_observing()
            self.publishers = Publishers(self)
            self.publishers.observed = self.observing.publisher
            self.blocking = self.engine.pubsub.blocking.nodes
            self.vitals = Vitals(self, s)
            self._inspector.attach(self.engine)
            for attach in attachments:
                attach(self.engine, self.runner)
            self.observing.open()
            addresses, _ = self.engine.open()
            self.is_open = True
            self.vitals.open()
            environment.hosts(self)
        except BaseException:
            self.finding.stop()
            if self.queues is not None:
                self.queues.stop()
                await self.queues.wait_closed()
            raise
        try:
            if s.plain is not None:
                self._open_plain(s.plain, credentials)
            if s.metrics is not None:
                self._open_metrics(*s.metrics)
            await self.finding.start(self.engine, addresses)
            await anext(self._until_loop_ends)
        except BaseException:
            await self.close()
            raise

    def _open_metrics(self, host: str, port: int) -> None:
        from mesh.metrics.server import MetricsServer

        self.engine.inspection.measure(always=True)
        self.metrics = MetricsServer(self, self.settings)
        self.metrics.open(host, port)

    @functools.cached_property
    def questions(self) -> Questions[dict[str, Any]]:
        """Asks for what metrics need."""
        from mesh.metrics.exporter import metrics_questions

        return metrics_questions(self, self.settings)

    def wall_clock(self) -> datetime:
        """Now, aware, UTC."""
        return self._environment.wall_clock()

    def _new_engine(self) -> Engine:
        s = self.settings
        config = EngineConfig(
            id=s.id,
            name=s.name,
            mesh=s.mesh,
            tags=s.tags,
            is_observer=s.is_observer,
            exchange="exchange" in s.discovery,
            instance=s.instance,
            weight=s.weight,
            max_payload_bytes=s.max_payload_bytes,
            identity=self._environment.identity(s),
            policy=s.policy,
        )
        return engine_for(config)(
            config,
            clock=self.clock,
            transport=self._transport,
            runner=self.runner,
            random=self.random,
            wall_clock=self._environment.wall_clock,
        )

    def _new_observing(self) -> Observing:
        tracing = self.settings.tracing
        observing = Observing(
            self.engine,
            tracer_maker(tracing),
            self._environment.wall_clock,
            begins=begins_traces(tracing),
        )
        observing.changed = self._on_observed
        return observing

    def _on_observed(self) -> None:
        """Somebody looks at what passes from now on, or does so no more."""
        self.publishers.renew()
        tracer = self.observing.tracer if self.observing.is_awake else None
        self.handover.carry = None if tracer is None else carried_by(tracer)

    def _open_plain(self, ports: tuple[int, int], credentials: Credentials | None) -> None:
        key = self._plain_key = credentials.key if credentials is not None else None
        sockets = PlainSockets(
            self.loop,
            host=self.settings.host,
            shown_host=self.finding.hosts()[0],
            ports=ports,
            key=key.plain if key is not None else None,
        )
        self._gateway = Gateway(self.engine, self.runner, sockets)
        self.plain = sockets.open(self._gateway)
        self._plain_sockets = sockets

    def _on_new_keys(self) -> None:
        if not self.is_closed:
            self.finding.announce_anew()
            self.spread_news()
            if self.credentials is not None and len(self.credentials.keys) == 1:
                self._rekey_plain(self.credentials.key)

    def _rekey_plain(self, key: MeshKey) -> None:
        """The old key is good no more: plain clients need the new one, at the same ports."""
        if self._plain_key is not None and self._plain_key is not key:
            self._plain_key = key
            task = self.loop.create_task(self._reopen_plain())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _reopen_plain(self) -> None:
        gateway, sockets, endpoints = self._gateway, self._plain_sockets, self.plain
        if gateway is None or sockets is None or endpoints is None:
            return
        gateway.close()
        sockets.close()
        await sockets.wait_closed()
        if self.is_closed:
            return
        rpc, pubsub = (int(one.rpartition(":")[2]) for one in (endpoints.rpc, endpoints.pubsub))
        try:
            self._open_plain((rpc, pubsub), self.credentials)
        except OSError as error:
            logger.error("%s: plain clients are not served any more: %s", self.title, error)

    def spread_news(self) -> None:
        """Tell the peers what is new of keys and certificates."""
        self._transport.spread_news()

    @property
    def counters(self) -> dict[str, int]:
        """The engine's, those of the gateway for plain clients, and what was not even let in."""
        counters = self.engine.counters | (self._gateway.counters if self._gateway else {})
        more = {
            "connections_refused": self._transport.refused,
            "handler_errors": self.runner.handler_errors + counters.get("handler_errors", 0),
        }
        return counters | {name: count for name, count in more.items() if count}

    def drain(self, timeout: float) -> asyncio.Task[None]:
        """As ``AsyncNode.drain``. When this returns it has begun: the node takes no new work."""
        drained = self.loop.create_future()
        self.handover.drain()
        self.engine.drain(timeout, drained)
        return self.loop.create_task(self._drain_queues(timeout, drained))

    async def _drain_queues(self, timeout: float, drained: asyncio.Future[None]) -> None:
        try:
            if self.queues is not None:
                await self.queues.drain(timeout)
        finally:
            await drained

    async def close(self) -> None:
        """Say goodbye and give everything back, within a second. Idempotent."""
        if asyncio.get_running_loop() is not self.loop:
            await self._close_from_elsewhere()
            return
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close_from_elsewhere(self) -> None:
        if self.loop.is_running():
            closing = asyncio.run_coroutine_threadsafe(self.close(), self.loop)
            await asyncio.wrap_future(closing)
        else:
            self._stop_late()

    async def _stop_with_loop(self) -> AsyncGenerator[None, None]:
        """Waits for ``asyncio.run`` to end without ``close``: a loop's end closes generators."""
        try:
            yield
        finally:
            self._stop_late()

    def _stop_late(self) -> None:
        if not self.is_closed:
            logger.info("%s: its loop ended before close(): no goodbye was said", self.title)
            self._tell(self._stop())

    async def _close(self) -> None:
        closing_discovery = asyncio.ensure_future(self.finding.close())
        try:
            await self._leave_and_stop(closing_discovery)
        finally:
            # What is left when the end of ``asyncio.run`` has cancelled this.
            if not self.is_closed:
                self._tell(self._stop())
            self._transport.abandon()
            if self._plain_sockets is not None:
                self._plain_sockets.abandon()
            await asyncio.wait({closing_discovery})
            if closing_discovery.cancelled():
                await self.finding.close()

    async def _leave_and_stop(self, closing_discovery: asyncio.Future[None]) -> None:
        if self.queues is not None:
            await self.queues.leave()
        left = self.loop.create_future()
        self.engine.leave("closed", left)
        await left
        lost = self._stop()
        await self._until_loop_ends.aclose()
        ends = await asyncio.gather(
            self.runner.close(),
            self._transport.wait_closed(),
            self._plain_closed(),
            self._keys_kept(),
            closing_discovery,
            return_exceptions=True,
        )
        for end in ends:
            if isinstance(end, BaseException):
                logger.error("%s: closing went wrong", self.title, exc_info=end)
        if not isinstance(ends[0], BaseException):
            lost += ends[0]
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_WAIT)
        if self.queues is not None:
            await self.queues.wait_closed()
        self._tell(lost)

    async def _keys_kept(self) -> None:
        if self._keeper is not None:
            await self._keeper.close()

    async def _plain_closed(self) -> None:
        if self._plain_sockets is not None:
            await self._plain_sockets.wait_closed()

    def _tell(self, lost: list[str]) -> None:
        if lost:
            logger.warning("%s lost at close: %s", self.title, ", ".join(lost))

    def _stop(self) -> list[str]:
        """What needs no wait: everything that is asked from now on, or waits, is NodeClosed."""
        self.is_closed = True
        self.vitals.close()
        if self.metrics is not None:
            self.metrics.close()
        self.finding.stop()
        self._inspector.close()
        lost = []
        self.observing.close()
        try:
            lost = [text for text in (self.engine.close(),) if text]
        except Exception:
            logger.exception("%s: closing went wrong", self.title)
        if self.queues is not None:
            lost += self.queues.stop()
        if self._gateway is not None:
            self._gateway.close()
        if self._plain_sockets is not None:
            self._plain_sockets.close()
        self.handover.close()
        self.runner.stop()
        return lost

    def vanish(self) -> None:
        """Its simulated process is gone: whoever waits for it from outside gets NodeClosed."""
        self._stop()

    def forget(self) -> None:
        """In a forked child: nothing here is ours."""
        self.is_closed = True
        self.handover.close()
        self.runner.forget()

    @property
    def title(self) -> str:
        """Who it is, for logs."""
        return self.settings.title

    # From other threads.

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller is on the loop's thread."""
        return threading.get_ident() == self.thread_id

    def hand_over(self, function: Callable[..., object], *args: Any) -> None:
        """Run a function that does not raise on the loop's thread soon. Raises NodeClosed."""
        self.handover.put(function, args)

    def on_loop(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a plain function on the loop's thread and wait for its result."""
        if self.is_own_thread:
            return function(*args)
        waiter = ThreadWaiter()
        self.handover.put(_complete, (waiter, function, args))
        return waiter.wait()

    def ask(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """The same without waiting: for who asks a loop that may be blocked, and gives up."""
        answer: Future[T] = Future()
        waiter = _FutureWaiter(answer)
        if self.is_own_thread:
            _complete(waiter, function, args)
        else:
            try:
                self.handover.put(_complete, (waiter, function, args))
            except NodeClosed as error:
                waiter.set_exception(error)
        return answer

    def hold_back(self, subject: str, peer: Peer | str | None = None) -> None:
        """Wait, as a thread that has published to ``subject``, for those it went to that block.

        To ``peer`` alone, if it went there. Not on the loop's thread, and a plain handler does not
        wait for its own node, which may be waiting for it.
        """
        if not self.blocking or self.is_own_thread:
            return
        engine = self.engine
        targets = engine.pubsub.known_route(subject) or ()
        if peer is not None:
            id = bytes.fromhex(peer if isinstance(peer, str) else peer.id)
            targets = tuple(target for target in targets if target.id == id)
        full = engine.pressure.full(targets, spare_own=self.runner.is_worker)
        if full:
            waiter = ThreadWaiter()
            self.hand_over(engine.pressure.wait, full, waiter)
            waiter.wait()

    def spawn(self, make: Callable[[], Coroutine[Any, Any, Any]], waiter: ThreadWaiter) -> None:
        """Run a coroutine as a task on the loop's thread; its outcome goes to ``waiter``."""

        def ended(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                waiter.set_exception(NodeClosed("the node was closed during the wait"))
            elif (error := task.exception()) is not None:
                waiter.set_exception(error)
            else:
                waiter.set_result(task.result())

        task = self.loop.create_task(make())
        self._tasks.add(task)
        task.add_done_callback(ended)


class _FutureWaiter(ThreadWaiter):
    """For any number of threads, and none that has to wait."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Future[Any]) -> None:
        super().__init__()
        self._answer = answer

    def set_result(self, result: Any) -> None:
        if not self._answer.done():
            self._answer.set_result(result)

    def set_exception(self, error: BaseException) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)


def _complete(waiter: ThreadWaiter, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        waiter.set_result(function(*args))
    except BaseException as error:  # noqa: BLE001  raised in the thread that waits
        waiter.set_exception(error)
