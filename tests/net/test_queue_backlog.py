"""A backlog is flat: how many jobs wait changes neither what each costs nor, in a file, the memory.

``MESH_BACKLOG`` is how many there are; in memory no more than two thirds of it,
or of a million.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.net.conftest import Measured
from tests.net.processes import Script, until

COUNT = int(os.environ.get("MESH_BACKLOG", "300000"))

MIB = 1024 * 1024

FILE_BYTES = 200 * MIB
"""What a home with a file may take beyond an idle one: windows, the cache, and what is put or taken
and not written yet. Nothing of it grows with the backlog."""

JOB_BYTES = 1_000
"""Of each job that is in memory: its body has 64 bytes, and the rest is what Python takes."""

LEAST_RATE = 1_000
"""Jobs a second that are put, or done, on the slowest machine: this makes deadlines."""

WITHIN = 60.0 + COUNT / LEAST_RATE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * WITHIN + 60)]

NODE = """
import asyncio, json, sys, time
import mesh

BODY, BATCH = b"x" * 64, 1000

def rss():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024

def say(**what):
    print(json.dumps(what), flush=True)

async def home(name, url, count):
    node = mesh.AsyncNode("home", mesh=name, discovery=("local",))
    queue = node.queue("emails", store=url or None)
    async with node:
        idle = rss()
        began = time.monotonic()
        for _ in range(count // BATCH):
            await queue.put_many([BODY] * BATCH)
            await asyncio.sleep(0)
        say(put_rate=count / (time.monotonic() - began), put_bytes=rss() - idle)
        samples, most = [], 0
        while not samples or samples[-1][1] < count:
            done = (await queue.stats()).done
            samples.append((time.monotonic(), done))
            most = max(most, rss() - idle)
            await asyncio.sleep(0.02)
        say(rates=rates_of(samples, count), drain_bytes=most)
        await asyncio.to_thread(sys.stdin.read)

def rates_of(samples, count):
    rates = []
    for tenth in range(10):
        first = max(s for s in samples if s[1] <= tenth * count / 10)
        last = min(s for s in samples if s[1] >= (tenth + 1) * count / 10)
        rates.append((last[1] - first[1]) / (last[0] - first[0]))
    return rates

async def work(name):
    node = mesh.AsyncNode("worker", mesh=name, discovery=("local",))

    @node.worker("emails", inline=True)
    def do(job):
        pass

    async with node:
        say(ready=True)
        await asyncio.to_thread(sys.stdin.read)

what, name, *rest = sys.argv[1:]
asyncio.run(home(name, rest[0], int(rest[1])) if what == "home" else work(name))
"""


def told(script: Script, within: float) -> dict[str, Any]:
    """The next line of a script."""
    stdout = script.process.stdout
    assert stdout is not None
    os.set_blocking(stdout.fileno(), False)
    line = until(stdout.readline, within, "a line of the script")
    said: dict[str, Any] = json.loads(line)
    return said


@pytest.mark.parametrize("store", ["file", "memory"])
def test_a_backlog_is_drained_at_its_end_as_fast_as_at_its_beginning(
    run_script: Callable[..., Script],
    mesh_name: str,
    tmp_path: Path,
    measured: Measured,
    store: str,
) -> None:
    count = COUNT if store == "file" else min(COUNT, 1_000_000) * 2 // 3
    count -= count % 10_000
    url = f"sqlite:///{tmp_path}/jobs.db" if store == "file" else ""
    home = run_script(NODE, "home", mesh_name, url, str(count))
    put = told(home, WITHIN)
    worker = run_script(NODE, "worker", mesh_name)
    assert told(worker, 60.0) == {"ready": True}
    drained = told(home, WITHIN)
    rates = drained["rates"]
    measured("jobs/s put", put["put_rate"])
    for tenth, rate in enumerate(rates, 1):
        measured(f"jobs/s done in tenth {tenth}", rate)
    measured("MiB while put", put["put_bytes"] / MIB)
    measured("MiB while drained", drained["drain_bytes"] / MIB)
    assert rates[-1] >= rates[0] / 2, rates
    most = FILE_BYTES if store == "file" else FILE_BYTES + count * JOB_BYTES
    assert max(put["put_bytes"], drained["drain_bytes"]) <= most
