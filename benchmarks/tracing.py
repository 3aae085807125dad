"""What traces cost: ``python -m benchmarks.tracing``; CPU time and steps of both nodes.

For each state a pair of nodes in this process, of which one publishes, casts and calls to plain
inline handlers of the other, 64 bytes. The states take turns; the median of ``--rounds`` counts.

``off``        ``tracing=False``
``asleep``     the default, and no trace has come by
``awake``      a trace has come by lately, and this is in none
``unsampled``  within a trace that is only passed on
``sampled``    within a trace whose spans are recorded, one at each node
``otel``       the same with OpenTelemetry's SDK and a processor that does nothing, if installed

Steps are bytecode instructions, which no other load on the machine changes; CPU time is that of the
thread of the loop, in ns.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from statistics import median
from types import FrameType
from typing import Any

import uvloop

import mesh
from mesh.testing import SimMesh
from patterns.traces import TraceContext, headers_with, now_traced

COUNT = 512
PAYLOAD = b"x" * 64
SAMPLED = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
UNSAMPLED = TraceContext(SAMPLED.trace_id, SAMPLED.span_id, is_sampled=False)

CONTEXTS = {"unsampled": UNSAMPLED, "sampled": SAMPLED, "otel": SAMPLED}


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


def provider() -> Any:
    """One that makes spans and gives them to nobody; None without the SDK."""
    try:
        from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    except ImportError:
        return None
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SpanProcessor())
    return made


class Pair:
    """One that sends, and one that handles. What is sent is through when it is handled."""

    def __init__(self, one: mesh.AsyncNode, two: mesh.AsyncNode) -> None:
        self.one = one
        self._left = 0
        self._is_through = asyncio.Event()
        two.rpc("echo")(lambda value: value)
        two.subscriber("news")(self._handle)
        two.member("crew")(self._handle)

    def _handle(self, message: mesh.Message) -> None:
        self._left -= 1
        if not self._left:
            self._is_through.set()

    async def publish(self, count: int) -> None:
        self._left = count
        for _ in range(count):
            self.one.publish("news", PAYLOAD)
        await self._through()

    async def groupcast(self, count: int) -> None:
        self._left = count
        for _ in range(count):
            await self.one.groupcast("crew", PAYLOAD)
        await self._through()

    async def call(self, count: int) -> None:
        echo = self.one.service("two", timeout=60.0).echo

        async def caller() -> None:
            for _ in range(count // 64):
                await echo(PAYLOAD)

        await asyncio.gather(*(caller() for _ in range(64)))

    async def _through(self) -> None:
        await self._is_through.wait()
        self._is_through.clear()
        await self.one.flush()


def wake(state: str, *nodes: mesh.AsyncNode) -> None:
    """Have them in that state."""
    for node in nodes:
        observing = node.host.observing
        if state not in ("off", "asleep"):
            observing.notice(headers_with(None, SAMPLED))
        observing.begins = False


def settings() -> dict[str, Any]:
    """State -> ``tracing=``."""
    found = {"off": False, "asleep": None, "awake": None, "unsampled": None, "sampled": None}
    otel = provider()
    return found if otel is None else found | {"otel": otel}


async def pair(state: str, tracing: Any, stack: AsyncExitStack) -> Pair:
    """Two nodes that are linked."""
    options: dict[str, Any] = {"mesh": f"tracing-{state}-{os.getpid()}", "discovery": ("local",)}
    one = mesh.AsyncNode("one", tracing=tracing, **options)
    two = mesh.AsyncNode("two", tracing=tracing, **options)
    made = Pair(one, two)
    await stack.enter_async_context(two)
    await stack.enter_async_context(one)
    await one.wait_for("two", timeout=10)
    await one.wait_for(group="crew", timeout=10)
    wake(state, one, two)
    return made


ACTS = {"publish": Pair.publish, "groupcast": Pair.groupcast, "call": Pair.call}


def steps_of(state: str, tracing: Any) -> dict[str, float]:
    """Verb -> steps of one. Simulated, so that they are the same at each run."""
    found = {}
    with SimMesh(seed=1) as sim:
        two, one = sim.node("two", tracing=tracing), sim.node("one", tracing=tracing)
        made = Pair(one, two)
        sim.until(lambda: len(one.peers()) == 1, within=10.0)
        sim.advance(1.0)
        wake(state, one, two)

        async def count(act: Callable[[Pair, int], Awaitable[None]]) -> float:
            now_traced.set(CONTEXTS.get(state))
            await act(made, COUNT)
            with Steps() as counted:
                await act(made, COUNT)
            return counted.count / COUNT

        for verb, act in ACTS.items():
            found[verb] = sim.run(count(act))
    return found


async def times_of(rounds: int) -> dict[tuple[str, str], float]:
    """(verb, state) -> ns of one, on real sockets."""
    took: dict[tuple[str, str], list[float]] = {}
    async with AsyncExitStack() as stack:
        pairs = {state: await pair(state, t, stack) for state, t in settings().items()}
        for number in range(rounds + 1):
            for verb, act in ACTS.items():
                for state, made in pairs.items():
                    token = now_traced.set(CONTEXTS.get(state))
                    began = time.thread_time_ns()
                    await act(made, COUNT)
                    spent = (time.thread_time_ns() - began) / COUNT
                    if number:
                        took.setdefault((verb, state), []).append(spent)
                    now_traced.reset(token)
    return {key: median(values) for key, values in took.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    steps = {state: steps_of(state, tracing) for state, tracing in settings().items()}
    times = uvloop.run(times_of(rounds))
    for verb in ACTS:
        for state, counted in steps.items():
            took = times[verb, state]
            print(f"{verb:11}{state:11}{took:10,.0f} ns{counted[verb]:10,.0f} steps")


if __name__ == "__main__":
    main()
