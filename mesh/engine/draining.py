"""Leaving well: a node withdraws from all work, ends what it has, and has lost nothing then.

It goes by what peers know already. The node takes its services, groups and queue groups out of its
record, so that their routing, rings and credit lead elsewhere; what arrives before they have read
that goes back *not started*: a call with DRAINING, on which its caller asks another member, with or
without ``retry``, and a cast with BACK. What was not begun goes the same way, what runs ends, and
what was published to this node until then is handled: plain interest is withdrawn last.

Three steps: no new work; no call and no cast runs, and all alive peers know: no interest (not when
its handlers are idle, which they may never be); all of them know, nothing runs, everything is
sent, and nothing has come for ``QUIET``.

The last is no superstition. Requests and casts travel on connections of their own, so one that was
sent before its sender knew can come after the confirmation, and a reply be overtaken by a goodbye.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mesh.engine.conditions import Conditions
from mesh.engine.control_lane import ControlLane
from mesh.engine.core import Core
from mesh.engine.ownership import Ownership
from mesh.engine.waits import NOT_YET, Waits
from mesh.engine.work_plane import WorkPlane
from mesh.membership import State
from patterns.errors import NodeClosed, Timeout
from patterns.port import Waiter
from patterns.pubsub import PubSub
from patterns.rpc import RpcServer
from patterns.subscription import Subscription

__all__ = ["QUIET", "Draining"]

QUIET = 0.25
"""Seconds without a request, a cast or a message before a drain is over: a TCP segment that was
lost is sent again after 0.2 s."""

_SERVING, _NO_WORK, _NO_INTEREST = range(3)


class Draining:
    """The drain of one engine. ``services_changed()`` is told when it serves nothing any more."""

    def __init__(
        self,
        core: Core,
        control: ControlLane,
        server: RpcServer,
        work: WorkPlane,
        pubsub: PubSub,
        waits: Waits,
        conditions: Conditions,
        ownership: Ownership,
        services_changed: Callable[[], None],
    ) -> None:
        self._core = core
        self._control = control
        self._server = server
        self._work = work
        self._pubsub = pubsub
        self._waits = waits
        self._conditions = conditions
        self._ownership = ownership
        self._services_changed = services_changed
        self._step = _SERVING
        self.is_over = False
        """Whether one has ended: nothing is left here."""
        self._version = 0
        """Of our record: the one that all must have confirmed for the next step."""
        self._came = (0, 0, 0)
        self._quiet_since = 0.0

    def drain(self, timeout: float, waiter: Waiter) -> None:
        """Begin, or go on; ``waiter`` ends when it is over, with Timeout that says what is not."""
        if self._step == _SERVING:
            self._withdraw_work()
        self._waits.add(self._check, waiter, timeout, lambda: self._timeout(timeout))

    @property
    def has_begun(self) -> bool:
        """Whether this node takes no new work any more."""
        return self._step != _SERVING

    def check_may_serve(self) -> None:
        """Raises NodeClosed when this node takes no new work any more."""
        if self.has_begun:
            raise NodeClosed("this node is draining: it takes no new work")

    def check_may_subscribe(self, subscription: Subscription) -> None:
        """The same for a subscription; a plain one to read may be what a handler waits by."""
        is_work = subscription.handler is not None or subscription.pool is not None
        if is_work or self._step == _NO_INTEREST:
            self.check_may_serve()

    def _withdraw_work(self) -> None:
        self._step = _NO_WORK
        self._core.record.withdraw_work()
        # Its heirs learn what still runs before they learn that they are heirs.
        self._ownership.withdraw()
        # Before what goes back: its sender shall know that there is no use in asking here again.
        self._tell()
        self._server.drain()
        self._pubsub.withdraw_groups()
        self._work.receiver.drain()
        self._work.sender.members_changed()
        self._services_changed()

    def _withdraw_interest(self) -> None:
        self._step = _NO_INTEREST
        self._core.record.withdraw_interest()
        self._tell()
        self._pubsub.withdraw()

    def _tell(self) -> None:
        self._control.send_record_changes()
        self._version = self._core.record.version
        self._quiet_since = self._core.clock.now()

    def _check(self) -> Any:
        if self._step == _NO_WORK and self._work_has_ended():
            self._withdraw_interest()
        has_ended = self._work_has_ended() and self._pubsub.is_idle
        is_over = has_ended and self._conditions.is_flushed() and self._is_quiet()
        if self._step == _NO_INTEREST and is_over:
            self.is_over = True
            return None
        self._conditions.poll()
        return NOT_YET

    def _work_has_ended(self) -> bool:
        """No call and no cast runs here, and everybody knows what we have withdrawn."""
        return (
            not len(self._server)
            and self._ownership.is_released
            and self._work.receiver.is_idle
            and not self._control.unconfirmed(self._version)
        )

    def _is_quiet(self) -> bool:
        """Whether nothing came for a while from anybody who could send something."""
        sessions = self._core.sessions.values()
        messages = sum(session.inbox.received for session in sessions)
        came = self._server.handed_on, self._work.receiver.seen, messages
        now = self._core.clock.now()
        if came != self._came:
            self._came, self._quiet_since = came, now
        if not any(session.state is State.ALIVE for session in sessions):
            return True
        return now - self._quiet_since >= QUIET

    def _timeout(self, timeout: float) -> Timeout:
        what = ", ".join(self.left()) or "messages still come"
        return Timeout(f"not drained in {timeout:g} s: {what}")

    def left(self) -> list[str]:
        """What a drain waits for, for people."""
        left = [f"{count} of {name}() run" for name, count in self._server.running().items()]
        casts = self._work.receiver.reports.running().items()
        left += [f"{count} casts of {pool} run" for pool, count in casts]
        left += [f"the handler of {pattern!r} runs" for pattern in self._pubsub.busy()]
        left += [f"{what} is not handed over" for what in self._ownership.unreleased()]
        unconfirmed = self._control.unconfirmed(self._version)
        left += [f"{member.peer} has not confirmed" for member in unconfirmed]
        return left + self._conditions.unflushed()
