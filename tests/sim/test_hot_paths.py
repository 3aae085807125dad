"""What a message costs, in steps of the interpreter, which no other load on the machine changes.

Whoever makes a hot path longer fails here, and has to say in ``BOUNDS`` why it is worth that. Time
is measured by ``benchmarks``; the count leaves out what happens in C (packing, joining, sockets).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import mesh
from mesh.publishing import ThreadPublisher
from mesh.testing import SimMesh

pytestmark = pytest.mark.skipif(
    sys.implementation.name != "cpython" or sys.version_info[:2] != (3, 11),
    reason="the steps were counted with CPython 3.11",
)

COUNT = 800
"""Messages of one turn: what comes once for a frame hardly counts."""

HEADROOM = 1.05
"""What else happens in a turn is not always the same."""

BOUNDS = {
    "publish to nobody": 95,
    "publish to one": 147,
    "publish to eight": 147,
    "publish from a thread": 145,
    "deliver": 71,
    "groupcast": 212,
    "call": 1326,
}
"""Steps for each message, or call, with both sides where both take part, and some 350 of the
simulation in a call."""

PAYLOAD = b"x" * 64


@pytest.fixture
def sim() -> Iterator[SimMesh]:
    with SimMesh(seed=1) as sim:
        yield sim


class Steps:
    """Counts the bytecode that this thread runs while it is entered."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Steps:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        self.count += event == "opcode"
        return self._trace


def peers_of(sim: SimMesh, count: int) -> tuple[mesh.AsyncNode, list[Any]]:
    """A node, and ``count`` others that subscribe, serve and are members; what these have heard."""
    heard: list[Any] = []
    for number in range(count):
        other = sim.node(f"other{number}")
        other.subscriber("news.*")(heard.append)
        other.member("crew")(heard.append)
        other.rpc("echo")(lambda value: value)
    node = sim.node("node")
    sim.until(lambda: len(node.peers()) == count, within=10.0)
    sim.advance(1.0)
    return node, heard


async def steps_of(act: Callable[[], Awaitable[object]]) -> float:
    """Steps for each of ``COUNT`` messages, once what is remembered is known."""
    await act()
    with Steps() as steps:
        await act()
    return steps.count / COUNT


def check(what: str, steps: float) -> None:
    assert steps <= BOUNDS[what] * HEADROOM, f"{what}: {steps:.1f} steps, not {BOUNDS[what]}"
    # Who made it shorter writes that down, so that it stays so.
    assert steps >= BOUNDS[what] / HEADROOM, f"{what}: {steps:.1f} steps, not {BOUNDS[what]}"


@pytest.mark.parametrize(
    ("others", "what"), [(0, "publish to nobody"), (1, "publish to one"), (8, "publish to eight")]
)
def test_a_publish_takes_as_many_steps_as_before(sim: SimMesh, others: int, what: str) -> None:
    node, heard = peers_of(sim, others)

    async def body() -> float:
        async def publish() -> None:
            for _ in range(COUNT):
                node.publish("news.today", PAYLOAD)

        steps = await steps_of(publish)
        await node.flush()
        return steps

    check(what, sim.run(body()))
    sim.advance(1.0)
    assert len(heard) == 2 * COUNT * others


def test_a_publish_from_another_thread_takes_as_many_steps_as_before(sim: SimMesh) -> None:
    """What such a thread does, and the loop with what it handed over; all of it on one thread."""
    node, heard = peers_of(sim, 1)
    publisher = ThreadPublisher(node.host)

    async def publish() -> None:
        for _ in range(COUNT):
            publisher.publish("news.today", PAYLOAD, None)
        node.host.handover.drain()

    check("publish from a thread", sim.run(steps_of(publish)))
    sim.advance(1.0)
    assert len(heard) == 2 * COUNT


def test_a_delivery_takes_as_many_steps_as_before(sim: SimMesh) -> None:
    node, heard = peers_of(sim, 1)

    async def publish() -> None:
        for _ in range(COUNT):
            node.publish("news.today", PAYLOAD)

    async def body() -> float:
        await publish()
        await node.flush()
        with Steps() as steps:
            await asyncio.sleep(0.1)
        assert len(heard) == COUNT
        return steps.count / COUNT

    check("deliver", sim.run(body()))


def test_a_groupcast_takes_as_many_steps_as_before(sim: SimMesh) -> None:
    node, heard = peers_of(sim, 1)

    async def cast() -> None:
        for _ in range(COUNT):
            await node.groupcast("crew", PAYLOAD)
        await node.flush()

    check("groupcast", sim.run(steps_of(cast)))
    assert len(heard) == 2 * COUNT


def test_a_call_takes_as_many_steps_as_before(sim: SimMesh) -> None:
    node, _ = peers_of(sim, 1)

    async def caller() -> None:
        for _ in range(COUNT // 40):
            await node.call("other0.echo", PAYLOAD)

    async def call() -> None:
        await asyncio.gather(*(caller() for _ in range(40)))

    check("call", sim.run(steps_of(call)))
