"""Who is suspected, who is not: frozen processes, and handlers that block Python."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

import mesh
from tests.net.conftest import Measured
from tests.net.processes import NodeProcess, until

Start = Callable[..., NodeProcess]
Make = Callable[..., mesh.Node]

SUSPECT_WITHIN = 3.5 * 10
FAILED_WITHIN = 8.0 * 10
"""Seconds that the contract gives, with ten times the time for a busy machine."""


def test_a_frozen_process_is_suspect_then_failed_and_alive_again_when_it_goes_on(
    start_process: Start, measured: Measured
) -> None:
    witness = start_process("witness")
    frozen = start_process("frozen")
    witness.ask("wait_state", peer=frozen.id, states=["alive"])
    before = now(witness)
    frozen.signal(signal.SIGSTOP)
    try:
        witness.ask(
            "wait_state",
            within=SUSPECT_WITHIN + 5,
            peer=frozen.id,
            states=["suspect"],
            timeout=SUSPECT_WITHIN,
        )
        measured("suspect after s:", now(witness) - before)
        witness.ask(
            "wait_state",
            within=FAILED_WITHIN + 5,
            peer=frozen.id,
            states=["failed"],
            timeout=FAILED_WITHIN,
        )
        measured("failed after s:", now(witness) - before)
    finally:
        frozen.signal(signal.SIGCONT)
    witness.ask("wait_state", within=60, peer=frozen.id, states=["alive"], timeout=50)
    frozen.ask("wait_state", within=60, peer=witness.id, states=["alive"], timeout=50)
    assert witness.ask("call", method="frozen.pid", timeout=30.0) == frozen.pid
    assert frozen.ask("call", method="witness.pid", timeout=30.0) == witness.pid


def now(process: NodeProcess) -> float:
    """The monotonic clock, which all processes of a machine share."""
    return float(process.ask("now"))


@pytest.mark.parametrize(
    "seconds", [pytest.param(4.0, id="4s"), pytest.param(10.0, id="10s", marks=pytest.mark.slow)]
)
def test_a_peer_whose_handler_blocks_at_full_rate_is_never_suspect(
    start_process: Start, seconds: float
) -> None:
    publisher = start_process("publisher")
    blocked = start_process("blocked", subscribe=("flow",))
    publisher.ask("wait_state", peer=blocked.id, states=["alive"])
    blocked.ask("block", seconds=seconds)
    count, receivers = publisher.ask(
        "publish_for", within=60, subject="flow", seconds=seconds + 0.5, pause=0, size=64
    )
    assert receivers == count
    blocked.ask("wait_received", within=60, count=2, timeout=50)
    publisher.ask("wait_state", peer=blocked.id, states=["alive"], timeout=30)
    assert publisher.ask("call", method="blocked.pid", timeout=30.0) == blocked.pid
    for witness, subject in ((publisher, blocked), (blocked, publisher)):
        kinds = {kind for _, kind, *_ in witness.ask("seen", peer=subject.id)}
        assert not kinds & {"PeerSuspected", "PeerFailed", "PeerLeft"}, kinds


def test_a_peer_whose_python_is_silent_is_unresponsive_then_alive(start_process: Start) -> None:
    witness = start_process("witness")
    silent = start_process("silent", subscribe=("flow",))
    witness.ask("wait_state", peer=silent.id, states=["alive"])
    silent.ask("block", seconds=7.0)
    witness.ask("publish", subject="flow")
    witness.ask("wait_state", within=70, peer=silent.id, states=["unresponsive"], timeout=60)
    witness.ask("wait_state", within=70, peer=silent.id, states=["alive"], timeout=60)
    story = ["PeerJoined", "PeerUnresponsive", "PeerRecovered"]
    until(lambda: [kind for _, kind, *_ in witness.ask("seen", peer=silent.id)] == story)


def test_a_killed_process_is_failed_at_once(start_process: Start, measured: Measured) -> None:
    witness, victim = start_process("witness"), start_process("victim")
    witness.ask("wait_state", peer=victim.id, states=["alive"])
    before = now(witness)
    victim.kill()
    witness.ask("wait_state", peer=victim.id, states=["failed"], timeout=10.0)
    measured("failed after s:", now(witness) - before)
    story = ["PeerJoined", "PeerSuspected", "PeerFailed"]
    until(lambda: [kind for _, kind, *_ in witness.ask("seen", peer=victim.id)][:3] == story)


def test_a_closed_node_has_left_and_is_never_suspect(start_process: Start, make_node: Make) -> None:
    witness = make_node("witness").start()
    with witness.watch() as events:
        process = start_process("guest")
        assert isinstance(events.get(timeout=10.0), mesh.PeerJoined)
        process.close()
        assert isinstance(events.get(timeout=10.0), mesh.PeerLeft)
    assert witness.peers() == []
    assert [peer.state for peer in witness.peers(all=True)] == ["left"]
