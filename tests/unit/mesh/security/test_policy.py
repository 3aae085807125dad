"""Policies: which rule decides, of which subscriptions, and what a bad file is told."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.security import Identity, Policy, Rule
from mesh.security.policy_file import MAX_FILE_BYTES
from mesh.security.rules import MAX_PATTERNS, MAX_RULES, RIGHTS
from patterns.errors import ConfigError

ALICE = Identity("alice", frozenset({"shop"}))
BOB = Identity("bob", frozenset())


def named(name: str) -> Identity:
    return Identity(name, frozenset())


TEXT = """
default = "deny"

[roles]
stock = ["bob", "eu.*"]

[[rule]]
name = "no-refunds"
who = ["alice"]
deny.call = ["orders.refund"]

[[rule]]
name = "shops"
who = ["role:shop"]
allow = { call = ["orders.*"], publish = ["orders.>"] }

[[rule]]
name = "stock"
who = ["role:stock"]
allow.subscribe = ["orders.>"]
allow.join = ["packers"]
allow.groupcast = ["*"]

[[rule]]
name = "all-hear"
who = ["*"]
allow.subscribe = ["news.>", "status"]
"""


@pytest.mark.parametrize(
    ("identity", "right", "name", "is_allowed", "rule"),
    [
        (ALICE, "call", "orders.create", True, "shops"),
        (ALICE, "call", "orders.refund", False, "no-refunds"),
        (ALICE, "call", "stock.count", False, "default"),
        (ALICE, "publish", "orders.eu.new", True, "shops"),
        (ALICE, "publish", "orders", False, "default"),
        (ALICE, "broadcast", "packers", False, "default"),
        (BOB, "call", "orders.create", False, "default"),
        (BOB, "subscribe", "orders.*.new", True, "stock"),
        (BOB, "subscribe", "orders.>", True, "stock"),
        (BOB, "subscribe", ">", False, "default"),
        (BOB, "join", "packers", True, "stock"),
        (BOB, "join", "painters", False, "default"),
        (BOB, "groupcast", "anybody", True, "stock"),
        (BOB, "groupcast", "*", True, "stock"),
        (BOB, "join", "*", False, "default"),
        (named("eu.north"), "join", "packers", True, "stock"),
        (named("eu"), "join", "packers", False, "default"),
        (named("carol"), "subscribe", "news.*", True, "all-hear"),
        (named("carol"), "subscribe", "status", True, "all-hear"),
        (None, "subscribe", "status", False, "no-identity"),
    ],
)
def test_the_first_rule_that_matches_decides(
    identity: Identity | None, right: str, name: str, is_allowed: bool, rule: str
) -> None:
    assert Policy.from_toml(TEXT).decide(identity, right, name) == (is_allowed, rule)


def test_who_has_no_identity_may_nothing_even_where_all_is_allowed() -> None:
    policy = Policy(default="allow")
    assert policy.decide(None, "call", "orders.create") == (False, "no-identity")
    assert policy.decide(ALICE, "call", "orders.create") == (True, "default")


def test_the_group_of_all_is_one_group_and_no_wildcard() -> None:
    policy = Policy(
        [
            Rule("no-bosses", ["*"], deny={"join": ["bosses"]}),
            Rule("any", ["*"], allow={"join": ["*"]}),
        ]
    )
    assert policy.decide(ALICE, "join", "*") == (True, "any")
    assert policy.decide(ALICE, "join", "bosses") == (False, "no-bosses")


def test_a_right_that_there_is_not_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no right"):
        Policy().decide(ALICE, "read", "x")


def test_a_role_is_asked_for_by_its_prefix_only() -> None:
    policy = Policy([Rule("shops", ["shop"], allow={"call": [">"]})])
    assert not policy.decide(ALICE, "call", "a.b").is_allowed
    policy = Policy([Rule("some-role", ["role:*"], allow={"call": [">"]})])
    assert policy.decide(ALICE, "call", "a.b").is_allowed
    assert not policy.decide(BOB, "call", "a.b").is_allowed


# Subscriptions


def subscribing(*rules: tuple[str, list[str]], default: str = "deny") -> Policy:
    return Policy(
        [
            Rule(f"rule-{number}", ["*"], **{effect: {"subscribe": patterns}})
            for number, (effect, patterns) in enumerate(rules, 1)
        ],
        default=default,
    )


@pytest.mark.parametrize(
    ("policy", "pattern", "is_allowed", "rule"),
    [
        (subscribing(("allow", ["a.*"])), "a.>", False, "default"),
        (subscribing(("allow", ["a.*", "a.*.>"])), "a.>", True, "rule-1"),
        (subscribing(("allow", ["a.*"]), ("allow", ["a.*.>"])), "a.>", True, "rule-2"),
        # What is denied first, is.
        (subscribing(("deny", ["a.secret"]), ("allow", ["a.>"])), "a.>", False, "rule-1"),
        (subscribing(("deny", ["a.secret"]), ("allow", ["a.>"])), "a.*.x", True, "rule-2"),
        # What is allowed before it is denied, is allowed.
        (subscribing(("allow", ["a.>"]), ("deny", ["a.secret"])), "a.*", True, "rule-1"),
        (subscribing(("allow", ["a.b"]), ("deny", ["a.>"])), "a.b", True, "rule-1"),
        (subscribing(("allow", ["a.b"]), ("deny", ["a.>"])), "a.*", False, "rule-2"),
        (subscribing(("allow", ["a.b"]), ("deny", ["*.b"]), default="allow"), "a.*", True,
         "default"),
        (subscribing(("deny", ["a.b"]), default="allow"), ">", False, "rule-1"),
        (subscribing(("deny", ["a.b"]), default="allow"), "b.>", True, "default"),
    ],
)  # fmt: skip
def test_a_subscription_is_allowed_if_all_that_it_matches_is(
    policy: Policy, pattern: str, is_allowed: bool, rule: str
) -> None:
    assert policy.decide(ALICE, "subscribe", pattern) == (is_allowed, rule)


SUBJECTS = [
    ".".join(tokens)
    for length in range(1, 6)
    for tokens in itertools.product(["a", "b", "unnamed"], repeat=length)
]

patterns = st.builds(
    lambda tokens, rest: ".".join(tokens + ([">"] if rest or not tokens else [])),
    st.lists(st.sampled_from(["a", "b", "*"]), max_size=3),
    st.booleans(),
)
rules = st.tuples(st.sampled_from(["allow", "deny"]), st.lists(patterns, min_size=1, max_size=3))


@given(st.lists(rules, max_size=4), st.sampled_from(["allow", "deny"]), patterns)
def test_a_subscription_is_allowed_just_when_each_of_its_subjects_would_be(
    given_rules: list[tuple[str, list[str]]], default: str, pattern: str
) -> None:
    policy = subscribing(*given_rules, default=default)
    matched = [s for s in SUBJECTS if is_match(pattern, s)]
    each = [policy.decide(ALICE, "subscribe", subject) for subject in matched]
    assert each == [first_match(given_rules, default, subject) for subject in matched]
    assert policy.decide(ALICE, "subscribe", pattern).is_allowed == all(d.is_allowed for d in each)


def is_match(pattern: str, subject: str) -> bool:
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(tokens) <= len(wanted):
            return False
        tokens = tokens[: len(wanted)]
    return len(wanted) == len(tokens) and all(
        want in ("*", token) for want, token in zip(wanted, tokens, strict=True)
    )


def first_match(
    given_rules: list[tuple[str, list[str]]], default: str, subject: str
) -> tuple[bool, str]:
    for number, (effect, wanted) in enumerate(given_rules, 1):
        if any(is_match(pattern, subject) for pattern in wanted):
            return effect == "allow", f"rule-{number}"
    return default == "allow", "default"


# What is refused

RULE = '[[rule]]\nname = "r"\nwho = ["*"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("default = 'maybe'", 'write "deny" or "allow"'),
        ("defualt = 'deny'", "unknown key 'defualt'"),
        ("rule = 7", r"written as \[\[rule\]\]"),
        ("rule = [7]", r"written as \[\[rule\]\]"),
        ("[[rule]]\nwho = ['*']\nallow.call = ['>']", "rule 1 has no name"),
        ("[[rule]]\nname = 'r'\nallow.call = ['>']", "rule 'r' has no who"),
        (RULE, "rule 'r': say either allow or deny"),
        (RULE + "allow.call = ['>']\ndeny.call = ['a.b']", "rule 'r': say either"),
        (RULE + "allow.cal = ['>']", "unknown right 'cal'; there are: call, publish"),
        (RULE + "allow.call = '>'", "give a list"),
        (RULE + "allow.call = []", "at least one"),
        (RULE + "allow = ['call']", "write what to allow as allow.call"),
        (RULE + "allow.call = ['calc']", "give 'service.method'"),
        (RULE + "allow.call = ['a.b.c']", "give 'service.method'"),
        (RULE + "allow.call = ['a.ü']", "bad method name"),
        (RULE + "allow.join = ['a.b']", "give the name of a group"),
        (RULE + "allow.join = ['ü']", "bad group name"),
        (RULE + "allow.publish = ['a..b']", "rule 'r': bad pattern"),
        (RULE + "allow.publish = ['_mesh.g.x']", "reserved"),
        (RULE + "allow.publish = ['a*']", "whole token"),
        (RULE + "allow.call = ['>']\nwhen = 1", "rule 'r': unknown key 'when'"),
        (RULE.replace('"r"', '"default"') + "allow.call = ['>']", "that name is taken"),
        (RULE.replace('"r"', '"a b"') + "allow.call = ['>']", "bad rule name"),
        (RULE.replace('["*"]', '["role:"]') + "allow.call = ['>']", "rule 'r': bad pattern"),
        (2 * (RULE + "allow.call = ['>']\n"), "two rules are named 'r'"),
        ("[roles]\nshop = 'alice'", "roles: 'shop': who = 'alice'"),
        ("[roles]\nshop = ['role:x']", "no other roles"),
        ("roles = 7", "roles map"),
        ("[roles", "no TOML"),
    ],
)
def test_a_file_that_is_wrong_says_what_and_where(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as raised:
        Policy.load(path)
    assert str(raised.value).startswith(f"{path}: ")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read: No such file"):
        Policy.load(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9")
    with pytest.raises(ConfigError, match=r"latin\.toml is no UTF-8"):
        Policy.load(tmp_path / "latin.toml")
    (tmp_path / "large.toml").write_text("#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigError, match=r"large\.toml is larger"):
        Policy.load(tmp_path / "large.toml")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rules": [7]}, "list of mesh.Rule"),
        ({"rules": [Rule(f"r{n}", ["*"], allow={"call": [">"]}) for n in range(MAX_RULES + 1)]},
         "rules; a policy may have"),
        ({"rules": [Rule("r", ["*"], allow={"call": ["a.b"] * MAX_PATTERNS})]}, "let wildcards"),
        ({"roles": {"shop": ["a"] * (MAX_PATTERNS + 1)}}, "names in roles"),
        ({"roles": {7: ["a"]}}, "bad role name"),
    ],
)  # fmt: skip
def test_a_policy_is_bounded(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Policy(**given)


def test_a_rule_made_in_python_is_checked_alike() -> None:
    with pytest.raises(ConfigError, match="is a map"):
        Rule("r", ["*"], allow=["call"])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="give a list"):
        Rule("r", "*", allow={"call": [">"]})


def test_every_right_has_a_rule_of_its_own() -> None:
    for right in RIGHTS:
        policy = Policy([Rule("one", ["alice"], allow={right: [">"]})])
        for other in RIGHTS:
            name = "a.b" if other == "call" else "a"
            assert policy.decide(ALICE, other, name).is_allowed is (other == right)


@pytest.mark.parametrize(
    ("patterns", "is_allowed"),
    [
        (["_mesh.tap"], True),
        (["_mesh.*"], True),
        (["_mesh.state"], False),
        ([">"], False),
        (["*.tap"], False),
    ],
)
def test_of_the_meshs_own_methods_only_a_rule_that_names_them_allows_something(
    patterns: list[str], is_allowed: bool
) -> None:
    policy = Policy([Rule("some", ["alice"], allow={"call": patterns})])
    assert policy.decide(ALICE, "call", "_mesh.tap").is_allowed is is_allowed
    assert not policy.decide(BOB, "call", "_mesh.tap").is_allowed


@pytest.mark.parametrize(
    ("right", "pattern"),
    [("call", "_mesh"), ("call", "_mesh.a.b"), ("publish", "_mesh.tap"), ("subscribe", "_mesh.>")],
)
def test_nothing_else_that_is_reserved_can_be_given(right: str, pattern: str) -> None:
    with pytest.raises(ConfigError):
        Rule("some", ["alice"], allow={right: [pattern]})


@pytest.mark.parametrize(
    ("denied", "is_allowed"),
    [
        (">", False),
        ("*.*", False),
        ("*.>", False),
        ("*.tap", False),
        ("_mesh.*", False),
        ("*.state", True),
        ("calc.*", True),
    ],
)
def test_who_may_call_nothing_may_call_nothing_of_the_meshs_own(
    denied: str, is_allowed: bool
) -> None:
    policy = Policy([Rule("no", ["*"], deny={"call": [denied]})], default="allow")
    assert policy.decide(ALICE, "call", "_mesh.tap").is_allowed is is_allowed
