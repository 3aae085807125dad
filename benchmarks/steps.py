"""What a message costs, step by step, in ns: ``python -m benchmarks.steps``.

Two nodes in this process, so nothing waits for another and the scheduler has no say. Each step is
timed as it is called in a run, in rounds of a frame; the median counts. A step's own figure holds
a few ns of the loop around it. Sockets are left out, but for what a frame costs at them.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import uvloop
import zmq

import mesh
from mesh.links import Batch
from mesh.links.batches import BATCH_BYTES
from mesh.wire import frames
from mesh.wire.codec import Codec

SIZE = 64
ROUNDS = 300
SUBJECT = "bench.steps"


def per_item(count: int, act: Callable[[], object]) -> float:
    """ns for each of the ``count`` things that ``act`` does."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter_ns()
        act()
        took.append((time.perf_counter_ns() - began) / count)
    return median(took)


async def per_message(node: mesh.AsyncNode, payload: bytes, count: int) -> tuple[float, float]:
    """ns of a publish, and of what a message costs until both nodes are through with it."""
    calls, whole = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter_ns()
        for _ in range(count):
            node.publish(SUBJECT, payload)
        called = time.perf_counter_ns()
        await node.flush()
        ended = time.perf_counter_ns()
        calls.append((called - began) / count)
        whole.append((ended - began) / count)
    return median(calls), median(whole)


def frame_at_sockets(size: int) -> tuple[float, float]:
    """ns to send a frame of that size, and to receive it, by the sockets of a link."""
    context: zmq.Context[Any] = zmq.Context()
    sender, receiver = context.socket(zmq.XPUB), context.socket(zmq.SUB)
    port = sender.bind_to_random_port("tcp://127.0.0.1")
    receiver.connect(f"tcp://127.0.0.1:{port}")
    receiver.subscribe(b"")
    sender.recv()
    frame, sending, receiving = bytes(size), [], []
    for _ in range(ROUNDS):
        began = time.perf_counter_ns()
        sender.send(frame, zmq.NOBLOCK)
        sending.append(time.perf_counter_ns() - began)
        receiver.poll()
        began = time.perf_counter_ns()
        receiver.recv(zmq.NOBLOCK)
        receiving.append(time.perf_counter_ns() - began)
    context.destroy(linger=0)
    return median(sending), median(receiving)


async def measure() -> dict[str, float]:
    """Each step's ns."""
    payload = os.urandom(SIZE)
    options: dict[str, Any] = {"mesh": f"steps-{os.getpid()}", "discovery": ("local",)}
    async with mesh.AsyncNode("one", **options) as one, mesh.AsyncNode("two", **options) as two:
        two.rpc("echo")(lambda value: value)
        two.subscriber(SUBJECT)(lambda message: None)
        two.member("crew")(lambda message: None)
        await one.wait_for("two", timeout=10)
        await two.wait_for("one", timeout=10)
        await one.wait_for(group="crew", timeout=10)
        steps = await steps_of_a_message(one, two, payload)
        steps["a groupcast, both nodes in all"] = await timed(1000, lambda: cast(one, payload))
        steps["a call of 64 in flight, both nodes in all"] = await timed(
            64 * 16, lambda: call(one, payload)
        )
        return steps


async def steps_of_a_message(
    one: mesh.AsyncNode, two: mesh.AsyncNode, payload: bytes
) -> dict[str, float]:
    """Of a publish from one to the other; the steps in between without the nodes."""
    codec = Codec()
    entry = codec.pack((SUBJECT, payload))

    def fill() -> Batch:
        batch = Batch(frames.PUBLISH, entry)
        while batch.append(entry):
            pass
        return batch

    full = fill()
    count, body = full.count, full.frame()
    entries = codec.unpack_all(body, count)
    deliver, sender = two.host.engine.pubsub.deliver, two.host.engine.session_of(one.id)
    many = range(1000)
    nobody = per_item(1000, lambda: [one.publish("nobody", payload) for _ in many])
    publish, whole = await per_message(one, payload, count)
    sending, receiving = frame_at_sockets(BATCH_BYTES)
    return {
        "publish to nobody": nobody,
        "publish": publish,
        "  of that: pack": per_item(1000, lambda: [codec.pack((SUBJECT, payload)) for _ in many]),
        "  of that: append to the batch": per_item(count, fill),
        "join into a frame": per_item(count, lambda: full.frame(b"header")),
        "send the frame": sending / count,
        "receive it": receiving / count,
        "decode": per_item(count, lambda: codec.unpack_all(body, count)),
        "deliver to a handler": per_item(
            count, lambda: deliver(frames.PUBLISH, sender, entries, 0, 0, abs)
        ),
        "a message, both nodes in all": whole,
    }


async def timed(count: int, act: Callable[[], Any]) -> float:
    took = []
    for _ in range(ROUNDS // 4):
        began = time.perf_counter_ns()
        await act()
        took.append((time.perf_counter_ns() - began) / count)
    return median(took)


async def cast(node: mesh.AsyncNode, payload: bytes) -> None:
    for _ in range(1000):
        await node.groupcast("crew", payload)
    await node.flush()


async def call(node: mesh.AsyncNode, payload: bytes) -> None:
    async def caller() -> None:
        for _ in range(16):
            await node.call("two.echo", payload)

    await asyncio.gather(*(caller() for _ in range(64)))


def main() -> None:
    for step, nanoseconds in uvloop.run(measure()).items():
        print(f"{step:45}{nanoseconds:8,.0f} ns")


if __name__ == "__main__":
    main()
