"""The load: calls and messages at their times, on the loop of the command's own node.

Errors are counted and the load goes on. Messages without a rate wait for their receivers, by
``flush``; with a rate they wait for nobody, and what the mesh then drops is told as lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field
from time import monotonic_ns, sleep
from typing import Any

import mesh
from mesh.cli import errors
from mesh.cli.bench.core.failures import Failures
from mesh.cli.bench.core.histogram import Histogram
from mesh.cli.bench.core.receipt import Stamper
from mesh.cli.bench.core.schedule import Schedule

__all__ = ["Calls", "Sent", "call", "cast", "on_loop", "publish"]

TIMER_NS = 2_000_000
LOOK_NS = 200_000
"""Before a due time. The timers of loops are good for a millisecond, so the last two are slept by a
thread, whose timer is finer, and what is left is looked at on the loop. To look all the time would
cost a processor, and the system then takes it away for longer than what is measured."""

AFTER_ERROR = 0.001
"""Seconds: an error that comes at once must not become a loop that does nothing else."""

LATE_TURN = 64
"""Messages that are late are sent so many a turn of the loop, which must send and receive, too."""

CHUNK_BYTES = 512 * 1024
MAX_CHUNK = 1024
MIN_CHUNK = 8
"""Published between two flushes: half of a link's window, so that its receiver never runs dry."""

CANCELLED_WITHIN = 1.0
"""Seconds; a coroutine of ours ends at once."""


@dataclass(slots=True)
class Calls:
    """What became of the calls."""

    latency: Histogram = field(default_factory=Histogram)
    """Of those that were answered with a value."""
    errors: Failures = field(default_factory=Failures)
    began: int = 0
    ended: int = 0
    """When the last one ended."""


@dataclass(slots=True)
class Sent:
    """What was sent."""

    count: int = 0
    errors: Failures = field(default_factory=Failures)
    began: int = 0
    ended: int = 0
    nodes: int = 0
    """To how many nodes the first one went."""

    @property
    def seconds(self) -> float:
        return (self.ended - self.began) / 1e9


def on_loop(
    node: mesh.Node, work: Coroutine[Any, Any, None], meanwhile: Callable[[], None], every: float
) -> None:
    """Run ``work`` on the node's loop, as its handlers are, and wait until it is done.

    From another thread each call would pay for two changes of threads, which is not the mesh's.

    :param meanwhile: called every so many seconds while it lasts

    Ctrl-C cancels it and goes on as KeyboardInterrupt.
    """
    is_over = threading.Event()

    async def guarded() -> None:
        try:
            await work
        finally:
            is_over.set()

    future = asyncio.run_coroutine_threadsafe(guarded(), node.aio.host.loop)
    try:
        while not wait([future], every).done:
            meanwhile()
        future.result()
    except BaseException:
        future.cancel()
        is_over.wait(CANCELLED_WITHIN)
        raise


async def _until(due: int) -> None:
    """Wait until a time (ns) more exactly than the loop's timers can."""
    if due - monotonic_ns() > TIMER_NS:
        await asyncio.sleep((due - monotonic_ns() - TIMER_NS) / 1e9)
    if due - monotonic_ns() > LOOK_NS:
        await asyncio.get_running_loop().run_in_executor(None, _sleep_until, due - LOOK_NS)
    while monotonic_ns() < due:  # noqa: ASYNC110  no event tells that a time has come
        await asyncio.sleep(0)


def _sleep_until(time: int) -> None:
    sleep(max(0, time - monotonic_ns()) / 1e9)


async def call(
    calls: Calls, schedule: Schedule, in_flight: int, once: Callable[[], Awaitable[Any]]
) -> None:
    """Call by the schedule, with so many calls at once at most."""
    # One at a time looks at the clock for its turn; the others have calls or wait behind it.
    gate = asyncio.Lock() if schedule.is_paced else contextlib.nullcontext()

    async def caller() -> None:
        while True:
            async with gate:
                due = schedule.take(monotonic_ns())
                if due is None:
                    return
                await _until(due)
            try:
                await once()
            except mesh.NodeClosed:
                raise
            except mesh.MeshError as error:
                _count(calls.errors, error)
                calls.ended = monotonic_ns()
                await asyncio.sleep(AFTER_ERROR)
            else:
                calls.ended = now = monotonic_ns()
                calls.latency.add(now - due)

    async with asyncio.TaskGroup() as callers:
        for _ in range(in_flight):
            callers.create_task(caller())


async def publish(
    sent: Sent,
    schedule: Schedule,
    node: mesh.AsyncNode,
    subjects: Sequence[str],
    stamper: Stamper,
    first: int,
    size: int,
    timeout: float,
) -> None:
    """Publish by the schedule, to the subjects in turn; numbers begin with ``first``.

    :param timeout: seconds to wait for receivers that take nothing
    """
    is_paced = schedule.is_paced
    chunk = LATE_TURN if is_paced else min(MAX_CHUNK, max(MIN_CHUNK, CHUNK_BYTES // size))
    while True:
        now = monotonic_ns()
        due = schedule.take(now)
        if due is None:
            break
        if due > now:
            await _until(due)
        number = first + sent.count
        data = stamper.message(number, due)
        nodes = node.publish(subjects[number % len(subjects)], data)
        if not sent.count:
            sent.nodes = nodes
        sent.count += 1
        if sent.count % chunk == 0:
            await asyncio.sleep(0)
            if not is_paced:
                await _flush(node, sent, timeout)
            sent.ended = monotonic_ns()
    await _flush(node, sent, timeout)
    sent.ended = monotonic_ns()


async def _flush(node: mesh.AsyncNode, sent: Sent, timeout: float) -> None:
    try:
        await node.flush(timeout)
    except mesh.Timeout as error:
        _count(sent.errors, error)


async def cast(
    sent: Sent,
    schedule: Schedule,
    node: mesh.AsyncNode,
    group: str,
    stamper: Stamper,
    first: int,
    timeout: float,
) -> None:
    """Groupcast by the schedule and wait until all is acknowledged; numbers as in ``publish``.

    :param timeout: seconds to wait for credit, and in the end for the last acknowledgement
    """
    while True:
        now = monotonic_ns()
        due = schedule.take(now)
        if due is None:
            break
        if due > now:
            await _until(due)
        try:
            await node.groupcast(group, stamper.message(first + sent.count, due), timeout=timeout)
        except mesh.NodeClosed:
            raise
        except mesh.MeshError as error:
            _count(sent.errors, error)
            await asyncio.sleep(AFTER_ERROR)
            continue
        sent.count += 1
    await _flush(node, sent, timeout)
    sent.ended = monotonic_ns()


def _count(failures: Failures, error: mesh.MeshError) -> None:
    kind = type(error).__name__
    if isinstance(error, mesh.RemoteError):
        kind = f"{kind}({error.type})"
    failures.add(kind, errors.plain(error))
