"""Four nodes in one process, all under load, one of which comes and goes on demand.

Started by ``test_soak.py`` with mesh name and first port as arguments; obeys words on standard
input and answers each with a JSON line. Prints a line with its ids when all nodes run.

What a node remembers of those that are gone fills over days up to its bounds. Here the bounds are
small, so that they are reached in the warm-up, and whatever grows afterwards has none.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import discovery.hints
import discovery.hub
import mesh
import mesh.engine.dialer
import mesh.engine.link_plane
import mesh.membership.table
import patterns.groupcast.receiver
from mesh.engine.session import Session
from tests.soak.census import census

NODES = 4
NAME = "soak"
PERIOD = 0.25
"""Seconds between the bursts of a node: one of each verb, and more of what is cheap."""

PUBLISHES = 8
CASTS = 3
FILLING = "x" * 200
KEYS = 32

REMEMBERED = 48
"""For all that is remembered of nodes that are gone; three times the nodes that are here."""


def bound_memories() -> None:
    mesh.membership.table.MAX_ENDED = REMEMBERED
    mesh.engine.link_plane.MAX_SESSIONS = REMEMBERED * 2
    mesh.engine.link_plane.MAX_UNJOINED = REMEMBERED // 4
    mesh.engine.link_plane.MAX_STRANGERS = REMEMBERED
    mesh.engine.dialer.MAX_REMEMBERED = REMEMBERED * 4
    mesh.engine.dialer.MAX_SECOND_HAND = REMEMBERED // 2
    patterns.groupcast.receiver.MAX_SOURCES = REMEMBERED * 2
    discovery.hints.MAX_REMEMBERED = REMEMBERED
    discovery.hub.MAX_KNOWN = REMEMBERED


class Load:
    """Bursts of every verb from one node, one after the other, until it is ended.

    An error of the mesh is an outcome, and counted; anything else ends the process.
    """

    def __init__(self, node: mesh.AsyncNode, outcomes: Counter[str]) -> None:
        self._node = node
        self._outcomes = outcomes
        self._number = 0
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(_end_process_on_error)

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            self._number += 1
            for verb in (self._publish, self._call, self._keyed_call, self._cast, self._ping):
                try:
                    await verb()
                except mesh.MeshError as error:
                    self._outcomes[f"{verb.__name__[1:]}: {type(error).__name__}"] += 1
                else:
                    self._outcomes[verb.__name__[1:]] += 1
            await asyncio.sleep(PERIOD)

    async def _publish(self) -> None:
        for _ in range(PUBLISHES):
            self._node.publish("soak.news", [self._number, FILLING])
            self._node.publish("soak.work", self._number)
        if not self._number % 16:
            await self._node.flush(5.0)

    async def _call(self) -> None:
        await self._node.service(NAME, timeout=2.0).echo(FILLING)

    async def _keyed_call(self) -> None:
        key = f"key{self._number % KEYS}"
        await self._node.service(NAME, timeout=5.0, key=key, retry=True).later(self._number)

    async def _cast(self) -> None:
        for number in range(CASTS):
            key = None if number else f"key{self._number % KEYS}"
            await self._node.groupcast("crew", [self._number, FILLING], key=key, timeout=5.0)

    async def _ping(self) -> None:
        peers = self._node.peers()
        if peers:
            await self._node.ping(peers[self._number % len(peers)], timeout=2.0)


def _end_process_on_error(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        raise SystemExit(f"the load ended: {task.exception()!r}")


class Household:
    """The nodes of one process."""

    def __init__(self, mesh_name: str, ports: list[int]) -> None:
        self._mesh = mesh_name
        self._ports = ports
        self._nodes: list[mesh.AsyncNode] = []
        self._loads: list[Load] = []
        self._outcomes: Counter[str] = Counter()
        self._handled: Counter[str] = Counter()

    async def start(self, number: int) -> None:
        """The first ones have given ports, and so keep their addresses over the process's end."""
        port = self._ports[number] if number < len(self._ports) else 0
        node = mesh.AsyncNode(NAME, mesh=self._mesh, key="soak", host="127.0.0.1", port=port)
        node.rpc("echo")(lambda value: value)
        node.rpc("later")(self._later)
        node.subscriber("soak.*")(self._count("news"))
        node.subscriber("soak.work", group="workers", concurrency=4)(self._slowly)
        node.member("crew", concurrency=4)(self._slowly)
        await node.start()
        self._nodes.insert(number, node)
        self._loads.insert(number, Load(node, self._outcomes))

    async def _later(self, number: int) -> int:
        await asyncio.sleep(0.002)
        return number

    def _count(self, what: str) -> Callable[[mesh.Message], None]:
        def handle(message: mesh.Message) -> None:
            self._handled[what] += 1

        return handle

    async def _slowly(self, message: mesh.Message) -> None:
        self._handled[message.kind] += 1
        await asyncio.sleep(0.001)

    # Commands.

    async def replace(self) -> list[str]:
        """The last node leaves, and another comes; the ids that are here now."""
        await self._loads.pop().end()
        await self._nodes.pop().close()
        await self.start(NODES - 1)
        return self.ids()

    async def listen(self) -> float:
        """What is begun and ended while a node lives, and a visitor with a thread of its own."""
        node = self._nodes[0]
        watch = node.watch()
        async with node.subscribe("soak.news") as news, node.join("crew") as crew:
            await news.get(timeout=20.0)
            await crew.get(timeout=20.0)
        watch.close()
        return await asyncio.to_thread(self._visit)

    def _visit(self) -> float:
        with mesh.Node("visitor", mesh=self._mesh, key="soak", host="127.0.0.1") as visitor:
            visitor.rpc("pause")(time.sleep)
            visitor.wait_for(NAME, timeout=20.0)
            visitor.service("visitor", peer=visitor.id).pause(0.01)
            return visitor.ping(visitor.id)

    def ids(self) -> list[str]:
        return [node.id for node in self._nodes]

    def views(self) -> list[dict[str, str]]:
        """What each node here sees: ids and states, itself included."""
        return [{p.id: p.state for p in n.peers()} | {n.id: "alive"} for n in self._nodes]

    def explain(self) -> list[list[str]]:
        """All that each node knows of its sessions, for people."""
        return [
            [_explain(node, session) for session in node.host.engine._core.sessions.values()]
            for node in self._nodes
        ]

    def census(self) -> dict[str, int]:
        return census()

    def tell(self) -> dict[str, dict[str, int]]:
        """What the load came to, what was handled, and what the nodes counted."""
        counters: Counter[str] = Counter()
        for node in self._nodes:
            counters.update(node.counters())
        return {"outcomes": self._outcomes, "handled": self._handled, "counters": counters}

    async def close(self) -> None:
        for load in self._loads:
            await load.end()
        await asyncio.gather(*(node.close() for node in self._nodes))


def _explain(node: mesh.AsyncNode, session: Session) -> str:
    heard = node.host.engine.now() - session.last_heard
    dial = session.dial and session.dial.address
    return (
        f"{session.id.hex()[:8]} {session.address} {session.state} joined={session.is_joined} "
        f"links={session.links} dial={dial} heard {heard:.1f} s ago pinged={session.pinged_at} "
        f"replaced={session.is_replaced} state of dialling: {_dialling(node, session)}"
    )


def _dialling(node: mesh.AsyncNode, session: Session) -> str:
    dialer = node.host.engine._dialer
    rounds = dialer.rounds_without_answer(session.id, ())
    refused = {a: dialer.refusals.get(a) for a in session.info_addresses}
    answered = {a: dialer.who_answered(a) for a in session.info_addresses}
    who = {a: id and id.hex()[:8] for a, id in answered.items()}
    return f"rounds={rounds} refused={refused} answered={who}"


async def main(mesh_name: str, *ports: str) -> None:
    bound_memories()
    household = Household(mesh_name, [int(port) for port in ports])
    for number in range(NODES):
        await household.start(number)
    _tell(household.ids())
    loop = asyncio.get_running_loop()
    while command := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        answer = getattr(household, command)()
        _tell(await answer if asyncio.iscoroutine(answer) else answer)
        if command == "close":
            return


def _tell(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
