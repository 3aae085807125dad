"""Who is believed alive: evidence, time, refutation, and one's own pauses."""

from __future__ import annotations

import pytest

from mesh.engine.core import Core
from mesh.engine.liveness import SUSPICION, UNRESPONSIVE_AFTER, Liveness
from mesh.engine.session import Session
from mesh.membership import State
from mesh.testing.clock import SimClock
from tests.unit.mesh.engine.harness import FakeTransport, joined, make_core, run


class World:
    """One peer under watch; ``changes`` are the times and states it was moved to."""

    def __init__(self) -> None:
        self.core: Core
        self.clock: SimClock
        self.transport: FakeTransport
        self.core, self.clock, self.transport = make_core()
        self.changes: list[tuple[float, State]] = []
        self.liveness = Liveness(self.core, self.change, lambda session: None)
        self.peer = joined(self.core)
        self.liveness.open()

    def change(self, session: Session, state: State, reason: str) -> None:
        assert reason
        if self.core.membership.change(session.id, state) is not None:
            self.changes.append((self.clock.now(), state))

    @property
    def states(self) -> list[State]:
        return [state for _, state in self.changes]

    def lose_link(self) -> None:
        self.peer.links.clear()
        self.peer.link = None
        self.peer.outbox.close()
        self.liveness.link_lost(self.peer, "lost")

    def run_hearing(self, seconds: float) -> None:
        """Time passes and the peer says something all the while."""
        for _ in range(int(seconds * 10)):
            self.peer.last_heard = self.clock.now()
            if self.peer.pinged_at is not None:
                self.liveness.heard(self.peer)
            run(self.clock, 0.1)


def test_a_lost_link_makes_a_suspect_at_once() -> None:
    world = World()
    world.lose_link()
    assert world.states == [State.SUSPECT]


def test_refused_probes_fail_a_suspect_in_well_under_a_second() -> None:
    world = World()
    world.transport.answers = ["refused"]
    world.lose_link()
    run(world.clock, 0.5)
    assert world.states == [State.SUSPECT, State.FAILED]
    assert len(world.transport.probes) == 2
    assert world.transport.probes[1] - world.transport.probes[0] >= 0.04


def test_one_refusal_between_others_proves_nothing() -> None:
    world = World()
    world.transport.answers = ["refused", "open", "refused", "unknown", "refused", "open"]
    world.lose_link()
    run(world.clock, SUSPICION - 0.1)
    assert world.states == [State.SUSPECT]


@pytest.mark.parametrize("answer", ["open", "unknown"])
def test_without_evidence_time_decides_and_not_before(answer: str) -> None:
    world = World()
    world.transport.answers = [answer]
    world.lose_link()
    run(world.clock, SUSPICION - 0.01)
    assert world.states == [State.SUSPECT]
    run(world.clock, 0.5)
    assert world.states == [State.SUSPECT, State.FAILED]


def test_a_new_link_refutes_and_stops_the_probes() -> None:
    world = World()
    world.lose_link()
    run(world.clock, 1.0)
    world.peer.outbox.open(2, world.clock.now())
    world.liveness.link_up(world.peer)
    world.liveness.link_back(world.peer)
    assert world.states == [State.SUSPECT, State.ALIVE]
    probes = len(world.transport.probes)
    world.transport.answers = ["refused"]
    world.run_hearing(10)
    assert len(world.transport.probes) == probes
    assert world.states == [State.SUSPECT, State.ALIVE]


def test_a_peer_that_says_nothing_is_asked_and_then_unresponsive() -> None:
    world = World()
    run(world.clock, UNRESPONSIVE_AFTER - 0.5)
    assert world.states == []
    assert len(world.transport.sent) == 1, "one ping"
    run(world.clock, 1.0)
    assert world.states == [State.UNRESPONSIVE]
    run(world.clock, 60)
    assert world.states == [State.UNRESPONSIVE], "kept"
    world.peer.last_heard = world.clock.now()
    world.liveness.heard(world.peer)
    assert world.states == [State.UNRESPONSIVE, State.ALIVE]


def test_a_peer_that_is_heard_of_is_not_even_asked() -> None:
    world = World()
    world.run_hearing(30)
    assert world.states == []
    assert world.transport.sent == []


def test_an_unresponsive_peer_whose_link_is_lost_is_suspect() -> None:
    world = World()
    run(world.clock, UNRESPONSIVE_AFTER + 1)
    world.lose_link()
    assert world.states == [State.UNRESPONSIVE, State.SUSPECT]


def test_after_a_pause_of_our_own_nobody_is_judged_by_the_time_that_passed() -> None:
    world = World()
    other = joined(world.core, b"q" * 16)
    other.links.clear()
    other.outbox.close()
    world.liveness.link_lost(other, "lost")
    world.changes.clear()
    timers, world.clock._heap = world.clock._heap, []
    run(world.clock, 1000.0)
    world.clock._heap = timers
    run(world.clock, 1.0)
    assert world.states == []
    assert world.core.counters["pauses_noticed"] == 1
    run(world.clock, SUSPICION)
    assert State.FAILED in world.states, "but the clocks go on"


def test_evidence_against_one_that_has_ended_changes_nothing() -> None:
    world = World()
    world.lose_link()
    world.liveness.fail(world.peer, "gone")
    world.liveness.fail(world.peer, "gone")
    world.liveness.link_lost(world.peer, "gone")
    assert world.states == [State.SUSPECT, State.FAILED]


def test_after_close_nobody_is_judged_or_probed() -> None:
    world = World()
    world.lose_link()
    world.liveness.close()
    probes = len(world.transport.probes)
    run(world.clock, 60)
    assert world.states == [State.SUSPECT]
    assert len(world.transport.probes) == probes
