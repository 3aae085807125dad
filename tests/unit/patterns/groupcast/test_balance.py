"""Who gets how much of the work: everybody what it can do, and nobody more than it granted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from patterns.names import group_subject
from tests.sim.runner import sleep
from tests.unit.patterns.groupcast.cluster import Cluster, Peer
from tests.unit.patterns.groupcast.port import CREW, subscription

assert group_subject("crew") == CREW


class Crew:
    """Members whose handlers take some time each, and how many casts each has handled."""

    def __init__(self, seconds: list[float], *, concurrency: int = 1, senders: int = 1) -> None:
        self.cluster = Cluster()
        self.handled: Counter[str] = Counter()
        self.by_sender: Counter[str] = Counter()
        self.members = [self.cluster.add(f"m{i}") for i in range(len(seconds))]
        self.senders = [self.cluster.add(f"s{i}") for i in range(senders)]
        self.subscriptions = [
            subscription(member, self.handler(member, time), is_async=True, concurrency=concurrency)
            for member, time in zip(self.members, seconds, strict=True)
        ]

    def handler(self, member: Peer, seconds: float) -> Callable[[Any], Any]:
        async def handle(message: Any) -> None:
            await sleep(seconds)
            self.handled[member.node.name] += 1
            self.by_sender[message.data] += 1

        return handle

    def work(self, seconds: float, *, at_once: int, warm_up: float = 2.0) -> None:
        """Keep ``at_once`` casts of each sender waiting for so long, and count from then on."""
        for sender in self.senders:
            self.cluster.keep_busy(sender, at_once)
        self.cluster.run(warm_up)
        self.handled.clear()
        self.by_sender.clear()
        self.cluster.run(seconds)

    @property
    def shares(self) -> list[float]:
        total = sum(self.handled.values())
        return [self.handled[member.node.name] / total for member in self.members]


@pytest.mark.parametrize("time", [0.0002, 0.002, 0.05])
def test_a_member_that_is_ten_times_slower_gets_little(time: float) -> None:
    crew = Crew([10 * time, time, time, time])
    crew.cluster.gather(crew.members)
    crew.work(500 * time, at_once=64)
    assert crew.shares[0] <= 0.15
    assert sum(crew.handled.values()) >= 0.9 * 500 * 3.1, "and the others are busy all the time"


@pytest.mark.parametrize("time", [0.0002, 0.002, 0.05])
@pytest.mark.parametrize("at_once", [4, 64, 1000])
def test_equal_members_get_equal_shares(time: float, at_once: int) -> None:
    crew = Crew([time] * 4)
    crew.cluster.gather(crew.members)
    crew.work(400 * time, at_once=at_once)
    assert max(crew.shares) * 4 <= 1.1
    assert min(crew.shares) * 4 >= 0.9


def test_equal_members_get_equal_shares_when_one_cast_is_sent_at_a_time() -> None:
    crew = Crew([0.001] * 4)
    crew.cluster.gather(crew.members)
    crew.work(2.0, at_once=1)
    assert max(crew.shares) * 4 <= 1.1


def test_a_member_with_more_weight_gets_more_of_what_all_could_do() -> None:
    crew = Crew([0.0005] * 3)
    crew.cluster.gather(crew.members, [1.0, 1.0, 3.0])
    sender = crew.senders[0]
    for _ in range(3000):
        sender.cast(sender.node.name, timeout=60.0)
        crew.cluster.run(1 / 3000)
    light, other, heavy = crew.shares
    assert 0.5 <= heavy <= 0.7, "half of what they can do is asked for, and it has 3 of 5 weights"
    assert light == pytest.approx(other, abs=0.03)


def test_weight_does_not_make_a_member_wait_for_a_slower_one() -> None:
    crew = Crew([0.02, 0.001])
    crew.cluster.gather(crew.members, [5.0, 1.0])
    crew.work(2.0, at_once=40)
    assert crew.handled["m1"] >= 0.9 * 2.0 / 0.001


@pytest.mark.parametrize("concurrency", [1, 4])
def test_many_senders_to_one_member_share_it_and_never_fill_it_above_its_slots(
    concurrency: int,
) -> None:
    crew = Crew([0.05], concurrency=concurrency, senders=8)
    crew.cluster.gather(crew.members)
    crew.work(20.0, at_once=3, warm_up=1.0)
    assert crew.members[0].most_open <= concurrency
    rate = sum(crew.by_sender.values()) / 20.0
    assert rate >= 0.95 * concurrency / 0.05, "and it is busy all the time"
    assert len(crew.by_sender) == 8
    assert max(crew.by_sender.values()) <= 1.1 * min(crew.by_sender.values())


def test_a_sender_with_one_cast_now_and_then_does_not_wait_for_one_with_many() -> None:
    crew = Crew([0.01], senders=2)
    crew.cluster.gather(crew.members)
    busy, rare = crew.senders
    crew.cluster.keep_busy(busy, 200)
    crew.cluster.run(2.0)
    for _ in range(10):
        waiter = rare.cast(rare.node.name, timeout=30.0)
        began = crew.cluster.clock.now()
        while not waiter.done():
            crew.cluster.run(0.005)
        assert crew.cluster.clock.now() - began <= 0.1
        crew.cluster.run(3.0)


def test_senders_that_are_done_do_not_sit_on_the_credit_that_others_need() -> None:
    crew = Crew([0.05], senders=8)
    crew.cluster.gather(crew.members)
    waits = []
    for turn in range(80):
        sender = crew.senders[turn * 5 % 8]
        began = crew.cluster.clock.now()
        waiter = sender.cast(sender.node.name, timeout=30.0)
        while not waiter.done():
            crew.cluster.run(0.005)
        waits.append(crew.cluster.clock.now() - began)
        crew.cluster.run(0.2)
    assert max(waits) <= 0.1


def test_what_is_not_needed_goes_back_in_two_seconds() -> None:
    crew = Crew([0.001] * 2, senders=3)
    crew.cluster.gather(crew.members)
    for sender in crew.senders:
        for _ in range(500):
            sender.cast(sender.node.name, timeout=30.0)
    crew.cluster.run(2.0)
    assert sum(crew.handled.values()) == 1500
    crew.cluster.run(2.5)
    for member in crew.members:
        pools = member.receiver._pools.values()
        assert [share.held for pool in pools for share in pool.book.shares.values()] == []
