"""Tenures: who may work on a slot, and when, whatever the order in which news arrive."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.ownership import HANDOVER, HANDOVER_SLACK
from tests.unit.patterns.ownership.world import SLOT_SAMPLE, Member, World

BOUND = HANDOVER + HANDOVER_SLACK


def slot_of(member: Member, *others: Member) -> int:
    """A slot that ``member`` owns with these others there."""
    everybody = sorted((member, *others), key=lambda each: each.id)
    return next(s for s in range(65_536) if _owner(s, everybody) is member)


def _owner(slot: int, members: list[Member]) -> Member:
    best = members[0]
    for other in members[1:]:
        if best.is_before(other, slot):
            best = other
    return best


def pair(holding: bool = True) -> tuple[World, Member, Member, int]:
    """ "a" holds a slot that is "b"'s once it comes; "b" has come, and no news have arrived."""
    world = World()
    a, b = world.join("a"), Member(world, "b")
    slot = slot_of(b, a)
    if holding:
        assert a.begin(slot) is not None
    return world, a, world.join("b"), slot


def test_a_lone_node_may_work_on_every_slot() -> None:
    world = World()
    a = world.join("a")
    assert all(a.tenure.may_start(slot) for slot in SLOT_SAMPLE)


def test_a_node_that_has_not_met_the_others_holds_nothing() -> None:
    world = World()
    a = world.join("a")
    a.tenure.is_settled = False
    assert not any(a.tenure.may_start(slot) for slot in SLOT_SAMPLE)
    a.tenure.settle()
    assert a.tenure.may_start(0)


def test_a_newcomer_waits_for_the_statement_of_one_that_may_hold_slots() -> None:
    world, a, b, slot = pair()
    a.end(slot)
    world.deliver(a, b)
    assert not b.tenure.may_start(slot)  # it knows "a", and has no word of it
    world.deliver_all()
    assert b.tenure.may_start(slot)
    assert not a.tenure.may_start(slot)


def test_a_newcomer_waits_until_what_runs_has_ended_and_for_nothing_else() -> None:
    world, a, b, slot = pair()
    world.deliver_all()
    other = next(s for s in range(65_536) if s != slot and b.tenure.owns(s))
    assert not b.tenure.may_start(slot)
    assert b.tenure.may_start(other)
    a.end(slot)
    world.deliver_all()
    assert b.tenure.may_start(slot)


def test_nobody_waits_for_one_that_has_never_worked() -> None:
    world, a, b, slot = pair(holding=False)
    world.deliver(a, b)
    assert b.tenure.may_start(slot)


def test_nobody_waits_for_the_dead() -> None:
    world, a, b, slot = pair()
    world.deliver_all()
    world.kill(a)
    world.deliver_all()
    assert b.tenure.may_start(slot)


def test_who_leaves_tells_what_runs_before_it_tells_that_it_leaves() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    world.deliver_all()
    slot = slot_of(a, b)
    assert a.begin(slot) is not None
    world.deliver_all()
    world.withdraw(a)
    while world.deliver(a, b):
        assert not b.tenure.may_start(slot)
    assert b.tenure.owns(slot)
    assert not a.tenure.may_start(slot)
    assert not a.tenure.is_released
    a.end(slot)
    world.deliver_all()
    assert b.tenure.may_start(slot)
    assert a.tenure.is_released


def test_the_old_owner_calls_a_slot_free_after_the_handover_whatever_runs() -> None:
    world, a, b, slot = pair()
    world.deliver_all()
    world.pass_time(HANDOVER - 0.1)
    world.deliver_all()
    assert not b.tenure.may_start(slot)
    world.pass_time(0.2)
    world.deliver_all()
    assert b.tenure.may_start(slot)
    assert a.counts == {"handovers_cut_short": 1}
    a.end(slot)


def test_the_new_owner_waits_for_one_that_says_nothing_no_longer_than_the_bound() -> None:
    world, a, b, slot = pair()
    while world.deliver(a, b):
        pass
    world.pass_time(BOUND - 0.1)
    assert not b.tenure.may_start(slot)
    world.pass_time(0.2)
    assert b.tenure.may_start(slot)
    assert b.counts == {"handovers_overdue": 1}
    assert a.running


def test_a_statement_lost_with_its_link_is_made_again() -> None:
    world, a, b, slot = pair()
    a.end(slot)
    world.deliver_all()
    world.news.clear()
    a.tenure.restate(b)
    a.settle()
    assert world.pending(a, b)


def test_an_owner_that_gets_a_slot_back_goes_on_at_once() -> None:
    world, a, b, slot = pair()
    world.deliver_all()
    world.kill(b)
    world.deliver_all()
    assert a.tenure.may_start(slot)
    assert a.tenure.is_released


def test_a_fence_stays_while_the_slot_does_and_grows_when_it_moves_and_returns() -> None:
    world = World()
    a = world.join("a")
    b_slot = slot_of(Member(world, "b"), a)
    first = a.begin(b_slot)
    a.end(b_slot)
    assert a.begin(b_slot) == first
    a.end(b_slot)
    b = world.join("b")
    world.deliver_all()
    second = b.begin(b_slot)
    b.end(b_slot)
    world.deliver_all()
    world.kill(b)
    world.deliver_all()
    third = a.begin(b_slot)
    assert first is not None
    assert second is not None
    assert third is not None
    assert first < second < third


def test_a_successor_is_above_a_dead_owner_whose_clock_was_ahead() -> None:
    world = World()
    a = world.join("a", skew=10_000_000)
    b = world.join("b")
    world.deliver_all()
    slot = slot_of(a, b)
    fence = a.begin(slot)
    world.deliver_all()
    world.kill(a)
    world.deliver_all()
    successor = b.begin(slot)
    assert fence is not None
    assert successor is not None
    assert successor > fence


def test_an_owner_that_was_in_doubt_takes_a_new_fence() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    world.deliver_all()
    slot = slot_of(a, b)
    first = a.begin(slot)
    assert first is not None
    passed_over = b.tenure.newest_fence()  # it has served a call, since "a" did not answer
    b.settle()
    world.deliver_all()
    assert a.tenure.fence(slot) == first
    a.tenure.restate(b)
    a.settle()
    assert a.tenure.fence(slot) > passed_over


KINDS = ["join", "withdraw", "kill", "time", *["begin"] * 8, "end", "end", *["deliver"] * 30]


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 200))
def test_no_two_nodes_that_know_each_other_work_on_a_slot_and_nobody_waits_for_ever(
    dice: Random, steps: int
) -> None:
    course = Course()
    for _ in range(steps):
        getattr(course, dice.choice(KINDS))(dice.randrange(99), dice.randrange(99))
    course.check_end()


def test_the_heir_of_an_heir_knows_what_runs_at_one_that_leaves() -> None:
    world = World()
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    world.deliver_all()
    slot = next(s for s in range(65_536) if a.view("cart").first(s) is a
                and a.view("cart").second(s) is b)  # fmt: skip
    assert a.begin(slot) is not None
    world.deliver_all()
    world.withdraw(a)
    world.kill(b)
    while world.deliver(b, c):
        pass
    while world.deliver(a, c):
        pass  # but "a" has not heard that "b" is gone
    assert c.tenure.owns(slot)
    assert not c.tenure.may_start(slot)
    a.end(slot)
    world.deliver_all()
    assert c.tenure.may_start(slot)


class Course:
    """What a list of steps does, with a check at each beginning of work."""

    def __init__(self) -> None:
        self.world = World()
        self.fences: dict[int, tuple[int, Member]] = {}
        self.made = 0
        for name in "abc":
            self.world.join(name)
        self.world.deliver_all()

    def one(self, number: int) -> Member:
        return self.world.alive[number % len(self.world.alive)]

    def join(self, one: int, two: int) -> None:
        if len(self.world.alive) < 6:
            self.made += 1
            self.world.join(f"n{self.made}")

    def withdraw(self, one: int, two: int) -> None:
        if len(self.world.alive) > 2 and self.one(one).is_member:
            self.world.withdraw(self.one(one))

    def kill(self, one: int, two: int) -> None:
        if len(self.world.alive) > 2:
            self.world.kill(self.one(one))

    def begin(self, one: int, two: int) -> None:
        member, slot = self.one(one), SLOT_SAMPLE[two % len(SLOT_SAMPLE)]
        others = [m for m in self.world.alive if m is not member and m.running.get(slot)]
        fence = member.begin(slot)
        if fence is not None:
            check_alone(self.world, member, others)
            check_fence(self.world, self.fences, slot, fence, member)

    def end(self, one: int, two: int) -> None:
        running = sorted(self.one(one).running)
        if running:
            self.one(one).end(running[two % len(running)])

    def time(self, one: int, two: int) -> None:
        self.world.pass_time(0.3)  # far from the bounds: ten of these are no handover

    def deliver(self, one: int, two: int) -> None:
        members = self.world.members
        self.world.deliver(members[two % len(members)], self.one(one))

    def check_end(self) -> None:
        """When nothing runs and all is heard, the owner of each slot may work, and nobody else."""
        world = self.world
        for member in world.alive:
            for slot in [s for s, n in member.running.items() for _ in range(n)]:
                member.end(slot)
        world.deliver_all()
        owners = [m for m in world.alive if m.is_member]
        for slot in SLOT_SAMPLE if owners else ():
            assert [m for m in owners if m.tenure.may_start(slot)] == [_owner(slot, owners)]


def check_alone(world: World, member: Member, others: list[Member]) -> None:
    """Whoever works on it beside this one cannot know of it, or has not been heard of."""
    for other in others:
        if other.counts or member.counts:
            continue  # a bound has passed
        is_known = other.id in member.known and member.id in other.known
        assert not is_known or world.pending(other, member), f"{member} beside {other}"


def check_fence(
    world: World, fences: dict[int, tuple[int, Member]], slot: int, fence: int, member: Member
) -> None:
    """Above that of each owner before, once all that these said has been heard."""
    last = fences.get(slot)
    if last is not None and last[1] is not member:
        previous = last[1]
        is_heard = not world.pending(previous, member) and previous.id in member.known
        if is_heard and not member.counts:
            assert fence > last[0]
    if last is None or fence > last[0]:
        fences[slot] = fence, member
