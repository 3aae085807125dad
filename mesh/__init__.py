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

What few programs need is imported when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

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
from patterns.queues.errors import (
    JobFailed,
    JobGone,
    LeaseLost,
    QueueClosed,
    QueueFull,
    StoreFailed,
)
from patterns.queues.retry import Dead, Retry, RetryLater
from patterns.rpc import Request
from patterns.survey import Reply, first, quorum

if TYPE_CHECKING:
    from mesh.queues.public import (
        AsyncJob,
        AsyncQueue,
        GroupStats,
        HeldJob,
        Job,
        JobStatus,
        JobView,
        Progress,
        Queue,
        QueueStats,
    )
    from mesh.stores import Inbox

__version__ = "0.1.0"

__all__ = [
    "AccessDenied",
    "Active",
    "AsyncJob",
    "AsyncNode",
    "AsyncQueue",
    "AsyncStream",
    "BadName",
    "BadPayload",
    "BadRequest",
    "CallTimeout",
    "ConfigError",
    "Dead",
    "EndOfStream",
    "Event",
    "Found",
    "Gap",
    "GroupStats",
    "Health",
    "HeldJob",
    "Identity",
    "Inbox",
    "Incomplete",
    "Job",
    "JobFailed",
    "JobGone",
    "JobStatus",
    "JobView",
    "LeaseLost",
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
    "Progress",
    "Queue",
    "QueueClosed",
    "QueueFull",
    "QueueStats",
    "Refuse",
    "RemoteError",
    "Reply",
    "Request",
    "Retry",
    "RetryLater",
    "Rule",
    "Slots",
    "SourceReport",
    "StoreFailed",
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


def __getattr__(name: str) -> Any:
    """The rest of ``__all__``: what has to do with work queues."""
    if name == "Inbox":
        from mesh.stores import Inbox

        return Inbox
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mesh.queues import public

    return getattr(public, name)
