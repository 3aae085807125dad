"""The ports: everything a pattern needs from the world, and nothing else.

Patterns decide; they hold no socket, thread, clock or randomness of their own. Whoever embeds
them (the engine on real sockets, a simulation on virtual time) hands in objects of these shapes.
All calls happen on one thread, in turns: a pattern never needs a lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from patterns.rpc.inherited import Serving

__all__ = [
    "CastPort",
    "Clock",
    "Handle",
    "PubSubPort",
    "RpcPort",
    "Runner",
    "Running",
    "StreamPort",
    "Timer",
    "Waiter",
]


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
        serving: Serving | None = None,
    ) -> Running | None:
        """Run it once; ``done(value, error)`` follows on the pattern's thread, exactly once.

        ``serving`` is ``patterns.rpc.inherited.now_serving`` within it, and only there.
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

    def send(self, kind: int, targets: tuple[Any, ...], entry: bytes) -> None:
        """Queue one packed entry for each target, in order, behind all sent to it before."""


class RpcPort(Protocol):
    """What request/reply needs. ``local`` is the handle of this node itself."""

    random: Random

    @property
    def local(self) -> Any: ...

    def owners(self, service: str, key: bytes) -> Sequence[Any]:
        """The first of the order of preference for a key among the service's members.

        Best first, suspects included, nobody twice; empty when nobody provides the service.
        """

    def other_owners(self, service: str, key: bytes) -> Sequence[Any]:
        """The rest of that order; costs more."""

    def handle_of(self, id: bytes) -> Any | None:
        """A joined node, or this one, by its id."""

    def now(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer: ...

    def send_request(self, target: Any, entry: bytes) -> None: ...

    def send_cancel(self, target: Any, call_id: int) -> None:
        """Behind the request: its caller has given up."""

    def send_reply(self, route: Any, entry: bytes) -> None: ...

    def pack(self, value: Any) -> bytes: ...

    def unpack(self, entry: bytes) -> Any: ...


class StreamPort(Protocol):
    """What streams need of the way between two nodes: ordered, and without loss."""

    def pack(self, value: Any) -> bytes: ...

    def unpack(self, entry: bytes) -> Any:
        """Raises ValueError for what cannot be decoded."""

    def count(self, what: str, by: int = 1) -> None:
        """Count an event that people may want to know of."""

    @property
    def era(self) -> int:
        """This node's: it grows whenever the node gives a peer up."""

    def peer_era(self, handle: Any) -> int:
        """The era of what the other node sends; 0: nothing came as yet."""

    def stream_ready(self, handle: Any, stream: Any) -> None:
        """Ask ``stream.next_entry()`` for what may leave, in turn with others, until it is None;
        then its ``is_queued`` is cleared."""

    def tell_stream(self, handle: Any, entry: bytes) -> None:
        """Send a message of a stream ahead of all data."""


class CastPort(Protocol):
    """What groupcast needs, at both of its ends. ``local`` is the handle of this node itself."""

    @property
    def local(self) -> Any: ...

    def now(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer: ...

    def pack(self, value: Any) -> bytes: ...

    def unpack(self, entry: bytes) -> Any: ...

    def count(self, what: str, by: int = 1) -> None:
        """Count an event that people may want to know of."""

    def mark(self, item: Any) -> None:
        """Call ``item.flush()`` at the end of the turn; sets its ``is_dirty``."""

    def is_paused(self) -> bool:
        """Whether this process was stopped until a moment ago, or its loop is; on any thread."""

    def tell(self, target: Any, *fields: Any) -> None:
        """A control message; void without a link."""

    def ask(self, target: Any, number: int) -> int:
        """Ask a peer for a sign of life on its link; the answer will bear the number returned."""

    def send_cast(self, target: Any, entry: bytes) -> int:
        """Queue a cast; returns its number there."""

    def mark_casts(self, target: Any) -> None:
        """Casts for it will come before the turn ends: they shall leave in it."""

    def send_casts(self, target: Any, entries: list[bytes]) -> int:
        """Queue casts; returns the number of the first."""

    def next_cast_number(self, target: Any) -> int:
        """The number that the next cast there gets."""

    def sent_cast_number(self, target: Any) -> int:
        """The number of the first cast that has not been sent there."""

    def drop_unsent_casts(self, target: Any) -> None:
        """Forget what is queued and not sent; its numbers stay used."""

    def members(self, pool: str, subject: str | None) -> tuple[Any, ...]:
        """Who may get a cast: a group's members, or a queue group's that listen to ``subject``."""

    def weight(self, target: Any) -> float:
        """Its share of the work, beside others'."""

    def is_healthy(self, target: Any) -> bool:
        """Whether new work may go there."""

    def owners(self, pool: str, key: bytes) -> Sequence[Any]:
        """A key's owner in a pool, then who would be next; suspects included."""

    def better_owner(self, pool: str, key: bytes) -> bytes | None:
        """The id of a healthy node that comes before this one for a key; None if there is none."""
