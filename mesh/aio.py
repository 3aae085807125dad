"""``AsyncNode``: a node of the mesh for programs on asyncio.

It belongs to the thread of the loop that started it, but for ``publish``, ``broadcast`` and
``send``, which any thread may use. Constructing one touches nothing; ``start`` binds and
announces. The engine does the work; this is its face, its resources and their end.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from discovery import SourceState
from mesh.host import Attach, Host
from mesh.membership import Peer
from mesh.registrations import Registrations
from mesh.runtime.signals import stop_on_signals
from mesh.services import AsyncService, make_options
from mesh.settings import SOURCES, Settings
from mesh.streams import AsyncSubscription, AsyncWatch
from mesh.wire import frames
from patterns.errors import NodeClosed
from patterns.names import check_pattern, group_subject
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
        self._to_attach: deque[Attach] = deque()
        """What the decorators added and no engine has yet."""
        self._host: Host | None = None
        self._starting: asyncio.Lock = asyncio.Lock()
        self.stopping = asyncio.Event()
        """Set by ``close``, and by whatever else asks for the end of ``run``."""
        self.is_closed = False

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
        return self.host.engine.me

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "running" if self._host else "not started"
        return f"<{type(self).__name__} {self.name}/{self.id[:8]} in {self.mesh!r}, {state}>"

    # Life.

    async def start(self) -> Self:
        """Bind and announce; does not wait for peers. A second start does nothing.

        Raises NodeClosed after close, ConfigError for a bad key, OSError when the address or the
        port is not to be had.
        """
        if self.is_closed:
            raise NodeClosed("this node was closed; make a new one")
        async with self._starting:
            if self._host is None:
                host = Host(self._settings)
                at_start = tuple(self._to_attach)
                await host.start(at_start)
                for _ in at_start:
                    self._to_attach.popleft()
                self._host = host
                self._attach_waiting(host)
                if self.is_closed:
                    await host.close()
                    raise NodeClosed("this node was closed while it started")
        return self

    async def close(self) -> None:
        """Say goodbye and give everything back, within a second. Never raises; idempotent.

        Calls and waits still open end with NodeClosed. What was lost is logged in one line.
        """
        self.is_closed = True
        self.stopping.set()
        if self._host is not None:
            await self._host.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leaving normally is ``flush(1)`` and ``close()``; with an exception ``close()`` alone."""
        if error is None and self._host is not None and not self.is_closed:
            try:
                await self.flush(1)
            except (TimeoutError, NodeClosed) as left:
                logger.warning("%r: %s", self, left)
        await self.close()

    async def run(self) -> None:
        """Serve until SIGINT, SIGTERM or ``close``: start, wait, flush, close.

        Outside the main thread there are no signals: whoever owns it cancels this.
        """
        loop = asyncio.get_running_loop()
        with stop_on_signals(lambda: loop.call_soon_threadsafe(self.stopping.set)):
            async with self:
                await self.stopping.wait()

    def forget(self) -> None:
        """In a forked child: the node is closed here, and its parent's sockets are let alone."""
        self.is_closed = True
        if self._host is not None:
            self._host.forget()

    # Publish, broadcast, send: from any thread.

    def publish(
        self, subject: str, data: Any = None, *, headers: dict[str, str] | None = None
    ) -> int:
        """To every node with a matching subscription; returns to how many it was queued.

        No round trip and no wait for receivers. Raises BadName, BadPayload, PayloadTooLarge.
        """
        host = self._host
        if host is None or host.is_closed:
            raise self._not_running()
        if threading.get_ident() == host.thread_id:
            return host.engine.publish(subject, data, headers)
        engine = host.engine
        targets = engine.pubsub.known_route(subject)
        if targets is None:
            targets = host.on_loop(engine.pubsub.route, subject)
        entry = engine.pack_message(subject, data, headers, host.thread_codec)
        if targets:
            host.handover.put(engine.send, (frames.PUBLISH, targets, entry), len(entry))
        return len(targets)

    def broadcast(
        self, group: str, data: Any = None, *, headers: dict[str, str] | None = None
    ) -> int:
        """To every member of a group; returns how many. "*" is the group of all who joined it.

        Raises BadName, BadPayload, PayloadTooLarge.
        """
        host = self.host
        return int(host.on_loop(host.engine.broadcast, group, data, headers))

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
        host = self.host
        return bool(host.on_loop(host.engine.send_to, peer, subject, data, headers))

    # Calls.

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Call "service.method" with these arguments; options go by ``service(...)``.

        Raises NoProvider, BadRequest, RemoteError, CallTimeout, PeerLost, Overloaded, BadPayload.
        """
        return self._call(method, args, kwargs, DEFAULT_OPTIONS)

    async def _call(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        host = self._host
        if host is None or host.is_closed:
            raise self._not_running()
        future = host.loop.create_future()
        call_id = host.engine.call(method, args, kwargs, options, future)
        try:
            return await future
        except asyncio.CancelledError:
            host.engine.cancel(call_id)
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
        return self.host.engine.session_of(peer)

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
        host = self.host
        core = Subscription(pattern, host.runner, buffer=buffer, echo=echo)
        return AsyncSubscription(host.engine, core, host.loop, timeout)

    # Membership.

    def peers(self, *, all: bool = False) -> list[Peer]:
        """The other nodes, alive or in doubt; ``all`` adds observers, the failed and the left."""
        return self.host.engine.peers(all=all)

    def watch(self) -> AsyncWatch:
        """Changes of the mesh: ``async for event in node.watch()``; the known peers first."""
        return AsyncWatch(self.host.engine, self.host.loop)

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
        host = self.host
        future = host.loop.create_future()
        host.engine.wait_for(name, group, count, timeout, future)
        peers: list[Peer] = await future
        return peers

    async def flush(self, timeout: float = 5.0) -> None:
        """Until no message waits here for a peer that takes any. Raises Timeout: what remains."""
        host = self.host
        future = host.loop.create_future()
        host.handover.drain()
        host.engine.flush(timeout, future)
        await future

    def counters(self) -> dict[str, int]:
        """What was lost, refused or malformed so far, by name; a name appears when it happens."""
        return self.host.engine.counters

    def sources(self) -> dict[str, SourceState]:
        """How each discovery source is doing."""
        return self.host.discovery.states()

    # Inside, and for ``Node``, which drives this from other threads.

    @property
    def host(self) -> Host:
        """What the running node is made of. Raises NodeClosed when it does not run."""
        host = self._host
        if host is None or host.is_closed:
            raise self._not_running()
        return host

    def _not_running(self) -> NodeClosed:
        what = "is closed" if self.is_closed else "is not started: call start(), or use 'with'"
        return NodeClosed(f"the node {self.name} {what}")

    def _now_or_at_start(self, attach: Attach) -> None:
        # Append first, then look: ``start`` sets the host before it takes what is here.
        self._to_attach.append(attach)
        host = self._host
        if host is not None:
            host.on_loop(self._attach_waiting, host)

    def _attach_waiting(self, host: Host) -> None:
        while self._to_attach:
            self._to_attach.popleft()(host.engine, host.runner)
