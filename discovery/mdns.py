"""mDNS: nodes of one network segment find each other by multicast (RFC 6762, RFC 6763).

Each node is an instance of `_mesh._tcp.local.` whose name is the node id, so names never clash and
the probing that would delay the first announcement by 1.2 s is skipped. `discovery.service` says
what is announced.

What surprises: a crashed node stays in everyone's mDNS cache for over an hour, so nothing here says
who is alive. Questions are asked by multicast (QM): the answer to a unicast question (QU) reaches
only one of the processes that share port 5353 of a host. Any host of the network can send anything,
so each field is checked, and what is wrong is counted and forgotten.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING

from discovery.hints import Hints
from discovery.interfaces import LOOPBACK, MDNS_PORT, is_loopback, joinable, machine_interfaces
from discovery.service import SERVICE_TYPE, build_service, instance_name, parse_service
from discovery.source import Announcement, Candidate, SourceState, Status, check_id

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

MAX_RESOLVING = 64
"""Instances asked for at once. Announcements come whole, so this is for lost packets and forgeries:
one beyond it is tried again when its missing records arrive."""

RESOLVE_TIMEOUT = 3.0
"""Seconds to ask for the records of one instance: enough for a lost question to be repeated."""

CLOSE_TIMEOUT = 0.45
"""Seconds for the goodbye, which zeroconf sends at once and twice more within 0.25 s, and for
closing its sockets."""

logger = logging.getLogger("discovery")


class Mdns:
    """Announces and finds nodes by mDNS, on IPv4.

    `interfaces` are the addresses of the interfaces to use; by default all of the machine, and
    loopback, so that nodes of one host meet without a network. `loopback_only` uses loopback alone
    and overrides `interfaces`; so does an announcement that has loopback addresses only, because
    they would lead other hosts to themselves. Then only loopback addresses are found, too.

    `ignored` counts announcements that were not valid or could not be resolved.
    Raises `ValueError` for an interface that is not an IPv4 address.
    """

    name = "mdns"

    def __init__(
        self, interfaces: Sequence[str] | None = None, loopback_only: bool = False
    ) -> None:
        self.ignored = 0
        self._interfaces = None if interfaces is None else _ipv4(interfaces)
        self._loopback_only = loopback_only
        self._status: Status = "idle"
        self._reason = ""
        self._own_name = ""
        self._hints: Hints | None = None
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._announcing: asyncio.Task[None] | None = None
        self._resolving: dict[str, asyncio.Task[None]] = {}

    @property
    def state(self) -> SourceState:
        """How this source is doing; `seen` is the number of nodes that have not said goodbye."""
        return SourceState(self._status, self._reason, self._hints.seen if self._hints else 0)

    async def start(self, announcement: Announcement, found: Callable[[Candidate], None]) -> None:
        """Browse and announce; returns before the announcements are out.

        Raises `RuntimeError` if not idle, `ImportError` or `OSError` if mDNS cannot work here.
        """
        if self._status != "idle":
            raise RuntimeError(f"this source is {self._status}: make a new one")
        self._status = "working"
        try:
            await _load("zeroconf.asyncio")
            if self._status == "working":  # not closed meanwhile
                self._open(announcement, found)
        except Exception as error:
            self._fail(f"mDNS cannot start: {error}")
            raise

    async def close(self) -> None:
        """Say goodbye and stop. Idempotent; takes 0.5 s at most."""
        self._status, self._reason = "closed", ""
        if self._hints is not None:
            self._hints.close()
        # Taken out first: a second close() while this one waits finds nothing to do.
        tasks = [*self._resolving.values(), *([self._announcing] if self._announcing else [])]
        zeroconf, browser, self._zeroconf, self._browser = self._zeroconf, self._browser, None, None
        self._resolving, self._announcing = {}, None
        # An announcement that is still to come would undo the goodbye, or delay it.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if browser is not None:
            await browser.async_cancel()
        if zeroconf is not None:
            await _shut(zeroconf)

    def _open(self, announcement: Announcement, found: Callable[[Candidate], None]) -> None:
        """Open zeroconf's sockets, browse, and begin to announce."""
        from zeroconf import DNSQuestionType, IPVersion
        from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

        if all(is_loopback(host) for host in announcement.hosts):
            self._loopback_only = True
        usable, refused = joinable(self._choose())
        if not usable:
            raise OSError("; ".join(refused) or "this machine has no IPv4 interface")
        self._reason = "; ".join(refused)
        self._own_name = instance_name(announcement.id)
        service = build_service(announcement, self._loopback_only)
        self._hints = Hints(announcement.id, found)
        self._zeroconf = AsyncZeroconf(interfaces=usable, ip_version=IPVersion.V4Only)
        self._browser = AsyncServiceBrowser(
            self._zeroconf.zeroconf,
            SERVICE_TYPE,
            handlers=[self._on_change],
            question_type=DNSQuestionType.QM,
        )
        self._announcing = asyncio.create_task(self._announce(self._zeroconf, service))

    def _choose(self) -> Sequence[str]:
        if self._loopback_only:
            return (LOOPBACK,)
        return machine_interfaces() if self._interfaces is None else self._interfaces

    async def _announce(self, zeroconf: "AsyncZeroconf", service: "ServiceInfo") -> None:
        try:
            # Our names are unique, so others that hold one are us: no probing.
            await (await zeroconf.async_register_service(service, cooperating_responders=True))
        except Exception as error:
            logger.exception("mdns: cannot announce this node")
            self._fail(f"cannot announce this node: {error}")

    def _on_change(
        self,
        zeroconf: "Zeroconf",
        service_type: str,
        name: str,
        state_change: "ServiceStateChange",
    ) -> None:
        """An instance came, changed or went. Called by zeroconf on the loop; must not wait."""
        from zeroconf import ServiceStateChange
        from zeroconf.asyncio import AsyncServiceInfo

        if self._status == "closed" or self._hints is None or name == self._own_name:
            return
        node_id = name.removesuffix("." + SERVICE_TYPE)
        try:
            check_id(node_id)
        except ValueError:
            self.ignored += 1
            return
        if state_change is ServiceStateChange.Removed:
            self._hints.forget(node_id)
            return
        info = AsyncServiceInfo(SERVICE_TYPE, name)
        # An announcement carries all its records, so there is nearly never anything to ask for.
        if info.load_from_cache(zeroconf):
            self._offer(node_id, info)
        elif node_id not in self._resolving:
            self._resolve(zeroconf, node_id, info)

    def _resolve(self, zeroconf: "Zeroconf", node_id: str, info: "ServiceInfo") -> None:
        if len(self._resolving) >= MAX_RESOLVING:
            self.ignored += 1
            return

        async def ask() -> None:
            if await info.async_request(zeroconf, RESOLVE_TIMEOUT * 1000):
                self._offer(node_id, info)
            else:
                self.ignored += 1

        def done(task: asyncio.Task[None]) -> None:
            if self._resolving.get(node_id) is task:
                del self._resolving[node_id]
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("mdns: cannot resolve %s", node_id, exc_info=error)

        task = asyncio.create_task(ask())
        self._resolving[node_id] = task
        task.add_done_callback(done)

    def _offer(self, node_id: str, info: "ServiceInfo") -> None:
        try:
            other = parse_service(node_id, info, loopback_only=self._loopback_only)
        except ValueError:
            self.ignored += 1
            return
        if self._hints is not None:
            self._hints.offer(other.candidate(self.name))

    def _fail(self, reason: str) -> None:
        if self._status == "closed":
            return
        self._status = "failing"
        self._reason = f"{reason} (UDP {MDNS_PORT} multicast; seeds work without it)"


def _ipv4(interfaces: Sequence[str]) -> list[str]:
    try:
        return [str(ipaddress.IPv4Address(address)) for address in interfaces]
    except ValueError as error:
        raise ValueError(f"interfaces are given by their IPv4 address: {error}") from None


async def _load(module: str) -> None:
    """Import `module` in a thread of its own, which ends before this returns.

    It takes 25-60 ms; in a thread the loop is held up for 3 ms at most. If cancelled, waits for
    the import to end: a thread must not outlive its loop.
    """
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="discovery-import")
    try:
        await asyncio.get_running_loop().run_in_executor(executor, import_module, module)
    finally:
        executor.shutdown()


async def _shut(zeroconf: "AsyncZeroconf") -> None:
    """Say goodbye and close zeroconf's sockets, whether or not there is time for all of it."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await zeroconf.async_close()
    except TimeoutError:
        logger.debug("mdns: no time for all of the goodbye")
        zeroconf.zeroconf.close()
