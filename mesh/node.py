"""``Node``: a node of the mesh for programs without an event loop.

It runs an ``AsyncNode`` (``node.aio``) on a loop in a thread of its own. Every method may be
called from any thread but that one: there a blocking verb raises RuntimeError instead of waiting
for itself for ever. Plain handlers run in a bounded pool, coroutines on the node's loop.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

from discovery import SourceState
from mesh.aio import DEFAULT_OPTIONS, AsyncNode
from mesh.engine import Engine
from mesh.host import Attach
from mesh.membership import Peer
from mesh.registrations import Registrations
from mesh.runtime import LoopThread, ThreadWaiter
from mesh.runtime.signals import stop_on_signals
from mesh.services import Service
from mesh.settings import SOURCES
from mesh.streams import AsyncSubscription, BlockingSubscription, BlockingWatch
from patterns.errors import NodeClosed
from patterns.rpc import CallOptions
from patterns.subscription import DEFAULT_BUFFER

__all__ = ["Node"]

logger = logging.getLogger("mesh")

T = TypeVar("T")

_open_nodes: weakref.WeakSet[Node] = weakref.WeakSet()


class Node(Registrations):
    """A node. The arguments are those of ``AsyncNode``; so are the verbs and what they promise."""

    _inline_by_default = False

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
        self.aio = AsyncNode(
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
        super().__init__(self.aio.name, observer)
        self._running: LoopThread | None = None
        self._life = threading.RLock()
        """Guards ``_running``. Re-entrant, and never held while anything is waited for: a signal
        handler may call ``close`` in the middle of ``start``."""

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

    def __repr__(self) -> str:
        return repr(self.aio).replace("AsyncNode", "Node", 1)

    # Life.

    def start(self) -> Self:
        """Bind and announce; does not wait for peers. A second start does nothing."""
        running = self._running
        if running is not None and running.is_current:
            return self
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
                raise NodeClosed("this node was closed; make a new one")
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
            self.aio.is_closed = True
            running = self._running
        if running is None:
            return
        running.call_soon(self.aio.stopping.set)
        running.ended.wait()
        _open_nodes.discard(self)

    def _forget(self) -> None:
        """In a forked child: the thread is not here, the sockets and the locks are not ours."""
        self._life = threading.RLock()
        self._running = None
        self.aio.forget()

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

    def run(self) -> None:
        """Serve until Ctrl-C, SIGTERM or ``close``: start, wait, flush, close."""
        self._check_thread("run")
        # Of all that wakes a thread, putting on this one is what a signal handler may do.
        stop: SimpleQueue[None] = SimpleQueue()
        with stop_on_signals(lambda: stop.put(None)), self:
            while not self.aio.is_closed:
                with contextlib.suppress(Empty):
                    stop.get(timeout=_CLOSED_POLL)
                    break

    # Verbs that do not wait.

    def publish(
        self, subject: str, data: Any = None, *, headers: dict[str, str] | None = None
    ) -> int:
        """To every node with a matching subscription; returns to how many it was queued."""
        return self.aio.publish(subject, data, headers=headers)

    def broadcast(
        self, group: str, data: Any = None, *, headers: dict[str, str] | None = None
    ) -> int:
        """To every member of a group; returns how many."""
        return self.aio.broadcast(group, data, headers=headers)

    def send(
        self,
        peer: Peer | str,
        subject: str,
        data: Any = None,
        *,
        headers: dict[str, str] | None = None,
    ) -> bool:
        """To one peer's subscribers of the subject; returns whether it has any."""
        return self.aio.send(peer, subject, data, headers=headers)

    def service(
        self,
        name: str,
        *,
        timeout: float = 5.0,
        retry: bool = False,
        peer: Peer | str | None = None,
        wait: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> Service:
        """A service to call methods of: ``node.service("calc", timeout=0.5).add(2, 3)``."""
        options = self.aio.call_options(timeout, retry, peer, wait, headers)
        return Service(self._call, name, options)

    def peers(self, *, all: bool = False) -> list[Peer]:
        """The other nodes, alive or in doubt; ``all`` adds observers, the failed and the left."""
        return self._on_loop(lambda: self.aio.peers(all=all))

    def counters(self) -> dict[str, int]:
        """What was lost, refused or malformed so far, by name; a name appears when it happens."""
        return self._on_loop(self.aio.counters)

    def sources(self) -> dict[str, SourceState]:
        """How each discovery source is doing."""
        return self._on_loop(self.aio.sources)

    def watch(self) -> BlockingWatch:
        """Changes of the mesh: ``for event in node.watch()``; the known peers first."""
        return BlockingWatch(self._on_loop(self.aio.watch), self._on_loop, self._check_thread)

    # Verbs that wait.

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call "service.method" with these arguments; options go by ``service(...)``."""
        return self._call(method, args, kwargs, DEFAULT_OPTIONS)

    def _call(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        self._check_thread("call")
        waiter = _CallWaiter()
        host = self.aio.host
        host.hand_over(_begin_call, host.engine, method, args, kwargs, options, waiter)
        try:
            return waiter.wait()
        except BaseException:
            # Ctrl-C ends the wait, not the call: tell whoever runs it.
            if not waiter.done():
                with contextlib.suppress(NodeClosed):
                    host.hand_over(_cancel_call, host.engine, waiter)
            raise

    def subscribe(
        self,
        pattern: str,
        *,
        buffer: int = DEFAULT_BUFFER,
        echo: bool = True,
        timeout: float = 5.0,
    ) -> BlockingSubscription:
        """Listen to ``pattern``; returns when every alive peer has confirmed."""
        self._check_thread("subscribe")
        source = self._on_loop(
            lambda: self.aio.subscribe(pattern, buffer=buffer, echo=echo, timeout=timeout)
        )
        return self._begun(source)

    def join(
        self,
        group: str,
        *,
        buffer: int = DEFAULT_BUFFER,
        echo: bool = True,
        timeout: float = 5.0,
    ) -> BlockingSubscription:
        """Join a group and iterate what is sent to it; otherwise as ``subscribe``."""
        self._check_thread("join")
        source = self._on_loop(
            lambda: self.aio.join(group, buffer=buffer, echo=echo, timeout=timeout)
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

    def flush(self, timeout: float = 5.0) -> None:
        """Until no message waits here for a peer that takes any. Raises Timeout: what remains."""
        self._check_thread("flush")
        self._wait(lambda: self.aio.flush(timeout))

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


_CLOSED_POLL = 0.5
"""Seconds between looks at whether somebody else closed the node; signals end the wait at once."""


class _CallWaiter(ThreadWaiter):
    __slots__ = ("call_id",)

    def __init__(self) -> None:
        super().__init__()
        self.call_id: int | None = None


def _begin_call(
    engine: Engine,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: CallOptions,
    waiter: _CallWaiter,
) -> None:
    try:
        waiter.call_id = engine.call(method, args, kwargs, options, waiter)
    except Exception as error:  # noqa: BLE001  raised in the thread that waits
        waiter.set_exception(error)


def _cancel_call(engine: Engine, waiter: _CallWaiter) -> None:
    # Handed over behind ``_begin_call``, so the call has an id, or could not begin.
    if waiter.call_id is not None:
        engine.cancel(waiter.call_id)


@atexit.register
def _close_at_exit() -> None:
    """A program that ends without ``close()`` still says goodbye, and does not hang."""
    for node in list(_open_nodes):
        node.close()


def _forget_in_child() -> None:
    for node in list(_open_nodes):
        node._forget()
    _open_nodes.clear()


os.register_at_fork(after_in_child=_forget_in_child)
