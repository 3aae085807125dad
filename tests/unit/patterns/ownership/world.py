"""Nodes that hold tenures of one service, and the news between them, delivered when a test says so.

``join``, ``kill`` and ``withdraw`` change who is there; what others hear of it waits in queues, one
for each pair, in order, as on a link. Nothing here owns a socket or a clock of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from mesh.ring import Ring
from mesh.testing.clock import SimClock
from patterns.ownership import Fences, Tenure

__all__ = ["SLOT_SAMPLE", "Member", "World"]

SLOT_SAMPLE = (0, 1, 2, 3, 500, 40_000)


class Member:
    """A node with a tenure: its ``OwnershipPort``, too."""

    def __init__(self, world: World, name: str, skew: int = 0, **options: Any) -> None:
        self.world = world
        self.id = name.encode()
        self.name = name
        self.peer = name
        self.outstanding = 0
        self.local = self
        self.known: dict[bytes, tuple[Member, bool, bool]] = {}
        """Others as this node sees them: (who, a member, may hold slots)."""
        self.is_member = True
        self.holds = False
        self.is_alive = True
        self._view: Ring[Member] | None = None
        self._is_poked = False
        self.counts: dict[str, int] = {}
        self.fences = Fences(lambda: int(world.clock.now() * 1000) + skew, hash(name))
        self.running: dict[int, int] = {}
        self.tenure = Tenure(self, "cart", self.fences, **options)
        self.tenure.settle()

    def __repr__(self) -> str:
        return self.name

    def now(self) -> float:
        return self.world.clock.now()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        return self.world.clock.call_later(delay, callback)

    def view(self, service: str) -> Ring[Member]:
        members = [other for other, is_member, _ in self.known.values() if is_member]
        if self.is_member:
            members.append(self)
        ring = Ring((member, member.name, 1.0) for member in members)
        if self._view is None or self._view.members != ring.members:
            self._view = ring
        return self._view

    def partners(self, service: str) -> Iterator[tuple[Member, bool]]:
        for other, _, holds in self.known.values():
            yield other, holds

    def is_before(self, handle: Member, slot: int) -> bool:
        return Ring([(handle, handle.name, 1.0), (self, self.name, 1.0)]).first(slot) is handle

    def state(self, handle: Member, service: str, slots: frozenset[int], whole: bool) -> None:
        self.world.send(self, handle, ("state", slots, whole, self.fences.highest))

    def hold(self, service: str) -> None:
        self.holds = True
        self.world.send_all(self, ("record",))

    def poke(self) -> None:
        self._is_poked = True

    def count(self, what: str, by: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + by

    def settle(self) -> None:
        """The end of its turn."""
        while self._is_poked and self.is_alive:
            self._is_poked = False
            self.tenure.act()

    def begin(self, slot: int) -> int | None:
        """Start work if it may; its fence."""
        if not self.is_alive or not self.tenure.may_start(slot):
            return None
        self.tenure.began(slot)
        self.running[slot] = self.running.get(slot, 0) + 1
        fence = self.tenure.fence(slot)
        self.settle()
        return fence

    def end(self, slot: int) -> None:
        self.running[slot] -= 1
        if not self.running[slot]:
            del self.running[slot]
        self.tenure.ended(slot)
        self.settle()

    def receive(self, sender: Member, news: tuple[Any, ...]) -> None:
        kind = news[0]
        if kind == "state":
            self.fences.heard(news[3])
            if sender.id in self.known:
                self.tenure.heard(sender, news[1], news[2])
        elif kind == "join":
            self.known[sender.id] = sender, news[1], news[2]
        elif kind == "record" and sender.id in self.known:
            self.known[sender.id] = sender, self.known[sender.id][1], news[1]
        elif kind == "withdrawn" and sender.id in self.known:
            self.known[sender.id] = sender, False, sender.holds
        elif kind == "gone":
            self.known.pop(sender.id, None)
        self.poke()
        self.settle()


class World:
    def __init__(self) -> None:
        self.clock = SimClock()
        self.members: list[Member] = []
        self.news: dict[tuple[bytes, bytes], deque[tuple[Any, ...]]] = {}

    @property
    def alive(self) -> list[Member]:
        return [member for member in self.members if member.is_alive]

    def send(self, sender: Member, receiver: Member, news: tuple[Any, ...]) -> None:
        if news[0] == "record":
            news = ("record", sender.holds)
        self.news.setdefault((sender.id, receiver.id), deque()).append(news)

    def send_all(self, sender: Member, news: tuple[Any, ...]) -> None:
        for other in self.alive:
            if other is not sender:
                self.send(sender, other, news)

    def join(self, name: str, **options: Any) -> Member:
        new = Member(self, name, **options)
        for other in self.alive:
            # Either hears of the other by its record, as on a link that opens.
            self.send(new, other, ("join", new.is_member, new.holds))
            self.send(other, new, ("join", other.is_member, other.holds))
        self.members.append(new)
        return new

    def withdraw(self, member: Member) -> None:
        member.is_member = False
        member.tenure.withdraw()
        self.send_all(member, ("withdrawn",))
        member.settle()

    def kill(self, member: Member) -> None:
        member.is_alive = False
        member.running.clear()
        member.tenure.close()
        self.send_all(member, ("gone",))

    def deliver(self, sender: Member, receiver: Member) -> bool:
        queue = self.news.get((sender.id, receiver.id))
        if not queue or not receiver.is_alive:
            return False
        receiver.receive(sender, queue.popleft())
        return True

    def deliver_all(self) -> None:
        """Until nobody has anything to say."""
        while any(self.deliver(a, b) for a in self.members for b in self.members if a is not b):
            pass

    def pass_time(self, seconds: float) -> None:
        until = self.clock.now() + seconds
        while self.clock.step(until):
            for member in self.alive:
                member.settle()

    def pending(self, sender: Member, receiver: Member) -> bool:
        return bool(self.news.get((sender.id, receiver.id)))
