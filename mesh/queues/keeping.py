"""``Keeper``: one queue at home at a running node, and what others may ask of it.

It serves the service ``_queue-NAME``: ``work``, the stream of each worker; ``put`` and ``result``
for producers elsewhere; ``look`` and ``manage`` for people; ``tail``, what happens.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from mesh.logs import get_logger
from mesh.queues.jobs import AsyncJob
from mesh.queues.specs import MAX_JOB_BYTES, job_of
from mesh.queues.views import STATES, told_outcome, told_stats, told_status, told_view
from mesh.streaming import generator_method, handler_method
from mesh.tunnels import AsyncStream
from patterns.errors import BadName, BadRequest, MeshError
from patterns.queues.counter import Counter, Customer
from patterns.queues.group import Group
from patterns.queues.home import Home
from patterns.queues.jobspec import HomeOptions, JobSpec, Put
from patterns.queues.naming import check_group, service_of
from patterns.queues.outcomes import Outcome
from patterns.queues.stores import Store
from patterns.queues.ticket import State
from patterns.rpc.method import Method
from patterns.streams.stream import QUEUED_BYTES

if TYPE_CHECKING:
    from mesh.queues.queue import AsyncQueue
    from mesh.queues.registry import Queues

__all__ = ["Keeper"]

logger = get_logger("mesh.queues")

MAX_PUT = 1000
"""Jobs of one call of ``put``."""

MAX_PEEK = 1000
"""Jobs that are shown at once."""

MAX_SECONDS = 30.0
"""For which one question for an outcome waits."""

ASKED_AT_ONCE = 4096
"""Calls of each kind that wait for the store, or for outcomes."""

MAX_WORKERS = 4096
"""Streams of workers."""

TAILS = 16
"""Who look on at once; each has up to ``TAIL_EVENTS`` that it has not read, older ones give way."""

TAIL_EVENTS = 10_000

MAX_ID_CHARS = 255
MAX_TITLE_CHARS = 200

FORGOTTEN = "forgotten: it ended, and its outcome was not to be kept (keep_result=)"

LOOK_AGAIN = 0.02
"""Seconds between two looks at whether all is handed out."""


class Keeper:
    """See above. On the loop's thread."""

    def __init__(
        self,
        queues: Queues,
        name: str,
        url: str | None,
        store: Store,
        groups: Sequence[str],
        options: HomeOptions,
    ) -> None:
        self._queues = queues
        self._host = queues.host
        self.name = name
        self.url = url
        self._options = options
        self.home = Home(name, store, queues.host.clock, options)
        self.home.open(groups)
        self._counters: dict[Group, Counter] = {}
        self._ways: set[AsyncStream] = set()
        self._tails: set[Tail] = set()
        self._handles: weakref.WeakValueDictionary[int, AsyncJob] = weakref.WeakValueDictionary()

    def has(self, options: HomeOptions) -> bool:
        """Whether it is kept like this."""
        mine = self._options
        return all(getattr(mine, slot) == getattr(options, slot) for slot in mine.__slots__)

    def attach(self) -> None:
        """Be found. Raises NodeClosed, ConfigError for an observer."""
        host, service = self._host, service_of(self.name)

        def method(name: str, function: Any) -> Method:
            return Method(name, function, concurrency=ASKED_AT_ONCE, inline=True)

        def here() -> Any:
            return host

        for one in (
            handler_method("work", self._work, here, concurrency=MAX_WORKERS, window=None),
            method("put", self._put),
            method("result", self._result),
            method("look", self._look),
            method("manage", self._manage),
            generator_method("tail", self._tail, here, concurrency=TAILS, inline=True),
        ):
            host.engine.serve(service, one)

    # Producers.

    async def put(self, specs: Sequence[JobSpec]) -> Sequence[Put]:
        """Returns when they are safe. Raises QueueFull, QueueClosed, StoreFailed."""
        puts = await self._ask(self.home.put, specs)
        if isinstance(puts, MeshError):
            raise puts
        result: Sequence[Put] = puts
        return result

    def handles(self, queue: AsyncQueue, puts: Sequence[Put]) -> list[AsyncJob]:
        """Their producer's ends, which hear what becomes of them."""
        jobs = []
        for number, id, is_new in puts:
            job = AsyncJob(queue, id, number, is_new, None)
            self._handles[number] = job
            jobs.append(job)
        return jobs

    async def _put(self, jobs: list[Any]) -> list[list[Any]]:
        if not isinstance(jobs, list) or not 0 < len(jobs) <= MAX_PUT:
            raise BadRequest(f"put takes a list of 1 to {MAX_PUT} jobs")
        return [list(put) for put in await self.put([job_of(job) for job in jobs])]

    async def _result(self, id: str, group: str | None, seconds: float) -> list[Any] | None:
        """The outcome of a job, as soon as there is one; None: not within these seconds."""
        if not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_SECONDS:
            raise BadRequest(f"seconds={seconds!r:.80}: give 0 to {MAX_SECONDS:g}")
        number = await self._number(id)
        if number is None:
            return told_outcome(Outcome("gone", 0, group or "", reason=FORGOTTEN))
        told = self._host.loop.create_future()

        def watcher(outcome: Outcome) -> None:
            if outcome.kind != "progress" and group in (None, outcome.group) and not told.done():
                told.set_result(outcome)

        self.home.watch(number, watcher)
        try:
            outcome = await self.outcome(number, group)
            if outcome is None:
                async with asyncio.timeout(seconds):
                    outcome = await told
        except TimeoutError:
            return None
        finally:
            self.home.unwatch(number, watcher)
        return told_outcome(outcome)

    async def outcome(self, number: int, group: str | None) -> Outcome | None:
        """How a job has ended; None: it has not. One of which nothing is known is gone."""
        known: Outcome | None = await self._ask(self.home.outcome, number, group)
        if known is None and not await self._ask(self.home.status, number):
            return Outcome("gone", number, group or "", reason=FORGOTTEN)
        return known

    async def number_of(self, id: str) -> int | None:
        """The number of a job; None: none of that id is known here."""
        return await self._number(id)

    async def _number(self, id: Any) -> int | None:
        if not isinstance(id, str) or len(id) > MAX_ID_CHARS:
            raise BadRequest(f"id={id!r:.80}: give the id of a job")
        number: int | None = await self._ask(self.home.number_of, id)
        return number

    # Workers.

    async def _work(self, stream: AsyncStream) -> None:
        customer = self._join(stream)
        self._ways.add(stream)
        try:
            while True:
                for message in await stream.receive_some():
                    customer.on_message(message)
        except ValueError as error:
            stream.abort(f"it does not keep to the protocol: {error}")
        except MeshError as error:
            logger.debug("a worker of %r has gone: %s", self.name, error)
        finally:
            self._ways.discard(stream)
            customer.leave(self._host.engine.has_fallen_silent(stream.core.handle))

    def _join(self, stream: AsyncStream) -> Customer:
        """Raises BadRequest for headers that make no sense."""
        headers, core = stream.headers, stream.core
        try:
            lease = float(headers.get("lease", ""))
            line = self.home.group(check_group(headers.get("group", "")))
            counter = self._counters.get(line)
            if counter is None:
                counter = self._counters[line] = Counter(self.home, line, self._host.clock)
        except (ValueError, BadName) as error:
            raise BadRequest(f"a worker of {self.name!r}: {error}") from None
        pack, put = self._host.engine.streams.pack, core.put_message
        worker = headers.get("worker", "")[:MAX_TITLE_CHARS] or str(stream.peer)

        def send(message: list[Any]) -> None:
            put(pack(message))

        def may_send() -> bool:
            if core.queued_bytes < QUEUED_BYTES:
                return True
            core.when_writable(_Resume(customer))
            return False

        customer = counter.join(worker, lease, send, may_send)
        customer.on_commit = functools.partial(self._commit, customer)
        return customer

    def _commit(
        self,
        customer: Customer,
        ref: int,
        number: int,
        result: bytes | None,
        wires: list[tuple[str, bytes, dict[str, Any]]],
    ) -> None:
        def then(error: MeshError | None) -> None:
            told = None if error is None else (type(error).__name__, str(error))
            customer.committed(ref, told)

        try:
            puts = [
                (self._queues.keep_beside(self, queue).home, [job_of([body, options])])
                for queue, body, options in wires
            ]
            self.home.commit(customer.line, customer.holder, number, result, puts, then)
        except MeshError as error:
            then(error)

    # People.

    async def _look(self, what: str, *args: Any) -> Any:
        match what, args:
            case "stats", ():
                return told_stats(await self._ask(self.home.stats))
            case "peek", (str(state), int(limit), None | str() as group) if state in STATES:
                return await self._peek(STATES[state], limit, group)
            case "status", (id,):
                number = await self._number(id)
                if number is None:
                    return []
                offset = self.home.offset_ms
                statuses = await self._ask(self.home.status, number)
                return [told_status(one, offset) for one in statuses]
        raise BadRequest(f"{what!r:.80} is no question to a queue, or not with {len(args)} such")

    async def _peek(self, state: State, limit: int, group: str | None) -> list[list[Any]]:
        if not 0 < limit <= MAX_PEEK:
            raise BadRequest(f"limit={limit}: give 1 to {MAX_PEEK}")
        told = []
        for of in self.home.people.groups(group):
            tickets = await self._ask(self.home.people.peek, of.name, state, None, limit)
            for ticket in tickets:
                extra = ticket.extra
                id = (extra and extra.id) or self.home.id_of(ticket.number)
                told.append(told_view(ticket, id, of.name, self.home.offset_ms))
        return told

    async def _manage(self, what: str, *args: Any) -> Any:
        home = self.home
        people = home.people
        match what, args:
            case "pause", (None | str() as group,):
                return home.pause(group)
            case "resume", (None | str() as group,):
                return home.resume(group)
            case "drain", ():
                return home.drain()
            case "undrain", ():
                return home.undrain()
            case "empty", (None | str() as group,):
                return await self._ask(people.empty, group)
            case "purge", (None | str() as group,):
                return await self._ask(people.purge, group)
            case "kick", (None | str() as group, int(most)):
                return await self._ask(people.kick, group, most)
            case "kick", (None, str(id)):
                return int(await self._of(id, people.kick_one))
            case "delete", (str(id),):
                return await self._of(id, people.delete)
            case "edit", (None | str() as group, str(id), bytes(body)):
                if len(body) > MAX_JOB_BYTES:
                    raise BadRequest(f"a job of {len(body)} bytes: at most {MAX_JOB_BYTES}")
                number = await self._number(id)
                return number is not None and await self._ask(people.edit, group, number, body)
        raise BadRequest(
            f"{what!r:.80} is nothing to do with a queue, or not with {len(args)} such"
        )

    async def _of(self, id: str, do: Any) -> bool:
        number = await self._number(id)
        return number is not None and await self._ask(do, number)

    async def _tail(self) -> AsyncIterator[list[Any]]:
        """What happens, as it happens: [event, group, id, detail]; "missed" for what was too much
        to be told."""
        tail = Tail(self._host.loop)
        self._tails.add(tail)
        self.home.on_event = self._on_event
        try:
            while True:
                for event in await tail.take():
                    yield event
        finally:
            self._tails.discard(tail)
            if not self._tails:
                self.home.on_event = None

    def _on_event(self, event: str, group: str, number: int, detail: str) -> None:
        told = [event, group, self.home.id_of(number), detail]
        for tail in self._tails:
            tail.put(told)

    # The end.

    async def hand_out(self) -> None:
        """What is in memory alone is worked on, while there is somebody to do that."""
        if self.url is not None:
            return
        while self._ways and any(group.length for group in self.home.lines.values()):
            await asyncio.sleep(LOOK_AGAIN)

    def end_ways(self) -> None:
        """The streams of workers end."""
        for stream in list(self._ways):
            stream.close()

    def stop(self) -> list[str]:
        """At once; what is lost with this process, for people."""
        self.home.close()
        if self.url is not None:
            return []
        length = max((group.length for group in self.home.lines.values()), default=0)
        return [f"{length} jobs of {self.name!r}, which were in memory"] if length else []


class Tail:
    """Events for one who looks on; the oldest give way."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events: deque[list[Any]] = deque(maxlen=TAIL_EVENTS)
        self._missed = 0
        self._waiter: asyncio.Future[None] | None = None

    def put(self, event: list[Any]) -> None:
        """Tell an event."""
        if len(self._events) == TAIL_EVENTS:
            self._missed += 1
        self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> list[list[Any]]:
        """What there is, at least one."""
        if not self._events:
            self._waiter = self._loop.create_future()
            await self._waiter
        events = list(self._events)
        self._events.clear()
        if self._missed:
            events.insert(0, ["missed", "", "", str(self._missed)])
            self._missed = 0
        return events


class _Resume:
    """Waits for room on a stream."""

    __slots__ = ("_customer",)

    def __init__(self, customer: Customer) -> None:
        self._customer = customer

    def done(self) -> bool:
        return False

    def set_result(self, result: Any) -> None:
        self._customer.resume()

    def set_exception(self, error: BaseException) -> None:
        """The stream has ended: so has its customer."""
