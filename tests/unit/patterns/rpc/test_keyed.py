"""Keyed calls: to the owner, along redirects, never in circles, started once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patterns import messages as m
from patterns.errors import CallTimeout, NoProvider, Overloaded, PeerLost, RemoteError
from patterns.rpc import CallOptions, Request
from patterns.rpc.placement import FINAL
from tests.sim.waiter import SimWaiter
from tests.unit.patterns.rpc.port import Node, Port


def call(port: Port, *args: Any, key: Any = "k", **options: Any) -> tuple[int, SimWaiter]:
    waiter = port.waiter()
    made = CallOptions(key=key, **options)
    return port.client.call("calc.add", args, {}, made, waiter), waiter


def sent(port: Port) -> list[tuple[Node, int]]:
    """To whom requests went, and the redirects they claim."""
    return [(node, request[7]) for node, request in port.requests]


def moved(port: Port, node: Node, call_id: int, *named: Any) -> None:
    assert port.client.on_replies(node, [[call_id, m.STATUS_MOVED, *named]]) == 0


# The caller.


def test_a_keyed_call_goes_to_the_first_in_order_with_its_key_as_given() -> None:
    port = Port()
    a, _ = port.provide("a"), port.provide("b")
    first, _ = call(port, 1, key=7)
    second, _ = call(port, key=b"7", headers={"h": "1"})
    assert port.requests == [
        (a, [first, "calc.add", 5000, [1], {}, {}, 7, 0]),
        (a, [second, "calc.add", 5000, [], {}, {"h": "1"}, b"7", 0]),
    ]
    assert a.outstanding == 2


def test_an_unkeyed_request_is_no_longer_than_it_was() -> None:
    port = Port()
    port.provide("a")
    port.client.call("calc.add", (1,), {}, CallOptions(retry=True), port.waiter())
    assert port.requests[0][1] == [1, "calc.add", 5000, [1]]


def test_load_does_not_move_a_key() -> None:
    port = Port()
    a, _ = port.provide("a"), port.provide("b")
    a.outstanding = 1000
    call(port)
    assert sent(port) == [(a, 0)]


def test_a_suspect_owner_is_passed_over_and_the_next_is_to_serve() -> None:
    port = Port()
    a, b = port.provide("a", is_healthy=False), port.provide("b")
    call(port)
    port.change(a)
    call(port)
    assert sent(port) == [(b, FINAL), (a, 0)]


def test_a_redirect_is_followed_with_the_time_that_is_left_and_the_same_arguments() -> None:
    port = Port()
    a, b = port.provide("a"), port.provide("b")
    call_id, waiter = call(port, 1, timeout=5.0)
    port.run(2.0)
    moved(port, a, call_id, b.id)
    assert port.requests[1] == (b, [call_id, "calc.add", 3000, [1], {}, {}, "k", 1])
    assert (a.outstanding, b.outstanding, port.client.redirects_followed) == (0, 1, 1)
    port.client.on_replies(a, [[call_id, 0, "late"]])
    assert not waiter.done(), "the one that was left does not answer for the other"
    port.client.on_replies(b, [[call_id, 0, "good"]])
    assert waiter.result() == "good"


def test_the_third_node_is_to_serve() -> None:
    port = Port()
    a, b, c = (port.provide(name) for name in "abc")
    call_id, _ = call(port)
    moved(port, a, call_id, b.id)
    moved(port, b, call_id, c.id)
    assert sent(port) == [(a, 0), (b, 1), (c, FINAL)]


def test_two_that_name_each_other_are_asked_three_times_and_no_more() -> None:
    port = Port()
    a, b = port.provide("a"), port.provide("b")
    call_id, waiter = call(port)
    moved(port, a, call_id, b.id)
    moved(port, b, call_id, a.id)
    moved(port, a, call_id, b.id)
    assert sent(port) == [(a, 0), (b, 1), (a, FINAL)]
    assert isinstance(waiter.error, RemoteError), "it broke the rules: it was to serve"
    assert waiter.error.type == "ProtocolError"
    assert (a.outstanding, b.outstanding, len(port.client)) == (0, 0, 0)


def test_with_retry_one_that_does_not_serve_what_it_must_is_left_for_the_next() -> None:
    port = Port()
    a, b = port.provide("a", is_healthy=False), port.provide("b")
    c = port.provide("c")
    call_id, _ = call(port, retry=True)
    moved(port, b, call_id, a.id)
    assert sent(port) == [(b, FINAL), (c, FINAL)]


@pytest.mark.parametrize(
    "named",
    [
        (),
        (None,),
        (b"a",),
        (b"nobody",),
        (b"doubtful",),
        (b"other",),
        ("b",),
        ([],),
        ({},),
        (b"a", 1),
    ],
    ids=repr,
)
def test_a_redirect_that_cannot_be_followed_is_settled_by_the_own_first_choice(named: Any) -> None:
    port = Port()
    a, _ = port.provide("a"), port.provide("b")
    port.provide("doubtful", is_healthy=False)
    port.provide("other", "sub")
    call_id, waiter = call(port)
    moved(port, a, call_id, *named)
    assert sent(port) == [(a, 0), (a, FINAL)]
    assert (a.outstanding, port.client.redirects_followed) == (1, 1)
    port.client.on_replies(a, [[call_id, 0, 1]])
    assert waiter.result() == 1
    assert a.outstanding == 0


def test_the_own_first_choice_is_the_one_of_now() -> None:
    port = Port()
    a, b = port.provide("a"), port.provide("b")
    call_id, _ = call(port)
    port.change(a, is_healthy=False)
    moved(port, a, call_id, b"nobody")
    assert sent(port) == [(a, 0), (b, FINAL)]


def test_a_redirect_when_nobody_is_left_ends_the_call_as_one_without_a_provider() -> None:
    port = Port()
    a = port.provide("a")
    call_id, waiter = call(port)
    port.providers.remove(a)
    moved(port, a, call_id, b"nobody")
    assert isinstance(waiter.error, NoProvider)
    assert a.outstanding == 0


def test_a_redirect_when_nobody_is_left_may_wait_as_the_call_itself() -> None:
    port = Port()
    a = port.provide("a")
    call_id, waiter = call(port, wait=1.0)
    port.providers.remove(a)
    moved(port, a, call_id, b"nobody")
    b = port.provide("b")
    port.client.on_providers_changed()
    port.client.on_replies(b, [[call_id, 0, 1]])
    assert waiter.result() == 1


def test_an_unkeyed_call_is_not_moved() -> None:
    port = Port()
    a, b = port.provide("a"), Node("b")
    waiter = port.waiter()
    call_id = port.client.call("calc.add", (), {}, CallOptions(), waiter)
    port.preference.append(b)
    moved(port, a, call_id, b.id)
    assert isinstance(waiter.error, RemoteError)
    assert len(port.requests) == 1


def test_a_redirect_is_no_failed_try() -> None:
    port = Port()
    a, b = port.provide("a"), port.provide("b")
    call_id, _ = call(port, retry=True)
    moved(port, a, call_id, b.id)
    port.client.on_lost(b, "gone")
    assert sent(port) == [(a, 0), (b, 1), (a, FINAL)]


def test_a_keyed_call_without_retry_is_lost_with_its_peer() -> None:
    port = Port()
    a, _ = port.provide("a"), port.provide("b")
    _, waiter = call(port)
    port.client.on_suspect(a)
    assert not waiter.done()
    port.client.on_lost(a, "gone")
    assert isinstance(waiter.error, PeerLost)
    assert sent(port) == [(a, 0)]


def test_with_retry_the_members_are_asked_in_order_of_preference_as_final() -> None:
    port = Port()
    nodes = [port.provide(name) for name in "abcd"]
    a, b, c, d = nodes
    call_id, waiter = call(port, retry=True)
    port.client.on_suspect(a)
    port.client.on_lost(b, "gone")
    port.run(0.2)
    port.client.on_replies(c, [[call_id, m.STATUS_OVERLOADED, "no"]])
    port.run(0.4)
    assert sent(port) == [(a, 0), (b, FINAL), (c, FINAL), (d, FINAL)]
    port.client.on_replies(d, [[call_id, m.STATUS_NO_METHOD, "no"]])
    assert isinstance(waiter.error, NoProvider)
    assert [node.outstanding for node in nodes] == [0, 0, 0, 0]


def test_without_retry_a_refusal_of_the_owner_is_the_outcome() -> None:
    port = Port()
    a, _ = port.provide("a"), port.provide("b")
    call_id, waiter = call(port)
    port.client.on_replies(a, [[call_id, m.STATUS_OVERLOADED, "no"]])
    assert isinstance(waiter.error, Overloaded)


def test_without_a_provider_a_keyed_call_fails_at_once_or_waits_as_an_unkeyed_one() -> None:
    port = Port()
    with pytest.raises(NoProvider):
        call(port)
    call_id, _ = call(port, wait=1.0)
    a = port.provide("a")
    port.client.on_providers_changed()
    assert [(node, r[0], r[7]) for node, r in port.requests] == [(a, call_id, 0)]


def test_redirects_do_not_prolong_the_deadline() -> None:
    port = Port()
    a, b = port.provide("a"), port.provide("b")
    call_id, waiter = call(port, timeout=1.0)
    port.run(0.9)
    moved(port, a, call_id, b.id)
    port.run(0.15)
    assert isinstance(waiter.error, CallTimeout)
    assert port.cancelled == [(b, call_id)]


# The server.


def served(port: Port) -> list[Any]:
    """Lets it serve ``calc.add``; returns the list of the keys it was started for."""
    started: list[Any] = []

    def add(request: Request) -> str:
        started.append(request.key)
        return "done"

    port.serve(add)
    return started


def request(call_id: int, *rest: Any) -> list[Any]:
    return [call_id, "calc.add", 1000, [], {}, {}, *rest]


@pytest.mark.parametrize("key", ["user:7", b"\xff", 7, "", -1])
def test_the_owner_serves_and_its_handler_sees_the_key_as_it_was_given(key: Any) -> None:
    port = Port()
    started = served(port)
    port.provide_here()
    port.provide("b")
    assert port.request(request(1, key), request(2, key, 1)) == 0
    assert started == [key, key]
    assert [type(k) for k in started] == [type(key)] * 2
    assert [reply[1] for _, reply in port.replies] == [m.STATUS_OK] * 2
    assert (port.server.moved, port.server.served_for_others) == (0, 0)


def test_an_unkeyed_request_has_no_key_and_is_served_by_anybody() -> None:
    port = Port()
    started = served(port)
    port.provide("a")
    port.provide_here()
    port.request([1, "calc.add", 1000, []], request(2))
    assert started == [None, None]


@pytest.mark.parametrize("redirects", [(), (0,), (1,)])
def test_who_sees_another_owner_names_it_and_starts_nothing(redirects: Any) -> None:
    port = Port()
    started = served(port)
    a = port.provide("a")
    port.provide_here()
    port.request(request(1, "k", *redirects))
    assert port.replies == [("route", [1, m.STATUS_MOVED, a.id])]
    assert started == []
    assert len(port.server) == 0
    assert (port.server.moved, port.server.served_for_others) == (1, 0)


@pytest.mark.parametrize("redirects", [2, 3, 1 << 40])
def test_a_final_request_is_served_and_counted(redirects: int) -> None:
    port = Port()
    started = served(port)
    port.provide("a")
    port.provide_here()
    port.request(request(1, "k", redirects))
    assert started == ["k"]
    assert (port.server.moved, port.server.served_for_others) == (0, 1)


def test_a_final_request_of_an_own_key_is_nothing_special() -> None:
    port = Port()
    served(port)
    port.provide("a", is_healthy=False)
    port.provide_here()
    port.request(request(1, "k", 2), request(2, "k", 0))
    assert [reply[1] for _, reply in port.replies] == [m.STATUS_OK] * 2
    assert port.server.served_for_others == 0


@pytest.mark.parametrize("key", [True, 1.5, [], {}, "x" * 2000])
def test_a_bad_key_is_a_bad_request(key: Any) -> None:
    port = Port()
    started = served(port)
    assert port.request(request(1, key)) == 0
    assert [reply[1] for _, reply in port.replies] == [m.STATUS_BAD_REQUEST]
    assert started == []


@pytest.mark.parametrize("redirects", [None, "1", [], True])
def test_redirects_that_are_no_number_end_the_search(redirects: Any) -> None:
    port = Port()
    started = served(port)
    port.provide("a")
    port.provide_here()
    port.request(request(1, "k", redirects))
    assert started == ["k"]


# Both, with whatever views.


@st.composite
def views(draw: st.DrawFn) -> list[tuple[list[int], set[int], set[int]]]:
    """For each of four nodes: an order, whom it knows, and who of these is in doubt."""
    everybody = range(4)
    return [
        (
            draw(st.permutations(everybody)),
            draw(st.sets(st.sampled_from(everybody))) | {index},
            draw(st.sets(st.sampled_from(everybody))) - {index},
        )
        for index in everybody
    ]


@given(views(), st.booleans())
def test_whatever_the_views_at_most_three_requests_are_made_and_one_node_serves(
    views: list[tuple[list[int], set[int], set[int]]], is_retry: bool
) -> None:
    ports = [Port() for _ in views]
    started = [served(port) for port in ports]
    handles = [{i: Node(str(i)) for i in range(4)} for _ in views]
    for index, (port, (order, known, doubtful)) in enumerate(zip(ports, views, strict=True)):
        port.local = handles[index][index]
        for other in order:
            if other in known:
                port.preference.append(handles[index][other])
                port.change(handles[index][other], is_healthy=other not in doubtful)
    caller = ports[0]
    _, waiter = call(caller, retry=is_retry)
    for asked in range(4):
        if waiter.done():
            break
        target, entry = caller.requests[asked]
        server = ports[int(target.id)]
        server.request(entry, route="back")
        caller.client.on_replies(target, [server.replies[-1][1]])
    assert waiter.result() == "done"
    assert len(caller.requests) <= 3
    assert sum(len(keys) for keys in started) == 1
    assert sum(port.server.moved for port in ports) == caller.client.redirects_followed
    assert all(node.outstanding == 0 for node in handles[0].values())
