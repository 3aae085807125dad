"""``kill -9`` of producers that are homes, of hosts and of workers, at any moment: no job whose
``put`` returned is lost, and none is handled twice without a kill that explains it."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mesh
from tests.net.processes import Script
from tests.net.queue_crew import Line, read_ledger
from tests.net.queue_help import MakeAsync

QUEUES = ("jobs", "hosted", "a", "b", "c")
CREW = {"producer": 2, "keepers": 2, "worker": 4}

SLOW = pytest.mark.slow

NOTICED = 2.0
"""Seconds after which a worker has heard of a home that was killed, even on a machine with far more
to do than it can; until then it begins what it has from there."""


class Kill:
    def __init__(self, role: str, index: int, pid: int) -> None:
        self.role, self.index, self.pid = role, index, pid
        self.began = self.ended = time.monotonic()
        """It may have gone on until it was reaped."""


class CrewOfEight:
    """The processes, each started anew when it is killed."""

    def __init__(self, folder: Path, mesh_name: str, seed: int) -> None:
        self._folder, self._mesh = folder, mesh_name
        self._dice = random.Random(seed)
        self._scripts: dict[tuple[str, int], Script] = {}
        self.kills: list[Kill] = []
        self.errors: list[str] = []
        for role, count in CREW.items():
            for index in range(count):
                self._start(role, index)

    def _start(self, role: str, index: int) -> None:
        given = {
            "folder": str(self._folder),
            "mesh": self._mesh,
            "role": role,
            "index": index,
            "seed": self._dice.random(),
        }
        arguments = ["-m", "tests.net.queue_crew", json.dumps(given)]
        self._scripts[role, index] = Script(arguments)

    def kill_one(self) -> None:
        """At any moment; or just when it has written in its ledger: that it has put, or handled."""
        which = self._dice.choice(list(self._scripts))
        script = self._scripts[which]
        assert script.process.poll() is None, script.errors
        if which[0] != "keepers" and self._dice.random() < 0.7:
            self._watch_ledger(self._folder / f"{which[0]}-{which[1]}.ledger")
        self.kills.append(Kill(*which, script.pid))
        script.kill()
        self.kills[-1].ended = time.monotonic()
        self._note_end(script)
        self._start(*which)

    def _watch_ledger(self, path: Path) -> None:
        size = path.stat().st_size if path.exists() else 0
        until = time.monotonic() + 1.0
        while time.monotonic() < until and not (path.exists() and path.stat().st_size > size):
            time.sleep(0.0002)

    def _note_end(self, script: Script) -> None:
        if "Traceback" in script.errors:
            self.errors.append(script.errors)
        script.end()

    def pause(self, most: float) -> float:
        return self._dice.random() * most

    def stop_putting(self) -> None:
        (self._folder / "stop").touch()

    def end(self) -> None:
        for script in self._scripts.values():
            if script.process.poll() is not None:
                self.errors.append(f"it has ended by itself: {script.errors}")
            self._note_end(script)
        self._scripts.clear()

    def lines(self) -> list[Line]:
        return [line for path in self._folder.glob("*.ledger") for line in read_ledger(path)]


class Verdict:
    """What the ledgers say when all is drained."""

    def __init__(self, lines: list[Line], kills: list[Kill]) -> None:
        self._kills = kills
        put = [line for line in lines if line.what == "put"]
        self.put = Counter(line.queue for line in put)
        ended = {(line.queue, line.data) for line in lines if line.what == "end"}
        self.lost = [line for line in put if (line.queue, line.data) not in ended]
        chained = {line.data for line in put if line.queue == "a"}
        self.lost_in_chains = [
            (queue, data) for queue in ("b", "c") for data in chained if (queue, data) not in ended
        ]
        self.jobs_of: dict[tuple[str, str], set[str]] = defaultdict(set)
        runs: dict[tuple[str, str], list[Line]] = defaultdict(list)
        self._ends = {
            (line.pid, line.id, line.queue, line.attempts) for line in lines if line.what == "end"
        }
        for line in lines:
            if line.what == "begin":
                runs[line.queue, line.id].append(line)
                self.jobs_of[line.queue, line.data].add(line.id)
        self.twice: Counter[str] = Counter()
        self.unexplained: list[tuple[Line, Line]] = []
        self.handled = 0
        for several in runs.values():
            several.sort()
            self.handled += 1
            for one, following in itertools.pairwise(several):
                why = self._why(one, following)
                self.twice[why] += 1
                if why == "unexplained":
                    self.unexplained.append((one, following))
        self.doubled = {
            (queue, data): ids
            for (queue, data), ids in self.jobs_of.items()
            if queue in "abc" and len(ids) > 1
        }

    def _why(self, one: Line, following: Line) -> str:
        """Which kill explains that a job was begun again."""
        has_ended = (one.pid, one.id, one.queue, one.attempts) in self._ends
        had = "after its effect" if has_ended else "during its effect"
        for kill in self._kills:
            if kill.pid == one.pid and kill.began <= following.when:
                return f"its worker was killed {had}"
        for kill in self._kills:
            is_home = kill.role == ("keepers" if one.queue == "hosted" else "producer")
            if one.queue != "hosted":
                is_home = is_home and kill.index == int(one.data.split(".")[0])
            # The answer to what was asked before the kill, or the stream, went with it.
            if is_home and one.when - NOTICED <= kill.ended and kill.began <= following.when:
                return f"its home was killed {had}"
        return "unexplained"


@pytest.fixture
def crew_of_eight(tmp_path: Path, mesh_name: str) -> Iterator[Callable[[int], CrewOfEight]]:
    crews: list[CrewOfEight] = []

    def make(seed: int) -> CrewOfEight:
        crews.append(CrewOfEight(tmp_path, mesh_name, seed))
        return crews[-1]

    yield make
    for crew in crews:
        crew.end()


@pytest.mark.parametrize(
    ("rounds", "pause"),
    [(8, 0.4), pytest.param(200, 2.0, marks=[SLOW, pytest.mark.timeout(1500)])],
)
def test_kills_lose_no_job_and_double_none_without_cause(
    crew_of_eight: Callable[[int], CrewOfEight],
    make_async: MakeAsync,
    rounds: int,
    pause: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    crew = crew_of_eight(rounds)

    async def watch() -> None:
        async with make_async("watcher") as node:
            queues = [node.queue(name, hosts="keepers") for name in QUEUES]
            await node.wait_for("worker-0", timeout=60)
            for _ in range(rounds):
                await asyncio.sleep(crew.pause(pause))
                crew.kill_one()
            crew.stop_putting()
            deadline = time.monotonic() + 120
            while left := await lengths(queues):
                assert time.monotonic() < deadline, left
                await asyncio.sleep(0.1)

    asyncio.run(watch())
    crew.end()
    verdict = Verdict(crew.lines(), crew.kills)
    with capsys.disabled():
        print(  # noqa: T201  what the long form is run for
            f"\n{rounds} kills: put {dict(verdict.put)}, {verdict.handled} jobs begun, lost "
            f"{len(verdict.lost)}, begun again {dict(verdict.twice)}"
        ) if rounds > 8 else None
    assert min(verdict.put[name] for name in ("jobs", "hosted", "a")) > 2 * rounds
    assert verdict.lost == []
    assert verdict.lost_in_chains == []
    assert verdict.doubled == {}  # the ack and the put of what follows are one
    assert verdict.unexplained == []
    assert crew.errors == []


async def lengths(queues: list[mesh.AsyncQueue]) -> dict[str, Any]:
    """What is left of each queue; also while a home is away."""
    left: dict[str, Any] = {}
    for queue in queues:
        homes = CREW["keepers" if queue.name == "hosted" else "producer"]
        try:
            stats = await queue.stats()
        except mesh.MeshError as error:
            left[queue.name] = str(error)
            continue
        count = stats.ready + stats.delayed + stats.reserved
        if count or (queue.name in ("jobs", "a", "hosted") and len(stats.homes) < homes):
            left[queue.name] = count, len(stats.homes)
        dead = sum(group.dead for group in stats.groups.values())
        assert not dead, (queue.name, await queue.peek("dead"))
    return left
