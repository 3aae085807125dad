"""``meshctl bench``: what it counts, what it tells, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mesh
from mesh.cli.bench import NAME, crew, load, run, run_name, subject_of
from mesh.cli.bench.core.receipt import Stamper
from mesh.cli.bench.core.schedule import Plan, Schedule
from mesh.cli.bench.load import Sent
from mesh.cli.bench.part import Part
from mesh.cli.bench.run import Run
from tests.net.inside import Inside, inside, without_multicast
from tests.net.processes import Script, until
from tests.net.test_cli import RUN_SECONDS, Meshctl, is_one_line, meshctl

__all__ = ["inside", "meshctl", "without_multicast"]

MakeNode = Callable[..., mesh.Node]

RUN = "0123abcd"


def last_line(text: str) -> str:
    """The error: the notes before it say what is done."""
    return text.splitlines()[-1]


def test_without_a_command_it_shows_which_there_are(inside: Inside) -> None:
    done = inside("bench")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: meshctl bench")
    places = [done.err.index(f"  {name}  ") for name in ("rpc", "pubsub", "groupcast", "serve")]
    assert places == sorted(places)


# rpc


@pytest.fixture
def calc(make_node: MakeNode) -> mesh.Node:
    node = make_node("calc")
    node.rpc("add")(lambda a, b=1: a + b)
    return node.start()


def test_so_many_calls_are_made_and_each_is_told(inside: Inside, make_node: MakeNode) -> None:
    got: list[Any] = []
    node = make_node("calc")
    node.rpc("add")(lambda a, b: got.append((a, b)))
    node.start()
    done = inside("bench", "rpc", "calc.add", "2", "b=[3]", "--count", "50", "--json")
    assert done.code == 0
    assert got == [(2, [3])] * 51, "one before, to see whether it works"
    told = done.json
    assert (told["method"], told["in_flight"], told["errors"]) == ("calc.add", 1, {})
    assert told["calls"] == told["answered"] == 50
    assert told["rate"] == pytest.approx(50 / told["seconds"], rel=0.01)
    assert sum(step["count"] for step in told["histogram"]) == 50
    latency = list(told["latency"].values())
    names = ["min", "mean", "p50", "p90", "p99", "p99.9", "max"]
    assert list(told["latency"]) == names
    assert [latency[0], *latency[2:]] == sorted([latency[0], *latency[2:]])
    assert 0 < latency[0] <= latency[1] <= latency[-1] <= told["seconds"]


def test_for_people_there_is_a_line_a_table_and_bars(inside: Inside, calc: mesh.Node) -> None:
    done = inside("bench", "rpc", "calc.add", "2", "--count", "1000", "--in-flight", "3")
    assert done.err == "meshctl: calling calc.add 1,000 times, 3 in flight; Ctrl-C ends\n"
    sums, _, names, times, _, head, *bars = done.out.splitlines()
    assert sums.startswith("1,000 calls answered in ")
    assert sums.endswith(" a second, 0 errors")
    assert names.split() == ["MIN", "P50", "P90", "P99", "P99.9", "MAX"]
    assert times.count(" ms") == 6
    assert head.split() == ["ABOVE", "UP", "TO", "COUNT", "SHARE"]
    assert all("█" in bar for bar in bars if bar.split()[4] != "0")


def test_errors_are_counted_by_kind_and_end_nothing(inside: Inside, make_node: MakeNode) -> None:
    calls = iter(range(1000))
    node = make_node("calc")

    @node.rpc
    async def half() -> None:
        if next(calls) % 2:
            raise LookupError("not there")

    node.start()
    done = inside("bench", "rpc", "calc.half", "--count", "40", "--json")
    assert done.code == 0
    assert (done.json["calls"], done.json["answered"]) == (40, 20)
    (kind,) = done.json["errors"]
    assert kind == "RemoteError(LookupError)"
    assert done.json["errors"][kind]["count"] == 20
    assert "not there" in done.json["errors"][kind]["first"]
    shown = inside("bench", "rpc", "calc.half", "--count", "40").out
    assert "20 errors" in shown
    assert "RemoteError(LookupError)  20" in shown


def test_that_no_call_is_answered_is_a_failure(inside: Inside, make_node: MakeNode) -> None:
    node = make_node("calc")

    @node.rpc
    async def never() -> None:
        await asyncio.sleep(RUN_SECONDS)

    node.start()
    done = inside("bench", "rpc", "calc.never", "--count", "2", "--timeout", "0.2", "--json")
    assert done.code == 1
    assert (done.json["answered"], done.json["latency"]) == (0, None)
    assert done.json["errors"]["CallTimeout"]["count"] == 2
    assert last_line(done.err).startswith("meshctl: no call was answered: calc.never: no answer")


def test_so_many_are_in_flight_and_no_more(inside: Inside, make_node: MakeNode) -> None:
    here = most = 0
    node = make_node("calc")

    @node.rpc
    async def nap() -> None:
        nonlocal here, most
        here += 1
        most = max(most, here)
        await asyncio.sleep(0.01)
        here -= 1

    node.start()
    assert inside("bench", "rpc", "calc.nap", "--count", "60", "--in-flight", "5").code == 0
    assert most == 5


def test_at_a_rate_a_pause_is_seen_by_all_that_were_due_in_it(
    inside: Inside, make_node: MakeNode
) -> None:
    """Coordinated omission: without a rate one call is slow, with it all those of that time."""
    pause = 0.5
    calls = 0
    node = make_node("calc")

    @node.rpc(inline=True)
    def stall() -> None:
        nonlocal calls
        calls += 1
        if calls == 20:
            time.sleep(pause)

    node.start()

    def slow(*options: str) -> int:
        nonlocal calls
        calls = 0
        done = inside("bench", "rpc", "calc.stall", "--count", "200", "--json", *options)
        assert done.json["answered"] == 200
        return sum(s["count"] for s in done.json["histogram"] if s["above"] >= pause / 5)

    assert slow("--rate", "200", "--in-flight", "1") >= 200 * pause * 0.7
    assert slow() <= 20, "one, and what a busy machine holds up"


def test_a_rate_that_is_not_possible_is_told(inside: Inside, calc: mesh.Node) -> None:
    words = ("--rate", "1e6", "--seconds", "3", "--warmup", "0")
    done = inside("bench", "rpc", "calc.add", "1", *words, "--json")
    assert done.code == 0
    assert done.json["late"] > 0
    assert done.json["late"] + done.json["calls"] == 3_000_000
    assert "1,000,000 a second is more than was possible" in last_line(done.err)


def test_the_warm_up_is_not_counted(inside: Inside, make_node: MakeNode) -> None:
    got: list[int] = []
    node = make_node("calc")
    node.rpc("add")(lambda: got.append(1))
    node.start()
    words = ("--rate", "100", "--seconds", "0.2", "--warmup", "0.3")
    done = inside("bench", "rpc", "calc.add", *words, "--json")
    calls = done.json["calls"]
    # A busy machine makes some too late for it.
    assert calls + done.json["late"] == 20
    assert 1 + calls < len(got) <= 1 + 30 + calls


def test_bytes_of_a_size_can_be_sent(inside: Inside, make_node: MakeNode) -> None:
    sizes: set[int] = set()
    node = make_node("calc")
    node.rpc("put")(lambda data: sizes.add(len(data)))
    node.start()
    assert inside("bench", "rpc", "calc.put", "--size", "777", "--count", "3").code == 0
    assert sizes == {777}
    done = inside("bench", "rpc", "calc.put", "x", "--size", "777")
    assert done.code == 2
    assert is_one_line(done.err)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("calc.nothing",), 1, "has no method 'nothing'; its methods: add"),
        (("nobody.add",), 1, "no reachable node provides the service 'nobody'"),
        (("calc.add", "1", "2", "3"), 1, "add"),
        (("calc.add", "1", "--peer", "nobody"), 1, "none of the peers"),
        (("calc",), 2, "write SERVICE.METHOD"),
        (("calc.add", "1", "--in-flight", "0"), 2, "--in-flight"),
        (("calc.add", "1", "--rate", "0"), 2, "give a number, above 0"),
        (("calc.add", "1", "--rate", "nan"), 2, "give a number, above 0"),
        (("calc.add", "1", "--seconds", "-1"), 2, "give a number, above 0"),
        (("calc.add", "1", "--warmup", "nan"), 2, "give a number, 0 or more"),
        (("calc.add", "1", "--cuont", "1"), 2, "--count"),
    ],
)
def test_what_cannot_work_is_one_line_as_with_call(
    inside: Inside, calc: mesh.Node, words: tuple[str, ...], code: int, text: str
) -> None:
    done = inside("bench", "rpc", *words)
    assert (done.code, done.out) == (code, "")
    assert is_one_line(done.err)
    assert text in done.err


# pubsub


def test_every_message_reaches_every_subscriber(inside: Inside, make_node: MakeNode) -> None:
    witness = make_node("witness").start()
    words = ("--subscribers", "2", "--subjects", "7", "--size", "40", "--count", "3000")
    done = inside("bench", "pubsub", *words, "--json")
    assert done.code == 0, done.err
    told = done.json
    assert (told["published"], told["delivered"], told["lost"]) == (3000, 6000, 0)
    assert (told["broken"], told["disordered"], told["errors"]) == (0, 0, {})
    assert [s["received"] for s in told["subscribers"]] == [3000, 3000]
    assert len({s["id"] for s in told["subscribers"]}) == 2
    assert told["rate"] == pytest.approx(6000 / told["seconds"], rel=0.01)
    assert told["bytes_per_second"] == pytest.approx(told["rate"] * 40)
    assert told["latency"] is None, "without a rate it would be that of the buffers"
    until(lambda: not of_benches(witness), what="their goodbye")


def of_benches(node: mesh.Node) -> list[mesh.Peer]:
    return [peer for peer in node.peers() if peer.name.startswith(NAME)]


def test_for_people_there_is_a_row_for_each_and_the_sums(inside: Inside) -> None:
    done = inside("bench", "pubsub", "--count", "2000", "--rate", "4000")
    assert done.code == 0
    assert done.err == (
        "meshctl: publishing 128 B to 1 subscriber 2,000 times at 4,000 a second; Ctrl-C ends\n"
    )
    head, row, sums, _, names, *_ = done.out.splitlines()
    assert head.split() == ["SUBSCRIBER", "ADDRESS", "RECEIVED", "LOST", "RATE", "DATA"]
    assert row.split()[2:4] == ["2,000", "0"]
    assert sums.startswith("2,000 messages of 128 B published in 0.5")
    assert sums.endswith(", 0 lost")
    assert names.split() == ["MIN", "P50", "P90", "P99", "P99.9", "MAX"]


def test_latency_is_shown_where_all_have_one_clock(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("bench", "pubsub", "--count", "100", "--rate", "1000", "--json")
    assert 0 < inside(*words).json["latency"]["min"] < RUN_SECONDS
    monkeypatch.setattr(run, "clock_name", lambda: "of another host")
    done = inside(*words[:-1])
    assert done.code == 0
    assert "P50" not in done.out
    assert "clocks of other hosts" in last_line(done.err)


def test_who_listens_to_everything_is_not_flooded_unless_it_is_forced(
    inside: Inside, make_node: MakeNode
) -> None:
    got: list[Any] = []
    node = make_node("archive")
    node.subscriber(">")(lambda message: got.append(message.subject))
    node.start()
    done = inside("bench", "pubsub", "--count", "50")
    assert (done.code, done.out) == (1, "")
    assert "1 other node would get all of this, too" in last_line(done.err)
    until(lambda: len(got) == 1, what="the only message, which showed it")
    assert inside("bench", "pubsub", "--count", "50", "--force").code == 0
    until(lambda: len(got) == 1 + 51)
    assert all(subject.startswith(f"{NAME}.") for subject in got)


def test_a_key_on_the_command_line_reaches_those_who_take_part(inside: Inside) -> None:
    words = ("--key", "some words", "--host", "127.0.0.1", "--count", "10", "--json")
    done = inside("bench", "pubsub", *words)
    assert done.code == 0, done.err
    assert done.json["delivered"] == 10


def test_that_a_process_does_not_start_is_told(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "COMMAND", (sys.executable, "-c", "raise SystemExit('no room')"))
    done = inside("bench", "pubsub")
    assert (done.code, done.out) == (1, "")
    assert is_one_line(done.err)
    assert "the process subscriber ended with 1; it said: no room" in done.err


def test_messages_have_no_less_than_their_stamp(inside: Inside) -> None:
    done = inside("bench", "pubsub", "--size", "15")
    assert done.code == 2
    assert is_one_line(done.err)


# What does not arrive, with loads that do wrong


@pytest.fixture
def part(make_node: MakeNode, mesh_name: str) -> Any:
    made = Part("subscriber", RUN, 16, {"mesh": mesh_name, "discovery": ("local",)})
    with made.node:
        yield made


def play(make_node: MakeNode, mesh_name: str, send: Callable[..., Any]) -> Run:
    """A run of 100 messages to the part of this test, sent by ``send(node, number, data)``."""
    node = make_node("bench", observer=True).start()
    played = Run(node, "subscriber", RUN, node.wait_for(run_name(RUN)), 16, 5.0)
    stamper = Stamper(16)

    async def wrong(sent: Sent, schedule: Schedule, first: int) -> None:
        while (due := schedule.take(0)) is not None:
            number = first + sent.count
            sent.count += 1
            send(node.aio, number, stamper.message(number, due))

    played.play(Plan.of(None, None, 100, None), wrong)
    return played


def test_losses_are_told_exactly(make_node: MakeNode, mesh_name: str, part: Part) -> None:
    lost = {0, 17, 18, 99}

    def send(node: mesh.AsyncNode, number: int, data: bytes) -> None:
        if number not in lost:
            node.publish(subject_of(RUN, 0), data)

    played = play(make_node, mesh_name, send)
    assert (played.sent.count, played.received) == (100, 96)
    assert played.problem() is None, "publish promises no more"


def test_broken_and_doubled_messages_are_a_problem(
    make_node: MakeNode, mesh_name: str, part: Part
) -> None:
    def send(node: mesh.AsyncNode, number: int, data: bytes) -> None:
        node.publish(subject_of(RUN, 0), data if number != 5 else data[:-1])
        if number == 7:
            node.publish(subject_of(RUN, 0), data)

    played = play(make_node, mesh_name, send)
    (receipt,) = played.receipts.values()
    assert (receipt.received, receipt.broken, receipt.disordered) == (100, 1, 1)
    assert played.problem() == "1 message did not arrive as they were sent"
    receipt.broken = 0
    assert played.problem() == "1 message came twice or out of order"


def test_a_load_that_fails_is_no_endless_bench(make_node: MakeNode) -> None:
    """The errors of a coroutine come out of ``on_loop``, those that are time-outs, too."""
    node = make_node("bench").start()

    async def fail() -> None:
        raise mesh.Timeout("it took too long")

    with pytest.raises(mesh.Timeout, match="too long"):
        load.on_loop(node, fail(), lambda: None, 0.01)


# groupcast


def test_work_is_shared_out_and_all_of_it_acknowledged(inside: Inside) -> None:
    done = inside("bench", "groupcast", "--workers", "3", "--count", "600", "--json")
    assert done.code == 0, done.err
    told = done.json
    assert (told["sent"], told["handled"], told["sent_again"]) == (600, 600, 0)
    assert told["acknowledged"] is True
    handled = [worker["handled"] for worker in told["workers"]]
    assert sum(handled) == 600
    assert told["balance"] == pytest.approx(max(handled) * 3 / 600)


def test_for_people_the_shares_are_shown(inside: Inside) -> None:
    done = inside("bench", "groupcast", "--count", "100", "--rate", "500")
    assert done.code == 0, done.err
    head, *rows = done.out.splitlines()
    assert head.split() == ["WORKER", "ADDRESS", "HANDLED", "SHARE", "REDELIVERED"]
    assert "100 messages of 128 B sent and acknowledged in" in rows[2]
    assert "P99.9" in done.out


def children_of(script: Script) -> list[int]:
    pid = script.process.pid
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_worker_that_dies_is_told_and_its_work_is_sent_again(meshctl: Meshctl) -> None:
    words = ("--workers", "2", "--seconds", "3", "--size", "1000", "--warmup", "0")
    script = meshctl.start("bench", "groupcast", *words)
    until(lambda: "to one of 2 workers" in script.errors, within=RUN_SECONDS)
    victim = children_of(script)[0]
    time.sleep(0.5)
    os.kill(victim, signal.SIGKILL)
    assert script.wait(RUN_SECONDS) == 1
    assert "the sums lack what these had" in last_line(script.errors)
    assert script.process.stdout is not None
    shown = script.process.stdout.read()
    again = int(shown.rpartition("balance")[2].split()[1].replace(",", ""))
    assert again > 0
    assert "sent and acknowledged" in shown


# serve


def serving(meshctl: Meshctl, *words: str) -> Script:
    script = meshctl.start("bench", "serve", *words)
    until(lambda: "serving as" in script.errors, within=RUN_SECONDS, what="the server")
    return script


def test_one_command_here_and_one_there(meshctl: Meshctl, inside: Inside) -> None:
    server = serving(meshctl, "--json")
    assert "serving as meshctl-bench/" in server.errors
    told = inside("bench", "pubsub", "--remote", "--count", "100", "--json")
    assert (told.code, told.json["delivered"], told.json["lost"]) == (0, 100, 0)
    told = inside("bench", "groupcast", "--remote", "--count", "100", "--json")
    assert (told.code, told.json["handled"]) == (0, 100)
    told = inside("bench", "rpc", f"{NAME}.echo", "--size", "100", "--count", "10", "--json")
    assert (told.code, told.json["answered"]) == (0, 10)
    done = inside("bench", "pubsub", "--remote", "--subscribers", "2")
    assert (done.code, done.out) == (1, "")
    assert is_one_line(done.err)
    assert "runs on 1 node: start more" in done.err
    assert "--remote uses it" in inside("bench", "pubsub", "--count", "1").err
    server.signal(signal.SIGINT)
    assert server.process.stdout is not None
    lines = server.process.stdout.read().splitlines()
    assert server.wait(RUN_SECONDS) == 130
    assert ['"begun"' in line for line in lines] == [True, False, True, False]
    assert '"received": 101' in lines[1]
    assert '"kind": "worker"' in lines[3]


def test_nobody_there_says_what_to_start(inside: Inside) -> None:
    for command in ("pubsub", "groupcast"):
        done = inside("bench", command, "--remote")
        assert (done.code, done.out) == (1, "")
        assert "no other node in the mesh" in done.err
        assert "nobody runs 'meshctl bench serve'" in last_line(done.err)


# Ctrl-C


def test_ctrl_c_ends_it_with_the_sums_so_far(meshctl: Meshctl, calc: mesh.Node) -> None:
    for words, sums in (
        (("rpc", "calc.add", "1", "--rate", "1000", "--seconds", "60"), "answered in"),
        (("pubsub", "--rate", "1000", "--seconds", "60"), "0 lost"),
        (("groupcast", "--rate", "1000", "--seconds", "60"), "acknowledged in"),
    ):
        script = meshctl.start("bench", *words, "--warmup", "0")
        until(lambda: "Ctrl-C ends" in script.errors, within=RUN_SECONDS)  # noqa: B023
        time.sleep(0.5)
        script.signal(signal.SIGINT)
        assert script.process.stdout is not None
        assert sums in script.process.stdout.read()
        assert script.wait(RUN_SECONDS) == 130
        assert "Traceback" not in script.errors
    until(lambda: not of_benches(calc), what="the end of those who took part")
