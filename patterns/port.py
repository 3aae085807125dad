"""The ports: everything a pattern needs from the world, and nothing else.

Patterns decide; they hold no socket, thread, clock or randomness of their own. Whoever embeds
them (the engine on real sockets, a simulation on virtual time) hands in objects of these shapes.
All calls happen on one thread, in turns: a pattern never needs a lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol

__all__ = ["Clock", "Handle", "PubSubPort", "RpcPort", "Runner", "Running", "Timer", "Waiter"]


class Timer(Protocol):
    """A scheduled callback that can be called off; cancelling twice, or late, is harmless."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Monotonic time in seconds, and callbacks on the pattern's own thread."""

    def now(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer: ...

    def call_soon(self, callback: Callable[[], None]) -> object: ...


class Waiter(Protocol):
    """Where the outcome of an operation goes; ``asyncio.Future`` is one.

    Whoever completes it asks ``done()`` first: its owner may have cancelled it.
    """

    def done(self) -> bool: ...

    def set_result(self, result: Any, /) -> None: ...

    def set_exception(self, exception: BaseException, /) -> None: ...


class Running(Protocol):
    """A handler that was started and has not ended."""

    def cancel(self) -> object: ...


class Runner(Protocol):
    """Runs handlers that cannot run in place: coroutines, and plain functions in the pool."""

    def start(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        is_async: bool,
        done: Callable[[Any, BaseException | None], None],
    ) -> Running | None:
        """Run it once; ``done(value, error)`` follows on the pattern's thread, exactly once.

        Returns None when it has ended already, or cannot be cancelled.
        """

    def start_each(
        self,
        function: Callable[[Any], Any],
        messages: deque[Any],
        is_async: bool,
        done: Callable[[], None],
    ) -> Running | None:
        """Run it for each message in order, each taken from the left when its turn comes.

        What is left tells how far it is. One that raises is logged and the rest go on.
        """


class Handle(Protocol):
    """What a pattern knows of a node, the own one included: an opaque address with a face."""

    id: bytes
    outstanding: int
    """Calls in flight from here to there."""

    @property
    def peer(self) -> Any:
        """The immutable description that users see."""


class PubSubPort(Protocol):
    """What publish/subscribe needs."""

    def now(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer: ...

    def send(self, kind: int, targets: Sequence[Any], entry: bytes) -> None:
        """Queue one packed entry for each target, in order, behind all sent to it before."""


class RpcPort(Protocol):
    """What request/reply needs."""

    random: Random

    def now(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer: ...

    def send_request(self, target: Any, entry: bytes) -> None: ...

    def send_cancel(self, target: Any, call_id: int) -> None:
        """Behind the request: its caller has given up."""

    def send_reply(self, route: Any, entry: bytes) -> None: ...

    def pack(self, value: Any) -> bytes: ...

    def unpack(self, entry: bytes) -> Any: ...
