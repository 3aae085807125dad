"""``meshctl policy check``: the file, the decision, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mesh.cli.app import run

TEXT = """
[roles]
seller = ["shop-1"]

[[rule]]
name = "sellers"
who = ["role:seller"]
allow.call = ["orders.*"]
allow.subscribe = ["orders.>"]
allow.join = ["packers"]
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "policy.toml"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


def test_a_file_that_is_right_is_described(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "check", file]) == 0
    assert capsys.readouterr().out == f"{file} is right: 1 rules, deny by default\n"
    assert run(["policy", "check", file, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"rules": ["sellers"], "roles": ["seller"], "default": "deny"}


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        ("--as shop-1 call orders.create", 0,
         "shop-1 (seller) may call orders.create: sellers"),
        ("--as shop-2 call orders.create", 1,
         "shop-2 (no roles) may not call orders.create: default"),
        ("--as shop-2 --role eu --role seller join packers", 0,
         "shop-2 (eu, seller) may join packers: sellers"),
        ("--as shop-1 subscribe orders.*", 0,
         "shop-1 (seller) may subscribe orders.*: sellers"),
        ("--as shop-1 subscribe >", 1, "shop-1 (seller) may not subscribe >: default"),
        ("--as shop-1 publish orders.new", 1,
         "shop-1 (seller) may not publish orders.new: default"),
    ],
)  # fmt: skip
def test_a_decision_is_explained(
    file: str, capsys: pytest.CaptureFixture[str], words: str, code: int, line: str
) -> None:
    assert run(["policy", "check", file, *words.split()]) == code
    assert capsys.readouterr().out == f"{line}\n"


def test_a_decision_as_json(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--as", "shop-1", "call", "orders.create", "--json"]
    assert run(["policy", "check", file, *words]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "identity": "shop-1",
        "roles": ["seller"],
        "right": "call",
        "name": "orders.create",
        "allowed": True,
        "rule": "sellers",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("call", "call what? Give a name"),
        ("call orders.create", "whose right? Give --as NAME"),
        ("--as shop-1", "--as and --role are for a right"),
        ("--as shop-1 call orders", "give 'service.method'"),
        ("--as shop-1 publish orders.*", "wildcards"),
        ("--as shop-1 subscribe a..b", "a token is empty"),
        ("--as shop-1 join a.b", "bad group name"),
        ("--as a/b join packers", "bad identity name"),
        ("--as shop-1 --role a/b join packers", "bad role name"),
        ("--as shop-1 read x", "'read'"),
    ],
)
def test_wrong_usage_says_what_to_do(
    file: str, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    assert run(["policy", "check", file, *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_a_file_that_is_wrong_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[[rule]]\nname = 'r'\nwho = ['*']\nallow.cal = ['>']\n", encoding="utf-8")
    assert run(["policy", "check", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"meshctl: {path}: rule 'r': unknown right 'cal'")
