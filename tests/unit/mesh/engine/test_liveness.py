"""Who is believed alive: evidence, time, refutation, and one's own pauses."""

from __future__ import annotations

from collections import Counter

import pytest

from mesh.engine.core import Core
from mesh.engine.liveness import (
    ASKS_PER_SECOND,
    JOIN_WITHIN,
    PATIENCE,
    PING_AFTER,
    SUSPICION,
    TICK,
    UNRESPONSIVE_AFTER,
    Liveness,
)
from mesh.engine.session import Session
from mesh.membership import State
from mesh.testing.clock import SimClock
from mesh.wire import frames
from tests.unit.mesh.engine.harness import FakeDial, FakeTransport, joined, make_core, run


class World:
    """One peer under watch; ``changes`` are the times and states it was moved to."""

    def __init__(self) -> None:
        self.core: Core
        self.clock: SimClock
        self.transport: FakeTransport
        self.core, self.clock, self.transport = make_core()
        self.changes: list[tuple[float, State]] = []
        self.renewed: list[float] = []
        self.liveness = Liveness(self.core, self.change, self.renew)
        self.peer = joined(self.core)
        self.liveness.open()

    def renew(self, session: Session) -> None:
        if not session.is_joined:
            self.renewed.append(self.clock.now())

    def answered(self) -> Session:
        """A peer that has answered our dial and not joined yet."""
        session = self.core.sessions[b"n" * 16] = Session(self.core, b"n" * 16)
        session.dial = FakeDial("new:1")
        session.last_heard = self.clock.now()
        return session

    def make_busy(self, late: float) -> None:
        """From now on timers come so late."""
        call_later = self.clock.call_later
        self.clock.call_later = lambda delay, callback: call_later(delay + late, callback)  # type: ignore[method-assign]

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


def test_who_answers_and_does_not_join_is_dialled_anew() -> None:
    world = World()
    world.answered()
    run(world.clock, JOIN_WITHIN - 0.1)
    assert world.renewed == []
    run(world.clock, 0.5)
    assert len(world.renewed) > 0


def test_a_busy_machine_gives_those_that_join_more_time() -> None:
    world = World()
    world.make_busy(0.9)
    run(world.clock, 3.0)
    began = world.clock.now()
    world.answered()
    run(world.clock, 30.0)
    waited = world.renewed[0] - began
    assert JOIN_WITHIN + PATIENCE * 0.9 * 0.9 <= waited < JOIN_WITHIN + PATIENCE * 0.9 + 2.5


def test_a_pause_makes_nobody_patient_for_long() -> None:
    """However long it was: the machine is not busy after it."""
    world = World()
    began = world.clock.now()
    world.make_busy(3600.0)
    run(world.clock, TICK + TICK)
    del world.clock.call_later  # type: ignore[method-assign]
    run(world.clock, 3600.0 + 1.0)
    assert world.clock.now() - began > 3600.0
    run(world.clock, 10.0)
    asked = world.clock.now()
    world.answered()
    run(world.clock, JOIN_WITHIN + 3.0)
    assert world.renewed
    assert world.renewed[0] - asked < JOIN_WITHIN + 2.0


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


def test_of_many_peers_each_is_asked_less_often_but_for_those_that_owe_an_answer() -> None:
    world = World()
    count = 10 * ASKS_PER_SECOND
    for number in range(count - 1):
        joined(world.core, b"%16d" % number)
    world.peer.outstanding = 1
    seconds = 60
    for _ in range(seconds * 10):
        run(world.clock, 0.1)
        for session in world.core.sessions.values():
            if session.pinged_at is not None:
                session.last_heard = world.clock.now()
                world.liveness.heard(session)
    asked = Counter(frames.unpack_link(frame).receiver for frame in world.transport.sent)
    assert len(asked) == count
    assert asked.pop(world.peer.id) >= seconds / (PING_AFTER + 0.5)
    assert sum(asked.values()) <= seconds * ASKS_PER_SECOND
    assert min(asked.values()) >= seconds / 11 - 1


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
