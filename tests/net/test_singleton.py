"""A singleton among real processes: one runs it, and another goes on when that one is gone."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.net.processes import Script, until

CANDIDATE = """
import asyncio, json, sys, time
import mesh

name, path = sys.argv[1:]
node = mesh.AsyncNode("billing", mesh=name, discovery=("local",))


def note(what, active):
    with open(path, "a") as file:
        said = {"what": what, "node": node.id, "at": time.monotonic(), "fence": active.fence}
        file.write(json.dumps(said) + "\\n")


@node.singleton("run")
async def run(active):
    note("begins", active)
    try:
        await asyncio.sleep(3600)
    finally:
        note("ends", active)


async def main():
    await node.start()
    print(node.id, flush=True)
    await node.run()

asyncio.run(main())
"""


def test_a_singleton_runs_at_one_process_and_moves_when_that_is_killed_or_leaves(
    run_script: Callable[..., Script], mesh_name: str, tmp_path: Path
) -> None:
    path = tmp_path / "noted"
    path.touch()
    scripts = [run_script(CANDIDATE, mesh_name, str(path)) for _ in range(3)]
    by_id = {}
    for script in scripts:
        assert script.process.stdout is not None
        by_id[script.process.stdout.readline().strip()] = script

    def noted(what: str) -> list[dict[str, Any]]:
        said = [json.loads(line) for line in path.read_text().splitlines()]
        return [each for each in said if each["what"] == what]

    # It may move while they meet, each time when the one before has ended.
    until(lambda: noted("begins"), 30)
    until(lambda: len(noted("begins")) == len(noted("ends")) + 1, 30)
    first = noted("begins")[-1]
    by_id[first["node"]].kill()
    until(lambda: noted("begins")[-1]["node"] != first["node"], 30)
    second = noted("begins")[-1]
    by_id[second["node"]].signal(signal.SIGTERM)
    until(lambda: noted("begins")[-1]["node"] not in (first["node"], second["node"]), 30)
    third = noted("begins")[-1]
    assert by_id[second["node"]].wait(10) == 0
    ended = next(each for each in noted("ends") if each["node"] == second["node"])
    assert ended["at"] < third["at"], "two ran at once"
    fences = [each["fence"] for each in noted("begins")]
    assert fences == sorted(set(fences))
