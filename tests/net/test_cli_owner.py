"""``meshctl owner``: the same owner as the nodes name, and why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import mesh
from mesh.ring import score, slot_of
from tests.net.inside import Inside, inside, without_multicast
from tests.net.processes import until
from tests.net.test_cli import is_one_line

__all__ = ["inside", "without_multicast"]

Make = Callable[..., mesh.Node]

KEY = "user:7"
SLOT = slot_of(KEY.encode())
WEIGHTS = {"a": 1.0, "b": 1.0, "c": 0.5}


@pytest.fixture
def nodes(make_node: Make) -> list[mesh.Node]:
    """Three of one service and one group, best for ``KEY`` first."""
    made = [make_node("calc", instance=name, weight=WEIGHTS[name]) for name in WEIGHTS]
    for node in made:
        node.member("crew")(print)
        node.start()
    for node in made:
        node.wait_for("calc", count=3)
    by_id = {node.id: node for node in made}
    return [by_id[peer.id] for peer in made[0].owners("calc", KEY)]


def shown(node: mesh.Node) -> str:
    return f"calc/{node.id[:8]} at {node.me.address}, alive\n"


def test_the_owner_is_the_one_that_the_nodes_name(inside: Inside, nodes: list[mesh.Node]) -> None:
    done = inside("owner", "calc", KEY)
    assert (done.code, done.out, done.err) == (0, shown(nodes[0]), "")
    done = inside("owner", "--group", "crew", KEY)
    assert (done.code, done.out, done.err) == (0, shown(nodes[0]), "")
    number = inside("owner", "calc", "-7", "--json").json
    assert number["owner"]["id"] == nodes[0].owner("calc", -7).id


def test_explain_lists_all_candidates_with_their_scores(
    inside: Inside, nodes: list[mesh.Node]
) -> None:
    done = inside("owner", "calc", KEY, "--explain")
    slot, header, *rows = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert slot == f"slot {SLOT} of 65536"
    assert header.split() == [
        "RANK", "ROLE", "NAME", "ID", "SCORE", "WEIGHT", "STATE", "INSTANCE",
    ]  # fmt: skip
    roles = (["owner"], ["next"], [])
    assert [row.split() for row in rows] == [
        [
            str(rank + 1),
            *roles[rank],
            "calc",
            node.id[:8],
            f"{score(SLOT, node.me.instance, node.me.weight):.6g}",
            f"{node.me.weight:g}",
            "alive",
            node.me.instance,
        ]
        for rank, node in enumerate(nodes)
    ]


def test_as_json_it_says_owner_next_and_on_request_all(
    inside: Inside, nodes: list[mesh.Node]
) -> None:
    told = inside("owner", "calc", KEY, "--json").json
    assert (told["service"], told["key"], told["slot"], told["without"]) == (
        "calc",
        KEY,
        SLOT,
        None,
    )
    assert [told["owner"]["id"], told["next"]["id"]] == [node.id for node in nodes[:2]]
    assert "candidates" not in told
    assert told["owner"] == {
        "id": nodes[0].id,
        "name": "calc",
        "address": nodes[0].me.address,
        "state": "alive",
        "instance": nodes[0].me.instance,
        "weight": nodes[0].me.weight,
        "score": score(SLOT, nodes[0].me.instance, nodes[0].me.weight),
    }
    told = inside("owner", "--group", "crew", KEY, "--json", "--explain").json
    assert told["group"] == "crew"
    assert [peer["id"] for peer in told["candidates"]] == [node.id for node in nodes]


def test_without_a_node_it_says_who_would_own_it(inside: Inside, nodes: list[mesh.Node]) -> None:
    first, second, third = nodes
    for meant in (first.id, first.id[:8], first.id[:6].upper(), first.me.instance):
        done = inside("owner", "calc", KEY, "--without", meant)
        assert (done.code, done.out) == (0, shown(second))
        assert done.err == f"meshctl: calc/{first.id[:8]} owns it now\n"
    done = inside("owner", "calc", KEY, "--without", third.me.instance)
    assert (done.code, done.out) == (0, shown(first))
    assert "would not move" in done.err
    told = inside("owner", "calc", KEY, "--without", second.id, "--json", "--explain").json
    assert (told["without"], told["next"]["id"]) == (second.id, third.id)
    assert [peer["id"] for peer in told["candidates"]] == [first.id, third.id]
    first.close()
    assert inside("owner", "calc", KEY).out == shown(second)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["calc", KEY, "--without", "calc"], 1, "3 candidates"),
        (["calc", KEY, "--without", "nobody"], 1, "'nobody'"),
        (["calc", KEY, "--without", ""], 1, "''"),
        (["nowhere", KEY], 1, "meshctl services"),
        (["nowhere", KEY, "--group"], 1, "meshctl peers"),
        (["calc", KEY, "--group"], 1, "group 'calc'"),
        (["crew", KEY], 1, "service 'crew'"),
        (["calc.add", KEY], 2, "calc.add"),
        (["calc", "x" * 1025], 2, "1024"),
        (["calc"], 2, "KEY"),
        (["calc", KEY, "--explian"], 2, "--explain"),
    ],
)
def test_a_question_that_has_no_answer_ends_in_one_line(
    inside: Inside, nodes: list[mesh.Node], words: list[str], code: int, says: str
) -> None:
    done = inside("owner", *words)
    assert (done.code, done.out) == (code, "")
    assert is_one_line(done.err)
    assert says in done.err


def test_without_the_only_one_nobody_is_left(inside: Inside, make_node: Make) -> None:
    node = make_node("single").start()
    done = inside("owner", "single", KEY, "--without", node.id)
    assert (done.code, done.out) == (1, "")
    assert is_one_line(done.err)


def test_a_singletons_owner_is_the_node_that_runs_it(inside: Inside, make_node: Make) -> None:
    made = [make_node("bills", instance=name) for name in "ab"]
    ran: list[mesh.Node] = []
    for node in made:
        node.singleton("billing-run")(lambda active, node=node: ran.append(node))
        node.start()
    for node in made:
        node.wait_for("bills", count=2)
    until(lambda: ran)
    done = inside("owner", "--singleton", "billing-run", "--json")
    assert done.json["owner"]["id"] == ran[-1].id
    assert done.json["key"] == "billing-run"
    assert inside("owner", "--singleton", "billing-run", "key").code == 2
    assert inside("owner", "calc").code == 2
    assert inside("owner", "--singleton", "no such").code == 2
