"""Work queues: the verbs of both faces.

Most nodes have no queues, so what these are made of is imported by the first verb that needs it.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mesh.owning import Owning
from patterns.errors import ConfigError
from patterns.names import check_name
from patterns.queues.jobspec import MAX_ATTEMPTS, HomeOptions
from patterns.queues.naming import ANY_HOME, check_queue
from patterns.queues.retry import Policy, Retry
from patterns.rpc.method import as_handler

if TYPE_CHECKING:
    from mesh.aio import AsyncNode
    from mesh.engine import Engine
    from mesh.host import Host
    from mesh.queues.faces import AsyncQueue, Queue
    from mesh.queues.held import HeldJob
    from mesh.queues.registry import Queues
    from mesh.queues.transactions import AsyncTransaction, Transaction
    from patterns.port import Runner
    from patterns.queues.stores import Store

__all__ = ["AsyncQueuing", "BlockingQueuing"]

F = TypeVar("F", bound=Callable[..., Any])

LEASE = 60.0
"""Seconds for a job, unless its worker says otherwise: what NSQ gives."""


def _check_takes_one(name: str, function: Callable[..., Any]) -> None:
    """Raises ConfigError for a handler that every job would fail on."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return  # of some that are written in C nobody knows
    try:
        signature.bind(object())
    except TypeError as error:
        raise ConfigError(
            f"{name}: {function!r} is called with one argument, the job: {error}"
        ) from None


class Queuing(Owning):
    """What both faces have."""

    @property
    @abstractmethod
    def _node(self) -> AsyncNode:
        """The one on the loop."""

    def worker(
        self,
        queues: str | Sequence[str] | Mapping[str, float],
        *,
        group: str = "",
        concurrency: int = 1,
        lease: float = LEASE,
        max_in_flight: int | None = None,
        retry: Retry | Policy | None = None,
        rate: float | None = None,
        batch: int | None = None,
        linger: float = 0.0,
        time_limit: float | None = None,
        inline: bool | None = None,
        on_deadline_soon: Callable[[HeldJob], object] | None = None,
    ) -> Callable[[F], F]:
        """Do the jobs of a queue: ``@node.worker("emails")`` on ``def send(job): ...``.

        It draws from all homes of the queue there are, now and later. To return is to be done, and
        what is returned is the job's result; to raise is to be tried again, as ``retry`` says.
        ``raise mesh.RetryLater(60)`` and ``raise mesh.Dead("why")`` decide that themselves.

        ``queues``         one name; a list: the first that has jobs comes first, but for one job of
                           16; or a map of weights, ``{"urgent": 10, "bulk": 1}``
        ``group``          each group of workers gets every job, one of its workers handles it
        ``concurrency``    jobs at once; a plain function with ``inline`` has one
        ``lease``          seconds after which a job that is not done goes to another worker, unless
                           ``job.touch()`` begins the lease anew. A worker stops before that
        ``max_in_flight``  jobs held here, over all homes; None: as many as run, and what was done
                           in the last tenth of a second
        ``retry``          ``mesh.Retry(...)``, or ``(error, attempts) -> seconds or None``
        ``rate``           jobs a second that are taken, at most
        ``batch``          the handler gets a list of up to so many jobs, what has come within
                           ``linger`` seconds. Those that it does not settle itself (``job.done()``,
                           ``retry()``, ``bury()``) are done when it returns, tried again when it
                           raises
        ``time_limit``     seconds for an async handler; then it is cancelled, and tried again
        ``inline``         run a plain function on the loop: it must not block
        ``on_deadline_soon``  is told of a job whose lease is about to end

        Raises BadName and ConfigError.
        """
        from mesh.queues.working import worker_options

        self._check_may_serve()
        is_inline = self._inline_by_default if inline is None else inline
        policy = Retry() if retry is None else retry

        def decorate(function: F) -> F:
            handler, is_async = as_handler(f"worker({queues!r})", function)
            _check_takes_one(f"worker({queues!r})", function)
            if inline is None and is_inline and not is_async and concurrency != 1:
                raise ConfigError(
                    f"worker({queues!r}, concurrency={concurrency!r}): a plain function runs on "
                    "the loop here, one at a time; say inline=False for threads, or make it async"
                )
            options = worker_options(
                queues,
                group=group,
                concurrency=concurrency,
                lease=lease,
                max_in_flight=max_in_flight,
                retry=policy,
                rate=rate,
                batch=batch,
                linger=linger,
                time_limit=time_limit,
                inline=is_inline,
                is_async=is_async,
                on_deadline_soon=on_deadline_soon,
            )
            self._now_or_at_start(
                lambda engine, runner: self._node.made_queues().work(handler, is_async, options)
            )
            return function

        return decorate

    def _make_queue(
        self, name: str, store: str | Store | None, hosts: str | None, options: dict[str, Any]
    ) -> AsyncQueue:
        from mesh.queues.faces import AsyncQueue
        from mesh.queues.registry import check_store

        check_queue(name)
        home = HomeOptions(**options)
        if hosts is not None:
            if hosts != ANY_HOME:
                check_name("service", hosts)
            if store is not None or any(
                getattr(home, slot) != getattr(HomeOptions(), slot) for slot in home.__slots__
            ):
                raise ConfigError(
                    f"hosts={hosts!r} keep the queue {name!r}: store= and its options are theirs"
                )
        else:
            check_store(store)
            self._check_may_serve()

            def attach(engine: Engine, runner: Runner) -> None:
                self._node.made_queues().keep(name, store, home)

            self._now_or_at_start(attach)
        return AsyncQueue(self._node, name, hosts)


class AsyncQueuing(Queuing):
    """The verbs of ``AsyncNode``."""

    _made: Host | None

    @property
    def _node(self) -> AsyncNode:
        return self  # type: ignore[return-value]

    @property
    @abstractmethod
    def host(self) -> Host:
        """What the running node is made of. Raises NodeClosed when it does not run."""

    def queue(
        self,
        name: str,
        *,
        store: str | Store | None = None,
        hosts: str | None = None,
        max_length: int | None = None,
        overflow: str = "reject",
        ttl: float | None = None,
        dedup: float = 0.0,
        max_attempts: int | None = MAX_ATTEMPTS,
        keep_results: float = 0.0,
        groups: Sequence[str] | None = None,
    ) -> AsyncQueue:
        """A work queue: ``queue = node.queue("emails")``, then ``await queue.put(data)``.

        What is put here is kept here until a worker has done it, or at other nodes:

        ``store``         None: in memory, gone with this process; ``"sqlite:///jobs.db"``: in a
                          file, on the disk before ``put`` returns, which one process has at a
                          time; or a store of your own, for this node: ``docs/stores.md``
        ``hosts``         a service: its nodes keep the queue (``meshctl queue serve``), each job
                          the owner of its key. So it outlives who puts. ``"*"``: whoever keeps
                          the queue already; also for an observer, which keeps none
        ``max_length``    jobs here, at most; then ``overflow`` says ``"reject"`` (QueueFull) or
                          ``"drop_oldest"``
        ``ttl``           seconds after which a job is of no use any more, unless it says itself
        ``dedup``         seconds for which another job of the same ``id=`` is the same job
        ``max_attempts``  a job that was handed out so often, and nobody said what became of it, is
                          dead: it kills its workers
        ``keep_results``  seconds for which outcomes are kept, unless the job says itself
        ``groups``        names: these groups of workers have a copy of each job from the start, and
                          there are no others; None: a group begins when its first worker comes

        It may be said before ``start``, and again with the same options. What is there is opened
        at ``start``, or now, which for a file of millions of jobs takes a second.

        Raises BadName, and ConfigError: for an observer, for options that cannot be, for a file
        that is in use or none of jobs.
        """
        options = {
            "max_length": max_length,
            "overflow": overflow,
            "ttl": ttl,
            "dedup": dedup,
            "max_attempts": max_attempts,
            "keep_results": keep_results,
            "groups": groups,
        }
        return self._make_queue(name, store, hosts, options)

    def transaction(self, job: HeldJob | None = None) -> AsyncTransaction:
        """Put jobs, and end the one that is held, in one commit: ``async with
        node.transaction(job) as transaction: transaction.put("next", data)``.

        With ``job`` all happens at its home, which keeps the new jobs, too; without one here.
        """
        from mesh.queues.transactions import AsyncTransaction

        return AsyncTransaction(self._node, job)

    @property
    def queues(self) -> Queues:
        """All that this node has to do with work queues. Raises NodeClosed."""
        self.host  # noqa: B018  raises when it does not run
        return self.made_queues()

    def made_queues(self) -> Queues:
        """The same, also while it starts."""
        from mesh.queues.registry import Queues

        host = self._made
        if host is None:
            host = self.host  # raises
        if host.queues is None:
            host.queues = Queues(self._node, host)
        return host.queues


class BlockingQueuing(Queuing):
    """The verbs of ``Node``."""

    aio: AsyncNode

    @property
    def _node(self) -> AsyncNode:
        return self.aio

    def queue(
        self,
        name: str,
        *,
        store: str | Store | None = None,
        hosts: str | None = None,
        max_length: int | None = None,
        overflow: str = "reject",
        ttl: float | None = None,
        dedup: float = 0.0,
        max_attempts: int | None = MAX_ATTEMPTS,
        keep_results: float = 0.0,
        groups: Sequence[str] | None = None,
    ) -> Queue:
        """A work queue: ``queue = node.queue("emails")``, then ``queue.put(data)``. Options and
        errors as in ``AsyncNode.queue``."""
        from mesh.queues.faces import Queue

        options = {
            "max_length": max_length,
            "overflow": overflow,
            "ttl": ttl,
            "dedup": dedup,
            "max_attempts": max_attempts,
            "keep_results": keep_results,
            "groups": groups,
        }
        return Queue(self, self._make_queue(name, store, hosts, options))  # type: ignore[arg-type]

    def transaction(self, job: HeldJob | None = None) -> Transaction:
        """Put jobs, and end the one that is held, in one commit: ``with node.transaction(job) as
        transaction: transaction.put("next", data)``."""
        from mesh.queues.transactions import AsyncTransaction, Transaction

        return Transaction(self, AsyncTransaction(self.aio, job))  # type: ignore[arg-type]
