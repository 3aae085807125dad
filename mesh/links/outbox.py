"""The sending half of a link: what waits for one peer, and how much of it may be on its way.

Rules:

* Messages are numbered from 0 for the peer's whole life, across link epochs and drops. So the
  receiver knows the exact number of what it missed from the next number it sees.
* A byte window bounds what was sent and not yet *consumed* (``WINDOW_BYTES``, more of large
  payloads to a peer that is quick); the rest waits here, bounded by ``PENDING_BYTES``. Past that
  the oldest batch is dropped and counted.
* The control lane goes first, outside the window, and is never dropped.
* Window counters belong to one link epoch: a new one starts with an empty window, and its first
  message tells the next number.
"""

from __future__ import annotations

from collections.abc import Iterator

from mesh.links.batches import Batch, BatchQueue
from mesh.links.losses import Losses
from mesh.links.window import Window

__all__ = ["MAX_WINDOW_BYTES", "PENDING_BYTES", "WINDOW_BYTES", "Outbox"]

WINDOW_BYTES = 1024 * 1024
"""On the way to one peer, whatever it does."""

MAX_WINDOW_BYTES = 8 * WINDOW_BYTES
"""The same of payloads that are parts of their own, to a peer that takes them without a queue: as
much as it takes to keep two processes of one host busy with them."""

PENDING_BYTES = 16 * 1024 * 1024
"""Waiting for one peer, but for the batch that still grows: a second's pause of a receiver at
200,000 small messages/s."""


STALLED_AFTER = 0.25
"""Seconds without progress after which ``flush`` does not wait for a peer any more."""


class Outbox:
    """Everything for one peer on the link plane.

    ``link`` is the current epoch, None while there is no connection. ``is_dirty`` is for the
    owner's list of outboxes to flush at the end of the turn.
    """

    __slots__ = ("control", "dropped", "is_dirty", "last_progress", "link", "losses", "owner",
                 "queue", "waiting_since", "window")  # fmt: skip

    def __init__(self, owner: object = None) -> None:
        self.owner = owner
        self.queue = BatchQueue()
        self.control: list[bytes] = []
        self.link: int | None = None
        self.window = Window(WINDOW_BYTES, WINDOW_BYTES, MAX_WINDOW_BYTES)
        self.dropped = 0
        """Messages dropped here because the peer was too slow or away."""
        self.losses = Losses()
        """What of these the peer has not been told yet."""
        self.is_dirty = False
        self.last_progress = 0.0
        self.waiting_since: float | None = None

    def add(self, batch: Batch) -> None:
        """Queue messages; the oldest batches give way when the bound is reached."""
        queue = self.queue
        queue.add(batch)
        # The newest may stay, whatever its size: to the own node large ones come as they are.
        while queue.size > PENDING_BYTES and len(queue.batches) > 1:
            _, oldest = queue.batches[0]
            queue.pop()
            self.dropped += oldest.count
            self.losses.add_batch(oldest)

    def lose(self, count: int) -> None:
        """So many messages will never be sent: they are counted here, and told there."""
        self.dropped += count
        self.queue.skip(count)

    def open(self, link: int, now: float) -> None:
        """A new link epoch: nothing is on its way yet. Control messages of the old are void."""
        self.link = link
        self.window.open()
        self.control.clear()
        self.last_progress = now

    def close(self) -> None:
        """The connection is gone; what waits may still go over the next one."""
        self.link = None
        self.control.clear()

    @property
    def next_number(self) -> int:
        """The number of the first message that has not been sent: what a new epoch opens with."""
        batches = self.queue.batches
        return batches[0][0] if batches else self.queue.next_number

    def ready(self, now: float) -> Iterator[tuple[int, Batch]]:
        """Take the batches that the window allows, oldest first, each with its first number."""
        queue = self.queue
        while queue.batches and self.link is not None:
            next_batch = queue.batches[0][1]
            limit = None if next_batch.payload else WINDOW_BYTES
            if not self.window.fits(next_batch.size, limit):
                return
            taken = queue.pop()
            if taken is None:
                return
            self.window.send(taken[1].size, now)
            yield taken

    def acknowledge(self, link: int, consumed: int, now: float) -> bool:
        """The receiver has consumed ``consumed`` bytes of epoch ``link``; False if it can't be."""
        if link != self.link:
            return True
        taken = self.window.acknowledge(consumed, now)
        if taken:
            self.last_progress = now
        return taken is not None

    @property
    def is_waiting(self) -> bool:
        """Whether messages wait that are not in the window."""
        return bool(self.queue.batches)

    def note_waiting(self, now: float) -> None:
        """Called after each flush: the clock of ``is_stalled`` runs from the first wait on."""
        if not self.queue.batches:
            self.waiting_since = None
        elif self.waiting_since is None:
            self.waiting_since = now

    def is_stalled(self, now: float) -> bool:
        """Whether the receiver has taken nothing for a while although something waits for it."""
        since = self.waiting_since
        return since is not None and now - max(since, self.last_progress) > STALLED_AFTER

    def discard(self) -> int:
        """Give up what waits, the peer is gone; returns how many messages that were."""
        for _, batch in self.queue.batches:
            self.losses.add_batch(batch)
        lost = self.queue.clear()
        self.dropped += lost
        return lost
