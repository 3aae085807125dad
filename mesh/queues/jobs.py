"""``Job`` and ``AsyncJob``: what ``put`` returns; its producer's end of a job.

A job at home here tells its handle whatever becomes of it, for as long as somebody has the handle.
One that another node keeps is asked for: its outcome must be kept there, by ``keep_result=`` or the
queue's ``keep_results=``, at least for as long as it takes to ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, overload

from mesh.logs import get_logger
from mesh.queues.views import check_types
from mesh.runtime import ThreadWaiter
from mesh.runtime.thread_codec import thread_codec
from patterns.errors import (
    BadPayload,
    MeshError,
    NodeClosed,
    NoProvider,
    Overloaded,
    PeerLost,
    Timeout,
)
from patterns.queues.errors import JobFailed, JobGone
from patterns.queues.outcome import Outcome

if TYPE_CHECKING:
    from mesh.membership import Peer
    from mesh.queues.faces import AsyncQueue, Queue
    from patterns.queues.handles import Handles
    from patterns.queues.jobspec import NewPuts

__all__ = ["AsyncJob", "AsyncJobs", "Job", "JobStatus", "Jobs", "Progress", "status_of"]

logger = get_logger("mesh.queues")

ASK_FOR = 20.0
"""Seconds for which a home is asked at a time to wait for an outcome."""


ASK_AGAIN = 1.0
"""Seconds, about, until a home is asked again that has too many who ask."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: ``done`` of ``of``, and what its worker said beside that."""

    done: int
    of: int
    data: Any = None


@dataclass(frozen=True, slots=True)
class JobStatus:
    """Where a job is, in one group of workers.

    ``state``     "ready", "delayed", "reserved" (a worker has it), "dead" or "done"
    ``attempts``  how often it was handed out
    ``reason``    why it came back last, or is dead
    ``put_at``    when it was put; aware, UTC; None when only its outcome is left
    """

    state: str
    group: str
    attempts: int
    reason: str
    put_at: datetime | None


class AsyncJob:
    """A job that was put. ``id`` names it, also after a restart (``queue.job(id)``); ``is_new`` is
    False where another was the same already, by ``unique=`` or ``id=``."""

    __slots__ = (
        "__weakref__",
        "_home",
        "_is_told",
        "_on_done",
        "_on_progress",
        "_outcomes",
        "_progress",
        "_waiters",
        "id",
        "is_new",
        "queue",
    )

    def __init__(
        self, queue: AsyncQueue, id: str, is_new: bool, home: Peer | None, *, is_told: bool = False
    ) -> None:
        self.queue = queue
        self.id = id
        self.is_new = is_new
        self._home = home
        """The other node that keeps it, as far as that is known."""
        self._is_told = is_told
        """Whether it is at home here, and hears what becomes of it."""
        # Of most jobs nobody asks what becomes of them: there is no list before there is a need.
        self._outcomes: dict[str, Outcome] | None = None
        """By group."""
        self._progress: Progress | None = None
        self._waiters: set[asyncio.Future[None]] | None = None
        self._on_done: list[Callable[[AsyncJob], object]] | None = None
        self._on_progress: list[Callable[[Progress], object]] | None = None

    # What its home tells, on the loop's thread.

    def tell(self, outcome: Outcome) -> None:
        """Something has become of it."""
        if outcome.kind == "progress":
            self._progress = progress = _progress_of(outcome)
            for on_progress in self._on_progress or ():
                _call(on_progress, progress)
            return
        if self._outcomes is None:
            self._outcomes = {}
        self._outcomes[outcome.group] = outcome
        for waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_result(None)
        on_done, self._on_done = self._on_done, None
        for call in on_done or ():
            _call(call, self)

    def asks_itself(self) -> None:
        """Nobody will tell what becomes of it: it has to be asked for."""
        self._is_told = False

    # For its producer.

    @property
    def progress(self) -> Progress | None:
        """What its worker said last; None: nothing as yet."""
        return self._progress

    def on_progress(self, call: Callable[[Progress], object]) -> None:
        """Call a function on the loop's thread whenever its worker tells how far it is."""
        if self._on_progress is None:
            self._on_progress = []
        self._on_progress.append(call)

    def on_done(self, call: Callable[[AsyncJob], object]) -> None:
        """Call a function on the loop's thread when it has ended: done, dead or gone.

        Another node that keeps it is asked. When that is gone it is not called, which is logged.
        """
        if self._outcomes:
            _call(call, self)
            return
        if self._on_done is None:
            self._on_done = []
            if not self._is_told:
                self.queue.node.host.spawn(self._ask, ThreadWaiter())
        self._on_done.append(call)

    async def _ask(self) -> None:
        """What has become of it, for who does not wait."""
        try:
            await self._outcome(None)
        except JobGone as gone:
            self.tell(Outcome("gone", 0, "", reason=str(gone)))
        except NodeClosed:
            return
        except MeshError as error:
            self._on_done = None
            logger.warning("nobody knows what became of job %s: %s", self.id, error)

    async def result(self, timeout: float | None = None, *, group: str | None = None) -> Any:
        """What its handler returned, as soon as that is there.

        ``group`` is needed where several groups of workers have copies. Raises JobFailed when it
        was given up, JobGone when it ended and its outcome is not kept, was deleted or has expired,
        BadPayload when it cannot be decoded here, and Timeout.
        """
        try:
            async with asyncio.timeout(timeout):
                outcome = await self._outcome(group)
        except TimeoutError:
            raise Timeout(f"the job {self.id} has not ended within {timeout:g} s") from None
        if outcome.kind == "dead":
            raise JobFailed(
                f"the job {self.id} of {self.queue.name!r} was given up: {outcome.reason}",
                outcome.reason,
                outcome.attempts,
            )
        if outcome.kind == "gone":
            raise JobGone(f"the job {self.id} of {self.queue.name!r} was {outcome.reason}")
        if outcome.packed is None:
            return None
        try:
            return thread_codec().unpack_all(outcome.packed, 1)[0]
        except (ValueError, IndexError) as error:
            raise BadPayload(f"the result of {self.id} cannot be decoded: {error}") from None

    async def _outcome(self, group: str | None) -> Outcome:
        while True:
            ended = self._outcomes
            if ended and (group is None or group in ended):
                return next(iter(ended.values())) if group is None else ended[group]
            if not self._is_told and self._home is None:
                await self._find()
            elif self._home is not None:
                try:
                    outcome = await self.queue.ask_outcome(self.id, self._home, group, ASK_FOR)
                except Overloaded:  # too many ask for outcomes there
                    await asyncio.sleep(ASK_AGAIN * (0.5 + self.queue.node.host.random.random()))
                    continue
                except (NoProvider, PeerLost):
                    self._home = None  # who asks again looks for it anew
                    raise
                if outcome is not None:
                    self.tell(outcome)
            else:
                await self._next_end()

    async def _next_end(self) -> None:
        waiter = self.queue.node.queues.waiter()
        if self._waiters is None:
            self._waiters = set()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def _find(self) -> None:
        """Who keeps it, or its outcome. Raises JobGone."""
        keeper = self.queue.keeper_here
        number = None if keeper is None else await keeper.number_of(self.id)
        if keeper is None or number is None:
            self._home = await self.queue.home_of(self.id)
        elif not self._is_told:  # two may ask at once
            keeper.intake.follow(number, self)
            self._is_told = True

    async def status(self) -> list[JobStatus]:
        """Where it is, in each group of workers; empty when nothing is known of it any more."""
        return await self.queue.ask_status(self.id)

    async def cancel(self) -> bool:
        """Delete it, whatever it does; returns whether it was there. A worker that has it is told:
        what that does is in vain."""
        return await self.queue.delete(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} of {self.queue.name!r}>"


class AsyncJobs(Sequence[AsyncJob]):
    """Jobs that were put together. Their handles are made, all of them, when one is looked at: then
    each hears for itself, and has heard what was to be heard so far."""

    __slots__ = ("__weakref__", "_early", "_handles", "_made", "_progress", "_puts", "_queue")

    def __init__(self, queue: AsyncQueue, puts: NewPuts, handles: Handles) -> None:
        self._queue = queue
        self._puts = puts
        self._handles = handles
        self._early: list[Outcome] = []
        self._progress: dict[int, Outcome] = {}
        self._made: list[AsyncJob] | None = None

    def tell(self, outcome: Outcome) -> None:
        """Something has become of one of them."""
        if outcome.kind == "progress":
            self._progress[outcome.number] = outcome  # there may be any number; the last one counts
        else:
            self._early.append(outcome)

    def all(self) -> list[AsyncJob]:
        """The handles; on the loop's thread."""
        made = self._made
        if made is None:
            made = self._made = []
            numbers, add = self._puts.numbers, self._handles.add
            for number, id, _ in self._puts:
                job = AsyncJob(self._queue, id, True, None, is_told=True)
                add(number, job)
                made.append(job)
            self._handles.drop_batch(numbers.start)
            progress, self._progress = self._progress, {}
            early, self._early = self._early, []
            for outcome in [*progress.values(), *early]:
                made[outcome.number - numbers.start].tell(outcome)
        return made

    def __len__(self) -> int:
        return len(self._puts)

    @overload
    def __getitem__(self, index: int) -> AsyncJob: ...
    @overload
    def __getitem__(self, index: slice) -> list[AsyncJob]: ...
    def __getitem__(self, index: int | slice) -> AsyncJob | list[AsyncJob]:
        return self.all()[index]

    def __iter__(self) -> Iterator[AsyncJob]:
        return iter(self.all())

    def __repr__(self) -> str:
        return f"<{len(self)} jobs of {self._queue.name!r}>"


class Job:
    """A job that was put, for threads; see ``AsyncJob``."""

    __slots__ = ("_job", "queue")

    def __init__(self, queue: Queue, job: AsyncJob) -> None:
        self.queue = queue
        self._job = job

    @property
    def id(self) -> str:
        """Names it, also after a restart (``queue.job(id)``)."""
        return self._job.id

    @property
    def is_new(self) -> bool:
        """False where another was the same already, by ``unique=`` or ``id=``."""
        return self._job.is_new

    @property
    def progress(self) -> Progress | None:
        """What its worker said last; None: nothing as yet."""
        return self._job.progress

    def on_progress(self, call: Callable[[Progress], object]) -> None:
        """Call a function on the loop's thread whenever its worker tells how far it is."""
        self.queue.on_loop(self._job.on_progress, call)

    def on_done(self, call: Callable[[Job], object]) -> None:
        """Call a function on the loop's thread when it has ended: done, dead or gone."""
        self.queue.on_loop(self._job.on_done, lambda _: call(self))

    def result(self, timeout: float | None = None, *, group: str | None = None) -> Any:
        """What its handler returned, as soon as that is there. Raises as ``AsyncJob.result``."""
        return self.queue.wait("job(id).result", lambda: self._job.result(timeout, group=group))

    def status(self) -> list[JobStatus]:
        """Where it is, in each group of workers; empty when nothing is known of it any more."""
        statuses: list[JobStatus] = self.queue.wait("job(id).status", self._job.status)
        return statuses

    def cancel(self) -> bool:
        """Delete it, whatever it does; returns whether it was there."""
        return bool(self.queue.wait("job(id).cancel", self._job.cancel))

    def __repr__(self) -> str:
        return f"<Job {self.id} of {self.queue.name!r}>"


class Jobs(Sequence[Job]):
    """Jobs that were put together, for threads; see ``AsyncJobs``."""

    __slots__ = ("_jobs", "_made", "_queue")

    def __init__(self, queue: Queue, jobs: Sequence[AsyncJob]) -> None:
        self._queue = queue
        self._jobs = jobs
        self._made: list[Job] | None = None

    def _all(self) -> list[Job]:
        if self._made is None:
            jobs = self._queue.on_loop(list, self._jobs)
            self._made = [Job(self._queue, job) for job in jobs]
        return self._made

    def __len__(self) -> int:
        return len(self._jobs)

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> list[Job]: ...
    def __getitem__(self, index: int | slice) -> Job | list[Job]:
        return self._all()[index]

    def __iter__(self) -> Iterator[Job]:
        return iter(self._all())

    def __repr__(self) -> str:
        return f"<{len(self)} jobs of {self._queue.name!r}>"


def _progress_of(outcome: Outcome) -> Progress:
    done, of, packed = outcome.progress or (0, 0, None)
    data = None
    if packed is not None:
        try:
            data = thread_codec().unpack_all(packed, 1)[0]
        except Exception as error:  # noqa: BLE001  a registered decoder may raise anything
            logger.warning("what was told of the progress of a job cannot be decoded: %s", error)
    return Progress(done, of, data)


def status_of(told: list[Any]) -> JobStatus:
    """As a home has told it. Raises ValueError, TypeError and such for what is none."""
    state, group, attempts, reason, put_ms = told
    check_types((state, group, reason), attempts)
    put_at = None if put_ms is None else datetime.fromtimestamp(put_ms / 1000, UTC)
    return JobStatus(state, group, attempts, reason, put_at)


def _call(function: Callable[[Any], object], *args: Any) -> None:
    try:
        function(*args)
    except Exception:
        logger.exception("a callback of a job raised")
