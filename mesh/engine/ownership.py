"""The tenures of a node: the services whose ownership it hands over with care.

Wires ``patterns.ownership`` to the ring, the records, the control lane and the server. A node
opts in to a service by a handler (``on_ownership``), an actor or a singleton, and says so in its
record (``owns``); only those that have are waited for, and told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Protocol

from mesh.engine import control as c
from mesh.engine.conditions import Conditions
from mesh.engine.control_lane import ControlLane
from mesh.engine.core import Core
from mesh.engine.rings import Rings
from mesh.engine.session import Session
from mesh.membership import MAX_OWNED, State
from mesh.ring import Ring, score
from patterns.errors import ConfigError
from patterns.keys import Key, key_bytes, slot_of
from patterns.names import MAX_NAME_CHARS, check_name
from patterns.ownership import (
    HANDOVER,
    Fences,
    Notices,
    OwnershipChange,
    Sight,
    Singleton,
    Tenure,
    pack_slots,
    unpack_slots,
)
from patterns.port import Runner, Timer
from patterns.rpc import RpcServer

__all__ = ["FORGET_AFTER", "SETTLE", "Ownership", "Tenant", "singleton_service"]

SETTLE = 1.0
"""Seconds after its start that a node holds nothing, while some that it has heard of are not
linked: it would seem to itself to be alone."""

FORGET_AFTER = 60.0
"""Seconds that a singleton's candidate which fell silent counts among those to be seen. Not while
this node sees fewer than half: then it may be the one that is cut off."""

_PREFIX = "_active-"


def singleton_service(name: object) -> str:
    """The service of those that offer a singleton, of which its name is the key. Raises BadName."""
    service = _PREFIX + check_name("singleton", name)
    return check_name(f"singleton (at most {MAX_NAME_CHARS - len(_PREFIX)} characters)", service)


class Tenant(Protocol):
    """Something that lives on the slots of a service: ``mesh.actors.ActorHost``."""

    @property
    def is_released(self) -> bool:
        """Whether nothing of it is left that others wait for."""

    def close(self) -> None: ...


class Ownership:
    """Implements ``patterns.ownership.OwnershipPort``."""

    def __init__(
        self,
        core: Core,
        local: Session,
        rings: Rings,
        server: RpcServer,
        wall_clock: Callable[[], datetime],
    ) -> None:
        self._core = core
        self.local = local
        self._rings = rings
        self._server = server
        self._control: ControlLane
        self._fences = Fences(
            lambda: int(wall_clock().timestamp() * 1000), core.random.getrandbits(32)
        )
        self.tenures: dict[str, Tenure] = {}
        self.singletons: dict[str, Singleton] = {}
        self.tenants: list[Tenant] = []
        """What else has to be over before this node is released: actors that stop."""
        self._fallen_silent: dict[bytes, float] = {}
        self._is_settled = self._is_poked = self._closed = False
        self._changed: Callable[[], None]

    def attach(self, control: ControlLane, changed: Callable[[], None]) -> None:
        """``changed()`` is called after anything that a wait could be for."""
        self._control = control
        self._changed = changed
        control.on_owned = self._on_owned

    # Verbs.

    def own(self, service: str, handover: float | None = None) -> Tenure:
        """Hand the service over with care from now on; a second time gives the same tenure.

        Raises BadName, and ConfigError beyond ``MAX_OWNED``, or for another ``handover``.
        """
        tenure = self.tenures.get(check_name("service", service))
        if tenure is not None:
            if handover is not None and handover != tenure.handover:
                raise ConfigError(f"{service!r} has handover={tenure.handover:g} already")
            return tenure
        if len(self.tenures) >= MAX_OWNED:
            raise ConfigError(f"this node hands over {MAX_OWNED} services already")
        seconds = HANDOVER if handover is None else handover
        tenure = self.tenures[service] = Tenure(self, service, self._fences, seconds)
        self._core.record.own(service, False)
        self._server.govern(tenure)
        if self._is_settled:
            self._control.record_changed()
            tenure.settle()
        return tenure

    def notify(
        self,
        service: str,
        handover: float | None,
        runner: Runner,
        handler: Callable[[OwnershipChange], Any],
        is_async: bool,
    ) -> None:
        """Tell ``handler`` of what comes and goes. Raises ConfigError for a second one."""
        tenure = self.own(service, handover)
        if tenure.notices is not None:
            raise ConfigError(f"{service!r} has an on_ownership handler already")
        tenure.notices = Notices(self, tenure, runner, handler, is_async)
        self.poke()

    def offer(
        self,
        name: str,
        handover: float | None,
        runner: Runner,
        function: Callable[..., Any],
        is_async: bool,
        make: Callable[[int], Any],
        quorum: bool,
    ) -> None:
        """Be one of those that may run a singleton. Raises ConfigError for a second of a name."""
        service = singleton_service(name)
        if name in self.singletons:
            raise ConfigError(f"the singleton {name!r} is offered already")
        self._core.record.provide(service)
        tenure = self.own(service, handover)
        slot = slot_of(key_bytes(name))
        sight = (lambda: self._sight(service)) if quorum else None
        self.singletons[name] = Singleton(
            self, tenure, slot, name, runner, function, is_async, make, sight
        )
        if self._is_settled:
            self._control.record_changed()
        self.poke()

    def fence(self, service: object, key: Key) -> int | None:
        """The token with which this node may work on a key now; None if it may not.

        Raises BadName, ConfigError for a service without a tenure here.
        """
        tenure = self.tenures.get(check_name("service", service))
        if tenure is None:
            raise ConfigError(f"{service!r} is not handed over here: no on_ownership, no actor")
        slot = slot_of(key_bytes(key))
        return tenure.fence(slot) if tenure.may_start(slot) else None

    # Life.

    def open(self, conditions: Conditions) -> None:
        """Hold nothing before those that this node has heard of are met, or a moment is over."""
        conditions.wait_for(None, None, 1, SETTLE, _Settled(self._settle))

    def _settle(self) -> None:
        self._is_settled = True
        for tenure in self.tenures.values():
            tenure.settle()

    def withdraw(self) -> None:
        """This node leaves all services; others do not know yet."""
        for tenure in self.tenures.values():
            tenure.withdraw()
        self.poke()

    def leave(self) -> None:
        """It goes now, whatever runs: what may not run beside its heirs is cancelled."""
        for singleton in self.singletons.values():
            singleton.close()
        self._server.abandon_owned()

    @property
    def is_released(self) -> bool:
        """Whether nothing is left to be handed over."""
        tenures = all(tenure.is_released for tenure in self.tenures.values())
        return tenures and all(tenant.is_released for tenant in self.tenants)

    def unreleased(self) -> list[str]:
        """What is left, for people."""
        left = [name for name, tenure in self.tenures.items() if not tenure.is_released]
        return left + [str(tenant) for tenant in self.tenants if not tenant.is_released]

    def close(self) -> None:
        self._closed = True
        for singleton in self.singletons.values():
            singleton.close()
        for tenant in self.tenants:
            tenant.close()
        for tenure in self.tenures.values():
            if tenure.notices is not None:
                tenure.notices.close()
            tenure.close()

    # What happens.

    def poke(self) -> None:
        """Somebody came, went or changed: look at the end of the turn."""
        if self.tenures and not self._is_poked and not self._closed:
            self._is_poked = True
            self._core.clock.call_soon(self._act)

    def _act(self) -> None:
        self._is_poked = False
        if self._closed:
            return
        for tenure in self.tenures.values():
            tenure.act()
        self._changed()

    def restate(self, session: Session) -> None:
        """A link with it began anew: what was said on the old one may be lost."""
        for tenure in self.tenures.values():
            tenure.restate(session)

    def _on_owned(
        self, session: Session, service: str, packed: bytes, whole: bool, fence: int
    ) -> None:
        slots = unpack_slots(packed)
        tenure = self.tenures.get(service)
        if slots is None:
            self._core.count("bad_entries")
        elif tenure is not None and session.record is not None and service in session.record.owns:
            if not self._fences.heard(fence):
                # What it says of its slots holds even so: its clock may be wrong.
                self._core.count("fences_refused")
            tenure.heard(session, slots, whole)

    # The port.

    def now(self) -> float:
        return self._core.clock.now()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return self._core.clock.call_later(delay, callback)

    def view(self, service: str) -> Ring[Session]:
        return self._rings.service(service)

    def partners(self, service: str) -> Iterator[tuple[Session, bool]]:
        for session in self._core.sessions.values():
            record = session.record
            if record is None or service not in record.owns or session.has_left:
                continue
            if session.is_joined or session.links:
                yield session, record.owns[service]

    def is_before(self, session: Session, slot: int) -> bool:
        record, own = session.record, self._core.record
        if record is None:
            return False
        other = score(slot, record.instance, record.weight), own.instance, own.id
        mine = score(slot, own.instance, own.weight), record.instance, record.id
        return other > mine

    def state(self, session: Session, service: str, slots: frozenset[int], whole: bool) -> None:
        session.control(c.OWNED, service, pack_slots(slots), whole, self._fences.highest)

    def hold(self, service: str) -> None:
        self._core.record.own(service, True)
        self._control.record_changed()

    def count(self, what: str, by: int = 1) -> None:
        self._core.count(what, by)

    # Who is in sight.

    def _sight(self, service: str) -> Sight:
        """Of those that offer a singleton: how many answer, of how many that may be alive.

        Whose process is known to be gone, and who said goodbye, does not count.
        """
        members = self._rings.service(service).members
        answering = (None, State.ALIVE)
        seen = sum(session is self.local or session.state in answering for session, _, _ in members)
        instances = {instance for _, instance, _ in members}
        silent = [
            session
            for session in self._core.sessions.values()
            if session.may_return
            and not session.is_joined
            and session.member is not None
            and session.member.state is State.FAILED
            and service in session.member.record.services
            and session.member.record.instance not in instances
        ]
        now = self.now()
        since = {s.id: self._fallen_silent.get(s.id, now) for s in silent}
        known = len(members) + len(since)
        if seen * 2 >= known:
            old = [id for id, at in since.items() if now - at > FORGET_AFTER]
            known -= len(old)
        self._fallen_silent = since
        return Sight(seen, known)


class _Settled:
    """A waiter that calls."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then
        self._is_done = False

    def done(self) -> bool:
        return self._is_done

    def set_result(self, result: Any, /) -> None:
        self._is_done = True
        self._then()

    def set_exception(self, exception: BaseException, /) -> None:
        self._is_done = True
