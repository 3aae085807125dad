"""mDNS: nodes of one network segment find each other by multicast (RFC 6762, RFC 6763).

Each node is an instance of `_mesh._tcp.local.` whose name is the node id, so names never clash and
the probing that would delay the first announcement by 1.2 s is skipped. `discovery.service` says
what is announced, `discovery.hub` does it, for all nodes of the process together.

What surprises: a crashed node stays in everyone's mDNS cache for over an hour, so nothing here says
who is alive. Any host of the network can send anything, so each field is checked, and what is wrong
is counted and forgotten.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from typing import Any

from discovery.hints import Hints
from discovery.hub import CLOSE_TIMEOUT, Hub
from discovery.interfaces import check_wanted, is_loopback
from discovery.service import SOURCE
from discovery.source import Announcement, Candidate, SourceState, Status


class Mdns:
    """Announces and finds nodes by mDNS, on IPv4 and IPv6.

    `interfaces` are those to use, by name, address or network; without any those that
    `discovery.interfaces` chooses, as they come and go. Loopback is always used, so that nodes of
    one host meet without a network. `loopback_only` uses loopback alone; so does an announcement
    that has loopback addresses only, because they would lead other hosts to themselves, until it is
    updated to one that has others. Then only loopback addresses are found, too.

    `ignored` counts announcements that were not valid or could not be resolved.
    Raises `ValueError` for interfaces that make no sense.
    """

    name = SOURCE

    def __init__(self, interfaces: Sequence[str] = (), loopback_only: bool = False) -> None:
        self.ignored = 0
        self.announcement: Announcement
        self._interfaces = check_wanted(interfaces)
        self._loopback_only = loopback_only
        self._status: Status = "idle"
        self._reason = ""
        self._hints: Hints
        self._hub: Hub | None = None
        self._is_on_loopback: bool
        self._goodbyes: list[tuple[Hub, Future[None], bool]] = []
        self._loop: asyncio.AbstractEventLoop
        self._opened: asyncio.Event
        self._until_loop_ends = self._leave_with_loop()

    @property
    def state(self) -> SourceState:
        """How this source is doing; its candidates are those that have not said goodbye."""
        known = self._hints.known if self._status != "idle" else ()
        return SourceState(self._status, self._reason, known)

    async def start(self, announcement: Announcement, found: Callable[[Candidate], None]) -> None:
        """Browse and announce; returns before the announcements are out.

        Where mDNS cannot work the state says so; it begins to when the network changes. Raises
        `RuntimeError` if not idle.
        """
        if self._status != "idle":
            raise RuntimeError(f"this source is {self._status}: make a new one")
        self._status = "working"
        self.announcement = announcement
        self._loop = asyncio.get_running_loop()
        self._opened = asyncio.Event()
        self._hints = Hints(announcement.id, found)
        await anext(self._until_loop_ends)
        self._join()
        await self._opened.wait()

    def update(self, announcement: Announcement) -> None:
        """This node has other addresses now."""
        self.announcement = announcement
        if self._hub is None:
            return
        if self._is_on_loopback == self._belongs_on_loopback():
            self._hub.update(self)
        else:
            # It was started without a network, and now there is one.
            self._leave()
            self._join()

    async def close(self) -> None:
        """Say goodbye and stop. Idempotent; takes 0.5 s at most."""
        if self._status != "idle":
            self._hints.close()
            self._opened.set()
        else:
            self._hints = Hints("", lambda candidate: None)
        self._status, self._reason = "closed", ""
        self._leave()
        goodbyes = {asyncio.wrap_future(goodbye) for _, goodbye, _ in self._goodbyes}
        if goodbyes:
            await asyncio.wait(goodbyes, timeout=CLOSE_TIMEOUT)
        for hub, goodbye, was_last in self._goodbyes:
            if was_last and goodbye.done():
                # It has nothing left to do but to end.
                hub.thread.join(CLOSE_TIMEOUT)
        await self._until_loop_ends.aclose()

    def _belongs_on_loopback(self) -> bool:
        return self._loopback_only or all(is_loopback(host) for host in self.announcement.hosts)

    def _join(self) -> None:
        self._is_on_loopback = self._belongs_on_loopback()
        self._hub = Hub.join(self, self._interfaces, self._is_on_loopback)

    def _leave(self) -> None:
        hub, self._hub = self._hub, None
        if hub is not None:
            self._goodbyes.append((hub, *hub.leave(self)))

    async def _leave_with_loop(self) -> AsyncGenerator[None, None]:
        """Waits for ``asyncio.run`` to end without ``close``: a loop's end closes generators."""
        try:
            yield
        finally:
            self._leave()

    # Called by the hub, on its thread.

    def on_found(self, candidate: Candidate) -> None:
        self._hand_over(self._hints.offer, candidate)

    def on_gone(self, node_id: str) -> None:
        self._hand_over(self._hints.withdraw, node_id)

    def on_ignored(self) -> None:
        self._hand_over(self._count_ignored)

    def on_state(self, status: Status, reason: str) -> None:
        self._hand_over(self._set_state, status, reason)

    def _hand_over(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            return  # the loop is closed; nobody is there to be told

    def _count_ignored(self) -> None:
        self.ignored += 1

    def _set_state(self, status: Status, reason: str) -> None:
        if self._status != "closed":
            self._status, self._reason = status, reason
            self._opened.set()
