"""Sources that are given a list: what was written down, in the code, in DNS or in a file.

They reach what no multicast does: other subnets, containers, clouds. One that answers is enough for
a mesh whose nodes tell each other whom they know. All are told again every few seconds, because a
node may come up later than those that need it.
"""

import asyncio
from collections.abc import Callable, Iterable

from discovery.hints import Hints
from discovery.source import Announcement, Candidate, SourceState, Status

INTERVAL = 5.0
"""Seconds between two rounds: a node that comes up is found soon, at next to no cost."""


class Listed:
    """What these sources have in common: entries, each with addresses, told and told again.

    A subclass says `set_entry(entry, addresses)` and `drop_entry(entry)` as it learns of them, and
    begins and ends its own work in `_begin` and `_end`.
    """

    name: str

    def __init__(self, interval: float = INTERVAL) -> None:
        if interval <= 0:
            raise ValueError(f"interval {interval} s is not positive")
        self._interval = interval
        self._status: Status = "idle"
        self._hints: Hints | None = None
        self._own: frozenset[str] = frozenset()
        self._entries: dict[str, tuple[str, ...]] = {}
        self._problems: dict[str, str] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def state(self) -> SourceState:
        """How this source is doing; its candidates are the addresses told."""
        status = self._status
        if status == "working" and self._problems:
            status = "failing"
        reason = "; ".join(self._problems.values()) if status == "failing" else ""
        return SourceState(status, reason, self._hints.known if self._hints else ())

    async def start(self, announcement: Announcement, found: Callable[[Candidate], None]) -> None:
        """Tell all to `found`, now and from now on. Raises `RuntimeError` if not idle."""
        if self._status != "idle":
            raise RuntimeError(f"this source is {self._status}: make a new one")
        self._status = "working"
        self._hints = Hints(announcement.id, found)
        self.update(announcement)
        self._begin()
        self._tell_all()

    def update(self, announcement: Announcement) -> None:
        """This node's own addresses are left out, so that all nodes can share one list."""
        self._own = frozenset(announcement.addresses)

    async def close(self) -> None:
        """Tell no more. Idempotent."""
        was_working, self._status = self._status == "working", "closed"
        if self._hints is not None:
            self._hints.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if was_working:
            self._end()

    def _begin(self) -> None:
        """The source has started."""

    def _end(self) -> None:
        """The source is closed."""

    def set_entry(self, entry: str, addresses: Iterable[str]) -> None:
        """An entry, and where it leads now; what it led to before is withdrawn."""
        self._problems.pop(entry, None)
        before = self._entries.get(entry, ())
        now = self._entries[entry] = tuple(addresses)
        self._withdraw(set(before) - set(now))
        self._offer(now)

    def set_problem(self, entry: str, why: str) -> None:
        """An entry leads nowhere now; what it led to before may still be there."""
        self._problems[entry] = why

    def drop_entry(self, entry: str) -> None:
        """An entry is not on the list any more."""
        self._problems.pop(entry, None)
        self._withdraw(set(self._entries.pop(entry, ())))

    def _offer(self, addresses: Iterable[str]) -> None:
        if self._hints is None:
            return
        for address in addresses:
            if address not in self._own:
                self._hints.offer(Candidate((address,), self.name))

    def _withdraw(self, addresses: set[str]) -> None:
        if self._hints is None:
            return
        for address in addresses:
            if not any(address in others for others in self._entries.values()):
                self._hints.withdraw(Candidate((address,), self.name).key)

    def _tell_all(self) -> None:
        for addresses in list(self._entries.values()):
            self._offer(addresses)
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._tell_all)
