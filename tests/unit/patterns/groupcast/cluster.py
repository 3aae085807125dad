"""Senders and members that talk to each other, on virtual time and without engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mesh.testing.clock import SimClock
from patterns.groupcast import casts as k
from tests.unit.patterns.groupcast.port import CREW, Node, Port

__all__ = ["Cluster", "Peer"]

LATENCY = 0.0002


class Peer(Port):
    """A port whose messages arrive."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        super().__init__(cluster.clock)
        self.cluster = cluster
        self.node = Node(name)
        self.lanes: dict[Node, Lane] = {}
        self.most_open = 0

    def tell(self, target: Node, *fields: Any) -> None:
        self.cluster.send(target, lambda peer: peer.hear(self.node, *fields))

    def hear(self, sender: Node, kind: int, *fields: Any) -> None:
        handle: dict[int, Callable[..., None]] = {
            k.WANT: self.receiver.on_want,
            k.RETURN: self.receiver.on_return,
            k.CHECK: self.receiver.on_check,
            k.GRANT: self.sender.on_grant,
            k.RECALL: self.sender.on_recall,
            k.HELD: self.sender.on_held,
            k.DONE: self.sender.on_done,
        }
        if kind == k.BACK:
            reason, ranges, _ = fields
            self.sender.on_back(sender, reason, ranges, None)
        else:
            handle[kind](sender, *fields)

    def send_cast(self, target: Node, entry: bytes) -> int:
        number = super().send_cast(target, entry)
        lane = self.lanes.setdefault(target, Lane(self, target, number))
        lane.entries.append(self.unpack(entry))
        if not lane.is_dirty:
            self.mark(lane)
        return number

    def on_casts(self, sender: Node, first: int, entries: list[Any]) -> None:
        self.receiver.on_casts(sender, 1, first, entries)
        here = sum(len(source.open) for source in self.receiver._sources.values())
        self.most_open = max(self.most_open, here)


class Lane:
    """Casts of one turn to one member."""

    def __init__(self, peer: Peer, target: Node, first: int) -> None:
        self.peer = peer
        self.target = target
        self.first = first
        self.entries: list[Any] = []
        self.is_dirty = False

    def flush(self) -> None:
        first, entries, node = self.first, self.entries, self.peer.node
        self.first, self.entries = first + len(entries), []
        self.peer.cluster.send(self.target, lambda peer: peer.on_casts(node, first, entries))


class Cluster:
    """Everybody, all linked, in one group of those that subscribe."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.peers: dict[Node, Peer] = {}

    def add(self, name: str) -> Peer:
        peer = Peer(self, name)
        for other in (*self.peers.values(), peer):
            other.receiver.link_opened(peer.node, 1)
            if other is not peer:
                peer.receiver.link_opened(other.node, 1)
        self.peers[peer.node] = peer
        return peer

    def gather(self, members: list[Peer], weights: list[float] | None = None) -> None:
        """They are the crew, as everybody sees it."""
        nodes = [member.node for member in members]
        for peer in self.peers.values():
            peer.crew = nodes
            peer.weights = dict(zip(nodes, weights or [1.0] * len(nodes), strict=True))
            peer.sender.members_changed()
        self.run(0.1)

    def send(self, target: Node, deliver: Callable[[Peer], None]) -> None:
        self.clock.call_later(LATENCY, lambda: deliver(self.peers[target]))

    def run(self, seconds: float) -> None:
        until = self.clock.now() + seconds
        while self.clock.step(until):
            pass

    def keep_busy(self, sender: Peer, at_once: int) -> Callable[[], None]:
        """``at_once`` callers who groupcast again as soon as they may; returns what stops them."""
        running = [True]
        entry = sender.pack((CREW, sender.node.name))

        def again() -> None:
            if running[0]:
                sender.sender.wait(CREW, entry, None, 1000.0, Caller(again, sender))

        for _ in range(at_once):
            again()
        return lambda: running.__setitem__(0, False)


class Caller:
    """A waiter that says at once that it has what it waited for."""

    def __init__(self, again: Callable[[], None], peer: Peer) -> None:
        self._again = again
        self._peer = peer
        self._is_done = False

    def done(self) -> bool:
        return self._is_done

    def set_result(self, result: Any, /) -> None:
        self._is_done = True
        self._peer.process_clock.call_soon(self._again)

    def set_exception(self, exception: BaseException, /) -> None:
        raise exception
