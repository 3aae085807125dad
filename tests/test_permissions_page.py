"""``docs/permissions.md``: its policy does what the page says, and its names are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mesh
from mesh.engine.audit import MAX_TOLD
from mesh.security.rules import MAX_PATTERNS, MAX_RULES, RIGHTS

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/permissions.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def rows(title: str) -> list[str]:
    """The names in the first column of the table with that title."""
    _, _, table = PAGE.partition(f"| {title} |")
    table = table.partition("\n\n")[0]
    return re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "right", "what", "decision"),
    [
        ("shop-1", "call", "orders.create", (True, "sellers")),
        ("shop-1", "call", "orders.refund", (False, "no-refunds")),
        ("shop-1", "groupcast", "packers", (True, "sellers")),
        ("shop-1", "join", "packers", (False, "default")),
        ("packer-1", "join", "packers", (True, "packers")),
        ("packer-1", "subscribe", "news.*", (True, "all-hear-the-news")),
        ("packer-1", "subscribe", "orders.>", (False, "default")),
    ],
)
def test_the_policy_on_the_page_decides(
    name: str, right: str, what: str, decision: tuple[bool, str]
) -> None:
    (text,) = blocks("toml")
    policy = mesh.Policy.from_toml(text)
    assert policy.decide(mesh.Identity(name, frozenset()), right, what) == decision


def test_the_order_of_rules_matters_as_the_page_says() -> None:
    deny = mesh.Rule("deny", ["*"], deny={"subscribe": ["a.secret"]})
    allow = mesh.Rule("allow", ["*"], allow={"subscribe": ["a.>"]})
    alice = mesh.Identity("alice", frozenset())

    def allowed(*rules: mesh.Rule) -> list[str]:
        patterns = ("a.public", "a.b.*", "a.*", "a.>")
        policy = mesh.Policy(rules)
        return [p for p in patterns if policy.decide(alice, "subscribe", p).is_allowed]

    assert allowed(deny, allow) == ["a.public", "a.b.*"]
    assert allowed(allow, deny) == ["a.public", "a.b.*", "a.*", "a.>"]


def test_the_rule_in_python_is_one() -> None:
    (made,) = [code for code in blocks("python") if "Rule(" in code]
    assert eval(made, {"mesh": mesh}).name == "no-refunds"


def test_the_page_names_all_rights_counters_and_limits() -> None:
    assert tuple(rows("right")) == RIGHTS
    counters = [*(f"denied_{right}" for right in RIGHTS), "denied_here"]
    assert sorted(rows("counter")) == sorted(counters)
    assert f"at most {MAX_RULES} rules and {MAX_PATTERNS} names" in PAGE
    assert f"beyond {MAX_TOLD} different ones" in PAGE
