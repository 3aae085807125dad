"""``meshctl watch`` and ``peers --watch``: the mesh as it changes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from datetime import datetime
from typing import Any

import mesh
from tests.net.inside import Inside, inside, without_multicast
from tests.net.processes import NodeProcess, Script, until
from tests.net.test_cli import RUN_SECONDS, Meshctl, meshctl

__all__ = ["inside", "meshctl", "without_multicast"]

MakeNode = Callable[..., mesh.Node]


def line_of(script: Script) -> str:
    assert script.process.stdout is not None
    return script.process.stdout.readline().rstrip("\n")


def begun(*scripts: Script) -> tuple[Script, ...]:
    """Once they watch."""
    for script in scripts:
        until(lambda it=script: "watching" in it.errors, within=RUN_SECONDS, what="the watch")
    return scripts


def test_watch_tells_who_comes_changes_dies_and_goes(
    meshctl: Meshctl, make_node: MakeNode, start_process: Callable[..., NodeProcess]
) -> None:
    shop = make_node("shop").start()
    people, programs = begun(
        meshctl.start("watch"), meshctl.start("watch", "--json", "--count", "5")
    )

    def next_event() -> tuple[list[str], dict[str, Any]]:
        return line_of(people).split(maxsplit=3), json.loads(line_of(programs))

    def expect(event: str, peer: str) -> dict[str, Any]:
        (time, name, who, _), document = next_event()
        datetime.strptime(time, "%H:%M:%S.%f")
        assert (name, who) == (event, peer)
        assert document["event"] == event
        assert datetime.fromisoformat(document["time"]).tzinfo is not None
        found: dict[str, Any] = document["peer"]
        assert f"{found['name']}/{found['id'][:8]}" == peer
        assert document["reason"]
        return found

    expect("joined", f"shop/{shop.id[:8]}")
    calc = start_process("calc")
    expect("joined", f"calc/{calc.id[:8]}")
    shop.join("painters")
    assert expect("updated", f"shop/{shop.id[:8]}")["groups"] == ["painters"]
    calc.kill()
    expect("suspected", f"calc/{calc.id[:8]}")
    assert expect("failed", f"calc/{calc.id[:8]}")["state"] == "failed"
    assert programs.wait(RUN_SECONDS) == 0, "it has told of as many as it was asked for"
    shop.close()
    assert line_of(people).split()[1:3] == ["left", f"shop/{shop.id[:8]}"]
    people.signal(signal.SIGINT)
    assert people.wait(RUN_SECONDS) == 130
    assert "Traceback" not in people.errors


def test_a_watch_ends_when_its_reader_has_gone(meshctl: Meshctl) -> None:
    scripts = begun(meshctl.start("watch"), meshctl.start("peers", "--watch"))
    for script in scripts:
        assert script.process.stdout is not None
        script.process.stdout.close()
    for script in scripts:
        assert script.wait(RUN_SECONDS) == 0
        assert "Traceback" not in script.errors


def test_peers_watch_prints_a_line_for_each_change(meshctl: Meshctl, make_node: MakeNode) -> None:
    shop = make_node("shop", tags={"zone": "eu"}).start()
    people, programs = begun(
        meshctl.start("peers", "--watch"), meshctl.start("peers", "--watch", "--json")
    )
    who = f"shop/{shop.id[:8]}"
    _, state, name, address, rest = line_of(people).split(maxsplit=4)
    assert (state, name, address) == ("alive", who, shop.me.address)
    assert rest == "services: shop  tags: zone=eu"
    first = json.loads(line_of(programs))
    assert (first["id"], first["state"], first["groups"]) == (shop.id, "alive", [])
    shop.join("painters")
    assert "groups: painters" in line_of(people)
    assert json.loads(line_of(programs))["groups"] == ["painters"]
    shop.close()
    assert line_of(people).split()[1:3] == ["left", who]
    assert json.loads(line_of(programs))["state"] == "left"
    for script in (people, programs):
        script.signal(signal.SIGINT)
        assert script.wait(RUN_SECONDS) == 130


def test_counts_below_one_are_wrong_usage(inside: Inside) -> None:
    assert inside("watch", "--count", "0").code == 2
