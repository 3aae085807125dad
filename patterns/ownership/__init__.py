"""Ownership in motion: what a node holds of a service's slots, and how they pass on. Pure.

``Tenure`` decides, for one service at one node, which slots it may work on now; ``Notices`` tells
the user's handler what came and went; ``Singleton`` runs one function at one member; ``Fences``
numbers owners so that a store can refuse the older one. ``docs/ownership.md`` has the protocol.
"""

from patterns.ownership.fences import MAX_FENCE, Fences
from patterns.ownership.notices import Notices, OwnershipChange
from patterns.ownership.singleton import Sight, Singleton
from patterns.ownership.slots import Slots, pack_slots, unpack_slots
from patterns.ownership.tenure import HANDOVER, HANDOVER_SLACK, OwnershipPort, Tenure, View

__all__ = [
    "HANDOVER",
    "HANDOVER_SLACK",
    "MAX_FENCE",
    "Fences",
    "Notices",
    "OwnershipChange",
    "OwnershipPort",
    "Sight",
    "Singleton",
    "Slots",
    "Tenure",
    "View",
    "pack_slots",
    "unpack_slots",
]
