"""What a handler is given: messages, and the entry shapes that carry them.

On the wire an entry is one msgpack array; a frame carries many of one kind.

=========  ==============================================  ==============================
kind       entry                                           meaning
=========  ==============================================  ==============================
publish    ``[subject, data]`` or with ``headers``         to matching subscriptions
send       the same                                        the same, at one peer only
broadcast  the same, subject is the group's reserved one   to the members of a group
cast       ``[pool, data, headers?, flags?, key?, subject?]``  to one member of a pool
request    ``[id, method, budget_ms, args, kwargs?, headers?, key?, redirects?]``  start a call
reply      ``[id, status, ...]``                           its outcome, see ``STATUS_*``
=========  ==============================================  ==============================

A request with a ninth field, the window and era of its caller, opens a stream: see
``patterns.streams``.

The kinds share one class family whose rare attributes live on the class: a message that needs
four attributes pays for four.
"""

from __future__ import annotations

import reprlib
from typing import Any

from patterns.names import group_of

__all__ = [
    "STATUS_BAD_REQUEST",
    "STATUS_DENIED",
    "STATUS_DRAINING",
    "STATUS_ELSEWHERE",
    "STATUS_ERROR",
    "STATUS_EXPIRED",
    "STATUS_MOVED",
    "STATUS_NO_METHOD",
    "STATUS_OK",
    "STATUS_OVERLOADED",
    "BroadcastMessage",
    "Message",
    "SentMessage",
    "message_class",
]

# Reply statuses. [id, OK, value] · [id, ERROR, type, message, traceback] · [id, MOVED, node id]
# · [id, DENIED, text, rule] · [id, other, text]. MOVED: another node owns the key; nothing was
# started. DRAINING: the node is about to leave and starts no calls any more. ELSEWHERE: this node
# was to serve a key, and does not beside an owner that it sees alive; nothing was started.
STATUS_OK = 0
STATUS_ERROR = 1
STATUS_BAD_REQUEST = 2
STATUS_OVERLOADED = 3
STATUS_EXPIRED = 4
STATUS_NO_METHOD = 5
STATUS_MOVED = 6
STATUS_DRAINING = 7
STATUS_DENIED = 8
STATUS_ELSEWHERE = 9


class Message:
    """One message as a handler or an iterator sees it. Treat it as read-only: handlers share it.

    ``kind``         "publish", "send", "broadcast" or "groupcast"
    ``subject``      what it was published to (None for a broadcast or a groupcast)
    ``group``        the group it was sent to; of a queue group's copy, the queue group
    ``data``         the payload, decoded
    ``headers``      ``dict[str, str]``, empty when the sender gave none
    ``sender``       the ``Peer`` it came from
    ``missed``       how many messages from this sender were lost on the link just before this one
    ``key``          the groupcast's, as its sender gave it; else None
    ``redelivered``  whether another member may have handled it, wholly or in part, before; or, with
                     a key, whether it comes behind later ones of its key
    """

    __slots__ = ("_subject", "data", "headers", "missed", "sender")

    kind = "publish"
    group: str | None = None
    key: Any = None
    redelivered = False

    def __init__(
        self, subject: str, data: Any, headers: dict[str, str], sender: Any, missed: int = 0
    ) -> None:
        self._subject = subject
        self.data = data
        self.headers = headers
        self.sender = sender
        self.missed = missed

    @property
    def subject(self) -> str | None:
        return self._subject

    @property
    def title(self) -> str:
        """What it is, for a log: without what is in it."""
        where = self.group if self.group is not None else self.subject
        return f"a {self.kind} to {where!r} from {self.sender}"

    def __repr__(self) -> str:
        where = self.group if self.group is not None else self.subject
        sender = getattr(self.sender, "name", self.sender)
        return f"<Message {self.kind} {where!r} from {sender}: {reprlib.repr(self.data):.60}>"


class SentMessage(Message):
    """A message that ``send()`` addressed to this node alone."""

    __slots__ = ()
    kind = "send"


class BroadcastMessage(Message):
    """A message to every member of a group."""

    __slots__ = ()
    kind = "broadcast"

    @property
    def subject(self) -> None:
        return None

    @property
    def group(self) -> str | None:  # type: ignore[override]
        return group_of(self._subject)


PUBLISH = 1
SEND = 2
BROADCAST = 3

_CLASSES: dict[int, type[Message]] = {
    PUBLISH: Message,
    SEND: SentMessage,
    BROADCAST: BroadcastMessage,
}


def message_class(kind: int) -> type[Message] | None:
    """The class for a frame kind; None for a kind this version does not know."""
    return _CLASSES.get(kind)
