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
"""Unread changes of one peer's state; past this only the newest is kept."""

KEPT_PEERS = 5000
"""Peers with unread events: more than a node knows at once."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to ``peer`` (its description just after); ``reason`` says why.

    The kinds that add no field are plain subclasses, still equal to their own kind only: to make
    seven dataclasses of them was a twentieth of the time to import ``mesh``.
    """

    peer: Peer
    reason: str = ""


class PeerJoined(Event):
    """Linked both ways, its record in force here and ours there: what is sent reaches it."""

    __slots__ = ()


class PeerUpdated(Event):
    """Its services, groups or subscriptions changed."""

    __slots__ = ()


class PeerSuspected(Event):
    """Its link was lost; new work avoids it until it is back or failed."""

    __slots__ = ()


class PeerRecovered(Event):
    """It is alive again after having been suspect or unresponsive."""

    __slots__ = ()


class PeerUnresponsive(Event):
    """Its process lives but its Python does not answer; new work avoids it."""

    __slots__ = ()


class PeerFailed(Event):
    """It is gone without a goodbye; calls in flight there have failed."""

    __slots__ = ()


class PeerLeft(Event):
    """It said goodbye."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Gap(Event):
    """``missed`` messages from ``peer`` were lost on the way here; None: some, or none, unknown.

    It is unknown when a peer fails from whom messages had come. If the same node is back, another
    one tells how many it was, from the last message before on; that may be 0.
    """

    missed: int | None = None


class _Unread:
    """One peer's unread events: changes of state in order, and one gap that adds up."""

    __slots__ = ("_is_open", "_missed", "gap", "states")

    def __init__(self) -> None:
        self.states: list[Event] = []
        self.gap: Gap | None = None
        self._missed: int | None = 0
        self._is_open = False
        """Whether the peer has failed, so that it is unknown until it is back."""

    def _add(self, gap: Gap) -> None:
        if gap.missed is not None:
            self._is_open = False
            self._missed = None if self._missed is None else self._missed + gap.missed
        elif self.has_ended:
            self._is_open = True
        else:
            self._missed = None
        self.gap = replace(gap, missed=None if self._is_open else self._missed)

    def put(self, event: Event) -> None:
        states = self.states
        if isinstance(event, Gap):
            self._add(event)
        elif isinstance(event, PeerUpdated) and states and not _is_end(states[-1]):
            states[-1] = replace(states[-1], peer=event.peer)
        else:
            states.append(event)
            if len(states) > KEPT_PER_PEER:
                del states[:-1]

    @property
    def has_ended(self) -> bool:
        return bool(self.states) and _is_end(self.states[-1])

    def take(self) -> list[Event]:
        return self.states if self.gap is None else [*self.states, self.gap]


class Watcher:
    """One reader's unread events. ``on_ready`` is called when there is something to ``take``."""

    def __init__(self, snapshot: Iterable[Event]) -> None:
        self._unread: dict[str, _Unread] = {}
        self.on_ready: Callable[[], None] | None = None
        self.is_closed = False
        for event in snapshot:
            self.put(event)

    def put(self, event: Event) -> None:
        """Tell an event; never waits for the reader."""
        unread = self._unread.get(event.peer.id)
        if unread is None:
            if len(self._unread) >= KEPT_PEERS:
                self._drop_one()
            unread = self._unread[event.peer.id] = _Unread()
        unread.put(event)
        if self.on_ready is not None:
            self.on_ready()

    def _drop_one(self) -> None:
        """Ids are fresh at each restart: what ended unread, longest ago, interests least."""
        ended = next((id for id, unread in self._unread.items() if unread.has_ended), None)
        del self._unread[next(iter(self._unread)) if ended is None else ended]

    def take(self) -> list[Event]:
        """All unread events, peers in order of their first; each peer's in order, its gap last."""
        taken, self._unread = self._unread, {}
        return [event for unread in taken.values() for event in unread.take()]

    def close(self) -> None:
        """No more events come; what is unread may still be taken."""
        self.is_closed = True
        if self.on_ready is not None:
            self.on_ready()


def _is_end(event: Event) -> bool:
    return isinstance(event, PeerFailed | PeerLeft)
