"""A request that a server has accepted and not answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from patterns.keys import Key
from patterns.port import Handle, Running
from patterns.rpc.method import Method

if TYPE_CHECKING:
    from patterns.rpc.server import RpcServer

__all__ = ["Ended", "Job"]

Ended = Callable[[BaseException | None], None]
"""Told once what something that was observed ended with: None is a value."""


class Job:
    """One accepted request; ``__call__`` is where its outcome arrives."""

    __slots__ = ("args", "call_id", "caller", "deadline", "headers", "key", "kwargs", "method",
                 "observed", "route", "running", "server", "started_at", "until")  # fmt: skip

    running: Running | None
    started_at: float

    def __init__(
        self,
        server: RpcServer,
        method: Method,
        call_id: int,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        headers: dict[str, str],
        deadline: float,
        caller: Handle,
        route: Any,
        key: Key | None,
    ) -> None:
        self.server = server
        self.method = method
        self.call_id = call_id
        self.args = args
        self.kwargs = kwargs
        self.headers = headers
        self.deadline = deadline
        self.until: float | None = deadline
        """The same for calls of its handler; None once that has ended."""
        self.caller = caller
        self.route = route
        self.key = key
        self.running = None
        self.observed: Ended | None = None
        """Whoever wants to know how it ends."""

    def __call__(self, value: Any, error: BaseException | None) -> None:
        self.server.finish(self, value, error)
