"""The link connections to this node that are up: which there are, and which give way.

ZeroMQ tells a hello and its end, and not whose connection it came by: a stranger may say a thousand
hellos on one. So there is a bound to all of them, and when it is reached the oldest of somebody who
is no member gives way, as if it had ended: whoever comes now gets in, and no member loses its link.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from mesh.wire import frames

__all__ = ["MAX_PIPES", "MAX_PIPES_PER_PEER", "Pipes"]

MAX_PIPES_PER_PEER = 16
"""Connections of one peer that are named; an honest one has one, for moments two or three."""

MAX_PIPES = 16_384
"""Hellos that are up at once: several for each node that the engine would know."""

LOOKED_AT = 256
"""Of these, how many are looked at for one that gives way; the next hello looks at others."""


class Pipes:
    """``is_member(id)`` says who must not give way; ``gone(id, link)`` is told of who does."""

    def __init__(
        self, is_member: Callable[[bytes], bool], gone: Callable[[bytes, int], None]
    ) -> None:
        self._is_member = is_member
        self._gone = gone
        self._links: dict[bytes, deque[int]] = {}
        """Link numbers by hello."""
        self._counts: Counter[bytes] = Counter()
        self._last_link = 0
        self.given_way = 0

    def __len__(self) -> int:
        return len(self._links)

    def begin(self, topic: bytes, id: bytes, dial: int) -> int | None:
        """A hello has come up: the number of its link; None when it gets none."""
        if self._counts[id] >= MAX_PIPES_PER_PEER:
            return None
        if len(self._links) >= MAX_PIPES and not self._make_room():
            return None
        self._counts[id] += 1
        self._last_link += 1
        link = frames.link_number(dial, self._last_link)
        self._links.setdefault(topic, deque()).append(link)
        return link

    def end(self, topic: bytes, id: bytes) -> int | None:
        """A hello is no more. Of one dial's pipes the oldest ends first: libzmq replaces them."""
        links = self._links.get(topic)
        if not links:
            return None
        link = links.popleft()
        if not links:
            del self._links[topic]
        self._discount(id)
        return link

    def _discount(self, id: bytes) -> None:
        self._counts[id] -= 1
        if self._counts[id] <= 0:
            del self._counts[id]

    def _make_room(self) -> bool:
        for _ in range(LOOKED_AT):
            topic = next(iter(self._links))
            id = topic[1 : 1 + frames.ID_SIZE]
            links = self._links.pop(topic)
            if self._is_member(id):
                self._links[topic] = links
                continue
            self.given_way += 1
            for link in links:
                self._discount(id)
                self._gone(id, link)
            return True
        return False
