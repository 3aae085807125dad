"""``meshctl ping``: who answers, how fast, and what it says of who does not."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable

import pytest

import mesh
from tests.net.inside import Inside, inside, without_multicast
from tests.net.processes import NodeProcess
from tests.net.test_cli import RUN_SECONDS, Meshctl, is_one_line, meshctl

__all__ = ["inside", "meshctl", "without_multicast"]

MakeNode = Callable[..., mesh.Node]


def test_ping_asks_all_in_rounds_and_sums_up(inside: Inside, make_node: MakeNode) -> None:
    nodes = [make_node(name).start() for name in ("calc", "calc", "shop")]
    done = inside("ping", "--count", "2", "--interval", "0")
    assert (done.code, done.err) == (0, "")
    *answers, header, first, second, third = done.out.splitlines()
    assert len(answers) == 6
    for answer in answers:
        assert re.fullmatch(r"(calc|shop)/[0-9a-f]{8}  [12]  \d+\.\d\d ms", answer)
    assert header.split() == ["PEER", "ADDRESS", "SENT", "LOST", "MIN", "AVG", "MAX"]
    shown = {row.split()[0]: row.split()[2:4] for row in (first, second, third)}
    assert shown == {f"{node.name}/{node.id[:8]}": ["2", "0"] for node in nodes}


def test_a_name_means_all_replicas_and_digits_one(inside: Inside, make_node: MakeNode) -> None:
    one, two, shop = (make_node(name).start() for name in ("calc", "calc", "shop"))
    documents = inside("ping", "calc", shop.id[:12], "--count", "1", "--json").lines
    pings = [d for d in documents if d["type"] == "ping"]
    sums = [d for d in documents if d["type"] == "summary"]
    for found in (pings, sums):
        assert {d["peer"]["id"] for d in found} == {one.id, two.id, shop.id}
    assert all(d["number"] == 1 and d["seconds"] > 0 and d["error"] is None for d in pings)
    assert all((d["sent"], d["lost"]) == (1, 0) for d in sums)
    assert all(0 < d["min"] <= d["avg"] <= d["max"] for d in sums)
    done = inside("ping", shop.id[:3])
    assert (done.code, done.out) == (1, "")
    assert is_one_line(done.err)
    assert "none of the peers; 'meshctl peers --all'" in done.err


def test_who_stands_still_is_lost_and_told(
    meshctl: Meshctl, start_process: Callable[..., NodeProcess]
) -> None:
    frozen = start_process("frozen")
    script = meshctl.start("ping", "--count", "0", "--interval", "0.05", "--timeout", "0.3")
    assert script.process.stdout is not None
    lines = iter(script.process.stdout.readline, "")
    assert "ms" in next(lines)
    frozen.signal(signal.SIGSTOP)
    assert any("no answer from frozen/" in line and "within 0.3 s" in line for line in lines)
    frozen.signal(signal.SIGCONT)
    assert any("ms" in line for line in lines), "it goes on"
    frozen.kill()
    assert any("has failed" in line or "is failed" in line for line in lines)
    script.signal(signal.SIGINT)
    *_, header, row = lines
    assert script.wait(RUN_SECONDS) == 130
    lost = row.split()[header.split().index("LOST")]
    assert int(lost) > 1


def test_one_that_never_answers_makes_the_exit_code_1(
    inside: Inside, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, shop = make_node("calc").start(), make_node("shop").start()
    plain = mesh.Node.ping

    def ping(node: mesh.Node, peer: mesh.Peer, **options: float) -> float:
        if peer.id == shop.id:
            raise mesh.Timeout("silence")
        return plain(node, peer, **options)

    monkeypatch.setattr(mesh.Node, "ping", ping)
    done = inside("ping", "--count", "1")
    assert done.code == 1
    assert is_one_line(done.err)
    assert f"no answer from shop/{shop.id[:8]}; 'meshctl peers --all'" in done.err
    assert f"shop/{shop.id[:8]}  1  silence\n" in done.out
    assert "1 (100%)" in done.out


def test_nobody_to_ping_is_a_failure_that_says_where_it_looked(inside: Inside) -> None:
    done = inside("ping")
    assert (done.code, done.out) == (1, "")
    assert "no other node in the mesh" in done.err
    assert done.err.endswith("meshctl: there is nobody to ping\n")


def test_ctrl_c_ends_a_ping_with_its_sums(meshctl: Meshctl, make_node: MakeNode) -> None:
    make_node("calc").start()
    script = meshctl.start("ping", "--count", "0", "--interval", "0.05")
    assert script.process.stdout is not None
    for _ in range(3):
        assert "calc/" in script.process.stdout.readline()
    script.signal(signal.SIGINT)
    rest = script.process.stdout.read().splitlines()
    assert script.wait(RUN_SECONDS) == 130
    assert rest[-2].split()[0] == "PEER"
    assert "Traceback" not in script.errors


@pytest.mark.parametrize("words", [("--count", "-1"), ("--interval", "-1"), ("--interval", "x")])
def test_wrong_numbers_are_wrong_usage(inside: Inside, words: tuple[str, str]) -> None:
    done = inside("ping", *words)
    assert done.code == 2
    assert is_one_line(done.err)
