"""The serving side: every request is answered once, and no more runs than may."""

from __future__ import annotations

from typing import Any

import pytest

from patterns import messages as m
from patterns.errors import BadName, ConfigError
from patterns.rpc import Method
from patterns.rpc.method import Request
from patterns.rpc.server import ADMITTED_SHARE, MAX_WAITING
from tests.sim.runner import sleep
from tests.unit.patterns.rpc.port import CALLER, Node, Port


def statuses(port: Port) -> dict[int, int]:
    """Call id to status; fails when one was answered twice."""
    ids = [reply[0] for _, reply in port.replies]
    assert len(ids) == len(set(ids))
    return {reply[0]: reply[1] for _, reply in port.replies}


async def slow(seconds: float) -> float:
    await sleep(seconds)
    return seconds


def test_a_value_goes_back_by_the_route_it_came() -> None:
    port = Port()

    def add(a: int, b: int = 1) -> int:
        return a + b

    port.serve(add)
    port.request([7, "calc.add", 1000, [1], {"b": 5}], route="there")
    port.request([8, "calc.add", 1000, [1]], route="here")
    assert port.replies == [("there", [7, m.STATUS_OK, 6]), ("here", [8, m.STATUS_OK, 2])]


@pytest.mark.parametrize("kind", ["inline", "coroutine", "pool"])
def test_what_a_handler_raises_is_told_with_type_text_and_traceback(kind: str) -> None:
    port = Port()

    def fail() -> None:
        raise KeyError("gone")

    async def fail_later() -> None:
        await sleep(0.1)
        raise KeyError("gone")

    function = fail_later if kind == "coroutine" else fail
    port.server.add("calc", Method("fail", function, concurrency=1, inline=kind == "inline"))
    port.request([1, "calc.fail", 1000, []])
    port.run(1)
    [(_, reply)] = port.replies
    assert reply[:4] == [1, m.STATUS_ERROR, "KeyError", "'gone'"]
    assert "in fail" in reply[4]


def test_a_value_that_cannot_travel_is_an_error_and_not_silence() -> None:
    port = Port()

    def give() -> object:
        return object()

    port.serve(give)
    port.request([1, "calc.give", 1000, []])
    assert port.replies[0][1][:3] == [1, m.STATUS_ERROR, "BadPayload"]


def test_an_unknown_method_is_told_with_those_there_are() -> None:
    port = Port()
    port.serve(slow)
    port.request([1, "calc.fast", 1000, []])
    [(_, reply)] = port.replies
    assert reply[1] == m.STATUS_NO_METHOD
    assert "slow" in reply[2]


def test_wrong_arguments_are_told() -> None:
    port = Port()
    port.serve(slow)
    port.request([1, "calc.slow", 1000, []], [2, "calc.slow", 1000, [1], {5: 1}])
    assert statuses(port) == {1: m.STATUS_BAD_REQUEST, 2: m.STATUS_BAD_REQUEST}


def test_no_more_than_concurrency_run_and_the_line_is_served_in_order() -> None:
    port = Port()
    running, most, order = 0, 0, []

    async def work(i: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        order.append(i)
        await sleep(0.1)
        running -= 1

    port.serve(work, concurrency=3)
    for i in range(20):
        port.request([i, "calc.work", 10_000, [i]])
    port.run(5)
    assert most == 3
    assert order == list(range(20))
    assert statuses(port) == dict.fromkeys(range(20), m.STATUS_OK)
    assert len(port.server) == 0


def test_past_the_line_the_answer_is_overloaded_at_once() -> None:
    port = Port()
    port.serve(slow, concurrency=1)
    for i in range(MAX_WAITING + 3):
        port.request([i, "calc.slow", 1 << 30, [1.0]])
    assert statuses(port) == {MAX_WAITING + 1: m.STATUS_OVERLOADED, MAX_WAITING + 2: 3}


def test_who_cannot_be_served_in_time_is_refused_at_once_and_who_is_accepted_is_in_time() -> None:
    port = Port()
    ended: dict[int, float] = {}

    async def work(number: int) -> None:
        await sleep(0.1)
        ended[number] = port.now()

    port.serve(work, concurrency=2)
    port.request([0, "calc.work", 10_000, [0]])
    port.run(1)
    began = port.now()
    for number in range(1, 101):
        port.request([number, "calc.work", 1_000, [number]])
    refused = {i for i, status in statuses(port).items() if status == m.STATUS_OVERLOADED}
    port.run(5)
    accepted = set(range(1, 101)) - refused
    assert all(ended[number] - began <= 1.0 for number in accepted)
    # Two at a time, ten rounds in a second; a part of it is kept for the way.
    assert len(accepted) == pytest.approx(20 * ADMITTED_SHARE, abs=2)
    assert accepted == set(range(1, len(accepted) + 1)), "those who came first"
    assert port.server.refused == len(refused)
    text = next(reply[2] for _, reply in port.replies if reply[1] == m.STATUS_OVERLOADED)
    assert "2 calls run and 14 wait already" in text


def test_a_slot_that_is_free_is_given_whatever_calls_took_before() -> None:
    port = Port()
    port.serve(slow, concurrency=1)
    port.request([0, "calc.slow", 100_000, [60.0]])
    port.run(61)
    port.request([1, "calc.slow", 100, [0.01]])
    port.run(1)
    assert statuses(port)[1] == m.STATUS_OK


def test_when_its_caller_is_gone_what_runs_is_cancelled_and_what_waits_is_not_started() -> None:
    port = Port()
    begun: list[int] = []
    ended: list[int] = []

    async def work(number: int) -> None:
        begun.append(number)
        await sleep(1)
        ended.append(number)

    port.serve(work, concurrency=1)
    other = Node("other")
    for number in range(3):
        port.request([number, "calc.work", 60_000, [number]])
    port.request([0, "calc.work", 60_000, [9]], caller=other)
    port.run(0.1)
    port.server.caller_gone(CALLER.id)
    port.run(5)
    assert (begun, ended) == ([0, 9], [9])
    assert statuses(port) == {0: m.STATUS_OK}
    assert len(port.server) == 0


def test_a_server_that_drains_starts_nothing_and_what_runs_ends() -> None:
    port = Port()
    port.serve(slow, concurrency=1)
    for number in range(3):
        port.request([number, "calc.slow", 60_000, [1.0]])
    port.server.drain()
    port.request([3, "calc.slow", 60_000, [1.0]])
    port.run(5)
    draining = dict.fromkeys((1, 2, 3), m.STATUS_DRAINING)
    assert statuses(port) == {0: m.STATUS_OK} | draining
    assert (port.server.handed_on, len(port.server)) == (3, 0)


def test_a_long_line_of_calls_that_end_at_once_is_worked_off() -> None:
    port = Port()
    port.serve(slow_first, concurrency=1)
    for i in range(MAX_WAITING):
        port.request([i, "calc.slow_first", 10_000, [i]])
    port.run(2)
    assert statuses(port) == dict.fromkeys(range(MAX_WAITING), m.STATUS_OK)


async def slow_first(i: int) -> None:
    if i == 0:
        await sleep(1.0)


@pytest.mark.parametrize("budget", [0, -5])
def test_a_request_without_time_left_is_not_started(budget: int) -> None:
    port = Port()
    started: list[int] = []

    def note() -> None:
        started.append(1)

    async def note_later() -> None:
        started.append(1)

    port.serve(note)
    port.serve(note_later)
    port.request([1, "calc.note", budget, []], [2, "calc.note_later", budget, []])
    assert statuses(port) == {1: m.STATUS_EXPIRED, 2: m.STATUS_EXPIRED}
    assert started == []
    assert port.server.expired == 2


def test_a_request_that_waited_past_its_deadline_is_not_started() -> None:
    port = Port()
    port.serve(slow, concurrency=1)
    port.request([1, "calc.slow", 5000, [1.0]], [2, "calc.slow", 500, [0.0]])
    port.run(2)
    assert statuses(port) == {1: m.STATUS_OK, 2: m.STATUS_EXPIRED}


def test_a_cancelled_call_is_not_started_and_a_running_one_ends_without_a_reply() -> None:
    port = Port()
    ended: list[int] = []

    async def work(i: int) -> None:
        await sleep(0.5)
        ended.append(i)

    port.serve(work, concurrency=1)
    for i in (1, 2, 3):
        port.request([i, "calc.work", 5000, [i]])
    port.server.cancel(CALLER.id, [1, 2, "nonsense", 99])
    port.run(3)
    assert ended == [3]
    assert statuses(port) == {3: m.STATUS_OK}
    assert len(port.server) == 0


def test_nobody_cancels_the_calls_of_another() -> None:
    port = Port()
    port.serve(slow)
    port.request([1, "calc.slow", 5000, [0.5]])
    port.server.cancel(b"somebody else", [1])
    port.run(1)
    assert statuses(port) == {1: m.STATUS_OK}


@pytest.mark.parametrize(
    "entry",
    [
        5,
        None,
        [],
        {},
        [1, "calc.slow", 1000],
        ["1", "calc.slow", 1000, []],
        [1, "calc.slow", "1000", []],
        [1, "calc.slow", 1000, {}],
        [1, "calc.slow", 1000, [], []],
        [1, "calc.slow", 1000, [], {}, 5],
        [1, ["calc.slow"], 1000, []],
        [True, "calc.slow", 1000, []],
    ],
)
def test_a_malformed_request_is_counted_and_the_others_are_served(entry: Any) -> None:
    port = Port()
    port.serve(slow)
    malformed = port.request(entry, [50, "calc.slow", 1000, [0.0]])
    port.run(1)
    assert malformed == 1
    assert statuses(port) == {50: m.STATUS_OK}


def test_a_handler_can_ask_for_its_caller_its_deadline_and_the_headers() -> None:
    port = Port()

    def who(a: int, request: Request) -> Any:
        return [a, request.caller.name, request.deadline, request.headers]

    port.serve(who)
    port.request([1, "calc.who", 1500, [7], {}, {"trace": "x"}])
    assert port.replies[0][1][2] == [7, "caller", 1.5, {"trace": "x"}]


def test_the_calls_of_a_caller_that_run_or_wait_are_known() -> None:
    port = Port()
    port.serve(slow, concurrency=1)
    port.request([1, "calc.slow", 5000, [1.0]], [2, "calc.slow", 5000, [1.0]])
    port.request([3, "calc.slow", 5000, [1.0]], caller=Node("another"))
    assert port.server.running_of(CALLER.id) == {1, 2}
    port.run(1.1)
    assert port.server.running_of(CALLER.id) == {2}


def test_a_closed_server_starts_nothing_and_cancels_what_runs() -> None:
    port = Port()
    ended: list[int] = []

    async def work() -> None:
        await sleep(0.5)
        ended.append(1)

    port.serve(work, concurrency=1)
    port.request([1, "calc.work", 5000, []], [2, "calc.work", 5000, []])
    port.server.close()
    port.request([3, "calc.work", 5000, []])
    port.run(3)
    assert ended == []
    assert len(port.server) == 0


def test_a_method_is_served_once_and_under_a_valid_name() -> None:
    port = Port()
    port.serve(slow)
    with pytest.raises(ConfigError):
        port.serve(slow)
    with pytest.raises(BadName):
        port.server.add("no good", Method("x", slow, concurrency=1, inline=False))
