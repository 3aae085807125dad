"""Several nodes of a growing mesh in one process: the one role of ``benchmarks.growth``.

Every command names what to ``do`` and gets one report:

start      add, everywhere: starts so many nodes at once; when each of all here knows everybody:
           began_ns, ended_ns
know       everywhere: when each here knows so many: ended_ns
subscribe  subject: one node subscribes; when all have confirmed: began_ns, ended_ns, unconfirmed
publish    one node publishes to all nodes: began_ns, reached
seen       count: when each here has handled so many of these: ended_ns (of the last one)
cpu        cpu_s
usage      the fields of ``benchmarks.usage``
"""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import AsyncExitStack
from typing import Any, Final

import mesh
from benchmarks.control import Control
from benchmarks.systems import Params, Role, role
from benchmarks.systems.mesh_async import new_node
from benchmarks.usage import usage

KNOW_TIMEOUT_S = 180.0
"""For all to know all: two hundred nodes on two cores take a minute."""

CONFIRM_TIMEOUT_S = 30.0
SEEN_TIMEOUT_S = 30.0

EVERYBODY = "swarm.all"


class Swarm:
    """The nodes here. Methods are named as the commands."""

    def __init__(self, params: Params, stack: AsyncExitStack) -> None:
        self._params = params
        self._stack = stack
        self._nodes: list[mesh.AsyncNode] = []
        self._seen = 0
        self._seen_ns = 0
        self._is_seen = asyncio.Event()

    async def start(self, add: int, everywhere: int) -> dict[str, Any]:
        began_ns = time.monotonic_ns()
        nodes = [self._new_node() for _ in range(add)]
        self._nodes += nodes
        await asyncio.gather(*map(self._stack.enter_async_context, nodes))
        return {"began_ns": began_ns, **await self.know(everywhere)}

    def _new_node(self) -> mesh.AsyncNode:
        node = new_node("swarm", self._params)

        @node.subscriber(EVERYBODY)
        def on_message(_message: mesh.Message) -> None:
            self._seen += 1
            self._seen_ns = time.monotonic_ns()
            self._is_seen.set()

        return node

    async def know(self, everywhere: int) -> dict[str, Any]:
        waits = (
            node.wait_for("swarm", count=everywhere, timeout=KNOW_TIMEOUT_S) for node in self._nodes
        )
        await asyncio.gather(*waits)
        return {"ended_ns": time.monotonic_ns()}

    async def subscribe(self, subject: str) -> dict[str, Any]:
        began_ns = time.monotonic_ns()
        subscription = await self._nodes[0].subscribe(subject, timeout=CONFIRM_TIMEOUT_S)
        ended_ns = time.monotonic_ns()
        return {
            "began_ns": began_ns,
            "ended_ns": ended_ns,
            "unconfirmed": len(subscription.unconfirmed),
        }

    async def publish(self) -> dict[str, Any]:
        began_ns = time.monotonic_ns()
        return {"began_ns": began_ns, "reached": self._nodes[0].publish(EVERYBODY)}

    async def seen(self, count: int) -> dict[str, Any]:
        async with asyncio.timeout(SEEN_TIMEOUT_S):
            while self._seen < count * len(self._nodes):
                self._is_seen.clear()
                await self._is_seen.wait()
        return {"ended_ns": self._seen_ns}

    async def cpu(self) -> dict[str, Any]:
        return {"cpu_s": time.process_time()}

    async def usage(self) -> dict[str, Any]:
        gc.collect()
        return usage()


async def swarm(control: Control, params: Params) -> None:
    async with AsyncExitStack() as stack:
        here = Swarm(params, stack)
        control.report(**usage())
        while (command := await control.receive_async()) is not None:
            control.report(**await getattr(here, command.pop("do"))(**command))


ROLES: Final[dict[str, Role]] = {"swarm": role(swarm)}
