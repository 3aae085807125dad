"""One zeroconf for all nodes of this process, in a thread of its own.

Every zeroconf listens to all that is said on the network and answers for its own services; ten
nodes with one each would read and parse everything ten times. So nodes share a `Hub`: it announces
all of them, browses once, and tells each what it finds. It runs in a thread, because its nodes may
live on different event loops. Nodes that ask for other interfaces, or for loopback alone, have
another hub: what one announces nowhere must not be heard everywhere.

The first node opens the hub, the last one that leaves closes it, with its thread. What a member
is told it is told on the hub's thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from discovery.groups import MDNS_PORT, ZeroconfInterface, joinable
from discovery.network import Network
from discovery.pace import PacedLoop
from discovery.service import SERVICE_TYPE, build_service, parse_service
from discovery.source import Announcement, Candidate, Status, check_id

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

__all__ = ["CLOSE_TIMEOUT", "Hub", "Member"]

MAX_RESOLVING = 64
"""Instances asked for at once. Announcements come whole, so this is for lost packets and forgeries:
one beyond it is tried again when its missing records arrive."""

MAX_KNOWN = 4096
"""Instances that are remembered; the oldest go first."""

RESOLVE_TIMEOUT = 3.0
"""Seconds to ask for the records of one instance: enough for a lost question to be repeated."""

RETRY_AFTER = 2.0
"""Seconds until interfaces that refused are tried again."""

GOODBYE_TIMEOUT = 0.4
"""Seconds for a goodbye, which zeroconf sends at once and twice more within 0.25 s."""

CLOSE_TIMEOUT = 0.5
"""Seconds for that, and for closing its sockets."""

logger = logging.getLogger("discovery")


class Member(Protocol):
    """A node's side. All is called on the hub's thread, and must not wait."""

    announcement: Announcement

    def on_found(self, candidate: Candidate) -> None: ...

    def on_gone(self, node_id: str) -> None: ...

    def on_ignored(self) -> None:
        """An announcement was not valid, or could not be resolved."""

    def on_state(self, status: Status, reason: str) -> None: ...


_Key = tuple[tuple[str, ...], bool]


class Hub:
    """Join it by `Hub.join`; what is joined is left by `leave`."""

    _open: ClassVar[dict[_Key, Hub]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, wanted: Sequence[str], loopback_only: bool) -> None:
        self._key: _Key = (tuple(wanted), loopback_only)
        self._loopback_only = loopback_only
        self._count = 0
        """Members that have joined and not left; guarded by the lock."""
        self._is_of_parent = False
        self._members: dict[Member, ServiceInfo] = {}
        self._announcing: dict[Member, asyncio.Task[None]] = {}
        self._known: dict[str, Candidate] = {}
        self._resolving: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._network = Network(wanted, self._on_network)
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._reopening = asyncio.Lock()
        self._usable: list[ZeroconfInterface] = []
        self._retry: asyncio.TimerHandle | None = None
        self._state: tuple[Status, str] | None = None
        """None until the first attempt to open has ended."""
        self._loop = PacedLoop()
        self._stopping = asyncio.Event()
        self.thread = threading.Thread(target=self._run, name="discovery-mdns", daemon=True)

    # From any thread.

    @classmethod
    def join(cls, member: Member, wanted: Sequence[str], loopback_only: bool) -> Hub:
        """Announce `member`, and tell it of the others from now on."""
        key = (tuple(wanted), loopback_only)
        with cls._lock:
            hub = cls._open.get(key)
            if hub is None:
                hub = cls(wanted, loopback_only)
                hub.thread.start()
                cls._open[key] = hub
            hub._count += 1
        hub._loop.call_soon_threadsafe(hub._add, member)
        return hub

    def leave(self, member: Member) -> tuple[Future[None], bool]:
        """Say goodbye for `member`, which hears no more; done when that is said.

        Also returns whether it is the last one, which closes the hub: when that is done its thread
        has nothing left to do but to end.
        """
        if self._is_of_parent:
            nothing: Future[None] = Future()
            nothing.set_result(None)
            return nothing, False
        with self._lock:
            self._count -= 1
            is_last = self._count == 0
            if is_last:
                self._open.pop(self._key, None)
        done = asyncio.run_coroutine_threadsafe(self._remove(member, is_last), self._loop)
        return done, is_last

    def update(self, member: Member) -> None:
        """Its announcement has changed."""
        self._loop.call_soon_threadsafe(self._update, member)

    @classmethod
    def forget_all(cls) -> None:
        """In a forked child: the threads are not here, and their loops are not ours to wake."""
        cls._lock = threading.Lock()
        for hub in cls._open.values():
            hub._is_of_parent = True
        cls._open = {}

    # On the hub's thread.

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        self._network.start()
        await self._reopen(is_change=True)
        await self._stopping.wait()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _on_network(self) -> None:
        self._spawn(self._reopen(is_change=True))

    async def _reopen(self, is_change: bool) -> None:
        """Use the interfaces that there are now; after a change announce and ask anew on all.

        One that refuses may be ready soon (an address of IPv6 takes a second): it is tried again.
        """
        async with self._reopening:
            if self._retry is not None:
                self._retry.cancel()
                self._retry = None
            must_retry = False
            try:
                usable, refused = joinable(self._network.choice, loopback_only=self._loopback_only)
                if not usable:
                    raise OSError("; ".join(refused) or "this machine has no interface")
                if is_change or usable != self._usable:
                    self._usable = []
                    await self._use(usable)
                self._usable = usable
                self._tell_opened(refused)
                must_retry = bool(refused)
            except Exception as error:
                if not isinstance(error, OSError | ImportError):
                    logger.exception("mdns: cannot use the network")
                self._tell_state("failing", f"mDNS cannot work here: {error}")
                must_retry = isinstance(error, OSError)
            if must_retry and self._count:
                self._retry = self._loop.call_later(RETRY_AFTER, self._try_again)

    def _try_again(self) -> None:
        self._spawn(self._reopen(is_change=False))

    def _tell_opened(self, refused: list[str]) -> None:
        choice = self._network.choice
        if self._loopback_only or choice.used:
            self._tell_state("working", "; ".join(refused))
            return
        why = choice.explain() or "there is no interface but loopback"
        self._tell_state("failing", f"only this host can be searched: {why}")

    async def _use(self, usable: list[ZeroconfInterface]) -> None:
        from zeroconf import DNSQuestionType, IPVersion
        from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

        has_ipv6 = any(isinstance(interface, int) for interface in usable)
        version = IPVersion.All if has_ipv6 else IPVersion.V4Only
        if self._zeroconf is None:
            self._zeroconf = AsyncZeroconf(interfaces=list(usable), ip_version=version)
        else:
            await self._zeroconf.async_update_interfaces(list(usable), version)
        for member in self._members:
            self._announce(member)
        if self._browser is not None:
            await self._browser.async_cancel()
        # By multicast (QM): the answer to a unicast question reaches only one of the processes
        # that share port 5353 of a host.
        self._browser = AsyncServiceBrowser(
            self._zeroconf.zeroconf,
            SERVICE_TYPE,
            handlers=[self._on_change],
            question_type=DNSQuestionType.QM,
        )

    def _tell_state(self, status: Status, reason: str) -> None:
        if status == "failing":
            reason += f" (UDP {MDNS_PORT} multicast; seeds work without it)"
        self._state = (status, reason)
        for member in self._members:
            member.on_state(status, reason)

    # Members.

    def _add(self, member: Member) -> None:
        try:
            self._members[member] = build_service(member.announcement, self._loopback_only)
        except ImportError as error:
            member.on_state("failing", f"mDNS cannot work here: {error}")
            return
        if self._state is not None:
            member.on_state(*self._state)
        self._announce(member)
        for candidate in self._known.values():
            member.on_found(candidate)

    def _announce(self, member: Member) -> None:
        """Say what it is now, on all interfaces, and no more what it was."""
        self._stop_announcing(member)
        if self._zeroconf is not None:
            self._announcing[member] = self._spawn(self._say(self._zeroconf, member))

    def _stop_announcing(self, member: Member) -> None:
        task = self._announcing.pop(member, None)
        if task is not None:
            task.cancel()

    async def _say(self, zeroconf: AsyncZeroconf, member: Member) -> None:
        try:
            # Shielded: a wait that is cancelled would stop zeroconf from starting.
            await asyncio.shield(zeroconf.zeroconf.async_wait_for_start())
            # An update registers what is not yet, and does not wait: so nothing comes in between.
            # Our names are unique, so others that hold one are us: no probing.
            await (await zeroconf.async_update_service(self._members[member]))
        except Exception as error:
            logger.exception("mdns: cannot announce a node")
            member.on_state("failing", f"cannot announce this node: {error}")

    def _update(self, member: Member) -> None:
        if member in self._members:
            self._members[member] = build_service(member.announcement, self._loopback_only)
            self._announce(member)

    async def _remove(self, member: Member, is_last: bool) -> None:
        service = self._members.pop(member, None)
        self._stop_announcing(member)
        try:
            if self._zeroconf is not None and service is not None:
                async with asyncio.timeout(GOODBYE_TIMEOUT):
                    await (await self._zeroconf.async_unregister_service(service))
        except TimeoutError:
            logger.debug("mdns: no time for all of the goodbye")
        finally:
            if is_last:
                await self._close()
                self._stopping.set()

    async def _close(self) -> None:
        self._network.close()
        if self._retry is not None:
            self._retry.cancel()
        tasks = [*self._tasks, *self._resolving.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._browser is not None:
            await self._browser.async_cancel()
        if self._zeroconf is not None:
            await self._zeroconf.async_close()

    # Others.

    def _on_change(
        self,
        zeroconf: Zeroconf,
        service_type: str,
        name: str,
        state_change: ServiceStateChange,
    ) -> None:
        """An instance came, changed or went. Called by zeroconf on the loop; must not wait."""
        from zeroconf import ServiceStateChange
        from zeroconf.asyncio import AsyncServiceInfo

        node_id = name.removesuffix("." + SERVICE_TYPE)
        try:
            check_id(node_id)
        except ValueError:
            self._tell_ignored()
            return
        if state_change is ServiceStateChange.Removed:
            self._known.pop(node_id, None)
            for member in self._members:
                member.on_gone(node_id)
            return
        info = AsyncServiceInfo(SERVICE_TYPE, name)
        # An announcement carries all its records, so there is nearly never anything to ask for.
        if info.load_from_cache(zeroconf):
            self._found(node_id, info)
        elif node_id not in self._resolving:
            self._resolve(zeroconf, node_id, info)

    def _resolve(self, zeroconf: Zeroconf, node_id: str, info: ServiceInfo) -> None:
        if len(self._resolving) >= MAX_RESOLVING:
            self._tell_ignored()
            return

        async def ask() -> None:
            if await info.async_request(zeroconf, RESOLVE_TIMEOUT * 1000):
                self._found(node_id, info)
            else:
                self._tell_ignored()

        def done(task: asyncio.Task[None]) -> None:
            if self._resolving.get(node_id) is task:
                del self._resolving[node_id]
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("mdns: cannot resolve %s", node_id, exc_info=error)

        task = self._loop.create_task(ask())
        self._resolving[node_id] = task
        task.add_done_callback(done)

    def _found(self, node_id: str, info: ServiceInfo) -> None:
        try:
            candidate = parse_service(node_id, info, loopback_only=self._loopback_only)
        except ValueError:
            self._tell_ignored()
            return
        self._known.pop(node_id, None)
        self._known[node_id] = candidate
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        for member in self._members:
            member.on_found(candidate)

    def _tell_ignored(self) -> None:
        for member in self._members:
            member.on_ignored()


os.register_at_fork(after_in_child=Hub.forget_all)
