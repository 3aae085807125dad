"""What nodes say of their methods, put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import mesh
from mesh.cli.asking import Answer, trouble_of
from mesh.cli.commands.drain import last_of
from mesh.cli.describing import document, gather, node_row, signature_of, text
from mesh.inspection.describing import describe_methods
from patterns.rpc import Method


def described(function: Callable[..., Any], name: str = "calc.add", **more: Any) -> dict[str, Any]:
    method = Method("add", function, concurrency=8, inline=False)
    method.full_name = name
    ((one,), _) = describe_methods([method])
    return one | more


def answer(digit: str, *methods: dict[str, Any], **more: Any) -> Answer:
    return Answer(mesh.Peer(digit * 32, "calc"), 0.0, {"methods": list(methods), **more})


def two(a: int, b: int) -> int:
    """Add."""
    return a + b


def three(a: int, b: int, c: int = 0) -> int:
    return a + b + c


def every(a: int, /, b, *rest: str, c: float = 1.5, **more: bool): ...  # type: ignore[no-untyped-def]
def marks(a, /, *, c=None): ...  # type: ignore[no-untyped-def]
def only(a, /): ...  # type: ignore[no-untyped-def]
def none() -> None: ...


@pytest.mark.parametrize(
    ("function", "signature"),
    [
        (two, "calc.add(a: int, b: int) -> int"),
        (every, "calc.add(a: int, /, b, *rest: str, c: float = 1.5, **more: bool)"),
        (marks, "calc.add(a, /, *, c=None)"),
        (only, "calc.add(a, /)"),
        (none, "calc.add() -> None"),
    ],
)
def test_a_signature_reads_as_it_was_written(function: Callable[..., Any], signature: str) -> None:
    assert signature_of(described(function)) == signature


def test_a_long_signature_has_a_line_for_each_parameter() -> None:
    parameters = [{"name": f"parameter{n}", "kind": "positional_or_keyword"} for n in range(9)]
    lines = signature_of({"name": "a.b", "parameters": parameters, "returns": "int"}).splitlines()
    assert lines[0] == "a.b("
    assert lines[1] == "    parameter0,"
    assert lines[-1] == ") -> int"


def test_nodes_that_agree_are_one_and_those_that_differ_are_told() -> None:
    same = [answer("1", described(two)), answer("2", described(two, doc="another text"))]
    other = answer("3", described(three), described(none, "calc.zero"))
    methods = gather([*same, other])
    assert [(one.name, len(one.peers)) for one in methods] == [
        ("calc.add", 2), ("calc.add", 1), ("calc.zero", 1),
    ]  # fmt: skip
    shown = text(methods, 3)
    assert "calc.add(a: int, b: int) -> int\n    Add.\n    [up to 8 at once, in a thread]" in shown
    assert "[at calc/33333333: other nodes have another signature]" in shown
    assert "[at 1 of 3 nodes: calc/33333333]" in shown
    assert "[at" not in text(gather(same), 2)


def test_what_a_node_says_may_be_anything() -> None:
    odd = answer("1", {}, {"name": 7, "parameters": [3, {}], "doc": None, "concurrency": "x"})
    assert text(gather([odd, Answer(odd.peer, 0.0, None, "denied")]), 1)
    assert gather([Answer(odd.peer, 0.0, "text")]) == []
    assert node_row(Answer(odd.peer, 0.0, None, "denied"))[-1] == "denied"


def test_programs_get_the_methods_with_their_nodes() -> None:
    subscriptions = [{"pattern": "a.>", "queue": "q"}, {"pattern": None, "group": "g"}]
    one = answer("1", described(two), version="1.0", groups=["g"], subscriptions=subscriptions)
    made = document(gather([one]), [one, Answer(one.peer, 0.0, None, "too old")])
    assert made["methods"][0]["signature"] == "calc.add(a: int, b: int) -> int"
    assert made["methods"][0]["nodes"] == ["1" * 32]
    assert [node["trouble"] for node in made["nodes"]] == [None, "too old"]
    assert node_row(one)[1:4] == ("1.0", "g", "a.> (q)")


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (mesh.AccessDenied("no", "rule"), "denied"),
        (mesh.NoProvider("has no method"), "too old"),
        (mesh.RemoteError("BadRequest", "parts: give a list of node"), "too old"),
        (mesh.RemoteError("ValueError", "odd"), "error"),
        (mesh.CallTimeout("late"), "no answer"),
        (mesh.PeerLost("gone"), "no answer"),
        (mesh.Overloaded("busy"), "no answer"),
        (mesh.BadRequest("odd"), "error"),
    ],
)
def test_why_there_is_no_answer_is_two_words(error: mesh.MeshError, trouble: str) -> None:
    assert trouble_of(error) == trouble


def test_the_last_provider_is_the_one_without_another_alive_one() -> None:
    def peer(digit: str, state: str = "alive", **services: tuple[str, ...]) -> mesh.Peer:
        return mesh.Peer(digit * 32, "calc", services=services, state=state)

    one = peer("1", calc=("add",), logs=("tail",), empty=())
    assert last_of(one, [one]) == ["calc", "logs"], "without methods nobody misses it"
    assert last_of(one, [one, peer("2", calc=("add",))]) == ["logs"]
    assert last_of(one, [one, peer("2", "suspect", calc=("add",))]) == ["calc", "logs"]
