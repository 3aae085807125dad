"""Groupcast over real processes: once each, shared by speed, within credit, cancelled in time."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import mesh
from tests.net.conftest import Measured
from tests.net.crew import Crew
from tests.net.loads import send_groupcasts
from tests.net.processes import until
from tests.net.test_async_node import runs
from tests.net.workers import BEGAN, MODES, member, members

Make = Callable[..., mesh.Node]
MakeAsync = Callable[..., mesh.AsyncNode]

MEMBERS = 4
EQUAL = 1.1
"""Times an equal share: what a member may have of it."""

SLOW = pytest.mark.slow


EACH_MODE = [pytest.param(100_000, mode, marks=SLOW) for mode in MODES]


@pytest.mark.parametrize(("count", "mode"), [(10_000, "mixed"), *EACH_MODE])
@runs
async def test_each_of_many_groupcasts_is_handled_once(
    crew: Crew, make_async: MakeAsync, count: int, mode: str
) -> None:
    crew.hire_all(*members(MEMBERS, mode))
    async with make_async() as node:
        await node.wait_for(group="crew", count=MEMBERS, timeout=20)
        progress = await send_groupcasts(node, "crew", range(count))
        await node.flush(50)
        assert node.counters() == {}
    crew.check_once("crew", range(count))
    assert sorted(progress.receivers.values()) == sorted(crew.counts("crew"))


@pytest.mark.parametrize(("count", "mode"), [(5_000, "mixed"), *EACH_MODE])
def test_a_blocking_node_sends_and_its_members_handle_each_once(
    crew: Crew, make_node: Make, count: int, mode: str
) -> None:
    crew.hire_all(*members(MEMBERS, mode))
    with make_node("sender") as node:
        node.wait_for(group="crew", count=MEMBERS, timeout=20)
        receivers = Counter(node.groupcast("crew", number).id for number in range(count))
        node.flush(50)
        assert node.counters() == {}
    crew.check_once("crew", range(count))
    assert sorted(receivers.values()) == sorted(crew.counts("crew"))


# Shares.


@pytest.mark.parametrize(
    ("mode", "concurrency", "count"),
    [
        ("async", 1, 3_000),
        ("pool", 4, 3_000),
        *(
            pytest.param(mode, concurrency, 30_000, marks=SLOW)
            for mode in ("async", "pool")
            for concurrency in (1, 4)
        ),
    ],
)
@runs
async def test_a_worker_ten_times_slower_gets_little_of_the_work(
    crew: Crew, make_async: MakeAsync, mode: str, concurrency: int, count: int, measured: Measured
) -> None:
    crew.hire_all(
        member(mode=mode, concurrency=concurrency, seconds=0.01),
        *members(3, mode, concurrency=concurrency, seconds=0.001),
    )
    async with make_async() as node:
        await node.wait_for(group="crew", count=MEMBERS, timeout=20)
        await send_groupcasts(node, "crew", range(count))
        await node.flush(50)
    crew.check_once("crew", range(count))
    share = crew.counts("crew")[0] / count
    measured("share:", share)
    assert share <= 0.15


@pytest.mark.parametrize(
    # The short form shares the processors with other tests, which makes equal workers unequal at
    # times: more rounds, of which the best counts.
    ("count", "rounds"),
    [(2_000, 10), pytest.param(40_000, 3, marks=SLOW)],
)
@pytest.mark.parametrize("mode", ["inline", "async", "pool"])
@runs
async def test_equal_workers_get_equal_shares(
    crew: Crew, make_async: MakeAsync, mode: str, count: int, rounds: int, measured: Measured
) -> None:
    crew.hire_all(*members(MEMBERS, mode, seconds=0.001))
    assert await largest_share(crew, make_async, count, measured, rounds) <= EQUAL


async def largest_share(
    crew: Crew, make_async: MakeAsync, count: int, measured: Measured, rounds: int = 3
) -> float:
    """Of one member, in units of an equal share, in the best of a few rounds; no more of them are
    played once the share is equal."""
    peaks: list[float] = []
    async with make_async() as node:
        await node.wait_for(group="crew", count=MEMBERS, timeout=20)
        while len(peaks) < rounds and min(peaks, default=math.inf) > EQUAL:
            first = len(peaks) * count
            await send_groupcasts(node, "crew", range(first, first + count))
            await node.flush(50)
            counts = [
                sum(first <= e.number < first + count and e.what == BEGAN for e in notes)
                for notes in crew.notes("crew")
            ]
            peaks.append(max(counts) / (count / MEMBERS))
    crew.check_once("crew", range(len(peaks) * count))
    measured("max/mean:", min(peaks))
    return min(peaks)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["inline", "async", "pool"])
@runs
async def test_equal_workers_with_next_to_nothing_to_do_get_equal_shares(
    crew: Crew, make_async: MakeAsync, mode: str, measured: Measured
) -> None:
    crew.hire_all(*members(MEMBERS, mode))
    assert await largest_share(crew, make_async, 300_000, measured) <= EQUAL


SENDERS = 8
CAPACITY = 4
BLOCK = 100_000
"""Numbers of one sender."""


@pytest.mark.parametrize(
    ("mode", "seconds", "count"),
    [
        ("async", 0.02, 50),
        pytest.param("async", 0.02, 400, marks=SLOW),
        pytest.param("pool", 0.02, 400, marks=SLOW),
        pytest.param("async", 0.05, 200, marks=SLOW),
    ],
)
@runs
async def test_of_many_senders_none_starves_and_a_member_holds_no_more_than_it_granted(
    crew: Crew, make_async: MakeAsync, mode: str, seconds: float, count: int, measured: Measured
) -> None:
    (process,) = crew.hire_all(member(mode=mode, seconds=seconds, concurrency=CAPACITY))
    nodes = [make_async() for _ in range(SENDERS)]
    held: list[int] = []
    for node in nodes:
        await node.start()
        await node.wait_for(group="crew", timeout=20)

    async def send(index: int, node: mesh.AsyncNode) -> None:
        first = index * BLOCK
        await send_groupcasts(node, "crew", range(first, first + count), at_once=3)
        await node.flush(50)

    sending = asyncio.gather(*itertools.starmap(send, enumerate(nodes)))
    while not sending.done():
        held.append(await asyncio.to_thread(process.ask, "casts_held"))
    await sending
    for node in nodes:
        await node.close()
    (notes,) = crew.notes("crew")
    assert max(entry.running for entry in notes) == CAPACITY
    assert max(held) == CAPACITY
    begun = [entry for entry in notes if entry.what == BEGAN]
    assert len(begun) == SENDERS * count
    # All have work until the first is through; by turns nobody waits longer than a round or two.
    ends = [max(e.when for e in begun if e.number // BLOCK == i) for i in range(SENDERS)]
    pause = max(
        longest_pause([e.when for e in begun if e.number // BLOCK == i and e.when <= min(ends)])
        for i in range(SENDERS)
    )
    measured("longest wait of a sender, rounds:", pause / (seconds * SENDERS / CAPACITY))
    assert pause < 1.0
    assert max(ends) - min(ends) < 1.0


def longest_pause(times: list[float]) -> float:
    return max(after - before for before, after in itertools.pairwise(times))


# Refusals and errors.


HANDLERS = ("inline", "pool", "async")


@pytest.mark.parametrize("key", [None, "k"])
@runs
async def test_what_all_refuse_is_passed_on_three_times_unmarked_then_given_up(
    crew: Crew, make_async: MakeAsync, key: str | None
) -> None:
    count = 50
    crew.hire_all(*[member(mode=mode, refuses=True) for mode in (*HANDLERS, "inline", "async")])
    async with make_async() as node:
        await node.wait_for(group="crew", count=5, timeout=20)
        for number in range(count):
            await node.groupcast("crew", number, key=key)
        await node.flush(20)
        assert node.counters()["casts_given_up"] == count
    by_member = [{e.number for e in notes} for notes in crew.notes("crew")]
    refusals = crew.runs("crew")
    assert len(refusals) == count
    for number, runs_of_one in refusals.items():
        assert [run.is_marked for run in runs_of_one] == [False] * 4
        # A member that the busy machine makes suspect is not asked, and another one twice.
        assert sum(number in numbers for numbers in by_member) >= 3


@pytest.mark.parametrize("keys", [None, 40])
@runs
async def test_what_some_refuse_another_handles(
    crew: Crew, make_async: MakeAsync, keys: int | None
) -> None:
    count = 2_000
    crew.hire_all(*[member(mode=m, refuses=r) for r in (True, False) for m in HANDLERS])
    async with make_async() as node:
        await node.wait_for(group="crew", count=6, timeout=20)
        await send_groupcasts(node, "crew", range(count), keys=keys)
        await node.flush(20)
        assert node.counters() == {}
    notes = crew.notes("crew")
    assert all(notes[:3])
    handled = [entry for some in notes[3:] for entry in some if entry.what == BEGAN]
    assert sorted(entry.number for entry in handled) == list(range(count))
    assert not any(entry.is_marked for entry in handled)


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, asyncio.CancelledError])
def test_a_handler_that_raises_has_handled(
    make_node: Make,
    inline: bool,
    error: type[BaseException],
    caplog: pytest.LogCaptureFixture,
) -> None:
    handled: list[int] = []
    with make_node("first") as first, make_node("second") as second, make_node("sender") as node:

        @first.member("crew", inline=inline)
        @second.member("crew", inline=inline)
        def plain(message: mesh.Message) -> None:
            handled.append(message.data)
            raise error("on purpose")

        @first.member("crew", concurrency=2)
        @second.member("crew", concurrency=2)
        async def coroutine(message: mesh.Message) -> None:
            handled.append(message.data)
            raise error("on purpose")

        node.wait_for(group="crew", count=2)
        for number in range(100):
            node.groupcast("crew", number)
        node.flush(10)
    assert sorted(handled) == list(range(100))
    assert sum("on purpose" in (record.exc_text or "") for record in caplog.records) == 100


# Cancelled.


@runs
async def test_a_cancelled_groupcast_is_never_handled(crew: Crew, make_async: MakeAsync) -> None:
    chance = random.Random(5)
    crew.hire_all(*[member(mode="async", seconds=0.005)] * 2)
    async with make_async() as node:
        await node.wait_for(group="crew", count=2, timeout=20)
        tasks: list[asyncio.Task[Any]] = []

        async def send(number: int, key: str | None) -> mesh.Peer:
            return await node.groupcast("crew", number, key=key, timeout=50)

        for number in range(1_500):
            key = chance.choice((None, None, "a", "b"))
            tasks.append(asyncio.create_task(send(number, key)))
            if chance.random() < 0.1:
                await asyncio.sleep(0.002)
            if chance.random() < 0.5:
                chance.choice(tasks).cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await node.flush(50)
    sent = {n for n, outcome in enumerate(outcomes) if isinstance(outcome, mesh.Peer)}
    assert 100 < len(sent) < 1_400
    assert sorted(crew.runs("crew")) == sorted(sent)


# Readers.


@pytest.mark.parametrize("verb", ["join", "subscribe"])
def test_a_reader_acknowledges_when_it_asks_for_the_next(make_node: Make, verb: str) -> None:
    with make_node("reader") as reader, make_node("sender") as sender:
        subscription = open_reader(reader, verb)
        send = opened_sender(sender, verb, 1)
        send(7)
        message = subscription.get(timeout=5)
        assert (message.data, message.redelivered) == (7, False)
        with pytest.raises(mesh.Timeout):
            sender.flush(0.05)
        with pytest.raises(mesh.Timeout):
            subscription.get(timeout=0)
        sender.flush(5)


@pytest.mark.parametrize("verb", ["join", "subscribe"])
def test_a_reader_that_leaves_the_loop_gives_the_last_one_back_marked(
    make_node: Make, verb: str
) -> None:
    count = 20
    with make_node("first") as first, make_node("other") as other, make_node("sender") as sender:
        read = []
        with open_reader(first, verb) as leaving:
            send = opened_sender(sender, verb, 1)
            sending = threading.Thread(target=lambda: [send(n) for n in range(count)])
            sending.start()
            for message in leaving:
                read.append(message.data)
                if len(read) == 5:
                    break
            staying = open_reader(other, verb)
            opened_sender(sender, verb, 2)
        assert read == [0, 1, 2, 3, 4]
        rest = {m.data: m.redelivered for m in (staying.get(timeout=5) for _ in range(4, count))}
        assert rest == {number: number == 4 for number in range(4, count)}
        with pytest.raises(mesh.Timeout):
            staying.get(timeout=0)
        sending.join()
        sender.flush(5)


def open_reader(node: mesh.Node, verb: str) -> Any:
    if verb == "join":
        return node.join("crew")
    return node.subscribe("orders.*", group="billing")


def opened_sender(node: mesh.Node, verb: str, readers: int) -> Callable[[int], object]:
    """Sends, once it knows of so many readers."""
    if verb == "join":
        node.wait_for(group="crew", count=readers)
        return lambda number: node.groupcast("crew", number)
    engine = node.aio.host.engine
    until(
        lambda: any(
            len(m) == readers
            for _, m in node._on_loop(lambda: engine.pubsub.queues.route("orders.new"))
        )
    )
    return lambda number: node.publish("orders.new", number)
