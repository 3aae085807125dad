"""The members this node knows, their states, and the transitions between them.

::

    (unknown) --joined--> alive <--> unresponsive         link up, Python silent for a while
                          alive  --> suspect --> failed   link lost; evidence or time decides
                          suspect --> alive               a new link with the same id always wins
                          alive | unresponsive | suspect --> left    a goodbye
                          failed | left --> alive         the same id came back (never a restart)

A restarted node has a new id and is a new member; ids are never reused. Ended members are kept
for a while, for people who ask what happened, and bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

from mesh.membership.peer import Peer
from mesh.membership.record import Record

__all__ = ["MAX_ENDED", "Member", "Membership", "State"]

MAX_ENDED = 1000
"""Failed and left members that are remembered; the oldest go first."""


class State(StrEnum):
    """A member's state; the values are what users see."""

    ALIVE = "alive"
    UNRESPONSIVE = "unresponsive"
    SUSPECT = "suspect"
    FAILED = "failed"
    LEFT = "left"


ENDED = frozenset({State.FAILED, State.LEFT})


class Member:
    """One member: its record, its state, and the immutable ``Peer`` that users are shown."""

    __slots__ = ("_peer", "address", "record", "since", "state")

    def __init__(self, record: Record, address: str, state: State, since: datetime) -> None:
        self.record = record
        self.address = address
        self.state = state
        self.since = since
        self._peer: Peer | None = None

    @property
    def peer(self) -> Peer:
        peer = self._peer
        if peer is None:
            record = self.record
            peer = self._peer = Peer(
                id=record.id.hex(),
                name=record.name,
                services=dict(record.services),
                groups=record.groups,
                tags=dict(record.tags),
                address=self.address,
                state=str(self.state),
                since=self.since,
                is_observer=record.is_observer,
                instance=record.instance,
                weight=record.weight,
            )
        return peer

    def refresh(self) -> None:
        """The record changed: show a new ``Peer`` from now on."""
        self._peer = None


class Membership:
    """The table. ``wall_clock`` gives aware datetimes, for display only."""

    def __init__(self, wall_clock: Callable[[], datetime]) -> None:
        self._wall_clock = wall_clock
        self.on_forgotten: Callable[[bytes], None] = lambda id: None
        """Told of each ended member that is not remembered any more."""
        self._members: dict[bytes, Member] = {}

    def join(self, record: Record, address: str) -> Member:
        """A node is linked both ways and its record is here: it is alive."""
        self._members.pop(record.id, None)
        member = Member(record, address, State.ALIVE, self._wall_clock())
        self._members[record.id] = member
        self._forget_oldest()
        return member

    def change(self, id: bytes, state: State) -> Member | None:
        """Move a member to ``state``; None when it is unknown or in that state already."""
        member = self._members.get(id)
        if member is None or member.state is state:
            return None
        member.state = state
        member.since = self._wall_clock()
        member.refresh()
        if state in ENDED:
            self._members[id] = self._members.pop(id)
        return member

    def __len__(self) -> int:
        """All that are remembered, the ended included."""
        return len(self._members)

    def get(self, id: bytes) -> Member | None:
        return self._members.get(id)

    def peers(self, *, all: bool = False) -> list[Peer]:
        """Members as users see them; ``all`` adds observers and the ended."""
        return [
            member.peer
            for member in self._members.values()
            if all or not (member.state in ENDED or member.record.is_observer)
        ]

    def _forget_oldest(self) -> None:
        if len(self._members) <= MAX_ENDED:
            return
        ended = [id for id, member in self._members.items() if member.state in ENDED]
        for id in ended[: max(0, len(ended) - MAX_ENDED)]:
            del self._members[id]
            self.on_forgotten(id)
