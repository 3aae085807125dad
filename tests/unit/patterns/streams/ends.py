"""Two nodes' streams and the ways between them, without a network: what leaves is put on a list,
and arrives when the test says so."""

from __future__ import annotations

from collections import deque
from typing import Any

from mesh.testing.clock import ProcessClock, SimClock
from mesh.wire.codec import Codec
from patterns.streams import Stream, Streams, StreamServer
from tests.sim.runner import SimRunner

WINDOW = 128 * 1024


class Node:
    """A handle, and the port of its streams."""

    def __init__(self, name: str) -> None:
        self.id = name.encode()
        self.outstanding = 0
        self.peer = name
        self.codec = Codec()
        self.pack = self.codec.pack
        self.counts: dict[str, int] = {}
        self.urgent: deque[bytes] = deque()
        self.ready: deque[Stream] = deque()
        self.on_the_way: deque[bytes] = deque()
        self.other: Node
        self.peer_eras: dict[bytes, int] = {}
        self.streams = Streams(self)
        self.clock = SimClock()
        self.runner = SimRunner(ProcessClock(self.clock))
        self.server = StreamServer(self.streams, self.runner)

    def unpack(self, entry: bytes) -> Any:
        return self.codec.unpack_all(entry, 1)[0]

    def count(self, what: str, by: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + by

    era = 1

    def peer_era(self, handle: Node) -> int:
        return self.peer_eras.get(handle.id, 0)

    def stream_ready(self, handle: Node, stream: Stream) -> None:
        self.ready.append(stream)

    def tell_stream(self, handle: Node, entry: bytes) -> None:
        self.urgent.append(entry)

    def leave(self) -> bool:
        """One message leaves; whether there was one."""
        if self.urgent:
            self.on_the_way.append(self.urgent.popleft())
            return True
        while self.ready:
            stream = self.ready.popleft()
            entry = stream.next_entry()
            if entry is None:
                stream.is_queued = False
                continue
            self.ready.append(stream)
            self.on_the_way.append(entry)
            return True
        return False

    def arrive(self) -> bool:
        """The first message on its way arrives at the other node; whether there was one."""
        if not self.on_the_way:
            return False
        entry = self.unpack(self.on_the_way.popleft())
        assert self.other.streams.on_messages(self, [entry]) == 0
        return True


class Opening:
    """A call that found its peer."""

    def __init__(self, handle: Node) -> None:
        self.handle = handle


def two_nodes() -> tuple[Node, Node]:
    near, far = Node("near"), Node("far")
    near.other, far.other = far, near
    return near, far


def opened(
    near: Node, far: Node, *, number: int = 1, window: int = WINDOW
) -> tuple[Stream, Stream]:
    """Both ends of a stream that ``near`` has opened."""
    here = Stream(near.streams, number, "files", near.streams.room(window), {"a": "b"})
    near.streams.begin(here, Opening(far))
    there = far.streams.accept(near, number, "files", (window, window), {"a": "b"}, None)
    near.streams.accepted(here, [there.window, far.era])
    return here, there


def settle(near: Node, far: Node) -> None:
    """Everything that can leaves, and arrives."""
    is_moving = True
    while is_moving:
        is_moving = False
        for node in (near, far):
            is_moving |= node.leave()
            is_moving |= node.arrive()
