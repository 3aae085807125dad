"""``bench serve`` from within: what others may ask of it, and how a run without its bench ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import mesh
from mesh.cli.bench import NAME, part, run, run_name, serving
from mesh.cli.bench.serving import Event, Server
from tests.net.inside import Inside, inside, without_multicast
from tests.net.processes import until
from tests.net.test_cli import MakeNode

__all__ = ["inside", "without_multicast"]

RUN, OTHER = "0123abcd", "fedc9876"


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def server(mesh_name: str, told: list[Event]) -> Iterator[Server]:
    with Server({"mesh": mesh_name, "discovery": ("local",)}, told.append) as made:
        yield made


@pytest.fixture
def bench(make_node: MakeNode, server: Server) -> mesh.Node:
    node = make_node("bench", observer=True).start()
    node.wait_for(NAME)
    return node


def names(node: mesh.Node) -> list[str]:
    return sorted(peer.name for peer in node.peers())


def test_a_part_is_a_node_that_ends_when_its_bench_says_so(
    server: Server, bench: mesh.Node, told: list[Event]
) -> None:
    bench.call(f"{NAME}.take_part", RUN, "subscriber", 16)
    bench.wait_for(run_name(RUN))
    server.tidy()
    assert names(bench) == [NAME, run_name(RUN)]
    bench.call(f"{run_name(RUN)}.end")
    server.tidy()
    until(lambda: names(bench) == [NAME])
    assert [(e.what, e.run, e.kind, e.bench.id) for e in told] == [
        ("begun", RUN, "subscriber", bench.id),
        ("ended", RUN, "subscriber", bench.id),
    ]


def test_a_part_whose_bench_is_gone_is_over_in_time(
    server: Server, bench: mesh.Node, told: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.call(f"{NAME}.take_part", RUN, "worker", 16)
    monkeypatch.setattr(part, "LEASE_SECONDS", 0.0)
    server.tidy()
    assert [event.what for event in told] == ["begun", "ended"]
    until(lambda: names(bench) == [NAME])


def test_runs_are_bounded_and_each_is_there_once(
    server: Server, bench: mesh.Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.call(f"{NAME}.take_part", RUN, "worker", 16)
    with pytest.raises(mesh.RemoteError, match="is here already"):
        bench.call(f"{NAME}.take_part", RUN, "worker", 16)
    monkeypatch.setattr(serving, "MAX_PARTS", 1)
    with pytest.raises(mesh.RemoteError, match="try again later"):
        bench.call(f"{NAME}.take_part", OTHER, "worker", 16)


@pytest.mark.parametrize(
    "arguments",
    [("x", "worker", 16), (7, "worker", 16), (RUN, "boss", 16), (RUN, "worker", 15),
     (RUN, "worker", 2**40), (RUN, "worker", "x")],
)  # fmt: skip
def test_what_is_no_part_is_refused(
    bench: mesh.Node, told: list[Event], arguments: tuple[object, ...]
) -> None:
    with pytest.raises(mesh.RemoteError, match=r"ValueError|TypeError"):
        bench.call(f"{NAME}.take_part", *arguments)
    assert told == []


def test_a_run_that_is_longer_than_the_lease_renews_it(
    server: Server, told: list[Event], inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(run, "RENEW_EVERY", 0.05)
    is_over = threading.Event()

    def tidy() -> None:
        while not is_over.wait(0.05):
            server.tidy()

    janitor = threading.Thread(target=tidy)
    janitor.start()
    try:
        words = ("--remote", "--rate", "100", "--seconds", "1.5", "--warmup", "0", "--json")
        done = inside("bench", "pubsub", *words)
        until(lambda: len(told) == 2, what="the end of the part")
    finally:
        is_over.set()
        janitor.join()
    assert done.code == 0, done.err
    assert done.json["delivered"] == 150


def test_closing_ends_all_parts(mesh_name: str, make_node: MakeNode) -> None:
    told: list[Event] = []
    bench = make_node("bench", observer=True).start()
    with Server({"mesh": mesh_name, "discovery": ("local",)}, told.append):
        bench.wait_for(NAME)
        bench.call(f"{NAME}.take_part", RUN, "worker", 16)
    until(lambda: names(bench) == [])
    assert [event.what for event in told] == ["begun", "ended"]
