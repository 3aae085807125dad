"""Whom to dial, when, and when to stop: from hints to answered link connections.

Rules:

* A hint (from discovery, from a peer, from a node that dialled us) is only a reason to dial. It
  never replaces the address of a peer that is linked.
* One dial at a time for each target; its addresses are tried in turn, ``ANSWER_TIMEOUT`` each.
* Dials are paced (``DIALS_PER_SECOND``), and an address that refused us rests for
  ``REFUSED_REST``, whatever hints say.
* Targets from hints are dropped after ``HINT_ATTEMPTS`` rounds (a hint that still holds comes
  again); failed members are kept and redialled for a day.

An address says nothing about who listens there; only the answer to our hello does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from mesh.engine.core import Core
from mesh.engine.ports import Dial
from mesh.wire import frames
from patterns.port import Timer

V = TypeVar("V")

__all__ = ["ANSWER_TIMEOUT", "DIALS_PER_SECOND", "Dialer", "Target"]

ANSWER_TIMEOUT = 2.0
"""Seconds for the answer to our hello: a LAN answers in milliseconds, a busy Python in a second."""

DIALS_PER_SECOND = 200
"""Pace of new connections: a thousand peers in five seconds, and no storm from a false hint."""

HINT_ATTEMPTS = 4
FIRST_REDIAL = 0.5
SLOW_REDIAL = 3.0
SLOWEST_REDIAL = 10.0
REDIAL_SLOWER_AFTER = 600.0
REDIAL_FOR = 86_400.0
"""Seconds a failed member is redialled: every 0.5 to 3 s for ten minutes, then 10 s for a day."""

REFUSED_REST = 30.0
MAX_TARGETS = 4096
MAX_ADDRESSES = 16
"""Addresses tried for one target: hosts have a handful, and each costs ``ANSWER_TIMEOUT``."""

MAX_REMEMBERED = 4096
"""Addresses remembered as our own, answered or refusing; the oldest go first."""


class Target:
    """Something to dial until it answers. ``id`` is None while only an address is known."""

    __slots__ = ("addresses", "attempts", "dial", "id", "is_redial", "key", "since", "timer")

    def __init__(
        self,
        key: bytes | str,
        id: bytes | None,
        addresses: list[str],
        since: float,
        is_redial: bool,
    ) -> None:
        self.key = key
        self.id = id
        self.addresses = addresses
        self.attempts = 0
        self.is_redial = is_redial
        self.since = since
        self.dial: Dial | None = None
        self.timer: Timer | None = None


class Dialer:
    """``is_linked(id)`` says whether a peer needs no dialling: its link is answered and up."""

    def __init__(self, core: Core, is_linked: Callable[[bytes], bool]) -> None:
        self._core = core
        self._is_linked = is_linked
        self._targets: dict[bytes | str, Target] = {}
        self._queue: deque[Target] = deque()
        self._pace_timer: Timer | None = None
        self._answered: dict[str, bytes] = {}
        self.refusals: dict[str, tuple[str, str, float]] = {}
        """Address to (code, text, when) of the last refusal met there."""
        self._last_dial = 0
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
                "link": list(addresses),
                "rpc": rpc_port,
            },
        )

    def hint(self, id: bytes | None, addresses: Iterable[str], *, redial: bool = False) -> None:
        """Something may listen there. ``redial`` is for members that failed: not given up soon."""
        if self._closed or id == self._core.id or (id is not None and self._is_linked(id)):
            return
        now = self._core.clock.now()
        usable = [a for a in addresses if self._is_worth_dialling(a, id, now)]
        if not usable:
            return
        key: bytes | str = id if id is not None else usable[0]
        target = self._targets.get(key)
        if target is not None:
            is_news = not set(usable) <= set(target.addresses)
            target.addresses = list(dict.fromkeys((*usable, *target.addresses)))[:MAX_ADDRESSES]
            if is_news and target.timer is not None and target.dial is None:
                target.timer.cancel()
                self._enqueue(target)
            return
        if len(self._targets) >= MAX_TARGETS:
            self._core.count("hints_dropped")
            return
        target = self._targets[key] = Target(key, id, usable[:MAX_ADDRESSES], now, redial)
        if redial:
            target.timer = self._core.clock.call_later(FIRST_REDIAL, partial(self._enqueue, target))
        else:
            self._enqueue(target)

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
        return all(t.attempts > 0 or t.is_redial for t in self._targets.values())

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
            self._forget(target)
            if target.dial is not None:
                self._core.transport.hang_up(target.dial)

    def refused(self, dial: Dial, code: str, text: str) -> None:
        """Whoever listens there does not want us; it is asked again after a rest."""
        _remember(self.refusals, dial.address, (code, text, self._core.clock.now()))
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
            self._forget(target)
            if target.dial is not None:
                self._core.transport.hang_up(target.dial)
        self._queue.clear()
        if self._pace_timer is not None:
            self._pace_timer.cancel()
            self._pace_timer = None

    def _forget(self, target: Target) -> None:
        if target.timer is not None:
            target.timer.cancel()
            target.timer = None
        if self._targets.get(target.key) is target:
            del self._targets[target.key]

    def _enqueue(self, target: Target) -> None:
        target.timer = None
        self._queue.append(target)
        if self._pace_timer is None:
            self._dial_next()

    def _dial_next(self) -> None:
        self._pace_timer = None
        while self._queue:
            target = self._queue.popleft()
            if self._targets.get(target.key) is not target or target.dial is not None:
                continue
            if target.id is not None and self._is_linked(target.id):
                self._forget(target)
                continue
            address = self._free_address(target)
            if address is None:
                # Somebody is dialled, or linked, there already; that may settle this one too.
                self._try_later(target)
                continue
            self._dial(target, address)
            self._pace_timer = self._core.clock.call_later(1 / DIALS_PER_SECOND, self._dial_next)
            return

    def _free_address(self, target: Target) -> str | None:
        """The first address of the target that nobody answers at, or is being dialled."""
        busy = {t.dial.address for t in self._targets.values() if t.dial is not None}
        now = self._core.clock.now()
        for address in target.addresses:
            if address not in busy and self._is_worth_dialling(address, target.id, now):
                return address
        return None

    def _dial(self, target: Target, address: str) -> None:
        self._last_dial = (self._last_dial + 1) & 0xFFFF_FFFF
        hello = frames.pack_hello(self._core.id, self._last_dial)
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
        if age > REDIAL_FOR or (not target.is_redial and target.attempts >= HINT_ATTEMPTS):
            self._forget(target)
            return
        rest = min(SLOW_REDIAL, FIRST_REDIAL * 2 ** min(target.attempts - 1, 4))
        if age > REDIAL_SLOWER_AFTER:
            rest = SLOWEST_REDIAL
        target.timer = self._core.clock.call_later(rest, partial(self._enqueue, target))


def _remember(memory: dict[str, V], address: str, value: V) -> None:
    memory.pop(address, None)
    memory[address] = value
    if len(memory) > MAX_REMEMBERED:
        del memory[next(iter(memory))]
