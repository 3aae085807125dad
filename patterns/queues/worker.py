"""``Worker``: the other end of the streams from all homes of some queues.

Rules:

* What it holds and what credit is out are never more than ``max_in_flight``, over all homes.
* A job is *fenced* before its lease ends at its home: it is lost, whatever runs must stop. A job
  that was lost still counts as in flight until ``let_go``, or an end, says that nothing runs.
* What is done in one turn is one message for each home, then comes new credit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from patterns.port import Timer
from patterns.queues.order import Order

__all__ = ["Held", "Source", "Worker", "WorkerPort"]


class WorkerPort(Protocol):
    """What a worker needs from who runs the jobs."""

    def now(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer: ...

    def call_soon(self, callback: Callable[[], None]) -> object: ...

    def hand(self, held: list[Held]) -> None:
        """These are here to be run; in order. It may end them there and then."""

    def fence(self, held: Held, reason: str) -> None:
        """``is_lost``: stop it, and call ``let_go`` when it has stopped (or never began)."""

    def warn(self, held: Held) -> None:
        """Its lease ends soon; once for each lease."""


class Held:
    """A job that is here.

    ``queue``, ``number``; ``attempts`` this one included; ``put_ms`` Unix time; ``body``, ``key``
    (bytes or None), ``headers``, ``id``; ``is_lost``; ``is_settled``: it has had its end;
    ``fence_at``: on the worker's clock.
    """


class Source:
    """The stream from one home."""

    queue: str

    def on_message(self, message: object) -> None:
        """Raises BadMessage (a ValueError): end the stream then."""
        raise NotImplementedError


class Worker:
    """``lease`` in seconds as the streams were opened with; ``rate`` in jobs/s; ``max_in_flight``
    None: as many as run at once, and what was done in the last 0.1 s. Raises ConfigError."""

    def __init__(
        self,
        port: WorkerPort,
        *,
        concurrency: int,
        max_in_flight: int | None,
        lease: float,
        order: Order,
        rate: float | None,
    ) -> None: ...

    def add_source(self, queue: str, send: Callable[[list[Any]], None]) -> Source:
        """A stream is open; it begins to send at once."""
        raise NotImplementedError

    def remove_source(self, source: Source, reason: str) -> None:
        """It ended: what was held from it is lost. Idempotent."""

    def done(self, held: Held, result: bytes | None = None) -> None:
        """Raises LeaseLost if it is lost. A second end is ignored; so it is with the others."""

    def retry(self, held: Held, delay: float, reason: str) -> None:
        """Again after so many seconds."""

    def dead(self, held: Held, reason: str) -> None:
        """Give it up."""

    def touch(self, held: Held) -> None:
        """Ask for a new lease; ``fence_at`` moves when the home has answered."""

    def progress(self, held: Held, done: int, of: int, data: bytes | None = None) -> None:
        """Tell who waits for it."""

    def commit(
        self,
        held: Held,
        result: bytes | None,
        puts: list[tuple[str, bytes, dict[str, Any]]],
        then: Callable[[tuple[str, str] | None], None],
    ) -> None:
        """It is done, and ``(queue, body, options)`` are put, in one commit at its home.

        ``then(None)``: so it is. ``then((type, text))``: it failed, and the job is as before; or,
        of type "PeerLost", the stream ended before the answer and nobody knows.
        """

    def let_go(self, held: Held) -> None:
        """Nothing runs any more for a job that is lost. Idempotent."""

    def pause_intake(self) -> None:
        """No new jobs: the credit is called back. What is here goes on."""

    def resume_intake(self) -> None:
        """Take jobs again."""

    @property
    def is_idle(self) -> bool:
        """Nothing is held or on its way, and all ends have been sent."""
        raise NotImplementedError
