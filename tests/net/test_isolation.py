"""Nodes that do not belong together never exchange a user message; the same nodes, matched, do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import mesh
from tests.net.processes import AgentError, NodeProcess, until

Start = Callable[..., NodeProcess]
Make = Callable[..., mesh.Node]
Settings = dict[str, Any]

PATIENCE = 1.5
"""Seconds in which nodes that belong together meet many times over."""

ALL = {"peers", "publish", "broadcast", "send", "call"}
LOOPBACK: Settings = {"host": "127.0.0.1"}
KEYED: Settings = LOOPBACK | {"key": "open sesame"}


def exchanged(from_: NodeProcess, to: NodeProcess, patience: float) -> set[str]:
    """What gets from one process to another, everything tried again until ``patience`` is over."""
    passed = set()
    deadline = time.monotonic() + patience
    while passed != ALL and time.monotonic() < deadline:
        if to.id in from_.ask("peers", all=True):
            passed.add("peers")
        from_.ask("publish", subject="news.today")
        from_.ask("broadcast", group="*")
        for verb, arguments in (
            ("send", {"peer": to.id, "subject": "news.today"}),
            ("call", {"method": "target.work", "args": [1], "wait": 0.01, "timeout": 1.0}),
        ):
            try:
                from_.ask(verb, **arguments)
            except AgentError as error:
                if error.kind not in ("PeerLost", "NoProvider"):
                    raise
        passed |= {kind for kind, *_ in to.ask("received")}
        if to.ask("started"):
            passed.add("call")
    return passed


def start_pair(start: Start, left: Settings, right: Settings) -> tuple[NodeProcess, NodeProcess]:
    """Two processes that know each other's addresses, by seed and by rendezvous."""
    port = free_port()
    seeds = {"seeds": [f"127.0.0.1:{port}"], "discovery": ["local", "exchange"]}
    source = start("source", **seeds | left)
    target = start(
        "target",
        **{"port": port, "discovery": ["local", "exchange"], "seeds": [source.address]} | right,
        subscribe=("news.>",),
        member=("*",),
    )
    return source, target


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="plain"),
        pytest.param(KEYED, id="keyed"),
        pytest.param({"protocol": 2}, id="next protocol"),
        pytest.param({"mesh": "isolation-test-b"}, id="mesh b"),
    ],
)
def test_nodes_that_match_exchange_everything(start_process: Start, settings: Settings) -> None:
    source, target = start_pair(start_process, settings, settings)
    assert exchanged(source, target, 20.0) == ALL


@pytest.mark.parametrize(
    ("left", "right"),
    [
        pytest.param({}, {"mesh": "isolation-test-b"}, id="meshes"),
        pytest.param(KEYED, LOOPBACK | {"key": "another"}, id="keys"),
        pytest.param(KEYED, LOOPBACK, id="key and none"),
        pytest.param(LOOPBACK, KEYED, id="none and key"),
        pytest.param({}, {"protocol": 2}, id="newer protocol"),
        pytest.param({"protocol": 2}, {}, id="older protocol"),
        pytest.param(KEYED, KEYED | {"mesh": "isolation-test-b"}, id="meshes of one key"),
    ],
)
def test_nodes_that_do_not_match_exchange_nothing(
    start_process: Start, left: Settings, right: Settings
) -> None:
    source, target = start_pair(start_process, left, right)
    assert exchanged(source, target, PATIENCE) == set()
    assert target.ask("peers", all=True) == {}
    assert target.ask("received") == []


def test_a_node_of_another_mesh_on_a_dead_ones_port_gets_nothing_that_was_for_it(
    start_process: Start, make_node: Make
) -> None:
    node = make_node("caller", discovery=()).start()
    with _Traffic(node) as traffic:
        dead, successor = replace_on_port(start_process, node, traffic, mesh="isolation-test-b")
        assert node.id not in successor.ask("peers", all=True)
        assert successor.ask("received") == []
        assert successor.ask("started") == []
        assert {peer.id: peer.state for peer in node.peers(all=True)} == {dead.id: "failed"}


def test_a_restarted_node_gets_nothing_that_was_for_its_predecessor(
    start_process: Start, make_node: Make
) -> None:
    node = make_node("caller", discovery=()).start()
    with _Traffic(node) as traffic:
        _, successor = replace_on_port(start_process, node, traffic)
        until(lambda: successor.id in {peer.id for peer in node.peers()}, 20.0)
        assert node.service("target", timeout=10.0).echo(7) == 7
        until(lambda made=traffic.rounds: traffic.rounds > made + 20)
    assert successor.ask("received") == []
    assert successor.ask("started") == []


def replace_on_port(
    start: Start, node: mesh.Node, traffic: _Traffic, **settings: Any
) -> tuple[NodeProcess, NodeProcess]:
    """Kill a process in the midst of traffic for it, and start another at its port."""
    port = free_port()
    listen = {"port": port, "discovery": (), "subscribe": ("news.>",)}
    dead = start("target", seeds=[node.me.address], **listen)
    until(lambda: dead.id in {peer.id for peer in node.peers()})
    traffic.peer = dead.id
    until(lambda: dead.ask("received") and dead.ask("started"))
    dead.kill()
    seeds = {"seeds": [node.me.address]} if settings else {"seeds": ()}
    successor = start("target", **listen | seeds | settings)
    until(lambda: dead.id not in {peer.id for peer in node.peers()}, 20.0)
    until(lambda made=traffic.rounds: traffic.rounds > made + 100, 20.0)
    return dead, successor


class _Traffic:
    """Sends and calls for one id, without end, on a thread of its own."""

    def __init__(self, node: mesh.Node) -> None:
        self.peer = ""
        self.rounds = 0
        self._node = node
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> _Traffic:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            if self.peer:
                self._round()
                self.rounds += 1
            self._stop.wait(0.002)

    def _round(self) -> None:
        try:
            self._node.send(self.peer, "news.today", [self.rounds])
            service = self._node.service("target", peer=self.peer, timeout=0.05)
            service.work(self.rounds)
        except (mesh.PeerLost, mesh.CallTimeout):
            return  # it is dead, as it should be; what matters is who else heard it
