"""`mesh.AsyncNode` through its public API, on uvloop where it is installed.

Plain handlers of an `AsyncNode` run inline on the loop; nothing here sets an option that a user
would not set. Only the cold start uses another source of discovery than the same-host rendezvous,
so no multicast is needed.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from contextlib import AsyncExitStack
from functools import partial
from itertools import cycle, islice
from statistics import median
from typing import Final

import mesh
from benchmarks.control import Control
from benchmarks.systems import (
    ANSWER_TIMEOUT_S,
    GROUP,
    MARK,
    PUBLISHES_PER_SAMPLE,
    SETTLE_S,
    SETUP_TIMEOUT_S,
    SUBJECT,
    Params,
    Role,
    Tally,
    pattern_of,
    role,
    subjects_of,
)
from benchmarks.systems.drivers import (
    call_in_window,
    call_serially_async,
    chunk_of,
    flood_async,
)
from benchmarks.usage import resident_bytes, usage

CASTS_PER_CLOCK_CHECK = 64
"""Each waits for credit by itself; a look at the clock costs a tenth of one."""


def new_node(name: str, params: Params) -> mesh.AsyncNode:
    """A node of this run's own mesh."""
    discovery = tuple(params.get("discovery", ("local",)))
    key = params.get("key")
    return mesh.AsyncNode(name, mesh=f"bench-{params['run']}", discovery=discovery, key=key)


async def publisher(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    chunk = chunk_of(len(payload))
    subjects = list(islice(cycle(subjects_of(params)), chunk))
    async with new_node("publisher", params) as node:
        control.report()
        publish = node.publish

        async def wait_for_receivers() -> None:
            await node.wait_for("subscriber", count=params["receivers"], timeout=SETUP_TIMEOUT_S)

        async def publish_chunk() -> int:
            for subject in subjects:
                publish(subject, payload)
            await node.flush(timeout=ANSWER_TIMEOUT_S)
            return chunk

        async def mark() -> None:
            publish(MARK)
            await node.flush(timeout=ANSWER_TIMEOUT_S)

        await flood_async(control, wait_for_receivers, publish_chunk, mark)


async def subscriber(control: Control, params: Params) -> None:
    tally = Tally(params["size"])
    node = new_node("subscriber", params)

    @node.subscriber(pattern_of(params))
    def on_data(message: mesh.Message) -> None:
        tally.count += 1
        tally.last = message.data

    @node.subscriber(MARK)
    def on_mark(_message: mesh.Message) -> None:
        tally.close_at_mark(control, time.monotonic_ns())

    async with node:
        control.report()
        await control.receive_async()


async def echo_server(control: Control, params: Params) -> None:
    node = new_node("echo", params)

    @node.rpc
    def echo(payload: bytes) -> bytes:
        return payload

    async with node:
        control.report()
        await control.receive_async()


async def window_client(control: Control, params: Params) -> None:
    async with new_node("client", params) as node:
        await node.wait_for("echo", timeout=SETUP_TIMEOUT_S)
        call = partial(node.call, "echo.echo")
        await call_in_window(control, os.urandom(params["size"]), params["in_flight"], call)


async def serial_client(control: Control, params: Params) -> None:
    async with new_node("client", params) as node:
        await node.wait_for("echo", timeout=SETUP_TIMEOUT_S)
        call = partial(node.call, "echo.echo")
        await call_serially_async(control, os.urandom(params["size"]), call)


async def lonely_publisher(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    async with new_node("publisher", params) as node:
        control.report()
        publish = node.publish
        while (command := await control.receive_async()) is not None:
            samples_ns: list[int] = []
            reached = 0
            end_ns = time.monotonic_ns() + int(command["seconds"] * 1e9)
            while time.monotonic_ns() < end_ns:
                before_ns = time.monotonic_ns()
                for _ in range(PUBLISHES_PER_SAMPLE):
                    publish(SUBJECT, payload)
                samples_ns.append(time.monotonic_ns() - before_ns)
                reached += publish(SUBJECT, payload)
                await asyncio.sleep(0)
            control.report(
                reached=reached,
                ns_per_publish=median(samples_ns) / PUBLISHES_PER_SAMPLE,
            )


async def member(control: Control, params: Params) -> None:
    tally = Tally(params["size"])
    node = new_node("member", params)

    @node.member(GROUP)
    def on_cast(message: mesh.Message) -> None:
        tally.count += 1
        tally.last = message.data

    async with node:
        control.report()
        while await control.receive_async() is not None:
            tally.report_handled(control)


async def caster(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    async with new_node("caster", params) as node:
        count = len(params["peers"])
        await node.wait_for(group=GROUP, count=count, timeout=SETUP_TIMEOUT_S)
        control.report()
        groupcast = node.groupcast
        while (command := await control.receive_async()) is not None:
            cpu_before_s = time.process_time()
            started_ns = time.monotonic_ns()
            end_ns = started_ns + int(command["seconds"] * 1e9)
            sent = 0
            while time.monotonic_ns() < end_ns:
                for _ in range(CASTS_PER_CLOCK_CHECK):
                    await groupcast(GROUP, payload)
                sent += CASTS_PER_CLOCK_CHECK
            await node.flush(timeout=ANSWER_TIMEOUT_S)
            control.report(
                sent=sent,
                started_ns=started_ns,
                ended_ns=time.monotonic_ns(),
                cpu_s=time.process_time() - cpu_before_s,
            )


async def cold_server(control: Control, params: Params) -> None:
    control.report()
    await control.receive_async()
    started_ns = time.monotonic_ns()
    node = new_node("echo", params)

    @node.rpc
    def echo(payload: bytes) -> bytes:
        return payload

    async with node:
        control.report(started_ns=started_ns)
        await control.receive_async()


async def cold_client(control: Control, params: Params) -> None:
    control.report()
    await control.receive_async()
    started_ns = time.monotonic_ns()
    async with new_node("client", params) as node:
        server = node.service("echo", timeout=SETUP_TIMEOUT_S, wait=SETUP_TIMEOUT_S)
        reply = await server.echo(b"first")
        answered_ns = time.monotonic_ns()
        if reply != b"first":
            raise ValueError(f"the first call was answered by {reply!r}")
        control.report(started_ns=started_ns, answered_ns=answered_ns)
        await control.receive_async()


async def idler(control: Control, params: Params) -> None:
    async with new_node("idler", params) as node:
        await node.wait_for("idler", count=params["count"], timeout=SETUP_TIMEOUT_S)
        control.report()
        while (command := await control.receive_async()) is not None:
            before_ns, before_cpu_s = time.monotonic_ns(), time.process_time()
            await asyncio.sleep(command["seconds"])
            cpu_s = time.process_time() - before_cpu_s
            elapsed_s = (time.monotonic_ns() - before_ns) / 1e9
            control.report(rss_bytes=resident_bytes(), cpu_s=cpu_s, elapsed_s=elapsed_s)


async def watched(control: Control, params: Params) -> None:
    async with new_node("watched", params) as node:
        control.report()
        while (command := await control.receive_async()) is not None:
            await node.wait_for("crowd", count=command["peers"], timeout=SETUP_TIMEOUT_S)
            await asyncio.sleep(SETTLE_S)
            gc.collect()
            control.report(**usage())


async def crowd(control: Control, params: Params) -> None:
    async with AsyncExitStack() as nodes:
        control.report()
        while (command := await control.receive_async()) is not None:
            for _ in range(command["add"]):
                await nodes.enter_async_context(new_node("crowd", params))
            control.report()


ROLES: Final[dict[str, Role]] = {
    "publisher": role(publisher),
    "subscriber": role(subscriber),
    "window_server": role(echo_server),
    "window_client": role(window_client),
    "serial_server": role(echo_server),
    "serial_client": role(serial_client),
    "lonely_publisher": role(lonely_publisher),
    "member": role(member),
    "caster": role(caster),
    "cold_server": role(cold_server),
    "cold_client": role(cold_client),
    "idler": role(idler),
    "watched": role(watched),
    "crowd": role(crowd),
}
