"""``meshctl`` as it is used: real nodes, what is printed and how it ends.

In processes of its own where those matter: exit, pipes, signals, multicast; else inside this one.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import mesh
from patterns.subscription import STALL_AFTER
from tests.net.inside import Inside, inside, without_multicast
from tests.net.processes import ROOT, Script, until

__all__ = ["inside", "without_multicast"]

RUN_SECONDS = 30.0
ENDS_SECONDS = 10.0

MakeNode = Callable[..., mesh.Node]

CRASH_ONCE = """
import os, sys, mesh
node = mesh.Node("fragile", mesh=sys.argv[1])
@node.rpc
def work(path):
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "survived"
    os._exit(1)
with node:
    print("ready", flush=True)
    sys.stdin.read()
"""


@dataclass
class Done:
    """How a run of meshctl ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Meshctl:
    """Runs ``meshctl`` for one mesh."""

    def __init__(self, mesh_name: str) -> None:
        self._environment = {"MESH_NAME": mesh_name, "MESH_CONFIG": os.devnull}
        self._started: list[Script] = []

    def run(self, *arguments: str, **environment: str) -> Done:
        inherited = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
        done = subprocess.run(
            [sys.executable, "-m", "mesh.cli", *arguments],
            cwd=ROOT,
            env=inherited | self._environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> Script:
        """Start one that goes on; it is ended with the test."""
        script = Script(["-m", "mesh.cli", *arguments], self._environment)
        self._started.append(script)
        return script

    def listen(self, *arguments: str) -> Script:
        """``sub`` with these arguments, once it listens."""
        script = self.start("sub", *arguments)
        until(lambda: "listening" in script.errors, within=RUN_SECONDS, what="the subscription")
        return script

    def end(self) -> None:
        for script in self._started:
            script.end()


@pytest.fixture
def meshctl(mesh_name: str) -> Iterator[Meshctl]:
    runner = Meshctl(mesh_name)
    yield runner
    runner.end()


@pytest.fixture
def calc(make_node: MakeNode) -> mesh.Node:
    """A started node with methods that cover what a call can give."""
    node = make_node("calc", tags={"zone": "eu"})

    @node.rpc
    def add(a: int, b: int) -> int:
        return a + b

    @node.rpc
    def echo(*args: Any, **kwargs: Any) -> list[Any]:
        return [list(args), kwargs]

    @node.rpc
    def fail() -> None:
        raise ValueError("first line\nsecond \x1b[31mline")

    @node.rpc
    def text() -> str:
        return "plain \u2713"

    @node.rpc
    def rare() -> dict[Any, Any]:
        return {
            "bytes": b"\x00\xff",
            "time": datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
            "uuid": uuid.UUID(int=7),
            "decimal": Decimal("1.10"),
            "set": {3, 1, 2},
            "nan": float("nan"),
            8: "number",
        }

    @node.rpc
    def headers(request: mesh.Request) -> dict[str, str]:
        return dict(request.headers)

    @node.rpc
    def kinds(*args: Any) -> list[str]:
        return [type(value).__name__ for value in args]

    @node.rpc
    async def never() -> None:
        await node.aio.wait_for("nobody-at-all", timeout=RUN_SECONDS)

    return node.start()


def is_one_line(text: str) -> bool:
    return text.startswith("meshctl: ") and text.endswith("\n") and text.count("\n") == 1


# peers and services


def test_peers_lists_every_node_once_and_not_itself(
    inside: Inside, calc: mesh.Node, make_node: MakeNode
) -> None:
    shop = make_node("shop").start()
    done = inside("peers")
    assert (done.code, done.err) == (0, "")
    header, *rows = done.out.splitlines()
    assert header.split() == ["NAME", "ID", "ADDRESS", "STATE", "SINCE", "SERVICES", "TAGS"]
    assert [row.split()[:2] for row in rows] == [
        ["calc", calc.id[:8]],
        ["shop", shop.id[:8]],
    ]
    assert "alive" in rows[0]
    assert "zone=eu" in rows[0]


def test_peers_as_json_is_one_document_with_all_there_is_to_know(
    inside: Inside, calc: mesh.Node
) -> None:
    calc.join("workers")
    done = inside("peers", "--json")
    (peer,) = done.json
    assert (done.code, done.err) == (0, "")
    assert peer["id"] == calc.id
    assert (peer["name"], peer["state"], peer["observer"]) == ("calc", "alive", False)
    assert peer["address"] == calc.me.address
    assert "add" in peer["services"]["calc"]
    assert (peer["groups"], peer["tags"]) == (["workers"], {"zone": "eu"})
    assert datetime.fromisoformat(peer["since"]).tzinfo is not None


def test_peers_shows_observers_only_with_all(inside: Inside, make_node: MakeNode) -> None:
    watcher = make_node("watcher", observer=True).start()
    assert inside("peers", "--json").json == []
    (peer,) = inside("peers", "--all", "--json").json
    assert (peer["id"], peer["observer"]) == (watcher.id, True)
    assert "alive, observer" in inside("peers", "--all").out


def test_peers_of_an_empty_mesh_says_where_it_looked_and_is_no_failure(meshctl: Meshctl) -> None:
    done = meshctl.run("peers")
    assert (done.code, done.out) == (0, "")
    assert "no other node in the mesh" in done.err
    for source in ("mdns", "local"):
        assert f"looked by {source}" in done.err
    assert "--seed" in done.err or "meshctl discovery" in done.err


PEERS_WITHIN = 1.0
"""Seconds from start to exit on a quiet machine."""


def test_peers_answers_soon(meshctl: Meshctl, calc: mesh.Node) -> None:
    """The best of a few: the machine may be busy, the command must not be slow by itself."""

    def seconds() -> float:
        began = time.monotonic()
        assert meshctl.run("peers").out.count("calc")
        return time.monotonic() - began

    assert min(seconds() for _ in range(3)) < 10 * PEERS_WITHIN


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_tables_fit_the_terminal(inside: Inside, make_node: MakeNode, columns: int) -> None:
    tags = {"version": "1.2.3", "zone": "eu-west-1", "rack": "[bold]17[/bold]"}
    node = make_node("inventory-service", tags=tags)
    many = type("Many", (), {f"method_{i}": lambda self: None for i in range(40)})
    node.serve(many(), service="paths")
    node.start()
    node.join("nightly-batch")
    for command in ("peers", "services"):
        lines = inside(command, COLUMNS=str(columns)).out.splitlines()
        assert max(map(len, lines)) <= columns
    words = " ".join(inside("peers", COLUMNS="80").out.split())
    assert "rack=[bold]17[/bold], version=1.2.3, zone=eu-west-1" in words
    assert "groups: nightly-batch" in words


def test_into_a_pipe_a_row_stays_one_line(inside: Inside, make_node: MakeNode) -> None:
    make_node("calc", tags={f"tag-{n}": "x" * 50 for n in range(5)}).start()
    assert len(inside("peers").out.splitlines()) == 2


def test_nothing_a_node_says_reaches_the_terminal_as_a_command(
    inside: Inside, make_node: MakeNode
) -> None:
    make_node("evil", tags={"title": "\x1b]0;owned\x07"}).start()
    done = inside("peers")
    assert "\x1b" not in done.out
    assert "\\x1b]0;owned\\x07" in done.out


def test_services_counts_the_nodes_of_each_service_and_method(
    inside: Inside, make_node: MakeNode
) -> None:
    old, new = make_node("calc"), make_node("calc")
    for node in (old, new):
        node.rpc("add")(lambda a, b: a + b)
    new.rpc("mul")(lambda a, b: a * b)
    old.start()
    new.start()
    done = inside("services")
    assert done.code == 0
    assert done.out.splitlines()[1].split() == ["calc", "2", "add,", "mul", "(1", "of", "2)"]
    assert inside("services", "--json").json == [
        {"service": "calc", "nodes": 2, "methods": {"add": 2, "mul": 1}}
    ]


def test_services_of_an_empty_mesh_are_none(inside: Inside) -> None:
    done = inside("services")
    assert (done.code, done.out) == (0, "")
    assert is_one_line(done.err)
    assert inside("services", "--json").json == []


# call


@pytest.mark.parametrize(
    ("words", "arrives"),
    [
        (["2", "-3", "-1.5e3"], [[2, -3, -1500.0], {}]),
        (["true", "null", '"2"', '""'], [[True, None, "2", ""], {}]),
        (["[1, 2]", '{"a": {"b": 1}}'], [[[1, 2], {"a": {"b": 1}}], {}]),
        (["hello", "two words", "01"], [["hello", "two words", "01"], {}]),
        (["x=2", "y=a=b", "z=", "w=[1]"], [[], {"x": 2, "y": "a=b", "z": "", "w": [1]}]),
        (["1", "self=2", "method=3"], [[1], {"self": 2, "method": 3}]),
        (["--", "--json", "-x"], [["--json", "-x"], {}]),
        (["a-b=c", "http://h/?q=1"], [["a-b=c", "http://h/?q=1"], {}]),
    ],
)
def test_arguments_are_json_or_text_and_may_be_named(
    inside: Inside, calc: mesh.Node, words: list[str], arrives: list[Any]
) -> None:
    done = inside("call", "--json", "calc.echo", *words)
    assert (done.code, done.err) == (0, "")
    assert done.json == arrives


def test_only_what_json_knows_is_taken_for_json(inside: Inside, calc: mesh.Node) -> None:
    done = inside("call", "--json", "calc.kinds", "NaN", "Infinity", "1", "1.0", "[" * 9999)
    assert done.json == ["str", "str", "int", "float", "str"]


def test_a_text_is_printed_plainly_and_as_json_on_request(
    meshctl: Meshctl, calc: mesh.Node
) -> None:
    assert meshctl.run("call", "calc.text").out == "plain \u2713\n"
    assert meshctl.run("call", "calc.text", "--json").json == "plain \u2713"
    done = meshctl.run("call", "calc.text", "--json", PYTHONIOENCODING="ascii")
    assert done.out.isascii()
    assert done.json == "plain \u2713"


def test_what_json_lacks_is_printed_as_text(inside: Inside, calc: mesh.Node) -> None:
    assert inside("call", "calc.rare", "--json").json == {
        "bytes": "AP8=",
        "time": "2030-01-02T03:04:05+00:00",
        "uuid": "00000000-0000-0000-0000-000000000007",
        "decimal": "1.10",
        "set": [1, 2, 3],
        "nan": "NaN",
        "8": "number",
    }


def test_headers_travel_with_a_call(inside: Inside, calc: mesh.Node) -> None:
    done = inside("call", "calc.headers", "--header", "a=1", "--header", "b=c=d", "--json")
    assert done.json == {"a": "1", "b": "c=d"}


def test_a_call_can_name_its_node_by_the_first_digits(inside: Inside, make_node: MakeNode) -> None:
    nodes = [make_node("calc") for _ in range(3)]
    for node in nodes:
        node.rpc("who")(lambda node=node: node.id)
        node.start()
    for node in nodes:
        assert inside("call", "calc.who", "--peer", node.id[:12]).out.strip() == node.id
    done = inside("call", "calc.who", "--peer", "x")
    assert (done.code, done.out) == (1, "")
    assert is_one_line(done.err)
    done = inside("call", "calc.who", "--peer", "calc")
    assert done.code == 1
    assert is_one_line(done.err)
    assert "can mean 3 peers" in done.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["calc.fail"], "ValueError: first line second \\x1b[31mline"),
        (["calc.add", "1"], "'b'"),
        (["calc.nope"], "has no method 'nope'"),
        (["nowhere.add"], "meshctl services"),
        (["calc.never", "--timeout", "0.3"], "within 0.3 s"),
    ],
)
def test_a_call_that_fails_says_so_in_one_line_and_exits_with_1(
    inside: Inside, calc: mesh.Node, words: list[str], says: str
) -> None:
    done = inside("call", "--json", *words)
    assert (done.code, done.out) == (1, "")
    assert is_one_line(done.err)
    assert says in done.err


@pytest.mark.parametrize("retry", [True, False])
def test_a_call_outlives_its_node_only_with_retry(
    meshctl: Meshctl, mesh_name: str, tmp_path: Path, retry: bool
) -> None:
    nodes = [Script(["-c", CRASH_ONCE, mesh_name]) for _ in range(2)]
    try:
        for node in nodes:
            assert node.process.stdout is not None
            assert node.process.stdout.readline() == "ready\n"
        options = ("--retry",) if retry else ()
        done = meshctl.run("call", *options, "fragile.work", str(tmp_path / "crashed"))
        assert (tmp_path / "crashed").exists()
        assert (done.code, done.out) == ((0, "survived\n") if retry else (1, ""))
        assert retry or is_one_line(done.err)
    finally:
        for node in nodes:
            node.end()


def test_a_call_can_be_hedged(inside: Inside, calc: mesh.Node) -> None:
    assert inside("call", "--hedge", "0.05", "calc.add", "2", "3").out == "5\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--hedge", "soon"], '"p50" to "p99"'),
        (["--hedge", "0.1", "--key", "k"], "a key has one owner"),
    ],
)
def test_a_hedge_that_cannot_work_is_refused_in_one_line(
    inside: Inside, calc: mesh.Node, words: list[str], says: str
) -> None:
    done = inside("call", *words, "calc.add", "2", "3")
    assert done.code != 0
    assert done.out == ""
    assert is_one_line(done.err)
    assert says in done.err


# pub and broadcast


def test_pub_reaches_every_subscriber_and_tells_how_many(
    inside: Inside, make_node: MakeNode
) -> None:
    got: list[mesh.Message] = []
    for _ in range(2):
        node = make_node()
        node.subscriber("sensors.>")(got.append)
        node.start()
    done = inside("pub", "sensors.kitchen.temp", "-21.5", "--header", "unit=C")
    assert (done.code, done.out, done.err) == (0, "sent to 2 nodes\n", "")
    until(lambda: len(got) == 2)
    assert {(m.subject, m.data, m.headers["unit"], m.sender.name) for m in got} == {
        ("sensors.kitchen.temp", -21.5, "C", "meshctl")
    }
    done = inside("pub", "--json", "sensors.x")
    assert done.json == {"subject": "sensors.x", "nodes": 2}
    until(lambda: len(got) == 4)
    assert got[-1].data is None


def test_pub_waits_for_nodes_that_only_multicast_finds(
    meshctl: Meshctl, make_node: MakeNode
) -> None:
    """They answer after a tenth of a second or so, not within the start as neighbours do."""
    node = make_node("far", discovery=("mdns",))
    node.subscriber("sensors.>")(lambda message: None)
    node.start()
    assert meshctl.run("pub", "sensors.a", "1").out == "sent to 1 node\n"


def test_a_large_message_has_left_when_pub_ends(meshctl: Meshctl, make_node: MakeNode) -> None:
    got: list[int] = []
    node = make_node()
    node.subscriber("blob")(lambda message: got.append(len(message.data)))
    node.start()
    for length in (100_000, 120_000):
        assert meshctl.run("pub", "blob", "x" * length).code == 0
    until(lambda: got == [100_000, 120_000])


def test_that_nobody_listens_is_no_failure(inside: Inside) -> None:
    done = inside("pub", "nobody.listens", "1")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("sent to 0 nodes")
    done = inside("broadcast", "nobody", "1")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("sent to 0 members")
    assert inside("broadcast", "--json", "nobody").json == {"group": "nobody", "members": 0}


def test_broadcast_reaches_the_members_and_nobody_else(inside: Inside, make_node: MakeNode) -> None:
    got: list[tuple[str, Any]] = []
    for group in ("workers", "workers", "others"):
        node = make_node()
        node.member(group)(lambda message, group=group: got.append((group, message.data)))
        node.start()
    done = inside("broadcast", "workers", '{"reload": true}')
    assert (done.code, done.out) == (0, "sent to 2 members\n")
    assert inside("broadcast", "others", "last").out == "sent to 1 member\n"
    until(lambda: len(got) == 3)
    assert sorted(got, key=str) == [("others", "last")] + [("workers", {"reload": True})] * 2


# sub


def test_sub_prints_messages_as_they_come_and_ends_after_count(
    meshctl: Meshctl, make_node: MakeNode
) -> None:
    node = make_node("shop").start()
    listener = meshctl.listen("orders.*", "--count", "3")
    node.publish("orders.new", {"id": 7})
    assert listener.process.stdout is not None
    sender = f"shop/{node.id[:8]}"
    assert listener.process.stdout.readline() == f'orders.new  {sender}  {{"id": 7}}\n'
    node.publish("elsewhere", "not this")
    node.publish("orders.paid", "in full", headers={"by": "card"})
    node.publish("orders.sent")
    assert listener.process.stdout.read().splitlines() == [
        f'orders.paid  {sender}  in full  {{"by": "card"}}',
        f"orders.sent  {sender}  null",
    ]
    assert listener.wait() == 0


def test_sub_as_json_prints_a_document_per_line(meshctl: Meshctl, make_node: MakeNode) -> None:
    node = make_node("shop").start()
    listener = meshctl.listen("--json", "orders.>", "--count", "2")
    node.publish("orders.a.b", "two\nlines", headers={"k": "v"})
    node.publish("orders.c", b"\x01")
    assert listener.process.stdout is not None
    first, second = map(json.loads, listener.process.stdout.read().splitlines())
    assert first == {
        "subject": "orders.a.b",
        "data": "two\nlines",
        "headers": {"k": "v"},
        "kind": "publish",
        "sender": {"id": node.id, "name": "shop"},
        "missed": 0,
    }
    assert second["data"] == "AQ=="


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_a_signal_ends_sub_with_a_goodbye(
    meshctl: Meshctl, make_node: MakeNode, number: signal.Signals, code: int
) -> None:
    node = make_node("shop").start()
    listener = meshctl.listen("orders.>")
    until(lambda: node.peers(all=True))
    assert node.peers() == [], "it is an observer"
    listener.signal(number)
    assert listener.wait(ENDS_SECONDS) == code
    assert "Traceback" not in listener.errors
    assert [peer.state for peer in node.peers(all=True)] == ["left"]


def test_a_reader_who_had_enough_is_no_failure(meshctl: Meshctl, make_node: MakeNode) -> None:
    node = make_node("shop").start()
    listener = meshctl.listen("orders.>")
    node.publish("orders.new", 1)
    assert listener.process.stdout is not None
    assert listener.process.stdout.readline()
    listener.process.stdout.close()
    node.publish("orders.new", 2)
    assert listener.wait(ENDS_SECONDS) == 0
    assert "Traceback" not in listener.errors
    assert "Broken" not in listener.errors


def test_a_reader_who_left_is_noticed_though_nothing_comes(meshctl: Meshctl) -> None:
    listener = meshctl.listen("silence")
    assert listener.process.stdout is not None
    listener.process.stdout.close()
    assert listener.wait(ENDS_SECONDS) == 0
    assert "Traceback" not in listener.errors


def test_sub_tells_what_it_missed(meshctl: Meshctl, make_node: MakeNode) -> None:
    """Its reader stands still, so its buffer fills and the oldest give way: counted and told."""
    node = make_node("shop").start()
    listener = meshctl.listen("flood", "--json")
    sent = 0
    text = "x" * 500
    # A reader that stands still counts as stalled after a while, and holds nothing back any more.
    stalled_at = time.monotonic() + 4 * STALL_AFTER

    def has_dropped() -> bool:
        nonlocal sent
        for _ in range(1000):
            node.publish("flood", [sent, text])
            sent += 1
        return sent > 40_000 and time.monotonic() > stalled_at

    until(has_dropped, within=RUN_SECONDS)
    node.publish("flood", "last")
    assert listener.process.stdout is not None
    printed = 0
    for line in listener.process.stdout:
        printed += 1
        if json.loads(line)["data"] == "last":
            break
    assert printed < sent
    assert "meshctl: missed " in listener.errors


# keygen and keys


def test_a_key_is_printed_and_every_one_is_new(inside: Inside) -> None:
    first, second = inside("keygen"), inside("keygen", "--json")
    assert (first.code, first.err) == (0, "")
    assert first.out.startswith("mesh1-")
    assert second.json["key"].startswith("mesh1-")
    assert first.out.strip() != second.json["key"]


def test_a_key_file_is_for_its_owner_only_and_never_overwritten(
    inside: Inside, tmp_path: Path
) -> None:
    path = tmp_path / "mesh.key"
    assert inside("keygen", "--output", str(path)).code == 0
    key = path.read_text()
    assert key.startswith("mesh1-")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    done = inside("keygen", "--output", str(path))
    assert (done.code, done.out) == (1, "")
    assert is_one_line(done.err)
    assert path.read_text() == key
    done = inside("keygen", "--output", str(tmp_path / "no" / "folder"))
    assert done.code == 1
    assert is_one_line(done.err)


def test_only_with_the_key_is_a_keyed_node_seen(
    meshctl: Meshctl, make_node: MakeNode, tmp_path: Path
) -> None:
    key = mesh.generate_key()
    path = tmp_path / "mesh.key"
    path.write_text(f"  {key}  \nsecond line\n")
    node = make_node("vault", key=key, host="127.0.0.1").start()
    node.rpc("open")(lambda: "sesame")
    options = ("--host", "127.0.0.1", "--key-file", str(path))
    assert meshctl.run("call", "vault.open", *options).out == "sesame\n"
    assert meshctl.run(*options, "call", "vault.open").out == "sesame\n"
    done = meshctl.run("call", "vault.open", "--host", "127.0.0.1", MESH_KEY=key)
    assert done.out == "sesame\n"
    assert meshctl.run("peers", "--json").json == []
    assert "meshctl discovery" in meshctl.run("peers").err
    assert "it has a key, and this node none" in meshctl.run("discovery").out


# Options and usage


def test_the_options_of_the_mesh_may_stand_on_either_side_and_the_later_wins(
    inside: Inside, mesh_name: str, calc: mesh.Node
) -> None:
    call = ("call", "calc.add", "2", "3")
    assert inside("--mesh", mesh_name, *call, MESH_NAME="elsewhere").out == "5\n"
    assert inside(*call, "--mesh", mesh_name, MESH_NAME="elsewhere").out == "5\n"
    assert inside("--mesh", "elsewhere", *call, "--mesh", mesh_name).out == "5\n"
    assert inside("--timeout", "9", "--mesh", "elsewhere", *call).code == 1


def test_a_seed_leads_to_a_node_that_nothing_else_finds(
    inside: Inside, make_node: MakeNode
) -> None:
    hidden = make_node("hidden", discovery=()).start()
    assert inside("peers", "--json").json == []
    (peer,) = inside("peers", "--json", "--seed", hidden.me.address).json
    assert peer["id"] == hidden.id
    other = make_node("other", discovery=()).start()
    seeds = ("--seed", hidden.me.address, "peers", "--json", "--seed", other.me.address)
    assert {peer["name"] for peer in inside(*seeds).json} == {"hidden", "other"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bogus"], "bogus"),
        (["peers", "--bogus"], "--bogus"),
        (["call"], "METHOD"),
        (["call", "calc"], "SERVICE.METHOD"),
        (["call", "calc.add", "2", "--rety"], "--retry"),
        (["call", "calc.add", "a=1", "a=2"], "twice"),
        (["call", "bad name.x"], "bad service name"),
        (["call", "calc.add", "--header", "novalue"], "NAME=VALUE"),
        (["pub", "a.*", "1"], "wildcards"),
        (["pub", "a", "1", "2"], "extra argument"),
        (["sub", "a..b"], "a..b"),
        (["sub", "a", "--count", "0"], "--count"),
        (["broadcast", "bad group"], "bad group name"),
        (["peers", "--mesh", "bad mesh"], "bad mesh name"),
        (["peers", "--seed", "noport"], "port"),
        (["peers", "--timeout", "nan"], "--timeout"),
        (["peers", "--timeout", "-1"], "--timeout"),
        (["peers", "--key-file", "/nonexistent/key"], "/nonexistent/key"),
        (["peers", "--key-file", "/dev/null"], "keygen"),
        (["peers", "--host", "0.0.0.0"], "key"),
    ],
)
def test_wrong_usage_is_one_line_and_exits_with_2(
    inside: Inside, arguments: list[str], says: str
) -> None:
    done = inside(*arguments)
    assert (done.code, done.out) == (2, "")
    assert is_one_line(done.err)
    assert says in done.err


def test_a_failed_write_is_a_failure(meshctl: Meshctl) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mesh.cli", "keygen"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
    assert done.returncode == 1
    assert is_one_line(done.stderr)


def test_a_closed_stdout_is_not_mistaken_for_a_socket(meshctl: Meshctl, calc: mesh.Node) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m mesh.cli call calc.add 2 3 >&- <&-', sys.executable],
        cwd=ROOT,
        env=os.environ | {"MESH_NAME": calc.mesh},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_command_it_shows_its_help(inside: Inside) -> None:
    done = inside()
    assert (done.code, done.out) == (2, "")
    for command in ("peers", "services", "call", "pub", "sub", "broadcast", "keygen", "demo"):
        help_text = inside(command, "--help")
        assert help_text.code == 0
        assert "Examples:" in help_text.out
        assert f"  {command} " in done.err


def test_the_installed_script_is_this_command(meshctl: Meshctl) -> None:
    script = Path(sys.executable).with_name("meshctl")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"meshctl {mesh.__version__}\n" == meshctl.run("--version").out
