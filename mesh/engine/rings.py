"""The rings of this node: who owns a key of a service or of a group, as far as is known here.

One ring per name over those who provide it now, this node included, made on first use. A member
is in from its joining until it fails or leaves: suspicion moves no key, since it passes in most
cases. Whoever routes skips a suspect; whoever asks for the owner is shown its state. Observers
never own anything.

All nodes that know the same members name the same owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from mesh.engine.core import Core
from mesh.engine.session import Session
from mesh.membership import OwnRecord, Peer, Record, State
from mesh.ring import Ring
from patterns.errors import ConfigError, NoProvider
from patterns.keys import key_bytes
from patterns.names import check_name, group_subject

__all__ = ["MAX_RINGS", "Rings"]

MAX_RINGS = 64
"""Services, and as many groups, whose rings are kept. One takes 10 MB once each of its slots was
asked for; a program that routes by key over more names than this makes some of them anew."""

_GONE = (None, State.FAILED, State.LEFT)


class Rings:
    """``local`` is the own node. ``invalidate`` must follow every change of a member."""

    def __init__(self, core: Core, local: Session) -> None:
        self._core = core
        self._local = local
        self._services = _Cache(self._providers)
        self._groups = _Cache(self._group_members)
        self._own_changes = core.record.changes

    def invalidate(self) -> None:
        """Somebody came, went, or changed its record."""
        self._services.invalidate()
        self._groups.invalidate()

    def service_owners(self, service: str, key: bytes) -> Sequence[Session]:
        """Who provides the service, the key's owner first, then who would be next (a few)."""
        return self._ring(self._services, service).preferred(key)

    def service(self, service: str) -> Ring[Session]:
        """All who provide the service; the same object as long as they are the same."""
        return self._ring(self._services, service)

    def group_owners(self, group: str, key: bytes) -> Sequence[Session]:
        """Who is in the group, the key's owner first, then who would be next (a few)."""
        return self._ring(self._groups, group).preferred(key)

    def owner(self, name: object, key: object, *, group: object = None) -> Peer:
        """The owner of a key of the service ``name`` or of ``group``; it may be suspect.

        Raises BadName, ConfigError unless exactly one of both is given, NoProvider for nobody.
        """
        return self.owners(name, key, 1, group=group)[0]

    def owners(
        self, name: object, key: object, n: object = None, *, group: object = None
    ) -> list[Peer]:
        """The owner and the next ones, best first: ``n`` of them, or all. Raises as ``owner``."""
        if (name is None) is (group is None):
            raise ConfigError("a key is owned in a service or in a group: give one of them")
        if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1):
            raise ConfigError(f"n={n!r:.40}: give a whole number from 1, or None for all")
        if group is None:
            what = check_name("service", name)
            ring = self._ring(self._services, what)
        else:
            group_subject(group)
            what = str(group)
            ring = self._ring(self._groups, what)
        form = key_bytes(key)
        if not ring.members:
            is_in = "is in the group" if name is None else "provides the service"
            raise NoProvider(f"nobody {is_in} {what!r}")
        return [session.peer for session in ring.owners(form, n)]

    def _ring(self, cache: _Cache, name: str) -> Ring[Session]:
        # What this node itself provides changes without a word to anybody here.
        if self._own_changes != self._core.record.changes:
            self._own_changes = self._core.record.changes
            self.invalidate()
        ring = cache.current.get(name)
        return ring if ring is not None else cache.make(name)

    def _providers(self, service: str) -> Iterator[tuple[Session, str, float]]:
        for session, record in self._present():
            if service in record.services:
                yield session, record.instance, record.weight

    def _group_members(self, group: str) -> Iterator[tuple[Session, str, float]]:
        subject = group_subject(group)
        for session, record in self._present():
            if record.wants(subject):
                yield session, record.instance, record.weight

    def _present(self) -> Iterator[tuple[Session, Record | OwnRecord]]:
        if not self._core.record.is_observer:
            yield self._local, self._core.record
        for session in self._core.sessions.values():
            record = session.record
            if record is not None and not record.is_observer and session.state not in _GONE:
                yield session, record


class _Cache:
    """Rings by name. After a change each is compared when it is next asked for, and stays, with
    all that it has computed, if the change was none of its members."""

    __slots__ = ("_members", "_previous", "current")

    def __init__(self, members: Callable[[str], Iterable[tuple[Session, str, float]]]) -> None:
        self._members = members
        self.current: dict[str, Ring[Session]] = {}
        self._previous: dict[str, Ring[Session]] = {}

    def invalidate(self) -> None:
        if len(self._previous) + len(self.current) > MAX_RINGS:
            self._previous.clear()
        self._previous.update(self.current)
        self.current.clear()

    def make(self, name: str) -> Ring[Session]:
        if len(self.current) >= MAX_RINGS:
            self.current.clear()
        ring = Ring(self._members(name))
        previous = self._previous.pop(name, None)
        if previous is not None and previous.members == ring.members:
            ring = previous
        self.current[name] = ring
        return ring
