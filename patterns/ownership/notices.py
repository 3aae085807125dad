"""What a user is told of slots that came and went: one call at a time, in order.

A change of members is told in two steps. What was **lost** first: as soon as the calls that ran on
it have ended, and what the handler then does (write its state out, say) is part of the handover,
so the new owner waits for it. What was **gained** after that: as soon as the old owners have handed
over, and calls of these slots begin here when the handler has ended. Both are bounded. A handler
that is slow is told the sum of what happened meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from patterns.logs import get_logger
from patterns.ownership.slots import Slots
from patterns.ownership.tenure import OwnershipPort, Tenure, View
from patterns.port import Runner, Running, Timer

__all__ = ["Notices", "OwnershipChange"]

logger = get_logger("mesh.ownership")

MAX_VIEWS = 16
"""Losses in a row that are told before a gain. After these a gain waits for nobody."""


class OwnershipChange:
    """Slots that a node gained, or lost; never both in one.

    ``service``      its name
    ``gained``       the slots that came here, as ``mesh.Slots``
    ``lost``         the slots that went
    ``gained_from``  the same by the ``Peer`` they came from; empty when nobody had them
    ``lost_to``      the same by the ``Peer`` that has them now; empty when this node leaves alone
    ``fence``        for what was gained the token of its calls; for what was lost one that is not
                     below any that was given out for it here
    """

    __slots__ = ("fence", "gained", "gained_from", "lost", "lost_to", "service")

    def __init__(
        self,
        service: str,
        gained: Slots,
        lost: Slots,
        gained_from: dict[Any, Slots],
        lost_to: dict[Any, Slots],
        fence: int,
    ) -> None:
        self.service = service
        self.gained = gained
        self.lost = lost
        self.gained_from = gained_from
        self.lost_to = lost_to
        self.fence = fence

    def __repr__(self) -> str:
        others = self.gained_from or self.lost_to
        what = f"from {list(map(str, others))}" if self.gained_from else f"to {[*map(str, others)]}"
        return f"<OwnershipChange of {self.service}: {what}>"


class Notices:
    """The handler of one service at one node."""

    def __init__(
        self,
        port: OwnershipPort,
        tenure: Tenure,
        runner: Runner,
        handler: Callable[[OwnershipChange], Any],
        is_async: bool,
    ) -> None:
        self._port = port
        self._local = port.local
        self._tenure = tenure
        self._runner = runner
        self._handler = handler
        self._is_async = is_async
        self._told: list[View] = []
        """A slot is granted if this node owns it in each of these, and there is one."""
        self._phase = ""
        """What runs: "loss", "gain" or nothing."""
        self._coming: View | None = None
        """Granted when the gain that runs is over."""
        self._is_overdue = False
        self._timer: Timer | None = None
        self._running: Running | None = None
        self._closed = False

    def grants(self, slot: int) -> bool:
        """Whether the user has been told that it is here, and not that it went."""
        return bool(self._told) and all(v.holder(slot) is self._local for v in self._told)

    @property
    def is_losing(self) -> bool:
        """Whether something that was lost is not given back, and others shall wait for that."""
        if self._is_overdue:
            return False
        return self._phase == "loss" or self._is_loss_due()

    def poke(self) -> None:
        """Tell what is to be told, if nothing is being told."""
        if self._phase or self._closed:
            return
        view = self._tenure.view
        if self._is_loss_due():
            if not self._tenure.runs_lost:
                self._tell_loss(view)
        elif self._told != [view]:
            if self._is_gain_possible(view):
                if not self._tenure.is_waiting or len(self._told) > MAX_VIEWS:
                    self._tell_gain(view)
            elif self._told:
                self._told = [view]

    def close(self) -> None:
        self._closed = True
        self._stop_timer()
        if self._running is not None:
            self._running.cancel()

    def _is_loss_due(self) -> bool:
        """Whether somebody has come, or this node has left: nothing else takes slots away."""
        view = self._tenure.view
        if not self._told or self._told[-1] is view or not self._is_in(self._told[-1]):
            return False
        return not self._is_in(view) or bool(_ids(view) - _ids(self._told[-1]))

    def _is_gain_possible(self, view: View) -> bool:
        """Whether this node has come, or somebody has left: nothing else brings slots."""
        if not self._is_in(view):
            return False
        return not self._told or any(_ids(past) - _ids(view) for past in self._told)

    def _is_in(self, view: View) -> bool:
        return self._local.id in _ids(view)

    def _tell_loss(self, view: View) -> None:
        me, told = self._local, list(self._told)

        def had(slot: int) -> bool:
            return all(past.first(slot) is me for past in told)

        def to(other: Any) -> Slots:
            return Slots(lambda slot: view.first(slot) is other and had(slot))

        lost = Slots(lambda slot: view.first(slot) is not me and had(slot))
        before = _ids(told[-1]) if self._is_in(view) else {me.id}
        others = {h.peer: to(h) for h, _, _ in view.members if h.id not in before}
        self._told.append(view)
        fence = self._tenure.given
        change = OwnershipChange(self._tenure.service, Slots(), lost, {}, others, fence)
        self._start("loss", change)

    def _tell_gain(self, view: View) -> None:
        me, told = self._local, list(self._told)

        def owner_before(slot: int) -> Any:
            # Who would have it without this node, had it before this node came.
            past = (each.first(slot) for each in reversed(told))
            return next((h for h in past if h is not me), None) if told else view.second(slot)

        def came(slot: int) -> bool:
            return view.first(slot) is me and (not told or owner_before(slot) is not None)

        def of(other: Any) -> Slots:
            return Slots(lambda slot: view.first(slot) is me and owner_before(slot) is other)

        now = _ids(view)
        others = {
            handle.peer: of(handle)
            for past in told or [view]
            for handle, _, _ in past.members
            if handle is not me and not (len(told) == 1 and handle.id in now)
        }
        self._coming = view
        fence = self._tenure.newest_fence()
        change = OwnershipChange(self._tenure.service, Slots(came), Slots(), others, {}, fence)
        self._start("gain", change)

    def _start(self, phase: str, change: OwnershipChange) -> None:
        self._phase, self._is_overdue = phase, False
        self._timer = self._port.call_later(self._tenure.handover, self._on_overdue)
        self._running = self._runner.start(self._handler, (change,), {}, self._is_async, self._done)

    def _done(self, value: Any, error: BaseException | None) -> None:
        self._running = None
        if self._closed:
            return
        if error is not None:
            logger.error(
                "the handler of what this node owns of %r raised: %s",
                self._tenure.service, error, exc_info=error,
            )  # fmt: skip
        self._stop_timer()
        self._grant()
        self._phase, self._is_overdue = "", False
        self._port.poke()

    def _on_overdue(self) -> None:
        """It goes on, and is told nothing else meanwhile; others wait for it no more."""
        self._timer = None
        self._is_overdue = True
        self._port.count("ownership_handlers_overdue")
        logger.warning(
            "the handler of what this node owns of %r has run for %g s; it is waited for no more",
            self._tenure.service, self._tenure.handover,
        )  # fmt: skip
        self._grant()
        self._port.poke()

    def _grant(self) -> None:
        if self._phase == "gain" and self._coming is not None:
            self._told, self._coming = [self._coming], None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _ids(view: View) -> set[bytes]:
    return {handle.id for handle, _, _ in view.members}
