"""Large payloads on a link: cut into chunks by the sender, put together by the receiver. Pure.

An entry above ``PARCEL_BYTES`` is a *parcel*. Its chunks travel between the frames of small
messages, in a window of their own, so nothing small ever waits behind it. Rules:

* One parcel after the other, in order; ``Parcels.ready`` says which chunks may leave now.
* The window (``mesh.links.window``) lets a tenth of a second of chunks queue on the way: on a slow
  link one to three, so that at 0.4 MB/s a small message waits half a second behind them at most.
* The receiver acknowledges a chunk when it has room for its whole parcel (``Budget``), so what
  it keeps is bounded, and one that has room for no more holds up nothing but parcels.
* Counters belong to a link epoch. On a new one a parcel that was not through begins again, from
  its first chunk; of the old epoch the receiver forgets what is not whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from mesh.links.window import Window

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
"""On the way at most, however fast the link: 9 ms at 1 Gbit/s that a small message may wait."""

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
        "_last_id",
        "queue",
        "size",
        "window",
    )

    def __init__(self) -> None:
        self.queue: deque[Parcel] = deque()
        self.size = 0
        """Bytes of all that wait, those under way included until their last chunk left."""
        self.window = Window(FIRST_WINDOW_BYTES, CHUNK_BYTES, MAX_WINDOW_BYTES)
        self._last_id = 0

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
        return bool(self.queue) or self.window.sent != self.window.acked

    def open(self) -> None:
        """A new link epoch: nothing is on its way, what was not through begins again."""
        self.window.open()
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
            piece = memoryview(parcel.entry)[parcel.sent : parcel.sent + CHUNK_BYTES]
            if not self.window.fits(len(piece)):
                return
            chunk = Chunk(parcel, parcel.sent, piece)
            parcel.sent += len(piece)
            self.window.send(len(piece), now)
            if chunk.is_last:
                self.queue.popleft()
                self.size -= len(parcel.entry)
            yield chunk

    def acknowledge(self, received: int, now: float) -> bool:
        """The receiver has taken ``received`` bytes of this epoch; False if that cannot be."""
        return self.window.acknowledge(received, now) is not None

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
