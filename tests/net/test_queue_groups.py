"""Queue groups: one copy each, whatever happens to members; plain subscribers get everything."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import mesh
from tests.net.conftest import Measured
from tests.net.crew import Crew, freeze, resident
from tests.net.loads import paced
from tests.net.processes import NodeProcess, until
from tests.net.test_async_node import runs
from tests.net.workers import note, read_notes

MakeAsync = Callable[..., mesh.AsyncNode]

GROUPS = ("billing", "stock", "mail")
PATTERNS = {"billing": "orders.>", "stock": "orders.*", "mail": "orders.new"}
SUBJECT = "orders.new"
MEMBERS = 3
PLAIN = 2
AHEAD = 2000
"""Messages published without waiting: their copies are far below what a sender keeps."""

SLOW = pytest.mark.slow
SHORT_AND_FULL = pytest.mark.parametrize("count", [5_000, pytest.param(100_000, marks=SLOW)])


def hire(crew: Crew, seconds: float = 0.0) -> dict[str, list[NodeProcess]]:
    """Three groups of three, of each mode of handling one, and two plain subscribers."""
    specs = [
        note(pattern=PATTERNS[group], queue=group, mode=mode, seconds=seconds)
        for group in GROUPS
        for mode in ("inline", "pool", "async")
    ]
    specs += [note(pattern=SUBJECT)] * PLAIN
    processes = iter(crew.hire_all(*specs))
    hired = {group: [next(processes) for _ in range(MEMBERS)] for group in GROUPS}
    return hired | {"plain": list(processes)}


async def start_publisher(node: mesh.AsyncNode) -> None:
    """It knows everybody, and the first message reached all."""
    await node.start()
    await node.wait_for("worker", count=len(GROUPS) * MEMBERS + PLAIN, timeout=30)
    assert node.publish(SUBJECT, 0) == len(GROUPS) + PLAIN


def check_plain(crew: Crew, count: int) -> None:
    """Each plain subscriber got everything, once, in order."""
    for _, path in crew.files[SUBJECT]:
        until(functools.partial(has_notes, path, count))
        assert [entry.number for entry in read_notes(path)] == list(range(count))


def has_notes(path: Path, count: int) -> bool:
    return len(list(read_notes(path))) >= count


@SHORT_AND_FULL
@runs
async def test_each_queue_group_gets_each_message_once_and_plain_subscribers_get_all(
    crew: Crew, make_async: MakeAsync, count: int
) -> None:
    hire(crew)
    async with make_async() as node:
        await start_publisher(node)
        await paced(node, SUBJECT, range(1, count), AHEAD)
        await node.flush(50)
        assert node.counters() == {}
    for group in GROUPS:
        crew.check_once(group, range(count))
        assert min(crew.counts(group)) > 0
    check_plain(crew, count)


@SHORT_AND_FULL
@runs
async def test_when_members_of_queue_groups_are_killed_nothing_is_lost_and_repeats_are_marked(
    crew: Crew, make_async: MakeAsync, count: int, measured: Measured
) -> None:
    hired = hire(crew)
    async with make_async() as node:
        await start_publisher(node)
        half = count // 2 + AHEAD // 2
        await paced(node, SUBJECT, range(1, half), AHEAD)
        for process in (*hired["billing"][:2], hired["mail"][0]):
            process.signal(signal.SIGKILL)
        await paced(node, SUBJECT, range(half, count), AHEAD)
        await node.flush(50)
        assert "queue_copies_dropped" not in node.counters()
        measured("sent again:", node.counters().get("casts_redelivered", 0))
    for group in GROUPS:
        crew.check_repeats(group, range(count))
    crew.check_once("stock", range(count))
    check_plain(crew, count)


@pytest.mark.parametrize(
    ("states", "rounds"),
    [
        (("suspect",), 1),
        pytest.param(("alive", "suspect", "failed"), 3, marks=[SLOW, pytest.mark.timeout(300)]),
    ],
)
def test_while_members_of_queue_groups_join_leave_freeze_and_thaw_nothing_is_lost(
    crew: Crew, make_async: MakeAsync, states: tuple[str, ...], rounds: int, measured: Measured
) -> None:
    hired = hire(crew, 0.001)

    async def main() -> None:
        async with make_async() as node:
            await start_publisher(node)
            published = 1
            is_over = False

            async def publish() -> None:
                nonlocal published
                while not is_over:
                    node.publish(SUBJECT, published)
                    published += 1
                    # Frozen members keep what they have, so the pace is by time and not by flush.
                    await asyncio.sleep(0.002)

            publishing = asyncio.create_task(publish())
            for (_, state), group in zip(
                itertools.product(range(rounds), states), itertools.cycle(GROUPS)
            ):
                spec = note(pattern=PATTERNS[group], queue=group)
                hired[group].append(await asyncio.to_thread(crew.hire, spec))
                await freeze(node, hired[group][0], state)
                await asyncio.to_thread(hired[group].pop(0).close)
            is_over = True
            await publishing
            await node.flush(50)
            assert "queue_copies_dropped" not in node.counters()
            measured("published:", published)
            for group in GROUPS:
                measured("handled twice:", crew.check_repeats(group, range(published)))
            check_plain(crew, published)

    asyncio.run(main())


@pytest.mark.parametrize("face", ["AsyncNode", "Node"])
def test_publish_does_not_wait_for_a_frozen_queue_group_and_counts_what_it_drops(
    crew: Crew, make_node: Callable[..., mesh.Node], face: str, measured: Measured
) -> None:
    count, bound, size = 100_000, 65_536, 500
    members = crew.hire_all(*[note(pattern="orders.>", queue="billing")] * 2)
    crew.hire_all(note(pattern="orders.>", queue="stock"))
    node = make_node("publisher").start()
    node.wait_for("worker", count=3, timeout=20)
    for process in members:
        process.signal(signal.SIGSTOP)
    before = resident(os.getpid())
    publish = node.publish if face == "Node" else node.aio.publish

    def flood() -> float:
        began = time.monotonic()
        for number in range(count):
            publish("orders.new", [number, "x" * size])
        return (time.monotonic() - began) / count

    each = flood() if face == "Node" else node._on_loop(flood)
    until(lambda: node.counters().get("queue_copies_dropped", 0) >= count - bound)
    growth = resident(os.getpid()) - before
    for process in members:
        process.signal(signal.SIGCONT)
    node.flush(50)
    dropped = node.counters()["queue_copies_dropped"]
    handled = crew.runs("billing")
    assert all(sum(not run.is_marked for run in again) == 1 for again in handled.values())
    assert len(handled) + len(crew.runs("stock")) + dropped == 2 * count
    assert len(handled) >= bound // 2
    measured("a publish, µs:", each * 1e6)
    measured("growth, MiB:", growth / 2**20)
    assert each < 0.001
    assert growth < 300 * 2**20
