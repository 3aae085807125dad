"""What ``watch()`` tells: changes of the mesh, as values.

Events are conflated per peer: a reader that falls behind sees each peer's newest state, never a
queue without end, and never holds up the node. ``Gap`` counts add up instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from mesh.membership import Peer

__all__ = [
    "Event",
    "Gap",
    "PeerFailed",
    "PeerJoined",
    "PeerLeft",
    "PeerRecovered",
    "PeerSuspected",
    "PeerUnresponsive",
    "PeerUpdated",
    "Watcher",
]

KEPT_PER_PEER = 4
"""Unread events of one peer; past this only the newest is kept."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to ``peer`` (its description just after); ``reason`` says why."""

    peer: Peer
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PeerJoined(Event):
    """Linked both ways, its record in force here and ours there: what is sent reaches it."""


@dataclass(frozen=True, slots=True)
class PeerUpdated(Event):
    """Its services, groups or subscriptions changed."""


@dataclass(frozen=True, slots=True)
class PeerSuspected(Event):
    """Its link was lost; new work avoids it until it is back or failed."""


@dataclass(frozen=True, slots=True)
class PeerRecovered(Event):
    """It is alive again after having been suspect or unresponsive."""


@dataclass(frozen=True, slots=True)
class PeerUnresponsive(Event):
    """Its process lives but its Python does not answer; new work avoids it."""


@dataclass(frozen=True, slots=True)
class PeerFailed(Event):
    """It is gone without a goodbye; calls in flight there have failed."""


@dataclass(frozen=True, slots=True)
class PeerLeft(Event):
    """It said goodbye."""


@dataclass(frozen=True, slots=True)
class Gap(Event):
    """``missed`` messages from ``peer`` were lost on the way here; None: some, or none, unknown."""

    missed: int | None = None


class Watcher:
    """One reader's unread events. ``on_ready`` is called when there is something to ``take``."""

    def __init__(self, snapshot: Iterable[Event]) -> None:
        self._unread: dict[str, list[Event]] = {event.peer.id: [event] for event in snapshot}
        self.on_ready: Callable[[], None] | None = None
        self.is_closed = False

    def close(self) -> None:
        """No more events come; what is unread may still be taken."""
        self.is_closed = True
        if self.on_ready is not None:
            self.on_ready()

    def put(self, event: Event) -> None:
        events = self._unread.setdefault(event.peer.id, [])
        last = events[-1] if events else None
        if isinstance(event, Gap) and isinstance(last, Gap):
            if event.missed is None or last.missed is None:
                events[-1] = replace(event, missed=None)
            else:
                events[-1] = replace(event, missed=last.missed + event.missed)
        elif isinstance(event, PeerUpdated) and isinstance(last, PeerUpdated | PeerJoined):
            events[-1] = replace(last, peer=event.peer)
        else:
            events.append(event)
            if len(events) > KEPT_PER_PEER:
                del events[:-1]
        if self.on_ready is not None:
            self.on_ready()

    def take(self) -> list[Event]:
        """All unread events, peers in order of their first, each peer's in order."""
        unread, self._unread = self._unread, {}
        return [event for events in unread.values() for event in events]
