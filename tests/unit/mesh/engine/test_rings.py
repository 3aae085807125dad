"""Rings of a node: who is in them, when they change, and what asking for an owner can give."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.engine import events as e
from mesh.engine.config import EngineConfig
from mesh.engine.core import Core
from mesh.engine.rings import MAX_RINGS, Rings
from mesh.engine.session import Session
from mesh.membership import State
from mesh.ring import PREFERRED, Ring
from patterns.errors import BadName, ConfigError, NoProvider
from patterns.names import EVERYONE, group_subject
from tests.sim.simulation import SimNode, Simulation
from tests.unit.mesh.engine.harness import joined, make_core, make_record

KEY = b"user:7"
MANY = [f"user:{i}" for i in range(50)]


def own(observer: bool = False) -> tuple[Rings, Core]:
    core, clock, transport = make_core()
    if observer:
        config = EngineConfig(id=bytes(16), name="me", mesh="mesh", is_observer=True)
        core = Core(config, clock, transport, core.random, core.membership)
    return Rings(core, Session(core, core.id)), core


def join(core: Core, id: bytes, **fields: Any) -> Session:
    session = joined(core, id)
    session.record = make_record(id, **{"services": {"calc": []}, **fields})
    session.member = core.membership.join(session.record, "peer:1")
    return session


def ids(sessions: Any) -> set[bytes]:
    return {session.id for session in sessions}


A, B, C = b"a" * 16, b"b" * 16, b"c" * 16
ME = bytes(16)


# Who is in.


def test_the_own_node_owns_keys_of_the_service_of_its_name() -> None:
    rings, core = own()
    [session] = rings.service_owners("me", KEY)
    assert session.id == core.id


def test_a_ring_is_of_those_who_provide_the_service_with_or_without_methods() -> None:
    rings, core = own()
    join(core, A)
    join(core, B, services={"calc": ["add"], "other": []})
    join(core, C, services={"other": []})
    assert ids(rings.service_owners("calc", KEY)) == {A, B}
    assert ids(rings.service_owners("other", KEY)) == {B, C}
    assert rings.service_owners("nobody", KEY) == ()


def test_services_and_groups_are_never_mixed() -> None:
    rings, core = own()
    join(core, A, services={"x": []})
    join(core, B, services={}, interest=[group_subject("x"), "x"])
    join(core, C, services={}, interest=["x"], queues={"x": ["x"]})
    assert ids(rings.service_owners("x", KEY)) == {A}
    assert ids(rings.group_owners("x", KEY)) == {B}


def test_everyone_is_a_group_like_any_other() -> None:
    rings, core = own()
    join(core, A, interest=[group_subject(EVERYONE)])
    join(core, B)
    core.record.want(group_subject(EVERYONE))
    assert ids(rings.group_owners(EVERYONE, KEY)) == {A, ME}


def test_observers_never_own_anything() -> None:
    rings, core = own(observer=True)
    core.record.want(group_subject("g"))
    join(core, A, observer=True, interest=[group_subject("g")])
    join(core, B, interest=[group_subject("g")])
    assert ids(rings.service_owners("calc", KEY)) == {B}
    assert ids(rings.group_owners("g", KEY)) == {B}
    assert rings.service_owners("me", KEY) == ()


@pytest.mark.parametrize("state", list(State))
def test_only_an_end_takes_a_member_out_never_a_suspicion(state: State) -> None:
    rings, core = own()
    join(core, A)
    join(core, B)
    core.membership.change(A, state)
    is_in = A in ids(rings.service_owners("calc", KEY))
    assert is_in is (state not in (State.FAILED, State.LEFT))


def test_who_has_not_joined_is_not_in() -> None:
    rings, core = own()
    join(core, A)
    join(core, B).is_joined = False
    core.sessions[C] = Session(core, C)
    rings.invalidate()
    assert ids(rings.service_owners("calc", KEY)) == {A}


def test_the_order_is_that_of_a_ring_of_instances_and_weights() -> None:
    rings, core = own()
    members = [(bytes([i]) * 16, f"calc-{i}", 1.0 + i) for i in range(1, PREFERRED + 3)]
    for id, instance, weight in members:
        join(core, id, instance=instance, weight=weight)
    expected = Ring([(core.sessions[id], name, weight) for id, name, weight in members])
    for key in MANY:
        assert rings.service_owners("calc", key.encode()) == expected.preferred(key.encode())
        assert [p.id for p in rings.owners("calc", key)] == [
            session.id.hex() for session in expected.owners(key.encode())
        ]


# When they change.


def test_a_ring_is_kept_until_it_is_invalidated() -> None:
    rings, core = own()
    join(core, A)
    before = rings.service_owners("calc", KEY)
    join(core, B)
    assert rings.service_owners("calc", KEY) is before
    rings.invalidate()
    assert ids(rings.service_owners("calc", KEY)) == {A, B}


def test_a_change_that_is_none_of_its_members_leaves_a_ring_as_it_is() -> None:
    rings, core = own()
    join(core, A)
    join(core, B)
    before = rings.service_owners("calc", KEY)
    join(core, C, services={"other": []})
    for _ in range(3):
        rings.invalidate()
    assert rings.service_owners("calc", KEY) is before


@pytest.mark.parametrize("change", [{"instance": "new"}, {"weight": 2.0}])
def test_a_member_that_says_something_else_of_itself_is_another_ring(
    change: dict[str, Any],
) -> None:
    rings, core = own()
    join(core, B)
    session = join(core, A, instance="old")
    before = rings.service_owners("calc", KEY)
    session.record = make_record(A, services={"calc": []}, **{"instance": "old", **change})
    rings.invalidate()
    assert rings.service_owners("calc", KEY) is not before


def test_what_this_node_itself_joins_or_serves_counts_at_once() -> None:
    rings, core = own()
    assert rings.group_owners("g", KEY) == ()
    assert rings.service_owners("extra", KEY) == ()
    core.record.want(group_subject("g"))
    core.record.serve("extra", "method")
    assert ids(rings.group_owners("g", KEY)) == {ME}
    assert ids(rings.service_owners("extra", KEY)) == {ME}
    core.record.unwant(group_subject("g"))
    assert rings.group_owners("g", KEY) == ()


def test_the_rings_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Counted(Ring[Session]):
        def __init__(self, members: Any) -> None:
            super().__init__(members)
            made.append(self)

    monkeypatch.setattr("mesh.engine.rings.Ring", Counted)
    rings, core = own()
    join(core, A)
    for round in range(3):
        for i in range(3 * MAX_RINGS):
            rings.service_owners(f"service-{i}", KEY)
            if round and i % 50 == round:
                rings.invalidate()
            kept = len(rings._services.current), len(rings._services._previous)
            assert max(kept) <= MAX_RINGS
    made.clear()
    for _ in range(5):
        rings.service_owners("calc", KEY)
        rings.service_owners("nobody", KEY)
    assert len(made) == 2


# Asking.


def test_the_owner_is_shown_as_users_see_it_with_its_state() -> None:
    rings, core = own()
    session = join(core, A)
    core.membership.change(A, State.SUSPECT)
    peer = rings.owner("calc", "user:7")
    assert (peer.id, peer.state) == (A.hex(), "suspect")
    assert peer is session.peer


def test_owners_are_as_many_as_asked_for_best_first() -> None:
    rings, core = own()
    for i in range(1, 13):
        join(core, bytes([i]) * 16)
    everyone = rings.owners("calc", "k")
    assert len({peer.id for peer in everyone}) == 12
    for n in (1, 3, 9, 12, 99):
        assert rings.owners("calc", "k", n) == everyone[:n]
    assert rings.owner("calc", "k") == everyone[0]


def test_a_number_a_text_and_bytes_of_the_same_form_have_one_owner() -> None:
    rings, core = own()
    for i in range(1, 9):
        join(core, bytes([i]) * 16)
    for number in range(20):
        order = rings.owners("calc", number)
        assert order == rings.owners("calc", str(number))
        assert order == rings.owners("calc", str(number).encode())


def test_nobody_is_an_error_that_says_of_what() -> None:
    rings, _ = own()
    with pytest.raises(NoProvider, match="service 'calc'"):
        rings.owner("calc", "k")
    with pytest.raises(NoProvider, match="group 'crew'"):
        rings.owners(None, "k", group="crew")


@pytest.mark.parametrize(
    ("arguments", "group", "error"),
    [
        ((None, "k"), None, ConfigError),
        (("me", "k"), "g", ConfigError),
        (("a.b", "k"), None, BadName),
        ((7, "k"), None, BadName),
        ((None, "k"), "a b", BadName),
        ((None, "k"), 7, BadName),
        (("*", "k"), None, BadName),
        (("me", None), None, BadName),
        (("me", True), None, BadName),
        (("nobody", "x" * 2000), None, BadName),
        (("me", "k", 0), None, ConfigError),
        (("me", "k", -1), None, ConfigError),
        (("me", "k", True), None, ConfigError),
        (("me", "k", "1"), None, ConfigError),
        (("me", "k", 1.0), None, ConfigError),
    ],
)
def test_a_wrong_question_is_refused(
    arguments: tuple[Any, ...], group: Any, error: type[Exception]
) -> None:
    rings, _ = own()
    with pytest.raises(error):
        rings.owners(*arguments, group=group)


# Whole engines.


def owner_ids(node: SimNode, service: str = "calc") -> list[str]:
    return [node.engine.rings.owner(service, key).id for key in MANY]


def replicas(simulation: Simulation, count: int) -> list[SimNode]:
    first = simulation.node("calc")
    nodes = [first, *(simulation.node("calc", seeds=[first]) for _ in range(count - 1))]
    simulation.until(lambda: all(len(node.engine.peers()) == count - 1 for node in nodes), 5.0)
    return nodes


def test_nodes_with_equal_views_name_the_same_owners_and_all_own_some() -> None:
    nodes = replicas(Simulation(1), 5)
    expected = owner_ids(nodes[0])
    assert set(expected) == {node.id for node in nodes}
    assert all(owner_ids(node) == expected for node in nodes)


def test_a_suspect_keeps_its_keys_and_a_failed_one_hands_them_to_whoever_was_next() -> None:
    simulation = Simulation(2)
    gone, *left = replicas(simulation, 4)
    before = owner_ids(left[0])
    next_ones = [left[0].engine.rings.owners("calc", key, 2)[1].id for key in MANY]
    simulation.freeze(gone)

    def state() -> str:
        peers = left[0].engine.peers(all=True)
        return next(peer.state for peer in peers if peer.id == gone.id)

    simulation.until(lambda: state() == "suspect", 10.0)
    assert owner_ids(left[0]) == before
    simulation.until(lambda: state() == "failed", 60.0)
    expected = [
        heir if owner == gone.id else owner for owner, heir in zip(before, next_ones, strict=True)
    ]
    assert owner_ids(left[0]) == expected
    assert gone.id in before


def test_whoever_hears_of_a_change_finds_it_in_force() -> None:
    simulation = Simulation(3)
    stays, leaver = replicas(simulation, 2)
    told: list[tuple[str, bool]] = []

    def look(event: e.Event) -> None:
        owners = stays.engine.rings.owners("calc", "k")
        told.append((type(event).__name__, event.peer.id in [peer.id for peer in owners]))

    stays.on_event = look
    assert set(owner_ids(stays)) == {leaver.id, stays.id}
    leaver.leave()
    simulation.until(lambda: "PeerLeft" in dict(told), 5.0)
    newcomer = simulation.node("calc", seeds=[stays])
    simulation.until(lambda: "PeerJoined" in dict(told), 5.0)
    simulation.kill(newcomer)
    simulation.until(lambda: "PeerFailed" in dict(told), 60.0)
    told_once = dict(told)
    assert (told_once["PeerLeft"], told_once["PeerJoined"], told_once["PeerFailed"]) == (
        False,
        True,
        False,
    )
    assert told_once["PeerSuspected"]


def test_who_joins_or_leaves_a_group_gains_or_loses_its_keys_everywhere() -> None:
    simulation = Simulation(4)
    nodes = replicas(simulation, 3)

    def seen() -> list[list[str]]:
        found = []
        for node in nodes:
            try:
                found.append([peer.id for peer in node.engine.rings.owners(None, "k", group="g")])
            except NoProvider:
                found.append([])
        return found

    assert seen() == [[], [], []]
    one = nodes[0].subscribe(group_subject("g"))
    simulation.until(lambda: seen() == [[nodes[0].id]] * 3, 1.0)
    nodes[1].subscribe(group_subject("g"))
    simulation.until(lambda: all(len(ids) == 2 for ids in seen()), 1.0)
    assert len({tuple(ids) for ids in seen()}) == 1
    nodes[0].engine.unsubscribe(one)
    simulation.until(lambda: seen() == [[nodes[1].id]] * 3, 1.0)
