"""The loops of clients and publishers, which are the same whatever system they drive.

``call(payload)`` gives the echo of ``payload``; ``publish_chunk()`` publishes a known number of
messages and waits as long as the system needs for having room again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from benchmarks.control import Control
from benchmarks.systems import Tally, latency_percentiles

__all__ = [
    "call_in_window",
    "call_serially",
    "call_serially_async",
    "chunk_of",
    "flood",
    "flood_async",
    "put",
    "put_async",
    "work",
    "work_async",
]


CHUNK_BYTES = 512 * 1024
"""Payload published between two flushes: half a link's window, so the receiver never runs dry."""

CHUNK_MAX_MESSAGES = 1_024
"""The same limit for small messages; well below the 10,000 a subscription buffers."""

CHUNK_MIN_MESSAGES = 8


def chunk_of(size: int) -> int:
    """Messages of that size that a node of `mesh` publishes between two flushes."""
    return min(CHUNK_MAX_MESSAGES, max(CHUNK_MIN_MESSAGES, CHUNK_BYTES // size))


def call_serially(control: Control, payload: bytes, call: Callable[[bytes], object]) -> None:
    """A serial client, blocking."""
    control.report()
    while (command := control.receive()) is not None:
        latencies_ns: list[int] = []
        answered = 0
        now_ns = time.monotonic_ns()
        end_ns = now_ns + int(command["seconds"] * 1e9)
        while now_ns < end_ns:
            answered += call(payload) == payload
            before_ns, now_ns = now_ns, time.monotonic_ns()
            latencies_ns.append(now_ns - before_ns)
        control.report(
            issued=len(latencies_ns), answered=answered, **latency_percentiles(latencies_ns)
        )


async def call_serially_async(
    control: Control, payload: bytes, call: Callable[[bytes], Awaitable[object]]
) -> None:
    """A serial client on a loop."""
    control.report()
    while (command := await control.receive_async()) is not None:
        latencies_ns: list[int] = []
        answered = 0
        now_ns = time.monotonic_ns()
        end_ns = now_ns + int(command["seconds"] * 1e9)
        while now_ns < end_ns:
            answered += await call(payload) == payload
            before_ns, now_ns = now_ns, time.monotonic_ns()
            latencies_ns.append(now_ns - before_ns)
        control.report(
            issued=len(latencies_ns), answered=answered, **latency_percentiles(latencies_ns)
        )


async def call_in_window(
    control: Control,
    payload: bytes,
    in_flight: int,
    call: Callable[[bytes], Awaitable[object]],
) -> None:
    """A window client on a loop: so many tasks, each with one call at a time."""
    issued = answered = end_ns = 0

    async def call_until_end() -> None:
        nonlocal issued, answered
        while time.monotonic_ns() < end_ns:
            issued += 1
            reply = await call(payload)
            answered += reply == payload

    control.report()
    while (command := await control.receive_async()) is not None:
        issued = answered = 0
        started_ns = time.monotonic_ns()
        end_ns = started_ns + int(command["seconds"] * 1e9)
        async with asyncio.TaskGroup() as callers:
            for _ in range(in_flight):
                callers.create_task(call_until_end())
        elapsed_ns = time.monotonic_ns() - started_ns
        control.report(issued=issued, answered=answered, elapsed_ns=elapsed_ns)


def flood(
    control: Control,
    wait_for_receivers: Callable[[], None],
    publish_chunk: Callable[[], int],
    mark: Callable[[], None],
) -> None:
    """A publisher, blocking. ``publish_chunk`` returns how many it has sent."""
    while (command := control.receive()) is not None:
        wait_for_receivers()
        started_ns = time.monotonic_ns()
        end_ns = started_ns + int(command["seconds"] * 1e9)
        sent = 0
        while time.monotonic_ns() < end_ns:
            sent += publish_chunk()
        mark()
        control.report(sent=sent, started_ns=started_ns)


async def flood_async(
    control: Control,
    wait_for_receivers: Callable[[], Awaitable[object]],
    publish_chunk: Callable[[], Awaitable[int]],
    mark: Callable[[], Awaitable[object]],
) -> None:
    """A publisher on a loop. ``publish_chunk`` returns how many it has sent."""
    while (command := await control.receive_async()) is not None:
        await wait_for_receivers()
        started_ns = time.monotonic_ns()
        end_ns = started_ns + int(command["seconds"] * 1e9)
        sent = 0
        while time.monotonic_ns() < end_ns:
            sent += await publish_chunk()
        await mark()
        control.report(sent=sent, started_ns=started_ns)


def put(control: Control, put_batch: Callable[[], int], settle: Callable[[], object]) -> None:
    """A putter, blocking. ``put_batch`` returns how many jobs it has sent; ``settle`` waits until
    all of them are acknowledged."""
    control.report()
    while (command := control.receive()) is not None:
        cpu_before_s = time.process_time()
        started_ns = time.monotonic_ns()
        end_ns = started_ns + int(command["seconds"] * 1e9)
        sent = 0
        while time.monotonic_ns() < end_ns:
            sent += put_batch()
        settle()
        control.report(
            sent=sent,
            started_ns=started_ns,
            ended_ns=time.monotonic_ns(),
            cpu_s=time.process_time() - cpu_before_s,
        )


async def put_async(
    control: Control, put_batch: Callable[[], Awaitable[int]], at_once: int = 1
) -> None:
    """A putter on a loop: so many tasks, each of which puts jobs and waits for them."""
    control.report()
    while (command := await control.receive_async()) is not None:
        cpu_before_s = time.process_time()
        started_ns = time.monotonic_ns()
        end_ns = started_ns + int(command["seconds"] * 1e9)

        async def put_until(end_ns: int = end_ns) -> int:
            count = 0
            while time.monotonic_ns() < end_ns:
                count += await put_batch()
            return count

        sent = sum(await asyncio.gather(*(put_until() for _ in range(at_once))))
        control.report(
            sent=sent,
            started_ns=started_ns,
            ended_ns=time.monotonic_ns(),
            cpu_s=time.process_time() - cpu_before_s,
        )


def work(control: Control, tally: Tally, work_batch: Callable[[], int]) -> None:
    """A worker of a queue, blocking. ``work_batch`` handles what there is, says that it is done,
    and returns how many these were; it does not wait long."""
    control.report()
    while not control.stopping():
        while control.poll() is not None:
            tally.report_handled(control)
        if work_batch():
            tally.at_ns = time.monotonic_ns()


async def work_async(
    control: Control, tally: Tally, work_batch: Callable[[], Awaitable[int]]
) -> None:
    """The same on a loop."""

    async def work() -> None:
        while True:
            if await work_batch():
                tally.at_ns = time.monotonic_ns()

    working = asyncio.create_task(work())
    control.report()
    while await control.receive_async() is not None:
        if working.done():
            working.result()
        tally.report_handled(control)
    working.cancel()
    await asyncio.wait([working])
