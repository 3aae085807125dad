"""Fixtures of the tests on real sockets: a mesh of one's own, nodes and processes that end."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mesh
from tests.net.processes import NodeProcess, Script

Measured = Callable[[str, float], None]
_measured: list[str] = []


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    """Notes a figure for the summary at the end of the run: figures are told, not judged."""

    def note(what: str, value: float) -> None:
        _measured.append(f"{request.node.name}: {what} {value:.3g}")

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _measured:
        terminalreporter.section("measured")
        for line in _measured:
            terminalreporter.write_line(line)


@pytest.fixture
def mesh_name() -> str:
    """A mesh that no other test, on this machine or network, is in."""
    return f"test-{uuid.uuid4().hex[:16]}"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MESH_NAME", "MESH_KEY", "MESH_SEEDS", "MESH_HOST", "MESH_INSECURE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def make_node(mesh_name: str) -> Iterator[Callable[..., mesh.Node]]:
    """Makes nodes of this test's mesh, found by rendezvous, closed at the end; not started."""
    nodes: list[mesh.Node] = []

    def make(name: str | None = None, **settings: Any) -> mesh.Node:
        node = mesh.Node(name, **{"mesh": mesh_name, "discovery": ("local",)} | settings)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.close()


@pytest.fixture
def start_process(mesh_name: str) -> Iterator[Callable[..., NodeProcess]]:
    """Starts node processes of this test's mesh; ``wait`` until the node is started."""
    processes: list[NodeProcess] = []

    def start(
        name: str | None = None,
        *,
        wait: bool = True,
        subscribe: tuple[str, ...] = (),
        member: tuple[str, ...] = (),
        inline: bool = True,
        protocol: int | None = None,
        **settings: Any,
    ) -> NodeProcess:
        node = {"name": name, "mesh": mesh_name, "discovery": ["local"]} | settings
        agent: dict[str, Any] = {"node": node, "subscribe": subscribe, "member": member}
        agent["inline"] = inline
        if protocol is not None:
            agent["protocol"] = protocol
        process = NodeProcess(agent)
        processes.append(process)
        return process.wait_started() if wait else process

    yield start
    try:
        for process in processes:
            process.check()
    finally:
        for process in processes:
            process.end()


@pytest.fixture
def run_script() -> Iterator[Callable[..., Script]]:
    """Runs a Python program text in a process that ends with the test."""
    scripts: list[Script] = []

    def run(text: str, *arguments: str) -> Script:
        script = Script(["-c", text, *arguments])
        scripts.append(script)
        return script

    yield run
    for script in scripts:
        script.end()
