"""How much of what is said on a network is heard: a flood must not cost more than so much.

mDNS is open to all: who sends a thousand forged packets a second would make every host read and
parse a thousand. So packets beyond a pace are dropped before anything of them is parsed. Those of
a mesh that starts all at once fit the burst; mDNS repeats what matters, and nodes are found in
other ways as well (a newcomer that hears us dials us).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

__all__ = ["BURST", "PACKETS_PER_SECOND", "Pace", "PacedLoop"]

PACKETS_PER_SECOND = 100.0
"""Each costs half a millisecond, if it is a node. A quiet network has a few a second, a busy office
some dozens."""

REST = 0.005
"""Seconds for which nothing is read after a packet too many. To read and drop each would cost as
much as half of what it says; what the kernel has no room for it drops for nothing."""

BURST = 1000.0
"""Packets at once: hundreds of nodes that start, with their repeats."""


class Pace:
    """Lets ``burst`` pass at once, and then ``per_second``. ``now`` is a clock in seconds."""

    __slots__ = ("_allowance", "_at", "_burst", "_now", "_per_second", "dropped")

    def __init__(
        self, per_second: float, burst: float, now: Callable[[], float] = monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._now = now
        self._allowance = burst
        self._at = now()
        self.dropped = 0

    def may_pass(self) -> bool:
        """Whether what has just come may pass."""
        now = self._now()
        gained = (now - self._at) * self._per_second
        self._allowance = min(self._burst, self._allowance + gained)
        self._at = now
        if self._allowance < 1.0:
            self.dropped += 1
            return False
        self._allowance -= 1.0
        return True


class _Paced(asyncio.DatagramProtocol):
    """Stands before a protocol."""

    def __init__(self, inner: asyncio.DatagramProtocol, pace: Pace) -> None:
        self._inner = inner
        self._pace = pace
        self.connection_made = inner.connection_made  # type: ignore[method-assign]
        self.connection_lost = inner.connection_lost  # type: ignore[method-assign]
        self.error_received = inner.error_received  # type: ignore[method-assign]

    def __getattr__(self, name: str) -> Any:
        # zeroconf looks for what its own listeners have at those that a transport gives back.
        return getattr(self._inner, name)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self._pace.may_pass():
            self._inner.datagram_received(data, addr)
        else:
            # The thread has no other work that could not wait as well.
            sleep(REST)


class PacedLoop(asyncio.SelectorEventLoop):
    """A loop on which all datagrams together keep to one pace."""

    def __init__(self) -> None:
        super().__init__()
        self.pace = Pace(PACKETS_PER_SECOND, BURST)

    async def create_datagram_endpoint(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.DatagramProtocol], *args: Any, **options: Any
    ) -> Any:
        return await super().create_datagram_endpoint(
            lambda: _Paced(protocol_factory(), self.pace), *args, **options
        )
