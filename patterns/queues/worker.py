"""``Worker``: the other end of the streams from all homes of some queues.

Rules:

* What it holds and what credit is out are never more than ``max_in_flight``, over all homes.
* A job is *fenced* before its lease ends at its home: it is lost, and whatever runs must stop. It
  still counts as in flight until ``let_go``, or an end that is too late, says that nothing runs.
* What is done in one turn is one message for each home; then comes new credit.
* A stream that ends takes with it all that was held from there: it is lost at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from patterns.errors import ConfigError, MeshError, PayloadTooLarge
from patterns.port import Timer
from patterns.queues.checks import (
    MAX_DELAY_MS,
    MAX_JOB_BYTES,
    MAX_LEASE,
    MAX_NUMBER,
    MAX_PUTS,
    MAX_REASON_CHARS,
    MIN_LEASE,
    runs_of,
)
from patterns.queues.demand import Demand
from patterns.queues.errors import LeaseLost, StoreFailed
from patterns.queues.fence import warning_of
from patterns.queues.messages import COMMIT, DEAD, DONE, PROGRESS, RETRY
from patterns.queues.order import Order
from patterns.queues.source import (
    COMMITTING,
    HELD,
    LOST,
    LOST_RUNNING,
    SETTLED,
    Held,
    Source,
    Then,
)

__all__ = ["Ends", "Held", "Source", "Worker", "WorkerPort"]

_RESULT_BYTES = 64 * 1024
"""Results in one message: a single larger one goes alone."""

_LEAST_DELAY = 0.001
"""Seconds: no rounding makes the timer turn on the spot."""


class WorkerPort(Protocol):
    """What a worker needs from who runs the jobs."""

    def now(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer: ...

    def call_soon(self, callback: Callable[[], None]) -> object: ...

    def hand(self, held: list[Held]) -> None:
        """These are here to be run, in order. It may end them there and then."""

    def fence(self, held: Held, reason: str) -> None:
        """``is_lost``: stop it, and call ``let_go`` when it has stopped, or if it never began."""

    def warn(self, held: Held) -> None:
        """Its lease ends soon; once for each lease."""


@dataclass(slots=True)
class Ends:
    """What has become of jobs of one queue here."""

    done: int = 0
    retried: int = 0
    dead: int = 0
    lost: int = 0


class Worker:
    """``lease`` is in seconds, and the same as in the headers of the streams; ``rate`` in jobs/s;
    ``max_in_flight`` None: as many as run at once, and what was done in the last 0.1 s, at most
    1000. Raises ConfigError."""

    def __init__(
        self,
        port: WorkerPort,
        *,
        concurrency: int,
        max_in_flight: int | None,
        lease: float,
        order: Order,
        rate: float | None,
    ) -> None:
        if not MIN_LEASE <= lease <= MAX_LEASE:
            raise ConfigError(f"lease={lease!r}: from {MIN_LEASE:g} to {MAX_LEASE:g} s")
        self.port = port
        self._now = port.now
        self.lease = lease
        self.ends = {queue: Ends() for queue in order.queues}
        self._warning = warning_of(lease)
        self._queues = frozenset(order.queues)
        self._demand = Demand(
            port, order, concurrency=concurrency, max_in_flight=max_in_flight, rate=rate
        )
        self._sources: dict[Source, None] = {}
        self._dirty: list[Source] = []
        self._is_woken = False
        self._last_ref = 0
        self._timer: Timer | None = None
        self._timer_at = 0.0

    # Streams.

    def add_source(self, queue: str, send: Callable[[list[Any]], None]) -> Source:
        """A stream is open; ``send`` takes one message, always, and is used at once. Raises
        ConfigError for a queue that the order does not name."""
        if queue not in self._queues:
            raise ConfigError(f"queue {queue!r} is none of this worker's: {sorted(self._queues)}")
        source = Source(self, queue, self.lease, send)
        self._sources[source] = None
        self._demand.open(source.account)
        self._advance()
        self._wake()
        return source

    def remove_source(self, source: Source, reason: str) -> None:
        """Its stream ended: what was held from it is lost. Idempotent."""
        if not source.is_open:
            return
        source.is_open = False
        del self._sources[source]
        self._demand.close(source.account)
        self._demand.ended(len(source.done))
        source.done.clear()
        source.touches.clear()
        commits, source.commits = source.commits, {}
        for held in list(source.held.values()):
            self.lose(held, reason)
        for held, then in commits.values():
            then(("PeerLost", f"nobody knows whether job {held.number} was committed: {reason}"))
        self._wake()

    # Ends.

    def done(self, held: Held, result: bytes | None = None) -> None:
        """Raises LeaseLost if it is lost, PayloadTooLarge for a result above 1 MiB (it has no end
        then). A second end of whatever kind is ignored; so it is with the others."""
        if result is not None and len(result) > MAX_JOB_BYTES:
            raise PayloadTooLarge(
                f"the result of job {held.number} has {len(result)} bytes, more than "
                f"{MAX_JOB_BYTES}: keep it elsewhere, and return where"
            )
        # The usual case in line: this is the hot path.
        if (held.state or held.fence_at <= self._now()) and not self._may_end(held):
            return
        source = held.source
        held.state = SETTLED
        del source.held[held.number]
        source.done[held.number] = result
        if result is not None:
            source.has_results = True
        if not source.is_dirty:
            self.mark(source)

    def done_many(self, jobs: Iterable[Held]) -> list[Held]:
        """Those of several for which ``done`` would do it, without a result; returns the others,
        which are lost, or have had their end."""
        now = self._now()
        others: list[Held] = []
        for held in jobs:
            if held.state or held.fence_at <= now:
                others.append(held)
                continue
            source, number = held.source, held.number
            held.state = SETTLED
            del source.held[number]
            source.done[number] = None
            if not source.is_dirty:
                self.mark(source)
        return others

    def retry(self, held: Held, delay: float, reason: str) -> None:
        """Again after so many seconds: at least 0, at most ten years."""
        if self._may_end(held):
            delay_ms = round(min(max(delay, 0.0) * 1000, MAX_DELAY_MS))
            held.source.send([RETRY, held.number, delay_ms, reason[:MAX_REASON_CHARS]])
            self.ends[held.queue].retried += 1
            self._settle(held)

    def dead(self, held: Held, reason: str) -> None:
        """Give it up: it is kept for people."""
        if self._may_end(held):
            held.source.send([DEAD, held.number, reason[:MAX_REASON_CHARS]])
            self.ends[held.queue].dead += 1
            self._settle(held)

    def touch(self, held: Held) -> None:
        """Ask for a new lease: ``fence_at`` moves when the home has answered. Raises LeaseLost."""
        if self._may_end(held):
            held.source.touches[held.number] = None
            self.mark(held.source)

    def progress(self, held: Held, done: int, of: int, data: bytes | None = None) -> None:
        """Tell who waits for it. Raises LeaseLost, PayloadTooLarge, and ValueError for numbers
        below 0."""
        if not (0 <= done <= MAX_NUMBER and 0 <= of <= MAX_NUMBER):
            raise ValueError(f"progress({done}, {of}): 0 or more of each")
        if data is not None and len(data) > MAX_JOB_BYTES:
            raise PayloadTooLarge(f"{len(data)} bytes of progress, more than {MAX_JOB_BYTES}")
        if self._may_end(held):
            held.source.send([PROGRESS, held.number, done, of, data])

    def commit(
        self,
        held: Held,
        result: bytes | None,
        puts: list[tuple[str, bytes, dict[str, Any]]],
        then: Then,
    ) -> None:
        """It is done, and ``(queue, body, options)`` are put, in one commit at its home.

        ``then(None)``: so it is. ``then((type, text))``: it failed, and the job is as before; after
        ``StoreFailed`` it is lost here, for its home hands it out again; or, of type ``PeerLost``,
        the stream ended before the answer, and nobody knows. Raises LeaseLost, PayloadTooLarge, and
        MeshError for a job that has had its end.
        """
        sizes = [len(body) for _, body, _ in puts] + [len(result or b"")]
        if len(puts) > MAX_PUTS or max(sizes) > MAX_JOB_BYTES:
            raise PayloadTooLarge(
                f"{len(puts)} jobs, the largest of {max(sizes)} bytes: one commit has at most "
                f"{MAX_PUTS}, of {MAX_JOB_BYTES} bytes each"
            )
        if not self._may_end(held):
            raise MeshError(f"job {held.number} has had its end: nothing was committed")
        source, ref = held.source, self._last_ref + 1
        # Before all else, for it may be too large for the stream.
        source.send([COMMIT, ref, held.number, result, [list(p) for p in puts]])
        self._last_ref = ref
        held.state = COMMITTING
        source.commits[ref] = held, then

    def let_go(self, held: Held) -> None:
        """Nothing runs any more for a job that is lost. Idempotent."""
        if held.state == LOST_RUNNING:
            held.state = LOST
            self._demand.ended(1)
            self._wake()

    def _may_end(self, held: Held) -> bool:
        if held.state == SETTLED:
            return False
        if held.state == HELD and held.fence_at <= self._now():
            # The timer is late, for something else took long. Who asks is told by the error.
            self._forget(held)
        if held.is_lost:
            self.let_go(held)
            raise LeaseLost(
                f"job {held.number} of {held.queue} is not this worker's any more: its lease of "
                f"{self.lease:g} s is over, it was deleted, or its home is gone"
            )
        if held.state == COMMITTING:
            raise MeshError(f"job {held.number} is being committed: wait for what becomes of it")
        return True

    def _settle(self, held: Held) -> None:
        held.state = SETTLED
        del held.source.held[held.number]
        self._demand.ended(1)
        self._wake()

    # What sources tell.

    def took(self, source: Source, count: int) -> None:
        """So many came, for its credit."""
        self._demand.took(source.account, count)

    def came_late(self, jobs: list[Held]) -> None:
        """Their leases were over when they came."""
        self.ends[jobs[0].queue].lost += len(jobs)
        for held in jobs:
            held.state = LOST
        self._demand.ended(len(jobs))
        self._wake()

    def wants(self, source: Source) -> None:
        """It has more."""
        self._demand.wants(source.account)
        self._wake()

    def returned(self, source: Source) -> None:
        """Its credit is back."""
        self._demand.returned(source.account)
        self._wake()

    def committed(self, held: Held, then: Then, error: tuple[str, str] | None) -> None:
        """A commit was answered."""
        if held.state == COMMITTING:
            held.state = HELD
            if error is None:
                self.ends[held.queue].done += 1
                self._settle(held)
            elif error[0] == StoreFailed.__name__:
                # Its home has made it ready again, and may hand it to this worker at once.
                self._forget(held)
        then(error)

    def lose(self, held: Held, reason: str) -> None:
        """It is not this worker's any more."""
        self._forget(held)
        self.port.fence(held, reason)

    def _forget(self, held: Held) -> None:
        self.ends[held.queue].lost += 1
        held.state = LOST_RUNNING
        del held.source.held[held.number]

    # Turns and time.

    def mark(self, source: Source) -> None:
        """It has something to send at the end of the turn."""
        if not source.is_dirty:
            source.is_dirty = True
            self._dirty.append(source)
            self._wake()

    def _wake(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            self.port.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_woken = False
        dirty, self._dirty = self._dirty, []
        for source in dirty:
            source.is_dirty = False
            if source.done:
                self.ends[source.queue].done += len(source.done)
                self._demand.ended(len(source.done))
                _send_done(source)
            if source.touches:
                source.ask(self._now())
        self._demand.deal()

    def watch(self, fence_at: float) -> None:
        """Some are fenced then."""
        self._wake_at(fence_at - self._warning)

    def _wake_at(self, at: float) -> None:
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self.port.call_later(max(_LEAST_DELAY, at - self._now()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._advance()

    def _advance(self) -> None:
        now = self._now()
        next_at = float("inf")
        for source in list(self._sources):
            over, soon, at = source.advance(now, self._warning)
            next_at = min(next_at, at)
            for held in over:
                if held.source.held.get(held.number) is held:
                    self.lose(held, f"the lease of {self.lease:g} s is about to end")
            for held in soon:
                if held.state == HELD:
                    self.port.warn(held)
        if self._sources:
            self._wake_at(next_at)

    # The end.

    def pause_intake(self) -> None:
        """No new jobs: the credit is called back. What is here goes on."""
        self._demand.pause()

    def resume_intake(self) -> None:
        """Take jobs again."""
        self._demand.is_paused = False
        self._wake()

    @property
    def lost(self) -> int:
        """Jobs whose lease ended before they were."""
        return sum(ends.lost for ends in self.ends.values())

    def held(self, queue: str) -> int:
        """Jobs of a queue that are here."""
        return sum(len(source.held) for source in self._sources if source.queue == queue)

    @property
    def in_flight(self) -> int:
        """Jobs that are here, and that may come any moment."""
        return self._demand.in_flight

    @property
    def is_idle(self) -> bool:
        """Nothing is held or may come, and all ends have been sent."""
        return not self._demand.in_flight and not self._dirty

    def close(self) -> None:
        """Take no jobs, and leave no timer; the streams are to be ended, and removed."""
        self.pause_intake()
        self._demand.stop()
        for source in list(self._sources):
            self.remove_source(source, "the worker is closed")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _send_done(source: Source) -> None:
    done, source.done = source.done, {}
    if not source.has_results:
        source.send([DONE, runs_of(done), {}])
        return
    source.has_results = False
    numbers: list[int] = []
    results: dict[int, bytes] = {}
    size = 0
    for number, result in done.items():
        more = len(result or b"")
        if size and size + more > _RESULT_BYTES:
            source.send([DONE, runs_of(numbers), results])
            numbers, results, size = [], {}, 0
        numbers.append(number)
        if result is not None:
            results[number] = result
            size += more
    source.send([DONE, runs_of(numbers), results])
