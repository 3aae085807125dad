"""What verbs can wait for: somebody to be there, a record to be known, everything to be sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mesh.engine.config import LISTEN
from mesh.engine.control_lane import ControlLane
from mesh.engine.core import Core
from mesh.engine.dialer import Dialer
from mesh.engine.local import LocalSession
from mesh.engine.pressure import Pressure
from mesh.engine.session import Session
from mesh.engine.waits import NOT_YET, Waits
from mesh.membership import Peer, State
from patterns.errors import Timeout
from patterns.groupcast import CastSender
from patterns.names import check_name, group_subject
from patterns.port import Waiter

__all__ = ["Conditions"]

GOODBYE_WAIT = 0.2
"""Seconds for peers to acknowledge our goodbye."""

POLL = 0.05
"""Seconds between looks at what no event tells of: a stall, the end of the listening time."""


class Conditions:
    """The waits of one engine, by what they wait for."""

    def __init__(
        self,
        core: Core,
        local: LocalSession,
        waits: Waits,
        control: ControlLane,
        dialer: Dialer,
        casts: CastSender,
        pressure: Pressure,
    ) -> None:
        self._core = core
        self._local = local
        self._waits = waits
        self._control = control
        self._dialer = dialer
        self._casts = casts
        self._pressure = pressure
        self._is_poll_due = False
        self.opened_at = 0.0

    def wait_for(
        self, name: str | None, group: str | None, count: int, timeout: float, waiter: Waiter
    ) -> None:
        """Until ``count`` alive nodes serve it, or are in the group; without both: see LISTEN."""
        if name is None and group is None:
            self._wait_until_settled(min(timeout, 1.0), waiter)
            return
        if name is not None:
            check_name("service", name)
        if group is not None:
            group_subject(group)
        what = f"the service {name!r}" if name is not None else f"the group {group!r}"

        def found() -> list[Peer]:
            return [
                peer
                for peer in (self._local.peer, *self._core.membership.peers())
                if peer.state == State.ALIVE
                and (name is None or name in peer.services)
                and (group is None or group in peer.groups)
            ]

        def check() -> Any:
            peers = found()
            return peers if len(peers) >= count else NOT_YET

        def on_timeout() -> Timeout:
            here = ", ".join(str(peer) for peer in found()) or "none"
            return Timeout(f"{count} nodes with {what} were not here in {timeout:g} s; now: {here}")

        self._waits.add(check, waiter, timeout, on_timeout)

    def _wait_until_settled(self, timeout: float, waiter: Waiter) -> None:
        def check() -> Any:
            if not self._is_settled():
                self.poll()
                return NOT_YET
            return self._core.membership.peers()

        self._waits.add(check, waiter, timeout, self._core.membership.peers)

    def when_settled(self, is_so: Callable[[], object], seconds: float, waiter: Waiter) -> None:
        """Until all who were heard of are linked or refused, and ``is_so()``; or so long."""

        def check() -> Any:
            if self._is_settled() and is_so():
                return None
            self.poll()
            return NOT_YET

        self._waits.add(check, waiter, seconds, lambda: None)

    def _is_settled(self) -> bool:
        """Whether there was time to hear of others, and each is linked or refused."""
        if self._core.clock.now() - self.opened_at < LISTEN or not self._dialer.is_settled:
            return False
        sessions = self._core.sessions.values()
        return all(s.is_joined or s.has_left or s.dial is None for s in sessions)

    def confirm(self, timeout: float, waiter: Waiter) -> None:
        """Until every alive peer has what this node wants; gives those that have not, in time."""
        version = self._core.record.version
        self._waits.add(
            lambda: NOT_YET if self._control.unconfirmed(version) else [],
            waiter,
            timeout,
            lambda: [member.peer for member in self._control.unconfirmed(version)],
        )

    def flush(self, timeout: float, waiter: Waiter) -> None:
        """Until no message waits here for a peer that takes any, and no groupcast for its end."""

        def check() -> Any:
            if self.is_flushed():
                return None
            self.poll()
            return NOT_YET

        def on_timeout() -> Timeout:
            left = ", ".join(self.unflushed())
            return Timeout(f"not everything was sent in {timeout:g} s: {left}")

        self._waits.add(check, waiter, timeout, on_timeout)

    def is_flushed(self) -> bool:
        """What ``flush`` waits for."""
        return not self._casts.unacked and not self._unsent()

    def unflushed(self) -> list[str]:
        """What ``flush`` would still wait for, for people."""
        unsent = self._unsent()
        sizes = [(s.outbox.queue.size + s.parcels.outgoing.size, s.peer) for s in unsent]
        left = [f"{size} bytes for {peer}" for size, peer in sizes if size]
        left += [f"streams to {s.peer}" for s in unsent if s.streams.is_waiting]
        if self._casts.unacked:
            where = self._casts.describe()
            left.append(f"{self._casts.unacked} groupcasts are not acknowledged ({where})")
        return left

    def _unsent(self) -> list[Session]:
        now = self._core.clock.now()
        sessions = (self._local, *self._core.sessions.values())
        return [
            s
            for s in sessions
            if s.parcels.is_waiting
            or s.streams.is_waiting
            or (s.outbox.is_waiting and not s.outbox.is_stalled(now))
            or (self._pressure.size_for(s) and self._pressure.is_waited_for(s))
        ]

    def goodbye(self, told: Sequence[Session], waiter: Waiter) -> None:
        """Until all of them that are alive have heard that we leave, or soon anyway."""

        def check() -> Any:
            left = [s for s in told if not s.has_left and s.state in (None, State.ALIVE)]
            return NOT_YET if left else None

        self._waits.add(check, waiter, GOODBYE_WAIT, lambda: None)

    def poll(self) -> None:
        """Ask all checks again soon."""
        if not self._is_poll_due:
            self._is_poll_due = True
            self._core.clock.call_later(POLL, self._on_poll)

    def _on_poll(self) -> None:
        self._is_poll_due = False
        self._waits.poke()
