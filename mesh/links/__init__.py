"""The link between two nodes, pure: numbering, batching, the byte window, gaps.

A link has two halves, one for each direction. Each half has a sender (``Outbox``) at one node and
a receiver (``Inbox``) at the other; the frames between them are ``mesh.wire.frames``.
"""

from mesh.links.batches import BATCH_BYTES, BATCH_ENTRIES, Batch, BatchQueue
from mesh.links.entries import EntryQueue
from mesh.links.inbox import Inbox
from mesh.links.outbox import PENDING_BYTES, Outbox
from mesh.links.parcels import PARCEL_BYTES, Assembly, Budget, Parcels
from mesh.links.resending import Arrivals, Resending

__all__ = [
    "BATCH_BYTES",
    "BATCH_ENTRIES",
    "PARCEL_BYTES",
    "PENDING_BYTES",
    "Arrivals",
    "Assembly",
    "Batch",
    "BatchQueue",
    "Budget",
    "EntryQueue",
    "Inbox",
    "Outbox",
    "Parcels",
    "Resending",
]
