"""Large payloads on a link: cut into chunks by the sender, put together by the receiver. Pure.

An entry above ``PARCEL_BYTES`` is a *parcel*. Its chunks travel between the frames of small
messages, in a window of their own, so nothing small ever waits behind it. Rules:

* One parcel after the other, in order; ``Parcels.ready`` says which chunks may leave now.
* The window lets about ``TARGET_DELAY`` of chunks queue on the way, found out by how long
  acknowledgements take: on a slow link one to three chunks, on a fast one a megabyte.
* The receiver acknowledges a chunk when it has room for its whole parcel (``Budget``), so what
  it keeps is bounded, and one that has room for no more holds up nothing but parcels.
* Counters belong to a link epoch. On a new one a parcel that was not through begins again, from
  its first chunk; of the old epoch the receiver forgets what is not whole.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator

__all__ = [
    "CHUNK_BYTES",
    "MAX_WINDOW_BYTES",
    "PARCEL_BYTES",
    "PENDING_PARCEL_BYTES",
    "Assembly",
    "Budget",
    "Chunk",
    "Parcel",
    "Parcels",
]

CHUNK_BYTES = 64 * 1024
"""Of a chunk: a sixth of a second on a link of 0.4 MB/s, and 10 µs of Python."""

PARCEL_BYTES = 256 * 1024 - 128
"""Entries above this are parcels: what fits a frame of the link beside its header is none."""

FIRST_WINDOW_BYTES = 4 * CHUNK_BYTES
"""On the way before anything is known of the link; 0.7 s at 0.4 MB/s, so no heartbeat is late."""

MAX_WINDOW_BYTES = 1024 * 1024
"""On the way at most: above it a fast link gets no faster."""

TARGET_DELAY = 0.1
"""Seconds that a chunk may wait behind others before the window shrinks. At 0.4 MB/s a small
message waits half a second behind chunks, at most."""

PENDING_PARCEL_BYTES = 256 * 1024 * 1024
"""Parcels that wait for one peer: four of the largest, unless they may be larger."""


class Parcel:
    """One large entry on its way. ``kind`` is what its frame would have, ``sent`` how much left.

    ``tag`` is its owner's, to find it by.
    """

    __slots__ = ("entry", "id", "is_given_up", "kind", "sent", "tag")

    def __init__(self, id: int, kind: int, entry: bytes, tag: int | None) -> None:
        self.id = id
        self.kind = kind
        self.entry = entry
        self.tag = tag
        self.sent = 0
        self.is_given_up = False


class Chunk:
    """What leaves next. ``total`` 0 says that the parcel is given up."""

    __slots__ = ("is_last", "offset", "parcel", "piece", "total")

    def __init__(self, parcel: Parcel, offset: int, piece: memoryview) -> None:
        self.parcel = parcel
        self.offset = offset
        self.piece = piece
        self.total = 0 if parcel.is_given_up else len(parcel.entry)
        self.is_last = not parcel.is_given_up and offset + len(piece) == self.total


class Parcels:
    """The sending half for one peer."""

    __slots__ = (
        "_acked",
        "_last_id",
        "_least_delay",
        "_on_the_way",
        "_sent",
        "queue",
        "size",
        "window",
    )

    def __init__(self) -> None:
        self.queue: deque[Parcel] = deque()
        self.size = 0
        """Bytes of all that wait, those under way included until their last chunk left."""
        self.window = FIRST_WINDOW_BYTES
        self._sent = self._acked = 0
        self._last_id = 0
        self._least_delay = math.inf
        self._on_the_way: deque[tuple[int, float]] = deque()

    def append(self, kind: int, entry: bytes, tag: int | None = None) -> None:
        """Queue one behind the others."""
        self._last_id += 1
        self.queue.append(Parcel(self._last_id, kind, entry, tag))
        self.size += len(entry)

    def drop_oldest(self, limit: int, kinds: frozenset[int]) -> list[Parcel]:
        """Give up the oldest of these kinds until no more than ``limit`` bytes, or one parcel,
        wait. Returns them; one under way is not among them."""
        dropped = []
        for parcel in list(self.queue):
            if self.size <= limit or len(self.queue) == 1:
                break
            if parcel.kind in kinds and not parcel.sent:
                self._remove(parcel)
                dropped.append(parcel)
        return dropped

    def give_up(self, kind: int, tag: int) -> bool:
        """Nobody wants that one any more; False when it is not here (any more)."""
        for parcel in self.queue:
            if parcel.kind == kind and parcel.tag == tag and not parcel.is_given_up:
                if parcel.sent:
                    parcel.is_given_up = True
                    self.size -= len(parcel.entry)
                else:
                    self._remove(parcel)
                return True
        return False

    def tags(self, kind: int) -> set[int]:
        """Those of the parcels of a kind that are not through."""
        return {
            p.tag for p in self.queue if p.kind == kind and p.tag is not None and not p.is_given_up
        }

    @property
    def is_in_use(self) -> bool:
        """Whether any is not through, or was not acknowledged to the end."""
        return bool(self.queue) or self._sent != self._acked

    def open(self) -> None:
        """A new link epoch: nothing is on its way, what was not through begins again."""
        self._sent = self._acked = 0
        self._on_the_way.clear()
        self._least_delay = math.inf
        self.window = FIRST_WINDOW_BYTES
        for parcel in [p for p in self.queue if p.is_given_up]:
            self.queue.remove(parcel)
        for parcel in self.queue:
            parcel.sent = 0

    def ready(self, now: float) -> Iterator[Chunk]:
        """Take the chunks that the window allows."""
        while self.queue:
            parcel = self.queue[0]
            if parcel.is_given_up:
                self.queue.popleft()
                yield Chunk(parcel, parcel.sent, memoryview(b""))
                continue
            in_flight = self._sent - self._acked
            piece = memoryview(parcel.entry)[parcel.sent : parcel.sent + CHUNK_BYTES]
            if in_flight and in_flight + len(piece) > self.window:
                return
            chunk = Chunk(parcel, parcel.sent, piece)
            parcel.sent += len(piece)
            self._sent += len(piece)
            self._on_the_way.append((self._sent, now))
            if chunk.is_last:
                self.queue.popleft()
                self.size -= len(parcel.entry)
            yield chunk

    def acknowledge(self, received: int, now: float) -> bool:
        """The receiver has taken ``received`` bytes of this epoch; False if that cannot be."""
        if not self._acked <= received <= self._sent:
            return False
        taken = received - self._acked
        self._acked = received
        left_at = None
        while self._on_the_way and self._on_the_way[0][0] <= received:
            left_at = self._on_the_way.popleft()[1]
        if left_at is not None:
            self._adapt(now - left_at, taken)
        return True

    def _adapt(self, delay: float, taken: int) -> None:
        """Double the window in each round trip without a queue, take it back when there is one.

        A queue shows in what a chunk takes more than the least that one took (as in LEDBAT, RFC
        6817): the distance alone makes no link slow. The least is that of this epoch.
        """
        least = self._least_delay = min(delay, self._least_delay)
        if delay - least <= TARGET_DELAY / 2:
            self.window = min(MAX_WINDOW_BYTES, self.window + taken)
        elif delay - least > TARGET_DELAY:
            fitting = int(self.window * (least + TARGET_DELAY) / delay)
            self.window = max(CHUNK_BYTES, fitting)

    def _remove(self, parcel: Parcel) -> None:
        self.queue.remove(parcel)
        self.size -= len(parcel.entry)

    def clear(self, kinds: frozenset[int]) -> int:
        """Drop everything; returns how many of these kinds there were."""
        lost = sum(parcel.kind in kinds for parcel in self.queue)
        self.queue.clear()
        self.size = 0
        return lost


class Budget:
    """Bytes of parcels that one node keeps, in the making or not yet consumed.

    An assembly is *admitted* when there is room for the whole of it, in the order of arrival; a
    single one always is. So whatever was admitted can be completed, and nobody waits for another
    that waits for room.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[Assembly, None] = {}
        self.reserved = 0

    def ask(self, assembly: Assembly) -> None:
        """Reserve the room for it, now or later; ``assembly.admit`` is called then."""
        self._waiting[assembly] = None
        self._admit()

    def free(self, size: int) -> None:
        """So much is consumed, or given up."""
        self.reserved -= size
        self._admit()

    def withdraw(self, assembly: Assembly) -> None:
        """It is given up: free what it has."""
        self._waiting.pop(assembly, None)
        if assembly.is_admitted:
            self.free(assembly.total)

    def _admit(self) -> None:
        while self._waiting:
            assembly = next(iter(self._waiting))
            if self.reserved and self.reserved + assembly.total > self._limit:
                return
            del self._waiting[assembly]
            self.reserved += assembly.total
            assembly.is_admitted = True
            assembly.admit()


class Assembly:
    """A parcel in the making. ``admit`` is called once, when there is room for it."""

    __slots__ = ("admit", "data", "id", "is_admitted", "kind", "total")

    def __init__(self, id: int, kind: int, total: int, admit: Callable[[], None]) -> None:
        self.id = id
        self.kind = kind
        self.total = total
        self.admit = admit
        self.data = bytearray()
        self.is_admitted = False

    def add(self, offset: int, piece: memoryview) -> bool:
        """The next chunk; False when it is not the next, or too much."""
        if offset != len(self.data) or not piece or offset + len(piece) > self.total:
            return False
        self.data += piece
        return True

    @property
    def is_whole(self) -> bool:
        return len(self.data) == self.total
