"""Who has failed in silence and may come back: what it misses meanwhile is counted, not kept.

A peer that fell silent (frozen, cut off, asleep) is no member any more, and nothing is queued for
it. But it does not know that, and it comes back under its own id. So every message that its
interest matches takes a number of its own, and the first thing that it hears on its new link, the
next number, tells how many it has missed: exactly.

It costs a publisher a look-up, and a count for each that is absent; so not for ever, and not for
those whose end is proven. Whoever comes back all the same is told that the gap is unknown.
"""

from __future__ import annotations

from mesh.engine.core import Core
from mesh.engine.session import Session
from patterns.subjects import SubjectMap

__all__ = ["COUNTED_FOR", "MAX_ABSENT", "Absent"]

COUNTED_FOR = 600.0
"""Seconds that an absent peer is counted for: as long as it is dialled often."""

MAX_ABSENT = 256
"""Absent peers that are counted for; those who fell silent first give way."""

MAX_ROUTES = 4096
"""Subjects whose absent listeners are remembered."""


class Absent:
    """The absent peers of one node. ``nodes`` is mostly empty; any thread may look."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.nodes: dict[Session, float] = {}
        """Until when each is counted for; the first to end comes first."""
        self._interest: SubjectMap[Session] = SubjectMap()
        self._patterns: dict[Session, tuple[str, ...]] = {}
        self._routes: dict[str, tuple[Session, ...]] = {}

    def add(self, session: Session, may_return: bool) -> None:
        """A peer has failed; its record is still there."""
        patterns = tuple(session.record.interest) if session.record is not None else ()
        if not patterns:
            return  # nothing is for it, whatever is published
        if not may_return:
            session.is_uncounted = True
            return
        if len(self.nodes) >= MAX_ABSENT:
            self._give_up(next(iter(self.nodes)))
        self.nodes[session] = self._core.clock.now() + COUNTED_FOR
        self._patterns[session] = patterns
        for pattern in patterns:
            self._interest.add(pattern, session)
        self._routes = {}

    def returned(self, session: Session) -> None:
        """It is a member again, and was told on its link what it has missed."""
        session.is_uncounted = False
        self._remove(session)

    def count(self, subject: str) -> None:
        """A message goes out that those who are absent do not get."""
        oldest = next(iter(self.nodes), None)
        if oldest is None:
            return
        if self.nodes[oldest] < self._core.clock.now():
            self._give_up(oldest)
        for session in self.listeners(subject):
            session.outbox.lose(1)
            session.outbox.losses.add(subject.encode())

    def listeners(self, subject: str) -> tuple[Session, ...]:
        """Those of the absent that it would be for."""
        route = self._routes.get(subject)
        if route is None:
            if len(self._routes) >= MAX_ROUTES:
                self._routes = {}
            route = self._routes[subject] = tuple(self._interest.match(subject))
        return route

    def _give_up(self, session: Session) -> None:
        session.is_uncounted = True
        self._remove(session)

    def _remove(self, session: Session) -> None:
        if self.nodes.pop(session, None) is None:
            return
        for pattern in self._patterns.pop(session):
            self._interest.remove(pattern, session)
        self._routes = {}
