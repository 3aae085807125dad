"""How a keyed node is entered and enters others: its door, and the knocks at other doors.

The address of a keyed node is that of its door. Behind it are sockets whose key only members are
told, so ``enter`` asks at the door, and gives the link socket's address and key. What it found
there is kept for the address: to probe a peer, whose link socket answers even while its Python is
blocked, and to knock again when there is news (``spread``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import zmq

from discovery.address import format_address, parse_address
from mesh.logs import get_logger
from mesh.security import Credentials
from mesh.security.knocking import BadKnock, Card, DoorRefusal, new_token
from mesh.transport.door import Door, knock
from mesh.transport.listening import listen
from mesh.transport.zap import ZapHandler

__all__ = ["Entrance"]

logger = get_logger("mesh.security")

TICK = 5.0
"""Seconds between two looks at what has run out."""

SPREAD_SECONDS = 5.0
"""For each peer that is told news: it is told again by whoever it meets."""

SPREAD_AT_ONCE = 32
"""Knocks under way when there is news: a thousand peers are told in a moment all the same."""

MAX_KNOWN = 4096
"""Addresses whose card is remembered; the oldest go first."""


class Entrance:
    """``spawn`` runs a task for the transport, and cancels it when that closes."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: zmq.Context[zmq.Socket[bytes]],
        credentials: Credentials,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._loop = loop
        self._credentials = credentials
        self._spawn = spawn
        self._zap = ZapHandler(loop, context, credentials.admit)
        self._door: Door | None = None
        self._known: dict[str, tuple[str, bytes]] = {}
        """Link address and id of the node at each address."""
        self._telling: set[bytes] = set()
        """Members that are being told what is new."""
        self._tick: asyncio.TimerHandle | None = None

    def listen(self, host: str, port: int) -> int:
        """Take the door's port, and return it. Raises OSError when it is not to be had."""
        self._door = Door(listen(host, port), self._credentials.answer)
        return self._door.port

    def open(self, link_port: int) -> None:
        """Answer at the door: behind it is the link socket at ``link_port``."""
        self._credentials.port = link_port
        if self._door is not None:
            self._spawn(self._door.start())
        self._tick = self._loop.call_later(TICK, self._look)

    def _look(self) -> None:
        self._tick = self._loop.call_later(TICK, self._look)
        self._credentials.tick()
        # Who could not be told at once: its Python was blocked, its door full.
        self.spread()

    async def enter(
        self, address: str, whom: bytes | None = None
    ) -> tuple[str, Card] | DoorRefusal:
        """The link socket of the node at ``address``, and its card; or why it lets us not in.

        Tries each mesh key that is good here. ``whom``: the id of the member that is told what is
        new. Raises OSError when nobody answers.
        """
        credentials = self._credentials
        try:
            host, port = parse_address(address)
        except ValueError as error:
            raise OSError(str(error)) from None
        refusal = DoorRefusal("key", "this node has no key")
        for key in list(credentials.keys):
            token = new_token()
            try:
                answer = await knock(host, port, partial(credentials.question, key, token, whom))
                said = credentials.take_answer(answer, key, token)
            except BadKnock as error:
                return DoorRefusal("key", str(error))
            if isinstance(said, Card):
                link = format_address(host, said.port)
                self._known.pop(address, None)
                self._known[address] = link, said.id
                if len(self._known) > MAX_KNOWN:
                    del self._known[next(iter(self._known))]
                return link, said
            refusal = said
            if said.code != "key":
                break
        return refusal

    def link_address(self, address: str) -> str:
        """Where the link socket of the node at ``address`` was last."""
        known = self._known.get(address)
        return known[0] if known is not None else address

    def spread(self) -> None:
        """Knock again at the doors of members that have not shown that they know what is new."""
        credentials = self._credentials
        at_once = asyncio.Semaphore(SPREAD_AT_ONCE)
        for address, (_, id) in self._known.items():
            is_here = credentials.members.get(id) is not None and credentials.is_linked(id)
            if is_here and id not in self._telling and not credentials.is_up_to_date(id):
                self._telling.add(id)
                self._spawn(self._tell(address, id, at_once))

    async def _tell(self, address: str, id: bytes, at_once: asyncio.Semaphore) -> None:
        try:
            async with at_once, asyncio.timeout(SPREAD_SECONDS):
                # Twice, if the first was with an old key: it has the new one then.
                for _ in range(2):
                    said = await self.enter(address, id)
                    if isinstance(said, DoorRefusal) or self._credentials.is_up_to_date(id):
                        return
        except (OSError, TimeoutError) as error:
            logger.debug("%s was not told the news: %r", address, error)
        finally:
            self._telling.discard(id)

    @property
    def refused(self) -> int:
        """Connections that were not let in."""
        at_door = self._door.refused if self._door is not None else 0
        return self._zap.refused + at_door + self._credentials.refused

    def close(self) -> None:
        """No more answers. See ``wait_closed``."""
        if self._tick is not None:
            self._tick.cancel()
        if self._door is not None:
            self._door.close()
        self._zap.close()

    async def wait_closed(self) -> None:
        """Until nobody is at the door."""
        if self._door is not None:
            await self._door.wait_closed()
