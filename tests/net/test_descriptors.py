"""A process whose descriptors run out: it is told which limit that is, and nothing ends."""

from __future__ import annotations

import resource
from collections.abc import Callable

import pytest

import mesh
from mesh.transport.descriptors import FOR_LINK, FOR_NODE
from tests.net.processes import PROCESS_START, NodeProcess, Script, until
from tests.net.raw import descriptors

Start = Callable[..., NodeProcess]
Make = Callable[..., mesh.Node]

LIMIT = 64
PEERS = 16
"""More than the limit has room for: a node of a test takes some 25, a link 3."""

WITHIN = 60.0

START = """
import asyncio, sys
import mesh

async def main():
    async with mesh.AsyncNode(mesh=sys.argv[1], discovery=("local",)):
        print("started")

try:
    asyncio.run(main())
except OSError as error:
    print("refused:", error)
"""


@pytest.fixture
def target(start_process: Start) -> NodeProcess:
    return start_process("target")


def set_limit(process: NodeProcess, limit: int | None = None) -> None:
    """The soft limit of a process that runs; None for the hard one."""
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    soft = hard if limit is None else limit
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (soft, hard))


def with_limit(limit: int) -> tuple[str, ...]:
    """A prefix: the program behind it has that limit, soft and hard, from its first moment."""
    return "sh", "-c", f'ulimit -n {limit} && exec "$@"', "sh"


def alive(process: NodeProcess) -> set[str]:
    return {id for id, state in process.ask("peers").items() if state == "alive"}


@pytest.fixture
def crowd(make_node: Make, target: NodeProcess) -> list[mesh.Node]:
    """More nodes than the target may link with; they know nobody else."""
    set_limit(target, LIMIT)
    nodes = [
        make_node(f"peer{number}", discovery=(), seeds=[target.address]) for number in range(PEERS)
    ]
    for node in nodes:
        node.start()
    return nodes


def test_with_too_few_descriptors_a_node_has_fewer_links_and_says_why(
    target: NodeProcess, crowd: list[mesh.Node]
) -> None:
    until(lambda: "RLIMIT_NOFILE" in target.errors, WITHIN, "a warning that names the limit")
    until(lambda: target.ask("counters").get("peers_refused"), WITHIN, "a refusal")
    linked = until(lambda: [node for node in crowd if node.peers()], WITHIN)
    assert len(linked) < PEERS
    assert f"of {LIMIT} (RLIMIT_NOFILE)" in target.errors
    assert "ulimit -n" in target.errors
    assert descriptors(target) < LIMIT, "some are left to the program"
    for node in linked:
        node.wait_for("target", timeout=WITHIN)
        assert node.call("target.pid") == target.pid


def test_who_was_refused_joins_when_there_are_descriptors_again(
    target: NodeProcess, crowd: list[mesh.Node]
) -> None:
    until(lambda: "RLIMIT_NOFILE" in target.errors, WITHIN, "a warning that names the limit")
    set_limit(target)
    for node in crowd:
        node.wait_for("target", timeout=WITHIN)
    until(lambda: alive(target) == {node.id for node in crowd}, WITHIN)


def test_the_shortage_is_told_once_and_not_for_each_dial(
    target: NodeProcess, crowd: list[mesh.Node]
) -> None:
    until(lambda: "RLIMIT_NOFILE" in target.errors, WITHIN, "a warning that names the limit")
    refused = target.ask("counters")["peers_refused"]
    until(lambda: target.ask("counters")["peers_refused"] >= refused + PEERS // 2, WITHIN)
    assert target.errors.count("told once a minute") == 1


def test_without_a_descriptor_for_its_connection_a_call_goes_by_the_link(
    make_node: Make, target: NodeProcess
) -> None:
    node = make_node("answers")

    @node.rpc
    def double(value: int) -> int:
        return 2 * value

    node.start()
    target.ask("wait_for", name="answers")
    set_limit(target, descriptors(target))
    assert target.ask("call", method="answers.double", args=[21]) == 42
    assert target.ask("counters")["lanes_not_opened"] > 0


@pytest.mark.parametrize("limit", [12, 14, 15, 16, 18])
def test_a_node_that_cannot_start_for_want_of_descriptors_raises_and_does_not_abort(
    limit: int, mesh_name: str
) -> None:
    script = Script(["-c", START, mesh_name], prefix=with_limit(limit))
    try:
        assert script.wait(PROCESS_START) == 0, script.errors
        assert script.process.stdout is not None
        told = script.process.stdout.read()
        assert f"of {limit} (RLIMIT_NOFILE)" in told
        assert "ulimit -n" in told
    finally:
        script.end()


def test_what_a_node_needs_is_enough_for_it(mesh_name: str) -> None:
    base = 8  # the three standard ones and the loop's
    script = Script(["-c", START, mesh_name], prefix=with_limit(FOR_NODE.descriptors + base))
    try:
        assert script.wait(PROCESS_START) == 0, script.errors
        assert script.process.stdout is not None
        assert script.process.stdout.read() == "started\n"
        assert not script.errors
    finally:
        script.end()


def test_a_link_takes_no_more_than_is_asked_for(make_node: Make, target: NodeProcess) -> None:
    before = descriptors(target)
    for number in range(4):
        make_node(f"peer{number}", discovery=(), seeds=[target.address]).start()
    until(lambda: len(alive(target)) == 4)
    assert descriptors(target) <= before + 4 * FOR_LINK.descriptors
