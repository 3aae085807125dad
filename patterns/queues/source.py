"""``Source``: the stream from one home as its worker reads it, and ``Held``: a job that is here.

Surprise: what is held is kept in the order of its fences, so the first is the next to be looked
at. When the home's clock becomes known less well, the fence of a lease that begins now might be
before that of older ones: these are then moved to it, for earlier is never wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from patterns.queues import messages
from patterns.queues.checks import (
    MAX_CREDIT,
    MAX_JOB_BYTES,
    MAX_NAME_CHARS,
    MAX_NUMBER,
    MAX_REASON_CHARS,
    BadMessage,
    bytes_in,
    fields_in,
    headers_in,
    int_in,
    ints_in,
    name_in,
    text_in,
)
from patterns.queues.demand import Account
from patterns.queues.fence import ASK_AGAIN, Fence
from patterns.queues.messages import (
    COMMITTED,
    CREDIT,
    HOME,
    JOBS,
    MORE,
    RECALL,
    RETURNED,
    TOUCH,
    TOUCHED,
)

if TYPE_CHECKING:
    from patterns.queues.worker import Worker

__all__ = [
    "COMMITTING",
    "HELD",
    "LOST",
    "LOST_RUNNING",
    "SETTLED",
    "Held",
    "Source",
    "Then",
]

Then = Callable[[tuple[str, str] | None], None]
"""What became of a commit: None, or the type and text of its error."""

HELD: Final = 0
COMMITTING: Final = 1
SETTLED: Final = 2
LOST_RUNNING: Final = 3
LOST: Final = 4
"""What a job is that is, or was, here. What is lost counts as in flight while something may run
for it."""

_WARN_STEP = 0.05
"""Seconds: warnings are given so far apart, all together; each costs a look at all that is held."""


class Held:
    """A job that is here.

    ``attempts`` is how often it was handed out, this time included; ``put_ms`` is Unix time.
    ``fence_at`` is on the worker's clock.
    """

    __slots__ = (
        "attempts",
        "body",
        "extra",
        "fence_at",
        "is_warned",
        "number",
        "put_ms",
        "source",
        "state",
    )

    def __init__(
        self,
        source: Source,
        fence_at: float,
        number: int,
        attempts: int,
        put_ms: int,
        body: bytes,
    ) -> None:
        self.source = source
        self.fence_at = fence_at
        self.number = number
        self.attempts = attempts
        self.put_ms = put_ms
        self.body = body
        self.extra: dict[str, Any] | None = None
        self.state = HELD
        self.is_warned = False

    @property
    def is_lost(self) -> bool:
        """It is not this worker's any more: whatever it does for it is of no use."""
        return self.state >= LOST_RUNNING

    @property
    def is_settled(self) -> bool:
        """It has had its end."""
        return self.state == SETTLED

    @property
    def is_committing(self) -> bool:
        """Nobody knows as yet whether it has had its end."""
        return self.state == COMMITTING

    @property
    def queue(self) -> str:
        """The name of its queue."""
        return self.source.queue

    @property
    def id(self) -> str:
        """What it was given, or is known by: the same in every attempt."""
        given = self.extra and self.extra.get("id")
        return given or f"{self.source.store}-{self.number}"

    @property
    def key(self) -> bytes | None:
        """Jobs of one key are handed out one by one."""
        return self.extra.get("key") if self.extra else None

    @property
    def headers(self) -> dict[str, str]:
        """What its producer said beside the body."""
        return (self.extra and self.extra.get("headers")) or {}

    def __repr__(self) -> str:
        state = "lost" if self.is_lost else "settled" if self.is_settled else "held"
        return f"<Held {self.number} of {self.queue}, {state}>"


class Source:
    """The stream from one home. Made by ``Worker.add_source``."""

    def __init__(
        self, worker: Worker, queue: str, lease: float, send: Callable[[list[Any]], None]
    ) -> None:
        self.queue = queue
        self.store = ""
        self.send = send
        self.is_open = True
        self.held: dict[int, Held] = {}
        """In the order in which they are fenced."""
        self.done: dict[int, bytes | None] = {}
        """Ended in this turn, with their results."""
        self.has_results = False
        self.touches: dict[int, None] = {}
        """For which a new lease is to be asked for: when the last question is answered."""
        self.commits: dict[int, tuple[Held, Then]] = {}
        self.is_dirty = False
        self.fence = Fence(lease)
        self.ask_at = 0.0
        self.account = Account(queue, lambda count: send([CREDIT, count]), lambda: send([RECALL]))
        self._worker = worker

    def on_message(self, message: object) -> None:
        """Raises BadMessage (a ValueError): end the stream then."""
        if type(message) is not list or not message or type(message[0]) is not int:
            raise BadMessage("a home said what is no message")
        read = _READERS.get(message[0])
        if read is None:
            raise BadMessage(f"a home said something of kind {message[0]}, which is none of its")
        if self.is_open:
            read(self, message)

    # What the home says.

    def _on_home(self, message: list[Any]) -> None:
        _, store = fields_in(message, 1, "HOME")
        if self.store or not store:
            raise BadMessage("HOME tells no name, or comes twice")
        self.store = name_in(store, "the store's name")

    def _on_jobs(self, message: list[Any]) -> None:
        _, now_ms, numbers, attempts, put_ms, bodies, extras = fields_in(message, 6, "JOBS")
        home = int_in(now_ms, 0, MAX_NUMBER, "now_ms") / 1000
        count = self._check(numbers, attempts, put_ms, bodies)
        now = self._worker.port.now()
        fence_at = self.fence.fence_at(now, home)
        jobs = list(map(Held, repeat(self), repeat(fence_at), numbers, attempts, put_ms, bodies))
        if extras is not None:
            self._read_extras(extras, jobs)
        self._worker.took(self, count)
        if fence_at <= now:
            # They were under way for longer than their lease: nothing is begun.
            self._worker.came_late(jobs)
            return
        self.held.update(zip(numbers, jobs, strict=True))
        self._worker.watch(fence_at)
        self._worker.port.hand(jobs)

    def _check(self, numbers: Any, attempts: Any, put_ms: Any, bodies: Any) -> int:
        if not self.store or not self.fence.is_known:
            raise BadMessage("JOBS comes before HOME, or before the answer to TOUCH")
        count = len(ints_in(numbers, self.account.credit, "numbers within the credit"))
        if not count or len(set(numbers)) != count or not self.held.keys().isdisjoint(numbers):
            raise BadMessage("JOBS has no jobs, or one twice, or one that is here")
        ints_in(attempts, count, "attempts")
        ints_in(put_ms, count, "put_ms")
        if type(bodies) is not list or set(map(type, bodies)) != {bytes}:
            raise BadMessage("bodies are not all bytes")
        if max(map(len, bodies)) > MAX_JOB_BYTES:
            raise BadMessage(f"a body has more than {MAX_JOB_BYTES} bytes")
        if not len(attempts) == len(put_ms) == len(bodies) == count:
            raise BadMessage("the columns of JOBS are not of one length")
        return count

    def _read_extras(self, extras: object, jobs: list[Held]) -> None:
        if type(extras) is not dict:
            raise BadMessage("extras are no map")
        for index, extra in extras.items():
            job = jobs[int_in(index, 0, len(jobs) - 1, "the index of extras")]
            if type(extra) is not dict:
                raise BadMessage("what extras have for a job is no map")
            read: dict[str, Any] = {}
            if (id := extra.get("id")) is not None:
                read["id"] = name_in(id, "id")
            if (key := extra.get("key")) is not None:
                read["key"] = bytes_in(key, MAX_NAME_CHARS, "key")
            if (headers := extra.get("headers")) is not None:
                read["headers"] = headers_in(headers, "headers")
            job.extra = read

    def _on_more(self, message: list[Any]) -> None:
        fields_in(message, 0, "MORE")
        self._worker.wants(self)

    def _on_returned(self, message: list[Any]) -> None:
        _, count = fields_in(message, 1, "RETURNED")
        int_in(count, 0, MAX_CREDIT, "what is returned")
        if not self.account.is_recalling or count != self.account.credit:
            raise BadMessage(
                f"RETURNED {count}: nothing was called back, or it is not what is left"
            )
        self._worker.returned(self)

    def _on_lost(self, message: list[Any]) -> None:
        _, numbers, reason = fields_in(message, 2, "LOST")
        ints_in(numbers, MAX_CREDIT, "the numbers lost")
        text_in(reason, MAX_REASON_CHARS, "the reason")
        for number in numbers:
            held = self.held.get(number)
            if held is not None:
                self._worker.lose(held, reason)

    def _on_touched(self, message: list[Any]) -> None:
        _, now_ms, numbers = fields_in(message, 2, "TOUCHED")
        home = int_in(now_ms, 0, MAX_NUMBER, "now_ms") / 1000
        ints_in(numbers, MAX_CREDIT, "the numbers touched")
        if self.fence.asked_at is None:
            raise BadMessage("TOUCHED is the answer to nothing")
        now = self._worker.port.now()
        fence_at = self.fence.answered(now, home)
        self.ask_at = now + ASK_AGAIN
        self._fence_by(fence_at)
        for number in numbers:
            held = self.held.pop(number, None)
            if held is not None:
                held.fence_at = fence_at
                held.is_warned = False
                self.held[number] = held
        self._worker.watch(fence_at)
        if self.touches:
            self._worker.mark(self)

    def _on_committed(self, message: list[Any]) -> None:
        _, ref, error = fields_in(message, 2, "COMMITTED")
        commit = self.commits.pop(int_in(ref, 0, MAX_NUMBER, "ref"), None)
        if commit is None:
            raise BadMessage(f"COMMITTED {ref}: there is no such commit")
        failure: tuple[str, str] | None = None
        if error is not None:
            if type(error) is not list or len(error) != 2:
                raise BadMessage("the error of COMMITTED is not a type and a text")
            failure = (
                text_in(error[0], MAX_REASON_CHARS, "the type of the error"),
                text_in(error[1], MAX_NAME_CHARS, "the text of the error"),
            )
        self._worker.committed(*commit, failure)

    # Time.

    def ask(self, now: float) -> None:
        """Send TOUCH, unless it is not answered: for what shall be touched, or for the clock."""
        if self.fence.asked_at is None:
            self.fence.asked_at = now
            numbers = [number for number in self.touches if number in self.held]
            self.touches.clear()
            self.send([TOUCH, numbers])

    def _fence_by(self, fence_at: float) -> None:
        for held in reversed(self.held.values()):
            if held.fence_at <= fence_at:
                break
            held.fence_at = fence_at

    def advance(self, now: float, warning: float) -> tuple[list[Held], list[Held], float]:
        """What is to be fenced, of what to warn, and when to come again."""
        if now >= self.ask_at:
            self.ask_at = now + ASK_AGAIN
            self.ask(now)
        next_at = self.ask_at
        over: list[Held] = []
        soon: list[Held] = []
        for held in self.held.values():
            if held.fence_at <= now:
                over.append(held)
                continue
            next_at = min(next_at, held.fence_at)
            if held.fence_at - warning > now:
                next_at = min(next_at, max(held.fence_at - warning, now + _WARN_STEP))
                break
            if not held.is_warned:
                held.is_warned = True
                soon.append(held)
        return over, soon, next_at


_READERS: dict[int, Callable[[Source, list[Any]], None]] = {
    HOME: Source._on_home,
    JOBS: Source._on_jobs,
    MORE: Source._on_more,
    RETURNED: Source._on_returned,
    messages.LOST: Source._on_lost,
    TOUCHED: Source._on_touched,
    COMMITTED: Source._on_committed,
}
