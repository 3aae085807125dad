"""Groupcasts and queue groups between whole engines, one fault at a time.

What must hold under any faults together is in ``test_groupcast_chaos``.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mesh.engine import events as e
from patterns.errors import NoProvider, Overloaded, Refuse, Timeout
from patterns.groupcast import window
from patterns.groupcast.accounts import MEMBER_BYTES
from patterns.names import group_subject
from tests.sim import SimNode, Simulation
from tests.sim.groupcast import Ledger, Run, held_from, open_casts, unfinished
from tests.sim.simulation import all_know_all
from tests.sim.waiter import SimWaiter

CREW = group_subject("crew")
SOON = 0.05
SETTLED = 30.0


class Crew:
    """A sender, and members of a group that all know each other."""

    def __init__(
        self,
        count: int,
        *,
        seconds: float | None = None,
        concurrency: int = 1,
        inline: bool = False,
        seed: int = 0,
        senders: int = 1,
        latency: float = 0.0003,
    ) -> None:
        self.sim = Simulation(seed, latency=latency)
        self.ledger = Ledger()
        nodes = self.sim.meshed(senders + count)
        self.senders, self.members = nodes[:senders], nodes[senders:]
        for member in self.members:
            self.enlist(member, seconds, concurrency=concurrency, inline=inline)
        self.sim.run(1.5)

    @property
    def sender(self) -> SimNode:
        return self.senders[0]

    def enlist(self, node: SimNode, seconds: float | None = None, **options: Any) -> None:
        pace = None if seconds is None else (lambda: seconds)
        node.member("crew", self.ledger.handler(node, seconds=pace), **options)

    def cast(self, *data: Any, sender: SimNode | None = None, **options: Any) -> list[SimWaiter]:
        options.setdefault("timeout", 60.0)
        return [(sender or self.sender).groupcast("crew", one, **options) for one in data]

    def settle(self, *nodes: SimNode, within: float = SETTLED) -> None:
        """Until nothing is owed any more."""
        watched = nodes or self.senders
        try:
            self.sim.until(lambda: not any(map(unfinished, watched)), within)
        except AssertionError:
            left = {node.name: unfinished(node) for node in watched}
            raise AssertionError(f"not settled in {within} s: {left}") from None

    def runs(self, node: SimNode) -> list[Run]:
        return [run for run in self.ledger.runs if run.node is node]

    def handled(self) -> Counter[Any]:
        return Counter(run.data for run in self.ledger.runs if not run.is_refused)

    def once_each(self, data: Sequence[Any]) -> bool:
        return self.handled() == Counter(data)


# Who gets it.


@pytest.mark.parametrize("inline", [True, False])
def test_each_is_handled_by_exactly_one_member(inline: bool) -> None:
    crew = Crew(4, inline=inline)
    data = list(range(1000))
    waiters = crew.cast(*data)
    crew.settle()
    assert crew.once_each(data)
    assert {waiter.result().name for waiter in waiters} == {m.name for m in crew.members}
    assert not any(run.is_marked for run in crew.ledger.runs)
    assert crew.sender.engine.counters == {}


def test_who_sends_may_be_a_member_too_even_the_only_one() -> None:
    crew = Crew(0)
    crew.enlist(crew.sender)
    crew.cast(*range(100))
    crew.settle()
    assert crew.once_each(range(100))


def test_more_than_fits_one_turn_of_control_messages_reaches_the_own_node() -> None:
    crew = Crew(0)
    crew.enlist(crew.sender)
    crew.cast(*range(5000))
    crew.sim.run(0.5)
    assert crew.once_each(range(5000))
    assert "link_resets" not in crew.sender.engine.counters


def test_an_observer_in_the_group_gets_broadcasts_and_no_groupcasts() -> None:
    crew = Crew(1)
    observer = crew.sim.node("observer", observer=True, seeds=[crew.sender])
    reader = observer.member("crew")
    crew.sim.until(lambda: all_know_all([crew.sender, *crew.members]), 5.0)
    crew.sim.run(1.0)
    crew.cast(*range(50))
    crew.settle()
    assert crew.once_each(range(50))
    assert reader.take() is None


def test_what_is_broadcast_and_what_is_groupcast_come_to_one_handler() -> None:
    crew = Crew(2)
    crew.sender.engine.broadcast("crew", "all", None)
    crew.cast("one")
    crew.settle()
    assert crew.handled() == {"all": 2, "one": 1}


def test_a_reader_has_handled_one_when_it_asks_for_the_next() -> None:
    crew = Crew(0)
    member = crew.sim.node("reader", seeds=[crew.sender])
    reader = member.member("crew")
    crew.sim.run(1.0)
    crew.cast("x", "y")
    crew.sim.run(SOON)
    taken: list[Any] = []
    for _ in range(4):
        taken += [message.data for message in reader.take() or ()]
        crew.sim.run(SOON)
    assert taken == ["x", "y"]
    crew.settle()


# How long one waits for a member.


def test_without_a_member_it_fails_at_once_and_in_the_first_second_it_waits() -> None:
    sim = Simulation()
    node = sim.node("lonely")
    early = node.groupcast("crew", 1)
    sim.run(2.0)
    assert isinstance(early.error, NoProvider)
    assert early.at == pytest.approx(1.0, abs=0.05)
    late = node.groupcast("crew", 1)
    assert isinstance(late.error, NoProvider)


def test_in_the_first_second_it_goes_to_a_member_that_comes() -> None:
    sim = Simulation()
    ledger = Ledger()
    first = sim.node("first")
    waiter = first.groupcast("crew", 1)
    sim.run(0.3)
    second = sim.node("second", seeds=[first])
    second.member("crew", ledger.handler(second))
    assert sim.outcome(waiter).name == "second"


def test_without_credit_in_time_it_fails_and_is_not_handled_later() -> None:
    crew = Crew(1, seconds=3.0)
    busy, in_vain, none = (
        crew.cast("busy") + crew.cast("x", timeout=1.0) + crew.cast("y", timeout=0)
    )
    assert isinstance(none.error, Overloaded)
    crew.sim.run(10.0)
    assert busy.result().name == crew.members[0].name
    assert isinstance(in_vain.error, Overloaded)
    assert in_vain.at == pytest.approx(crew.ledger.runs[0].start + 1.0, abs=0.1)
    assert crew.handled() == {"busy": 1}
    assert unfinished(crew.sender) == {}


def test_what_its_caller_gave_up_is_not_handled() -> None:
    crew = Crew(1, seconds=1.0)
    crew.cast("busy")
    waiters = crew.cast(*range(5))
    for waiter in waiters[1:4]:
        crew.sender.abandon(waiter)
    crew.sim.run(10.0)
    assert crew.handled() == {"busy": 1, 0: 1, 4: 1}
    assert unfinished(crew.sender) == {}


def test_flush_waits_for_acknowledgements_and_says_what_is_missing() -> None:
    crew = Crew(1, seconds=1.0)
    crew.cast("x")
    crew.sim.run(SOON)
    short, long = crew.sender.flush(0.3), crew.sender.flush(5.0)
    crew.sim.run(3.0)
    assert isinstance(short.error, Timeout)
    assert f"1 at {crew.members[0].name}" in str(short.error)
    assert long.at == pytest.approx(crew.ledger.runs[0].end, abs=0.1)


# A member that dies, leaves, stops, or falls silent.


def test_what_a_killed_member_had_is_handled_by_others_and_marked() -> None:
    crew = Crew(3, seconds=0.2, concurrency=2)
    data = list(range(40))
    crew.cast(*data)
    crew.sim.run(1.0)
    victim = crew.members[0]
    had = {run.data for run in crew.runs(victim) if run.end is None}
    crew.sim.kill(victim)
    crew.settle()
    crew.ledger.check_handled(data)
    crew.ledger.check_marks()
    marked = {run.data for run in crew.ledger.runs if run.is_marked}
    assert had
    assert had <= marked <= {run.data for run in crew.runs(victim)} | marked
    assert {run.node for run in crew.ledger.runs if run.data in had} - {victim}


def test_if_all_members_die_what_was_accepted_waits_for_the_next_one() -> None:
    crew = Crew(2, seconds=0.5)
    data = list(range(6))
    accepted = crew.cast(*data[:2])
    waiting = crew.cast(*data[2:], timeout=1.0)
    crew.sim.run(0.2)
    for member in crew.members:
        crew.sim.kill(member)
    crew.sim.run(20.0)
    assert all(waiter.error is None for waiter in accepted)
    assert all(isinstance(waiter.error, NoProvider) for waiter in waiting)
    heir = crew.sim.node("heir", seeds=[crew.sender])
    crew.enlist(heir)
    crew.settle()
    assert sorted(run.data for run in crew.runs(heir)) == data[:2]
    assert all(run.is_marked for run in crew.runs(heir))


def test_a_member_that_leaves_ends_what_it_runs_and_gives_back_the_rest_unmarked() -> None:
    crew = Crew(2, seconds=0.01)
    crew.cast(*range(30))
    crew.sim.run(0.1)
    crew.cast(*range(100, 140))
    crew.sim.run(0.005)
    crew.members[0].leave()
    crew.settle()
    crew.ledger.check_marks()
    crew.ledger.check_handled([*range(30), *range(100, 140)])
    repeated = [data for data, times in crew.handled().items() if times > 1]
    assert len(repeated) <= 1, "but for the one that it was at"


def test_a_member_that_ends_its_subscription_gives_back_what_waits() -> None:
    crew = Crew(1, seconds=1.0)
    quitter = crew.sim.node("quitter", seeds=[crew.sender])
    made = quitter.member("crew", crew.ledger.handler(quitter, seconds=lambda: 0.002))
    crew.sim.run(1.0)
    crew.cast(*range(200), timeout=1000.0)
    crew.sim.run(0.1)
    quitter.engine.unsubscribe(made)
    crew.settle(crew.sender, quitter, within=300.0)
    assert crew.once_each(range(200))
    assert not any(run.is_marked for run in crew.ledger.runs)
    assert "link_resets" not in quitter.engine.counters


@pytest.mark.parametrize("how", ["freeze", "block"])
@pytest.mark.parametrize("seconds", [0.5, 1.4, 2.5, 3.2, 4.0, 5.5, 6.4])
@pytest.mark.parametrize("pace", [None, 0.002, 0.1])
def test_a_member_that_was_stopped_for_a_while_loses_nothing(
    how: str, seconds: float, pace: float | None
) -> None:
    crew = Crew(3, seconds=pace, seed=int(seconds * 10))
    crew.cast(*range(50))
    crew.sim.run(0.3)
    getattr(crew.sim, how)(crew.members[0])
    data = list(range(100, 400))
    crew.cast(*data)
    crew.sim.run(seconds)
    getattr(crew.sim, {"freeze": "thaw", "block": "unblock"}[how])(crew.members[0])
    crew.settle(crew.sender, *crew.members)
    crew.ledger.check_handled([*range(50), *data])
    crew.ledger.check_marks()


def test_a_member_given_up_in_its_sleep_begins_nothing_of_what_it_had_when_it_wakes() -> None:
    crew = Crew(2, seconds=0.004)
    crew.cast(*range(100))
    crew.sim.run(0.2)
    sleeper = crew.members[0]
    crew.cast(*range(1000, 1040))
    crew.sim.run(0.001)
    crew.sim.freeze(sleeper)
    begun = {run.data for run in crew.runs(sleeper)}
    crew.sim.run(15.0)
    assert crew.sender.saw(e.PeerFailed, sleeper)
    crew.sim.thaw(sleeper)
    crew.sim.until(lambda: all_know_all([crew.sender, *crew.members]), 30.0)
    crew.settle(crew.sender, *crew.members)
    assert {run.data for run in crew.runs(sleeper)} == begun
    crew.ledger.check_handled([*range(100), *range(1000, 1040)])
    crew.ledger.check_marks()
    assert crew.sender.engine.counters["casts_redelivered"] > 0


def test_a_sender_that_was_stopped_for_a_while_loses_nothing() -> None:
    for seconds in (1.4, 3.2, 5.5, 12.0):
        crew = Crew(2, seconds=0.05)
        crew.cast(*range(50))
        crew.sim.run(0.2)
        crew.sim.freeze(crew.sender)
        crew.sim.run(seconds)
        crew.sim.thaw(crew.sender)
        crew.settle(crew.sender, *crew.members, within=60.0)
        accepted = {run.data for run in crew.ledger.runs}
        assert accepted == set(range(50))
        crew.ledger.check_marks()


def test_a_member_that_came_back_from_silence_is_given_work_again() -> None:
    crew = Crew(1)
    member = crew.members[0]
    for stopped in (member, crew.sender):
        crew.sim.block(stopped)
        crew.sim.run(8.0)
        crew.sim.unblock(stopped)
        waiters = crew.cast(stopped.name, timeout=10.0)
        crew.settle()
        assert waiters[0].error is None


def test_of_a_sender_that_left_what_members_have_is_still_done_and_then_forgotten() -> None:
    crew = Crew(1, seconds=0.002, senders=2)
    crew.cast(*range(100))
    crew.sim.run(0.05)
    leaver = crew.senders[0]
    sources = crew.members[0].engine._work.receiver._sources.values()
    has = [message.data for source in sources for message in source.open.values()]
    assert len(has) > 5
    leaver.leave()
    crew.sim.run(2.0)
    crew.ledger.check_handled(has)
    assert held_from(crew.members[0]) == 0
    crew.cast("next", sender=crew.senders[1])
    crew.settle(crew.senders[1])


# Connections.


@pytest.mark.parametrize("is_from_sender", [True, False])
@pytest.mark.parametrize("how", ["cut", "replace"])
def test_a_link_that_breaks_costs_nothing_and_marks_nothing_that_was_not_begun(
    is_from_sender: bool, how: str
) -> None:
    for seed in range(5):
        crew = Crew(2, seconds=0.01, seed=seed)
        crew.cast(*range(300))
        for _ in range(5):
            crew.sim.run(0.31)
            pair = crew.sender, crew.members[0]
            getattr(crew.sim, how)(*(pair if is_from_sender else pair[::-1]))
        crew.settle(crew.sender, *crew.members)
        crew.ledger.check_handled(range(300))
        crew.ledger.check_marks()


@pytest.mark.parametrize("inline", [True, False])
def test_a_work_connection_that_breaks_costs_nothing(inline: bool) -> None:
    crew = Crew(2, inline=inline)
    data = iter(range(10_000))
    sent = []
    for _ in range(20):
        batch = [next(data) for _ in range(50)]
        sent += batch
        crew.cast(*batch)
        with contextlib.suppress(LookupError):  # it is not there before it is needed
            crew.sim.cut(crew.sender, crew.members[0], "work")
        crew.sim.run(0.3)
    crew.settle()
    assert crew.once_each(sent)
    assert not any(run.is_marked for run in crew.ledger.runs)


def test_what_a_work_connection_swallows_is_found_and_sent_again() -> None:
    crew = Crew(2)
    crew.cast(*range(20))
    crew.sim.run(0.1)
    crew.sim.swallow(crew.sender, crew.members[0], "work")
    crew.cast(*range(100, 120))
    crew.sim.run(0.5)
    crew.sim.cut(crew.sender, crew.members[0], "work")
    crew.settle()
    assert crew.once_each([*range(20), *range(100, 120)])
    lost = crew.members[0].engine.counters["casts_lost_on_the_way"]
    assert 0 < lost <= 20


def test_what_was_said_on_a_link_that_died_leaves_no_credit_behind() -> None:
    crew = Crew(1, inline=True)
    crew.cast(*range(50))
    crew.sim.run(0.9)
    for _ in range(30):
        crew.sim.cut(crew.members[0], crew.sender)
        crew.sim.run(0.12)
    crew.sim.run(4.0)
    assert held_from(crew.members[0]) == 0


def test_a_link_that_is_opened_again_on_the_same_connection_handles_nothing_twice() -> None:
    for seed in range(10):
        crew = Crew(1, seconds=0.001, seed=seed, latency=0.01)
        member, sender = crew.members[0], crew.sender
        session = member.engine._core.sessions[sender.config.id]
        for number in range(60):
            crew.cast(*range(number * 20, number * 20 + 20))
            crew.sim.run(0.013)
            if number % 3 == 0:
                member.engine._control.open_link(session)
        crew.settle(sender, member)
        crew.ledger.check_handled(range(1200))
        crew.ledger.check_marks()
        assert held_from(member) == 0


def test_a_member_out_of_reach_for_one_direction_holds_no_capacity() -> None:
    crew = Crew(1, seconds=0.05, senders=2)
    one, other = crew.senders
    member = crew.members[0]
    crew.cast("x", sender=one)
    crew.sim.run(SOON)
    crew.sim.cut(one, member)
    crew.sim.network._blocked.add((one.host, member.host))
    waiter = crew.cast("lost", sender=one)[0]
    for number in range(10):
        (mine,) = crew.cast(number, sender=other, timeout=5.0)
        crew.sim.until(mine.done, 5.0)
        crew.sim.run(0.3)
        assert mine.error is None
    crew.sim.heal()
    crew.settle(one, other)
    assert waiter.error is None


# Bounds.


def test_no_member_ever_has_more_than_its_slots_and_all_of_them_are_used() -> None:
    crew = Crew(1, seconds=0.05, concurrency=4, senders=8)
    for sender in crew.senders:
        crew.cast(*((sender.name, number) for number in range(20)), sender=sender)
    most = 0
    while len(crew.ledger.runs) < 160:
        crew.sim.run(0.002)
        most = max(most, open_casts(crew.members[0], CREW))
    assert most == 4
    assert crew.ledger.most[crew.members[0], ""] == 4
    crew.settle()
    ends: dict[str, float] = {run.data[0]: run.end or 0.0 for run in crew.ledger.runs}
    assert max(ends.values()) - min(ends.values()) <= 0.6, "and nobody was served last"


def test_rare_casts_of_many_senders_do_not_wait_for_each_others_credit() -> None:
    crew = Crew(1, seconds=0.05, senders=8)
    waits = []
    for number in range(60):
        sender = crew.senders[number * 3 % 8]
        began = crew.sim.now
        (waiter,) = crew.cast(number, sender=sender)
        crew.sim.until(waiter.done, 10.0)
        waits.append(crew.sim.now - began)
        crew.sim.run(0.4)
    assert max(waits) <= 0.1


def test_a_frozen_group_costs_its_sender_no_more_than_the_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window, "MAX_UNACKED", 200)
    crew = Crew(2, inline=True)
    crew.cast(*range(100))
    crew.sim.run(0.3)
    for member in crew.members:
        crew.sim.freeze(member)
    data = list(range(1000, 4000))
    waiters = []
    for start in range(0, 3000, 100):
        waiters += crew.cast(*data[start : start + 100], timeout=1.0)
        assert crew.sender.engine._work.sender.unacked <= 200
        crew.sim.run(0.02)
    crew.sim.run(3.0)
    accepted = [one for one, waiter in zip(data, waiters, strict=True) if waiter.error is None]
    assert 0 < len(accepted) <= 200
    assert all(isinstance(w.error, Overloaded) for w in waiters if w.error is not None)
    for member in crew.members:
        crew.sim.thaw(member)
    crew.settle()
    handled = {run.data for run in crew.ledger.runs} - set(range(100))
    assert handled == set(accepted)


def test_large_ones_go_on_as_fast_as_they_are_done() -> None:
    crew = Crew(1, seconds=0.01)
    crew.cast(*range(20))
    crew.settle()
    size = MEMBER_BYTES // 4
    began = crew.sim.now
    crew.cast(*(number.to_bytes(2, "big") * (size // 2) for number in range(40)))
    crew.sim.until(lambda: len(crew.ledger.runs) == 60, 10.0)
    assert crew.sim.now - began <= 1.0
    crew.settle()


def test_a_thousand_groups_that_came_and_went_leave_nothing_behind() -> None:
    crew = Crew(0)
    member = crew.sim.node("member", seeds=[crew.sender])
    crew.sim.run(1.5)
    for number in range(200):
        made = member.member(f"g{number}", crew.ledger.handler(member))
        crew.sim.run(0.02)
        crew.sender.groupcast(f"g{number}", number)
        crew.sim.run(0.02)
        member.engine.unsubscribe(made)
    crew.sim.run(10.0)
    assert len(crew.ledger.runs) == 200
    assert len(member.engine._work.receiver._pools) == 0
    sender = crew.sender.engine._work.sender
    assert len(sender.lines.groups) <= 10
    assert len(sender.lines.windows) <= 10


# Refusals.


def test_what_a_handler_refuses_is_passed_on_unmarked() -> None:
    crew = Crew(0)
    picky, willing = (crew.sim.node(name, seeds=[crew.sender]) for name in ("picky", "willing"))
    picky.member("crew", crew.ledger.handler(picky, should_refuse=lambda data: True), inline=True)
    willing.member("crew", crew.ledger.handler(willing), inline=True)
    crew.sim.run(1.0)
    crew.cast(*range(50))
    crew.settle()
    assert sorted(run.data for run in crew.runs(willing)) == list(range(50))
    assert not any(run.is_marked for run in crew.ledger.runs)
    assert crew.runs(picky)


@pytest.mark.parametrize("key", [None, "k"])
def test_what_everybody_refuses_is_given_up_and_counted(key: str | None) -> None:
    crew = Crew(0)
    runs: list[Any] = []

    def refuse(message: Any) -> None:
        runs.append(message.data)
        raise Refuse

    for name in ("a", "b"):
        crew.sim.node(name, seeds=[crew.sender]).member("crew", refuse)
    crew.sim.run(1.0)
    crew.cast("x", key=key)
    crew.settle()
    assert len(runs) == 4
    assert crew.sender.engine.counters["casts_given_up"] == 1


# Keys.


def owner_of(crew: Crew, key: str) -> SimNode:
    peer = crew.sender.engine.rings.owner(None, key, group="crew")
    return next(member for member in crew.members if member.id == peer.id)


def place(data: Any) -> tuple[Any, int]:
    return data[0], data[1]


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_key_stays_with_its_owner_and_in_order(concurrency: int) -> None:
    crew = Crew(4, seconds=0.003, concurrency=concurrency)
    for number in range(20):
        for key in "abcdefgh":
            crew.cast((key, number), key=key)
    crew.settle()
    assert len(crew.ledger.runs) == 160
    crew.ledger.check_key_order(lambda data: (data[0], data[1]))
    for key in "abcdefgh":
        nodes = {run.node for run in crew.ledger.runs if run.data[0] == key}
        assert nodes == {owner_of(crew, key)}


def test_a_dead_owners_keys_go_on_at_the_next_in_order_and_the_others_do_not_move() -> None:
    crew = Crew(4, seconds=0.01)
    owners = {key: owner_of(crew, key) for key in "abcdefgh"}
    victim = owners["a"]
    for number in range(30):
        for key in owners:
            crew.cast((key, number), key=key)
    crew.sim.run(0.3)
    crew.sim.kill(victim)
    crew.settle(within=60.0)
    crew.ledger.check_handled([(key, number) for key in owners for number in range(30)])
    crew.ledger.check_marks()
    crew.ledger.check_key_order(place)
    for key, owner in owners.items():
        nodes = {run.node for run in crew.ledger.runs if run.data[0] == key}
        assert nodes == {owner} if owner is not victim else len(nodes) == 2


def test_keys_move_to_a_member_that_joins_and_keep_their_order() -> None:
    crew = Crew(2, seconds=0.005)
    numbers: Counter[str] = Counter()

    def cast_some() -> None:
        for key in "abcdefgh":
            crew.cast((key, numbers[key]), key=key)
            numbers[key] += 1

    for turn in range(60):
        cast_some()
        crew.sim.run(0.02)
        if turn == 20:
            joiner = crew.sim.node("joiner", seeds=[crew.sender])
            crew.members.append(joiner)
            crew.enlist(joiner, 0.005)
    crew.settle(within=60.0)
    crew.ledger.check_handled([(key, number) for key in numbers for number in range(60)])
    crew.ledger.check_marks()
    crew.ledger.check_key_order(place)
    last = {run.data[0]: run.node for run in crew.ledger.runs if run.data[1] == 59}
    assert last == {key: owner_of(crew, key) for key in numbers}


def test_many_keys_move_only_to_and_from_whom_came_or_went() -> None:
    crew = Crew(4)
    keys = [f"user:{number}" for number in range(200)]

    def cast_all(name: str) -> dict[str, SimNode]:
        for key in keys:
            crew.cast((name, key), key=key)
        crew.settle()
        return {run.data[1]: run.node for run in crew.ledger.runs if run.data[0] == name}

    before = cast_all("before")
    joiner = crew.sim.node("joiner", seeds=[crew.sender])
    crew.enlist(joiner)
    crew.sim.run(2.0)
    after = cast_all("after")
    moved = {key for key in keys if before[key] is not after[key]}
    assert moved
    assert {after[key] for key in moved} == {joiner}
    crew.sim.kill(joiner)
    crew.sim.run(2.0)
    assert cast_all("again") == before


# Queue groups.


class Office:
    """Publishers, queue groups and plain subscribers."""

    def __init__(self, groups: dict[str, int], plain: int, seed: int = 0) -> None:
        self.sim = Simulation(seed)
        self.publisher = self.sim.node("publisher")
        self.ledgers = {group: Ledger() for group in groups}
        self.nodes: dict[str, list[SimNode]] = {}
        for group, count in groups.items():
            self.nodes[group] = [self.member(group) for _ in range(count)]
        self.heard = [
            self.sim.node("plain", seeds=[self.publisher]).hear("orders.>") for _ in range(plain)
        ]
        self.sim.run(2.0)

    def member(self, group: str, seconds: Callable[[], float] | None = None) -> SimNode:
        node = self.sim.node(group, seeds=[self.publisher])
        handler = self.ledgers[group].handler(node, seconds=seconds)
        node.subscribe("orders.*", handler, group=group)
        return node

    def settle(self) -> None:
        self.sim.until(lambda: not unfinished(self.publisher), 60.0)


def test_each_queue_group_gets_one_copy_and_plain_subscribers_all() -> None:
    office = Office({"billing": 3, "audit": 3, "mail": 2}, plain=2)
    for number in range(200):
        office.publisher.publish("orders.new", number)
    office.settle()
    for group, ledger in office.ledgers.items():
        counts = Counter(run.node for run in ledger.runs)
        assert sorted(run.data for run in ledger.runs) == list(range(200)), group
        assert len(counts) == len(office.nodes[group]), "and all of its members share them"
    assert [[m.data for m in heard] for heard in office.heard] == [list(range(200))] * 2


def test_copies_that_a_killed_member_had_are_handled_by_another_of_its_group() -> None:
    office = Office({"billing": 2}, plain=0)
    slow = office.member("billing", lambda: 0.1)
    office.sim.run(1.0)
    for number in range(100):
        office.publisher.publish("orders.new", number)
    office.sim.run(0.05)
    office.sim.kill(slow)
    office.settle()
    ledger = office.ledgers["billing"]
    ledger.check_handled(range(100))
    ledger.check_marks()


def test_a_publish_never_waits_and_too_many_copies_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window, "MAX_UNACKED", 50)
    office = Office({"billing": 1}, plain=1)
    office.publisher.publish("orders.new", 0)
    office.settle()
    office.sim.freeze(office.nodes["billing"][0])
    for number in range(1, 101):
        office.publisher.publish("orders.new", number)
    office.sim.run(1.0)
    assert office.publisher.engine.counters["queue_copies_dropped"] == 50
    assert len(office.heard[0]) == 101
    office.sim.thaw(office.nodes["billing"][0])
    office.settle()
    assert len(office.ledgers["billing"].runs) == 51


def test_of_its_own_subscriptions_in_a_queue_group_one_gets_a_nodes_own_publish() -> None:
    sim = Simulation()
    node = sim.node("alone")
    ledger = Ledger()
    for name in "ab":
        node.subscribe("orders.*", ledger.handler(node, name), group="billing", inline=True)
    sim.run(SOON)
    for number in range(100):
        node.publish("orders.new", number)
    sim.run(1.0)
    assert sorted(run.data for run in ledger.runs) == list(range(100))


def test_an_own_subscription_without_echo_takes_no_copy_of_own_publishes() -> None:
    sim = Simulation()
    one, other = sim.meshed(2)
    ledger, echoing = Ledger(), Ledger()
    one.subscribe("orders.*", ledger.handler(one), group="billing", echo=False, inline=True)
    one.subscribe("orders.*", echoing.handler(one), group="billing", inline=True)
    sim.run(1.0)
    for number in range(50):
        one.publish("orders.new", f"own {number}")
        other.publish("orders.new", f"other {number}")
    sim.run(1.0)
    assert not any(run.data.startswith("own") for run in ledger.runs)
    assert len(ledger.runs) + len(echoing.runs) == 100
