"""Fifty nodes in five processes: all know all, and all close, in time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.net.conftest import Measured
from tests.net.processes import Script

PROCESSES = 5
NODES = 10
KNOW_WITHIN = 3.0 * 10
CLOSE_WITHIN = 1.0 * 10
"""Seconds that the contract gives, with ten times the time for a busy machine."""


@pytest.fixture
def crowd(mesh_name: str) -> Iterator[list[Script]]:
    everywhere = str(PROCESSES * NODES)
    scripts = [
        Script(["-m", "tests.net.crowd", mesh_name, str(NODES), everywhere])
        for _ in range(PROCESSES)
    ]
    yield scripts
    for script in scripts:
        script.end()


def test_fifty_nodes_all_know_all_and_close(crowd: list[Script], measured: Measured) -> None:
    assert all(heard(script)["ready"] for script in crowd)
    for script in crowd:
        go_on(script)
    known = [heard(script) for script in crowd]
    assert {state for line in known for state in line["states"]} == {"alive"}
    assert len({id for line in known for id in line["ids"]}) == PROCESSES * NODES
    took = max(line["known"] for line in known) - min(line["began"] for line in known)
    measured("all know all after s:", took)
    assert took < KNOW_WITHIN
    for script in crowd:
        go_on(script)
    slowest = max(max(heard(script)["closing"]) for script in crowd)
    measured("slowest close, s:", slowest)
    assert slowest < CLOSE_WITHIN
    for script in crowd:
        assert script.wait(10.0) == 0
        # On a machine too busy for all the goodbyes a source is given up, and says so.
        assert all("does not close in" in line for line in script.errors.splitlines())


def heard(script: Script) -> Any:
    assert script.process.stdout is not None
    line = script.process.stdout.readline()
    assert line, script.errors
    return json.loads(line)


def go_on(script: Script) -> None:
    assert script.process.stdin is not None
    script.process.stdin.write("\n")
    script.process.stdin.flush()
