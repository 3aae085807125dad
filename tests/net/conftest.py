"""Fixtures of the tests on real sockets: a mesh of one's own, nodes and processes that end."""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import zmq

import mesh
from demos.chat.session import Session
from tests.conftest import Measured
from tests.net.crew import Crew
from tests.net.processes import NodeProcess, Script, key_for_tests
from tests.net.raw import RawPeer

__all__ = ["Measured"]


@pytest.fixture
def mesh_name() -> str:
    """A mesh that no other test, on this machine or network, is in."""
    return f"test-{uuid.uuid4().hex[:16]}"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MESH_")]:
        monkeypatch.delenv(name)
    for name, value in key_for_tests().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MESH_CONFIG", os.devnull)  # not the profiles of whoever runs the tests


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
def context() -> Iterator[zmq.Context[Any]]:
    made: zmq.Context[Any] = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def raw(context: zmq.Context[Any], mesh_name: str) -> Iterator[RawPeer]:
    """A member of this test's mesh that is no node."""
    peer = RawPeer(context, mesh_name)
    yield peer
    peer.close()


@pytest.fixture
def make_async(mesh_name: str) -> Callable[..., mesh.AsyncNode]:
    """Makes nodes of this test's mesh for the loop of the test, which closes them."""
    return functools.partial(mesh.AsyncNode, mesh=mesh_name, discovery=("local",))


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
        count: str | None = None,
        inline: bool = True,
        letters: bool = False,
        workers: Sequence[dict[str, Any]] = (),
        protocol: int | None = None,
        work_port: int | None = None,
        prefix: Sequence[str] = (),
        **settings: Any,
    ) -> NodeProcess:
        node = {"name": name, "mesh": mesh_name, "discovery": ["local"]} | settings
        agent: dict[str, Any] = {"node": node, "subscribe": subscribe, "member": member}
        agent["inline"] = inline
        agent["workers"] = workers
        if count is not None:
            agent["count"] = count
        agent["letters"] = letters
        if protocol is not None:
            agent["protocol"] = protocol
        if work_port is not None:
            agent["work_port"] = work_port
        process = NodeProcess(agent, prefix=prefix)
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
def crew(start_process: Callable[..., NodeProcess], tmp_path: Path) -> Crew:
    """Hires workers, each in a node process, and reads what they noted."""
    return Crew(start_process, tmp_path)


@pytest.fixture
def chat(mesh_name: str, tmp_path: Path) -> Callable[..., Session]:
    """Makes chats of this test's mesh, each with a folder of its own for downloads."""

    def make(nick: str, **settings: Any) -> Session:
        folder = tmp_path / f"{nick}-{uuid.uuid4().hex[:4]}"
        given: dict[str, Any] = {"mesh": mesh_name, "discovery": ("local",), "downloads": folder}
        return Session(nick, **given | settings)

    return make


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


@pytest.fixture
def target(start_process: Callable[..., NodeProcess]) -> NodeProcess:
    """A node in a process of its own, to be attacked."""
    return start_process("target", discovery=["exchange"], subscribe=("news.>",))


@pytest.fixture
def friend(make_node: Callable[..., mesh.Node], target: NodeProcess) -> mesh.Node:
    """An honest node that is linked with the target."""
    node = make_node("friend", discovery=(), seeds=[target.address]).start()
    node.wait_for("target")
    return node
