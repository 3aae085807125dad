"""``meshctl groupcast`` and ``meshctl call --key``: one of many, who it was, and how it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mesh
from tests.net.inside import Inside, inside, without_multicast
from tests.net.processes import Script
from tests.net.test_cli import RUN_SECONDS, Meshctl, is_one_line

__all__ = ["inside", "without_multicast"]

Make = Callable[..., mesh.Node]

STUCK = """
import sys, threading, mesh
node = mesh.Node("doomed", mesh=sys.argv[1])
@node.member("workers")
def work(message):
    print("begun", flush=True)
    threading.Event().wait()
with node:
    print(node.me, flush=True)
    sys.stdin.read()
"""

AFTER_A_FLUSH = 2.0
"""Seconds: whoever leaves a node in good order waits one for acknowledgements in any case."""

KEYS = [f"user:{number}" for number in range(6)]


@pytest.fixture
def meshctl(mesh_name: str) -> Iterator[Meshctl]:
    runner = Meshctl(mesh_name)
    yield runner
    runner.end()


class Crew:
    """Three nodes in the group "workers", and what each of them handled."""

    def __init__(self, make_node: Make) -> None:
        self.got: list[tuple[str, mesh.Message]] = []
        self.nodes = [make_node(name) for name in ("ada", "ben", "cid")]
        for node in self.nodes:
            node.member("workers")(self._taker(node))
            node.start()
        for node in self.nodes:
            node.wait_for(group="workers", count=3)

    def _taker(self, node: mesh.Node) -> Callable[[mesh.Message], None]:
        return lambda message: self.got.append((node.id, message))

    def shown(self, id: str) -> str:
        return next(str(node.me) for node in self.nodes if node.id == id)


@pytest.fixture
def crew(make_node: Make) -> Crew:
    return Crew(make_node)


def test_exactly_one_member_gets_it_and_is_named(inside: Inside, crew: Crew) -> None:
    done = inside("groupcast", "workers", '{"render": 7}', "--header", "trace=7f")
    ((id, message),) = crew.got
    sent, acknowledged = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert sent == f"sent to {crew.shown(id)}"
    assert acknowledged.startswith("acknowledged after 0.")
    assert (message.kind, message.group, message.data) == ("groupcast", "workers", {"render": 7})
    assert (message.headers, message.key, message.redelivered) == ({"trace": "7f"}, None, False)
    assert message.sender.name == "meshctl"


def test_as_json_it_is_one_document(inside: Inside, crew: Crew) -> None:
    done = inside("groupcast", "--json", "workers")
    ((id, message),) = crew.got
    assert (done.code, done.err) == (0, "")
    assert message.data is None
    assert done.json == {
        "group": "workers",
        "key": None,
        "peer": {"id": id, "name": crew.shown(id).partition("/")[0]},
        "acknowledged": True,
    }


def test_a_key_goes_to_its_owner(inside: Inside, crew: Crew) -> None:
    for key in KEYS:
        assert inside("groupcast", "workers", "-1", "--key", key).code == 0
    owners = [crew.nodes[0].owner(key=key, group="workers").id for key in KEYS]
    assert [id for id, _ in crew.got] == owners
    assert [message.key for _, message in crew.got] == KEYS
    assert {message.data for _, message in crew.got} == {-1}
    assert len(set(owners)) > 1


def test_it_ends_only_after_the_handler(meshctl: Meshctl, make_node: Make) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def work(message: mesh.Message) -> None:
        begun.set()
        may_end.wait(RUN_SECONDS)

    node = make_node()
    node.member("workers")(work)
    node.start()
    sender = meshctl.start("groupcast", "workers", "--timeout", "30")
    assert begun.wait(RUN_SECONDS)
    with pytest.raises(AssertionError, match="still runs"):
        sender.wait(AFTER_A_FLUSH)
    may_end.set()
    assert sender.wait(RUN_SECONDS) == 0
    assert sender.process.stdout is not None
    assert "acknowledged" in sender.process.stdout.read()


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_not_acknowledged_in_time_is_a_failure(
    inside: Inside, make_node: Make, options: tuple[str, ...]
) -> None:
    may_end = threading.Event()
    node = make_node("slow")
    node.member("workers")(lambda message: may_end.wait(RUN_SECONDS) and None)
    node.start()
    try:
        done = inside("groupcast", *options, "workers", "--timeout", "0.5")
    finally:
        may_end.set()
    assert done.code == 1
    assert is_one_line(done.err)
    assert "not acknowledged within 0.5 s" in done.err
    if options:
        assert (done.json["peer"]["id"], done.json["acknowledged"]) == (node.id, False)
    else:
        assert done.out == f"sent to {node.me}\n"


def test_that_all_members_are_busy_is_a_failure(inside: Inside, make_node: Make) -> None:
    may_end = threading.Event()
    got: list[Any] = []

    def work(message: mesh.Message) -> None:
        got.append(message.data)
        may_end.wait(RUN_SECONDS)

    node = make_node()
    node.member("workers")(work)
    node.start()
    node.groupcast("workers", "of another sender")
    try:
        done = inside("groupcast", "workers", "1", "--timeout", "0.5")
    finally:
        may_end.set()
    assert (done.code, done.out) == (1, "")
    assert is_one_line(done.err)
    assert "credit" in done.err
    node.flush()
    assert got == ["of another sender"], "what was not sent is not handled later"


def test_what_everybody_refuses_is_a_failure(inside: Inside, crew: Crew, make_node: Make) -> None:
    asked: list[Any] = []

    def refuse(message: mesh.Message) -> None:
        asked.append(message.data)
        raise mesh.Refuse

    for _ in range(2):
        node = make_node()
        node.member("pickers")(refuse)
        node.start()
    done = inside("groupcast", "pickers", "7")
    assert done.code == 1
    assert is_one_line(done.err)
    assert "refused" in done.err
    assert "acknowledged" not in done.out
    assert set(asked) == {7}
    assert crew.got == []


def test_that_nobody_is_in_the_group_is_a_failure(inside: Inside, crew: Crew) -> None:
    for command in (("groupcast", "nobody", "1"), ("groupcast", "nobody", "--key", "a")):
        done = inside(*command)
        assert (done.code, done.out) == (1, "")
        assert is_one_line(done.err)
        assert "'nobody'" in done.err
        assert "meshctl peers" in done.err


def test_a_bad_group_or_key_is_wrong_usage(inside: Inside, crew: Crew) -> None:
    for words in (("no good", "1"), ("workers", "--key", "x" * 1025), ("workers", "--kye", "a")):
        done = inside("groupcast", *words)
        assert (done.code, done.out) == (2, "")
        assert is_one_line(done.err)
    assert crew.got == []


def test_if_the_member_dies_another_one_does_it(
    meshctl: Meshctl, make_node: Make, mesh_name: str
) -> None:
    """The only member there is never ends, and is killed; then another one comes."""
    doomed = Script(["-c", STUCK, mesh_name])
    try:
        assert doomed.process.stdout is not None
        shown = doomed.process.stdout.readline()
        sender = meshctl.start("groupcast", "workers", "--timeout", "30")
        assert doomed.process.stdout.readline() == "begun\n"
        doomed.kill()
    finally:
        doomed.end()
    got: list[mesh.Message] = []
    heir = make_node("heir")
    heir.member("workers")(got.append)
    heir.start()
    assert sender.wait(RUN_SECONDS) == 0
    assert sender.process.stdout is not None
    sent, acknowledged = sender.process.stdout.read().splitlines()
    assert sent == f"sent to {shown.strip()}", "the first chosen"
    assert acknowledged.startswith("acknowledged")
    assert [message.redelivered for message in got] == [True]


# call --key


def test_a_call_with_a_key_is_served_by_its_owner(inside: Inside, make_node: Make) -> None:
    nodes = [make_node("carts") for _ in range(3)]
    for node in nodes:

        def show(request: mesh.Request, node: mesh.Node = node) -> list[Any]:
            return [node.id, request.key]

        node.rpc("show")(show)
        node.start()
    for node in nodes:
        node.wait_for("carts", count=3)
    owners = [nodes[0].owner("carts", key).id for key in KEYS]
    answers = [inside("call", "carts.show", "--key", key, "--json").json for key in KEYS]
    assert answers == [[owner, key] for owner, key in zip(owners, KEYS, strict=True)]
    assert len(set(owners)) > 1


def test_a_key_and_a_peer_together_are_wrong_usage(inside: Inside, crew: Crew) -> None:
    done = inside("call", "ada.x", "--key", "a", "--peer", crew.nodes[0].id)
    assert (done.code, done.out) == (2, "")
    assert is_one_line(done.err)
