"""All that a running node has to do with work queues: the stores that it keeps jobs in, the queues
that are at home here, and its workers.

A store is opened when the first queue asks for it, and is of this node alone; a file, too.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

from mesh.engine.config import GRACE
from mesh.logs import get_logger
from mesh.membership import Peer
from mesh.queues.intake import Intake
from mesh.queues.keeping import Keeper
from mesh.queues.polling import until
from mesh.queues.working import Desk, WorkerOptions
from mesh.stores import MemoryStore
from patterns.errors import ConfigError, MeshError, NodeClosed
from patterns.queues.commits import Together
from patterns.queues.home import Home
from patterns.queues.jobspec import HomeOptions, JobSpec
from patterns.queues.naming import check_queue
from patterns.queues.stores import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mesh.aio import AsyncNode
    from mesh.host import Host

__all__ = ["Queues", "Where", "check_store"]

logger = get_logger("mesh.queues")

SQLITE = "sqlite:///"
"""``sqlite:///jobs.db`` is a file here, ``sqlite:////var/jobs.db`` one by its whole path."""

LAST_WORDS = 0.3
"""Seconds in which what is done is told to its homes, when the node closes."""

STORE_WAIT = 1.0
"""Seconds for what is left to be written at the end."""

MAX_QUEUES = 256
"""At home at one node: half of what has room in its record, which all members have."""

MAX_BESIDE = 64
"""Queues that workers' transactions begin at a home: each is in the record that all members have of
it, and a full one would have no room for what the home itself serves."""

Where = str | Store | None
"""A file, by its URL; a store of the program's own; memory."""


def check_store(store: Where) -> None:
    """Raises ConfigError for what is none."""
    if store is not None and not isinstance(store, str) and not hasattr(store, "line"):
        raise ConfigError(f"store={store!r:.200}: give a URL, a store, or None for memory")
    # SQLite has a name for a file that is none.
    if isinstance(store, str) and not (
        store.startswith(SQLITE) and store not in (SQLITE, f"{SQLITE}:memory:")
    ):
        raise ConfigError(
            f"store={store!r:.200}: give 'sqlite:///path' for a file, or None for memory"
        )


def make_store(where: Where) -> Store:
    """One that is not open yet."""
    if where is None:
        return MemoryStore()
    if not isinstance(where, str):
        return where
    from mesh.stores import SqliteStore

    return SqliteStore(where.removeprefix(SQLITE))


class Queues:
    """Made with the first queue or worker of a node."""

    def __init__(self, node: AsyncNode, host: Host) -> None:
        self.node = node
        self.host = host
        self.title = f"{node.name}/{node.id[:8]}"
        self.keepers: dict[str, Keeper] = {}
        self._stores: dict[Where, Store] = {}
        self._found: dict[Where, list[tuple[str, str]]] = {}
        """The queues and groups that were in each."""
        self._beside = 0
        """Queues that are at home here since a worker's transaction put into them."""
        self.desks: list[Desk] = []
        self._intakes: list[Intake] = []
        """Those of queues that have been here."""
        self._waiters: set[asyncio.Future[None]] = set()
        self._is_looking = False
        self._since = host.clock.now()
        self.offset_ms = round((host.wall_clock().timestamp() - host.clock.now()) * 1000)
        """The wall clock's lead before the node's."""
        self._watcher = host.engine.watch()
        self._watcher.on_ready = self._look_soon
        self._look_soon()

    # Homes.

    def keep(self, name: str, url: Where, options: HomeOptions | None) -> Keeper:
        """The queue of that name at home here. Raises ConfigError where it is one already that is
        kept in another way."""
        keeper = self.keepers.get(check_queue(name))
        if keeper is None:
            if len(self.keepers) >= MAX_QUEUES:
                raise ConfigError(
                    f"the queue {name!r:.80} is one too many: {MAX_QUEUES} are at home here; have "
                    "other nodes keep some, or tell jobs apart by their data, or by key="
                )
            store = self._store(url)
            groups = [group for queue, group in self._found[url] if queue == name]
            keeper = Keeper(self, name, url, store, groups, options or HomeOptions())
            keeper.is_declared = options is not None
            keeper.attach()
            self.keepers[name] = keeper
            self._look_soon()
        elif options is not None and keeper.url == url and not keeper.is_declared:
            keeper.declare(options)
        elif keeper.url != url or (options is not None and not keeper.has(options)):
            raise ConfigError(
                f"the queue {name!r} is kept here in another way: say it once, or the same"
            )
        return keeper

    def _store(self, url: Where) -> Store:
        known = self._stores.get(url)
        if known is not None:
            return known
        clock, store = self.host.clock, make_store(url)
        self._found[url] = store.open()
        run = self._run_simulated if self.host.is_simulated else self._run
        store.start(run, clock.call_later, self.offset_ms)
        self._stores[url] = store
        clock.call_soon(functools.partial(self._keep_rest, url))
        return store

    def _keep_rest(self, url: Where) -> None:
        """Queues that a transaction began have jobs in the file, and nobody else says them."""
        for name in sorted({name for name, _ in self._found[url]} - self.keepers.keys()):
            if self.host.is_closed:
                return
            self.keep(name, url, None)

    def _run(self, function: Callable[[], None]) -> None:
        try:
            self.host.loop.call_soon_threadsafe(function)
        except RuntimeError:
            return  # the loop is closed; what is on the disk is there

    def _run_simulated(self, function: Callable[[], None]) -> None:
        self.host.clock.call_soon(function)

    @property
    def is_young(self) -> bool:
        """Whether it has been there for so short a time that others may not be known as yet."""
        return self.host.clock.now() - self._since < GRACE

    def waiter(self) -> asyncio.Future[None]:
        """A future that ends with NodeClosed when the node does."""
        waiter: asyncio.Future[None] = self.host.loop.create_future()
        self._waiters.add(waiter)
        waiter.add_done_callback(self._waiters.discard)
        return waiter

    async def put_all(self, puts: list[tuple[str, JobSpec]]) -> None:
        """Jobs for several queues, in one commit. Raises ConfigError where they are not in one
        store here, and what ``queue.put`` raises: then none of it is done."""
        batches: dict[Home, list[JobSpec]] = {}
        for name, spec in puts:
            keeper = self.keepers.get(name)
            if keeper is None:
                raise ConfigError(f"the queue {name!r} is not at home here: say node.queue() first")
            batches.setdefault(keeper.home, []).append(spec)
        ended: asyncio.Future[MeshError | None] = self.host.loop.create_future()

        def then(error: MeshError | None) -> None:
            if not ended.done():
                ended.set_result(error)

        Together(next(iter(batches)).store, then).begin(list(batches.items()))
        error = await ended
        if error is not None:
            raise error

    def keep_beside(self, keeper: Keeper, name: str) -> Keeper:
        """The queue of that name at home here; a new one is in the store of ``keeper``. Raises
        BadName, and ConfigError when too many have begun like this."""
        known = self.keepers.get(name)
        if known is not None:
            return known
        if self._beside >= MAX_BESIDE:
            raise ConfigError(
                f"the queue {name!r:.80} is not at home here, and transactions of workers have "
                f"begun {MAX_BESIDE} queues already: say node.queue() where {keeper.name!r} is kept"
            )
        kept = self.keep(name, keeper.url, None)
        self._beside += 1
        return kept

    # Workers.

    def work(self, function: Callable[[Any], Any], is_async: bool, options: WorkerOptions) -> None:
        """Draw jobs for a handler from now on."""
        self.desks.append(Desk(self, function, is_async, options))
        self._look_soon()

    def homes_of(self, service: str) -> list[Peer]:
        """The nodes that are homes now, this one included."""
        engine = self.host.engine
        return [peer for peer in (engine.me, *engine.peers()) if service in peer.services]

    def _look_soon(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self.host.clock.call_soon(self._look)

    def _look(self) -> None:
        self._is_looking = False
        self._watcher.take()
        if self.host.is_open and not self.host.is_closed:
            for desk in self.desks:
                desk.look()

    # The end.

    async def drain(self, timeout: float) -> None:
        """No new jobs here; what runs ends; what is in memory is handed out, while somebody takes
        it. Never longer than ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                for keeper in self.keepers.values():
                    keeper.home.drain()
                await asyncio.gather(*(keeper.hand_out() for keeper in self.keepers.values()))
                await asyncio.gather(*(desk.drain() for desk in self.desks))
        except TimeoutError:
            logger.warning("%s: jobs still run after %g s", self.title, timeout)
        await self.leave()

    async def leave(self) -> None:
        """What is done is told, what is held goes back: then the ways to homes end.

        They end in the next turn, behind what this one had to tell.
        """
        for desk in self.desks:
            desk.close()
        try:
            async with asyncio.timeout(LAST_WORDS):
                await asyncio.gather(*(desk.wait_closed() for desk in self.desks))
        except TimeoutError:
            return  # their homes find out by themselves
        finally:
            for keeper in self.keepers.values():
                keeper.end_ways()

    def stop(self) -> list[str]:
        """At once; returns what is lost, for people. Idempotent."""
        self._watcher.close()
        for desk in self.desks:
            desk.stop()
        lost = [text for keeper in self.keepers.values() for text in keeper.stop()]
        self._intakes += [keeper.intake for keeper in self.keepers.values()]
        self.keepers.clear()
        for store in self._stores.values():
            store.close(wait=0)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(NodeClosed("the node was closed during the wait"))
        return lost

    async def wait_closed(self) -> None:
        """Until what was marked is written; never longer than a second."""
        try:
            async with asyncio.timeout(STORE_WAIT):
                for store in self._stores.values():
                    await until(functools.partial(store.close, 0))
        except TimeoutError:
            logger.error("%s: not all that was to be written of its jobs is", self.title)
            error = NodeClosed(
                "the node was closed before the disk answered: nobody knows whether it was put"
            )
            for intake in self._intakes:
                intake.give_up(error)
