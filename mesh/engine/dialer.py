"""Whom to dial, when, and when to stop: from hints to answered link connections.

Rules:

* A hint (from discovery, from a peer, from a node that dialled us) is only a reason to dial. It
  never replaces the address of a peer that is linked.
* One dial at a time for each target; its addresses are tried in turn, ``ANSWER_TIMEOUT`` each.
* Dials are paced (``DIALS_PER_SECOND``), and an address that refused us rests for
  ``REFUSED_REST``, whatever hints say.
* Targets from hints are dropped after some ``ATTEMPTS`` (a hint that still holds comes again);
  failed members are kept and redialled for a day.
* What is first-hand goes first: lies of a peer, or a day's crashed processes, must not keep out
  a node that stands at the door.

An address says nothing about who listens there; only the answer to our hello does.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial
from typing import TypeVar

from mesh.engine.core import Core
from mesh.engine.ports import Dial
from mesh.membership.record import MAX_TEXT
from mesh.wire import frames
from patterns.port import Timer

V = TypeVar("V")

logger = logging.getLogger("mesh.link")

__all__ = ["ANSWER_TIMEOUT", "DIALS_PER_SECOND", "Dialer", "Target", "Why"]

ANSWER_TIMEOUT = 2.0
"""Seconds for the answer to our hello: a LAN answers in milliseconds, a busy Python in a second."""

DIALS_PER_SECOND = 200
"""Pace of new connections: a thousand peers in five seconds, and no storm from a false hint."""

FIRST_REDIAL = 0.5
SLOW_REDIAL = 3.0
SLOWEST_REDIAL = 10.0
REDIAL_SLOWER_AFTER = 600.0
REDIAL_FOR = 86_400.0
"""Seconds a failed member is redialled: every 0.5 to 3 s for ten minutes, then 10 s for a day."""

REFUSED_REST = 30.0
MAX_TARGETS = 4096
MAX_SECOND_HAND = 1024
"""Targets that peers told of, or that failed: the size of mesh that this design is for."""

MAX_INFO_ADDRESSES = 8
"""Own addresses told in an info, which must be short: others learn the rest from discovery."""

MAX_ADDRESSES = 16
"""Addresses tried for one target: hosts have a handful, and each costs ``ANSWER_TIMEOUT``."""

MAX_REMEMBERED = 4096
"""Addresses remembered as our own, answered or refusing; the oldest go first."""


class Why(Enum):
    """What a target comes from; the first kind goes before all others and may take their place."""

    FIRST_HAND = "it dialled us, or discovery has found it"
    TOLD = "a peer knows it"
    REDIAL = "a member that failed may be back"
    RENEWAL = "a member is linked and says nothing: a second connection may help"


ATTEMPTS = {Why.FIRST_HAND: 4, Why.TOLD: 4, Why.REDIAL: None, Why.RENEWAL: 1}
"""Rounds after which a target is dropped; a hint that still holds comes again."""


class Target:
    """Something to dial until it answers. ``id`` is None while only an address is known."""

    __slots__ = ("addresses", "attempts", "dial", "id", "key", "since", "timer", "why")

    def __init__(
        self,
        key: bytes | str,
        id: bytes | None,
        addresses: list[str],
        since: float,
        why: Why,
    ) -> None:
        self.key = key
        self.id = id
        self.addresses = addresses
        self.attempts = 0
        self.why = why
        self.since = since
        self.dial: Dial | None = None
        self.timer: Timer | None = None


class Dialer:
    """``is_linked(id)`` says whether a peer needs no dialling: its link is answered and up."""

    def __init__(self, core: Core, is_linked: Callable[[bytes], bool]) -> None:
        self._core = core
        self._is_linked = is_linked
        self._targets: dict[bytes | str, Target] = {}
        self._second_hand = 0
        self._urgent: deque[Target] = deque()
        self._queue: deque[Target] = deque()
        self._pace_timer: Timer | None = None
        self._answered: dict[str, bytes] = {}
        self.refusals: dict[str, tuple[str, str, float]] = {}
        """Address to (code, text, when) of the last refusal met there."""
        self._info = b""
        self._closed = False

    def open(self, addresses: Iterable[str], rpc_port: int) -> None:
        """The node is bound: what it says of itself when it dials."""
        config = self._core.config
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
            if why is Why.FIRST_HAND and target.why is Why.TOLD:
                target.why = why
                self._second_hand -= 1
            self._add_addresses(target, usable)
        elif self._make_room(why):
            target = self._targets[key] = Target(key, id, usable[:MAX_ADDRESSES], now, why)
            self._second_hand += why is not Why.FIRST_HAND
            if why is Why.REDIAL:
                target.timer = self._core.clock.call_later(
                    FIRST_REDIAL, partial(self._enqueue, target)
                )
            else:
                self._enqueue(target)

    def _add_addresses(self, target: Target, usable: list[str]) -> None:
        is_news = not set(usable) <= set(target.addresses)
        target.addresses = list(dict.fromkeys((*usable, *target.addresses)))[:MAX_ADDRESSES]
        if is_news and target.timer is not None and target.dial is None:
            target.timer.cancel()
            self._enqueue(target)

    def _make_room(self, why: Why) -> bool:
        """Whether one more of that kind may be dialled; it may cost the oldest second-hand one."""
        is_first_hand = why is Why.FIRST_HAND
        is_full = len(self._targets) >= MAX_TARGETS
        if not is_full and (is_first_hand or self._second_hand < MAX_SECOND_HAND):
            return True
        if why is not Why.TOLD:
            second_hand = (t for t in self._targets.values() if t.why is not Why.FIRST_HAND)
            oldest = next(second_hand, None)
            if oldest is not None:
                self._give_up(oldest)
                return True
        self._core.count("hints_dropped")
        return False

    def _give_up(self, target: Target) -> None:
        self._forget(target)
        if target.dial is not None:
            self._core.transport.hang_up(target.dial)

    def _is_worth_dialling(self, address: str, id: bytes | None, now: float) -> bool:
        refusal = self.refusals.get(address)
        if refusal is not None and now - refusal[2] < REFUSED_REST:
            return False
        known = self._answered.get(address)
        if known is None:
            return True
        if known == self._core.id:
            return False
        return known == id or not self._is_linked(known)

    @property
    def is_settled(self) -> bool:
        """Whether everything heard of was answered, refused, or stayed silent once."""
        return all(t.attempts > 0 or t.why is Why.REDIAL for t in self._targets.values())

    @property
    def known(self) -> int:
        """How many nodes were heard of: known addresses that answered, and what is dialled."""
        return len(set(self._answered.values())) + len(self._targets)

    def answered(self, dial: Dial, id: bytes) -> None:
        """``id`` has answered on ``dial``: the target is done."""
        _remember(self._answered, dial.address, id)
        self.refusals.pop(dial.address, None)
        owner = dial.owner
        if isinstance(owner, Target):
            self._forget(owner)
        self.drop(id)

    def drop(self, id: bytes) -> None:
        """Stop dialling ``id``: it is linked, or has left."""
        target = self._targets.get(id)
        if target is not None:
            self._give_up(target)

    def refused(self, dial: Dial, code: str, text: str) -> None:
        """Whoever listens there does not want us; it is asked again after a rest."""
        refusal = (code[:MAX_TEXT], text[:MAX_TEXT], self._core.clock.now())
        _remember(self.refusals, dial.address, refusal)
        self._end(dial)

    def reached_self(self, dial: Dial) -> None:
        """That address is ours."""
        _remember(self._answered, dial.address, self._core.id)
        self._end(dial)

    def _end(self, dial: Dial) -> None:
        if isinstance(dial.owner, Target):
            target = dial.owner
            target.dial = None
            if target.id is not None and len(target.addresses) > 1:
                target.addresses.remove(dial.address)
                self._enqueue(target)
            else:
                self._forget(target)
        self._core.transport.hang_up(dial)

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
        if target.timer is not None:
            target.timer.cancel()
            target.timer = None
        if self._targets.get(target.key) is target:
            del self._targets[target.key]
            self._second_hand -= target.why is not Why.FIRST_HAND

    def _enqueue(self, target: Target) -> None:
        target.timer = None
        is_urgent = target.why is Why.FIRST_HAND and not target.attempts
        (self._urgent if is_urgent else self._queue).append(target)
        if self._pace_timer is None:
            self._dial_next()

    def _dial_next(self) -> None:
        self._pace_timer = None
        while self._urgent or self._queue:
            target = (self._urgent or self._queue).popleft()
            if self._targets.get(target.key) is not target or target.dial is not None:
                continue
            is_renewal = target.why is Why.RENEWAL
            if target.id is not None and self._is_linked(target.id) and not is_renewal:
                self._forget(target)
                continue
            address = self._free_address(target)
            if address is None:
                # Somebody is dialled, or linked, there already; that may settle this one too.
                self._try_later(target)
                continue
            try:
                self._dial(target, address)
            except OSError as error:
                # Mostly the descriptor limit, and that passes.
                self._core.count("dials_failed")
                logger.warning("cannot dial %s: %s", address, error)
                self._try_later(target)
            self._pace_timer = self._core.clock.call_later(1 / DIALS_PER_SECOND, self._dial_next)
            return

    def _free_address(self, target: Target) -> str | None:
        """The first address of the target that nobody answers at, or is being dialled."""
        busy = {t.dial.address for t in self._targets.values() if t.dial is not None}
        now = self._core.clock.now()
        for address in target.addresses:
            is_renewal = target.why is Why.RENEWAL
            if address not in busy and (
                is_renewal or self._is_worth_dialling(address, target.id, now)
            ):
                return address
        return None

    def _dial(self, target: Target, address: str) -> None:
        # Random: whoever could guess it could say our bye in our name.
        hello = frames.pack_hello(self._core.id, self._core.random.getrandbits(32))
        dial = self._core.transport.dial(address, hello, self._info)
        dial.owner = target
        target.dial = dial
        target.timer = self._core.clock.call_later(
            ANSWER_TIMEOUT, lambda: self._on_silence(target, dial)
        )

    def _on_silence(self, target: Target, dial: Dial) -> None:
        target.timer = None
        if target.dial is not dial:
            return
        self._core.transport.hang_up(dial)
        target.dial = None
        if dial.address in target.addresses:
            target.addresses.remove(dial.address)
            target.addresses.append(dial.address)
        self._try_later(target)

    def _try_later(self, target: Target) -> None:
        """Rest before the next attempt, longer each time; give up when that is enough."""
        target.attempts += 1
        age = self._core.clock.now() - target.since
        most = ATTEMPTS[target.why]
        if age > REDIAL_FOR or (most is not None and target.attempts >= most):
            self._forget(target)
            return
        rest = min(SLOW_REDIAL, FIRST_REDIAL * 2 ** min(target.attempts - 1, 4))
        if age > REDIAL_SLOWER_AFTER:
            rest = SLOWEST_REDIAL
        # Together the redials take at most half of the pace.
        rest = max(rest, self._second_hand * 2 / DIALS_PER_SECOND)
        target.timer = self._core.clock.call_later(rest, partial(self._enqueue, target))


def _remember(memory: dict[str, V], address: str, value: V) -> None:
    memory.pop(address, None)
    memory[address] = value
    if len(memory) > MAX_REMEMBERED:
        del memory[next(iter(memory))]
