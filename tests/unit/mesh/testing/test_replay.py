"""The same seed gives the same run, in any process; a failing test tells its seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
TIMEOUT_S = 100

SCENARIO = """
import asyncio, random, sys
import mesh
from mesh.testing import SimMesh

def make():
    node = mesh.AsyncNode("worker")
    @node.rpc
    async def work(x):
        await asyncio.sleep(0.01)
        return x
    @node.member("jobs")
    async def job(message):
        await asyncio.sleep(0.02)
    return node

def scenario(seed):
    with SimMesh(seed) as sim:
        workers = [sim.add(make) for _ in range(3)]
        shop = sim.node("shop")

        async def body():
            await shop.wait_for("worker", count=3)
            for i in range(20):
                await shop.service("worker", retry=True).work(i)
                await shop.groupcast("jobs", {"number": i})
                if i == sim.random.randrange(20):
                    sim.kill(workers[0])
            sim.cut(shop, workers[1])
            await asyncio.sleep(5)
            sim.restart(workers[0])
            await shop.wait_for("worker", count=3)

        sim.run(body())
        return sim.trace

print(scenario(7), scenario(7), scenario(8))
"""


def traces(hash_seed: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCENARIO],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_same_seed_gives_the_same_run_in_every_process() -> None:
    one, other = traces("1"), traces("2")
    assert one == other
    first, again, another_seed = one
    assert first == again
    assert first != another_seed


def test_the_fixture_tells_the_seed_of_a_failure_and_takes_it(tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text(
        "def test_fails(sim_mesh):\n"
        "    sim_mesh.node('a')\n"
        "    print('ran with', sim_mesh.seed)\n"
        "    assert sim_mesh.seed != 42\n"
        "def test_passes(sim_mesh):\n"
        "    sim_mesh.node('a')\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "mesh.testing.plugin", str(test)],
        cwd=tmp_path,
        env={**os.environ, "MESH_SIM_SEED": "42", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert "ran with 42" in done.stdout
    assert "MESH_SIM_SEED=42 pytest 'test_it.py::test_fails'" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
