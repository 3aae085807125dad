"""Who is here, and what they say of themselves. Pure: no I/O, no clock of its own.

A node is the only writer of its own record; others hold copies, brought up to date by deltas that
are acknowledged by version. States come from the link alone, never from discovery.
"""

from mesh.membership.own import OwnRecord
from mesh.membership.peer import Peer
from mesh.membership.record import MAX_OWNED, MAX_RECORD_BYTES, MAX_WEIGHT, Record
from mesh.membership.table import Member, Membership, State

__all__ = [
    "MAX_OWNED",
    "MAX_RECORD_BYTES",
    "MAX_WEIGHT",
    "Member",
    "Membership",
    "OwnRecord",
    "Peer",
    "Record",
    "State",
]
