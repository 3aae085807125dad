"""The life cycle against a plain model: a list of jobs, looked through from the front each time."""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from patterns.queues.errors import JobGone, LeaseLost
from patterns.queues.line import Holder, Line
from patterns.queues.ticket import NEVER, State, Ticket
from tests.unit.patterns.queues.shelf import Shelf

LEASE = 10.0
LEASE_MS = 10_000
WINDOW = 4
HOLDERS = 3
MAX_ATTEMPTS = 3


@dataclass
class Job:
    """What the model knows of one."""

    number: int
    priority: int
    key: bytes | None
    due: int
    expires_at: int
    state: State = State.READY
    holder: int | None = None
    lease_until: int = 0
    taken_at: int = 0
    attempts: int = 0
    is_retry: bool = False
    body: bytes = b"x"

    @property
    def place(self) -> tuple[int, int]:
        return self.priority, self.number


class LineMachine(RuleBasedStateMachine):
    window: int | None = WINDOW

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.jobs: dict[int, Job] = {}
        self.shelf = Shelf()
        self.numbers = 0
        self.ended: list[tuple[int, str]] = []
        self.lost: list[tuple[str, int]] = []
        self.line = self.new_line()
        self.holders = [Holder(f"worker{n}", LEASE) for n in range(HOLDERS)]

    def new_line(self) -> Line:
        line = Line(
            self.shelf,
            lambda: self.now,
            is_ready=lambda: None,
            window=self.window,
            max_attempts=MAX_ATTEMPTS,
        )
        line.ended = lambda ticket, ending: self.ended.append((ticket.number, ending))
        line.lost = lambda holder, numbers, reason: self.lost.extend(
            (holder.name, number) for number in numbers
        )
        return line

    def told(self, ended: list[tuple[int, str]], lost: list[tuple[str, int]]) -> None:
        """Just that was said, in whatever order."""
        assert sorted(self.ended) == sorted(ended)
        assert sorted(self.lost) == sorted(lost)
        self.ended.clear()
        self.lost.clear()

    # The model.

    def pick(self) -> list[Job]:
        """What would be handed out next, in order, were there no end to it."""
        busy = {j.key for j in self.jobs.values() if j.state is State.RESERVED}
        retried = {
            j.key: j.number
            for j in self.jobs.values()
            if j.is_retry and j.state in (State.READY, State.DELAYED)
        }
        picked: list[Job] = []
        waiting = [job for job in self.jobs.values() if job.state is State.READY]
        waiting.sort(key=lambda j: j.place)
        at = 0
        while at < len(waiting):
            job = waiting[at]
            at += 1
            if job.expires_at <= self.now:
                if retried.get(job.key) == job.number:
                    # It is met, and gone: what it held up is the first now.
                    del retried[job.key]
                    at = 0
            elif job.key is None or (
                job.key not in busy and retried.get(job.key, job.number) == job.number
            ):
                busy.add(job.key)
                picked.append(job)
                waiting.remove(job)
                at -= 1
        return picked

    def held(self, holder: int) -> list[Job]:
        found = [j for j in self.jobs.values() if j.holder == holder]
        return sorted(found, key=lambda j: j.number)

    def release(self, job: Job, delay: float) -> None:
        job.holder = None
        job.is_retry = job.key is not None
        job.due = self.now + round(delay * 1000) if delay else 0
        job.state = State.DELAYED if delay else State.READY

    def lose(self, job: Job) -> str:
        """Its holder has not said how it went."""
        if job.attempts < MAX_ATTEMPTS:
            self.release(job, 0.0)
            return "lease"
        job.state, job.holder, job.is_retry = State.DEAD, None, False
        return "dead"

    # Rules.

    @rule(
        priority=st.integers(0, 3),
        delay=st.sampled_from([0.0, 0.0, 0.0, 5.0, 20.0]),
        ttl=st.sampled_from([NEVER, NEVER, NEVER, 15_000]),
        key=st.sampled_from([None, None, b"a", b"b"]),
        count=st.integers(1, 6),
        is_batch=st.booleans(),
    )
    def put(
        self, priority: int, delay: float, ttl: int, key: bytes | None, count: int, is_batch: bool
    ) -> None:
        tickets: list[Ticket] = []
        for _ in range(count):
            self.numbers += 1
            due = self.now + round(delay * 1000) if delay else 0
            job = Job(self.numbers, priority, key, due, self.now + ttl)
            job.state = State.DELAYED if delay else State.READY
            self.jobs[job.number] = job
            ticket = Ticket(
                job.number,
                b"x",
                self.now,
                priority=priority,
                due_ms=due,
                expires_ms=job.expires_at,
                key=key,
            )
            self.shelf.mark(ticket)
            tickets.append(ticket)
        self.shelf.write()
        if is_batch:
            self.line.put_many(tickets)
        else:
            for ticket in tickets:
                self.line.put(ticket)

    @rule()
    def store_works(self) -> None:
        self.shelf.pump()

    @rule()
    def store_works_a_little(self) -> None:
        self.shelf.pump(1)

    @rule(holder=st.integers(0, HOLDERS - 1), most=st.integers(1, 6), is_patient=st.booleans())
    def take(self, holder: int, most: int, is_patient: bool) -> None:
        wanted = self.pick()[:most]
        taken = self.line.take(self.holders[holder], most)
        # A page may hold nothing but jobs whose key is in use: then the next one is read.
        for _ in range(len(self.jobs) if is_patient else 0):
            self.shelf.pump()
            taken += self.line.take(self.holders[holder], most - len(taken))
        if is_patient:
            assert len(taken) == len(wanted), "what is ready and in the store is handed out"
        self.took(holder, taken, wanted)

    def took(self, holder: int, taken: list[Ticket], wanted: list[Job]) -> None:
        assert [t.number for t in taken] == [j.number for j in wanted[: len(taken)]]
        for ticket in taken:
            job = self.jobs[ticket.number]
            job.state, job.holder, job.lease_until = State.RESERVED, holder, self.now + LEASE_MS
            job.attempts += 1
            job.is_retry = False
            assert ticket.attempts == job.attempts
            assert ticket.body == job.body
        # What had expired, and was met on the way, is gone in both.
        for job in [j for j in self.jobs.values() if j.expires_at <= self.now]:
            if job.state is State.READY and job.number not in self.line._here:
                self.drop_if_gone(job)

    @rule(holder=st.integers(0, HOLDERS - 1), most_bytes=st.integers(1, 20))
    def take_of_bytes(self, holder: int, most_bytes: int) -> None:
        taken = self.line.take(self.holders[holder], 6, most_bytes)
        assert sum(len(ticket.body) for ticket in taken[:-1]) < most_bytes, "the last may pass it"
        self.took(holder, taken, self.pick())

    def drop_if_gone(self, job: Job) -> None:
        self.shelf.write()
        if job.number not in self.shelf.rows:
            self.ended.remove((job.number, "expired"))
            del self.jobs[job.number]

    @rule(holder=st.integers(0, HOLDERS - 1), data=st.data())
    def finish(self, holder: int, data: st.DataObject) -> None:
        number = self.any_number(holder, data)
        if self.jobs.get(number) in self.held(holder):
            assert self.line.finish(self.holders[holder], number).number == number
            del self.jobs[number]
        else:
            with pytest.raises(LeaseLost):
                self.line.finish(self.holders[holder], number)

    @rule(holder=st.integers(0, HOLDERS - 1), most=st.integers(1, 6), others=st.integers(0, 2))
    def finish_many(self, holder: int, most: int, others: int) -> None:
        own = [job.number for job in self.held(holder)][:most]
        not_own = [n for n in range(1, self.numbers + 2) if n not in own]
        not_own = [n for n in not_own if self.jobs.get(n) not in self.held(holder)][:others]
        assert self.line.finish_many(self.holders[holder], not_own + own) == not_own
        assert self.line.finish_many(self.holders[holder], own) == own, "no job ends twice"
        for number in own:
            del self.jobs[number]

    @rule(
        holder=st.integers(0, HOLDERS - 1), delay=st.sampled_from([0.0, 3.0, 30.0]), data=st.data()
    )
    def give_back(self, holder: int, delay: float, data: st.DataObject) -> None:
        number = self.any_number(holder, data)
        if self.jobs.get(number) in self.held(holder):
            self.line.give_back(self.holders[holder], number, delay, "no luck")
            self.release(self.jobs[number], delay)
        else:
            with pytest.raises(LeaseLost):
                self.line.give_back(self.holders[holder], number, delay)

    @rule(holder=st.integers(0, HOLDERS - 1), data=st.data())
    def bury(self, holder: int, data: st.DataObject) -> None:
        number = self.any_number(holder, data)
        if self.jobs.get(number) in self.held(holder):
            self.line.bury(self.holders[holder], number, "hopeless")
            job = self.jobs[number]
            job.state, job.holder, job.is_retry = State.DEAD, None, False
        else:
            with pytest.raises(LeaseLost):
                self.line.bury(self.holders[holder], number, "hopeless")

    @rule(holder=st.integers(0, HOLDERS - 1), data=st.data())
    def touch(self, holder: int, data: st.DataObject) -> None:
        number = self.any_number(holder, data)
        if self.jobs.get(number) in self.held(holder):
            assert self.line.touch(self.holders[holder], number) == self.now + LEASE_MS
            self.jobs[number].lease_until = self.now + LEASE_MS
        else:
            with pytest.raises(LeaseLost):
                self.line.touch(self.holders[holder], number)

    def any_number(self, holder: int, data: st.DataObject) -> int:
        """One of the holder's, mostly; else any."""
        own = [job.number for job in self.held(holder)]
        choices = own * 3 + [max(1, self.numbers)]
        return data.draw(st.sampled_from(choices))

    @rule(holder=st.integers(0, HOLDERS - 1))
    def die(self, holder: int) -> None:
        back = self.line.holder_gone(self.holders[holder])
        assert sorted(t.number for t in back) == [j.number for j in self.held(holder)]
        ended = [(job.number, self.lose(job)) for job in self.held(holder)]
        # That they are ready again is what it returned.
        self.told([what for what in ended if what[1] == "dead"], [])

    @rule(seconds=st.sampled_from([1.0, 4.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.now += round(seconds * 1000)
        for _ in range(50 + 5 * len(self.jobs)):
            self.shelf.pump()
            next_at = self.line.advance()
            if next_at > self.now and not self.shelf._pages:
                break
        else:
            pytest.fail("it wants to come again at once, for ever")
        ended, lost = [], []
        for job in self.jobs.values():
            if job.state is State.DELAYED and job.due <= self.now:
                job.state = State.READY
            if job.state is State.RESERVED and job.lease_until <= self.now:
                assert job.holder is not None
                lost.append((self.holders[job.holder].name, job.number))
                ended.append((job.number, self.lose(job)))
        self.told(ended, lost)
        pending = [j.due for j in self.jobs.values() if j.state is State.DELAYED]
        pending += [j.lease_until for j in self.jobs.values() if j.state is State.RESERVED]
        assert next_at == min(pending, default=NEVER)

    @rule(data=st.data())
    @precondition(lambda self: self.jobs)
    def delete(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.jobs)))
        self.shelf.write()
        self.line.delete(self.shelf.rows[number])
        holder = self.jobs.pop(number).holder
        self.told([], [] if holder is None else [(self.holders[holder].name, number)])

    @rule(data=st.data())
    @precondition(lambda self: self.jobs)
    def edit(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.jobs)))
        job = self.jobs[number]
        self.shelf.write()
        is_held = job.state is State.RESERVED
        assert self.line.edit(self.shelf.rows[number], b"edited") is not is_held
        job.body = job.body if is_held else b"edited"

    @rule(data=st.data())
    @precondition(
        lambda self: any(j.state in (State.DEAD, State.DELAYED) for j in self.jobs.values())
    )
    def kick(self, data: st.DataObject) -> None:
        states = State.DEAD, State.DELAYED
        numbers = sorted(n for n, j in self.jobs.items() if j.state in states)
        number = data.draw(st.sampled_from(numbers))
        self.shelf.write()
        assert self.line.kick([self.shelf.rows[number]]) == 1
        job = self.jobs[number]
        job.attempts = 0 if job.state is State.DEAD else job.attempts
        job.state, job.due = State.READY, 0

    @rule()
    def restart(self) -> None:
        """The home ends with everything written, and is there again."""
        self.shelf.write()
        self.shelf._pages.clear()
        rows = list(self.shelf.rows.values())
        counts = [
            sum(row.state is state for row in rows)
            for state in (State.READY, State.DELAYED, State.DEAD)
        ]
        self.line = self.new_line()
        self.line.restore(*counts)
        self.holders = [Holder(f"worker{n}", LEASE) for n in range(HOLDERS)]
        for job in self.jobs.values():
            if job.state is State.RESERVED:
                self.release(job, 0.0)
            job.is_retry = False

    @rule()
    def look_for_what_is_gone(self) -> None:
        gone = Ticket(0, b"", 0)
        gone.state = State.GONE
        with pytest.raises(JobGone):
            self.line.delete(gone)

    # Laws.

    @invariant()
    def all_are_counted(self) -> None:
        states = [job.state for job in self.jobs.values()]
        assert self.line.ready.count == states.count(State.READY)
        assert self.line.delayed.count == states.count(State.DELAYED)
        assert self.line.reserved == states.count(State.RESERVED)
        assert self.line.dead == states.count(State.DEAD)
        assert len(self.line) == len(states)

    @invariant()
    def memory_is_bounded(self) -> None:
        for window in (self.line.ready, self.line.delayed):
            assert self.window is None or len(window) <= 2 * self.window

    def teardown(self) -> None:
        """In the end all can be done, each once."""
        self.now += 1_000_000
        for job in self.jobs.values():
            if job.state is State.RESERVED:
                self.lose(job)
        done = set()
        for _ in range(5 * len(self.jobs) + 10):
            self.shelf.pump()
            self.line.advance()
            for ticket in self.line.take(self.holders[0], 3):
                done.add(self.line.finish(self.holders[0], ticket.number).number)
        wanted = {
            n for n, j in self.jobs.items() if j.state is not State.DEAD and j.expires_at > self.now
        }
        assert done == wanted
        assert self.line.waiting == self.line.reserved == 0
        assert not self.line._busy
        assert not self.line._parked
        assert not self.line._here
        for window in (self.line.ready, self.line.delayed):
            assert len(window) == window.aside == window._runs.bytes == 0
        self.shelf.write()
        assert {n for n, r in self.shelf.rows.items()} == {
            n for n, j in self.jobs.items() if j.state is State.DEAD
        }


class AllInMemory(LineMachine):
    """The store keeps all in memory, and the line does too."""

    window = None


TestLine = LineMachine.TestCase
TestLine.settings = settings(
    max_examples=30, stateful_step_count=40, deadline=None, report_multiple_bugs=False
)
TestAllInMemory = AllInMemory.TestCase
TestAllInMemory.settings = settings(
    max_examples=15, stateful_step_count=40, deadline=None, report_multiple_bugs=False
)
