"""Processes with workers, hired and read by a test."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import mesh
from tests.net.processes import NodeProcess, until_async
from tests.net.workers import BEGAN, ENDED, Note, read_notes

__all__ = ["Crew", "freeze", "resident", "state_of"]


class Crew:
    """Processes with workers, and all that they noted."""

    def __init__(self, start: Callable[..., NodeProcess], folder: Path) -> None:
        self._start = start
        self._folder = folder
        self._count = itertools.count()
        self.files: dict[str, list[tuple[NodeProcess, Path]]] = defaultdict(list)
        """By group, queue group or pattern."""

    def hire(self, *specs: dict[str, Any], wait: bool = True, **settings: Any) -> NodeProcess:
        """A process with one node and these workers."""
        settings = {"name": "worker"} | settings
        full = [spec | {"notes": str(self._path(spec))} for spec in specs]
        process = self._start(workers=full, wait=wait, **settings)
        for spec in full:
            self.files[_label(spec)].append((process, Path(spec["notes"])))
        return process

    def hire_all(self, *specs: dict[str, Any], **settings: Any) -> list[NodeProcess]:
        """One process for each worker, started at the same time."""
        processes = [self.hire(spec, wait=False, **settings) for spec in specs]
        return [process.wait_started() for process in processes]

    def _path(self, spec: dict[str, Any]) -> Path:
        return self._folder / f"{next(self._count):03}-{_label(spec)}.notes"

    def notes(self, label: str) -> list[list[Note]]:
        """Of each worker of that group, queue group or pattern, in the order of hiring."""
        return [list(read_notes(path)) for _, path in self.files[label]]

    def runs(self, label: str) -> dict[int, list[Note]]:
        """By number, the runs that began, in the order of time."""
        by_number: dict[int, list[Note]] = defaultdict(list)
        for notes in self.notes(label):
            for entry in notes:
                if entry.what == BEGAN:
                    by_number[entry.number].append(entry)
        for runs in by_number.values():
            runs.sort()
        return by_number

    def counts(self, label: str) -> list[int]:
        """How many runs each worker began."""
        return [sum(entry.what == BEGAN for entry in notes) for notes in self.notes(label)]

    def check_once(self, label: str, numbers: Iterable[int]) -> None:
        """All of ``numbers`` were handled once, nothing else was, and none was marked."""
        runs = self.runs(label)
        assert runs.keys() == set(numbers), _difference(label, runs, numbers)
        wrong = {n: r for n, r in runs.items() if len(r) != 1 or r[0].is_marked}
        assert wrong == {}, f"{len(wrong)} of {label}"

    def check_repeats(self, label: str, numbers: Iterable[int]) -> int:
        """All of ``numbers`` were handled, nothing else was, and of the runs of each all but one
        were marked; returns how many runs there were too many."""
        runs = self.runs(label)
        assert runs.keys() == set(numbers), _difference(label, runs, numbers)
        wrong = {n: r for n, r in runs.items() if sum(not run.is_marked for run in r) > 1}
        assert wrong == {}, f"{len(wrong)} of {label}"
        return sum(len(r) - 1 for r in runs.values())

    def check_order(self, label: str, key_count: int) -> int:
        """Per key (``Load``) all runs but marked ones began in order, and never were two of a key
        at one worker at once; returns how many keys there were.

        What runs a second time unmarked was about to begin when its process was stopped: the
        marked run, which came first, had its place in the order.
        """
        for notes in self.notes(label):
            _check_one_at_a_time(notes, key_count)
        by_key: dict[int, list[tuple[float, int]]] = defaultdict(list)
        for number, runs in self.runs(label).items():
            if not runs[0].is_marked:
                by_key[number % key_count].append((runs[0].when, number))
        wrong = [
            (key, earlier, later)
            for key, runs_of_key in by_key.items()
            for (_, earlier), (_, later) in itertools.pairwise(sorted(runs_of_key))
            if earlier > later
        ]
        assert wrong == []
        return len(by_key)


def _check_one_at_a_time(notes: list[Note], key_count: int) -> None:
    takes_time = any(entry.what == ENDED for entry in notes)
    running: set[int] = set()
    for entry in notes if takes_time else ():
        key = entry.number % key_count
        if entry.what == BEGAN:
            assert key not in running, entry
            running.add(key)
        else:
            running.discard(key)


def _label(spec: dict[str, Any]) -> str:
    label: str = spec.get("queue") or spec.get("group") or spec["pattern"]
    return label


def _difference(label: str, runs: dict[int, list[Note]], numbers: Iterable[int]) -> str:
    expected = set(numbers)
    missing, unknown = sorted(expected - runs.keys()), sorted(runs.keys() - expected)
    return (
        f"{label}: of {len(expected)} {len(missing)} are missing, {missing[:9]}, "
        f"and there are {len(unknown)} others, {unknown[:9]}"
    )


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def freeze(node: mesh.AsyncNode, process: NodeProcess, until_state: str) -> float:
    """Stop it until the node believes that, or for 1.5 s if "alive"; then until it is back."""
    began = time.monotonic()
    process.signal(signal.SIGSTOP)
    if until_state == "alive":
        await until_async(lambda: time.monotonic() > began + 1.5)
    else:
        await until_async(lambda: state_of(node, process) == until_state, 60.0)
    process.signal(signal.SIGCONT)
    await until_async(lambda: state_of(node, process) == "alive", 60.0)
    return time.monotonic() - began


def state_of(node: mesh.AsyncNode, process: NodeProcess) -> str:
    return next((p.state for p in node.peers(all=True) if p.id == process.id), "unknown")
