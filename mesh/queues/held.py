"""``HeldJob``: what a worker's handler is given."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mesh.runtime.thread_codec import thread_codec
from patterns.errors import BadPayload

if TYPE_CHECKING:
    from mesh.queues.working import Desk
    from patterns.queues.worker import Held

__all__ = ["HeldJob"]


class HeldJob:
    """A job that this worker holds, until its lease ends. Of any thread.

    ``data``      what was put
    ``id``        its name, at most 255 characters
    ``queue``     the queue it came from
    ``attempts``  how often it was handed out, this time included
    ``key``       bytes: jobs of one key are handed out one after the other; None
    ``headers``   what its producer said beside the data
    """

    __slots__ = ("data", "desk", "held")

    def __init__(self, held: Held, data: Any, desk: Desk) -> None:
        self.held = held
        self.desk = desk
        self.data = data

    @property
    def id(self) -> str:
        return self.held.id

    @property
    def queue(self) -> str:
        return self.held.queue

    @property
    def attempts(self) -> int:
        return self.held.attempts

    @property
    def key(self) -> bytes | None:
        return self.held.key

    @property
    def headers(self) -> dict[str, str]:
        return self.held.headers or {}

    @property
    def first_seen(self) -> datetime:
        """When it was put, by its home's clock; aware, UTC."""
        return datetime.fromtimestamp(self.held.put_ms / 1000, UTC)

    @property
    def remaining(self) -> float:
        """Seconds for which this worker may still go on: to a little before its lease ends."""
        return 0.0 if self.held.is_lost else max(0.0, self.held.fence_at - self.desk.now())

    @property
    def is_lost(self) -> bool:
        """Whether it is not this worker's any more, so that what it does is in vain."""
        return self.held.is_lost

    def touch(self) -> None:
        """Its lease begins anew, as soon as its home has heard of it. Raises LeaseLost."""
        self.desk.on_loop(self.desk.worker.touch, self.held)

    def progress(self, done: int, of: int, data: Any = None) -> None:
        """Tell its producer how far it is: ``done`` of ``of``, and any data. Raises LeaseLost,
        BadPayload."""
        packed = None if data is None else thread_codec().pack(data)
        self.desk.on_loop(self.desk.worker.progress, self.held, done, of, packed)

    # The ends, for who does not leave them to the return of the handler.

    def done(self, result: Any = None) -> None:
        """It is done, now. Raises LeaseLost."""
        packed = None if result is None else thread_codec().pack(result)
        self.desk.on_loop(self.desk.worker.done, self.held, packed)

    def retry(self, delay: float = 0.0, reason: str = "") -> None:
        """It shall be tried again after so many seconds. Raises LeaseLost."""
        self.desk.on_loop(self.desk.worker.retry, self.held, delay, reason)

    def bury(self, reason: str) -> None:
        """It is given up, and kept among the dead for people to see. Raises LeaseLost."""
        self.desk.on_loop(self.desk.worker.dead, self.held, reason)

    def __repr__(self) -> str:
        state = ", lost" if self.is_lost else ""
        return f"<HeldJob {self.id} of {self.queue!r}, attempt {self.attempts}{state}>"


def data_of(held: Held) -> Any:
    """What was put. Raises BadPayload when it cannot be decoded here."""
    try:
        return thread_codec().unpack_all(held.body, 1)[0]
    except (ValueError, IndexError) as error:
        raise unreadable(held, error) from None


def unreadable(held: Held, error: Exception) -> BadPayload:
    """What is wrong with a job that cannot be decoded here."""
    return BadPayload(f"the job {held.id} cannot be decoded: {error}")
