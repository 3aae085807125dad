"""The guard on its own: records, the audit log, and entries that are none."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

import mesh
from mesh.engine import EngineConfig, engine_for
from mesh.engine.audit import MAX_TOLD, SUMMARY_EVERY, Audit
from mesh.engine.engine import Engine
from mesh.engine.guard import Guard
from mesh.engine.guarded import GuardedEngine, GuardedPubSub, GuardedServer
from mesh.engine.session import Session
from mesh.membership.record import MAX_RECORD_BYTES, Record
from mesh.testing.clock import SimClock
from patterns import messages as m
from tests.unit.mesh.engine.harness import joined, make_core, make_record, run

PEER = b"p" * 16
ALICE = mesh.Identity("alice", frozenset())
POLICY = mesh.Policy(
    [
        mesh.Rule(
            "alice",
            ["alice"],
            allow={"subscribe": ["news.>"], "join": ["crew"], "publish": ["ok"], "call": ["a.ok"]},
        )
    ]
)


def guarded(identity: mesh.Identity | None = ALICE) -> tuple[Guard, Any, Any]:
    core, _, transport = make_core()
    transport.identity_of = lambda id: identity if id == PEER else None  # type: ignore[method-assign]
    return Guard(core, POLICY), core, joined(core, PEER)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "mesh.audit"]


def test_the_engine_is_chosen_by_the_policy() -> None:
    assert engine_for(EngineConfig(id=bytes(16), name="a", mesh="m")) is Engine
    config = EngineConfig(id=bytes(16), name="a", mesh="m", policy=POLICY)
    assert engine_for(config) is GuardedEngine


def test_this_node_is_who_it_is_configured_to_be() -> None:
    """Whatever its transport knows of others."""
    guard, core, _ = guarded()
    core.config = replace(core.config, identity=ALICE)
    assert guard.identity_of(Session(core, core.id)) is ALICE


# Records


def asked(**fields: Any) -> Record:
    return make_record(PEER, **fields)


def test_a_record_keeps_what_its_node_may_have() -> None:
    guard, core, session = guarded()
    record = asked(
        interest=["news.a", ">", "_mesh.g.crew", "_mesh.g.bosses", "_mesh.all"],
        queues={"q": ["news.*", "other"], "none": ["other"]},
    )
    guard.admit(session, record, record.interest)
    assert list(record.interest) == ["news.a", "_mesh.g.crew"]
    assert record.queues == {"q": ("news.*",)}
    same = asked(interest=["news.a", "_mesh.g.crew"], queues={"q": ["news.*"]})
    assert record.size == same.size
    assert core.counters == {"denied_subscribe": 3, "denied_join": 2}


def test_a_record_of_somebody_unknown_keeps_nothing() -> None:
    guard, _, session = guarded(None)
    record = asked(interest=["news.a", "_mesh.g.crew"], queues={"q": ["news.*"]})
    guard.admit(session, record, record.interest)
    assert (record.interest, record.queues, record.size) == ({}, {}, 0)


def test_what_was_refused_makes_no_room_when_it_is_taken_back() -> None:
    """Else a peer could make its record larger than any may be."""
    guard, _, session = guarded()
    record = asked()
    for version in range(2, 50):
        added, removed = record.apply({"version": version, "add": ["x.y"], "remove": ["x.y"]})
        guard.admit(session, record, added)
        assert not removed
    assert (record.size, record.interest) == (0, {})
    assert record.size < MAX_RECORD_BYTES


# Entries that are none


class Route:
    """A port that keeps the replies."""

    local = None
    random = None

    def __init__(self) -> None:
        self.replies: list[Any] = []

    def now(self) -> float:
        return 0.0

    def pack(self, value: Any) -> Any:
        return value

    def send_reply(self, route: Any, entry: Any) -> None:
        self.replies.append(entry)


def test_a_server_answers_what_is_denied_and_counts_what_is_malformed() -> None:
    guard, core, session = guarded()
    port = Route()
    server = GuardedServer(guard, port, None, None)
    entries = [
        [1, "a.no", 1000, []],
        [2, "a.ok", 1000, []],
        [3, "x" * 200, 1000, []],
        ["4", "a.no", 1000, []],
        [5],
        7,
        None,
        {},
        [6, ["a.no"], 1000, []],
        [7, "a.no"],
    ]
    assert server.on_requests(session, None, entries) == 6
    statuses = {reply[0]: reply[1] for reply in port.replies}
    assert statuses == {1: m.STATUS_DENIED, 2: 5, 3: 5, 7: m.STATUS_DENIED}
    assert port.replies[0][3] == "default"
    assert core.counters == {"denied_call": 2}


def test_a_delivery_gives_its_window_back_whatever_is_in_it() -> None:
    guard, core, session = guarded()
    told: list[Any] = []
    pubsub = GuardedPubSub(guard, Route(), None, told.append, told.append, told.append)
    entries = [["ok", 1], ["no", 2], ["no", 3], [], 7, None, {}, [["no"], 4], ["x" * 300, 5]]
    released: list[int] = []
    pubsub.deliver(m.PUBLISH, session, entries, 0, 100, released.append)
    assert released == [100]
    assert pubsub.malformed == 6
    assert core.counters == {"denied_publish": 2}


# The audit log


def test_the_log_sums_up_what_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    clock = SimClock()
    audit = Audit(clock)
    for _ in range(3):
        audit.tell(PEER, "alice", "call", "a.b", "r")
    assert lines(caplog) == ["denied: call 'a.b' by alice, rule 'r'"]
    run(clock, SUMMARY_EVERY)
    assert lines(caplog)[1:] == ["denied 2 times more: call 'a.b' by alice, rule 'r'"]
    audit.tell(PEER, "alice", "call", "a.b", "r")
    run(clock, SUMMARY_EVERY)
    assert lines(caplog)[2:] == ["denied 1 times more: call 'a.b' by alice, rule 'r'"]
    run(clock, 10 * SUMMARY_EVERY)
    assert len(lines(caplog)) == 3
    audit.tell(PEER, "alice", "call", "a.b", "r")
    assert len(lines(caplog)) == 4


def test_the_log_keeps_few_and_tells_the_rest_together(caplog: pytest.LogCaptureFixture) -> None:
    clock = SimClock()
    audit = Audit(clock)
    for number in range(3 * MAX_TOLD):
        audit.tell(PEER, "alice", "call", f"a.{number}", "r")
    assert len(lines(caplog)) == MAX_TOLD
    assert len(audit._more) == len(audit._texts) == MAX_TOLD
    audit.close()
    assert lines(caplog)[MAX_TOLD:] == [
        f"denied {2 * MAX_TOLD} times more: other names, or to others"
    ]
    run(clock, 10 * SUMMARY_EVERY)
    assert len(lines(caplog)) == MAX_TOLD + 1


def test_a_name_from_a_peer_makes_no_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "mesh.audit")
    Audit(SimClock()).tell(PEER, "alice", "publish", "a\nWARNING all is well" + "x" * 500, "r")
    (line,) = lines(caplog)
    assert "\n" not in line
    assert len(line) < 400
