"""Whatever members say, in whatever order: each cast is in one place, and credit is kept to."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from patterns.groupcast import casts as k
from tests.sim.waiter import SimWaiter
from tests.unit.patterns.groupcast.port import BILLING, CREW, Node, Port

POOLS = (CREW, BILLING)
REASONS = st.sampled_from(
    [
        k.BACK_UNSTARTED,
        k.BACK_REFUSED,
        k.BACK_MOVED,
        k.BACK_TOUCHED,
        k.BACK_LOST,
        k.BACK_UNREADABLE,
    ]
)


class Member:
    """What an honest member knows: its grants, and the casts that it was sent."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.era = 1
        self.share = dict.fromkeys(POOLS, 1)
        self.granted = dict.fromkeys(POOLS, 0)
        self.used = dict.fromkeys(POOLS, 0)
        self.returned = dict.fromkeys(POOLS, 0)
        self.here: dict[int, list[Any]] = {}
        """Casts by number, as they came."""
        self.current: set[int] = set()
        """Those sent on the credit of the link that is."""

    def begin(self) -> None:
        self.era += 1
        for pool in POOLS:
            self.share[pool] += 1
            self.granted[pool] = self.used[pool] = self.returned[pool] = 0
        self.current.clear()


class Sending(RuleBasedStateMachine):
    """A sender with members that come, go, and say all that a member may say."""

    def __init__(self) -> None:
        super().__init__()
        self.port = Port()
        self.port.better = None
        self.members: dict[Node, Member] = {}
        self.names = 0
        self.count = 0
        self.waiting: dict[str, SimWaiter] = {}
        self.accepted: set[str] = set()
        self.finished: set[str] = set()
        self.refusals: Counter[str] = Counter()
        for _ in range(2):
            self.join()

    # What happens in the world.

    @rule(
        data=st.data(), what=st.sampled_from(["join", "leave", "link", "ours", "doubt", "recall"])
    )
    def disturb(self, data: st.DataObject, what: str) -> None:
        """What happens now and then: one rule, so that there is work in between."""
        member = self.one(data)
        if what == "join" and len(self.members) < 4:
            self.join()
        elif what == "leave" and len(self.members) > 1:
            self.leave(member)
        elif what == "link":
            self.new_link(member, data)
        elif what == "ours":
            self.port.sender.link_reopened(member.node)
            self.look()
        elif what == "doubt":
            self.doubt_or_trust(member.node)
        elif what == "recall":
            pool = data.draw(st.sampled_from(POOLS))
            self.port.sender.on_recall(member.node, pool, member.share[pool])
            self.look()

    def join(self) -> None:
        self.names += 1
        (node,) = self.port.join(f"m{self.names}")
        self.members[node] = Member(node)
        self.listen()

    def listen(self) -> None:
        self.port.listeners[BILLING, "a.b"] = tuple(self.members)
        self.port.sender.members_changed()
        self.look()

    def leave(self, member: Member) -> None:
        del self.members[member.node]
        self.port.listeners[BILLING, "a.b"] = tuple(self.members)
        self.port.doubted.discard(member.node)
        self.port.sent.pop(member.node, None)
        self.port.leave(member.node)
        self.port.preference.remove(member.node)
        self.look()

    @rule(
        key=st.sampled_from([None, "k", "l"]),
        timeout=st.sampled_from([0.0, 0.5, 1000.0]),
        is_short=st.booleans(),
    )
    def cast(self, key: str | None, timeout: float, is_short: bool) -> None:
        self.count += 1
        name = f"c{self.count}"
        if key is None and is_short:
            if self.port.cast_now(name) is not None:
                self.accepted.add(name)
        else:
            self.waiting[name] = self.port.cast(name, key=key, timeout=timeout)
        self.look()

    @rule(key=st.sampled_from([None, "k"]), count=st.integers(1, 5))
    def cast_some(self, key: str | None, count: int) -> None:
        for _ in range(count):
            self.cast(key, 1000.0, True)

    @rule()
    def copy(self) -> None:
        self.count += 1
        assert self.port.copy(f"c{self.count}")
        self.accepted.add(f"c{self.count}")
        self.look()

    @precondition(lambda self: any(not w.done() for w in self.waiting.values()))
    @rule(data=st.data(), is_late=st.booleans())
    def abandon(self, data: st.DataObject, is_late: bool) -> None:
        names = sorted(name for name, waiter in self.waiting.items() if not waiter.done())
        waiter = self.waiting.pop(data.draw(st.sampled_from(names)))
        waiter.is_cancelled = True
        if is_late:
            self.grant_to(self.one(data), CREW, 1)
        self.port.sender.abandon(waiter)
        self.look()

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 2.5]))
    def wait(self, seconds: float) -> None:
        self.port.run(seconds)
        self.look()

    # What members say.

    @rule(data=st.data(), pool=st.sampled_from(POOLS), more=st.integers(1, 6))
    def grant(self, data: st.DataObject, pool: str, more: int) -> None:
        self.grant_to(self.one(data), pool, more)
        self.look()

    def grant_to(self, member: Member, pool: str, more: int) -> None:
        member.granted[pool] += more
        self.port.sender.on_grant(member.node, pool, member.share[pool], member.granted[pool])

    @precondition(lambda self: any(m.here for m in self.members.values()))
    @rule(data=st.data(), twice=st.booleans())
    def done(self, data: st.DataObject, twice: bool) -> None:
        member, numbers = self.some_here(data)
        for number in numbers:
            self.finished.add(member.here.pop(number)[1])
        for _ in range(1 + twice):
            self.port.sender.on_done(member.node, k.ranges_of(numbers))
        self.look()

    @precondition(lambda self: any(m.here for m in self.members.values()))
    @rule(data=st.data(), reason=REASONS)
    def back(self, data: st.DataObject, reason: int) -> None:
        member, numbers = self.some_here(data)
        for number in numbers:
            entry = member.here.pop(number)
            if reason in k.CREDIT_COMES_BACK and number in member.current:
                member.used[entry[0]] -= 1
        owner = self.one(data).node if reason == k.BACK_MOVED else None
        self.port.sender.on_back(member.node, reason, k.ranges_of(numbers), owner)
        self.look()

    def new_link(self, member: Member, data: st.DataObject) -> None:
        """It tells what it runs and has done; the rest it knows nothing of."""
        numbers = sorted(member.here)
        running = data.draw(st.sets(st.sampled_from(numbers))) if numbers else set()
        others = [number for number in numbers if number not in running]
        done = data.draw(st.sets(st.sampled_from(others))) if others else set()
        since = data.draw(st.integers(0, self.port.next_cast_number(member.node)))
        for number in others:
            entry = member.here.pop(number)
            if number in done:
                self.finished.add(entry[1])
        member.begin()
        self.port.sender.link_opened(member.node)
        self.port.sender.on_held(
            member.node, member.era, since, k.ranges_of(running), k.ranges_of(done)
        )
        self.look()

    def doubt_or_trust(self, node: Node) -> None:
        if node in self.port.doubted:
            self.port.trust(node)
        else:
            self.port.doubt(node)
        self.look()

    def one(self, data: st.DataObject) -> Member:
        return data.draw(st.sampled_from(list(self.members.values())))

    def some_here(self, data: st.DataObject) -> tuple[Member, list[int]]:
        member = data.draw(st.sampled_from([m for m in self.members.values() if m.here]))
        some = data.draw(st.sets(st.sampled_from(sorted(member.here)), min_size=1))
        return member, sorted(some)

    # What is seen of it.

    def look(self) -> None:
        """At the end of the turn: what was sent, and what was said."""
        self.port.run()
        for node, sent in list(self.port.sent.items()):
            member = self.members[node]
            for number, entry in sent:
                assert number not in member.here
                member.here[number] = entry
                member.current.add(number)
                member.used[entry[0]] += 1
            if sent:
                assert node not in self.port.doubted, "a suspect gets nothing new"
            sent.clear()
        for node, kind, *fields in self.port.take_told():
            assert all(field >= 0 for field in fields if type(field) is int)
            if kind == k.RETURN and node in self.members:
                self.note_return(self.members[node], *fields)
        for name, waiter in list(self.waiting.items()):
            if waiter.at is not None:
                del self.waiting[name]
                if waiter.error is None:
                    self.accepted.add(name)

    def note_return(self, member: Member, pool: str, share: int, total: int, wish: int) -> None:
        if share == member.share[pool]:
            assert total >= member.returned[pool]
            member.returned[pool] = total

    @invariant()
    def nobody_has_more_than_its_credit(self) -> None:
        for member in self.members.values():
            for pool in POOLS:
                used = member.used[pool] + member.returned[pool]
                assert used <= member.granted[pool], f"{used} of {member.granted[pool]} in {pool}"

    @invariant()
    def each_is_in_one_place_and_all_are_counted(self) -> None:
        where = Counter(e[1] for member in self.members.values() for e in member.here.values())
        assert all(times == 1 for times in where.values())
        assert not set(where) & self.finished
        assert set(where) <= self.accepted
        left = len(self.accepted) - len(self.finished) - self.port.counts["casts_given_up"]
        assert self.port.sender.unacked == left

    @invariant()
    def those_of_one_key_are_at_one_member(self) -> None:
        for key in ("k", "l"):
            at = [m for m in self.members.values() if any(key in e[4:5] for e in m.here.values())]
            assert len(at) <= 1

    def teardown(self) -> None:
        """When all members work, all of it is handled and nothing is left of it."""
        for node in list(self.port.doubted):
            self.port.trust(node)
        for _ in range(200):
            for member in self.members.values():
                for pool in POOLS:
                    self.grant_to(member, pool, 3)
                numbers = sorted(member.here)
                for number in numbers:
                    self.finished.add(member.here.pop(number)[1])
                self.port.sender.on_done(member.node, k.ranges_of(numbers))
            self.look()
            self.each_is_in_one_place_and_all_are_counted()
            if not self.port.sender.unacked and not self.waiting:
                break
        assert self.port.sender.unacked == 0
        assert not self.waiting
        self.port.run(5.0)
        self.look()
        sender = self.port.sender
        assert len(sender._keys) == len(sender._callers) == sender._callers.bytes == 0
        assert all(w.bytes == 0 and not w.room for w in sender.lines.windows.values())
        assert all(stream.bytes == 0 for stream in sender._streams.values())
        self.port.run(20.0)
        assert self.port.take_told() == [], "and then it is silent"


Sending.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestSending = Sending.TestCase
