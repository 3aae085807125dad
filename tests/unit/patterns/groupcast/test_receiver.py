"""The member: what it takes in, what it begins, and what it says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patterns.errors import Refuse
from patterns.groupcast import casts as k
from patterns.groupcast import sources
from patterns.groupcast.receiver import LOST_AFTER
from patterns.groupcast.sources import DONE_KEPT, KNOWS_NOTHING, MAX_CREDIT, Source
from patterns.names import group_subject
from patterns.subscription import Subscription
from tests.sim.runner import sleep
from tests.unit.patterns.groupcast.port import BILLING, CREW, Node, Port, subscription

SENDER, OTHER = Node("sender"), Node("other")


class Member:
    """A member of the crew with linked senders. ``got`` is what its handler began."""

    def __init__(
        self,
        *senders: Node,
        seconds: float | None = None,
        inline: bool = False,
        concurrency: int = 1,
        is_read: bool = False,
        has_handler: bool = True,
    ) -> None:
        self.port = Port()
        self.got: list[Any] = []
        self.messages: list[Any] = []
        self.refused: set[Any] = set()
        self.subscription: Subscription | None = None
        if has_handler:
            self.subscription = self.subscribe(seconds, inline, concurrency, is_read)
        self.senders = senders or (SENDER,)
        for sender in self.senders:
            self.port.link(sender)

    def subscribe(
        self,
        seconds: float | None = None,
        inline: bool = False,
        concurrency: int = 1,
        is_read: bool = False,
        **options: Any,
    ) -> Subscription:
        handler: Callable[[Any], Any] | None = self.handle
        if seconds is not None:

            async def slowly(message: Any) -> None:
                self.handle(message)
                await sleep(seconds)

            handler = slowly
        return subscription(
            self.port,
            None if is_read else handler,
            inline=inline,
            is_async=seconds is not None,
            concurrency=concurrency,
            **options,
        )

    def handle(self, message: Any) -> None:
        self.got.append(message.data)
        self.messages.append(message)
        if message.data in self.refused:
            raise Refuse

    def credit(self, wish: int, sender: Node = SENDER, *, pool: str = CREW) -> int:
        """Ask for so much; returns what was granted in all."""
        self.port.want(sender, wish, pool=pool, number=self.port.numbers.get(sender, 0))
        return self.port.granted(sender)

    def send(self, *data: Any, sender: Node = SENDER, epoch: int = 1) -> None:
        """A frame of plain casts, numbered on."""
        self.send_entries(*([CREW, one] for one in data), sender=sender, epoch=epoch)

    def send_entries(self, *entries: Any, sender: Node = SENDER, epoch: int = 1) -> None:
        first = self.port.numbers.get(sender, 0)
        self.port.numbers[sender] = first + len(entries)
        self.port.receiver.on_casts(sender, epoch, first, list(entries))
        self.port.run()

    def lose(self, count: int, sender: Node = SENDER) -> None:
        """So many are sent and never arrive."""
        self.port.numbers[sender] = self.port.numbers.get(sender, 0) + count

    def ready(self, most: int = 100, *, sender: Node = SENDER) -> None:
        """The handler is known to be fast, and that sender has credit for so many."""
        for desk in self.port.receiver._desks.values():
            desk.worklist.took(0.0, 1)
        self.credit(most, sender)
        self.port.told.clear()

    def told(self, kind: int, sender: Node = SENDER) -> list[tuple[Any, ...]]:
        """What was said to a sender, of one kind; other things remain to be asked for."""
        told, self.port.told = self.port.told, []
        found = []
        for target, what, *fields in told:
            if target is sender and what == kind:
                found.append(tuple(fields))
            else:
                self.port.told.append((target, what, *fields))
        return found

    def done(self, sender: Node = SENDER) -> list[int]:
        """The numbers that were reported as handled."""
        return [n for (ranges,) in self.told(k.DONE, sender) for n in k.numbers_of(ranges, 10**6)]

    def back(self, reason: int, sender: Node = SENDER) -> list[int]:
        """The numbers that came back for that reason."""
        told = self.told(k.BACK, sender)
        return [n for why, r, _ in told if why == reason for n in k.numbers_of(r, 10**6)]

    def relink(self, epoch: int, sender: Node = SENDER) -> tuple[int, list[int], list[int]]:
        """A new link; returns what HELD says: since, running, done."""
        self.port.receiver.link_opened(sender, epoch)
        era, since, running, done = self.told(k.HELD, sender)[-1]
        self.port.eras[sender] = era
        return since, list(k.numbers_of(running, 10**6)), list(k.numbers_of(done, 10**6))

    def held(self, sender: Node = SENDER, pool: str = CREW) -> int:
        made = self.port.receiver._pools.get(pool)
        share = made.book.shares.get(sender) if made is not None else None
        return share.held if share is not None else 0


# Credit.


def test_credit_is_what_the_handlers_can_run_and_no_more() -> None:
    member = Member(seconds=1.0, concurrency=3)
    member.subscribe(1.0)
    assert member.credit(100) == 4


def test_nobody_is_granted_more_than_it_wishes_or_than_a_pool_may_hold() -> None:
    member = Member(inline=True, concurrency=64)
    member.ready(3)
    assert member.held() == 3
    assert member.credit(2**60) == MAX_CREDIT


def test_a_wish_of_another_era_or_without_a_link_counts_for_nothing() -> None:
    member = Member()
    member.port.receiver.on_want(SENDER, CREW, 5, 0, member.port.eras[SENDER] + 1)
    member.port.receiver.on_want(OTHER, CREW, 5, 0, 1)
    member.port.run()
    assert member.told(k.GRANT) == member.told(k.GRANT, OTHER) == []


def test_a_wish_for_a_pool_that_nobody_here_is_in_counts_for_nothing() -> None:
    member = Member()
    assert member.credit(5, pool=group_subject("other")) == 0
    assert list(member.port.receiver._pools) == [CREW]


def test_without_a_link_nothing_is_granted_into_the_void() -> None:
    member = Member(SENDER, OTHER, seconds=1.0)
    member.credit(1)
    member.port.receiver.link_lost(SENDER)
    member.credit(1)
    assert member.held() == 0
    assert member.credit(1, OTHER) == 1


def test_what_is_settled_is_granted_anew_in_the_same_turn() -> None:
    member = Member(seconds=0.5)
    member.credit(5)
    member.send("x")
    member.port.told.clear()
    member.port.run(0.6)
    assert [kind for _, kind, *_ in member.port.told] == [k.DONE, k.GRANT]


def test_casts_beyond_the_credit_are_not_taken() -> None:
    member = Member(seconds=1.0)
    assert member.credit(5) == 1
    member.send("x", "y")
    assert member.got == []
    assert member.port.counts["casts_beyond_credit"] == 2
    fresh = Member(OTHER)
    fresh.send("x", sender=SENDER)
    assert fresh.got == []


def test_what_was_not_used_is_somebody_elses() -> None:
    member = Member(SENDER, OTHER, seconds=1.0)
    assert member.credit(1) == 1
    assert member.credit(1, OTHER) == 0
    ((pool, share),) = member.told(k.RECALL)
    member.port.receiver.on_return(SENDER, pool, share, 1, 0)
    member.port.run()
    assert member.port.granted(OTHER) == 1
    assert member.port.counts["bad_returns"] == 0


def test_credit_cannot_be_returned_and_used() -> None:
    member = Member(seconds=1.0, concurrency=2)
    member.credit(2)
    ((pool, share, _),) = [(CREW, 1, 0)]
    share = member.port.receiver._pools[CREW].book.shares[SENDER].number
    member.send("x", "y")
    member.port.receiver.on_return(SENDER, pool, share, 2, 9)
    member.port.run()
    assert member.port.counts["bad_returns"] == 1
    assert member.held() == 2


def test_a_pool_without_handlers_and_credit_is_forgotten() -> None:
    member = Member(has_handler=False)
    for number in range(5):
        made = member.subscribe(pattern=group_subject(f"g{number}"))
        member.credit(1, pool=group_subject(f"g{number}"))
        share = member.port.receiver._pools[group_subject(f"g{number}")].book.shares[SENDER]
        member.port.receiver.remove(made)
        member.port.receiver.on_return(SENDER, group_subject(f"g{number}"), share.number, 1, 0)
        member.port.run()
    assert member.port.receiver._pools == {}


# What becomes of them.


@pytest.mark.parametrize("inline", [True, False])
def test_what_is_handled_is_reported_once_a_turn(inline: bool) -> None:
    member = Member(inline=inline)
    member.ready()
    member.send(*range(10))
    assert member.got == list(range(10))
    assert member.told(k.DONE) == [([0, 10],)]
    assert member.held() == 90 + 10, "and as much is granted again"


@pytest.mark.parametrize("inline", [True, False])
def test_what_is_refused_goes_back_and_a_handler_that_fails_has_handled_it(inline: bool) -> None:
    member = Member(inline=inline)
    member.ready()
    member.refused = {1, 3}
    member.send(0, 1, 2, 3)
    assert (member.done(), member.back(k.BACK_REFUSED)) == ([0, 2], [1, 3])


@pytest.mark.parametrize("inline", [True, False])
def test_a_handler_sees_all_that_belongs_to_a_groupcast(inline: bool) -> None:
    member = Member(inline=inline)
    member.ready()
    member.send_entries(
        [CREW, "plain"],
        [CREW, "marked", {"h": "1"}, k.FLAG_REDELIVERED],
        [CREW, "keyed", {}, 0, 7],
    )
    seen = [
        (m.kind, m.group, m.subject, m.headers, m.sender, m.key, m.redelivered, m.missed)
        for m in member.messages
    ]
    assert seen == [
        ("groupcast", "crew", None, {}, SENDER, None, False, 0),
        ("groupcast", "crew", None, {"h": "1"}, SENDER, None, True, 0),
        ("groupcast", "crew", None, {}, SENDER, 7, False, 0),
    ]


UNREADABLE: list[Any] = [
    None,
    5,
    "ab",
    b"ab",
    [],
    ["one"],
    {},
    {"a": 1, "b": 2},
    [CREW, 1, None],
    [CREW, 1, {}, "flags"],
    [CREW, 1, {}, True],
    [CREW, 1, {}, 0, 1.5],
    [CREW, 1, {}, 0, [1]],
    [CREW, 1, {}, 0, "k" * 5000],
    [CREW, 1, {}, 0, None, 7],
    [CREW, 1, {}, 0, None, "s" * 5000],
    [["list"], 1],
    [{}, 1, {}],
]


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("entry", UNREADABLE, ids=lambda entry: repr(entry)[:40])
def test_what_cannot_be_read_goes_back_and_its_neighbours_are_handled(
    entry: Any, inline: bool
) -> None:
    member = Member(inline=inline)
    member.ready(3)
    member.send_entries([CREW, "before"], entry, [CREW, "after"])
    assert member.got == ["before", "after"]
    assert member.done() == [0, 2]
    reasons = [reason for reason, ranges, _ in member.told(k.BACK) if ranges == [1, 1]]
    assert len(reasons) == 1
    assert reasons[0] in k.CREDIT_COMES_BACK | {k.BACK_UNSTARTED}
    is_credit_back = reasons[0] in k.CREDIT_COMES_BACK
    assert member.held() == 3, "two granted again, and the third"
    member.send(*range(3 if is_credit_back else 2))
    assert len(member.got) == (5 if is_credit_back else 4)


def test_a_cast_for_a_pool_that_is_not_here_goes_back() -> None:
    member = Member(inline=True)
    member.ready(2)
    member.send_entries([group_subject("other"), 1], [CREW, 2])
    assert member.got == [2]
    ((reason, ranges, _),) = member.told(k.BACK)
    assert (ranges, member.done()) == ([0, 1], [1])
    assert reason in k.CREDIT_COMES_BACK


def test_handlers_of_one_pool_share_the_work_and_its_credit() -> None:
    member = Member(seconds=1.0)
    member.subscribe(1.0)
    assert member.credit(100) == 2
    member.send("x", "y")
    assert member.got == ["x", "y"], "one each, at once"


def test_casts_of_one_key_do_not_run_at_two_handlers() -> None:
    member = Member(seconds=0.5)
    member.subscribe(0.5)
    for desk in member.port.receiver._desks.values():
        desk.worklist.seconds = 0.005
    member.credit(8)
    member.send_entries(*([CREW, number, {}, 0, "key"] for number in range(3)))
    assert member.got == [0]
    member.subscribe(0.5)
    member.send_entries([CREW, 3, {}, 0, "key"])
    assert member.got == [0], "a third handler does not change where the key is"
    member.port.run(5.0)
    assert member.got == [0, 1, 2, 3]


# Leaving the group.


def test_what_waits_for_a_subscription_that_ends_goes_back_unbegun() -> None:
    member = Member(seconds=1.0)
    member.ready(5)
    member.send(*range(5))
    assert member.subscription is not None
    member.port.receiver.remove(member.subscription)
    member.port.run()
    begun = len(member.got)
    assert begun >= 1
    assert member.back(k.BACK_UNSTARTED) == list(range(begun, 5))
    member.port.run(10.0)
    assert member.got == list(range(begun))
    assert member.done() == list(range(begun))
    assert member.held() == 0


def test_what_a_reader_has_in_hand_goes_back_touched() -> None:
    member = Member(is_read=True)
    member.ready(3)
    member.send("x", "y")
    assert member.subscription is not None
    member.subscription.take()
    member.port.receiver.remove(member.subscription)
    member.port.run()
    told = member.told(k.BACK)
    assert [(reason, ranges) for reason, ranges, _ in told] == [
        (k.BACK_UNSTARTED, [1, 1]),
        (k.BACK_TOUCHED, [0, 1]),
    ]
    since, running, done = member.relink(2)
    assert (since, running, done) == (1, [], []), "should that be lost: of 0 nothing is certain"


def test_a_node_that_leaves_gives_back_what_it_has_not_begun_and_takes_nothing_more() -> None:
    member = Member(seconds=1.0)
    member.ready(5)
    member.send(*range(4))
    begun = len(member.got)
    member.port.receiver.leave()
    assert member.back(k.BACK_UNSTARTED) == list(range(begun, 4))
    member.send("late")
    assert member.back(k.BACK_UNSTARTED) == [4]
    member.port.run(2.0)
    assert len(member.got) == begun
    assert member.done() == list(range(begun))
    assert member.told(k.GRANT) == []


@pytest.mark.parametrize("has_credit_out", [True, False])
def test_a_reader_that_ends_after_its_node_has_left_gives_back_what_it_had(
    has_credit_out: bool,
) -> None:
    member = Member(is_read=True)
    assert member.subscription is not None
    taken = None
    if has_credit_out:
        member.ready(1)
        member.send(0)
        taken = member.subscription.take()
    member.port.receiver.leave()
    member.port.run()
    member.port.receiver.remove(member.subscription)
    member.port.run()
    assert member.back(k.BACK_TOUCHED) == ([0] if taken else [])


def test_a_closed_one_neither_takes_nor_says_anything() -> None:
    member = Member(seconds=1.0)
    member.ready(5)
    member.send(1)
    member.port.receiver.close()
    member.port.told.clear()
    member.send(2)
    member.port.run(5.0)
    assert member.got == [1]
    assert member.port.told == []


# Numbers.


def test_what_is_missing_before_a_frame_is_lost() -> None:
    member = Member(inline=True)
    member.ready(10)
    member.send("a")
    member.lose(3)
    member.send("b")
    assert member.got == ["a", "b"]
    assert member.back(k.BACK_LOST) == [1, 2, 3]
    assert member.port.counts["casts_lost_on_the_way"] == 3
    assert member.held() == 10, "their credit is their sender's again"


def test_what_comes_late_or_again_is_not_taken() -> None:
    member = Member(inline=True)
    member.ready(10)
    member.send("a", "b")
    for first in (0, 1):
        member.port.receiver.on_casts(SENDER, 1, first, [[CREW, "again"]])
    assert member.got == ["a", "b"]
    assert member.port.counts["stale_casts"] == 2


@pytest.mark.parametrize("first", [50, 2**31, 2**62 - 1, 2**63, 2**64 - 1])
def test_a_gap_above_the_credit_is_a_lie_that_costs_no_memory(first: int) -> None:
    member = Member(inline=True)
    member.ready(10)
    member.port.receiver.on_casts(SENDER, 1, first, [[CREW, 1]])
    member.port.run()
    assert member.got == []
    assert member.told(k.BACK) == []
    member.send("honest")
    assert member.got == ["honest"]


def test_what_its_sender_asks_for_and_did_not_come_is_lost_after_a_while() -> None:
    member = Member(inline=True)
    member.ready(10)
    member.send("a")
    member.lose(2)
    check = member.port.receiver.on_check
    check(SENDER, 3, 100)
    member.port.run(LOST_AFTER / 2)
    check(SENDER, 3, 100)
    assert member.told(k.BACK) == []
    member.port.run(LOST_AFTER)
    check(SENDER, 3, 100)
    member.port.run()
    assert member.back(k.BACK_LOST) == [1, 2]
    member.send("b")
    assert member.got == ["a", "b"]


def test_many_bytes_on_a_slow_way_get_more_time() -> None:
    member = Member(inline=True)
    member.ready(10)
    member.lose(1)
    for _ in range(8):
        member.port.receiver.on_check(SENDER, 1, 1_000_000)
        member.port.run(1.0)
    assert member.told(k.BACK) == []
    for _ in range(6):
        member.port.receiver.on_check(SENDER, 1, 1_000_000)
        member.port.run(1.0)
    assert member.back(k.BACK_LOST) == [0]


def test_while_it_comes_nothing_is_lost() -> None:
    member = Member(inline=True)
    member.ready(100)
    for number in range(10):
        member.port.receiver.on_check(SENDER, number + 2, 0)
        member.port.run(0.9)
        member.send(number)
    assert member.told(k.BACK) == []
    member.port.receiver.on_check(SENDER, 10, 0)
    member.port.run(5.0)
    member.port.receiver.on_check(SENDER, 10, 0)
    assert member.told(k.BACK) == []


@pytest.mark.parametrize("number", [10**9, 2**62, 2**64])
def test_asking_after_more_than_the_credit_costs_no_memory(number: int) -> None:
    member = Member(inline=True)
    member.ready(10)
    for _ in range(3):
        member.port.receiver.on_check(SENDER, number, 0)
        member.port.run(2.0)
    assert member.told(k.BACK) == []


# Links.


def test_a_new_link_voids_credit_and_what_was_not_begun() -> None:
    member = Member(seconds=0.5)
    member.ready(5)
    member.send(*range(4))
    begun = list(member.got)
    since, running, done = member.relink(2)
    assert (since, running, done) == (0, begun, [])
    member.send("old", epoch=1)
    member.port.run(5.0)
    assert member.got == begun
    assert member.done() == begun, "what ran goes on and is reported"
    assert member.held() == 0


def test_a_new_link_tells_what_is_done_even_if_that_was_not_reported_yet() -> None:
    member = Member(inline=True)
    member.ready(5)
    member.send("a")
    member.port.numbers[SENDER] = 2
    member.port.receiver.on_casts(SENDER, 1, 1, [[CREW, "b"]])
    assert member.relink(2) == (0, [], [0, 1])


def test_casts_of_the_new_link_count_from_its_first_wish() -> None:
    member = Member(inline=True)
    member.ready(5)
    member.relink(2)
    member.send("too soon", epoch=2)
    assert member.got == []
    member.credit(5)
    member.send("in time", epoch=2)
    assert member.got == ["in time"]
    assert member.port.counts["casts_lost_on_the_way"] == 0


def test_a_wish_that_was_sent_before_the_new_link_was_seen_lets_nothing_in() -> None:
    member = Member(inline=True)
    member.ready(5)
    era = member.port.eras[SENDER]
    member.relink(1)
    member.port.receiver.on_want(SENDER, CREW, 5, 0, era)
    member.port.run()
    member.send("a", "b", epoch=1)
    assert member.got == []
    assert member.told(k.GRANT) == []


def test_what_runs_takes_room_whatever_link_it_came_by() -> None:
    member = Member(SENDER, OTHER, seconds=1.0)
    member.credit(1)
    member.send("x")
    member.relink(2)
    assert member.credit(1, OTHER) == 0
    member.port.run(1.1)
    assert member.port.granted(OTHER) == 1
    assert member.held() == 0


def test_what_was_lost_with_the_link_is_never_begun() -> None:
    member = Member(seconds=0.5)
    member.ready(5)
    member.send(*range(4))
    begun = list(member.got)
    member.port.receiver.link_lost(SENDER)
    member.port.run(10.0)
    assert member.got == begun
    assert member.relink(2)[1:] == ([], begun)


def test_one_who_never_sent_anything_is_told_that_nothing_is_known() -> None:
    member = Member()
    member.port.receiver.link_opened(OTHER, 1)
    assert [fields[1:] for fields in member.told(k.HELD, OTHER)] == [(KNOWS_NOTHING, [], [])]


def test_eras_are_new_each_time() -> None:
    member = Member()
    eras = {member.port.eras[SENDER]}
    for epoch in (2, 2, 3):
        member.relink(epoch)
        eras.add(member.port.eras[SENDER])
    assert len(eras) == 4


def test_what_a_sender_that_left_has_here_is_still_done() -> None:
    member = Member(SENDER, OTHER, seconds=0.5)
    for desk in member.port.receiver._desks.values():
        desk.worklist.seconds = 0.005
    member.credit(4)
    member.send(*range(4))
    member.port.receiver.sender_left(SENDER)
    member.port.run(5.0)
    assert member.got == [0, 1, 2, 3]
    assert member.held() == 0
    assert member.credit(1, OTHER) == 1


done_numbers = st.lists(st.integers(0, 400), unique=True, max_size=300)


@given(done_numbers, st.lists(st.integers(1, 40), max_size=20), st.integers(1, 30))
def test_of_what_was_done_either_the_number_is_known_or_it_is_below_since(
    numbers: list[int], turns: list[int], kept: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "DONE_KEPT", kept)
        source = Source(SENDER)
        source.since = 0
        reported: set[int] = set()
        done: set[int] = set()
        for turn in [*turns, 1000]:
            some, numbers = numbers[:turn], numbers[turn:]
            for number in some:
                source.add_done([number, 1])
            done |= set(some)
            reported |= set(k.numbers_of(source.take_done(), 1000))
        assert reported == done
        known = set(k.numbers_of(source.all_done(), 1000))
        assert known <= done
        assert all(number in known or number < source.since for number in done)
        assert len(source.all_done()) <= 2 * kept


def test_the_memory_of_what_was_done_is_bounded() -> None:
    member = Member(inline=True)
    member.ready(10**6)
    for number in range(0, 30_000, 100):
        member.send(*range(number, number + 100))
    assert member.relink(2) == (0, [], list(range(30_000))), "in order it takes one range"
    source = Source(SENDER)
    for number in range(0, 4 * DONE_KEPT, 2):
        source.add_done([number, 1])
        source.take_done()
    assert len(source.all_done()) == 2 * DONE_KEPT


def test_very_many_done_in_one_turn_are_all_reported() -> None:
    member = Member(has_handler=False)
    pools = [group_subject(f"g{number}") for number in range(12)]
    for pool in pools:
        member.subscribe(inline=True, concurrency=4, pattern=pool)
    for desk in member.port.receiver._desks.values():
        desk.worklist.took(0.0, 1)
    total = sum(member.credit(4000, pool=pool) for pool in pools)
    assert total > 2 * DONE_KEPT
    entries = [[pools[number % 12], number] for number in range(total)]
    first = 0
    for number in range(0, total, 1000):
        member.port.receiver.on_casts(SENDER, 1, first, entries[number : number + 1000])
        first += len(entries[number : number + 1000])
    member.port.run()
    assert member.done() == list(range(total))


# Keys.


def test_a_key_of_anothers_goes_back_with_its_name() -> None:
    member = Member(inline=True)
    member.ready(5)
    member.port.better = b"owner"
    member.send_entries([CREW, 0, {}, 0, "k"], [CREW, 1], [CREW, 2, {}, k.FLAG_FINAL, "k"])
    assert member.got == [1, 2]
    assert member.told(k.BACK) == [(k.BACK_MOVED, [0, 1], b"owner")]
    assert member.port.counts["moved_casts"] == 1
    assert member.held() == 5


# Pauses.


class Paused(Member):
    """A member that was stopped, with casts that it had not begun."""

    def __init__(self, *senders: Node, **options: Any) -> None:
        super().__init__(*senders, **options)
        for sender in self.senders:
            self.ready(9, sender=sender)

    def stop(self) -> None:
        self.port.paused = True

    def go_on(self) -> list[tuple[Node, int]]:
        """It notices; returns whom it asked, and with which number."""
        self.port.paused = False
        self.port.told.clear()
        self.port.receiver.on_pause()
        return self.asked()

    def asked(self) -> list[tuple[Node, int]]:
        return [(target, fields[0]) for target, *fields in self.port.take_told("ask")]


@pytest.mark.parametrize("inline", [True, False])
def test_after_a_pause_nothing_begins_before_its_sender_has_answered(inline: bool) -> None:
    member = Paused(SENDER, OTHER, inline=inline)
    member.stop()
    member.send(0, 1)
    member.send("x", sender=OTHER)
    asked = dict(member.go_on())
    assert set(asked) == {SENDER, OTHER}
    member.send(2)
    assert member.got == []
    member.port.receiver.on_answer(SENDER, asked[SENDER] - 1)
    member.port.receiver.on_answer(Node("z"), asked[SENDER])
    assert member.got == []
    member.port.receiver.on_answer(SENDER, asked[SENDER])
    member.port.run()
    assert member.got == [0, 1, 2]
    assert member.done() == [0, 1, 2]
    member.port.receiver.on_answer(OTHER, asked[OTHER])
    member.port.run()
    assert member.got == [0, 1, 2, "x"]


def test_what_waited_behind_a_handler_that_was_stopped_is_held_too() -> None:
    member = Paused(seconds=1.0)
    member.send(0, 1, 2, 3)
    begun = list(member.got)
    member.stop()
    member.port.run(3.0)
    assert member.got == begun
    asked = dict(member.go_on())
    member.port.run(3.0)
    assert member.got == begun
    member.port.receiver.on_answer(SENDER, asked[SENDER])
    member.port.run(10.0)
    assert member.got == [0, 1, 2, 3]


def test_what_its_sender_revoked_meanwhile_is_never_begun() -> None:
    member = Paused()
    member.stop()
    member.send(0, 1)
    member.go_on()
    assert member.relink(2) == (0, [], [])
    member.port.run(10.0)
    assert member.got == []
    assert member.held() == 0
    member.credit(5)
    member.send("new", epoch=2)
    assert member.got == ["new"], "what comes by the new link needs no answer to an old question"


def test_an_answer_that_may_be_lost_is_asked_for_again() -> None:
    member = Paused()
    member.stop()
    member.send(0)
    member.go_on()
    member.port.receiver.ask_again(SENDER)
    assert [target for target, _ in member.asked()] == [SENDER]
    member.port.receiver.on_check(SENDER, 1, 0)
    ((target, number),) = member.asked()
    assert target is SENDER
    member.port.receiver.on_answer(SENDER, number)
    member.port.run()
    assert member.got == [0]
    member.port.receiver.ask_again(SENDER)
    assert member.asked() == [], "nobody is asked for nothing"


def test_a_second_pause_makes_the_first_answer_worthless() -> None:
    member = Paused()
    member.stop()
    member.send(0)
    first = dict(member.go_on())
    second = dict(member.go_on())
    member.port.receiver.on_answer(SENDER, first[SENDER])
    member.port.run()
    assert member.got == []
    member.port.receiver.on_answer(SENDER, second[SENDER])
    member.port.run()
    assert member.got == [0]


@pytest.mark.parametrize("is_before", [True, False])
def test_casts_of_a_sender_that_left_need_no_answer(is_before: bool) -> None:
    member = Paused(SENDER, OTHER, seconds=0.5)
    member.send(0, 1, 2)
    if is_before:
        member.port.receiver.sender_left(SENDER)
    member.stop()
    member.port.run(2.0)
    member.go_on()
    if not is_before:
        member.port.receiver.sender_left(SENDER)
    member.port.run(10.0)
    assert member.got == [0, 1, 2]
    assert member.held() == 0


def test_a_handler_that_blocks_for_long_is_a_pause_in_the_midst_of_a_frame() -> None:
    member = Paused(inline=True)
    member.ready(100)
    original = member.handle

    def block(message: Any) -> None:
        original(message)
        if message.data == 20:
            member.stop()

    member.subscription.handler = block  # type: ignore[union-attr]
    member.send(*range(60))
    begun = len(member.got)
    assert 21 <= begun <= 40, "it looks now and then"
    member.port.paused = False
    ((_, number),) = member.asked()
    member.port.receiver.on_answer(SENDER, number)
    member.port.run()
    assert member.got == list(range(60))
    assert member.done() == list(range(60))


def test_what_a_subscription_that_ended_meanwhile_had_waiting_goes_back() -> None:
    member = Paused()
    member.stop()
    member.send(0, 1)
    asked = dict(member.go_on())
    assert member.subscription is not None
    member.port.receiver.remove(member.subscription)
    member.port.receiver.on_answer(SENDER, asked[SENDER])
    member.port.run()
    assert member.got == []
    assert member.back(k.BACK_UNSTARTED) == [0, 1]


def test_a_node_that_leaves_in_a_pause_gives_back_what_was_held() -> None:
    member = Paused()
    member.stop()
    member.send(0, 1)
    member.go_on()
    member.port.receiver.leave()
    assert member.back(k.BACK_UNSTARTED) == [0, 1]


def test_a_sender_without_credit_is_not_asked() -> None:
    member = Paused(SENDER)
    member.port.link(OTHER)
    assert [target for target, _ in member.go_on()] == [SENDER]


# Queue groups.


def copy(data: Any, subject: Any) -> list[Any]:
    return [BILLING, data, {}, 0, None, subject]


def test_a_copy_goes_to_a_handler_of_its_subject() -> None:
    member = Member(has_handler=False)
    got: dict[str, list[Any]] = {"a.*": [], "b": []}
    for pattern, heard in got.items():
        subscription(member.port, heard.append, pattern=pattern, group="billing", inline=True)
    member.port.want(SENDER, 9, pool=BILLING)
    for desk in member.port.receiver._desks.values():
        desk.worklist.took(0.0, 1)
    member.credit(9, pool=BILLING)
    member.send_entries(copy(1, "a.x"), copy(2, "b"), copy(3, "a.y"), copy(4, "c"))
    assert [m.data for m in got["a.*"]] == [1, 3]
    assert [(m.kind, m.subject, m.group) for m in got["b"]] == [("publish", "b", "billing")]
    assert member.back(k.BACK_UNSTARTED) == [3]
    assert member.done() == [0, 1, 2]
