"""Seeds: addresses that someone wrote down.

They reach what no multicast does: other subnets, containers, clouds. One seed that answers is
enough for a mesh whose nodes tell each other whom they know. All are told again every few seconds,
because a seed may come up later than those that need it.
"""

import asyncio
from collections.abc import Callable, Sequence

from discovery.address import format_address, parse_address
from discovery.hints import Hints
from discovery.source import Announcement, Candidate, SourceState, Status

INTERVAL = 5.0
"""Seconds between two rounds: a seed that comes up is found soon, at next to no cost."""


class Seeds:
    """Tells each of `addresses` (`host:port`, IPv6 in brackets) at start and every `interval` s.

    The node's own addresses are left out, so all nodes can share one list. Raises `ValueError` for
    an address that cannot be right, or an interval that is not positive.
    """

    name = "seeds"

    def __init__(self, addresses: Sequence[str], interval: float = INTERVAL) -> None:
        if interval <= 0:
            raise ValueError(f"interval {interval} s is not positive")
        if isinstance(addresses, str):
            raise ValueError("addresses is a list of host:port texts, not one text")
        distinct = dict.fromkeys(format_address(*parse_address(text)) for text in addresses)
        self._addresses = tuple(distinct)
        self._interval = interval
        self._status: Status = "idle"
        self._hints: Hints | None = None
        self._candidates: tuple[Candidate, ...] = ()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def state(self) -> SourceState:
        """How this source is doing; `seen` is the number of seeds told."""
        return SourceState(self._status, seen=self._hints.seen if self._hints else 0)

    async def start(self, announcement: Announcement, found: Callable[[Candidate], None]) -> None:
        """Tell all seeds to `found`, now and from now on. Raises `RuntimeError` if not idle."""
        if self._status != "idle":
            raise RuntimeError(f"this source is {self._status}: make a new one")
        self._status = "working"
        self._hints = Hints(announcement.id, found)
        own = set(announcement.addresses)
        others = (address for address in self._addresses if address not in own)
        self._candidates = tuple(Candidate((address,), self.name) for address in others)
        self._tell()

    async def close(self) -> None:
        """Tell no more. Idempotent."""
        self._status = "closed"
        if self._hints is not None:
            self._hints.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        assert self._hints is not None  # set by start(), the only way here
        for candidate in self._candidates:
            self._hints.offer(candidate)
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._tell)
