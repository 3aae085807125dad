"""``AsyncNode``: a node of the mesh for programs on asyncio.

It belongs to the thread of the loop that started it, but for ``publish``, ``broadcast`` and
``send``, which any thread may use. Constructing one touches nothing; ``start`` binds and
announces. The engine does the work; this is its face, its resources and their end.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from discovery import Source
from mesh.engine.publisher import Publishing
from mesh.environment import Environment, current_environment
from mesh.host import Attach, Host
from mesh.key_settings import IdentityInput
from mesh.logs import get_logger
from mesh.measuring import AsyncMeasuring
from mesh.membership import Peer
from mesh.queuing import AsyncQueuing
from mesh.registrations import Registrations
from mesh.runtime import forget_in_child, started_before_fork
from mesh.services import AsyncService, make_options
from mesh.serving import DRAIN_TIMEOUT, serve
from mesh.settings import SOURCES, PolicyInput, Settings
from mesh.streaming import AsyncStreaming
from mesh.subscribing import AsyncSubscribing
from mesh.surveying import AsyncSurveying
from mesh.tracing import TracingInput
from mesh.transport import PlainEndpoints
from mesh.views import AsyncViews
from patterns.errors import NodeClosed
from patterns.keys import Key
from patterns.rpc import CallOptions
from patterns.rpc.inherited import inherited_deadline

__all__ = ["DEFAULT_OPTIONS", "AsyncNode"]

logger = get_logger("mesh.node")

DEFAULT_OPTIONS = CallOptions()


class AsyncNode(
    AsyncViews,
    AsyncSubscribing,
    AsyncSurveying,
    AsyncStreaming,
    AsyncMeasuring,
    Registrations,
    AsyncQueuing,
):
    """A node. All arguments are optional and named but the first.

    ``name``       service name; nodes of one name are replicas of one service. None: ``anon-...``
    ``mesh``       only nodes of the same mesh name meet (``MESH_NAME``; default "mesh")
    ``key``        passphrase or generated key (``MESH_KEY``): encrypts and authenticates all
    ``identity``   this node's own certificate and key pair (``MESH_IDENTITY``): a file, as
                   ``meshctl join`` saves it. It has ``mesh`` and ``key``. ``docs/identities.md``
    ``insecure``   go on the network without a key (``MESH_INSECURE``); warns once
    ``host``       address to bind; without a key 127.0.0.1, else every interface (``MESH_HOST``)
    ``port``       TCP port of the link socket; 0 takes any free one
    ``seeds``      where to find nodes that multicast does not reach (``MESH_SEEDS``): "host:port",
                   with a name all of its addresses; "_service._tcp.domain" for SRV records;
                   "file:PATH" for a file of these, which is watched
    ``discovery``  sources to use, of "mdns", "local" (same host), "exchange" (peers tell peers),
                   and one's own (``discovery.Source``)
    ``interfaces`` network interfaces to be found on, by name ("eth0", "wl*"), address or network
                   (``MESH_INTERFACES``); by default those that are no VPN's and no container's
    ``tags``       ``dict[str, str]`` shown to others
    ``instance``   name by which keys find this node, of 1 to 255 characters. One that stays the
                   same brings a restarted node its keys back; None: the id, fresh at each start
    ``weight``     share of the keys and of the work, relative to other members: above 0
    ``observer``   sees and calls, but serves nothing and is not listed
    ``max_payload_bytes``  what one message, call, reply or groupcast may take, packed
                   (``MESH_MAX_PAYLOAD_BYTES``; 64 MiB); the same in the whole mesh
    ``policy``     who may call, publish, subscribe, join and give work (``MESH_POLICY``): a file or
                   a ``mesh.Policy``; None: members may do all. Needs identities.
                   ``docs/permissions.md``
    ``allow``      what others may do with this node itself (``MESH_ALLOW``): of "inspect" (see how
                   it is), "operate" (drain it, set its log level) and "tap" (see what goes
                   through it). By default the first two, with ``insecure`` the first; ``[]`` none.
                   With a policy it says who, too: right ``call``, on ``_mesh.state`` and so on
    ``metrics_port``  serve metrics for Prometheus, and probes of health, by HTTP
                   (``MESH_METRICS_PORT``): a port at ``host``, 0 for any free one, or "host:port".
                   Needs ``mesh-p2p[metrics]``. ``docs/observability.md``
    ``tracing``    traces (``MESH_TRACING``): None takes part in those of others, True begins some,
                   by OpenTelemetry where that is configured; or a ``TracerProvider``; False: none
                   of it. ``docs/tracing.md``
    ``plain``      open endpoints for plain ZeroMQ clients in any language (``MESH_PLAIN``): True,
                   or their two ports, for requests and subscriptions. See ``docs/protocol.md``

    Raises BadName and ConfigError for what cannot work.
    """

    _inline_by_default = True

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
        self._settings = s = Settings.make(
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
        super().__init__(s.name, s.is_observer)
        self._to_attach: deque[Attach] = deque()
        """What the decorators added and no engine has yet."""
        self.started: Host | None = None
        """What it is made of, once it is started."""
        self._made: Host | None = None
        """The same from the moment on in which it is made."""
        self.environment: Environment | None = None
        """What it runs on; None until it starts, when that is the context's."""
        self._starting: asyncio.Lock = asyncio.Lock()
        self.stopping = asyncio.Event()
        """Set by ``close``, and by whatever else asks for the end of ``run``."""
        self.is_closed = False
        self._is_forgotten = False
        forget_in_child(self)

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

    @property
    def plain(self) -> PlainEndpoints | None:
        """Where plain ZeroMQ clients connect; None without ``plain=``. NodeClosed before start."""
        return self.host.plain

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "running" if self.started else "not started"
        return f"<{type(self).__name__} {self.name}/{self.id[:8]} in {self.mesh!r}, {state}>"

    # Life.

    async def start(self) -> Self:
        """Bind and announce; does not wait for peers. A second start does nothing.

        Raises NodeClosed after close, ConfigError for a bad key, OSError when the address, the
        port or enough descriptors are not to be had.
        """
        if self.is_closed:
            raise self.not_running()
        async with self._starting:
            if self.started is None:
                environment = self.environment = self.environment or current_environment()
                self._settings = environment.settings(self._settings)
                host = self._made = Host(self._settings, environment)
                at_start = tuple(self._to_attach)
                await host.start(at_start)
                for _ in at_start:
                    self._to_attach.popleft()
                self.started = host
                self._attach_waiting(host)
                if self.is_closed:
                    await host.close()
                    raise NodeClosed("this node was closed while it started")
        return self

    async def drain(self, timeout: float = DRAIN_TIMEOUT) -> None:
        """Leave well: take no new work, end what runs, hand on the rest; then ``close`` loses
        nothing.

        The node's services, groups and subscriptions are withdrawn, and every alive peer confirms
        that. Calls and groupcasts that were not begun go to other nodes at once, what runs ends,
        and what was published to it until then is handled. Own calls, publishes and groupcasts
        still work. Raises Timeout after ``timeout`` seconds, which says what still runs; the node
        takes no work even so, and another ``drain`` waits on.
        """
        await self.host.drain(timeout)

    async def close(self) -> None:
        """Say goodbye and give everything back, within a second. Never raises; idempotent.

        Calls and waits still open end with NodeClosed. What was lost is logged in one line.
        """
        self.refuse()
        self.stopping.set()
        if self.started is not None and not self._is_forgotten:
            await self.started.close()

    def refuse(self) -> None:
        """Closing has begun: the verbs of other threads are NodeClosed from now on."""
        self.is_closed = True
        if self.started is not None:
            self.started.handover.refuse()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leaving normally is ``flush(1)`` and ``close()``; with an exception ``close()`` alone."""
        if error is None and self.started is not None and not self.is_closed:
            try:
                await self.flush(1)
            except (TimeoutError, NodeClosed) as left:
                logger.warning("%r: %s", self, left)
        await self.close()

    async def run(self, *, drain: float = DRAIN_TIMEOUT) -> None:
        """Serve until SIGINT, SIGTERM or ``close``: start, wait, drain, close.

        ``drain`` is the time in seconds for what runs when a signal comes; 0: none. A second
        signal closes at once. Outside the main thread there are no signals: whoever owns it
        cancels this.
        """
        await serve(self, drain)

    def forget(self) -> None:
        """In a forked child: closed, if it was started; else a node of its own."""
        host = self.started
        if host is None and not self._starting.locked():
            self._settings = self._settings.with_fresh_id()
            return
        self.is_closed = self._is_forgotten = True
        if host is not None and host.is_own_thread:
            self.stopping.set()  # this is the loop: what serves on it ends

    # Publish, broadcast, send: from any thread.

    def publish(
        self, subject: str, data: Any = None, *, headers: dict[str, str] | None = None
    ) -> int:
        """To every node with a matching subscription; returns to how many it was queued.

        To one of each queue group, too, and each counts as one. No round trip and no wait for
        receivers. Raises BadName, BadPayload, PayloadTooLarge.
        """
        host = self.started
        if host is None or host.is_closed:
            host = self.host
        try:
            publisher: Publishing = host.publishers.here.publisher
        except AttributeError:
            publisher = host.publishers.add()
        return publisher.publish(subject, data, headers)

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

    # Groupcast.

    async def groupcast(
        self,
        group: str,
        data: Any = None,
        *,
        key: Key | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = 5.0,
    ) -> Peer:
        """To exactly one member of a group; returns which, once the message is in its credit.

        The one with the least of its credit in use; with ``key`` the key's owner, in the order
        in which they were sent. Kept until its handler is through; if the member dies, leaves or
        refuses (``Refuse``) before, another gets it. Waits ``timeout`` seconds for credit, then
        raises Overloaded; NoProvider when nobody is in the group. 0: at once.
        """
        host = self.started
        if host is None or host.is_closed:
            host = self.host
        engine = host.engine
        if key is None and headers is None:
            peer = engine.cast(group, data)
            if peer is not None:
                return peer
        waiting: asyncio.Future[Peer] = host.loop.create_future()
        engine.groupcast(group, data, key, headers, timeout, waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            engine.abandon(waiting)
            raise

    # Calls.

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Call "service.method" with these arguments; options go by ``service(...)``.

        Raises NoProvider, BadRequest, RemoteError, CallTimeout, PeerLost, Overloaded, BadPayload.
        """
        return self._call(method, args, kwargs, DEFAULT_OPTIONS)

    async def _call(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        host = self.started
        if host is None or host.is_closed:
            host = self.host
        future = host.loop.create_future()
        call_id = host.engine.call(method, args, kwargs, options, future, inherited_deadline())
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
        key: Key | None = None,
        retry: bool = False,
        peer: Peer | str | None = None,
        wait: float | None = None,
        headers: dict[str, str] | None = None,
        hedge: float | str | None = None,
    ) -> AsyncService:
        """A service to call methods of: ``await node.service("calc", timeout=0.5).add(2, 3)``.

        ``timeout``  seconds until CallTimeout, waiting for a provider included
        ``key``      who owns it handles the call: the same node while membership is stable
        ``retry``    the methods are idempotent: try another member when one is in doubt
        ``peer``     this one and no other
        ``wait``     seconds to wait for a first provider; None: what is left of the start's grace
        ``headers``  ``dict[str, str]`` for handlers that take a ``Request``
        ``hedge``    the methods are idempotent, as with ``retry``, which it brings along: ask a
                     second member when no answer came for so many seconds, or for as long as a
                     share of the calls takes ("p95"); at most 5 % more calls. ``docs/calls.md``

        Raises BadName, BadPayload for headers, ConfigError for ``key``, ``peer`` and ``hedge``
        together with one another.
        """
        options = self.call_options(timeout, retry, peer, wait, headers, key, hedge)
        return AsyncService(self._call, self._iterate, name, options)

    def call_options(
        self,
        timeout: float,
        retry: bool,
        peer: Peer | str | None,
        wait: float | None,
        headers: dict[str, str] | None,
        key: Key | None,
        hedge: float | str | None = None,
    ) -> CallOptions:
        target = None
        if peer is not None:
            target = functools.partial(self._session_of, peer)
        return make_options(timeout, retry, target, wait, headers, key, hedge)

    def _session_of(self, peer: Peer | str) -> Any:
        return self.host.engine.session_of(peer)

    # The end of what was sent.

    async def flush(self, timeout: float = 5.0) -> None:
        """Until no message waits here for a peer that takes any, and every groupcast is handled.

        A peer that took nothing for a while is not waited for, but one whose subscription blocks.
        Raises Timeout, which says what remains.
        """
        host = self.host
        future = host.loop.create_future()
        host.handover.drain()
        host.engine.flush(timeout, future)
        await future

    # Inside, and for ``Node``, which drives this from other threads.

    @property
    def host(self) -> Host:
        """What the running node is made of. Raises NodeClosed when it does not run.

        It does from the moment on in which it serves, which is before ``start`` has returned.
        """
        host = self._made
        if host is None or not host.is_open or host.is_closed:
            raise self.not_running()
        return host

    @property
    def is_simulated(self) -> bool:
        """Whether it runs, or is to run, on virtual time, where nothing may block."""
        return (self.environment or current_environment()).is_simulated

    def not_running(self) -> NodeClosed:
        """What a verb raises now."""
        if self._is_forgotten:
            return started_before_fork(f"the node {self.name}")
        if self.is_closed:
            return NodeClosed(f"the node {self.name} is closed; make a new one")
        return NodeClosed(f"the node {self.name} is not started: call start(), or use 'with'")

    def _now_or_at_start(self, attach: Attach) -> None:
        # Append first, then look: ``start`` sets the host before it takes what is here.
        if self._is_forgotten:
            raise self.not_running()
        self._to_attach.append(attach)
        host = self.started
        if host is not None:
            host.on_loop(self._attach_waiting, host)

    def _running_host(self) -> Host:
        return self.host

    def _attach_waiting(self, host: Host) -> None:
        while self._to_attach:
            self._to_attach.popleft()(host.engine, host.runner)
