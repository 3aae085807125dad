"""``meshctl doctor`` on one machine: what TCP meets, what members tell, and that it always ends."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import zmq

import mesh
from mesh.cli.doctor.diagnose import diagnose
from mesh.cli.doctor.facts import Facts, Focus
from mesh.cli.doctor.gather import gather
from mesh.cli.doctor.reach import try_all
from mesh.cli.options import Options
from tests.net.processes import Script, free_ports, until

NO_CONFIG = {"MESH_CONFIG": os.devnull}

Make = Callable[..., mesh.Node]


def look(mesh_name: str, focus: str | None = None, **options: Any) -> Facts:
    """What the doctor sees, from a loop of its own."""
    asked = Options(mesh_name=mesh_name, **options)
    told: list[str] = []
    wanted = Focus.of(focus) if focus is not None else None
    found = asyncio.run(gather(asked, wanted, told.append))
    assert told
    return found


def codes(found: Facts) -> dict[str, str]:
    return {finding.code: finding.gravity for finding in diagnose(found)}


def problems(found: Facts) -> set[str]:
    return {code for code, gravity in codes(found).items() if gravity == "problem"}


@contextmanager
def server(greeting: bytes | None) -> Iterator[str]:
    """Says that to whoever connects, and hangs up if it is empty; None: it never accepts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20.0)
        held: list[socket.socket] = []

        def serve() -> None:
            visitor, _ = listener.accept()
            visitor.sendall(greeting or b"")
            if greeting == b"":
                visitor.close()
            held.append(visitor)

        thread = threading.Thread(target=serve)
        if greeting is not None:
            thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        if greeting is not None:
            thread.join()
        for visitor in held:
            visitor.close()


def results(*addresses: str, seconds: float = 10.0) -> dict[str, str]:
    async def main() -> dict[str, str]:
        deadline = asyncio.get_running_loop().time() + seconds
        tried = await try_all(addresses, deadline)
        return {address: one.result for address, one in tried.items()}

    return asyncio.run(main())


def test_what_listens_at_an_address_is_told_apart(
    make_node: Make, context: zmq.Context[Any]
) -> None:
    keyed = make_node("keyed", key=mesh.generate_key(), host="127.0.0.1").start()
    (free,) = free_ports(1)
    with (
        context.socket(zmq.XPUB) as plain,
        server(None) as silent,
        server(b"SSH-2.0-x\r\n") as alien,
        server(b"") as closed,
    ):
        port = plain.bind_to_random_port("tcp://127.0.0.1")
        assert results(
            f"127.0.0.1:{port}", keyed.me.address, f"127.0.0.1:{free}", silent, alien, closed
        ) == {
            f"127.0.0.1:{port}": "alive",
            keyed.me.address: "keyed",
            f"127.0.0.1:{free}": "refused",
            silent: "silent",
            alien: "alien",
            closed: "closed",
        }


def test_what_cannot_be_tried_in_time_or_at_all_is_not_told_as_tried() -> None:
    with server(None) as silent:
        assert results(silent, seconds=0.01) == {}
        assert results(silent, "calc:5000", "nonsense") == {silent: "silent"}


def test_members_that_see_each_other_are_well(make_node: Make, mesh_name: str) -> None:
    one, two = make_node("one").start(), make_node("two").start()
    one.wait_for("two")
    two.wait_for("one")
    found = look(mesh_name)
    assert problems(found) == set()
    assert {member.id for member in found.members} == {one.id, two.id}
    (linked,) = (finding for finding in diagnose(found) if finding.code == "linked")
    assert linked.what.startswith(f"mesh '{mesh_name}': 2 nodes linked with us, and each with each")
    clocks = [m.view.clock for m in found.members if m.view is not None]
    assert all(clock is not None and abs(clock) < 2.0 for clock in clocks)
    assert codes(look(mesh_name, "two"))["seen"] == "ok"


def test_nodes_of_one_instance_and_those_that_tell_nothing_are_told(
    make_node: Make, mesh_name: str
) -> None:
    for name in ("one", "two"):
        make_node(name, instance="same", allow=["nothing"]).start()
    found = look(mesh_name)
    assert problems(found) == {"same-instance"}
    assert codes(found)["not-inspected"] == "note"


def test_an_address_where_nobody_speaks_is_a_stopped_process_and_a_free_one_no_node(
    mesh_name: str,
) -> None:
    (free,) = free_ports(1)
    with server(None) as silent:
        assert problems(look(mesh_name, silent)) == {"stopped", "alone"}
    assert problems(look(mesh_name, f"127.0.0.1:{free}")) == {"not-listening", "alone"}


def test_who_refuses_us_says_why(make_node: Make, mesh_name: str) -> None:
    stranger = make_node("stranger", mesh="another", discovery=()).start()
    found = look(mesh_name, stranger.me.address)
    assert problems(found) == {"other-mesh", "alone"}
    (told,) = (finding for finding in diagnose(found) if finding.code == "other-mesh")
    assert "this is mesh 'another'" in told.why


def test_without_the_key_a_door_is_recognized(make_node: Make, mesh_name: str) -> None:
    keyed = make_node("keyed", key=mesh.generate_key(), host="127.0.0.1", discovery=()).start()
    assert problems(look(mesh_name, keyed.me.address)) == {"key-only-there", "alone"}


def test_a_blocked_python_is_told_from_a_stopped_process(make_node: Make, mesh_name: str) -> None:
    node = make_node("busy").start()
    go_on = threading.Event()
    blocked = threading.Event()

    @node.rpc(inline=True)
    def block() -> None:
        blocked.set()
        go_on.wait(30.0)

    other = make_node("other").start()
    other.wait_for("busy")
    asking = threading.Thread(target=_ignore, args=(other,))
    asking.start()
    until(blocked.is_set)
    try:
        assert problems(look(mesh_name, node.me.address)) >= {"not-answering"}
    finally:
        go_on.set()
        asking.join()


def _ignore(node: mesh.Node) -> None:
    node.service("busy", timeout=30.0).block()


@pytest.mark.parametrize("seconds", [0.0, 0.4])
def test_however_short_its_time_it_ends_and_tells_what_it_did_not_look_at(
    mesh_name: str, seconds: float
) -> None:
    began = time.monotonic()
    with server(None) as silent:
        found = look(mesh_name, silent, seconds=seconds)
    assert time.monotonic() - began < 5.0
    assert codes(found)["unchecked"] == "note"
    assert "stopped" not in codes(found)


def test_an_address_that_is_not_ours_cannot_be_bound_and_the_rest_is_looked_at(
    mesh_name: str,
) -> None:
    with server(None) as silent:
        found = look(mesh_name, silent, host="192.0.2.199", insecure=True)
    assert {"cannot-start", "stopped"} <= problems(found)
    assert "alone" not in codes(found)


def test_the_command_prints_one_document_and_its_exit_code_is_the_verdict(
    make_node: Make, mesh_name: str
) -> None:
    node = make_node("one").start()
    script = Script(["-m", "mesh.cli", "--mesh", mesh_name, "doctor", "one", "--json"], NO_CONFIG)
    try:
        assert script.wait(60.0) == 0, script.errors
        assert script.process.stdout is not None
        told = json.loads(script.process.stdout.read())
    finally:
        script.end()
    assert (told["ok"], told["mesh"], told["focus"]) == (True, mesh_name, "one")
    (seen,) = (finding for finding in told["findings"] if finding["code"] == "seen")
    assert seen["nodes"] == [node.id]
