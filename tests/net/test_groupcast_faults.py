"""Groupcast when members and senders die, come, go, freeze and lose their links: nothing is lost,
and what is handled twice is marked."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import mesh
from tests.net.conftest import Measured
from tests.net.crew import Crew, freeze, resident, state_of
from tests.net.loads import Load, Progress, send_groupcasts
from tests.net.processes import NodeProcess, until_async
from tests.net.proxy import Proxy
from tests.net.test_async_node import runs
from tests.net.workers import member, members

Start = Callable[..., NodeProcess]
MakeAsync = Callable[..., mesh.AsyncNode]

MIB = 1024 * 1024
SLOW = pytest.mark.slow
LONG = pytest.mark.timeout(300)


# Members die.


@pytest.mark.parametrize(
    ("count", "mode", "seconds"),
    [
        (10_000, "async", 0.0),
        (3_000, "mixed", 0.004),
        pytest.param(100_000, "mixed", 0.001, marks=SLOW),
        *(pytest.param(100_000, mode, 0.0, marks=SLOW) for mode in ("inline", "pool", "async")),
    ],
)
@runs
async def test_when_half_of_the_members_are_killed_nothing_is_lost_and_repeats_are_marked(
    crew: Crew,
    make_async: MakeAsync,
    count: int,
    mode: str,
    seconds: float,
    measured: Measured,
) -> None:
    hired = crew.hire_all(*members(4, mode, seconds=seconds, concurrency=4))
    async with make_async() as node:
        await node.wait_for(group="crew", count=4, timeout=20)
        progress = Progress()
        sending = asyncio.ensure_future(send_groupcasts(node, "crew", range(count), progress))
        # In the midst of it, so that all of them are at work.
        await until_async(lambda: progress.sent > count // 2)
        for process in hired[1:3]:
            process.signal(signal.SIGKILL)
        await sending
        await node.flush(50)
        measured("sent again:", node.counters()["casts_redelivered"])
    repeats = crew.check_repeats("crew", range(count))
    measured("handled twice:", repeats)
    assert repeats or not seconds, "what ran when its process died runs again"


@runs
async def test_what_waits_when_the_last_member_dies_goes_to_the_next_that_comes(
    crew: Crew, make_async: MakeAsync
) -> None:
    count = 200
    (first,) = crew.hire_all(member(mode="async", seconds=0.001))
    async with make_async() as node:
        await node.wait_for(group="crew", timeout=20)
        progress = Progress()
        sending = asyncio.ensure_future(send_groupcasts(node, "crew", range(count), progress))
        await until_async(lambda: progress.sent > count // 4)
        await asyncio.to_thread(first.kill)
        await until_async(lambda: not node.peers())
        with pytest.raises(mesh.NoProvider):
            await node.groupcast("crew", -1, timeout=0)
        await asyncio.to_thread(crew.hire, member())
        await sending
        await node.flush(20)
    crew.check_repeats("crew", range(count))


# Members come, go, freeze.


@pytest.mark.parametrize(
    ("states", "rounds", "key_count"),
    [
        (("suspect",), 1, None),
        (("suspect",), 1, 40),
        pytest.param(("alive", "suspect", "failed"), 3, None, marks=[SLOW, LONG]),
        pytest.param(("alive", "suspect", "failed"), 3, 40, marks=[SLOW, LONG]),
    ],
)
def test_while_members_join_leave_freeze_and_thaw_nothing_is_lost_and_repeats_are_marked(
    crew: Crew,
    make_async: MakeAsync,
    states: tuple[str, ...],
    rounds: int,
    key_count: int | None,
    measured: Measured,
) -> None:
    specs = members(4, "mixed", seconds=0.001)
    hired = crew.hire_all(*specs)

    async def main() -> None:
        async with make_async() as node:
            await node.wait_for(group="crew", count=len(hired), timeout=20)
            load = Load(node, "crew", key_count, at_once=key_count or 4)
            for _, until_state in itertools.product(range(rounds), states):
                for spec in specs[1:3]:
                    hired.append(await asyncio.to_thread(crew.hire, spec))
                    frozen = hired.pop(0)
                    await freeze(node, frozen, until_state)
                    hired.append(frozen)
                    await asyncio.to_thread(hired.pop(0).close)
            await load.end()
            await node.flush(50)
            assert load.errors == []
            measured("sent:", load.sent)
            measured("handled twice:", crew.check_repeats("crew", load.numbers))
            if key_count is not None:
                assert crew.check_order("crew", key_count) == key_count

    asyncio.run(main())


# All members freeze.


@pytest.mark.parametrize(
    ("mode", "last_state"), [("mixed", "suspect"), pytest.param("mixed", "failed", marks=SLOW)]
)
@runs
async def test_a_frozen_group_takes_little_memory_and_all_that_it_accepted_is_handled(
    crew: Crew, make_async: MakeAsync, mode: str, last_state: str, measured: Measured
) -> None:
    hired = crew.hire_all(*members(3, mode))
    async with make_async() as node:
        await node.wait_for(group="crew", count=3, timeout=20)
        accepted = set((await send_groupcasts(node, "crew", range(2_000))).numbers)
        for process in hired:
            process.signal(signal.SIGSTOP)
        before = resident(os.getpid())
        numbers = itertools.count(2_000)
        refused: set[int] = set()
        late: list[float] = []
        is_over = False

        async def ask(timeout: float) -> None:
            while not is_over:
                number, began = next(numbers), time.monotonic()
                try:
                    await node.groupcast("crew", [number, "x" * 1000], timeout=timeout)
                    accepted.add(number)
                except (mesh.Overloaded, mesh.NoProvider) as error:
                    refused.add(number)
                    if isinstance(error, mesh.Overloaded):
                        late.append(time.monotonic() - began - timeout)
                await asyncio.sleep(0.005)

        asking = [asyncio.ensure_future(ask(0.3 * (i % 5 > 0))) for i in range(1_000)]
        await until_async(lambda: state_of(node, hired[0]) == last_state, 60.0)
        growth = resident(os.getpid()) - before
        is_over = True
        await asyncio.gather(*asking)
        for process in hired:
            process.signal(signal.SIGCONT)
        await node.flush(50)
        assert refused
        assert late
        measured("growth, MiB:", growth / MIB)
        measured("latest Overloaded, s:", max(late))
        assert min(late) >= -0.02
        assert max(late) < 2.0
        assert growth < 64 * MIB
    handled = crew.runs("crew")
    assert accepted <= set(handled)
    assert not refused & set(handled)
    assert all(sum(not run.is_marked for run in again) <= 1 for again in handled.values())


# Senders die.


@pytest.mark.parametrize("end", ["kill", "freeze", "close"])
def test_a_sender_that_ends_hurts_nobody_and_its_credit_is_free_again(
    crew: Crew, start_process: Start, make_async: MakeAsync, end: str, measured: Measured
) -> None:
    capacity, seconds = 4, 0.02
    (process,) = crew.hire_all(member(mode="async", concurrency=capacity, seconds=seconds))
    sender = start_process("sender")
    sender.ask("wait_for", group="crew")

    async def main() -> None:
        async with make_async() as node:
            await node.wait_for(group="crew", timeout=20)
            await asyncio.to_thread(
                sender.ask, "begin_casts", group="crew", first=0, count=10**6, at_once=50
            )
            load = Load(node, "crew", first=10**6, at_once=50)
            await until_async(lambda: load.sent > 20, 30.0)
            await asyncio.to_thread(until_sent, sender, 20)
            ended = time.monotonic()
            if end == "kill":
                await asyncio.to_thread(sender.kill)
            elif end == "freeze":
                sender.signal(signal.SIGSTOP)
            else:
                await asyncio.to_thread(sender.close)
            # All of the capacity works for the one that is left.
            rate = capacity / seconds
            sent, since = load.sent, time.monotonic()

            def is_at_full_rate() -> bool:
                nonlocal sent, since
                now = time.monotonic()
                if now < since + 0.5:
                    return False
                is_full = load.sent - sent > 0.8 * rate * (now - since)
                sent, since = load.sent, now
                return is_full

            await until_async(is_at_full_rate, 20.0)
            measured("full rate after, s:", time.monotonic() - ended)
            await load.end()
            await node.flush(20)
            assert load.errors == []
            assert set(node.counters()) <= {"casts_redelivered"}

    asyncio.run(main())
    if end == "freeze":
        sender.kill()
    mine = {number: again for number, again in crew.runs("crew").items() if number >= 10**6}
    assert {len(again) for again in mine.values()} == {1}
    assert process.ask("casts_held") <= capacity


def until_sent(sender: NodeProcess, count: int) -> None:
    deadline = time.monotonic() + 20
    while sender.ask("casts_sent") < count:
        assert time.monotonic() < deadline


# Connections are cut.


@pytest.mark.parametrize("cuts", [8, pytest.param(60, marks=[SLOW, LONG])])
@pytest.mark.parametrize("which", ["to the member", "from the member", "work"])
@pytest.mark.parametrize(
    ("key_count", "spec"),
    [
        pytest.param(40, member(mode="async", concurrency=4, seconds=0.001), id="keys"),
        pytest.param(None, member(mode="async", concurrency=32, seconds=0.15), id="long runs"),
    ],
)
def test_when_connections_are_cut_nothing_is_lost_and_repeats_are_marked(
    crew: Crew,
    make_async: MakeAsync,
    which: str,
    cuts: int,
    key_count: int | None,
    spec: dict[str, Any],
    measured: Measured,
) -> None:
    async def main() -> None:
        async with connected(crew, make_async, which, spec) as (node, proxy):
            load = Load(node, "crew", key_count, at_once=key_count or 80)
            for cut in range(cuts):
                await more_than(lambda: load.sent, 100)
                if cut % 4 == 3 and which != "work":
                    proxy.swallow()
                    await more_than(lambda: proxy.swallowed, 0)
                accepted = proxy.accepted
                proxy.cut()
                await until_async(functools.partial(is_dialled, proxy, accepted), 60.0)
            await load.end()
            await node.flush(50)
            assert load.errors == []
            measured("sent:", load.sent)
            measured("handled twice:", crew.check_repeats("crew", load.numbers))
            if key_count is not None:
                assert crew.check_order("crew", key_count) == key_count

    asyncio.run(main())


@contextlib.asynccontextmanager
async def connected(
    crew: Crew, make_async: MakeAsync, which: str, spec: dict[str, Any]
) -> AsyncIterator[tuple[mesh.AsyncNode, Proxy]]:
    """A sender and two members; one of their connections goes through a proxy.

    Whoever is dialled by a proxy's address dials back directly, so it is one half of the link.
    """
    hire = functools.partial(crew.hire, spec, discovery=())
    with Proxy("127.0.0.1:1") as proxy:
        seeds: list[str] = []
        proxied: NodeProcess | None = None
        if which == "from the member":
            proxied = await asyncio.to_thread(hire)
            proxy.aim(proxied.address)
            seeds = [proxy.address]
        async with make_async(discovery=(), seeds=seeds) as node:
            if which == "to the member":
                proxy.aim(node.me.address)
                await asyncio.to_thread(hire, seeds=[proxy.address])
            elif which == "work":
                port = int(proxy.address.rpartition(":")[2])
                seeds = [node.me.address]
                proxied = await asyncio.to_thread(hire, seeds=seeds, work_port=port)
                proxy.aim(f"127.0.0.1:{proxied.work_port}")
            await asyncio.to_thread(hire, seeds=[node.me.address])
            await node.wait_for(group="crew", count=2, timeout=20)
            yield node, proxy


async def more_than(value: Callable[[], int], more: int) -> None:
    """Until it has grown by so much."""
    target = value() + more
    await until_async(lambda: value() > target, 60.0)


def is_dialled(proxy: Proxy, accepted: int) -> bool:
    return proxy.accepted > accepted
