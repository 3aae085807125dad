"""``ping()``: how far a peer is, on both faces, and how it fails."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

import pytest

import mesh
from mesh.engine.pings import MAX_PINGS
from tests.net.processes import NodeProcess, until, until_async

MakeNode = Callable[..., mesh.Node]
MakeAsync = Callable[..., mesh.AsyncNode]

SOON = 5.0
"""Seconds for what takes a millisecond, on a machine under load."""


def test_a_ping_tells_the_seconds_to_a_peer_and_back(make_node: MakeNode) -> None:
    here, there = make_node("here").start(), make_node("there").start()
    until(lambda: here.peers() and there.peers())
    for peer in (here.peers()[0], there.id):
        began = time.monotonic()
        seconds = here.ping(peer)
        assert 0 < seconds <= time.monotonic() - began
    assert 0 < here.ping(here.me) < SOON, "itself, through its own loop"


def test_an_observer_answers_too(make_node: MakeNode) -> None:
    here, eye = make_node("here").start(), make_node("eye", observer=True).start()
    until(lambda: here.peers(all=True))
    assert 0 < here.ping(eye.id) < SOON


def test_many_pings_may_be_under_way(make_async: MakeAsync) -> None:
    async def main() -> None:
        async with make_async("here") as here, make_async("there") as there:
            await until_async(lambda: here.peers())
            times = await asyncio.gather(*(here.ping(there.id) for _ in range(200)))
            assert all(0 < seconds < SOON for seconds in times)

    asyncio.run(main())


def test_a_cancelled_ping_leaves_nothing_behind(make_async: MakeAsync) -> None:
    async def main() -> None:
        async with make_async("here") as here, make_async("there") as there:
            await until_async(lambda: here.peers())
            for _ in range(2):  # each time as many as may be under way
                tasks = [
                    asyncio.ensure_future(here.ping(there.id, timeout=1e9))
                    for _ in range(MAX_PINGS)
                ]
                await asyncio.sleep(0)
                for task in tasks:
                    task.cancel()
                ends = await asyncio.gather(*tasks, return_exceptions=True)
                assert {type(end) for end in ends} == {asyncio.CancelledError}
            assert 0 < await here.ping(there.id) < SOON

    asyncio.run(main())


def test_a_stopped_process_does_not_answer_and_a_killed_one_is_lost(
    make_node: MakeNode, start_process: Callable[..., NodeProcess]
) -> None:
    here = make_node("here").start()
    there = start_process("there")
    until(lambda: here.peers())
    there.signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(mesh.Timeout, match="no answer from there/"):
        here.ping(there.id, timeout=0.2)
    assert time.monotonic() - began < 0.2 + SOON
    there.signal(signal.SIGCONT)
    there.kill()
    with pytest.raises(mesh.PeerLost):
        here.ping(there.id, timeout=60)


@pytest.mark.parametrize("timeout", [float("nan"), "1", None])
def test_a_timeout_that_is_none_is_refused(make_node: MakeNode, timeout: object) -> None:
    here = make_node("here").start()
    with pytest.raises(mesh.ConfigError, match="timeout"):
        here.ping(here.me, timeout=timeout)  # type: ignore[arg-type]


def test_only_a_peer_or_an_id_is_taken(make_node: MakeNode) -> None:
    here = make_node("here").start()
    with pytest.raises(mesh.ConfigError, match="32 hex digits"):
        here.ping("there")
    with pytest.raises(mesh.PeerLost):
        here.ping("0" * 32)
