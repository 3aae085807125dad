"""``Intake``: how jobs come into a queue that is at home here, and their producers' ends.

Surprise: where a put waits for the disk, those of one turn of the loop go to the home together at
its end. They would be one commit anyway; so they cost what one costs. Where the queue may be full
each goes alone, for there may be room for some.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mesh.queues.jobs import AsyncJob, AsyncJobs
from patterns.errors import MeshError, Overloaded
from patterns.port import Waiter
from patterns.queues.handles import Follower
from patterns.queues.jobspec import Alike, JobSpec, NewPuts, Put

if TYPE_CHECKING:
    from mesh.host import Host
    from mesh.queues.faces import AsyncQueue
    from patterns.queues.home import Home

__all__ = ["Intake"]

Single = tuple["AsyncQueue", bytes, Waiter]


class Intake:
    """Of one home; on the loop's thread. ``is_slow``: whether a put waits for the disk."""

    def __init__(self, home: Home, host: Host, is_slow: bool) -> None:
        self._home = home
        self._host = host
        self._is_gathering = is_slow and home.options.max_length is None
        self._gathered: list[Single] = []
        self._like: JobSpec | None = None
        """How those that are gathered are."""
        self._is_slow = is_slow
        self._under_way: dict[int, list[Waiter]] = {}
        """Who waits for the disk, by a number of each put."""
        self._puts = 0

    async def put(self, queue: AsyncQueue, specs: Alike) -> Sequence[AsyncJob]:
        """Returns when they are safe. Raises QueueFull, QueueClosed, StoreFailed."""
        if self._is_gathering:
            waiter: asyncio.Future[Sequence[AsyncJob]] = self._host.loop.create_future()
            self.begin(queue, specs, waiter)
            return await waiter
        end = _End(self._host.loop)
        self.begin(queue, specs, end)
        return end.jobs or await end.wait()

    def begin(self, queue: AsyncQueue, specs: Alike, waiter: Waiter) -> None:
        """``waiter`` gets their producer's ends when they are safe, or the error. Raises QueueFull
        and QueueClosed."""
        like = specs.like
        if self._is_gathering and len(specs.bodies) == 1 and not like.is_named:
            self._home.check_open()
            if self._like is not like:
                self.flush()
                self._like = like
            if not self._gathered:
                self._host.clock.call_soon(self.flush)
            self._gathered.append((queue, specs.bodies[0], waiter))
            return
        self.flush()
        this = self._begun([waiter])

        def then(puts: Sequence[Put] | MeshError) -> None:
            self._under_way.pop(this, None)
            # At once: what becomes of them must not be missed.
            if waiter.done():
                return
            if isinstance(puts, MeshError):
                waiter.set_exception(puts)
            else:
                waiter.set_result(self._handles(queue, puts))

        try:
            self._home.put(specs, then)
        except MeshError:
            self._under_way.pop(this, None)
            raise

    def _begun(self, waiters: list[Waiter]) -> int:
        self._puts += 1
        if self._is_slow:
            self._under_way[self._puts] = waiters
        return self._puts

    def give_up(self, error: MeshError) -> None:
        """The disk does not answer, and the loop is about to end: so nobody waits for ever."""
        under_way, self._under_way = self._under_way, {}
        for waiters in under_way.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error)

    def flush(self) -> None:
        """What was gathered goes to the home: before others, so all have the order in which they
        were put."""
        like, gathered = self._like, self._gathered
        if like is None or not gathered:
            return
        self._gathered = []
        this = self._begun([waiter for _, _, waiter in gathered])

        def then(puts: Sequence[Put] | MeshError) -> None:
            self._under_way.pop(this, None)
            if isinstance(puts, MeshError):
                _refuse(gathered, puts)
                return
            add = self._home.outcomes.handles.add
            for (queue, _, waiter), (number, id, _) in zip(gathered, puts, strict=True):
                if not waiter.done():
                    job = AsyncJob(queue, id, True, None, is_told=True)
                    add(number, job)
                    waiter.set_result((job,))

        try:
            self._home.put(Alike([body for _, body, _ in gathered], like), then)
        except MeshError as error:
            self._under_way.pop(this, None)
            _refuse(gathered, error)

    def _handles(self, queue: AsyncQueue, puts: Sequence[Put]) -> Sequence[AsyncJob]:
        handles = self._home.outcomes.handles
        if type(puts) is NewPuts:
            numbers = puts.numbers
            if len(numbers) > 1:
                many = AsyncJobs(queue, puts, handles)
                handles.add_batch(numbers, many)
                return many
            job = AsyncJob(queue, self._home.id_of(numbers[0]), True, None, is_told=True)
            handles.add(numbers[0], job)
            return (job,)
        jobs = []
        for number, id, is_new in puts:
            job = AsyncJob(queue, id, is_new, None, is_told=True)
            if is_new:
                handles.add(number, job)
            else:
                try:
                    self.follow(number, job)
                except Overloaded:
                    job.asks_itself()  # and is told so then
            jobs.append(job)
        return jobs

    def follow(self, number: int, job: AsyncJob) -> None:
        """A handle hears what becomes, or has become, of its job; while somebody has it. Raises
        Overloaded."""
        self._home.outcomes.follow(number, Follower(job))


def _refuse(gathered: list[Single], error: MeshError) -> None:
    for _, _, waiter in gathered:
        if not waiter.done():
            waiter.set_exception(error)


class _End:
    """What became of a put, for a task that waits only if it must: in memory it is there at
    once."""

    __slots__ = ("_loop", "_waiter", "error", "jobs")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self.jobs: Sequence[AsyncJob] = ()
        self.error: BaseException | None = None

    async def wait(self) -> Sequence[AsyncJob]:
        if self.error is None:
            self._waiter = self._loop.create_future()
            await self._waiter
        if self.error is not None:
            raise self.error
        return self.jobs

    def done(self) -> bool:
        return self._waiter is not None and self._waiter.done()

    def set_result(self, jobs: Sequence[AsyncJob]) -> None:
        self.jobs = jobs
        self._wake()

    def set_exception(self, error: BaseException) -> None:
        self.error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            self._waiter.set_result(None)
