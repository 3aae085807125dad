"""``Node``: a node of the mesh for programs without an event loop.

It runs an ``AsyncNode`` (``node.aio``) on a loop in a thread of its own. Every method may be
called from any thread but that one: there a blocking verb raises RuntimeError instead of waiting
for itself for ever. Plain handlers run in a bounded pool, coroutines on the node's loop.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import signal
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

from discovery import SourceState
from mesh.aio import DEFAULT_OPTIONS, AsyncNode
from mesh.engine import Engine
from mesh.host import Attach
from mesh.membership import Peer
from mesh.registrations import Registrations
from mesh.runtime.threads import ThreadWaiter
from mesh.services import Service
from mesh.settings import SOURCES
from mesh.streams import BlockingSubscription, BlockingWatch
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
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._life = threading.Lock()
        self._ended = threading.Event()

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
        with self._life:
            if self._thread is not None and not self._ended.is_set():
                return self
            if self._ended.is_set():
                raise NodeClosed("this node was closed; make a new one")
            self._start_thread()
        return self

    def _start_thread(self) -> None:
        loop = _new_loop()
        waiter = ThreadWaiter()
        thread = threading.Thread(
            target=self._run_loop, args=(loop, waiter), name=f"mesh-{self.name}", daemon=True
        )
        self._loop, self._thread = loop, thread
        thread.start()
        try:
            waiter.wait()
        except BaseException:
            self._ended.set()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            raise
        _open_nodes.add(self)

    def _run_loop(self, loop: asyncio.AbstractEventLoop, started: ThreadWaiter) -> None:
        asyncio.set_event_loop(loop)
        starting = loop.create_task(_report(self.aio.start(), started))
        try:
            loop.run_forever()
        finally:
            starting.cancel()
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            asyncio.set_event_loop(None)
            loop.close()

    def close(self) -> None:
        """Say goodbye and give everything back, within a second. Never raises; idempotent."""
        self._check_thread("close")
        with self._life:
            thread, loop = self._thread, self._loop
            if thread is None or loop is None or self._ended.is_set():
                self._ended.set()
                return
            waiter = ThreadWaiter()

            def begin() -> None:
                closing.append(loop.create_task(_report(self.aio.close(), waiter)))

            closing: list[asyncio.Task[None]] = []
            loop.call_soon_threadsafe(begin)
            try:
                waiter.wait()
            except Exception:
                logger.exception("%r: closing went wrong", self)
            self._ended.set()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
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
        if error is None and not self._ended.is_set():
            try:
                self.flush(1)
            except (TimeoutError, NodeClosed) as left:
                logger.warning("%r: %s", self, left)
        self.close()

    def run(self) -> None:
        """Serve until Ctrl-C or SIGTERM: start, wait, flush, close."""
        stop = threading.Event()

        def on_signal(number: int, frame: FrameType | None) -> None:
            stop.set()

        before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, on_signal)
        try:
            with self:
                while not stop.wait(_SIGNAL_POLL) and not self._ended.is_set():
                    pass
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

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
        return BlockingWatch(self._on_loop(self.aio.watch), self._on_loop)

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
            if not waiter.done() and waiter.call_id is not None:
                host.hand_over(host.engine.cancel, waiter.call_id)
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
        subscription = BlockingSubscription(source, self._on_loop)
        self._wait(source.begin)
        return subscription

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
        subscription = BlockingSubscription(source, self._on_loop)
        self._wait(source.begin)
        return subscription

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

    def _check_thread(self, verb: str) -> None:
        if self._thread is threading.current_thread():
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


_SIGNAL_POLL = 0.5
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


async def _report(work: Coroutine[Any, Any, Any], waiter: ThreadWaiter) -> None:
    try:
        result = await work
    except BaseException as error:  # noqa: BLE001  raised in the thread that waits
        waiter.set_exception(error)
    else:
        waiter.set_result(result)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


@atexit.register
def _close_at_exit() -> None:
    """A program that ends without ``close()`` still says goodbye, and does not hang."""
    for node in list(_open_nodes):
        node.close()
