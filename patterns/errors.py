"""Every error a user of the mesh can see, in one tree.

::

    MeshError
     +-- NoProvider          nobody serves that service, or that method of it
     +-- Timeout             (TimeoutError) a wait ended before what it waited for
     |    +-- CallTimeout    no answer within the call's deadline
     +-- Incomplete          a survey has not had the replies that it was made until
     +-- PeerLost            (ConnectionError) the peer is gone; the call may have run
     +-- RemoteError         the handler at the other end raised
     +-- BadRequest          the call does not fit the method's signature
     +-- BadName             (ValueError) a name, subject or pattern breaks the rules
     +-- BadPayload          (TypeError) a value that cannot travel
     +-- PayloadTooLarge     a value above the size limit
     +-- Overloaded          a bounded queue is full; nothing was started
     +-- NodeClosed          the node is not started, or closed
     +-- AccessDenied        the policy, here or at the receiver, does not allow it
     +-- ConfigError         an option, or a combination of options, that cannot work
     +-- EndOfStream         the other side of a stream sends nothing more
     +-- StreamAborted       a stream was given up, or is read no more; nothing is sent
     +-- Refuse              raised by a handler: another member shall have this message

Errors about names and payloads are raised at once in the caller's own process; nothing was sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "AccessDenied",
    "BadName",
    "BadPayload",
    "BadRequest",
    "CallTimeout",
    "ConfigError",
    "EndOfStream",
    "Incomplete",
    "MeshError",
    "NoProvider",
    "NodeClosed",
    "Overloaded",
    "PayloadTooLarge",
    "PeerLost",
    "Refuse",
    "RemoteError",
    "StreamAborted",
    "Timeout",
]


class MeshError(Exception):
    """The base of all errors of the mesh."""

    is_answer = False
    """Whether what raised it works as it should: who asked is told, and no log of that node."""


class NoProvider(MeshError):
    """Raised when no reachable node serves the service, or none serves that method of it."""


class Timeout(MeshError, TimeoutError):
    """Raised when a bounded wait ended first. The message says what is still missing."""


class CallTimeout(Timeout):
    """Raised when a call had no answer by its deadline. It may have run, or may be running."""


class Incomplete(MeshError):
    """Raised by ``raise_for_missing()`` of a survey whose ``until`` is not met.

    ``missing`` are the peers that have not answered, ``failed`` those that cannot, with the error
    of each. What the others have answered is in the survey.
    """

    def __init__(
        self, message: str, missing: Sequence[Any], failed: Mapping[Any, MeshError]
    ) -> None:
        super().__init__(message)
        self.missing = list(missing)
        self.failed = dict(failed)


class PeerLost(MeshError, ConnectionError):
    """Raised when the peer died, left or became unreachable. A call in flight may have run."""


class RemoteError(MeshError):
    """Raised when the remote handler raised.

    ``type`` is the name of the remote exception's class, ``message`` its text, ``traceback`` the
    remote traceback as text (for people; never evaluated), ``peer`` the node that ran the handler.
    """

    def __init__(self, type: str, message: str, traceback: str = "", peer: object = None) -> None:
        super().__init__(type, message)
        self.type = type
        self.message = message
        self.traceback = traceback
        self.peer = peer

    def __str__(self) -> str:
        where = getattr(self.peer, "name", None)
        return f"{self.type}: {self.message}" + (f" (at {where})" if where else "")


class BadRequest(MeshError):
    """Raised when the arguments do not fit the method; the message names what is wrong."""


class BadName(MeshError, ValueError):
    """Raised when a name, subject or pattern breaks the naming rules. Nothing was sent."""


class BadPayload(MeshError, TypeError):
    """Raised when a value has a type that cannot travel. Nothing was sent."""


class PayloadTooLarge(MeshError):
    """Raised when a packed value is above the limit. Nothing was sent."""


class Overloaded(MeshError):
    """Raised when a bounded queue, here or at the peer, is full. The call was not started."""


class NodeClosed(MeshError):
    """Raised by verbs before ``start()`` and after ``close()``, and by waits that close() ends."""


class AccessDenied(MeshError):
    """Raised when the policy, of this node or of the receiver, does not allow it.

    ``rule`` is the name of the rule that decided: "default" when none did, "no-identity" for a
    node that has not proved who it is. Nothing was started; another replica is not asked.
    """

    def __init__(self, message: str, rule: str) -> None:
        super().__init__(message, rule)
        self.message = message
        self.rule = rule

    def __str__(self) -> str:
        return self.message


class ConfigError(MeshError):
    """Raised when an option, or a combination of options, cannot work; says which and why."""


class EndOfStream(MeshError):
    """Raised by ``receive()`` when the other side of a stream has ended and all is read."""


class StreamAborted(MeshError):
    """Raised when a stream was given up by either side, or is ended or read no more where it is
    written to. What was on its way may be lost."""


class Refuse(MeshError):
    """Raised by a handler of groupcasts, or of a queue group: pass this message on to another.

    The message goes to a member that has not refused it, unmarked, at most 3 times; after that it
    is given up, counted and logged by its sender. A handler of anything else gains nothing by it.
    """
