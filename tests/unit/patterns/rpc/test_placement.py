"""Where a key belongs by one node's view."""

from __future__ import annotations

from typing import Any

import pytest

from patterns.rpc.placement import FINAL, Placement
from tests.unit.patterns.rpc.port import Node, Port

ADD = "calc.add"


def placement(port: Port) -> Placement:
    return Placement(port, port.providers)


def test_the_first_in_the_order_that_serves_the_method_is_asked() -> None:
    port = Port()
    port.provide("a", "sub")
    b = port.provide("b", "add", "sub")
    port.provide("c")
    assert placement(port).pick(ADD, b"k") == (b, 0)


def test_one_in_doubt_is_passed_over_and_the_next_is_to_serve_without_a_look() -> None:
    port = Port()
    a, b = port.provide("a", is_healthy=False), port.provide("b")
    assert placement(port).pick(ADD, b"k") == (b, FINAL)
    port.change(a)
    assert placement(port).pick(ADD, b"k") == (a, 0)


def test_one_in_doubt_that_does_not_serve_the_method_was_not_passed_over() -> None:
    port = Port()
    port.provide("a", "sub", is_healthy=False)
    b = port.provide("b")
    assert placement(port).pick(ADD, b"k") == (b, 0)


def test_when_all_are_in_doubt_they_are_asked_in_order() -> None:
    port = Port()
    a, b = (port.provide(name, is_healthy=False) for name in "ab")
    assert placement(port).pick(ADD, b"k") == (a, 0)
    assert placement(port).pick(ADD, b"k", [a]) == (b, FINAL)
    assert placement(port).pick(ADD, b"k", [a, b])[0] is None


def test_after_a_failed_try_the_next_is_asked_as_final() -> None:
    port = Port()
    a, b = port.provide("a"), port.provide("b")
    assert placement(port).pick(ADD, b"k", [a]) == (b, FINAL)


@pytest.mark.parametrize("method", ["calc.sub", "other.add", "calc.a.b", "calc", ""])
def test_what_nobody_serves_is_nobodys(method: str) -> None:
    port = Port()
    port.provide("a")
    assert placement(port).pick(method, b"k") == (None, 0)


def test_a_method_that_none_of_the_best_few_serve_is_found_behind_them() -> None:
    port = Port()
    port.kept_in_order = 2
    for name in "abc":
        port.provide(name, "sub")
    d, e = port.provide("d"), port.provide("e")
    assert placement(port).pick(ADD, b"k") == (d, 0)
    assert placement(port).pick(ADD, b"k", [d]) == (e, FINAL)


def test_a_healthy_one_behind_the_best_few_goes_before_one_in_doubt() -> None:
    port = Port()
    port.kept_in_order = 2
    for name in "ab":
        port.provide(name, is_healthy=False)
    c = port.provide("c")
    assert placement(port).pick(ADD, b"k") == (c, FINAL)


def test_all_are_put_in_order_only_if_the_best_few_are_not_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = Port()
    monkeypatch.setattr(port, "other_owners", lambda service, key: pytest.fail("put in order"))
    a = port.provide("a")
    port.provide("b", "sub")
    assert placement(port).pick(ADD, b"k")[0] is a
    assert placement(port).pick("calc.mul", b"k")[0] is None
    port.change(a, is_healthy=False)
    assert placement(port).pick(ADD, b"k")[0] is a


def test_a_key_belongs_here_unless_a_healthy_one_that_serves_it_stands_before() -> None:
    port = Port()
    a, b = port.provide("a"), port.provide("b", "sub")
    port.provide_here()
    port.provide("z")
    placed = placement(port)
    assert placed.better(ADD, b"k") is a
    port.change(a, is_healthy=False)
    assert placed.better(ADD, b"k") is None
    port.change(b, "add")
    assert placed.better(ADD, b"k") is b


def test_a_key_belongs_elsewhere_also_if_this_node_is_behind_the_best_few() -> None:
    port = Port()
    port.kept_in_order = 1
    port.provide("a", "sub")
    b = port.provide("b")
    port.provide_here()
    assert placement(port).better(ADD, b"k") is b


@pytest.mark.parametrize("id", [None, 5, "b", b"x", b"", [b"b"], {}, b"doubtful", b"other"])
def test_only_a_healthy_node_that_serves_the_method_can_be_named(id: Any) -> None:
    port = Port()
    b: Node = port.provide("b")
    port.provide("doubtful", is_healthy=False)
    port.provide("other", "sub")
    placed = placement(port)
    assert placed.named(ADD, b"b") is b
    assert placed.named(ADD, id) is None
