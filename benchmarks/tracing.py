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
from patterns.traces import TraceContext, headers_with, now_traced

COUNT = 512
COUNTED = 128
"""While steps are counted, which takes long."""
PAYLOAD = b"x" * 64
SAMPLED = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
UNSAMPLED = TraceContext(SAMPLED.trace_id, SAMPLED.span_id, is_sampled=False)

VERBS = ("publish", "groupcast", "call")
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


async def pair(state: str, tracing: Any, stack: AsyncExitStack) -> mesh.AsyncNode:
    """The node that sends, linked with one that handles."""
    options: dict[str, Any] = {"mesh": f"tracing-{state}-{os.getpid()}", "discovery": ("local",)}
    one = mesh.AsyncNode("one", tracing=tracing, **options)
    two = mesh.AsyncNode("two", tracing=tracing, **options)
    two.rpc("echo")(lambda value: value)
    two.subscriber("news")(lambda message: None)
    two.member("crew")(lambda message: None)
    await stack.enter_async_context(two)
    await stack.enter_async_context(one)
    await one.wait_for("two", timeout=10)
    await one.wait_for(group="crew", timeout=10)
    if state != "off" and state != "asleep":
        for node in (one, two):
            node.host.observing.notice(headers_with(None, SAMPLED))
    return one


async def publish(node: mesh.AsyncNode, count: int) -> None:
    for _ in range(count):
        node.publish("news", PAYLOAD)
    await node.flush()


async def groupcast(node: mesh.AsyncNode, count: int) -> None:
    for _ in range(count):
        await node.groupcast("crew", PAYLOAD)
    await node.flush()


async def call(node: mesh.AsyncNode, count: int) -> None:
    async def caller() -> None:
        for _ in range(count // 64):
            await node.call("two.echo", PAYLOAD)

    await asyncio.gather(*(caller() for _ in range(64)))


async def measure(rounds: int) -> dict[tuple[str, str], tuple[float, float]]:
    """(verb, state) -> ns and steps of one."""
    verbs: dict[str, Callable[[mesh.AsyncNode, int], Awaitable[None]]] = {
        "publish": publish,
        "groupcast": groupcast,
        "call": call,
    }
    took: dict[tuple[str, str], list[float]] = {}
    steps: dict[tuple[str, str], float] = {}
    async with AsyncExitStack() as stack:
        nodes = {"off": await pair("off", False, stack)}
        for state in ("asleep", "awake", "unsampled", "sampled"):
            nodes[state] = await pair(state, None, stack)
        if (otel := provider()) is not None:
            nodes["otel"] = await pair("otel", otel, stack)
            nodes["otel"].host.observing.begins = False
        for number in range(rounds + 1):
            for verb, act in verbs.items():
                for state, node in nodes.items():
                    token = now_traced.set(CONTEXTS.get(state))
                    began = time.thread_time_ns()
                    await act(node, COUNT)
                    spent = (time.thread_time_ns() - began) / COUNT
                    if number:
                        took.setdefault((verb, state), []).append(spent)
                    else:
                        with Steps() as counted:
                            await act(node, COUNTED)
                        steps[verb, state] = counted.count / COUNTED
                    now_traced.reset(token)
    return {key: (median(values), steps[key]) for key, values in took.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    found = uvloop.run(measure(parser.parse_args().rounds))
    for verb in VERBS:
        for (measured, state), (nanoseconds, steps) in found.items():
            if measured == verb:
                print(f"{verb:11}{state:11}{nanoseconds:10,.0f} ns{steps:10,.0f} steps")


if __name__ == "__main__":
    main()
