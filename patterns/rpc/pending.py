"""A call that has been made and not ended, and the error that a reply stands for."""

from __future__ import annotations

import reprlib
from typing import Any

from patterns import messages as m
from patterns.errors import (
    AccessDenied,
    BadRequest,
    CallTimeout,
    MeshError,
    NoProvider,
    Overloaded,
    RemoteError,
)
from patterns.port import Handle, Waiter
from patterns.rpc.options import CallOptions
from patterns.rpc.placement import FINAL

__all__ = ["MAX_BUDGET_MS", "Pending", "error_of"]

MAX_BUDGET_MS = 1 << 40
"""A deadline on the wire, in ms: about 35 years, so that it always packs."""


class Again:
    """What is known of a call that is, or was, to be sent once more; few ever are."""

    __slots__ = ("error", "pause_tick", "tried", "tries")

    def __init__(self) -> None:
        self.tried: list[Handle] = []
        """Those that failed it. A node that only named another is not among them."""
        self.tries = 0
        """How often it was sent once more, and that was a retry."""
        self.error: MeshError | None = None
        """While it pauses before another try: what it ends with if that comes too late."""
        self.pause_tick = 0


class Pending:
    """One call in flight, or waiting for a provider or for another try (``handle`` is None)."""

    __slots__ = (
        "again",
        "deadline",
        "entry",
        "handle",
        "method",
        "options",
        "redirects",
        "seconds",
        "tick",
        "waiter",
    )

    handle: Handle | None
    again: Again | None

    def __init__(
        self,
        waiter: Waiter,
        method: str,
        options: CallOptions,
        deadline: float,
        tick: int,
        entry: bytes,
        seconds: float,
    ) -> None:
        self.waiter = waiter
        self.method = method
        self.options = options
        self.deadline = deadline
        self.tick = tick
        self.handle = None
        self.seconds = seconds
        """From its beginning to its deadline."""
        self.entry = entry
        """The request as packed at the call, for a peer that did not start it."""
        self.again = None
        self.redirects = 0
        """What its request claims: see ``patterns.rpc.placement``."""

    @property
    def began_at(self) -> float:
        """When it was made, on the clock."""
        return self.deadline - self.seconds

    @property
    def may_move(self) -> bool:
        """Whether its peer may name another owner of its key."""
        return self.options.key is not None and self.redirects < FINAL

    @property
    def may_go_elsewhere(self) -> bool:
        """Whether another may be asked when its peer, about to leave, did not start it."""
        return self.options.target is None and not self.options.is_beside

    def once_more(self) -> Again:
        """To write down that it is to be sent again."""
        if self.again is None:
            self.again = Again()
        return self.again

    @property
    def tries(self) -> int:
        """How often it was sent once more, and that was a retry."""
        return 0 if self.again is None else self.again.tries

    @property
    def paused(self) -> MeshError | None:
        """While it pauses before another try: what it ends with if that comes too late."""
        return None if self.again is None else self.again.error


def error_of(status: int, entry: Any, method: str, sender: Handle) -> MeshError:
    """The error that a reply entry stands for."""
    texts = [text if isinstance(text, str) else "" for text in entry[2:5]]
    if status == m.STATUS_ERROR:
        kind, message, trace = texts
        return RemoteError(kind, message, trace, sender.peer)
    if status == m.STATUS_MOVED:
        text = "it named another node for a call that it was to serve"
        return RemoteError("ProtocolError", text, "", sender.peer)
    text = texts[0]
    if status == m.STATUS_BAD_REQUEST:
        return BadRequest(text)
    if status == m.STATUS_OVERLOADED:
        return Overloaded(text)
    if status == m.STATUS_DENIED:
        return AccessDenied(text, texts[1])
    if status == m.STATUS_EXPIRED:
        return CallTimeout(f"{method}: {text}")
    if status in (m.STATUS_NO_METHOD, m.STATUS_DRAINING, m.STATUS_ELSEWHERE):
        return NoProvider(text)
    return RemoteError(
        "ProtocolError", f"unknown reply status {reprlib.repr(status)}", "", sender.peer
    )
