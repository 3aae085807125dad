"""Round trips that users ask for: a PING on the control lane, timed until its PONG is here.

The answer comes from the peer's loop, not from its libzmq, so the time says how long a small
message takes to a Python that is there and back: network, both loops, and what they are busy
with. On the control lane a ping passes the user messages that wait for the window.

Surprise: a ping is lost with the link epoch that it was sent on, and is not sent again. The peer
need not be lost for that; the wait then ends with Timeout.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.engine.control import FIRST_PING, PING
from mesh.engine.core import Core
from mesh.engine.session import Session
from mesh.engine.waits import check_seconds
from mesh.membership import State
from patterns.errors import MeshError, NodeClosed, Overloaded, PeerLost, Timeout
from patterns.port import Timer, Waiter

__all__ = ["MAX_PINGS", "Pings"]

MAX_PINGS = 1024
"""On their way at once: one to each node of the largest mesh that this is made for."""


class _Ping:
    __slots__ = ("sent_at", "session", "timer", "waiter")

    def __init__(self, session: Session, sent_at: float, waiter: Waiter, timer: Timer) -> None:
        self.session = session
        self.sent_at = sent_at
        self.waiter = waiter
        self.timer = timer


class Pings:
    """The pings of one node that wait for their answers."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._sent = 0
        self._waiting: dict[int, _Ping] = {}

    def ping(self, session: Session, timeout: float, waiter: Waiter) -> int:
        """Ask; ``waiter`` gets the seconds until the answer. Returns the number to cancel by.

        It ends with Timeout, or with PeerLost when the peer fails or leaves meanwhile. Raises
        Overloaded at once when ``MAX_PINGS`` are on their way, ConfigError for a bad timeout.
        """
        seconds = check_seconds("timeout", timeout)
        if len(self._waiting) >= MAX_PINGS:
            raise Overloaded(f"{MAX_PINGS} pings are on their way already")
        number = FIRST_PING + self._sent
        self._sent += 1
        clock = self._core.clock
        timer = clock.call_later(seconds, lambda: self._expire(number, seconds))
        self._waiting[number] = _Ping(session, clock.now(), waiter, timer)
        session.control(PING, number)
        return number

    def cancel(self, number: int) -> None:
        """Nobody waits for it any more."""
        self._take(number)

    def on_pong(self, session: Session, number: int) -> None:
        """An answer. One that is late, or was not asked of that peer, is ignored."""
        ping = self._waiting.get(number)
        if ping is not None and ping.session is session:
            self._take(number)
            if not ping.waiter.done():
                ping.waiter.set_result(self._core.clock.now() - ping.sent_at)

    def lost(self, session: Session, reason: str) -> None:
        """The peer has ended."""
        self._fail(lambda ping: ping.session is session, PeerLost(reason))

    def close(self) -> None:
        """This node ends, and all waits with it."""
        self._fail(lambda ping: True, NodeClosed("the node was closed during the ping"))

    def _fail(self, is_meant: Callable[[_Ping], bool], error: MeshError) -> None:
        for number, ping in list(self._waiting.items()):
            if is_meant(ping):
                self._take(number)
                if not ping.waiter.done():
                    ping.waiter.set_exception(error)

    def _expire(self, number: int, seconds: float) -> None:
        ping = self._take(number)
        if ping is not None and not ping.waiter.done():
            state = ping.session.state
            doubt = f"; it is {state}" if state not in (None, State.ALIVE) else ""
            text = f"no answer from {ping.session.peer} within {seconds:g} s{doubt}"
            ping.waiter.set_exception(Timeout(text))

    def _take(self, number: int) -> _Ping | None:
        ping = self._waiting.pop(number, None)
        if ping is not None:
            ping.timer.cancel()
        return ping
