"""A brokerless peer-to-peer mesh: calls, publish/subscribe, groups, shared work, found by mDNS.

::

    import mesh

    node = mesh.Node("calc")

    @node.rpc
    def add(a, b):
        return a + b

    node.run()

and, anywhere on the network::

    with mesh.Node("shop") as node:
        node.call("calc.add", 2, 3)

``Node`` blocks, ``AsyncNode`` is awaited; otherwise they are the same. See the README for a tour.
"""

from typing import TYPE_CHECKING

from mesh.aio import AsyncNode
from mesh.engine.events import (
    Event,
    Gap,
    PeerFailed,
    PeerJoined,
    PeerLeft,
    PeerRecovered,
    PeerSuspected,
    PeerUnresponsive,
    PeerUpdated,
)
from mesh.finding import Found, SourceReport
from mesh.inspection import Health
from mesh.membership import Peer
from mesh.node import Node
from mesh.owning import Active
from mesh.security import Identity, Policy, Rule, curve_keys, generate_key
from mesh.transport import PlainEndpoints
from mesh.tunnels import AsyncStream, Stream
from mesh.wire.codec import register as register_type
from patterns.errors import (
    AccessDenied,
    BadName,
    BadPayload,
    BadRequest,
    CallTimeout,
    ConfigError,
    EndOfStream,
    Incomplete,
    MeshError,
    NodeClosed,
    NoProvider,
    Overloaded,
    PayloadTooLarge,
    PeerLost,
    Refuse,
    RemoteError,
    StreamAborted,
    Timeout,
)
from patterns.messages import Message
from patterns.ownership import OwnershipChange, Slots
from patterns.rpc import Request
from patterns.survey import Reply, first, quorum

if TYPE_CHECKING:
    from mesh.stores import Inbox

__version__ = "0.1.0"

__all__ = [
    "AccessDenied",
    "Active",
    "AsyncNode",
    "AsyncStream",
    "BadName",
    "BadPayload",
    "BadRequest",
    "CallTimeout",
    "ConfigError",
    "EndOfStream",
    "Event",
    "Found",
    "Gap",
    "Health",
    "Identity",
    "Inbox",
    "Incomplete",
    "MeshError",
    "Message",
    "NoProvider",
    "Node",
    "NodeClosed",
    "Overloaded",
    "OwnershipChange",
    "PayloadTooLarge",
    "Peer",
    "PeerFailed",
    "PeerJoined",
    "PeerLeft",
    "PeerLost",
    "PeerRecovered",
    "PeerSuspected",
    "PeerUnresponsive",
    "PeerUpdated",
    "PlainEndpoints",
    "Policy",
    "Refuse",
    "RemoteError",
    "Reply",
    "Request",
    "Rule",
    "Slots",
    "SourceReport",
    "Stream",
    "StreamAborted",
    "Timeout",
    "__version__",
    "curve_keys",
    "first",
    "generate_key",
    "quorum",
    "register_type",
]


def __getattr__(name: str) -> object:
    """What not every program needs is imported when it is asked for: here, SQLite."""
    if name == "Inbox":
        from mesh.stores import Inbox

        return Inbox
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
