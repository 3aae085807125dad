"""The subject map against a naive matcher, its order, its cache and its pruning."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from patterns.subjects import (
    MATCH_CACHE_SUBJECTS,
    UNNAMED,
    SubjectMap,
    covers,
    intersection,
    is_covered,
)

plain = st.sampled_from(["a", "b", "c", "_mesh"])
subjects = st.lists(plain, min_size=1, max_size=4).map(".".join)
patterns = st.builds(
    lambda tokens, rest: ".".join(tokens + ([">"] if rest or not tokens else [])),
    st.lists(plain | st.just("*"), max_size=4),
    st.booleans(),
)
values = st.integers(0, 4)
entries = st.lists(st.tuples(patterns, values), max_size=12)


def is_match(pattern: str, subject: str) -> bool:
    """The rules, written down as plainly as possible."""
    wanted, given_tokens = pattern.split("."), subject.split(".")
    if given_tokens[0] == "_mesh":
        return pattern == subject
    if wanted[-1] == ">":
        head = wanted[:-1]
        if len(given_tokens) <= len(head):
            return False
        given_tokens = given_tokens[: len(head)]
        wanted = head
    return len(wanted) == len(given_tokens) and all(
        want in ("*", token) for want, token in zip(wanted, given_tokens, strict=True)
    )


def naive_match(registered: list[tuple[str, int]], subject: str) -> tuple[int, ...]:
    return tuple(
        dict.fromkeys(value for pattern, value in registered if is_match(pattern, subject))
    )


def filled(registered: list[tuple[str, int]]) -> SubjectMap[int]:
    subject_map: SubjectMap[int] = SubjectMap()
    for pattern, value in registered:
        subject_map.add(pattern, value)
    return subject_map


def node_count(subject_map: SubjectMap[int]) -> int:
    nodes, count = [subject_map._root], 0
    while nodes:
        node = nodes.pop()
        count += 1
        nodes.extend(node.children.values())
    return count


@given(entries, subjects)
def test_matches_are_those_of_the_naive_matcher_in_order(registered, subject) -> None:
    subject_map = filled(registered)
    expected = naive_match(list(dict.fromkeys(registered)), subject)
    assert subject_map.match(subject) == expected
    assert subject_map.match(subject) == expected  # from the cache


@pytest.mark.parametrize(
    ("pattern", "subject", "matches"),
    [
        ("a", "a", True),
        ("a", "a.b", False),
        ("a.b", "a", False),
        ("a.>", "a", False),
        ("a.>", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.*", "a", False),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("*", "a", True),
        ("*.b", "a.b", True),
        (">", "a.b.c", True),
        ("*.>", "a", False),
        ("*.>", "a.b", True),
        (">", "_mesh.g.workers", False),
        ("*.g.workers", "_mesh.g.workers", False),
        ("_mesh.g.*", "_mesh.g.workers", False),
        ("_mesh.g.workers", "_mesh.g.workers", True),
        (">", "_meshed.g", True),
        (">", "a._mesh", True),
    ],
)
def test_the_nats_rules_hold(pattern: str, subject: str, matches: bool) -> None:
    assert filled([(pattern, 1)]).match(subject) == ((1,) if matches else ())


@given(entries, patterns, values, subjects)
def test_add_then_remove_restores(registered, pattern, value, subject) -> None:
    subject_map = filled(registered)
    before = subject_map.match(subject), len(subject_map), subject_map.patterns()
    nodes_before = node_count(subject_map)
    was_new = subject_map.add(pattern, value)
    assert was_new == ((pattern, value) not in registered)
    if was_new:
        assert subject_map.remove(pattern, value)
    assert (subject_map.match(subject), len(subject_map), subject_map.patterns()) == before
    assert node_count(subject_map) == nodes_before


@given(entries, patterns, values)
def test_removing_what_is_not_there_changes_nothing(registered, pattern, value) -> None:
    registered = [entry for entry in registered if entry != (pattern, value)]
    subject_map = filled(registered)
    nodes_before = node_count(subject_map)
    assert not subject_map.remove(pattern, value)
    assert len(subject_map) == len(set(registered))
    assert node_count(subject_map) == nodes_before


def test_a_value_under_two_patterns_is_matched_once_at_its_first_place() -> None:
    subject_map = filled([("a.>", 1), ("a.b", 2), ("a.*", 1)])
    assert subject_map.match("a.b") == (1, 2)
    subject_map.remove("a.>", 1)
    assert subject_map.match("a.b") == (2, 1)


def test_a_value_registered_again_goes_to_the_end() -> None:
    subject_map = filled([("a", 1), ("a", 2)])
    subject_map.remove("a", 1)
    subject_map.add("a", 1)
    assert subject_map.match("a") == (2, 1)


def test_every_change_is_seen_by_the_next_match() -> None:
    subject_map: SubjectMap[int] = SubjectMap()
    assert subject_map.match("a.b") == ()
    subject_map.add("a.*", 1)
    assert subject_map.match("a.b") == (1,)
    subject_map.remove("a.*", 1)
    assert subject_map.match("a.b") == ()


def test_a_cached_subject_is_not_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    subject_map = filled([("a.*", 1)])
    subject_map.match("a.b")
    subject_map.match("x")
    monkeypatch.setattr(SubjectMap, "_search", None)
    assert subject_map.match("a.b") == (1,)
    assert subject_map.match("x") == ()


def test_the_cache_is_bounded() -> None:
    subject_map = filled([(">", 1)])
    largest = 0
    for number in range(2 * MATCH_CACHE_SUBJECTS + 10):
        subject_map.match(f"s.{number}")
        largest = max(largest, len(subject_map._cache))
    assert largest == MATCH_CACHE_SUBJECTS


class SubjectMapMachine(RuleBasedStateMachine):
    """Any sequence of changes and matches agrees with a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.subject_map: SubjectMap[int] = SubjectMap()
        self.registered: list[tuple[str, int]] = []

    @rule(pattern=patterns, value=values)
    def add(self, pattern: str, value: int) -> None:
        is_new = (pattern, value) not in self.registered
        assert self.subject_map.add(pattern, value) == is_new
        if is_new:
            self.registered.append((pattern, value))

    @rule(pattern=patterns, value=values)
    def remove(self, pattern: str, value: int) -> None:
        is_there = (pattern, value) in self.registered
        assert self.subject_map.remove(pattern, value) == is_there
        if is_there:
            self.registered.remove((pattern, value))

    @rule(data=st.data())
    def remove_one_that_is_there(self, data: st.DataObject) -> None:
        if self.registered:
            pattern, value = data.draw(st.sampled_from(self.registered))
            assert self.subject_map.remove(pattern, value)
            self.registered.remove((pattern, value))

    @rule(subject=subjects)
    def match(self, subject: str) -> None:
        assert self.subject_map.match(subject) == naive_match(self.registered, subject)

    @invariant()
    def size_and_patterns_agree(self) -> None:
        assert len(self.subject_map) == len(self.registered)
        assert set(self.subject_map.patterns()) == {pattern for pattern, _ in self.registered}
        if not self.registered:
            assert node_count(self.subject_map) == 1


TestSubjectMapMachine = SubjectMapMachine.TestCase


# Patterns as sets of subjects

OTHER = "z"
"""A token that no pattern names."""

SAMPLES = [
    ".".join(tokens)
    for length in range(1, 6)
    for tokens in itertools.product(["a", "b", OTHER], repeat=length)
]
"""All subjects of these tokens, longer than any pattern of ``small``."""

small = st.builds(
    lambda tokens, rest: ".".join(tokens + ([">"] if rest or not tokens else [])),
    st.lists(st.sampled_from(["a", "b", "*"]), max_size=3),
    st.booleans(),
)


def subjects_of(pattern: str) -> set[str]:
    return {subject for subject in SAMPLES if is_match(pattern, subject)}


@given(small, small)
def test_a_pattern_covers_another_just_when_it_matches_all_that_the_other_does(
    allowed: str, pattern: str
) -> None:
    assert covers(allowed, pattern) == (subjects_of(pattern) <= subjects_of(allowed))


@given(st.lists(small, max_size=4), small)
def test_patterns_cover_one_together_just_when_each_of_its_subjects_is_matched_by_some(
    allowed: list[str], pattern: str
) -> None:
    together = set().union(*map(subjects_of, allowed))
    assert is_covered(pattern, allowed) == (subjects_of(pattern) <= together)


@given(small, small)
def test_the_intersection_matches_just_what_both_match(one: str, other: str) -> None:
    found = intersection(one, other)
    assert (subjects_of(found) if found is not None else set()) == (
        subjects_of(one) & subjects_of(other)
    )
    assert (found is None) == (not subjects_of(one) & subjects_of(other))


@pytest.mark.parametrize(
    ("allowed", "pattern", "is_allowed"),
    [
        ("a.>", "a.b", True),
        ("a.>", "a", False),
        ("a.>", ">", False),
        (">", "a.*.c", True),
        (">", "_mesh.g.workers", False),
        ("*.>", "*.*", True),
        ("*.*", "*.>", False),
        ("a.*", "a.>", False),
        ("*", "a", True),
        ("a", "*", False),
        ("_mesh.g.workers", "_mesh.g.workers", True),
        (".".join(["*"] * 32), ".".join(["a"] * 31) + ".>", True),
    ],
)
def test_what_covers_what(allowed: str, pattern: str, is_allowed: bool) -> None:
    assert covers(allowed, pattern) is is_allowed


def test_reserved_subjects_have_nothing_in_common_with_wildcards() -> None:
    assert intersection(">", "_mesh.g.workers") is None
    assert intersection("*.g.workers", "_mesh.g.workers") is None
    assert intersection("_mesh.g.a", "_mesh.g.a") == "_mesh.g.a"
    assert not is_covered(">", ())


@pytest.mark.parametrize("name", [UNNAMED, f"a.{UNNAMED}"])
def test_a_token_that_nobody_names_is_matched_by_wildcards_only(name: str) -> None:
    assert covers(">", name)
    assert not covers("a.b", name)
    assert covers("a.*", name) is ("." in name)
