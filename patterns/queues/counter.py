"""``Counter``: where the jobs of one line are handed to workers, one stream each.

Rules:

* Who has given credit is a *customer*; what is ready goes to these in turn, in fair shares, in
  batches of up to ``BATCH`` jobs and ``BATCH_BYTES`` (a single larger job goes alone).
* Nothing is taken from the line for a stream that has more than it can send.
* MORE is said once to one whose credit is used up while jobs are ready, and again after its next
  credit.
* Each TOUCH has one TOUCHED, though none of the jobs may be the worker's any more: from how long
  that takes the worker knows this home's clock (``patterns.queues.fence``).
* Whatever a worker says of a job that is not its own is answered with LOST, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from patterns.port import Clock

__all__ = ["BATCH", "BATCH_BYTES", "Counter", "Customer"]

BATCH = 128
"""Jobs in one message: more saves nothing, and makes shares coarse."""

BATCH_BYTES = 64 * 1024
"""Bodies in one message: what is urgent on the same link waits no longer than for these."""


class Customer:
    """One worker's stream. Made by ``Counter.join``."""

    on_commit: Callable[[int, int, bytes | None, list[tuple[str, bytes, dict[str, Any]]]], None]
    """``(ref, number, result, [(queue, body, options)])``: end the job and put these, in one
    commit, and say ``committed``. Of ``options`` only the keys have been looked at: they are text.
    None: COMMIT is answered with an error."""

    def on_message(self, message: object) -> None:
        """Raises BadMessage (a ValueError): end the stream then."""
        raise NotImplementedError

    def committed(self, ref: int, error: tuple[str, str] | None) -> None:
        """A commit is safe, or failed: the error's type and text."""
        raise NotImplementedError

    def resume(self) -> None:
        """The stream can take more again: to be called after ``may_send`` was False."""
        raise NotImplementedError

    def leave(self, is_silent: bool) -> None:
        """The stream ended: what the worker had is ready again at once; or, if its node fell
        silent and may work on, when each lease ends. Idempotent."""
        raise NotImplementedError


class Counter:
    """Of one group of a queue at its home. It sets ``line.lost``; who has made the line calls
    ``wake`` when the line ``is_ready`` or goes on after a pause."""

    def __init__(self, home: Any, group: str, clock: Clock) -> None: ...

    def join(
        self,
        worker: str,
        lease: float,
        send: Callable[[list[Any]], None],
        may_send: Callable[[], bool],
    ) -> Customer:
        """A stream begins. ``worker`` is what people are shown, ``lease`` is in seconds.

        ``send`` takes one message, always; ``may_send`` says whether there is room for jobs: when
        it was False, ``resume`` is called later. Raises BadMessage for a lease that cannot be, and
        Overloaded when there are too many.
        """
        raise NotImplementedError

    def wake(self) -> None:
        """Something may be ready: it is handed out at the end of the turn."""
