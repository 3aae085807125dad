"""Whatever befalls a member and its honest senders: each cast begins at most once and ends as one
thing, nothing that was revoked begins, and no credit gets lost."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from patterns.errors import Refuse
from patterns.groupcast import casts as k
from patterns.subscription import Subscription
from tests.unit.patterns.groupcast.port import CREW, Node, Port
from tests.unit.patterns.groupcast.test_desk import Job, Runner


class Sender:
    """One that does as it should."""

    def __init__(self, name: str) -> None:
        self.node = Node(name)
        self.epoch = 0
        self.is_linked = False
        self.era = 0
        self.share: int | None = None
        self.granted = 0
        self.returned = 0
        self.used = 0
        self.next_number = 0
        self.outstanding: set[int] = set()
        self.begun: dict[int, str | None] = {}
        """Numbers that were begun, with their keys, in that order."""
        self.refused: set[int] = set()
        self.revoked: set[int] = set()
        self.question: int | None = None

    @property
    def available(self) -> int:
        return self.granted - self.returned - self.used if self.is_linked else 0

    def forget_credit(self) -> None:
        self.share = None
        self.granted = self.returned = self.used = 0


class Receiving(RuleBasedStateMachine):
    """A member with handlers that end when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.port = Port()
        self.runner = Runner()
        self.senders: list[Sender] = []
        self.gone: list[Sender] = []
        self.names = 0
        self.handlers: list[Subscription] = []
        for _ in range(2):
            self.come()
        self.subscribe(1, False)
        self.learn(0.004)

    @rule(
        data=st.data(),
        what=st.sampled_from(["link", "lose", "leave", "come", "add", "remove", "learn", "stop"]),
    )
    def disturb(self, data: st.DataObject, what: str) -> None:
        """What happens now and then: one rule, so that there is work in between."""
        if what == "link":
            self.link(self.one(data))
        elif what == "lose":
            self.lose_link(self.one(data))
        elif what == "leave" and len(self.senders) > 1:
            self.leave(self.one(data))
        elif what == "come" and len(self.senders) < 3:
            self.come()
        elif what == "add" and len(self.handlers) < 2:
            self.subscribe(data.draw(st.integers(1, 3)), data.draw(st.booleans()))
        elif what == "remove" and self.handlers:
            self.unsubscribe(data.draw(st.sampled_from(self.handlers)))
        elif what == "learn":
            self.learn(data.draw(st.sampled_from([0.0, 0.004, 1.0])))
        elif what == "stop":
            self.port.paused = True

    # Handlers.

    def subscribe(self, concurrency: int, is_inline: bool) -> None:
        made = Subscription(
            CREW, self.runner, handler=self.handle, concurrency=concurrency, inline=is_inline
        )
        self.handlers.append(made)
        self.port.receiver.add(made)
        self.look()

    def unsubscribe(self, made: Subscription) -> None:
        self.handlers.remove(made)
        self.port.receiver.remove(made)
        made.close()
        self.look()

    def learn(self, seconds: float) -> None:
        """A handler is known to be so fast from now on."""
        for desk in self.port.receiver._desks.values():
            desk.worklist.seconds = seconds

    def handle(self, message: Any) -> None:
        name, number, refuses = message.data
        sender = next(s for s in (*self.senders, *self.gone) if s.node.name == name)
        assert not self.port.paused, "nothing begins in a pause"
        assert sender.question is None, "nor before its sender has answered"
        assert number not in sender.begun, "nothing begins twice"
        assert number not in sender.revoked, "nor what was revoked"
        for earlier, key in sender.begun.items():
            assert message.key is None or key != message.key or earlier < number
        sender.begun[number] = message.key
        if refuses:
            sender.refused.add(number)
            raise Refuse

    @precondition(lambda self: self.runner.jobs)
    @rule(data=st.data(), steps=st.integers(0, 3), ends=st.booleans())
    def work(self, data: st.DataObject, steps: int, ends: bool) -> None:
        """A handler goes on for some messages; at its last one it ends."""
        job = data.draw(st.sampled_from(self.runner.jobs))
        self.step(job, steps, ends)
        self.look()

    @precondition(lambda self: self.runner.jobs)
    @rule(data=st.data())
    def work_to_the_end(self, data: st.DataObject) -> None:
        self.work(data, 100, True)

    def step(self, job: Job, steps: int, ends: bool) -> None:
        for _ in range(steps):
            if job.messages:
                job.step()
        if not job.messages and ends:
            self.runner.jobs.remove(job)
            job.done()

    # Senders.

    def come(self) -> None:
        self.names += 1
        self.senders.append(Sender(f"s{self.names}"))
        self.link(self.senders[-1])

    def link(self, sender: Sender) -> None:
        sender.epoch += 1
        sender.is_linked = True
        sender.question = None
        sender.forget_credit()
        self.port.receiver.link_opened(sender.node, sender.epoch)
        self.look()

    def lose_link(self, sender: Sender) -> None:
        sender.is_linked = False
        sender.question = None
        sender.revoked |= sender.outstanding - set(sender.begun)
        sender.forget_credit()
        self.port.receiver.link_lost(sender.node)
        self.look()

    def leave(self, sender: Sender) -> None:
        """What is here of it is still done."""
        self.senders.remove(sender)
        self.gone.append(sender)
        sender.question = None
        self.port.receiver.sender_left(sender.node)
        self.look()

    @rule(data=st.data(), wish=st.integers(1, 12))
    def want(self, data: st.DataObject, wish: int) -> None:
        self.want_for(self.one(data), wish)

    def want_for(self, sender: Sender, wish: int) -> None:
        self.port.receiver.on_want(sender.node, CREW, wish, sender.next_number, sender.era)
        self.look()

    @rule(data=st.data(), is_lost=st.sampled_from([False, False, False, True]))
    def send(self, data: st.DataObject, is_lost: bool) -> None:
        """A frame of some of what it may send; some get lost on the way."""
        sender = self.one(data)
        if sender.is_linked and not sender.available:
            self.want_for(sender, data.draw(st.integers(1, 12)))
        if not sender.available:
            return
        count = data.draw(st.integers(1, sender.available))
        first = sender.next_number
        sender.next_number += count
        sender.used += count
        sender.outstanding |= set(range(first, first + count))
        kinds = st.sampled_from(["plain", "plain", "a", "b", "refuses", "unreadable"])
        entries = [self.entry(sender, first + i, data.draw(kinds)) for i in range(count)]
        if not is_lost:
            self.port.receiver.on_casts(sender.node, sender.epoch, first, entries)
        self.look()

    @rule(data=st.data())
    def send_more(self, data: st.DataObject) -> None:
        self.send(data, False)

    def entry(self, sender: Sender, number: int, kind: str) -> Any:
        said = [sender.node.name, number, kind == "refuses"]
        if kind == "unreadable":
            return None
        return [CREW, said] if kind in ("plain", "refuses") else [CREW, said, {}, 0, kind]

    @precondition(lambda self: any(s.available for s in self.senders))
    @rule(data=st.data(), wish=st.integers(0, 5))
    def give_back(self, data: st.DataObject, wish: int) -> None:
        sender = data.draw(st.sampled_from([s for s in self.senders if s.available]))
        self.return_some(sender, data.draw(st.integers(1, sender.available)), wish)
        self.look()

    def return_some(self, sender: Sender, count: int, wish: int) -> None:
        sender.returned += count
        self.port.receiver.on_return(sender.node, CREW, sender.share or 0, sender.returned, wish)

    @rule(data=st.data(), seconds=st.sampled_from([0.0, 0.5, 1.5]))
    def check_arrival(self, data: st.DataObject, seconds: float) -> None:
        sender = self.one(data)
        self.port.run(seconds)
        self.port.receiver.on_check(sender.node, sender.next_number, 0)
        self.look()

    def one(self, data: st.DataObject) -> Sender:
        return data.draw(st.sampled_from(self.senders))

    # Pauses.

    @precondition(lambda self: self.port.paused)
    @rule()
    def go_on(self) -> None:
        """The loop ticks again, and says so."""
        self.port.paused = False
        self.port.receiver.on_pause()
        self.look()

    @precondition(lambda self: any(s.question is not None for s in self.senders))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        sender = data.draw(st.sampled_from([s for s in self.senders if s.question is not None]))
        self.give_answer(sender)
        self.look()

    def give_answer(self, sender: Sender) -> None:
        number, sender.question = sender.question, None
        self.port.receiver.on_answer(sender.node, number or 0)

    # What is said.

    def look(self) -> None:
        """At the end of the turn: read what each sender was told."""
        self.port.run()
        by_node = {sender.node: sender for sender in self.senders}
        for node, kind, *fields in self.port.take_told():
            sender = by_node.get(node)
            if sender is not None and (sender.is_linked or kind == "ask"):
                self.hear(sender, kind, fields)

    def hear(self, sender: Sender, kind: int | str, fields: list[Any]) -> None:
        if kind == "ask":
            sender.question = fields[0]
        elif kind == k.HELD:
            self.hear_held(sender, *fields)
        elif kind == k.GRANT:
            _, share, total = fields
            if share != sender.share:
                assert sender.available == 0, "a share is closed when nothing of it is left"
                sender.share, sender.granted, sender.returned, sender.used = share, 0, 0, 0
            assert total > sender.granted
            sender.granted = total
        elif kind == k.DONE:
            for number in k.numbers_of(fields[0], 10**6):
                assert number in sender.begun
                sender.outstanding.remove(number)
        elif kind == k.BACK:
            reason, ranges, _ = fields
            for number in k.numbers_of(ranges, 10**6):
                self.hear_back(sender, reason, number)

    def hear_held(self, sender: Sender, era: int, since: int, running: Any, done: Any) -> None:
        sender.era = era
        known_done = set(k.numbers_of(done, 10**6))
        known_running = set(k.numbers_of(running, 10**6))
        assert known_running <= set(sender.begun), "what was not begun is not held"
        for number in sender.outstanding & set(sender.begun):
            # A refusal that was lost with the link is sent again as if it were new.
            is_known = number in known_done or number in known_running or number < since
            assert is_known or number in sender.refused, "it would be sent again unmarked"
        sender.revoked |= sender.outstanding - known_done - known_running
        sender.outstanding &= known_running

    def hear_back(self, sender: Sender, reason: int, number: int) -> None:
        assert number in sender.outstanding
        sender.outstanding.remove(number)
        if reason == k.BACK_UNSTARTED:
            assert number not in sender.begun
        if reason == k.BACK_REFUSED:
            assert number in sender.begun
        if reason in k.CREDIT_COMES_BACK:
            sender.used -= 1
        sender.revoked.add(number)

    # Laws.

    @invariant()
    def the_honest_are_not_taken_for_liars(self) -> None:
        for count in ("casts_beyond_credit", "bad_returns", "stale_casts"):
            assert not self.port.counts[count], count

    def teardown(self) -> None:
        """When all is said and done, nobody owes anybody anything."""
        if self.port.paused:
            self.go_on()
        for _ in range(300):
            for sender in self.senders:
                if sender.question is not None:
                    self.give_answer(sender)
                self.port.receiver.on_check(sender.node, sender.next_number, 0)
                if sender.available:
                    self.return_some(sender, sender.available, 0)
            self.port.run(1.2)
            for job in list(self.runner.jobs):
                self.step(job, 10, True)
            self.look()
            if not self.runner.jobs and not self.owed():
                break
        receiver = self.port.receiver
        assert not self.owed()
        for source in receiver._sources.values():
            assert not source.open
            assert not source.parked
            assert not source.back
        for pool in receiver._pools.values():
            assert all(share.held == 0 for share in pool.book.shares.values())

    def owed(self) -> bool:
        return any(s.available or (s.outstanding and s.is_linked) for s in self.senders)


Receiving.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestReceiving = Receiving.TestCase
