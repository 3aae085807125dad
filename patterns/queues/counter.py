"""``Counter``: where the jobs of one line are handed to workers, one stream each.

Rules:

* Who has given credit is a *customer*. What is ready goes to those with credit left in turn, in
  fair shares, in batches of up to ``BATCH`` jobs and ``BATCH_BYTES`` (a single larger job goes
  alone).
* Nothing is taken from the line for a stream that has more than it can send.
* MORE is said once to one whose credit is used up while jobs are ready, and again after its next
  credit. RECALL is answered when what is ready has been handed out: so credit that goes round
  between busy homes gets a job at each.
* Each TOUCH has one TOUCHED, though none of the jobs may be the worker's any more: from how long
  that takes the worker knows this home's clock (``patterns.queues.fence``).
* Whatever a worker says of a job that is not its own is answered with LOST, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from patterns.errors import Overloaded
from patterns.port import Clock
from patterns.queues.checks import (
    MAX_CREDIT,
    MAX_DELAY_MS,
    MAX_JOB_BYTES,
    MAX_NAME_CHARS,
    MAX_NUMBER,
    MAX_PUTS,
    MAX_REASON_CHARS,
    BadMessage,
    bytes_in,
    fields_in,
    int_in,
    ints_in,
    lease_in,
    runs_in,
    text_in,
)
from patterns.queues.errors import LeaseLost
from patterns.queues.line import Holder
from patterns.queues.messages import (
    COMMIT,
    COMMITTED,
    CREDIT,
    DEAD,
    DONE,
    HOME,
    JOBS,
    LOST,
    MORE,
    PROGRESS,
    RECALL,
    RETRY,
    RETURNED,
    TOUCH,
    TOUCHED,
)
from patterns.queues.ticket import Ticket

if TYPE_CHECKING:
    from patterns.queues.group import Group
    from patterns.queues.home import Home

__all__ = ["BATCH", "BATCH_BYTES", "MAX_CUSTOMERS", "Counter", "Customer", "OnCommit"]

BATCH = 128
"""Jobs in one message: more saves nothing, and makes shares coarse."""

BATCH_BYTES = 64 * 1024
"""Bodies in one message: what is urgent on the same link waits no longer than for these."""

MAX_CUSTOMERS = 10_000
"""Streams from workers of one group: more than a link for each allows."""

OnCommit = Callable[[int, int, bytes | None, list[tuple[str, bytes, dict[str, Any]]]], None]


class Customer:
    """One worker's stream. Made by ``Counter.join``.

    ``on_commit(ref, number, result, [(queue, body, options)])`` is to end the job and put these, in
    one commit, and then to say ``committed``. Of the options only the names have been looked at.
    """

    def __init__(
        self,
        counter: Counter,
        holder: Holder,
        send: Callable[[list[Any]], None],
        may_send: Callable[[], bool],
    ) -> None:
        self.holder = holder
        self.send = send
        self.may_send = may_send
        self.credit = 0
        self.is_told = False
        """That there is more, since its last credit."""
        self.on_commit: OnCommit = self._refuse_commit
        self.is_open = True
        self._counter = counter

    @property
    def line(self) -> Any:
        """The group whose jobs it takes."""
        return self._counter.line

    def on_message(self, message: object) -> None:
        """Raises BadMessage (a ValueError): end the stream then."""
        if type(message) is not list or not message or type(message[0]) is not int:
            raise BadMessage("a worker said what is no message")
        read = _READERS.get(message[0])
        if read is None:
            raise BadMessage(f"a worker said something of kind {message[0]}, which is none of its")
        if self.is_open:
            read(self, message)

    def resume(self) -> None:
        """The stream can take more again: to be called after ``may_send`` was False."""
        if self.is_open:
            self._counter.seat(self)

    def committed(self, ref: int, error: tuple[str, str] | None) -> None:
        """A commit is safe, or failed: the error's type and text."""
        if self.is_open:
            told = None
            if error is not None:
                told = [error[0][:MAX_REASON_CHARS], error[1][:MAX_NAME_CHARS]]
            self.send([COMMITTED, ref, told])

    def leave(self, is_silent: bool) -> None:
        """The stream ended: what the worker had is ready again at once; or, if its node fell silent
        and may work on, when each lease ends. Idempotent."""
        if self.is_open:
            self.is_open = False
            self._counter.left(self, is_silent)

    # What the worker says.

    def _on_credit(self, message: list[Any]) -> None:
        _, count = fields_in(message, 1, "CREDIT")
        self.credit += int_in(count, 1, MAX_CREDIT - self.credit, "credit")
        self.is_told = False
        self._counter.seat(self)

    def _on_recall(self, message: list[Any]) -> None:
        fields_in(message, 0, "RECALL")
        self._counter.serve()
        count, self.credit = self.credit, 0
        self.send([RETURNED, count])
        self._counter.seat(self)

    def _on_done(self, message: list[Any]) -> None:
        _, runs, results = fields_in(message, 2, "DONE")
        numbers = runs_in(runs, "what is done")
        if type(results) is not dict or len(results) > len(numbers):
            raise BadMessage("the results of DONE are no map, or more than what is done")
        if results:
            for number, result in results.items():
                int_in(number, 0, MAX_NUMBER, "the number of a result")
                bytes_in(result, MAX_JOB_BYTES, "a result")
            if not results.keys() <= set(numbers):
                raise BadMessage("DONE has the result of something else")
        counter = self._counter
        self._lost(counter.home.finish(counter.line, self.holder, numbers, results or None))

    def _on_retry(self, message: list[Any]) -> None:
        _, number, delay_ms, reason = fields_in(message, 3, "RETRY")
        self._of_one(
            self._counter.home.retry,
            number,
            int_in(delay_ms, 0, MAX_DELAY_MS, "delay_ms"),
            text_in(reason, MAX_REASON_CHARS, "the reason"),
        )

    def _on_dead(self, message: list[Any]) -> None:
        _, number, reason = fields_in(message, 2, "DEAD")
        self._of_one(
            self._counter.home.bury, number, text_in(reason, MAX_REASON_CHARS, "the reason")
        )

    def _on_progress(self, message: list[Any]) -> None:
        _, number, done, of, data = fields_in(message, 4, "PROGRESS")
        int_in(done, 0, MAX_NUMBER, "progress")
        int_in(of, 0, MAX_NUMBER, "the whole of progress")
        if data is not None:
            bytes_in(data, MAX_JOB_BYTES, "the data of progress")
        self._of_one(self._counter.home.progress, number, (done, of, data))

    def _of_one(self, tell: Callable[..., object], number: object, *what: object) -> None:
        known = int_in(number, 0, MAX_NUMBER, "the number of a job")
        try:
            tell(self._counter.line, self.holder, known, *what)
        except LeaseLost:
            self._lost([known])

    def _lost(self, numbers: Sequence[int]) -> None:
        if numbers:
            reason = f"the lease of {self.holder.lease:g} s ended, or the job was deleted"
            self.send([LOST, list(numbers), reason])

    def _on_touch(self, message: list[Any]) -> None:
        _, asked = fields_in(message, 1, "TOUCH")
        ints_in(asked, MAX_CREDIT, "the numbers to be touched")
        counter, holder = self._counter, self.holder
        now_ms = counter.home.now_ms()
        lost: list[int] = []
        touched: list[int] = []
        for number in dict.fromkeys(asked):
            try:
                counter.line.touch(holder, number)
                touched.append(number)
            except LeaseLost:
                lost.append(number)
        self._lost(lost)
        self.send([TOUCHED, now_ms, touched])

    def _on_commit(self, message: list[Any]) -> None:
        _, ref, number, result, puts = fields_in(message, 4, "COMMIT")
        int_in(ref, 0, MAX_NUMBER, "ref")
        int_in(number, 0, MAX_NUMBER, "the number of a job")
        if result is not None:
            bytes_in(result, MAX_JOB_BYTES, "a result")
        if type(puts) is not list or len(puts) > MAX_PUTS:
            raise BadMessage(f"COMMIT has no list of at most {MAX_PUTS} jobs")
        self.on_commit(ref, number, result, [_put_in(put) for put in puts])

    def _refuse_commit(self, ref: int, number: int, *rest: object) -> None:
        self.committed(ref, ("ConfigError", f"job {number}: this home does not commit"))


def _put_in(put: object) -> tuple[str, bytes, dict[str, Any]]:
    if type(put) is not list or len(put) != 3:
        raise BadMessage("a job of COMMIT is not a queue, a body and options")
    queue, body, options = put
    if type(options) is not dict or not all(type(name) is str for name in options):
        raise BadMessage("the options of a job are no map with names")
    return (
        text_in(queue, MAX_NAME_CHARS, "the name of a queue"),
        bytes_in(body, MAX_JOB_BYTES, "a body"),
        options,
    )


class Counter:
    """Of one line of a home, whatever its name is: a group that takes over the unnamed one is the
    same, and has the same counter. It sets ``line.lost`` and ``line.on_ready``."""

    def __init__(self, home: Home, line: Group, clock: Clock) -> None:
        self.home = home
        self.line = line
        self.line.lost = self._on_lost
        self.line.on_ready = self.wake
        self._clock = clock
        self._customers: dict[Holder, Customer] = {}
        self._eager: dict[Customer, None] = {}
        """With credit, and room on their streams; who was served last is the last."""
        self._used_up: dict[Customer, None] = {}
        """Without credit, and not told that there is more."""
        self._is_woken = False
        self._may_be_ready = True
        """Whether the line may have more than it gave when it was asked last."""

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
        lease_in(lease)
        if len(self._customers) >= MAX_CUSTOMERS:
            raise Overloaded(f"{MAX_CUSTOMERS} workers take jobs of {self.home.name} here already")
        holder = Holder(text_in(worker, MAX_NAME_CHARS, "the worker's name"), lease)
        customer = self._customers[holder] = Customer(self, holder, send, may_send)
        self.line.workers = len(self._customers)
        send([HOME, self.home.store.id])
        self.seat(customer)
        return customer

    def left(self, customer: Customer, is_silent: bool) -> None:
        """Its stream is over."""
        self._eager.pop(customer, None)
        self._used_up.pop(customer, None)
        del self._customers[customer.holder]
        self.line.workers = len(self._customers)
        if not is_silent:
            self.line.holder_gone(customer.holder)

    def _on_lost(self, holder: Holder, numbers: Sequence[int], reason: str) -> None:
        customer = self._customers.get(holder)
        if customer is not None:
            for first in range(0, len(numbers), MAX_CREDIT):
                part = list(numbers[first : first + MAX_CREDIT])
                customer.send([LOST, part, reason[:MAX_REASON_CHARS]])

    # Handing out.

    def wake(self) -> None:
        """Something may be ready: it is handed out at the end of the turn."""
        self._may_be_ready = True
        self._soon()

    def seat(self, customer: Customer) -> None:
        """It has credit, or has none any more, or there is room on its stream."""
        if customer.credit:
            self._used_up.pop(customer, None)
            self._eager.setdefault(customer)
        else:
            self._eager.pop(customer, None)
            if not customer.is_told:
                self._used_up.setdefault(customer)
        if self._may_be_ready:
            self._soon()

    def _soon(self) -> None:
        if not self._is_woken and (self._eager or self._used_up):
            self._is_woken = True
            self._clock.call_soon(self._serve_soon)

    def _serve_soon(self) -> None:
        self._is_woken = False
        self.serve()

    def serve(self) -> None:
        """Hand out now what can be."""
        is_more = self._may_be_ready
        while is_more and self._eager:
            for customer in [c for c in self._eager if not c.may_send()]:
                del self._eager[customer]
            is_more = self._round()
        if self._used_up and self._may_be_ready and self._ready():
            for customer in [c for c in self._used_up if c.may_send()]:
                customer.is_told = True
                customer.send([MORE])
                del self._used_up[customer]

    def _ready(self) -> int:
        ready = self.line.ready
        return 0 if self.line.is_paused else ready.count - ready.aside

    def _round(self) -> bool:
        """Each of those with credit has its share once; False: there was no more."""
        eager = list(self._eager)
        left = len(eager)
        for customer in eager:
            share = min(BATCH, customer.credit, max(1, -(-self._ready() // left)))
            left -= 1
            # The line may say meanwhile that more is ready.
            self._may_be_ready = False
            taken = self.line.take(customer.holder, share, BATCH_BYTES)
            if not taken:
                return False
            self._may_be_ready = True
            del self._eager[customer]
            customer.credit -= len(taken)
            self._hand(customer, taken)
            self.seat(customer)
        return True

    def _hand(self, customer: Customer, taken: list[Ticket]) -> None:
        bodies = [ticket.body for ticket in taken]
        if len(taken) > 1 and sum(map(len, bodies)) > BATCH_BYTES:
            # It is the last one that did not fit.
            self._hand(customer, taken[:-1])
            self._hand(customer, taken[-1:])
            return
        offset = self.home.offset_ms
        customer.send(
            [
                JOBS,
                taken[0].lease_until_ms - customer.holder.lease_ms,
                [ticket.number for ticket in taken],
                [ticket.attempts for ticket in taken],
                [ticket.put_ms + offset for ticket in taken],
                bodies,
                {
                    index: _extra_of(ticket)
                    for index, ticket in enumerate(taken)
                    if ticket.extra is not None or ticket.key is not None
                }
                or None,
            ]
        )


def _extra_of(ticket: Ticket) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if ticket.key is not None:
        told["key"] = ticket.key
    if ticket.extra is not None:
        if ticket.extra.id is not None:
            told["id"] = ticket.extra.id
        if ticket.extra.headers:
            told["headers"] = ticket.extra.headers
    return told


_READERS: dict[int, Callable[[Customer, list[Any]], None]] = {
    CREDIT: Customer._on_credit,
    RECALL: Customer._on_recall,
    DONE: Customer._on_done,
    RETRY: Customer._on_retry,
    DEAD: Customer._on_dead,
    TOUCH: Customer._on_touch,
    PROGRESS: Customer._on_progress,
    COMMIT: Customer._on_commit,
}
