"""Who owns a key: consistent hashing over the members of a service or a group. Pure."""

from mesh.ring.ring import PREFERRED, SLOTS, Identified, Ring, score, slot_of

__all__ = ["PREFERRED", "SLOTS", "Identified", "Ring", "score", "slot_of"]
