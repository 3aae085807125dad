"""What a running node is made of: made in order by ``start``, given back in reverse by ``close``.

The loop's thread owns the sockets and the engine. Other threads come in by ``hand_over`` and
``on_loop`` only; what they publish is packed in their own thread, with a codec of their own.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import resource
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from datetime import UTC, datetime
from typing import Any

import discovery as d
from discovery.address import parse_address
from mesh.engine import Engine, EngineConfig
from mesh.runtime import Handover, LoopClock, LoopRunner
from mesh.runtime.runner import CLOSE_WAIT
from mesh.runtime.threads import ThreadWaiter, call_in_thread
from mesh.security import CurveKeys
from mesh.settings import Settings
from mesh.transport import ZmqTransport
from mesh.wire import frames
from mesh.wire.codec import Codec
from patterns.errors import NodeClosed
from patterns.port import Runner

__all__ = ["Attach", "Host"]

logger = logging.getLogger("mesh")

Attach = Callable[[Engine, Runner], None]
"""Adds something to an engine: a method, a handler."""


class Host:
    """The resources of one node, on the running loop. ``start`` first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.loop = asyncio.get_running_loop()
        self.thread_id = threading.get_ident()
        self.handover = Handover(self.loop)
        self.runner = LoopRunner(self.loop)
        self.engine: Engine
        self.discovery: d.Discovery
        self._transport: ZmqTransport
        self._fingerprint = ""
        self._codecs = threading.local()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Future[None] | None = None
        self._until_loop_ends = self._stop_with_loop()
        self.is_closed = False

    # Life.

    async def start(self, attachments: Iterable[Attach]) -> None:
        """Bind and announce. After an exception nothing is left behind.

        Raises ConfigError for a bad key, OSError when the address or port is not to be had.
        """
        s = self._settings
        keys = None
        if s.key is not None:
            # The stretching of a passphrase takes 0.1 s, during which the loop must go on.
            make_keys = functools.partial(CurveKeys, s.key, s.mesh)
            keys = await call_in_thread(self.loop, make_keys)
            self._fingerprint = keys.fingerprint
        elif not s.is_loopback_only:
            _warn_insecure()
        _raise_descriptor_limit()
        self._transport = ZmqTransport(self.loop, host=s.host, port=s.port, keys=keys)
        self.engine = self._new_engine()
        for attach in attachments:
            attach(self.engine, self.runner)
        addresses, _ = self.engine.open()
        self.discovery = d.Discovery(self._sources(), self._on_candidate)
        try:
            await self.discovery.start(self._announcement(addresses))
            await anext(self._until_loop_ends)
        except BaseException:
            await self.close()
            raise

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
            clock=LoopClock(self.loop),
            transport=self._transport,
            runner=self.runner,
            random=random.Random(s.id),
            wall_clock=lambda: datetime.now(UTC),
        )

    def _announcement(self, addresses: tuple[str, ...]) -> d.Announcement:
        parsed = [parse_address(address) for address in addresses]
        return d.Announcement(
            id=self._settings.id.hex(),
            mesh=self._settings.mesh,
            protocol=frames.PROTOCOL_VERSION,
            hosts=tuple(host for host, _ in parsed),
            port=parsed[0][1],
            fingerprint=self._fingerprint,
        )

    def _sources(self) -> list[d.Source]:
        s = self._settings
        sources: list[d.Source] = []
        if s.seeds:
            sources.append(d.Seeds(s.seeds))
        if "local" in s.discovery:
            sources.append(d.Local())
        if "mdns" in s.discovery:
            sources.append(d.Mdns(loopback_only=s.is_loopback_only))
        return sources

    def _on_candidate(self, candidate: d.Candidate) -> None:
        """A hint of discovery; one of another mesh or key is not worth a dial."""
        if self._closing is not None:
            return
        if candidate.mesh not in (None, self._settings.mesh):
            return
        if candidate.fingerprint not in (None, self._fingerprint):
            return
        id = bytes.fromhex(candidate.id) if candidate.id is not None else None
        self.engine.hint(id, candidate.addresses)

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
            logger.info("%s: its loop ended before close(): no goodbye was said", self._title)
            self._tell(self._stop())

    async def _close(self) -> None:
        closing_discovery = asyncio.ensure_future(self.discovery.close())
        try:
            await self._leave_and_stop(closing_discovery)
        finally:
            # What is left when the end of ``asyncio.run`` has cancelled this.
            if not self.is_closed:
                self._tell(self._stop())
            self._transport.abandon()
            await asyncio.wait({closing_discovery})
            if closing_discovery.cancelled():
                await self.discovery.close()

    async def _leave_and_stop(self, closing_discovery: asyncio.Future[None]) -> None:
        left = self.loop.create_future()
        self.engine.leave("closed", left)
        await left
        lost = self._stop()
        await self._until_loop_ends.aclose()
        ends = await asyncio.gather(
            self.runner.close(),
            self._transport.wait_closed(),
            closing_discovery,
            return_exceptions=True,
        )
        for end in ends:
            if isinstance(end, BaseException):
                logger.error("%s: closing went wrong", self._title, exc_info=end)
        if not isinstance(ends[0], BaseException):
            lost += ends[0]
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_WAIT)
        self._tell(lost)

    def _tell(self, lost: list[str]) -> None:
        if lost:
            logger.warning("%s lost at close: %s", self._title, ", ".join(lost))

    def _stop(self) -> list[str]:
        """What needs no wait: everything that is asked from now on, or waits, is NodeClosed."""
        self.is_closed = True
        lost = []
        try:
            lost = [text for text in (self.engine.close(),) if text]
        except Exception:
            logger.exception("%s: closing went wrong", self._title)
        self.handover.close()
        self.runner.stop()
        return lost

    def forget(self) -> None:
        """In a forked child: nothing here is ours."""
        self.is_closed = True
        self.handover.close()

    @property
    def _title(self) -> str:
        return f"{self._settings.name}/{self._settings.id.hex()[:8]}"

    # From other threads.

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller is on the loop's thread."""
        return threading.get_ident() == self.thread_id

    @property
    def thread_codec(self) -> Codec:
        """A codec belongs to one thread; each publishing thread gets its own."""
        try:
            return self._codecs.codec  # type: ignore[no-any-return]
        except AttributeError:
            codec = self._codecs.codec = Codec()
            return codec

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


def _complete(waiter: ThreadWaiter, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        waiter.set_result(function(*args))
    except BaseException as error:  # noqa: BLE001  raised in the thread that waits
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
