"""``meshctl`` for who operates a mesh: top, describe, drain, log-level, against real nodes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mesh
from mesh.cli.commands.top import VIEW_NAMES
from mesh.cli.top.viewer import VIEWS
from tests.net.inside import Inside, inside, without_multicast
from tests.net.processes import Script
from tests.net.terminals import TMUX, Terminal, opened

__all__ = ["inside", "without_multicast"]

MakeNode = Callable[..., mesh.Node]

SOON = 10.0

IN_RUN = """
import sys, mesh
node = mesh.Node("runner", mesh=sys.argv[1], discovery=("local",))
node.rpc("work")(lambda: 1)
print("ready", flush=True)
node.run()
print("ended", flush=True)
"""


class Gate:
    """A handler that waits until the test lets it go on."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.goes_on = threading.Event()

    def work(self) -> str:
        """Work until the gate is opened."""
        self.began.set()
        self.goes_on.wait(SOON)
        return "done"


@pytest.fixture
def fleet(make_node: MakeNode) -> list[mesh.Node]:
    """Two that serve calc, one of them with another signature, a listener, and one that denies."""
    one, two, shop = make_node("calc"), make_node("calc"), make_node("shop")

    @one.rpc(concurrency=2)
    def add(a: int, b: int = 2) -> int:
        """Add two numbers."""
        return a + b

    two.rpc("add")(lambda a, b, c: a + b + c)
    shop.subscriber("orders.>", group="billing")(lambda message: None)
    shop.member("workers")(lambda message: None)
    vault = make_node("vault", allow=[])
    nodes = [node.start() for node in (one, two, shop, vault)]
    for node in nodes:
        node.wait_for()
    return nodes


def rows_of(document: Any) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in document["rows"]}


# top


def test_top_tells_what_each_node_does_once_as_json(inside: Inside, fleet: list[mesh.Node]) -> None:
    one, two, shop, vault = fleet
    stop = threading.Event()

    def load() -> None:
        while not stop.wait(0.01):
            shop.service("calc", peer=one.id).add(1)
            one.publish("orders.new", 1)
            with pytest.raises(mesh.BadRequest):
                shop.service("calc", peer=two.id).add(1)

    loading = threading.Thread(target=load)
    loading.start()
    try:
        done = inside("top", "--once", "--json", "--interval", "0.5")
    finally:
        stop.set()
        loading.join()
    assert done.code == 0, done.err
    rows = rows_of(done.json)
    assert set(rows) == {node.id for node in fleet}
    assert rows[one.id]["served"] > 1
    assert 0 < rows[one.id]["p50"] <= rows[one.id]["p99"]
    assert rows[shop.id]["calls"] > 1
    assert rows[shop.id]["in"] > 1
    assert rows[shop.id]["memory"] > 1_000_000
    assert rows[vault.id]["answer"] == "denied"
    assert rows[vault.id]["in"] is None
    assert done.json["sums"]["states"] == {"alive": 3, "denied": 1}


def test_top_has_four_views_and_each_can_be_printed(inside: Inside, fleet: list[mesh.Node]) -> None:
    assert tuple(VIEWS) == VIEW_NAMES
    fast = ("--once", "--interval", "0.2")
    one, _, shop, _ = fleet
    shown = inside("top", *fast)
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert "4 nodes: 1 denied, 3 alive" in lines[0]
    assert lines[4].startswith(" *vault/"), "what needs a look stands first"
    (method,) = inside("top", *fast, "--json", "--view", "methods").json["rows"]
    assert (method["method"], method["nodes"]) == ("calc.add", 2)
    links = inside("top", *fast, "--json", "--view", "links", "--node", shop.id[:8]).json
    assert rows_of(links)[one.id]["link"] == "both ways"
    heard = inside("top", *fast, "--json", "--view", "listening", "--filter", "shop").json["rows"]
    assert {(row["kind"], row["name"]) for row in heard} == {
        ("subject", "orders.>"),
        ("member", "workers"),
    }


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--interval", "0"), "give seconds from 0.2"),
        (("--sort", "beauty"), "give one of trouble, node, state"),
        (("--node", "calc"), "--node is for --view links"),
        (("--view", "links", "--node", "nobody"), "'nobody' is none of the nodes"),
    ],
)
def test_top_says_what_is_wrong_with_its_options(
    inside: Inside, words: tuple[str, ...], text: str
) -> None:
    done = inside("top", "--once", "--timeout", "0.1", *words)
    assert done.code in (1, 2)
    assert text in done.err


def test_top_without_nodes_says_where_to_look(inside: Inside) -> None:
    done = inside("top", "--once", "--interval", "0.2", "--timeout", "0.1")
    assert (done.code, done.out) == (0, "")
    assert "no node in the mesh" in done.err


@pytest.fixture
def terminal(mesh_name: str, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Opens ``meshctl`` in a real terminal."""
    if TMUX is None:
        pytest.skip("tmux is not installed")
    open_ones: list[Any] = []

    def start(*words: str, columns: int = 100, rows: int = 16, **variables: str) -> Terminal:
        environment = {"MESH_NAME": mesh_name, "MESH_CONFIG": "/dev/null"} | variables
        context = opened(
            Terminal(
                ("-m", "mesh.cli", *words),
                tmp_path,
                columns=columns,
                rows=rows,
                environment=environment,
            )
        )
        open_ones.append(context)
        return context.__enter__()

    yield start
    for context in open_ones:
        context.__exit__(None, None, None)


def test_top_on_a_terminal_obeys_its_keys_and_gives_it_back(
    terminal: Callable[..., Terminal], fleet: list[mesh.Node], make_node: MakeNode
) -> None:
    one, _, shop, _ = fleet
    here = terminal("top", "--interval", "0.5")
    here.shows(r"calc/\w{8} +alive +0 ")
    screen = here.shows(r"vault/\w{8} +denied")
    assert "q quit" in screen.splitlines()[-1]
    assert "\x1b[33m" in here.coloured_screen
    here.key("2")
    here.shows(r"calc\.add +2 ")
    here.key("1")
    here.key("/", "s", "h", "o", "p", "Enter")
    here.until(lambda text: "calc/" not in text and f"shop/{shop.id[:8]}" in text, "the filter")
    here.key("Enter")
    here.shows(rf"links of shop/{shop.id[:8]}")
    here.shows(rf"calc/{one.id[:8]} +alive +both ways")
    here.key("Escape")
    here.shows(r"NODE +STATE")
    here.key("?")
    here.shows(r"p, Space +pause")
    here.key("x", "p")
    here.shows("PAUSED")
    here.resize(60, 10)
    here.until(lambda text: "q quit" not in text and "SERVED/S" in text, "a small terminal")
    here.key("q")
    assert here.exit_code() == 0


@pytest.mark.slow
def test_top_ends_by_a_signal_and_without_colours_where_nobody_wants_them(
    terminal: Callable[..., Terminal], fleet: list[mesh.Node]
) -> None:
    here = terminal("top", "--interval", "0.5", NO_COLOR="1")
    here.shows(r"\*vault/\w{8} +denied")
    assert "\x1b[" not in here.coloured_screen
    here.terminate()
    assert here.exit_code() == 143


# describe


def test_describe_shows_signatures_texts_and_who_differs(
    inside: Inside, fleet: list[mesh.Node]
) -> None:
    one, two, shop, _ = fleet
    done = inside("describe", "calc")
    assert done.code == 0, done.err
    assert "calc.add(a: int, b: int = 2) -> int\n    Add two numbers.\n    [up to 2" in done.out
    assert f"[at calc/{two.id[:8]}: other nodes have another signature]" in done.out
    found = inside("describe", shop.id[:8], "--json").json
    assert found["service"] is None
    assert found["nodes"][0]["groups"] == ["workers"]
    assert {"orders.>"} <= {s["pattern"] for s in found["nodes"][0]["subscriptions"]}
    document = inside("describe", "calc", "--json").json
    assert {tuple(m["nodes"]) for m in document["methods"]} == {(one.id,), (two.id,)}


def test_describe_tells_who_denies_and_who_is_nobody(
    inside: Inside, fleet: list[mesh.Node]
) -> None:
    done = inside("describe", "vault")
    assert done.code == 1
    assert "denied" in done.out
    assert "does not let others inspect it" in done.err
    done = inside("describe", "nobody")
    assert done.code == 1
    assert "neither a service nor a node" in done.err


# drain


def test_drain_follows_a_node_until_nothing_runs_there(inside: Inside, make_node: MakeNode) -> None:
    gate = Gate()
    one, two, caller = make_node("calc"), make_node("calc"), make_node("caller")
    for node in (one, two):
        node.serve(gate)
        node.start()
    caller.start().wait_for("calc", count=2)
    results: list[Any] = []

    def call() -> None:
        results.append(caller.service("calc", peer=one.id, timeout=SOON).work())

    calling = threading.Thread(target=call)
    calling.start()
    assert gate.began.wait(SOON)
    done = inside("drain", one.id[:8], "--wait", "0.6s")
    assert done.code == 1
    assert "1 of calc.work() run" in done.err
    assert "it takes no new work" in done.err
    gate.goes_on.set()
    calling.join()
    assert results == ["done"], "what runs is not broken off"
    done = inside("drain", one.id[:8], "--json")
    assert done.code == 0, done.err
    assert (done.json["drained"], done.json["ended"], done.json["left"]) == (True, False, [])
    assert caller.peers()[0].state == "alive"
    done = inside("drain", two.id[:8])
    assert done.code == 1
    assert "is the last node that serves calc" in done.err
    assert inside("drain", two.id[:8], "--force").code == 0


def test_drain_of_several_wants_all_or_an_id_and_those_that_do_not_allow_it_refuse(
    inside: Inside, fleet: list[mesh.Node]
) -> None:
    done = inside("drain", "calc")
    assert done.code == 1
    assert "is 2 nodes" in done.err
    assert "--all drains them one by one" in done.err
    assert inside("drain", "nobody").code == 1
    done = inside("drain", "vault")
    assert done.code == 1
    assert "does not let others operate it" in done.err
    done = inside("drain", "calc", "--all", "--stop")
    assert done.code == 1
    assert "not in run()" in done.err


def test_a_stop_ends_a_program_in_run_and_its_last_words_are_that_it_ended(
    inside: Inside, mesh_name: str, make_node: MakeNode
) -> None:
    script = Script(["-c", IN_RUN, mesh_name])
    try:
        make_node("looker").start().wait_for("runner", timeout=30.0)
        done = inside("drain", "runner", "--stop", "--force", "--json")
        assert done.code == 0, done.err
        assert (done.json["drained"], done.json["ended"]) == (True, True)
        assert script.wait() == 0
        assert script.process.stdout is not None
        assert script.process.stdout.read().split() == ["ready", "ended"]
    finally:
        script.end()


def test_all_of_a_name_are_drained_one_by_one_but_the_last(
    inside: Inside, fleet: list[mesh.Node]
) -> None:
    done = inside("drain", "calc", "--all", "--wait", "1s", "--json")
    assert done.code == 1
    assert [line["drained"] for line in done.lines] == [True]
    assert "is the last node that serves calc" in done.err
    assert inside("drain", "calc", "--all", "--force").code == 0


# log-level


def test_log_level_is_shown_set_and_put_back(inside: Inside, fleet: list[mesh.Node]) -> None:
    one, _, _, vault = fleet
    logger = logging.getLogger("mesh.rpc")
    before = logger.level
    words = ("log-level", one.id[:8])
    done = inside(*words, "debug", "--logger", "mesh.rpc", "--for", "1h")
    assert done.code == 0, done.err
    assert logger.level == logging.DEBUG
    assert "debug" in done.out
    (shown,) = inside(*words, "--json").json
    (own,) = [each for each in shown["loggers"] if each["name"] == "mesh.rpc"]
    assert own["until"] is not None
    assert inside(*words, "reset", "--logger", "mesh.rpc").code == 0
    assert logger.level == before
    done = inside("log-level", vault.id[:8], "debug")
    assert done.code == 1
    assert "does not let others operate it" in done.err
    assert inside("log-level", "calc", "loud").code == 2
    assert inside("log-level", "nobody").code == 1


# config check


def test_config_check_says_what_is_used_and_fails_for_a_problem(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = inside("config", "check")
    assert done.code == 0, done.out
    assert "no problems found" in done.out
    monkeypatch.setenv("MESH_SEED", "10.0.0.1:5555")
    done = inside("config", "check", "--json")
    assert done.code == 1
    assert [finding["where"] for finding in done.json["findings"]] == ["MESH_SEED"]
    assert "MESH_NAME" in [one["origin"] for one in done.json["values"]]
    assert inside("config").code == 2
