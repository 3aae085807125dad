"""Which nodes have a subscription that blocks: their publishers wait for them.

It is a fact about a node and not about a pattern, for all that one node publishes to another
travels in one order: what waits before a message of a blocking subscription holds it up, and what
is dropped to make room could be that message.
"""

from __future__ import annotations

from collections.abc import Callable

from patterns.port import Handle
from patterns.subscription import Subscription

__all__ = ["Blocking"]


class Blocking:
    """``on_change(is_blocking)`` is told when this node, ``me``, begins or ceases to be one."""

    def __init__(self, me: Handle, on_change: Callable[[bool], None]) -> None:
        self._me = me
        self._on_change = on_change
        self._own = 0
        self._echoing = 0
        self.nodes: dict[Handle, None] = {}
        """Of these, this node is one for its own publishes; any thread may look."""

    def update(self, node: Handle, is_blocking: bool) -> None:
        """A node says whether it has such subscriptions."""
        if is_blocking:
            self.nodes[node] = None
        else:
            self.nodes.pop(node, None)

    def listen(self, subscription: Subscription) -> None:
        """A subscription of this node begins."""
        if subscription.holds_publishers:
            self._count(1, int(subscription.echo))

    def stop(self, subscription: Subscription) -> None:
        """A subscription of this node ends."""
        if subscription.holds_publishers:
            self._count(-1, -int(subscription.echo))

    def _count(self, own: int, echoing: int) -> None:
        was_blocking = bool(self._own)
        self._own += own
        self._echoing += echoing
        self.update(self._me, bool(self._echoing))
        if bool(self._own) != was_blocking:
            self._on_change(bool(self._own))
