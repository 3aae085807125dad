"""Surveys on real sockets: both faces, frozen and killed processes, and ``meshctl survey``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain

import pytest

import mesh
from tests.conftest import Measured
from tests.net.inside import Inside, inside, without_multicast
from tests.net.processes import NodeProcess, Script, until
from tests.net.test_cli import Meshctl, is_one_line

__all__ = ["inside", "without_multicast"]

MakeNode = Callable[..., mesh.Node]
MakeAsync = Callable[..., mesh.AsyncNode]
StartProcess = Callable[..., NodeProcess]

SOON = 10.0
"""Seconds for what takes milliseconds, on a machine under load."""

CROWD = """
import sys, mesh
nodes = []
for _ in range(int(sys.argv[3])):
    # They know the one who asks, and not each other: 30 links instead of 465.
    node = mesh.Node("calc", mesh=sys.argv[1], discovery=(), seeds=[sys.argv[2]])
    node.rpc("health", inline=True)(lambda node=node: node.id)
    nodes.append(node.start())
print(*(node.id for node in nodes), flush=True)
sys.stdin.read()
for node in nodes:
    node.close()
"""


def ids_of(crowd: Script) -> list[str]:
    assert crowd.process.stdout is not None
    line = crowd.process.stdout.readline()
    assert line, crowd.errors
    return line.split()


def calc(make_node: MakeNode, health: Callable[..., object] | None = None) -> mesh.Node:
    node = make_node("calc")
    node.rpc("health")(health or (lambda: node.id))
    return node.start()


def test_a_survey_of_thirty_ends_at_its_timeout_and_names_the_three_that_are_frozen(
    make_node: MakeNode, run_script: Callable[..., Script], mesh_name: str, measured: Measured
) -> None:
    asker = make_node("asker", discovery=()).start()
    at = asker.me.address
    crowds = [run_script(CROWD, mesh_name, at, str(count)) for count in (9, 9, 9, 1, 1, 1)]
    found = [ids_of(crowd) for crowd in crowds]
    asker.wait_for("calc", count=30, timeout=30)
    frozen = {id for (id,) in found[3:]}
    for crowd in crowds[3:]:
        crowd.signal(signal.SIGSTOP)
    began = time.monotonic()
    survey = asker.survey("calc.health", timeout=1.0)
    replies = list(survey)
    took = time.monotonic() - began
    for crowd in crowds[3:]:
        crowd.signal(signal.SIGCONT)
    assert len(survey.asked) == 30
    assert {peer.id for peer in survey.missing} == frozen
    assert survey.failed == {}
    assert sorted(r.value for r in replies) == sorted(chain(*found[:3]))
    assert 1.0 <= took < 1.0 + SOON
    with pytest.raises(mesh.Incomplete, match="27 of 30 have answered, 30 were wanted"):
        survey.raise_for_missing()
    again = list(asker.survey("calc.health", timeout=SOON))
    assert {r.value for r in again} == set(chain(*found))
    measured("a survey of 30, ms until its last answer", again[-1].latency * 1e3)
    for crowd in crowds:
        assert crowd.process.stdin is not None
        crowd.process.stdin.close()
    for crowd in crowds:
        assert crowd.wait(SOON) == 0, crowd.errors
        crowd.check()


def test_a_process_that_is_killed_has_failed_at_once(
    make_node: MakeNode, start_process: StartProcess
) -> None:
    asker = make_node("asker").start()
    processes = [start_process("calc") for _ in range(2)]
    asker.wait_for("calc", count=2, timeout=SOON)
    with asker.survey("calc.work", 7, timeout=60, kwargs={"seconds": 60.0}) as survey:
        until(lambda: processes[0].ask("started") == [7])
        processes[0].kill()
        until(lambda: survey.failed, within=SOON)
        assert {p.id: type(e) for p, e in survey.failed.items()} == {processes[0].id: mesh.PeerLost}
        assert [peer.id for peer in survey.missing] == [processes[1].id]
        assert not survey.is_over


def test_leaving_the_block_cancels_what_runs(make_async: MakeAsync) -> None:
    async def main() -> None:
        started, ended = asyncio.Event(), asyncio.Event()
        async with make_async("calc") as node, make_async("asker") as asker:

            @node.rpc
            async def health() -> None:
                started.set()
                try:
                    await asyncio.sleep(60)
                finally:
                    ended.set()

            await asker.wait_for("calc", timeout=SOON)
            async with asker.survey("calc.health", timeout=60, peers=[node.id]):
                await asyncio.wait_for(started.wait(), SOON)
            await asyncio.wait_for(ended.wait(), SOON)

    asyncio.run(main())


def test_the_async_face_takes_builtin_all_and_enough(make_async: MakeAsync) -> None:
    async def main() -> None:
        async with make_async("asker") as asker, make_async("calc") as a, make_async("calc") as b:
            for node in (a, b):
                node.rpc("add")(lambda x, y=0: x + y)
            await asker.wait_for("calc", count=2, timeout=SOON)
            await asyncio.sleep(0)
            async for _ in asker.survey("calc.add", 1, until=all, timeout=SOON):
                pass
            survey = await asker.survey("calc.add", 1, kwargs={"y": 2}, timeout=SOON).wait()
            assert [reply.value for reply in survey.raise_for_missing().replies] == [3, 3]
            assert {reply.peer for reply in survey.replies} == set(survey.asked)
            one = asker.survey("calc.add", 1, until=mesh.first(1), timeout=SOON)
            assert [reply.value async for reply in one] == [1]
            assert (one.is_complete, one.is_over) == (True, True)
            with pytest.raises(mesh.ConfigError, match="until"):
                asker.survey("calc.add", 1, until=3)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="deep"):
                asker.survey("calc.add", deep=True)  # type: ignore[call-arg]

    asyncio.run(main())


def test_replies_come_one_by_one_while_others_still_work(make_node: MakeNode) -> None:
    may_end = threading.Event()
    quick = calc(make_node)
    slow = calc(make_node, lambda: may_end.wait(SOON) and "slow")
    asker = make_node("asker").start()
    asker.wait_for("calc", count=2, timeout=SOON)
    survey = asker.survey("calc.health", timeout=60)
    assert next(survey).value == quick.id
    assert [peer.id for peer in survey.missing] == [slow.id]
    may_end.set()
    assert next(survey).value == "slow"
    assert list(survey) == []
    assert survey.is_complete


def test_right_after_start_it_asks_all_and_a_missing_service_is_told_when_read(
    make_node: MakeNode,
) -> None:
    for _ in range(3):
        calc(make_node)
    asker = make_node("asker").start()
    assert len(list(asker.survey("calc.health", timeout=SOON))) == 3
    lone = make_node("lone", mesh=f"{asker.mesh}-2").start()
    with pytest.raises(mesh.NoProvider):
        list(lone.survey("calc.health"))


def test_closing_the_node_ends_whoever_reads(make_node: MakeNode) -> None:
    may_end = threading.Event()
    calc(make_node, lambda: may_end.wait(SOON))
    asker = make_node("asker").start()
    asker.wait_for("calc", timeout=SOON)
    survey = asker.survey("calc.health", timeout=60)
    ends: list[BaseException] = []

    def read() -> None:
        try:
            list(survey)
        except mesh.NodeClosed as error:
            ends.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    asker.close()
    reader.join(SOON)
    may_end.set()
    assert len(ends) == 1
    survey.close()
    with pytest.raises(mesh.NodeClosed):
        asker.survey("calc.health")


def test_on_its_own_loop_it_raises_instead_of_waiting_for_itself(make_node: MakeNode) -> None:
    node = make_node("calc")
    ends: list[str] = []

    @node.rpc(inline=True)
    def health() -> None:
        with pytest.raises(RuntimeError, match="would block"):
            node.survey("calc.health")
        ends.append("raised")

    node.start()
    node.call("calc.health")
    assert ends == ["raised"]


CTRL_C = """
import sys, mesh
with mesh.Node("asker", mesh=sys.argv[1], discovery=("local",)) as asker:
    asker.wait_for("calc", timeout=10)
    survey = asker.survey("calc.health", timeout=60)
    print("reading", flush=True)
    try:
        next(survey)
    except KeyboardInterrupt:
        print("interrupted", survey.is_over, len(survey.missing), flush=True)
"""


def test_ctrl_c_ends_the_survey_and_what_it_runs(
    make_node: MakeNode, run_script: Callable[..., Script], mesh_name: str
) -> None:
    started, ended = threading.Event(), threading.Event()

    async def health() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    calc(make_node, health)
    script = run_script(CTRL_C, mesh_name)
    assert script.process.stdout is not None
    assert script.process.stdout.readline() == "reading\n"
    assert started.wait(SOON)
    script.signal(signal.SIGINT)
    assert script.process.stdout.readline() == "interrupted True 1\n"
    assert ended.wait(SOON)
    assert script.wait(SOON) == 0, script.errors


FORK = """
import os, signal, sys, mesh
with mesh.Node("calc", mesh=sys.argv[1], discovery=()) as node:
    node.rpc("health")(lambda: "fine")
    survey = node.survey("calc.health", timeout=5)
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            next(survey)
        except mesh.NodeClosed as error:
            survey.close()
            os._exit(7 if "before this process was forked" in str(error) else 1)
        os._exit(2)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), [reply.value for reply in survey])
"""


def test_in_a_forked_child_a_survey_says_so_and_the_parents_goes_on(
    run_script: Callable[..., Script], mesh_name: str
) -> None:
    script = run_script(FORK, mesh_name)
    assert script.wait(60) == 0, script.errors
    assert script.process.stdout is not None
    assert script.process.stdout.read() == "7 ['fine']\n"


def test_a_survey_of_a_handler_in_the_pool_ends_with_the_call_that_it_serves(
    make_node: MakeNode,
) -> None:
    may_end = threading.Event()
    took: list[float] = []
    calc(make_node, lambda: may_end.wait(60))
    front = make_node("front")

    @front.rpc
    def overview() -> int:
        began = time.monotonic()
        survey = front.survey("calc.health", timeout=60).wait()
        took.append(time.monotonic() - began)
        return len(survey.missing)

    front.start()
    front.wait_for("calc", timeout=SOON)
    asker = make_node("asker").start()
    asker.wait_for("front", timeout=SOON)
    time.sleep(1.0)  # until nothing is left of the grace after start
    with contextlib.suppress(mesh.CallTimeout):  # its answer is there at the last moment, or not
        assert asker.service("front", timeout=0.5).overview() == 1
    until(lambda: took, within=SOON)
    may_end.set()
    assert took[0] < SOON


# meshctl survey


@pytest.fixture
def meshctl(mesh_name: str) -> Iterator[Meshctl]:
    runner = Meshctl(mesh_name)
    yield runner
    runner.end()


@pytest.fixture
def crew(make_node: MakeNode) -> Iterator[list[mesh.Node]]:
    """One that answers, one that raises, one that does not answer."""
    may_end = threading.Event()

    def sick() -> None:
        raise ValueError("sick")

    yield [
        calc(make_node, lambda x=0: {"x": x}),
        calc(make_node, sick),
        calc(make_node, lambda: may_end.wait(60)),
    ]
    may_end.set()


def test_meshctl_shows_who_answered_who_failed_and_who_is_missing(
    meshctl: Meshctl, crew: list[mesh.Node]
) -> None:
    fine, sick, silent = crew
    done = meshctl.run("survey", "calc.health", "--timeout", "1")
    first, second, third = done.out.splitlines()
    assert done.code == 1
    assert first.startswith(f"{fine.me}  ")
    assert first.endswith(' ms  {"x": 0}')
    assert second == f"{sick.me}  failed  ValueError: sick (at calc)"
    assert third == f"{silent.me}  missing"
    assert is_one_line(done.err)
    assert "1 of 3 nodes answered, 1 failed, 1 missing; --until all is not met" in done.err


def test_meshctl_ends_with_0_when_enough_have_answered_and_prints_json_lines(
    inside: Inside, crew: list[mesh.Node]
) -> None:
    done = inside("survey", "calc.health", "--until", "quorum:0.3", "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    (reply,) = [line for line in lines if line["type"] == "reply"]
    summary = lines[-1]
    assert (done.code, done.err) == (0, "")
    assert reply["peer"]["id"] == crew[0].id
    assert reply["value"] == {"x": 0}
    assert 0 < reply["seconds"] < SOON
    assert (summary["asked"], summary["replied"], summary["until"]) == (3, 1, "quorum:0.3")
    assert summary["complete"] is True


def test_meshctl_refuses_what_is_no_until_and_says_when_nobody_serves_it(
    inside: Inside, crew: list[mesh.Node]
) -> None:
    done = inside("survey", "calc.health", "--until", "some")
    assert (done.code, done.out) == (2, "")
    assert is_one_line(done.err)
    done = inside("survey", "calc.nothing")
    assert (done.code, done.out) == (1, "")
    assert "its methods: health" in done.err
