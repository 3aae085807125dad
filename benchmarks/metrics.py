"""What metrics cost: a call and a publish with the measuring on and off, and one scrape.

``python -m benchmarks.metrics``. On and off take turns within one run, so that both see the same
machine, in processor time of the loop's thread; the least of each is told, and the median of
scrapes, by the clock.
"""

from __future__ import annotations

import asyncio
import statistics
import time
import urllib.request

import mesh
from mesh.inspection.state import state_of
from mesh.metrics.families import PARTS
from mesh.testing import SimMesh

ROUNDS = 10
CALLS = 2000
PUBLISHES = 20_000
PEERS = 50
SCRAPES = 10


async def call_and_publish() -> None:
    options = {"mesh": "bench-metrics", "discovery": ("local",)}
    server, client = mesh.AsyncNode("calc", **options), mesh.AsyncNode("shop", **options)  # type: ignore[arg-type]

    @server.rpc
    def add(a: int, b: int) -> int:
        return a + b

    server.subscriber("news")(lambda message: None)
    async with server, client:
        await client.wait_for("calc")
        await client.wait_for()
        measures = [
            (part, part.measures)
            for node in (server, client)
            for part in (node.host.engine.server, node.host.engine._client)
            if node.host.engine.inspection.measure()
        ]
        took: dict[tuple[str, bool], list[float]] = {}
        for number in range(2 * ROUNDS):
            is_on = bool(number % 2)
            for part, made in measures:
                part.measures = made if is_on else None
            began = time.thread_time()
            for _ in range(CALLS // 64):
                await asyncio.gather(*(client.call("calc.add", 1, 2) for _ in range(64)))
            took.setdefault(("call, 64 in flight", is_on), []).append(
                (time.thread_time() - began) / (CALLS // 64 * 64)
            )
            began = time.thread_time()
            for _ in range(PUBLISHES):
                client.publish("news", b"x" * 64)
            took.setdefault(("publish", is_on), []).append((time.thread_time() - began) / PUBLISHES)
            await client.flush()
    for (what, is_on), times in sorted(took.items()):
        print(f"{what}, metrics {'on' if is_on else 'off'}: {min(times) * 1e9:.0f} ns")


def snapshots() -> None:
    """The loop's part of a scrape: of simulated nodes, as only that part is of interest."""
    with SimMesh() as sim:
        nodes = [sim.node("calc") for _ in range(PEERS + 1)]
        nodes[0].rpc("add")(lambda a, b: a + b)
        sim.until(lambda: all(len(node.peers()) == PEERS for node in nodes), within=60.0)
        host = nodes[0].host
        host.engine.inspection.measure()
        times, checks = [], []
        for _ in range(50):
            began = time.perf_counter()
            for part in PARTS:
                state_of(part, host, host.settings)
            times.append(time.perf_counter() - began)
            began = time.perf_counter()
            nodes[0].health()
            checks.append(time.perf_counter() - began)
    print(f"snapshot on the loop, {PEERS} peers: {statistics.median(times) * 1e3:.2f} ms")
    print(f"check of health, {PEERS} peers: {statistics.median(checks) * 1e3:.2f} ms")


def scrapes() -> None:
    options = {"mesh": "bench-scrapes", "discovery": ("local",)}
    others = [mesh.Node("other", **options) for _ in range(PEERS)]  # type: ignore[arg-type]
    with mesh.Node("calc", metrics_port=0, **options) as node:  # type: ignore[arg-type]
        try:
            for other in others:
                other.start()
            node.wait_for("other", count=PEERS, timeout=60)
            times = []
            for _ in range(SCRAPES):
                began = time.perf_counter()
                with urllib.request.urlopen(f"http://{node.metrics_address}/metrics") as answer:
                    text = answer.read()
                times.append(time.perf_counter() - began)
        finally:
            for other in others:
                other.close()
    lines = sum(not line.startswith(b"#") for line in text.splitlines())
    print(f"scrape, {PEERS} peers: {statistics.median(times) * 1e3:.1f} ms, {lines} series")


if __name__ == "__main__":
    asyncio.run(call_and_publish())
    snapshots()
    scrapes()
