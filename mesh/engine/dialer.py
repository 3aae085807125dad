"""Whom to dial, when, and when to stop: from hints to answered link connections.

Rules:

* A hint (from discovery, from a peer, from a node that dialled us) is only a reason to dial. It
  never replaces the address of a peer that is linked.
* The addresses of a target are dialled ``STAGGER`` apart, each for ``ANSWER_TIMEOUT``, and the
  first that answers wins: the others are hung up, and next time it goes first. So an address that
  swallows packets (a VPN's, another network's) costs a fraction of a second.
* Dials are paced (``DIALS_PER_SECOND``), and an address that refused us rests for
  ``REFUSED_REST``, whatever hints say.
* Without room for another link (descriptors, mostly) nothing is dialled until there is some; a
  node that has none refuses as well, and is tried again after ``FULL_REST``.
* Targets from hints are dropped after some ``ATTEMPTS`` (a hint that still holds comes again);
  failed members are kept and redialled for a day.
* What is first-hand goes first: lies of a peer, or a day's crashed processes, must not keep out
  a node that stands at the door.

An address says nothing about who listens there; only the answer to our hello does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from mesh.engine.control import REFUSED_FULL
from mesh.engine.core import Core
from mesh.engine.ports import Dial
from mesh.engine.targets import ATTEMPTS, STRENGTH, Target, Why
from mesh.engine.telling import shown
from mesh.logs import get_logger
from mesh.wire import frames
from patterns.port import Timer

K = TypeVar("K")
V = TypeVar("V")

logger = get_logger("mesh.link")

__all__ = ["ANSWER_TIMEOUT", "DIALS_PER_SECOND", "STAGGER", "Dialer"]

ANSWER_TIMEOUT = 2.0
"""Seconds for the answer to our hello: a LAN answers in milliseconds, a busy Python in a second."""

STAGGER = 0.3
"""Seconds until the next address of a target is dialled, too (RFC 8305 says 0.25): a LAN answers in
a hundredth of it, and a second dial to who is only busy makes it busier."""

DIALS_PER_SECOND = 200
"""Pace of new connections: a thousand peers in five seconds, and no storm from a false hint."""

SLOWEST_PACE = 50
"""Dials a second while nobody answers: announcements may be forged, and each costs some CPU."""

LUCK_OVER = 32
"""Dials over which it is averaged how many are answered."""

FIRST_REDIAL = 0.5
SLOW_REDIAL = 2.0
SLOWEST_REDIAL = 10.0
REDIAL_SLOWER_AFTER = 600.0
REDIAL_FOR = 86_400.0
"""Seconds a failed member is redialled: every 0.5 to 2 s for ten minutes, then 10 s for a day."""

REFUSED_REST = 30.0

FULL_REST = 5.0
"""Seconds until a node that had no room is dialled again: it passes, and asking costs little."""

SHORTAGE_TOLD_EVERY = 60.0
"""Seconds between two warnings that there is no room: it holds for many dials a second."""

MAX_TARGETS = 4096
MAX_SECOND_HAND = 1024
"""Targets that peers told of, or that failed: the size of mesh that this design is for."""

MAX_INFO_ADDRESSES = 8
"""Own addresses told in an info, which must be short: others learn the rest from discovery."""

MAX_ADDRESSES = 16
"""Addresses tried for one target: hosts have a handful, and each costs ``ANSWER_TIMEOUT``."""

MAX_REMEMBERED = 4096
"""Addresses remembered as our own, answered or refusing; the oldest go first."""


class Dialer:
    """``is_linked(id)`` says whether a peer needs no dialling: its link is answered and up."""

    def __init__(self, core: Core, is_linked: Callable[[bytes], bool]) -> None:
        self._core = core
        self._is_linked = is_linked
        self._targets: dict[bytes | str, Target] = {}
        self._second_hand: dict[bytes | str, Target] = {}
        """Those that are not first-hand, the oldest first."""
        self._urgent: deque[Target] = deque()
        self._queue: deque[Target] = deque()
        self._pace_timer: Timer | None = None
        self._luck = 1.0
        """Which part of the latest dials was answered."""
        self._dialled: set[str] = set()
        """Addresses that a target is dialling: no address is dialled twice at once."""
        self._answered: dict[str, bytes] = {}
        self._winners: dict[bytes, str] = {}
        """The address at which each id answered last."""
        self.refusals: dict[str, tuple[str, str, float]] = {}
        """Address to (code, text, when) of the last refusal met there."""
        self.silent: dict[str, None] = {}
        """Addresses that were given up because nobody answered."""
        self._info = b""
        self._shortage_told = -SHORTAGE_TOLD_EVERY
        self._closed = False

    def open(self, addresses: Iterable[str], rpc_port: int) -> None:
        """The node is bound, or has moved: what it says of itself when it dials."""
        config = self._core.config
        for address in [a for a, id in self._answered.items() if id == config.id]:
            del self._answered[address]
        for address in addresses:
            self._answered[address] = self._core.id
        self._info = frames.pack_info(
            config.id,
            {
                "v": frames.PROTOCOL_VERSION,
                "mesh": config.mesh,
                "link": list(addresses)[:MAX_INFO_ADDRESSES],
                "rpc": rpc_port,
            },
        )

    def hint(self, id: bytes | None, addresses: Iterable[str], why: Why = Why.FIRST_HAND) -> None:
        """Something may listen at one of ``addresses``, and be ``id`` if that is known."""
        if self._closed or id == self._core.id:
            return
        is_linked = id is not None and self._is_linked(id)
        if is_linked and why is not Why.RENEWAL:
            return
        now = self._core.clock.now()
        usable = [a for a in addresses if is_linked or self._is_worth_dialling(a, id, now)]
        if not usable:
            return
        key: bytes | str = id if id is not None else usable[0]
        target = self._targets.get(key)
        if target is not None:
            self._add_reason(target, why)
            self._add_addresses(target, usable, why)
        elif self._make_room(why):
            target = self._targets[key] = Target(key, id, [], now, why)
            target.addresses = self._winner_first(target, usable)
            if why is not Why.FIRST_HAND:
                self._second_hand[key] = target
            if why is Why.REDIAL:
                target.timer = self._core.clock.call_later(
                    FIRST_REDIAL, partial(self._begin_round, target)
                )
            else:
                self._begin_round(target)

    def _winner_first(self, target: Target, addresses: Iterable[str]) -> list[str]:
        winner = self._winners.get(target.id) if target.id is not None else None
        known = dict.fromkeys(addresses)
        if winner in known and target.why is not Why.RENEWAL:
            known = dict.fromkeys((winner, *known))
        return list(known)[:MAX_ADDRESSES]

    def _add_reason(self, target: Target, why: Why) -> None:
        """The strongest counts: what is redialled for a day must not end with a weaker one."""
        if STRENGTH.index(why) > STRENGTH.index(target.why):
            target.why = why
            if why is Why.FIRST_HAND:
                self._second_hand.pop(target.key, None)
            else:
                self._second_hand[target.key] = target

    def _add_addresses(self, target: Target, usable: list[str], why: Why) -> None:
        known = target.addresses
        is_news = not set(usable) <= set(known)
        # What is only told must not push out what is known.
        both = (*known, *usable) if why is Why.TOLD else (*usable, *known)
        target.addresses = self._winner_first(target, both)
        # Whoever was heard just now is likely to be there now.
        rested = self._core.clock.now() - target.tried_at >= FIRST_REDIAL
        if target.is_resting:
            if is_news or (why is Why.FIRST_HAND and rested):
                self._begin_round(target)
        elif is_news:
            fresh = [a for a in target.addresses if a in usable and a not in known]
            left = (a for a in (*target.untried, *fresh) if a not in target.silence)
            target.untried = list(dict.fromkeys(left))[:MAX_ADDRESSES]
            if target.timer is None and not target.is_queued:
                self._enqueue(target)

    def hurry(self) -> None:
        """The network is back: whatever rests is dialled now."""
        for target in list(self._targets.values()):
            if target.is_resting:
                self._begin_round(target)

    def _make_room(self, why: Why) -> bool:
        """Whether one more of that kind may be dialled; it may cost an older one.

        First the oldest second-hand one, then the oldest that was dialled in vain: forged
        announcements must not keep out who comes now.
        """
        is_first_hand = why is Why.FIRST_HAND
        is_full = len(self._targets) >= MAX_TARGETS
        if not is_full and (is_first_hand or len(self._second_hand) < MAX_SECOND_HAND):
            return True
        oldest: Target | None = None
        if why is not Why.TOLD:
            oldest = next(iter(self._second_hand.values()), None)
            if oldest is None and is_first_hand:
                first = next(iter(self._targets.values()))
                oldest = first if first.attempts else None
        if oldest is None:
            self._core.count("hints_dropped")
            return False
        self._give_up(oldest)
        return True

    def _give_up(self, target: Target, winner: Dial | None = None) -> None:
        """Forget it, and hang up what it dials, but for the one that has won."""
        self._forget(target)
        for dial in target.dials:
            self._dialled.discard(dial.address)
            if dial is not winner:
                self._core.transport.hang_up(dial)
        target.dials.clear()

    def _is_worth_dialling(self, address: str, id: bytes | None, now: float) -> bool:
        refusal = self.refusals.get(address)
        if refusal is not None and now - refusal[2] < _rest_after(refusal[0]):
            return False
        known = self._answered.get(address)
        if known is None:
            return True
        if known == self._core.id:
            return False
        if known == id or not self._is_linked(known):
            return True
        # Whoever answered there is linked. If that is elsewhere now, somebody else may be there.
        return id is not None and self._winners.get(known) != address

    @property
    def is_settled(self) -> bool:
        """Whether everything heard of was answered, refused, or stayed silent once."""
        return all(t.attempts > 0 or t.why is Why.REDIAL for t in self._targets.values())

    @property
    def known(self) -> int:
        """How many nodes were heard of: known addresses that answered, and what is dialled."""
        return len(set(self._answered.values())) + len(self._targets)

    def who_answered(self, address: str) -> bytes | None:
        """Who answered there last."""
        return self._answered.get(address)

    def rounds_without_answer(self, id: bytes | None, addresses: Iterable[str]) -> int | None:
        """How often it was tried in vain so far; None when it is not being dialled."""
        keys = [id] if id is not None else list(addresses)
        found = (self._targets.get(key) for key in keys)
        return next((target.attempts for target in found if target is not None), None)

    def answered(self, dial: Dial, id: bytes) -> None:
        """``id`` has answered on ``dial``: the target is done."""
        self._luck += (1.0 - self._luck) / LUCK_OVER
        _remember(self._answered, dial.address, id)
        _remember(self._winners, id, dial.address)
        self.refusals.pop(dial.address, None)
        self.silent.pop(dial.address, None)
        owner = dial.owner
        if isinstance(owner, Target):
            if owner.id in (None, id):
                self._give_up(owner, dial)
            else:
                self._strike_out(owner, dial)
        self.drop(id)

    def drop(self, id: bytes) -> None:
        """Stop dialling ``id``: it is linked, or has left."""
        target = self._targets.get(id)
        if target is not None:
            self._give_up(target)

    def left(self, id: bytes) -> None:
        """``id`` has said goodbye: its address is free, and the next who binds may get it."""
        self.drop(id)
        address = self._winners.pop(id, None)
        if address is not None and self._answered.get(address) == id:
            del self._answered[address]

    def refused(self, dial: Dial, code: str, text: str) -> None:
        """Whoever listens there does not want us; it is asked again after a rest."""
        refusal = (shown(code), shown(text), self._core.clock.now())
        _remember(self.refusals, dial.address, refusal)
        self._end(dial)

    def invited(self, addresses: Iterable[str]) -> None:
        """Who listens at these has dialled us, and does not refuse us any more."""
        for address in addresses:
            self.refusals.pop(address, None)

    def is_dialling(self, id: bytes) -> bool:
        """Whether it is being dialled now: there was room for a link with it."""
        target = self._targets.get(id)
        return target is not None and bool(target.dials)

    def tell_shortage(self, what: str, why: object) -> None:
        """Warn that there is no room for links, and not each time."""
        now = self._core.clock.now()
        if now - self._shortage_told < SHORTAGE_TOLD_EVERY:
            logger.debug("%s: %s", what, why)
            return
        self._shortage_told = now
        logger.warning("%s: %s (told once a minute)", what, why)

    def reached_self(self, dial: Dial) -> None:
        """That address is ours."""
        _remember(self._answered, dial.address, self._core.id)
        self._end(dial)

    def _end(self, dial: Dial) -> None:
        self._core.transport.hang_up(dial)
        if isinstance(dial.owner, Target):
            self._strike_out(dial.owner, dial)

    def _strike_out(self, target: Target, dial: Dial) -> None:
        """Who we look for is not there: on with the other addresses, if there are any."""
        self._lay_down(target, dial)
        if dial.address in target.addresses:
            target.addresses.remove(dial.address)
        if target.id is None or not target.addresses:
            self._give_up(target)
        elif target.untried:
            self._enqueue(target)
        elif not target.dials:
            self._try_later(target)

    def _lay_down(self, target: Target, dial: Dial) -> None:
        """It is no dial of the target any more."""
        if dial in target.dials:
            target.dials.remove(dial)
            self._dialled.discard(dial.address)
            target.silence.pop(dial.address).cancel()

    def forget_address(self, address: str) -> None:
        """Whoever answered there is gone."""
        self._answered.pop(address, None)

    def close(self) -> None:
        self._closed = True
        for target in list(self._targets.values()):
            self._give_up(target)
        self._queue.clear()
        self._urgent.clear()
        if self._pace_timer is not None:
            self._pace_timer.cancel()
            self._pace_timer = None

    def _forget(self, target: Target) -> None:
        for timer in (target.timer, *target.silence.values()):
            if timer is not None:
                timer.cancel()
        target.timer = None
        target.silence.clear()
        target.untried.clear()
        if self._targets.get(target.key) is target:
            del self._targets[target.key]
            self._second_hand.pop(target.key, None)

    def _begin_round(self, target: Target) -> None:
        """Each of its addresses once."""
        target.untried = list(target.addresses)
        target.tried_at = self._core.clock.now()
        self._enqueue(target)

    def _enqueue(self, target: Target) -> None:
        """Its next address, as soon as the pace allows."""
        if target.timer is not None:
            target.timer.cancel()
            target.timer = None
        if target.is_queued:
            return
        target.is_queued = True
        is_urgent = target.why is Why.FIRST_HAND and not target.attempts
        (self._urgent if is_urgent else self._queue).append(target)
        if self._pace_timer is None:
            self._dial_next()

    def _dial_next(self) -> None:
        self._pace_timer = None
        while self._urgent or self._queue:
            target = (self._urgent or self._queue).popleft()
            target.is_queued = False
            if self._targets.get(target.key) is not target:
                continue
            is_renewal = target.why is Why.RENEWAL
            if target.id is not None and self._is_linked(target.id) and not is_renewal:
                self._give_up(target)
                continue
            address = self._take_address(target)
            if address is None:
                if not target.dials:
                    # Somebody is dialled, or linked, there already; that may settle this one too.
                    self._try_later(target)
                continue
            try:
                self._dial(target, address)
            except OSError as error:
                # Mostly the descriptor limit, and that passes.
                self._core.count("dials_failed")
                self.tell_shortage(f"cannot dial {address}", error.strerror or error)
                target.untried.clear()
                if not target.dials:
                    self._try_later(target)
            pace = max(SLOWEST_PACE, DIALS_PER_SECOND * self._luck)
            self._pace_timer = self._core.clock.call_later(1 / pace, self._dial_next)
            return

    def _take_address(self, target: Target) -> str | None:
        """The next of the round that nobody answers at, or is being dialled."""
        now = self._core.clock.now()
        while target.untried:
            address = target.untried.pop(0)
            is_worth_it = target.why is Why.RENEWAL or self._is_worth_dialling(
                address, target.id, now
            )
            if is_worth_it and address not in self._dialled:
                return address
        return None

    def _dial(self, target: Target, address: str) -> None:
        # Random: whoever could guess it could say our bye in our name.
        hello = frames.pack_hello(self._core.id, self._core.random.getrandbits(32))
        dial = self._core.transport.dial(address, hello, self._info)
        dial.owner = target
        target.dials.append(dial)
        self._dialled.add(address)
        call_later = self._core.clock.call_later
        target.silence[address] = call_later(
            ANSWER_TIMEOUT, partial(self._on_silence, target, dial)
        )
        if target.untried:
            target.timer = call_later(STAGGER, partial(self._enqueue, target))

    def _on_silence(self, target: Target, dial: Dial) -> None:
        self._luck -= self._luck / LUCK_OVER
        self._core.transport.hang_up(dial)
        self._lay_down(target, dial)
        if dial.address in target.addresses:
            target.addresses.remove(dial.address)
            target.addresses.append(dial.address)
        if not target.dials and not target.untried and not target.is_queued:
            self._try_later(target)

    def _try_later(self, target: Target) -> None:
        """Rest before the next attempt, longer each time; give up when that is enough."""
        target.attempts += 1
        age = self._core.clock.now() - target.since
        most = ATTEMPTS[target.why]
        if age > REDIAL_FOR or (most is not None and target.attempts >= most):
            for address in target.addresses:
                _remember(self.silent, address, None)
            self._give_up(target)
            return
        rest = min(SLOW_REDIAL, FIRST_REDIAL * 2 ** min(target.attempts - 1, 4))
        if age > REDIAL_SLOWER_AFTER:
            rest = SLOWEST_REDIAL
        # Together the redials take at most half of the pace.
        rest = max(rest, len(self._second_hand) * 2 / DIALS_PER_SECOND)
        target.timer = self._core.clock.call_later(rest, partial(self._begin_round, target))


def _rest_after(code: str) -> float:
    return FULL_REST if code == REFUSED_FULL else REFUSED_REST


def _remember(memory: dict[K, V], key: K, value: V) -> None:
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > MAX_REMEMBERED:
        del memory[next(iter(memory))]
