"""Sixteen nodes in four processes live under load while nodes leave, die, freeze and come.

After each round of churn, when every node sees exactly all others alive, each process that stays
counts what it holds. A leak is something that a round leaves behind; so what is judged is growth
per round, after a warm-up in which everything bounded fills. ``MESH_SOAK_SECONDS`` is the length
of the long form.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import pytest

from tests.net.conftest import Measured
from tests.net.processes import Script, free_ports, until
from tests.soak.household import NODES

PROCESSES = 4
SECONDS = float(os.environ.get("MESH_SOAK_SECONDS", 1800.0))
ANSWER_WITHIN = 60.0
RIGHT_WITHIN = 50.0
"""Ten times what is aimed at."""

FREEZE = 1.5
LONG_FREEZE = 8.0
"""Shorter, and longer, than it takes to be failed (6.5 s)."""

ALLOWED = {"resident bytes": 4096.0, "python blocks": 8.0, "objects": 4.0}
"""Growth per round that is put down to the allocator, to caches and to noise. A round replaces,
kills or freezes at least one node of which each other one held a session, a record, connections
and timers: more than 100 objects and 20 kB. A leak of one object of a peer shows."""

ALLOWED_OTHERS = 0.05
"""For what is counted in pieces (descriptors, threads, tasks, objects of a class): one in twenty
rounds, and a leak would be one each."""

SLACK = {"resident bytes": 4 << 20, "python blocks": 20_000, "objects": 6_000}
SLACK_OTHERS = 40
"""What two samples may differ by however short the run: messages under way, and so their tasks."""

COLD = 16
"""By how much more in the short form: there memories and connections still fill, and only what
messages leave behind, not what rounds do, is found."""


class Household(Script):
    """A process of ``tests.soak.household``."""

    def __init__(self, mesh_name: str, *ports: int) -> None:
        super().__init__(["-m", "tests.soak.household", mesh_name, *map(str, ports)])
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.ids: list[str] = []

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def wait_started(self) -> None:
        self.ids = self.answer()

    def answer(self) -> Any:
        try:
            line = self._lines.get(timeout=ANSWER_WITHIN)
        except queue.Empty:
            raise AssertionError(f"no answer: {self.errors}") from None
        assert line, self.errors
        return json.loads(line)

    def begin(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def ask(self, command: str) -> Any:
        self.begin(command)
        return self.answer()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        super().end()


class Town:
    """All processes; the last one is mortal, the others stay and are measured."""

    def __init__(self, mesh_name: str) -> None:
        self._mesh = mesh_name
        self._ports = free_ports(NODES // 2)
        self.residents = [Household(mesh_name) for _ in range(PROCESSES - 1)]
        self._mortal = Household(mesh_name, *self._ports)
        self.samples: list[list[dict[str, int]]] = [[] for _ in self.residents]
        self.slowest = 0.0
        for household in self.all:
            household.wait_started()

    @property
    def all(self) -> list[Household]:
        return [*self.residents, self._mortal]

    def kill(self) -> None:
        """Its nodes do not say goodbye; two of their successors have their ports."""
        self._mortal.end()
        self._mortal = Household(self._mesh, *self._ports)
        self._mortal.wait_started()

    def replace(self) -> None:
        """In each process a node leaves and another comes, all at the same time."""
        for household in self.residents:
            household.begin("replace")
        for household in self.residents:
            household.ids = household.answer()

    def listen(self) -> None:
        for household in self.residents:
            household.begin("listen")
        for household in self.residents:
            household.answer()

    def freeze(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        for household in self.all[:2]:
            household.signal(signal.SIGSTOP)
        until(lambda: time.monotonic() > end, seconds + 5.0)
        for household in self.all[:2]:
            household.signal(signal.SIGCONT)

    def wait_right(self) -> None:
        """Until every node sees exactly all others, alive."""
        began = time.monotonic()
        everybody = {id: "alive" for household in self.all for id in household.ids}
        assert len(everybody) == PROCESSES * NODES

        def wrong() -> dict[str, Any]:
            return {
                id[:8]: {i[:8]: s for i, s in view.items() ^ everybody.items()}
                for household in self.all
                for id, view in zip(household.ids, household.ask("views"), strict=True)
                if view != everybody
            }

        while left := wrong():
            assert time.monotonic() < began + RIGHT_WITHIN, self._explanation(left)
        self.slowest = max(self.slowest, time.monotonic() - began)

    def _explanation(self, wrong: dict[str, Any]) -> str:
        """Who sees what wrong, and what all nodes know of those."""
        whom = {id for odd in wrong.values() for id in odd}
        lines = [
            f"{id[:8]}: {line}"
            for household in self.all
            for id, lines in zip(household.ids, household.ask("explain"), strict=True)
            for line in lines
            if line[:8] in whom
        ]
        return "\n".join([f"{wrong}", f"mortal: {self._mortal.ids}", *lines])

    def count(self) -> None:
        for samples, household in zip(self.samples, self.residents, strict=True):
            samples.append(household.ask("census"))

    def end(self) -> None:
        for household in self.all:
            household.end()


def grown(
    samples: list[dict[str, int]], warm_up: int, slacks: int
) -> dict[str, tuple[float, float]]:
    """By figure: growth from the first to the last third after the warm-up, and what is allowed.

    Medians of thirds: what is under way when it is counted is no growth.
    """
    judged = samples[warm_up:]
    third = max(1, len(judged) // 3)
    rounds = len(judged) - third
    found = {}
    for name in sorted({name for sample in judged for name in sample}):
        first, last = (
            median(sample.get(name, 0) for sample in part)
            for part in (judged[:third], judged[-third:])
        )
        slack = slacks * SLACK.get(name, SLACK_OTHERS)
        found[name] = (last - first, slack + rounds * ALLOWED.get(name, ALLOWED_OTHERS))
    return found


def live(town: Town, seconds: float, warm_up: float) -> int:
    """Round after round; returns how many were the warm-up."""
    began = time.monotonic()
    steps: Iterator[Callable[[], None]] = itertools.cycle(
        [
            town.replace,
            town.kill,
            town.listen,
            lambda: town.freeze(FREEZE),
            town.replace,
            town.kill,
            town.replace,
            lambda: town.freeze(LONG_FREEZE),
        ]
    )
    warm = 0
    town.wait_right()
    while time.monotonic() < began + seconds:
        next(steps)()
        town.wait_right()
        town.count()
        warm += time.monotonic() < began + warm_up
        if os.environ.get("MESH_SOAK_LOG"):
            _log(town, time.monotonic() - began)
    return warm


def _log(town: Town, at: float) -> None:
    with open(os.environ["MESH_SOAK_LOG"], "a") as file:
        for number, samples in enumerate(town.samples):
            file.write(json.dumps({"at": round(at, 1), "process": number} | samples[-1]) + "\n")


@pytest.fixture
def town(mesh_name: str) -> Iterator[Town]:
    made = Town(mesh_name)
    try:
        yield made
    finally:
        made.end()


@pytest.mark.parametrize(
    ("seconds", "warm_up", "slacks"),
    [
        pytest.param(9.0, 2.0, COLD, id="short"),
        pytest.param(
            SECONDS,
            SECONDS / 3,
            1,
            id="long",
            marks=[pytest.mark.slow, pytest.mark.timeout(SECONDS + 300.0)],
        ),
    ],
)
def test_what_a_process_holds_does_not_grow_with_churn_and_load(
    town: Town, measured: Measured, seconds: float, warm_up: float, slacks: int
) -> None:
    warm = live(town, seconds, warm_up)
    rounds = len(town.samples[0])
    measured("rounds of churn:", rounds)
    measured("right again after each, at most s:", town.slowest)
    growth = [grown(samples, warm, slacks) for samples in town.samples]
    for name in (*ALLOWED, "descriptors", "threads", "tasks"):
        measured(f"{name} grew by at most", max(figures[name][0] for figures in growth))
    told = [household.ask("tell") for household in town.residents]
    for household in town.all:
        household.ask("close")
        assert household.wait(10.0) == 0, household.errors
        household.check()
    assert all(t["outcomes"]["call"] and t["outcomes"]["cast"] for t in told)
    assert all(t["handled"].keys() == {"news", "groupcast", "publish"} for t in told), told
    leaks = {
        f"{number}: {name}": figures
        for number, found in enumerate(growth)
        for name, figures in found.items()
        if figures[0] > figures[1]
    }
    assert leaks == {}, leaks
