"""Who listens to what in which queue group."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from patterns.names import queue_pool
from patterns.queuegroups import MAX_ROUTES, QueueGroups
from patterns.subjects import SubjectMap
from patterns.subscription import Subscription
from tests.unit.patterns.groupcast.port import Node

ME = Node("me")
PATTERNS = ["a.*", "a.b", "a.>", "c"]
SUBJECTS = ["a.b", "a.c.d", "c", "x"]
GROUPS = ["billing", "audit"]
MATCHES = {("a.*", "a.b"), ("a.b", "a.b"), ("a.>", "a.b"), ("a.>", "a.c.d"), ("c", "c")}

Members = dict[str, set[Node]]


def queue_subscription(group: str, pattern: str, *, echo: bool = True) -> Subscription:
    runner: Any = None
    return Subscription(pattern, runner, group=group, echo=echo)


class Told:
    """What the node tells others of its own interest."""

    def __init__(self) -> None:
        self.wanted: set[tuple[str, str]] = set()

    def __call__(self, group: str, pattern: str, is_wanted: bool) -> None:
        assert ((group, pattern) in self.wanted) is not is_wanted, "told once, at each change"
        if is_wanted:
            self.wanted.add((group, pattern))
        else:
            self.wanted.remove((group, pattern))


class Listening(RuleBasedStateMachine):
    """Other nodes and own subscriptions come, change and go."""

    def __init__(self) -> None:
        super().__init__()
        self.told = Told()
        self.queues = QueueGroups(ME, self.told)
        self.others = [Node("x"), Node("y")]
        self.listening: dict[Node, dict[str, set[str]]] = {}
        self.own: list[Subscription] = []

    @rule(
        index=st.integers(0, 1),
        queues=st.dictionaries(
            st.sampled_from(GROUPS), st.lists(st.sampled_from(PATTERNS), unique=True, min_size=1)
        ),
    )
    def update(self, index: int, queues: dict[str, list[str]]) -> None:
        node = self.others[index]
        after = {group: set(patterns) for group, patterns in queues.items()}
        is_change = self.listening.get(node, {}) != after
        assert self.queues.update(node, queues) is is_change
        self.listening[node] = after

    @rule(group=st.sampled_from(GROUPS), pattern=st.sampled_from(PATTERNS), echo=st.booleans())
    def listen(self, group: str, pattern: str, echo: bool) -> None:
        subscription = queue_subscription(group, pattern, echo=echo)
        self.own.append(subscription)
        self.queues.listen(subscription)

    @precondition(lambda self: self.own)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        self.queues.stop(self.own.pop(data.draw(st.integers(0, len(self.own) - 1))))

    def expected(self, subject: str) -> Members:
        members: Members = {}
        for node, queues in self.listening.items():
            for group, patterns in queues.items():
                if any((pattern, subject) in MATCHES for pattern in patterns):
                    members.setdefault(queue_pool(group), set()).add(node)
        for subscription in self.own:
            if subscription.echo and (subscription.pattern, subject) in MATCHES:
                members.setdefault(queue_pool(subscription.group), set()).add(ME)
        return members

    @invariant()
    def each_group_has_those_that_listen_once(self) -> None:
        for subject in SUBJECTS:
            route = self.queues.route(subject)
            assert {pool: set(members) for pool, members in route} == self.expected(subject)
            assert all(len(members) == len(set(members)) for _, members in route)
            assert self.queues.known_route(subject) == route
            for group in GROUPS:
                members = self.expected(subject).get(queue_pool(group), set())
                assert set(self.queues.members(queue_pool(group), subject)) == members

    @invariant()
    def others_are_told_of_all_that_this_node_listens_to(self) -> None:
        assert self.told.wanted == {(s.group, s.pattern) for s in self.own}

    @invariant()
    def it_is_empty_when_nobody_takes_part(self) -> None:
        is_empty = not any(self.listening.values()) and not any(s.echo for s in self.own)
        assert self.queues.is_empty is is_empty


Listening.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestListening = Listening.TestCase


def test_while_nobody_listens_a_publish_needs_no_look_up() -> None:
    queues = QueueGroups(ME, Told())
    assert queues.known_route("a.b") == ()
    queues.update(Node("x"), {"billing": ["c"]})
    assert queues.known_route("a.b") is None
    assert queues.route("a.b") == ()
    assert queues.known_route("a.b") == ()


def test_several_patterns_of_one_group_give_one_copy() -> None:
    queues = QueueGroups(ME, Told())
    node = Node("x")
    queues.update(node, {"billing": ["a.*", "a.b", "a.>"]})
    assert queues.route("a.b") == ((queue_pool("billing"), (node,)),)


def test_a_node_that_goes_leaves_nothing_behind() -> None:
    queues = QueueGroups(ME, Told())
    node = Node("x")
    for _ in range(3):
        queues.update(node, {"billing": ["a.*"], "audit": ["c"]})
        queues.update(node, {})
        assert queues.is_empty
        assert queues._listeners == {}
        assert len(queues._interest) == 0


def test_remembered_subjects_are_bounded() -> None:
    queues = QueueGroups(ME, Told())
    queues.update(Node("x"), {"billing": ["a.*"]})
    for number in range(MAX_ROUTES + 10):
        queues.route(f"a.{number}")
    assert len(queues._routes) <= MAX_ROUTES


def test_the_matcher_agrees_with_the_table_of_this_test() -> None:
    for pattern in PATTERNS:
        one: SubjectMap[int] = SubjectMap()
        one.add(pattern, 1)
        for subject in SUBJECTS:
            assert bool(one.match(subject)) is ((pattern, subject) in MATCHES)
