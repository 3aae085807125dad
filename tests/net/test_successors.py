"""Nodes that stand where others stood a moment ago: killed without a word, on the same ports.

Whoever is left still believes in the one that was there; what is meant for it must be refused by
its successor, and soon all know all that are there and no one else.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.net.conftest import Measured
from tests.net.processes import NodeProcess, free_ports, until

Start = Callable[..., NodeProcess]

SOON = 50.0
"""Seconds: ten times what is aimed at."""


def _sees(process: NodeProcess, expected: dict[str, str]) -> bool:
    return bool(process.ask("peers") == expected)


def wait_right(processes: list[NodeProcess]) -> float:
    """Until each sees exactly all others, alive; the seconds that it took."""
    began = time.monotonic()
    ids = {process.id for process in processes}
    for process in processes:
        expected = dict.fromkeys(ids - {process.id}, "alive")
        sees = functools.partial(_sees, process, expected)
        until(sees, SOON, f"{process.id[:8]}'s view")
    return time.monotonic() - began


@contextlib.contextmanager
def frozen(processes: list[NodeProcess]) -> Iterator[None]:
    """They notice nothing, and believe afterwards what they believed before."""
    for process in processes:
        process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.signal(signal.SIGCONT)


class Street:
    """Nodes at fixed ports, each writing to all others; some are killed and others move in."""

    def __init__(self, start_process: Start, count: int) -> None:
        self._start = start_process
        self._ports = free_ports(count)
        self.all = [self._begin(number) for number in range(count)]
        for process in self.all:
            process.wait_started()
        self.came: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        """Why nodes that stayed believe that others have failed."""

    def _begin(self, number: int) -> NodeProcess:
        return self._start("site", port=self._ports[number], letters=True, wait=False)

    def replace(self, numbers: range) -> float:
        """The others find it done when they wake up; the seconds until they have it right."""
        gone = [self.all[number] for number in numbers]
        kept = [process for process in self.all if process not in gone]
        for process in gone:
            self.came.update(process.ask("letters"))
        with frozen(kept):
            for process in gone:
                process.kill()
            for number in numbers:
                self.all[number] = self._begin(number)
            for number in numbers:
                self.all[number].wait_started()
        took = wait_right(self.all)
        for process in kept:
            for other in gone:
                seen = process.ask("seen", peer=other.id)
                self.reasons.update(why for _, kind, why, _ in seen if kind == "PeerFailed")
        return took


@pytest.mark.parametrize(
    ("count", "rounds"),
    [
        pytest.param(4, 1, id="short"),
        pytest.param(12, 20, id="long", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_a_successor_on_the_port_of_a_killed_node_gets_nothing_that_was_meant_for_that(
    start_process: Start, measured: Measured, count: int, rounds: int
) -> None:
    street = Street(start_process, count)
    wait_right(street.all)
    took = []
    for number in range(2 * rounds):
        half = count // 2
        took.append(street.replace(range(half) if number % 2 else range(half, count)))
    for process in street.all:
        street.came.update(process.ask("letters"))
    measured("right again, median, s:", statistics.median(took))
    measured("right again, worst, s:", max(took))
    measured("letters and calls:", street.came["received"] + street.came["ok"])
    assert street.came["ok"] > 20
    assert street.came["misdelivered"] == 0, street.came
    assert street.reasons["another node answers at its address"], street.reasons
