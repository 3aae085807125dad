"""``AsyncQueue`` and ``Queue``: what ``node.queue("emails")`` is.

Jobs are put at home here, or where ``hosts=`` says. All else is of the whole queue: its homes are
asked, this node among them, and what they say is put together.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Unpack

from mesh.queues.asking import ask_all, ask_one, nobody, understood
from mesh.queues.jobs import AsyncJob, Job, Jobs, JobStatus, status_of
from mesh.queues.options import PutOptions
from mesh.queues.specs import make_like, make_specs, wire_of
from mesh.queues.views import (
    JobView,
    QueueStats,
    check_types,
    gather_stats,
    outcome_of,
    view_of,
)
from mesh.runtime import ThreadWaiter
from mesh.runtime.thread_codec import thread_codec
from patterns.errors import BadRequest, ConfigError, MeshError, NoProvider
from patterns.queues.checks import MAX_PUTS
from patterns.queues.errors import JobGone
from patterns.queues.jobspec import Alike
from patterns.queues.naming import ANY_HOME, check_queue, service_of
from patterns.queues.options import check_whole
from patterns.queues.outcomes import Outcome
from patterns.queues.people import MAX_PEEK
from patterns.queues.ticket import STATES

if TYPE_CHECKING:
    from mesh.aio import AsyncNode
    from mesh.membership import Peer
    from mesh.node import Node
    from mesh.queues.keeping import Keeper

__all__ = ["AsyncQueue", "Queue"]

ASK_TIMEOUT = 5.0
"""Seconds for a home to answer: to put is to write to a disk."""


class AsyncQueue:
    """A work queue, as one node has it. See ``AsyncNode.queue``."""

    def __init__(self, node: AsyncNode, name: str, hosts: str | None) -> None:
        self.node = node
        self.name = check_queue(name)
        self._hosts = hosts
        self.timeout = ASK_TIMEOUT
        """Seconds for a home to answer."""

    @property
    def keeper(self) -> Keeper:
        """The queue at home here. Raises ConfigError where it is not, NodeClosed."""
        keeper = self.keeper_here
        if keeper is None:
            raise ConfigError(f"the queue {self.name!r} is kept by other nodes")
        return keeper

    @property
    def keeper_here(self) -> Keeper | None:
        """The same; None where it is not."""
        return self.node.queues.keepers.get(self.name)

    @property
    def is_hosted(self) -> bool:
        """Whether others keep what is put."""
        return self._hosts is not None

    def __repr__(self) -> str:
        where = f" at {self._hosts}" if self._hosts else ""
        return f"<{type(self).__name__} {self.name!r}{where} of {self.node.name}>"

    # Jobs.

    async def put(self, data: Any = None, **options: Unpack[PutOptions]) -> AsyncJob:
        """Put one job; returns when it is safe: in memory here, or on the disk (``store=``).

        ``priority``    0, the most urgent, to 2**32 - 1 (1024); first in first out inside one
        ``delay``       seconds for which it is not handed out; or ``at``, an aware datetime, until
                        when
        ``ttl``         seconds after which it is of no use any more, and gone
        ``unique``      a name: while one of that name is queued or runs, this is that one
        ``key``         jobs of one key are handed out one by one, in order; with ``hosts=`` it says
                        which of them
        ``id``          its name, for ``queue.job(id)``; another of that id within the queue's
                        ``dedup=`` seconds is the same job
        ``keep_result`` seconds for which its outcome is kept
        ``headers``     ``dict[str, str]`` for its worker

        At least once: whoever has it and dies, or is cut off, has it in vain, and it is handed out
        again. Raises BadPayload, PayloadTooLarge (1 MiB), QueueFull, QueueClosed, StoreFailed: then
        it is not put. With ``hosts=`` as a call does; after CallTimeout and PeerLost it may have
        been put, and ``id=`` makes it safe to put it again.
        """
        body = thread_codec().pack(data)
        like = make_like(body, self._now, options)
        if self._hosts is not None:
            return (await self._put_there(Alike((body,), like), options))[0]
        return await self.keeper.intake.put(self, body, like)

    async def put_many(
        self, data: Iterable[Any], **options: Unpack[PutOptions]
    ) -> Sequence[AsyncJob]:
        """Put several jobs with the same options, in one commit: all of them or none.

        Their handles are made when one is looked at; until then what becomes of the jobs is kept
        for as long as you have the sequence.
        """
        bodies = list(map(thread_codec().pack, data))
        if not bodies:
            return []
        specs = make_specs(bodies, self._now, options)
        if self._hosts is not None:
            return await self._put_there(specs, options)
        return await self.keeper.intake.put_many(self, specs)

    def _now(self) -> datetime:
        return self.node.host.wall_clock()

    async def _put_there(self, specs: Alike, options: Mapping[str, Any]) -> list[AsyncJob]:
        if len(specs) > MAX_PUTS:
            raise ConfigError(f"{len(specs)} jobs for other nodes: at most {MAX_PUTS} at once")
        names = (options.get(name) for name in ("key", "unique", "id"))
        key = next((name for name in names if name is not None), None)
        if key is None:
            key = self.node.host.random.getrandbits(64)
        wires = [wire_of(spec) for spec in specs]
        where = "" if self._hosts == ANY_HOME else f" among the nodes of {self._hosts!r}"
        failure: MeshError = nobody(self.name, where)
        for home in await self._owners(key):
            try:
                puts = await ask_one(
                    self.node, self.name, "put", wires, peer=home, timeout=self.timeout
                )
            except NoProvider as error:  # it has just left
                failure = error
                continue
            return understood(self.name, functools.partial(self._handles, puts, len(wires), home))
        raise failure

    def _handles(self, puts: list[Any], count: int, home: Peer) -> list[AsyncJob]:
        """Of what was put there. Raises ValueError, TypeError for what is no answer to that."""
        jobs = [AsyncJob(self, id, is_new, home) for _, id, is_new in puts]
        check_types([job.id for job in jobs])
        if len(jobs) != count:
            raise ValueError(f"{len(jobs)} answers for {count} jobs")
        return jobs

    async def _owners(self, key: Any) -> list[Peer]:
        """Homes among the hosts, the best for a key first; waits a while for one to be there."""
        service = service_of(self.name)
        hosts = service if self._hosts in (None, ANY_HOME) else self._hosts
        queues = self.node.queues
        for _ in range(50):
            try:
                owners = self.node.owners(hosts, key)
            except NoProvider:
                owners = []
            owners = [peer for peer in owners if service in peer.services]
            if owners or not queues.is_young:
                break
            await asyncio.sleep(0.02)
        return owners

    def job(self, id: str) -> AsyncJob:
        """The handle of a job by its id, also after a restart. It may be there, or not."""
        return AsyncJob(self, id, False, None)

    # The queue.

    async def stats(self) -> QueueStats:
        """How it is, at all of its homes together."""
        told = await self._look("stats")
        return understood(self.name, lambda: gather_stats(self.name, told))

    async def peek(
        self, state: str = "ready", limit: int = 10, *, group: str | None = None
    ) -> list[JobView]:
        """The first jobs in a state ("ready", "delayed", "reserved", "dead"), without taking them:
        up to ``limit`` of each home."""
        if state not in STATES:
            raise ConfigError(f"state={state!r:.80}: it is one of {', '.join(STATES)}")
        if check_whole("limit", limit) > MAX_PEEK:
            raise ConfigError(f"limit={limit}: at most {MAX_PEEK}")
        return await self._views("peek", state, limit, group)

    async def show(self, id: str) -> list[JobView]:
        """One job, in each group of workers that has not done it; empty: there is none."""
        return await self._views("show", id)

    async def _views(self, *what: Any) -> list[JobView]:
        told = await self._look(*what)
        return understood(
            self.name,
            lambda: [view_of(self.name, home, one) for home, jobs in told for one in jobs],
        )

    async def pause(self, group: str | None = None) -> None:
        """Hand out no more, of all groups or one. It still takes jobs; what is held goes on."""
        await self._manage("pause", group)

    async def resume(self, group: str | None = None) -> None:
        """Hand out again."""
        await self._manage("resume", group)

    async def drain(self) -> None:
        """Take no more jobs (QueueClosed), and hand out those that there are."""
        await self._manage("drain")

    async def undrain(self) -> None:
        """Take jobs again."""
        await self._manage("undrain")

    async def empty(self, group: str | None = None) -> int:
        """Delete all that wait, ready or delayed; returns how many. What is held goes on."""
        return await self._sum("empty", group)

    async def delete_group(self, name: str) -> int:
        """Delete a group with all its jobs, also those that its workers have; returns how many
        these were. A worker of that group makes it anew. Raises BadRequest where no home has it."""
        told = await self._manage("drop", name)
        counts = [count for _, count in told if count is not None]
        if not counts:
            raise BadRequest(f"the queue {self.name!r} has no group {name!r}")
        return understood(self.name, lambda: sum(map(int, counts)))

    async def kick(
        self, most: int | None = None, *, id: str | None = None, group: str | None = None
    ) -> int:
        """Make dead jobs ready again: up to ``most`` of each home, or the one of that id (also one
        that is delayed); returns how many."""
        if (most is None) is (id is None):
            raise ConfigError("kick(10) or kick(id=...): say how many, or which one")
        if id is not None and group is not None:
            raise ConfigError("kick(id=...) is for all groups: leave group= out")
        if most is not None:
            check_whole("most", most)
        what = ("kick", group, most) if id is None else ("kick_one", None, id)
        return await self._sum(*what)

    async def delete(self, id: str) -> bool:
        """Delete a job, in whatever state; returns whether there was one."""
        return any(found for _, found in await self._manage("delete", None, id))

    async def edit(self, id: str, data: Any, *, group: str | None = None) -> None:
        """Other data for a job that waits or is dead. Raises JobGone."""
        told = await self._manage("edit", group, id, thread_codec().pack(data))
        if not any(found for _, found in told):
            raise JobGone(f"there is no job {id!r} that waits or is dead in {self.name!r}")

    async def purge(self, group: str | None = None) -> int:
        """Delete all dead jobs; returns how many."""
        return await self._sum("purge", group)

    async def _sum(self, *what: Any) -> int:
        told = await self._manage(*what)
        return understood(self.name, lambda: sum(int(count) for _, count in told))

    async def _look(self, *what: Any) -> list[tuple[Peer, Any]]:
        return await ask_all(self.node, self.name, "look", *what, timeout=self.timeout)

    async def _manage(self, *what: Any) -> list[tuple[Peer, Any]]:
        return await ask_all(self.node, self.name, "manage", *what, timeout=self.timeout)

    # For jobs.

    async def ask_status(self, id: str) -> list[JobStatus]:
        """Where a job is, by group."""
        told = await self._look("status", id)
        return understood(
            self.name, lambda: [status_of(one) for _, statuses in told for one in statuses]
        )

    async def home_of(self, id: str) -> Peer:
        """Who keeps a job, or its outcome. Raises JobGone."""
        for home, statuses in await self._look("status", id):
            if statuses:
                return home
        raise JobGone(f"no job {id!r} is known of {self.name!r}")

    async def ask_outcome(
        self, id: str, home: Peer, group: str | None, seconds: float
    ) -> Outcome | None:
        """The outcome of a job that another node keeps; None: not within these seconds."""
        told = await ask_one(
            self.node,
            self.name,
            "result",
            id,
            group,
            seconds,
            peer=home,
            timeout=seconds + self.timeout,
        )
        if told is None:
            return None
        return understood(self.name, lambda: outcome_of(told))


class Queue:
    """A work queue, for threads; see ``AsyncQueue``, whose verbs it has."""

    def __init__(self, node: Node, queue: AsyncQueue) -> None:
        self.node = node
        self._queue = queue
        self.name = queue.name

    def put(self, data: Any = None, **options: Unpack[PutOptions]) -> Job:
        """Put one job; returns when it is safe. As ``AsyncQueue.put``."""
        return Job(self, self._put((thread_codec().pack(data),), options)[0])

    def put_many(self, data: Iterable[Any], **options: Unpack[PutOptions]) -> Sequence[Job]:
        """Put several jobs with the same options, in one commit: all of them or none. As
        ``AsyncQueue.put_many``."""
        bodies = list(map(thread_codec().pack, data))
        return Jobs(self, self._put(bodies, options)) if bodies else ()

    def _put(self, bodies: Sequence[bytes], options: Mapping[str, Any]) -> Sequence[AsyncJob]:
        queue = self._queue
        self.node._check_thread(f"queue({self.name!r}).put")
        specs = make_specs(bodies, queue._now, options)
        if queue.is_hosted:
            there: list[AsyncJob] = self.wait("put", lambda: queue._put_there(specs, options))
            return there
        waiter = ThreadWaiter()
        self.node.aio.host.hand_over(_begin_put, queue, specs, waiter)
        jobs: Sequence[AsyncJob] = waiter.wait()
        return jobs

    def job(self, id: str) -> Job:
        """The handle of a job by its id, also after a restart. It may be there, or not."""
        return Job(self, self._queue.job(id))

    def stats(self) -> QueueStats:
        """How it is, at all of its homes together."""
        stats: QueueStats = self.wait("stats", self._queue.stats)
        return stats

    def peek(
        self, state: str = "ready", limit: int = 10, *, group: str | None = None
    ) -> list[JobView]:
        """The first jobs in a state, without taking them: up to ``limit`` of each home."""
        jobs: list[JobView] = self.wait("peek", lambda: self._queue.peek(state, limit, group=group))
        return jobs

    def show(self, id: str) -> list[JobView]:
        """One job, in each group of workers that has not done it; empty: there is none."""
        jobs: list[JobView] = self.wait("show", lambda: self._queue.show(id))
        return jobs

    def pause(self, group: str | None = None) -> None:
        """Hand out no more, of all groups or one; it still takes jobs."""
        self.wait("pause", lambda: self._queue.pause(group))

    def resume(self, group: str | None = None) -> None:
        """Hand out again."""
        self.wait("resume", lambda: self._queue.resume(group))

    def drain(self) -> None:
        """Take no more jobs (QueueClosed), and hand out those that there are."""
        self.wait("drain", self._queue.drain)

    def undrain(self) -> None:
        """Take jobs again."""
        self.wait("undrain", self._queue.undrain)

    def empty(self, group: str | None = None) -> int:
        """Delete all that wait, ready or delayed; returns how many."""
        return int(self.wait("empty", lambda: self._queue.empty(group)))

    def delete_group(self, name: str) -> int:
        """Delete a group with all its jobs; returns how many these were."""
        return int(self.wait("delete_group", lambda: self._queue.delete_group(name)))

    def kick(
        self, most: int | None = None, *, id: str | None = None, group: str | None = None
    ) -> int:
        """Make dead jobs ready again; returns how many."""
        return int(self.wait("kick", lambda: self._queue.kick(most, id=id, group=group)))

    def delete(self, id: str) -> bool:
        """Delete a job, in whatever state; returns whether there was one."""
        return bool(self.wait("delete", lambda: self._queue.delete(id)))

    def edit(self, id: str, data: Any, *, group: str | None = None) -> None:
        """Other data for a job that waits or is dead. Raises JobGone."""
        self.wait("edit", lambda: self._queue.edit(id, data, group=group))

    def purge(self, group: str | None = None) -> int:
        """Delete all dead jobs; returns how many."""
        return int(self.wait("purge", lambda: self._queue.purge(group)))

    # For it and its jobs.

    def wait(self, verb: str, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run a verb on the loop and wait for it."""
        self.node._check_thread(f"queue({self.name!r}).{verb}")
        return self.node._wait(make)

    def on_loop(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a plain function on the loop's thread."""
        return self.node.aio.host.on_loop(function, *args)

    def __repr__(self) -> str:
        return f"<Queue {self.name!r} of {self.node.name}>"


def _begin_put(queue: AsyncQueue, specs: Alike, waiter: ThreadWaiter) -> None:
    try:
        queue.keeper.intake.begin(queue, specs, waiter)
    except Exception as error:  # noqa: BLE001  raised in the thread that waits
        waiter.set_exception(error)
