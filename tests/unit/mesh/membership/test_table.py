"""The table of members: states, order, and bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mesh.membership import Membership, State
from mesh.membership.table import ENDED
from tests.unit.mesh.engine.harness import make_record


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time


def table(*ids: bytes) -> Membership:
    membership = Membership(Clock())
    for id in ids:
        membership.join(make_record(id), "host:1")
    return membership


A, B = b"a" * 16, b"b" * 16


def test_who_joined_is_alive_since_then() -> None:
    [peer] = table(A).peers()
    assert (peer.id, peer.state, peer.address) == (A.hex(), "alive", "host:1")
    assert peer.since == datetime(2030, 1, 1, 0, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize("state", list(State)[1:])
def test_a_change_shows_in_a_new_peer_and_leaves_the_old_as_it_was(state: State) -> None:
    membership = table(A)
    [before] = membership.peers()
    member = membership.change(A, state)
    assert member is not None
    assert (before.state, member.peer.state) == ("alive", str(state))
    assert member.peer.since is not None
    assert before.since is not None
    assert member.peer.since > before.since
    assert bool(membership.peers()) is (state not in ENDED)
    assert membership.peers(all=True) == [before]


def test_a_change_to_the_same_state_or_of_a_stranger_is_none() -> None:
    membership = table(A)
    assert membership.change(A, State.ALIVE) is None
    assert membership.change(B, State.FAILED) is None
    assert membership.get(B) is None


def test_observers_are_listed_only_among_all() -> None:
    membership = Membership(Clock())
    membership.join(make_record(A, observer=True), "host:1")
    assert membership.peers() == []
    assert [peer.is_observer for peer in membership.peers(all=True)] == [True]


def test_who_failed_and_came_back_is_listed_once_and_alive() -> None:
    membership = table(A)
    membership.change(A, State.FAILED)
    membership.join(make_record(A), "host:2")
    assert [(p.state, p.address) for p in membership.peers(all=True)] == [("alive", "host:2")]


def test_the_ended_are_bounded_and_the_longest_ended_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mesh.membership.table.MAX_ENDED", 10)
    ids = [i.to_bytes(16, "big") for i in range(50)]
    membership = table(*ids)
    for id in reversed(ids[:40]):
        membership.change(id, State.FAILED)
    membership.join(make_record(A), "host:1")
    ended = [p.id for p in membership.peers(all=True) if p.state == "failed"]
    assert ended == [id.hex() for id in reversed(ids[:10])]
    assert len(membership.peers()) == 11
