"""Queue groups: who listens to what, so that each group gets one copy of a publish.

All subscriptions with ``group="billing"`` are one queue group, whatever their patterns and
wherever they are; of those that match a subject, one handler gets the message. The copies travel
as casts to the pool of that name (``patterns.groupcast``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from patterns.names import queue_pool
from patterns.port import Handle
from patterns.subjects import SubjectMap
from patterns.subscription import Subscription

__all__ = ["QueueGroups", "Route"]

MAX_ROUTES = 4096
"""Subjects whose queue groups are remembered."""

Route = tuple[tuple[str, tuple[Handle, ...]], ...]
"""(pool, members) of each queue group that listens."""


class QueueGroups:
    """Interest of all nodes in queue groups, and this one's own.

    ``on_interest(group, pattern, is_wanted)`` is told when this node as a whole begins or ceases
    to listen to a pattern in a group; ``me`` is its handle.
    """

    def __init__(self, me: Handle, on_interest: Callable[[str, str, bool], None]) -> None:
        self._me = me
        self._on_interest = on_interest
        self._interest: SubjectMap[tuple[str, Handle]] = SubjectMap()
        self._listeners: dict[Handle, dict[str, frozenset[str]]] = {}
        self._told: dict[Handle, Mapping[str, Iterable[str]]] = {}
        """What each node has told last, as it was given: who tells the same object has no news."""
        self._own: dict[tuple[str, str], list[Subscription]] = {}
        self._routes: dict[str, Route] = {}
        self._is_withdrawn = False
        self.is_empty = True
        """Whether nobody listens in any queue group: what most publishes need to know."""

    # Routes.

    def route(self, subject: str) -> Route:
        """The queue groups that listen to a subject, with the members that do."""
        route = self._routes.get(subject)
        return route if route is not None else self._find(subject)

    def known_route(self, subject: str) -> Route | None:
        """The same if it is known already; any thread may ask."""
        return () if self.is_empty else self._routes.get(subject)

    def members(self, pool: str, subject: str) -> tuple[Handle, ...]:
        """Those of one queue group that listen to a subject."""
        return next((members for name, members in self.route(subject) if name == pool), ())

    def _find(self, subject: str) -> Route:
        pools: dict[str, list[Handle]] = {}
        for pool, handle in self._interest.match(subject):
            pools.setdefault(pool, []).append(handle)
        if len(self._routes) >= MAX_ROUTES:
            self._routes = {}
        route = self._routes[subject] = tuple((p, tuple(m)) for p, m in pools.items())
        return route

    # Others.

    def update(self, handle: Handle, queues: Mapping[str, Iterable[str]]) -> bool:
        """That node listens to exactly this; returns whether anything changed.

        What is given is not to be changed afterwards: it is kept, to see that it is the same.
        """
        if queues and self._told.get(handle) is queues:
            return False
        before = self._listeners.get(handle, {})
        after = {group: frozenset(patterns) for group, patterns in queues.items()}
        if before == after:
            return False
        for group, patterns in before.items():
            for pattern in patterns - after.get(group, frozenset()):
                self._interest.remove(pattern, (queue_pool(group), handle))
        for group, patterns in after.items():
            for pattern in sorted(patterns - before.get(group, frozenset())):
                self._interest.add(pattern, (queue_pool(group), handle))
        if after:
            self._listeners[handle] = after
            self._told[handle] = queues
        else:
            self._listeners.pop(handle, None)
            self._told.pop(handle, None)
        self._routes = {}
        self.is_empty = not self._interest
        return True

    # This node.

    def listen(self, subscription: Subscription) -> None:
        """``subscription`` takes part from now on."""
        group, pattern = subscription.group or "", subscription.pattern
        own = self._own.setdefault((group, pattern), [])
        own.append(subscription)
        self._update_me()
        if len(own) == 1:
            self._on_interest(group, pattern, True)

    def stop(self, subscription: Subscription) -> None:
        """It takes part no more."""
        group, pattern = subscription.group or "", subscription.pattern
        own = self._own[group, pattern]
        own.remove(subscription)
        if not own:
            del self._own[group, pattern]
        self._update_me()
        if not own:
            self._on_interest(group, pattern, False)

    def withdraw(self) -> None:
        """This node takes part in none any more."""
        self._is_withdrawn = True
        self._update_me()

    def _update_me(self) -> None:
        """What of this node's own publishes this node takes part in."""
        queues: dict[str, list[str]] = {}
        if self._is_withdrawn:
            self.update(self._me, queues)
            return
        for (group, pattern), own in self._own.items():
            if any(subscription.echo for subscription in own):
                queues.setdefault(group, []).append(pattern)
        self.update(self._me, queues)
