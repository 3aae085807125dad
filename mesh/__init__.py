"""A brokerless peer-to-peer messaging mesh: calls, publish/subscribe and groups, found by mDNS.

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
from mesh.membership import Peer
from mesh.node import Node
from mesh.security import generate_key
from mesh.wire.codec import register as register_type
from patterns.errors import (
    BadName,
    BadPayload,
    BadRequest,
    CallTimeout,
    ConfigError,
    MeshError,
    NodeClosed,
    NoProvider,
    Overloaded,
    PayloadTooLarge,
    PeerLost,
    RemoteError,
    Timeout,
)
from patterns.messages import Message
from patterns.rpc import Request

__version__ = "0.1.0"

__all__ = [
    "AsyncNode",
    "BadName",
    "BadPayload",
    "BadRequest",
    "CallTimeout",
    "ConfigError",
    "Event",
    "Gap",
    "MeshError",
    "Message",
    "NoProvider",
    "Node",
    "NodeClosed",
    "Overloaded",
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
    "RemoteError",
    "Request",
    "Timeout",
    "__version__",
    "generate_key",
    "register_type",
]
