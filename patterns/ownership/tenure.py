"""One service's slots at one node: which of them it may work on now.

The ring says who owns a slot; two nodes that know each other never both own one by their own
rings, for which of them comes first at a slot is fixed. What remains of the old owner is work that
runs. So there is one message, a *statement*: "I count you as a member; of the slots that are not
mine, these are not free here yet". A node works on a slot if

* it owns it by its own ring, and
* each other node of the service that may hold slots has made a statement to it, and that does not
  name the slot. Whoever has never worked on any says so in its record, and owes none.

A statement is the whole state: repeated after any loss of a link, it needs no number and no
answer. A node that leaves the service states what still runs before it says that it leaves, on
the same connection, so its heirs know before they are heirs.

Everything is bounded. The old owner calls a slot free ``handover`` seconds after it lost it,
whatever runs there; the new one waits for nobody for more than ``HANDOVER_SLACK`` longer.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from patterns.keys import SLOTS
from patterns.logs import get_logger
from patterns.ownership.fences import Fences
from patterns.port import Handle, Timer

if TYPE_CHECKING:
    from patterns.ownership.notices import Notices

__all__ = ["HANDOVER", "HANDOVER_SLACK", "OwnershipPort", "Tenure", "View"]

logger = get_logger("mesh.ownership")

HANDOVER = 5.0
"""Seconds that the old owner of a slot has to end what runs: as long as a call takes at most,
unless its caller says otherwise."""

HANDOVER_SLACK = 1.0
"""Seconds that the new owner waits beyond that: for the messages, and for views that differ."""

_HISTORY = 8
"""Views back that are remembered, to see that a slot was held without a break. One that was not
looked at for longer gets a new fence, which does no harm."""


class View(Protocol):
    """The members of a service as this node knows them now. It never changes."""

    @property
    def members(self) -> Sequence[tuple[Any, str, float]]: ...

    def holder(self, slot: int) -> Any | None:
        """The handle that owns a slot; None without members."""

    def first(self, slot: int) -> Any | None:
        """The same, remembering nothing, on any thread."""

    def second(self, slot: int) -> Any | None:
        """Who would own it if the owner went; as ``first``."""


class OwnershipPort(Protocol):
    """What a tenure needs."""

    @property
    def local(self) -> Any: ...

    def now(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer: ...

    def view(self, service: str) -> View: ...

    def partners(self, service: str) -> Iterable[tuple[Any, bool]]:
        """Others that speak of the service, alive or in doubt; and whether they may hold slots."""

    def is_before(self, handle: Any, slot: int) -> bool:
        """Whether that node comes before this one at the slot."""

    def state(self, handle: Any, service: str, slots: frozenset[int], whole: bool) -> None:
        """Make a statement to it."""

    def hold(self, service: str) -> None:
        """Say in the record that this node may hold slots of it."""

    def poke(self) -> None:
        """Call ``act`` at the end of the turn."""

    def count(self, what: str, by: int = 1) -> None: ...


class _Partner:
    __slots__ = ("busy", "handle", "has_stated", "holds", "is_member", "is_overdue", "told",
                 "until", "whole")  # fmt: skip

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.holds = False
        self.has_stated = False
        self.busy: frozenset[int] = frozenset()
        self.whole = False
        """Whether all that it lost is not free yet: a handler of its user runs."""
        self.until: float | None = None
        """When it is waited for no more; None: it holds up nothing."""
        self.is_overdue = False
        """Whether it was waited for as long as anybody is."""
        self.is_member = False
        self.told: tuple[frozenset[int], bool] | None = None

    @property
    def is_stated(self) -> bool:
        return self.has_stated or not self.holds

    @property
    def blocks(self) -> bool:
        return bool(not self.is_stated or self.busy or self.whole)


class Tenure:
    """See above. ``changed`` is called whenever slots may have become, or ceased to be, its own."""

    def __init__(
        self, port: OwnershipPort, service: str, fences: Fences, handover: float = HANDOVER
    ) -> None:
        self._port = port
        self._local = port.local
        self.service = service
        self.handover = handover
        self._fences = fences
        self.view: View = port.view(service)
        self.is_settled = False
        """Whether this node has met whom it had heard of; before that it holds nothing."""
        self.notices: Notices | None = None
        """The user's handler, if there is one."""
        self.changed: list[Callable[[], None]] = []
        self._holds = False
        self._withdrawn = False
        self._partners: dict[bytes, _Partner] = {}
        self._newcomers: set[bytes] = set()
        """Who came while a handler had not given back what was lost."""
        self._blockers: list[_Partner] = []
        self._running: dict[int, int] = {}
        self._lost: dict[int, float] = {}
        """Slots with something running that are not ours; until when they are told."""
        self._cut: set[int] = set()
        """Those of which it is told no more, though something runs."""
        self._timer: Timer | None = None
        self._timer_at = 0.0
        # Fences.
        self._fence_of: array[int] | None = None
        self._fenced_in: array[int] | None = None
        self._views: dict[int, View] = {0: self.view}
        self._generation = 0
        self._newest: tuple[int, int] = (-1, 0)
        self._is_fence_due = False
        self.given = 0
        """The greatest token that was given out here for this service."""
        self.overdue = 0
        """How often somebody was waited for in vain."""

    # What may be done.

    def may_start(self, slot: int) -> bool:
        """Whether work on the slot may begin here now."""
        if self._withdrawn or self.view.holder(slot) is not self._local or not self.is_settled:
            return False
        if self._blockers and self._is_blocked(slot):
            return False
        return self.notices is None or self.notices.grants(slot)

    def owns(self, slot: int) -> bool:
        """Whether it is this node's, by its own view, free or not."""
        return not self._withdrawn and self.view.holder(slot) is self._local

    def _is_blocked(self, slot: int) -> bool:
        for partner in self._blockers:
            if not partner.is_stated or slot in partner.busy:
                return True
            if partner.whole and (partner.is_member or self._port.is_before(partner.handle, slot)):
                return True
        return False

    @property
    def is_waiting(self) -> bool:
        """Whether anything that may have come here is not free yet."""
        return bool(self._blockers) or not self.is_settled

    @property
    def patience(self) -> float:
        """Seconds that work waits here for a slot to be free."""
        return self.handover + HANDOVER_SLACK

    def began(self, slot: int) -> None:
        """Something runs on it; the same slot may be begun several times."""
        self._running[slot] = self._running.get(slot, 0) + 1
        if not self._holds:
            self._holds = True
            self._port.hold(self.service)
        if self._withdrawn or self.view.holder(slot) is not self._local:
            self._lose((slot,))

    def ended(self, slot: int) -> None:
        count = self._running[slot] - 1
        if count:
            self._running[slot] = count
            return
        del self._running[slot]
        self._cut.discard(slot)
        if self._lost.pop(slot, None) is not None:
            self._port.poke()

    @property
    def runs_lost(self) -> bool:
        """Whether something still runs on slots that are not ours, and is waited for."""
        return bool(self._lost)

    @property
    def is_released(self) -> bool:
        """Whether nothing is left to be handed over."""
        return not self._lost and not (self.notices is not None and self.notices.is_losing)

    # Fences.

    def fence(self, slot: int) -> int:
        """The token of this tenure of a slot that is ours: the same until it is lost."""
        if self._fence_of is None or self._fenced_in is None:
            self._fence_of = array("Q", bytes(8 * SLOTS))
            self._fenced_in = array("Q", bytes(8 * SLOTS))
        known, generation = self._fence_of[slot], self._fenced_in[slot]
        if not known or not self._held_since(slot, generation):
            known = self.newest_fence()
            self._fence_of[slot] = known
        self._fenced_in[slot] = self._generation
        self.given = max(self.given, known)
        return known

    def newest_fence(self) -> int:
        """The token of what came to this node with the last change of members."""
        generation, fence = self._newest
        if generation != self._generation:
            fence = self._fences.mint()
            self._newest = self._generation, fence
            self.given = max(self.given, fence)
            # So that whoever comes after this node, should it die now, is above.
            self._is_fence_due = True
            self._port.poke()
        return fence

    def _renew_fences(self) -> None:
        self._views.clear()
        self._generation += 1

    def _held_since(self, slot: int, generation: int) -> bool:
        for number in range(generation + 1, self._generation + 1):
            view = self._views.get(number)
            if view is None or view.holder(slot) is not self._local:
                return False
        return True

    # What happens.

    def settle(self) -> None:
        """This node has met whom it had heard of."""
        self.is_settled = True
        self._port.poke()

    def withdraw(self) -> None:
        """This node takes part no more. Called before others hear that: what runs is told first."""
        if not self._withdrawn:
            self._withdrawn = True
            self.refresh()
            self._state_all()

    def heard(self, handle: Handle, slots: frozenset[int], whole: bool) -> None:
        """A statement of another node."""
        partner = self._partners.get(handle.id)
        if partner is None:
            partner = self._partners[handle.id] = _Partner(handle)
        if partner.is_overdue:
            # It was waited for in vain; it is believed again on a new link, or with new members.
            slots, whole = frozenset(), False
        partner.has_stated, partner.busy, partner.whole = True, slots, whole
        self._port.poke()

    def restate(self, handle: Handle) -> None:
        """Its link began anew: what was told to it may be lost.

        And while there was none it may have passed over this node, as one in doubt: what this node
        does from now on comes after that.
        """
        partner = self._partners.get(handle.id)
        if partner is not None:
            partner.told, partner.is_overdue = None, False
            self._renew_fences()
            self._port.poke()

    def act(self) -> None:
        """The end of a turn in which something happened: members, statements, work that ended."""
        self.refresh()
        self._expire()
        if self.notices is not None:
            self.notices.poke()
        self._state_all()
        for changed in self.changed:
            changed()
        self._set_timer()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def refresh(self) -> None:
        """Take in who is here now."""
        view = self._port.view(self.service)
        self._refresh_partners(view)
        is_other = view is not self.view and view.members != self.view.members
        if is_other or self._withdrawn:
            self._on_view(view)
        now = self._port.now()
        self._blockers = [partner for partner in self._partners.values() if partner.blocks]
        for partner in self._partners.values():
            if not partner.blocks:
                partner.until = None
            elif partner.until is None:
                partner.until = now + self.patience

    def _refresh_partners(self, view: View) -> None:
        members = {handle.id for handle, _, _ in view.members}
        partners = {h.id: (h, holds) for h, holds in self._port.partners(self.service)}
        for id in [id for id in self._partners if id not in partners]:
            del self._partners[id]
            self._newcomers.discard(id)
        for id, (handle, holds) in partners.items():
            partner = self._partners.get(id)
            if partner is None:
                partner = self._partners[id] = _Partner(handle)
            if holds and not partner.holds:
                partner.holds = True
                # Both may have held the same: whoever goes on is the later one.
                self._renew_fences()
            if not partner.is_member and id in members:
                self._newcomers.add(id)
                partner.told = None
            partner.is_member = id in members

    def _on_view(self, view: View) -> None:
        for partner in self._partners.values():
            # What is lost by this change has its own time.
            partner.until, partner.is_overdue = None, False
        if view is not self.view:
            self.view = view
            self._generation += 1
            self._views[self._generation] = view
            self._views.pop(self._generation - _HISTORY, None)
        mine = self._local
        for slot in [s for s in self._lost if not self._withdrawn and view.holder(s) is mine]:
            del self._lost[slot]
        if not self._withdrawn:
            self._cut = {slot for slot in self._cut if view.holder(slot) is not mine}
        self._lose(s for s in self._running if self._withdrawn or view.holder(s) is not mine)

    def _lose(self, slots: Iterable[int]) -> None:
        until = self._port.now() + self.handover
        for slot in slots:
            if slot not in self._lost and slot not in self._cut:
                self._lost[slot] = until
                self._port.poke()

    # Statements.

    def _state_all(self) -> None:
        is_losing = self.notices is not None and self.notices.is_losing
        if not is_losing and not self._withdrawn:
            self._newcomers.clear()
        lost = frozenset(self._lost)
        is_fence_due, self._is_fence_due = self._is_fence_due, False
        for id, partner in self._partners.items():
            if not partner.is_member:
                continue
            whole = is_losing and (self._withdrawn or id in self._newcomers)
            due = self._due(partner, lost), whole
            if due != partner.told or is_fence_due:
                partner.told = due
                self._port.state(partner.handle, self.service, *due)

    def _due(self, partner: _Partner, lost: frozenset[int]) -> frozenset[int]:
        """What of it matters there: what it owns now, and what it was told before.

        No other member can come to own the rest while this node is one: it comes behind. Of a
        node that leaves any may be an heir, and the heir's heir.
        """
        if partner.told is None or self._withdrawn or not lost:
            return lost
        told, holder = partner.told[0], self.view.holder
        return frozenset(s for s in lost if s in told or holder(s) is partner.handle)

    # Bounds.

    def _expire(self) -> None:
        now = self._port.now()
        for slot in [slot for slot, until in self._lost.items() if until <= now]:
            del self._lost[slot]
            self._cut.add(slot)
            self._port.count("handovers_cut_short")
            logger.warning(
                "%s: work on slot %d goes on %g s after the slot was lost; its new owner begins",
                self.service, slot, self.handover,
            )  # fmt: skip
        for partner in self._blockers:
            if partner.until is not None and partner.until <= now:
                partner.has_stated, partner.busy, partner.whole = True, frozenset(), False
                partner.until, partner.is_overdue = None, True
                self.overdue += 1
                self._port.count("handovers_overdue")
                logger.warning(
                    "%s: %s has not handed over within %g s; this node begins without that",
                    self.service, partner.handle.peer, self.patience,
                )  # fmt: skip
        self._blockers = [partner for partner in self._blockers if partner.blocks]

    def _set_timer(self) -> None:
        ends = [p.until for p in self._blockers if p.until is not None]
        ends += self._lost.values()
        if not ends:
            return
        at = min(ends)
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        delay = max(0.0, at - self._port.now())
        self._timer = self._port.call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._port.poke()
