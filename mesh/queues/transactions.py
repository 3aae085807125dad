"""``node.transaction(job)``: jobs that are put, and one that is done, together or not at all.

The home of ``job`` makes both in one commit of its store, so it is the home of the new jobs, too;
their queues begin there if they are not there yet. Without a job this node is the home, and all
queues must be in one store.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from mesh.queues.asking import error_of
from mesh.queues.options import PutOptions
from mesh.queues.specs import make_specs, wire_of
from mesh.runtime.thread_codec import thread_codec
from patterns.errors import ConfigError
from patterns.queues.checks import MAX_PUTS
from patterns.queues.errors import LeaseLost
from patterns.queues.jobspec import JobSpec
from patterns.queues.naming import check_queue

if TYPE_CHECKING:
    from mesh.aio import AsyncNode
    from mesh.node import Node
    from mesh.queues.held import HeldJob

__all__ = ["AsyncTransaction", "Transaction"]


class AsyncTransaction:
    """What is said in the ``async with`` block happens at its end; by an exception nothing does."""

    def __init__(self, node: AsyncNode, job: HeldJob | None) -> None:
        self._node = node
        self._job = job
        self._puts: list[tuple[str, JobSpec]] = []
        self._result: bytes | None = None

    def put(self, queue: str, data: Any = None, **options: Unpack[PutOptions]) -> None:
        """A job for a queue; options as in ``queue.put``. Raises what that raises for bad ones."""
        if len(self._puts) >= MAX_PUTS:
            raise ConfigError(f"a transaction puts at most {MAX_PUTS} jobs")
        check_queue(queue)
        (spec,) = make_specs([thread_codec().pack(data)], self._now, options)
        self._puts.append((queue, spec))

    def result(self, value: Any) -> None:
        """What the job that is done returns."""
        self._result = None if value is None else thread_codec().pack(value)

    def _now(self) -> datetime:
        return self._node.host.wall_clock()

    async def commit(self) -> None:
        """Do it. Raises LeaseLost, QueueFull, QueueClosed, StoreFailed: then nothing of it is done;
        PeerLost: nobody knows."""
        if self._job is None:
            if self._puts:
                await self._node.queues.put_all(self._puts)
            return
        desk, held = self._job.desk, self._job.held
        if held.is_lost or held.is_settled:
            raise LeaseLost(f"the job {held.id} is not this worker's any more")
        ended: asyncio.Future[tuple[str, str] | None] = desk.host.loop.create_future()
        wires = [(queue, *wire_of(spec)) for queue, spec in self._puts]

        def then(error: tuple[str, str] | None) -> None:
            if not ended.done():
                ended.set_result(error)
            desk.committed(held)

        desk.worker.commit(held, self._result, wires, then)
        error = await ended
        if error is not None:
            raise error_of(*error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.commit()


class Transaction:
    """The same for threads."""

    def __init__(self, node: Node, transaction: AsyncTransaction) -> None:
        self._node = node
        self._transaction = transaction
        self.put = transaction.put
        self.result = transaction.result

    def commit(self) -> None:
        """Do it. Raises as ``AsyncTransaction.commit``."""
        self._node._check_thread("transaction")
        self._node._wait(self._transaction.commit)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.commit()
