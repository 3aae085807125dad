"""``Keeper``: one queue at home at a running node, and what others may ask of it.

It serves the service ``_queue-NAME``: ``work``, the stream of each worker; ``put`` and ``result``
for producers elsewhere; ``look`` and ``manage`` for people; ``tail``, what happens.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from mesh.engine.lookup import has_fallen_silent
from mesh.logs import get_logger
from mesh.queues.intake import Intake
from mesh.queues.people import TAILS, People
from mesh.queues.polling import until
from mesh.queues.specs import STREAM_WINDOW, job_of
from mesh.queues.views import told_outcome
from mesh.streaming import generator_method, handler_method
from mesh.tunnels import AsyncStream
from patterns.errors import BadName, BadRequest, MeshError
from patterns.queues.checks import MAX_PUTS, lease_in
from patterns.queues.counter import Counter, Customer
from patterns.queues.errors import LeaseLost
from patterns.queues.figures import QueueStats
from patterns.queues.group import Group
from patterns.queues.home import Home
from patterns.queues.jobspec import HomeOptions, JobSpec, Put
from patterns.queues.naming import check_group, service_of
from patterns.queues.outcomes import FORGOTTEN, Outcome
from patterns.queues.stores import Store
from patterns.rpc.method import Method
from patterns.streams.stream import QUEUED_BYTES

if TYPE_CHECKING:
    from mesh.queues.registry import Queues, Where

__all__ = ["Keeper"]

logger = get_logger("mesh.queues")

MAX_SECONDS = 30.0
"""For which one question for an outcome waits."""

ASKED_AT_ONCE = 4096
"""Calls of each kind that wait for the store, or for outcomes."""

MAX_WORKERS = 4096
"""Streams of workers."""

MAX_UNREAD = STREAM_WINDOW
"""Bytes that a worker has not read, beyond its window, when it says more that must be answered: no
jobs wait above ``QUEUED_BYTES``, so one that reads has never so much."""

MAX_ID_CHARS = 255
MAX_TITLE_CHARS = 200


class Keeper:
    """See above. On the loop's thread."""

    def __init__(
        self,
        queues: Queues,
        name: str,
        url: Where,
        store: Store,
        groups: Sequence[str],
        options: HomeOptions,
    ) -> None:
        self._queues = queues
        self._host = queues.host
        self.name = name
        self.url = url
        self._options = options
        self.is_declared = True
        """Whether the program says how it is kept; else it is as usual, for it began with a
        transaction, or was found in the file."""
        offset_ms = queues.offset_ms
        self.home = Home(name, store, queues.host.clock, options, offset_ms=offset_ms)
        self.home.open(groups)
        self.intake = Intake(self.home, queues.host, is_slow=url is not None)
        self._counters: dict[Group, Counter] = {}
        self._ways: dict[AsyncStream, Customer] = {}
        """The streams of workers."""
        self._people = People(self)
        self._ages: dict[str, float | None] = {}

    def ages(self) -> dict[str, float | None]:
        """How long the first job of each group has waited: what the store has last said, and it is
        asked now. So one in memory says how it is, and a file how it was at the last question."""

        def answered(stats: QueueStats) -> None:
            self._ages = {group.name: group.age_of_oldest for group in stats.groups}

        self.home.stats(answered)
        return self._ages

    def declare(self, options: HomeOptions) -> None:
        """It began by itself, and the program says now how it is to be kept."""
        self.is_declared = True
        self._options = options
        self.intake.flush()
        self.home.adopt(options)
        self.intake = Intake(self.home, self._host, is_slow=self.url is not None)

    def has(self, options: HomeOptions) -> bool:
        """Whether it is kept like this."""
        mine = self._options
        return all(getattr(mine, slot) == getattr(options, slot) for slot in mine.__slots__)

    def attach(self) -> None:
        """Be found. Raises NodeClosed, ConfigError for an observer."""
        host, service = self._host, service_of(self.name)

        def method(name: str, function: Any) -> Method:
            return Method(name, _answering(function), concurrency=ASKED_AT_ONCE, inline=True)

        def here() -> Any:
            return host

        for one in (
            handler_method("work", self._work, here, concurrency=MAX_WORKERS, window=STREAM_WINDOW),
            method("put", self._put),
            method("result", self._result),
            method("look", self._people.look),
            method("manage", self._people.manage),
            generator_method("tail", self._people.tail, here, concurrency=2 * TAILS, inline=True),
        ):
            host.engine.serve(service, one)

    # Producers.

    async def put(self, specs: Sequence[JobSpec]) -> Sequence[Put]:
        """Returns when they are safe. Raises QueueFull, QueueClosed, StoreFailed."""
        puts = await self.ask(self.home.put, specs)
        if isinstance(puts, MeshError):
            raise puts
        result: Sequence[Put] = puts
        return result

    async def _put(self, jobs: list[Any]) -> list[list[Any]]:
        if not isinstance(jobs, list) or not 0 < len(jobs) <= MAX_PUTS:
            raise BadRequest(f"put takes a list of 1 to {MAX_PUTS} jobs")
        return [list(put) for put in await self.put([job_of(job) for job in jobs])]

    async def _result(self, id: str, group: str | None, seconds: float) -> list[Any] | None:
        """The outcome of a job, as soon as there is one; None: not within these seconds."""
        if not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_SECONDS:
            raise BadRequest(f"seconds={seconds!r:.80}: give 0 to {MAX_SECONDS:g}")
        number = await self.number_of(id)
        if number is None:
            return told_outcome(Outcome("gone", 0, group or "", reason=FORGOTTEN))
        told = self._host.loop.create_future()

        def watcher(outcome: Outcome) -> None:
            if outcome.kind != "progress" and group in (None, outcome.group) and not told.done():
                told.set_result(outcome)

        self.home.watch(number, watcher)
        try:
            outcome = await self.outcome(number, group)
            if told.done():
                outcome = told.result()  # it has ended meanwhile
            elif outcome is None:
                async with asyncio.timeout(seconds):
                    outcome = await told
        except TimeoutError:
            return None
        finally:
            self.home.unwatch(number, watcher)
        return told_outcome(outcome)

    async def ask(self, question: Callable[..., object], *args: Any) -> Any:
        """What a home answers by a callback, now or later: one value, or the first of several."""
        self.intake.flush()  # what has been put is there
        answers: list[Any] = []
        waiter: asyncio.Future[None] | None = None

        def done(answer: Any, *more: Any) -> None:
            answers.append(answer)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

        question(*args, done)
        if not answers:
            waiter = self._queues.waiter()  # for a store that is closed does not answer
            await waiter
        return answers[0]

    async def outcome(self, number: int, group: str | None) -> Outcome | None:
        """How a job has ended; None: it has not. One of which nothing is known is gone."""
        known: Outcome | None = await self.ask(self.home.outcome, number, group)
        if known is None and not await self.ask(self.home.status, number):
            return Outcome("gone", number, group or "", reason=FORGOTTEN)
        return known

    async def number_of(self, id: Any) -> int | None:
        """The number of a job; None: none of that id is known here. Raises BadRequest."""
        if not isinstance(id, str) or len(id) > MAX_ID_CHARS:
            raise BadRequest(f"id={id!r:.80}: give the id of a job")
        number: int | None = await self.ask(self.home.number_of, id)
        return number

    # Workers.

    async def _work(self, stream: AsyncStream) -> None:
        try:
            customer = self._join(stream)
        except MeshError as error:
            error.is_answer = True
            raise
        self._ways[stream] = customer
        try:
            while True:
                for message in await stream.receive_some():
                    customer.on_message(message)
                    if stream.core.queued_bytes > MAX_UNREAD:
                        raise ValueError("it reads nothing of what it is told")
        except ValueError as error:
            stream.abort(f"it does not keep to the protocol: {error}")
        except MeshError as error:
            logger.debug("a worker of %r has gone: %s", self.name, error)
        finally:
            del self._ways[stream]
            customer.leave(has_fallen_silent(stream.core.handle))

    def _join(self, stream: AsyncStream) -> Customer:
        """Raises BadRequest for headers that make no sense."""
        headers, core = stream.headers, stream.core
        try:
            lease = lease_in(float(headers.get("lease", "")))  # before a group is made for it
            line = self.home.group(check_group(headers.get("group", "")))
            counter = self._counters.get(line)
            if counter is None:
                for gone in [group for group in self._counters if group.is_dropped]:
                    del self._counters[gone]
                counter = self._counters[line] = Counter(self.home, line, self._host.clock)
                line.on_dropped = functools.partial(self._dropped, line)
        except (ValueError, BadName) as error:
            raise BadRequest(f"a worker of {self.name!r}: {error}") from None
        pack, put = self._host.engine.streams.pack, core.put_message
        worker = headers.get("worker", "")[:MAX_TITLE_CHARS] or str(stream.peer)

        def send(message: list[Any]) -> None:
            put(pack(message))

        resume = _Resume()

        def may_send() -> bool:
            if core.queued_bytes < QUEUED_BYTES:
                return True
            if not resume.is_waiting:  # it may be asked with each job that is put
                resume.is_waiting = True
                core.when_writable(resume)
            return False

        customer = resume.customer = counter.join(worker, lease, send, may_send)
        customer.on_commit = functools.partial(self._commit, customer, core.handle)
        return customer

    def _dropped(self, line: Group) -> None:
        """A group was deleted: its workers come again, or they would wait for what never comes."""
        self._counters.pop(line, None)
        for stream, customer in list(self._ways.items()):
            if customer.line is line:
                stream.close()

    def _commit(
        self,
        customer: Customer,
        peer: Any,
        ref: int,
        number: int,
        result: bytes | None,
        wires: list[tuple[str, bytes, dict[str, Any]]],
    ) -> None:
        def then(error: MeshError | None) -> None:
            told = None if error is None else (type(error).__name__, str(error))
            customer.committed(ref, told)

        try:
            if number not in customer.holder.held:
                # Before its queues are made: who holds nothing is to change nothing here.
                raise LeaseLost(f"job {number} is not this worker's any more: nothing was put")
            self._check_may_put(peer, {queue for queue, _, _ in wires})
            puts = [
                (self._queues.keep_beside(self, queue).home, [job_of([body, options])])
                for queue, body, options in wires
            ]
            self.home.commit(customer.line, customer.holder, number, result, puts, then)
        except MeshError as error:
            then(error)

    def _check_may_put(self, peer: Any, queues: set[str]) -> None:
        """A commit is a put, too. Raises AccessDenied."""
        guard = self._host.engine.guard
        if guard is None:
            return
        for queue in queues:
            denial = guard.denial(peer, "call", f"{service_of(queue)}.put")
            if denial is not None:
                raise denial

    # The end.

    async def hand_out(self) -> None:
        """What is in memory alone is worked on, while there is somebody to do that; of what is in a
        file that which workers have."""
        self.intake.flush()
        groups = self.home.lines.values()
        if self.url is None:
            await until(
                lambda: not (self._ways and any(g.ready.count + g.reserved for g in groups))
            )
            return
        self.home.hold()
        await until(lambda: not (self._ways and any(group.reserved for group in groups)))

    def end_ways(self) -> None:
        """The streams of workers end."""
        for stream in list(self._ways):
            stream.close()

    def stop(self) -> list[str]:
        """At once; what is lost with this process, for people."""
        self.intake.flush()
        self.home.close()
        if self.url is not None:
            return []
        length = max((group.length for group in self.home.lines.values()), default=0)
        return [f"{length} jobs of {self.name!r}, which were in memory"] if length else []


def _answering(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """What a queue refuses, a full one above all, is no fault here that a log should tell of."""

    @functools.wraps(function)
    async def answer(*args: Any) -> Any:
        try:
            return await function(*args)
        except MeshError as error:
            error.is_answer = True
            raise

    return answer


class _Resume:
    """Waits for room on a stream."""

    __slots__ = ("customer", "is_waiting")
    customer: Customer

    def __init__(self) -> None:
        self.is_waiting = False

    def done(self) -> bool:
        return False

    def set_result(self, result: Any) -> None:
        self.is_waiting = False
        self.customer.resume()

    def set_exception(self, error: BaseException) -> None:
        """The stream has ended: so has its customer."""
