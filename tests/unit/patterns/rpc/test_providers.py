"""Who gets the next call."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from patterns.rpc import Providers
from tests.unit.patterns.rpc.port import Node


def test_who_does_not_serve_it_is_never_picked() -> None:
    providers = Providers(Random(1))
    providers.update(Node("a"), {"calc": ("add",)}, True)
    assert providers.pick("calc.sub") is None
    assert providers.pick("other.add") is None


def test_of_two_drawn_the_one_with_fewer_calls_in_flight_is_picked() -> None:
    providers = Providers(Random(1))
    busy, idle = Node("busy"), Node("idle")
    busy.outstanding = 5
    for node in (busy, idle):
        providers.update(node, {"calc": ("add",)}, True)
    assert {providers.pick("calc.add") for _ in range(50)} == {idle}


def test_equal_nodes_get_about_the_same() -> None:
    providers = Providers(Random(1))
    for i in range(5):
        providers.update(Node(str(i)), {"calc": ("add",)}, True)
    counts = Counter(str(providers.pick("calc.add")) for _ in range(5000))
    assert len(counts) == 5
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_one_in_doubt_is_picked_only_when_no_other_is_left() -> None:
    providers = Providers(Random(1))
    good, doubtful = Node("good"), Node("doubtful")
    providers.update(good, {"calc": ("add",)}, True)
    providers.update(doubtful, {"calc": ("add",)}, False)
    assert {providers.pick("calc.add") for _ in range(50)} == {good}
    assert providers.pick("calc.add", [good]) is doubtful
    assert providers.pick("calc.add", [good, doubtful]) is None
    assert providers.is_healthy(good)
    assert not providers.is_healthy(doubtful)


def test_one_that_is_passed_over_is_picked_when_no_other_is_left_and_for_other_methods() -> None:
    providers = Providers(Random(1))
    good, bad = Node("good"), Node("bad")
    for node in (good, bad):
        providers.update(node, {"calc": ("add", "sub")}, True)
    providers.pass_over(bad, "calc.add", is_on=True)
    assert {providers.pick("calc.add") for _ in range(50)} == {good}
    assert {providers.pick("calc.sub") for _ in range(50)} == {good, bad}
    assert providers.pick("calc.add", [good]) is bad
    assert providers.spare("calc.add", [good]) is None
    assert providers.spare("calc.add", [bad]) is good
    assert providers.is_healthy(bad), "for keys it is the owner that it was"
    assert providers.serving("calc.add") == 2
    assert providers.methods("calc") == ["add", "sub"]
    providers.remove(good)
    assert providers.pick("calc.add") is bad
    providers.update(good, {"calc": ("add",)}, True)
    providers.pass_over(bad, "calc.add", is_on=False)
    assert {providers.pick("calc.add") for _ in range(50)} == {good, bad}


def test_one_that_is_passed_over_stays_so_when_its_health_or_its_methods_change() -> None:
    providers = Providers(Random(1))
    good, bad = Node("good"), Node("bad")
    for node in (good, bad):
        providers.update(node, {"calc": ("add",)}, True)
    providers.pass_over(bad, "calc.add", is_on=True)
    for services, is_healthy in (
        ({"calc": ("add",)}, False),
        ({"calc": ("add", "sub")}, True),
        ({"calc": ("sub",)}, True),
        ({"calc": ("add",)}, True),
    ):
        providers.update(bad, services, is_healthy)
        assert {providers.pick("calc.add") for _ in range(50)} == {good}
    providers.remove(bad)
    providers.pass_over(bad, "calc.add", is_on=False)
    providers.update(bad, {"calc": ("add",)}, True)
    assert {providers.pick("calc.add") for _ in range(50)} == {good, bad}


def test_who_is_to_be_tried_gets_one_call_if_it_can() -> None:
    providers = Providers(Random(1))
    good, bad = Node("good"), Node("bad")
    for node in (good, bad):
        providers.update(node, {"calc": ("add",)}, True)
    providers.pass_over(bad, "calc.add", is_on=True)
    providers.try_next(bad, "calc.add")
    assert providers.pick("calc.add", [bad]) is good
    picks = [providers.pick("calc.add") for _ in range(50)]
    assert picks == [bad] + [good] * 49
    providers.try_next(bad, "calc.add")
    providers.update(bad, {"calc": ("sub",)}, True)
    assert providers.pick("calc.add") is good
    providers.remove(bad)
    assert providers.pick("calc.add") is good


@given(st.integers(1, 12), st.lists(st.integers(0, 11), max_size=20))
def test_at_most_half_of_the_healthy_may_be_passed_over_and_never_the_last(
    count: int, wanted: list[int]
) -> None:
    providers = Providers(Random(1))
    nodes = [Node(str(number)) for number in range(count)]
    for number, node in enumerate(nodes):
        providers.update(node, {"calc": ("add",)}, number % 3 != 2)
    healthy = sum(number % 3 != 2 for number in range(count))
    over = set()
    for number in wanted:
        node = nodes[number % count]
        if providers.may_pass_over(node, "calc.add", 0.5):
            providers.pass_over(node, "calc.add", is_on=True)
            over.add(node)
    assert len(over) <= healthy / 2
    assert providers.pick("calc.add") not in over


def test_methods_are_listed_over_all_nodes() -> None:
    providers = Providers(Random(1))
    providers.update(Node("a"), {"calc": ("b", "a")}, True)
    providers.update(Node("b"), {"calc": ("c",), "calculator": ("z",)}, False)
    assert providers.methods("calc") == ["a", "b", "c"]
    assert providers.count("calc") == 2
    assert providers.count("nothing") == 0


services = st.dictionaries(
    st.sampled_from(["x", "y"]), st.lists(st.sampled_from("abc"), unique=True).map(tuple)
)


@given(st.lists(st.tuples(st.integers(0, 3), st.none() | st.tuples(services, st.booleans()))))
def test_the_index_is_what_the_last_word_of_each_node_says(
    steps: list[tuple[int, tuple[dict[str, tuple[str, ...]], bool] | None]],
) -> None:
    providers = Providers(Random(1))
    nodes = [Node(str(i)) for i in range(4)]
    said: dict[Node, tuple[dict[str, tuple[str, ...]], bool]] = {}
    for index, word in steps:
        if word is None:
            providers.remove(nodes[index])
            said.pop(nodes[index], None)
        else:
            providers.update(nodes[index], *word)
            said[nodes[index]] = word
    for service in "xy":
        assert providers.count(service) == sum(service in s for s, _ in said.values())
        for method in "abc":
            serving = {n: ok for n, (s, ok) in said.items() if method in s.get(service, ())}
            best = {n for n, ok in serving.items() if ok} or set(serving)
            picked = {providers.pick(f"{service}.{method}") for _ in range(60)}
            assert (picked - {None}) == best
