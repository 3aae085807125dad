"""A home against a plain model, by random deeds; and what holds when the store is slow, fails, and
loses power."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mesh.stores.memory import MemoryStore
from patterns.errors import MeshError
from patterns.queues.errors import LeaseLost, QueueFull, StoreFailed
from patterns.queues.group import Group
from patterns.queues.jobspec import JobSpec
from patterns.queues.line import Holder
from patterns.queues.outcomes import Outcome
from patterns.queues.ticket import State
from tests.unit.patterns.queues.bench import Bench
from tests.unit.patterns.queues.sqlitebench import MemoryDesk, SqliteDesk

STEPS = 100
LEASE = 3.0
MAX_LENGTH = 12
DEDUP = 5
KEEP = 4


@dataclass
class Job:
    """What the model knows of one."""

    number: int
    id: str | None
    unique: str | None
    expires: float
    keep: int
    places: dict[str, str] = field(default_factory=dict)
    """By group: waits, held, dead."""
    attempts: dict[str, int] = field(default_factory=dict)
    died: float = 0.0
    is_unique: bool = True
    told: dict[str, str] = field(default_factory=dict)
    """By group how it ended first."""

    @property
    def is_live(self) -> bool:
        return any(place != "dead" for place in self.places.values())


class Driver:
    """Does something to a home and to the model, and compares. The clock stands at whole seconds
    when anything is done, and jobs expire between."""

    def __init__(self, seed: int, store: Any, *, has_restarts: bool) -> None:
        self.random = Random(seed)
        self.has_restarts = has_restarts
        self.bench = Bench(
            store, max_length=MAX_LENGTH, dedup=DEDUP, keep_results=KEEP, max_attempts=3
        )
        self.groups = [""]
        self.jobs: dict[int, Job] = {}
        self.ids: dict[str, tuple[int, float | None]] = {}
        """Number, and the time when the window after its end is over; None: it is there."""
        self.kept: dict[tuple[int, str], tuple[bytes | None, float]] = {}
        self.heard: dict[int, list[Outcome]] = {}
        self.holders: dict[str, Holder] = {}
        self.paused: set[str] = set()
        self.next_group = 0

    @property
    def now(self) -> float:
        return self.bench.clock.now()

    def run(self, steps: int) -> None:
        deeds = [
            *[self.put] * 6,
            *[self.take] * 4,
            *[self.finish] * 4,
            self.retry,
            self.bury,
            self.bury,
            self.wait,
            self.wait,
            self.holder_gone,
            self.delete,
            self.kick,
            self.edit,
            self.new_group,
            self.drop_group,
            self.pause,
            self.empty,
            self.purge,
            *([self.restart] if self.has_restarts else []),
        ]
        for _ in range(steps):
            self.random.choice(deeds)()
            self.check()

    def holder(self, group: str) -> Holder:
        return self.holders.setdefault(group, Holder(f"worker of {group}", LEASE))

    def pick_group(self) -> str:
        return self.random.choice(self.groups)

    def numbers(self, group: str, place: str) -> list[int]:
        return sorted(n for n, job in self.jobs.items() if job.places.get(group) == place)

    # The model.

    def live(self, number: int | None) -> Job | None:
        job = None if number is None else self.jobs.get(number)
        return job if job is not None and job.is_live else None

    def same(self, id: str | None, unique: str | None) -> int | None:
        if id in self.ids:
            number, until = self.ids[id]
            job = self.jobs.get(number)
            if until is not None:
                if until > self.now:
                    return number
            elif job is not None and (job.is_live or job.died + DEDUP > self.now):
                return number
        if unique is not None:
            for job in self.jobs.values():
                if job.unique == unique and job.is_unique and job.is_live:
                    return job.number
        return None

    def end(self, job: Job, group: str, kind: str, stay: float | None) -> None:
        """``stay`` is for how long its id does; None: it is dead."""
        if kind == "dead":
            job.places[group] = "dead"
            job.died = self.now
        else:
            del job.places[group]
        job.told.setdefault(group, kind)
        if not job.is_live:
            job.is_unique = False
            if not job.places and job.id is not None:
                if stay:
                    self.ids[job.id] = (job.number, self.now + stay)
                else:
                    del self.ids[job.id]
        if not job.places:
            del self.jobs[job.number]

    def lose(self, job: Job, group: str) -> None:
        if job.attempts[group] >= 3:
            self.end(job, group, "dead", None)
        else:
            job.places[group] = "waits"

    # Deeds.

    def spec(self) -> JobSpec:
        choose = self.random.choice
        return JobSpec(
            b"x",
            priority=choose([1, 2, 3]),
            delay_ms=choose([0, 0, 0, 2_000]),
            ttl_ms=choose([None, None, None, 3_500]),
            id=choose([None, None, "i1", "i2"]),
            unique=choose([None, None, "u1", "u2"]),
            keep_result_ms=choose([None, 0, 8_000]),
        )

    def put(self) -> None:
        specs = [self.spec() for _ in range(self.random.choice([1, 1, 2, 4]))]
        wanted: list[int | None] = []
        new: list[Job] = []
        for spec in specs:
            twin = next((j for j in new if spec.id is not None and j.id == spec.id), None)
            number = None if twin is not None else self.same(spec.id, spec.unique)
            if twin is None and number is None and spec.unique is not None:
                twin = next((j for j in new if j.unique == spec.unique), None)
            if twin is not None:
                wanted.append(-1 - new.index(twin))
            elif number is not None:
                wanted.append(number)
            else:
                wanted.append(None)
                ttl = spec.ttl_ms
                expires = float("inf") if ttl is None else self.now + ttl / 1000
                keep_ms = spec.keep_result_ms
                keep = KEEP if keep_ms is None else keep_ms // 1000
                new.append(Job(0, spec.id, spec.unique, expires, keep))
        length = max(
            sum(1 for job in self.jobs.values() if job.places.get(group) in ("waits", "held"))
            for group in self.groups
        )
        if new and length + len(new) > MAX_LENGTH:
            with pytest.raises(QueueFull):
                self.bench.put(*specs)
            return
        puts = self.bench.put(*specs)
        fresh = iter(new)
        for put, want in zip(puts, wanted, strict=True):
            if want is None:
                job = next(fresh)
                assert put.is_new, put
                assert put.number not in self.jobs
                job.number = put.number
                job.places = dict.fromkeys(self.groups, "waits")
                self.jobs[job.number] = job
                if job.id is not None:
                    old = self.jobs.get(self.ids.get(job.id, (0, None))[0])
                    if old is not None:
                        old.id = None
                    self.ids[job.id] = (job.number, None)
                self.heard[job.number] = self.bench.watch(job.number)
            else:
                number = new[-1 - want].number if want < 0 else want
                assert (put.number, put.is_new) == (number, False), (put, want)

    def take(self) -> None:
        group = self.pick_group()
        taken = self.bench.take(self.holder(group), self.random.choice([1, 2, 5]), group)
        assert group not in self.paused or not taken
        for ticket in taken:
            job = self.jobs[ticket.number]
            assert job.places[group] == "waits"
            job.places[group] = "held"
            job.attempts[group] = job.attempts.get(group, 0) + 1
            assert ticket.attempts == job.attempts[group]

    def held(self) -> tuple[str, int | None]:
        group = self.pick_group()
        numbers = self.numbers(group, "held")
        return group, self.random.choice(numbers) if numbers else None

    def finish(self) -> None:
        group, number = self.held()
        if number is None:
            return
        packed = self.random.choice([None, b"result"])
        results = None if packed is None else {number: packed}
        line = self.bench.home.group(group)
        assert self.bench.home.finish(line, self.holder(group), [number, 9_999], results) == [9_999]
        job = self.jobs[number]
        if job.keep:
            self.kept[number, group] = (packed, self.now + job.keep)
        self.end(job, group, "done", max(DEDUP, job.keep))

    def retry(self) -> None:
        group, number = self.held()
        if number is not None:
            delay_ms = self.random.choice([0, 2_000])
            line = self.bench.home.group(group)
            self.bench.home.retry(line, self.holder(group), number, delay_ms, "no luck")
            self.jobs[number].places[group] = "waits"
            self.pass_time_of(self.jobs[number])

    def bury(self) -> None:
        group, number = self.held()
        if number is not None:
            line = self.bench.home.group(group)
            self.bench.home.bury(line, self.holder(group), number, "hopeless")
            self.end(self.jobs[number], group, "dead", None)

    def wait(self) -> None:
        for _ in range(self.random.choice([1, 2, 4])):
            self.bench.wait(1.0)
            self.pass_time()

    def pass_time(self) -> None:
        """What has ended by itself: leases are seen by the home's own account."""
        for group in self.groups:
            held = self.holder(group).held
            for number in self.numbers(group, "held"):
                if number not in held:
                    self.lose(self.jobs[number], group)
            for number in self.numbers(group, "waits"):
                if self.jobs[number].expires <= self.now:
                    self.end(self.jobs[number], group, "gone", DEDUP)

    def holder_gone(self) -> None:
        group = self.pick_group()
        self.bench.home.group(group).holder_gone(self.holder(group))
        held = [self.jobs[number] for number in self.numbers(group, "held")]
        for job in held:
            self.lose(job, group)
        for job in held:
            self.pass_time_of(job)

    def delete(self) -> None:
        if self.jobs:
            number = self.random.choice(sorted(self.jobs))
            assert self.bench.asked(self.bench.home.people.delete, number)
            job = self.jobs[number]
            for group in list(job.places):
                self.end(job, group, "gone", 0)

    def kick(self) -> None:
        dead = sorted(n for n, job in self.jobs.items() if "dead" in job.places.values())
        if dead:
            number = self.random.choice(dead)
            assert self.bench.asked(self.bench.home.people.kick_one, number)
            job = self.jobs[number]
            for group, place in job.places.items():
                if place == "dead":
                    job.places[group] = "waits"
                    job.attempts[group] = 0
            self.pass_time_of(job)

    def pass_time_of(self, job: Job) -> None:
        """One that waits again after its time goes with the next tick, or when it is its turn."""
        if job.expires <= self.now and "waits" in job.places.values():
            self.wait()

    def edit(self) -> None:
        if self.jobs:
            number = self.random.choice(sorted(self.jobs))
            is_there = any(place != "held" for place in self.jobs[number].places.values())
            assert self.bench.asked(self.bench.home.people.edit, None, number, b"y") is is_there

    def new_group(self) -> None:
        if len(self.groups) == 3:
            return
        name = f"g{self.next_group}"
        self.next_group += 1
        self.bench.home.group(name)
        if self.groups != [""]:
            self.groups.append(name)
            return
        self.groups = [name]
        if "" in self.holders:
            self.holders[name] = self.holders.pop("")
        if "" in self.paused:
            self.paused = {name}
        for job in self.jobs.values():
            for what in (job.places, job.attempts, job.told):
                if "" in what:
                    what[name] = what.pop("")  # type: ignore[attr-defined]

    def drop_group(self) -> None:
        if self.groups == [""] or self.random.random() < 0.5:
            return
        name = self.pick_group()
        jobs = [job for job in self.jobs.values() if name in job.places]
        assert self.bench.asked(self.bench.home.drop_group, name) == len(jobs)
        self.groups.remove(name)
        self.paused.discard(name)
        self.holders.pop(name, None)
        for job in jobs:
            self.end(job, name, "gone", 0)
        if not self.groups:
            self.groups = [""]

    def pause(self) -> None:
        group = self.pick_group()
        if group in self.paused:
            self.bench.home.resume(group)
            self.paused.remove(group)
        else:
            self.bench.home.pause(group)
            self.paused.add(group)

    def empty(self) -> None:
        if self.random.random() < 0.3:
            group = self.pick_group()
            waiting = self.numbers(group, "waits")
            assert self.bench.asked(self.bench.home.people.empty, group) == len(waiting)
            for number in waiting:
                self.end(self.jobs[number], group, "gone", 0)

    def purge(self) -> None:
        if self.random.random() < 0.5:
            group = self.pick_group()
            dead = self.numbers(group, "dead")
            assert self.bench.asked(self.bench.home.people.purge, group) == len(dead)
            for number in dead:
                self.end(self.jobs[number], group, "gone", 0)

    def restart(self) -> None:
        self.check()
        self.bench.restart()
        self.holders.clear()
        for job in self.jobs.values():
            for group, place in job.places.items():
                if place == "held":
                    job.places[group] = "waits"
        self.heard.clear()
        self.bench.wait(1.0)
        self.pass_time()

    # Laws.

    def check(self) -> None:
        bench = self.bench
        bench.pump()
        assert sorted(bench.home.lines) == sorted(self.groups)
        for group in self.groups:
            counts = tuple(len(self.numbers(group, p)) for p in ("waits", "held", "dead"))
            assert bench.counts(group) == counts
            assert bench.home.group(group).is_paused is (group in self.paused)
        for number, heard in self.heard.items():
            kinds = {o.group: o.kind for o in heard}
            assert len(kinds) == len(heard), "each group's end once"
            job = self.jobs.get(number)
            if job is not None:
                assert sorted(kinds.values()) == sorted(job.told.values())
        names = set(bench.home.names.coming)
        assert not names, "nothing is being put"
        for id in ("i1", "i2"):
            number, until = self.ids.get(id, (None, None))
            if until is not None and until <= self.now:
                number = None
            assert bench.asked(bench.home.number_of, id) == number
        self.check_outcomes()

    def check_outcomes(self) -> None:
        number = self.random.randint(1, max(1, self.bench.store.last_number))
        job = self.jobs.get(number)
        statuses = self.bench.asked(self.bench.home.status, number)
        places = {} if job is None else job.places
        found = {s.group: s.state for s in statuses if s.outcome is None}
        assert {g: state is State.DEAD for g, state in found.items()} == {
            g: place == "dead" for g, place in places.items()
        }
        kept = {s.group: s.outcome.packed for s in statuses if s.outcome is not None}
        wanted = {
            group: packed
            for (n, group), (packed, until) in self.kept.items()
            if n == number and until > self.now and group not in places
        }
        # The unnamed group's outcomes keep its name.
        assert sorted(kept.items()) == sorted(wanted.items())


@pytest.mark.parametrize("seed", range(14))
def test_a_home_does_what_a_plain_model_does(seed: int) -> None:
    Driver(seed, None, has_restarts=True).run(STEPS)


@pytest.mark.parametrize("seed", range(4))
def test_a_home_in_memory_does_what_a_plain_model_does(seed: int) -> None:
    Driver(seed, MemoryDesk(MemoryStore()), has_restarts=False).run(STEPS)


@pytest.mark.parametrize("seed", range(3))
def test_a_home_in_a_file_does_what_a_plain_model_does(seed: int, tmp_path: Path) -> None:
    desk = SqliteDesk(tmp_path / "jobs.db")
    driver = Driver(seed, desk, has_restarts=True)
    try:
        driver.run(STEPS)
    finally:
        driver.bench.store.close()


class Chaos:
    """Deeds at a home whose store works when it likes, fails, and loses power, with no model: what
    is left in the end must be in order."""

    def __init__(self, seed: int, *, loses_power: bool) -> None:
        self.random = Random(seed)
        self.loses_power = loses_power
        self.bench = Bench(max_length=200, dedup=0.0, max_attempts=5)
        for name in self.random.sample(["", "a", "b"], 2):
            if name:
                self.bench.home.group(name)
        self.bench.pump()
        self.holders: dict[tuple[str, str], Holder] = {}
        self.put_ends: list[Any] = []
        self.safe: set[int] = set()
        self.done: dict[str, list[int]] = {}
        self.ended: dict[str, set[int]] = {}
        """By group what was done, or went otherwise."""

    def run(self, steps: int) -> None:
        deeds = [
            *[self.put] * 6,
            *[self.commit] * 6,
            *[self.take] * 4,
            *[self.finish] * 4,
            self.transact,
            self.retry_or_bury,
            self.delete_or_kick,
            self.wait,
            self.fail,
            *([self.lose_power] if self.loses_power else []),
        ]
        self.listen()
        for _ in range(steps):
            self.random.choice(deeds)()

    def listen(self) -> None:
        def told(event: str, group: str, number: int, detail: str) -> None:
            if event == "put":
                self.safe.add(number)
            elif event in ("done", "dropped", "expired"):
                self.ended.setdefault(group, set()).add(number)
                if event == "done":
                    self.done.setdefault(group, []).append(number)

        self.bench.home.on_event = told

    def spec(self) -> JobSpec:
        choose = self.random.choice
        return JobSpec(
            b"x",
            delay_ms=choose([0, 0, 0, 1_500]),
            key=choose([None, None, b"k"]),
            id=choose([None, None, None, "i1", "i2"]),
            unique=choose([None, None, None, "u1", "u2"]),
        )

    def put(self) -> None:
        self.put_ends.append([])
        specs = [self.spec() for _ in range(self.random.choice([1, 2, 5]))]
        try:
            self.bench.home.put(specs, self.put_ends[-1].append)
        except QueueFull:
            self.put_ends.pop()

    def commit(self) -> None:
        self.bench.store.commit()

    def fail(self) -> None:
        self.bench.store.commit(fails=True)

    def wait(self) -> None:
        end = self.bench.clock.now() + self.random.choice([0.5, 1.0])
        while self.bench.clock.step(end):
            if self.random.random() < 0.5:
                self.commit()

    def holder(self) -> tuple[Group, Holder]:
        """A holder is of one line."""
        group = self.random.choice(sorted(self.bench.home.lines))
        name = self.random.choice("xyz")
        lease = self.random.choice([1.0, 2.0])
        holder = self.holders.setdefault((group, name), Holder(name, lease))
        return self.bench.home.group(group), holder

    def take(self) -> None:
        group, holder = self.holder()
        for ticket in group.take(holder, self.random.choice([1, 3])):
            assert self.loses_power or ticket.number not in self.ended.get(group.name, ())

    def held(self) -> tuple[Group, Holder, list[int]]:
        group, holder = self.holder()
        return group, holder, list(holder.held)

    def finish(self) -> None:
        group, holder, numbers = self.held()
        assert self.bench.home.finish(group, holder, numbers[:2]) == []

    def transact(self) -> None:
        group, holder, numbers = self.held()
        if numbers:
            self.put_ends.append([])
            puts = [(self.bench.home, [self.spec()])]
            end = self.put_ends[-1].append
            self.bench.home.commit(group, holder, numbers[0], None, puts, end)

    def retry_or_bury(self) -> None:
        group, holder, numbers = self.held()
        if numbers and self.random.random() < 0.7:
            self.bench.home.retry(group, holder, numbers[0], 500, "no luck")
        elif numbers:
            self.bench.home.bury(group, holder, numbers[0], "hopeless")

    def delete_or_kick(self) -> None:
        people = self.bench.home.people
        number = self.random.randint(1, max(1, self.bench.store.last_number))
        self.random.choice([people.delete, people.kick_one])(number, lambda _: None)

    def lose_power(self) -> None:
        """What was being put, and was not answered, may be gone."""
        self.put_ends.clear()
        self.bench.lose_power()
        self.listen()
        self.holders.clear()

    def settle(self) -> None:
        self.bench.pump()
        for ends in self.put_ends:
            assert len(ends) == 1, "every put and every commit is answered, once"
            (end,) = ends
            if isinstance(end, MeshError):
                assert isinstance(end, StoreFailed | QueueFull | LeaseLost)
            elif end is not None:
                assert {put.number for put in end} <= self.safe
        self.put_ends.clear()
        assert not self.bench.home.names.coming
        assert not self.bench.home.putting.batches
        assert self.bench.home.under_way == 0
        for group in self.bench.home.lines.values():
            rows = self.bench.store.lines["emails", group.name].rows
            assert len(group) == len(rows), "what is counted is there"

    def end(self) -> None:
        """All that is left can be done, each job once in each group."""
        self.settle()
        bench = self.bench
        for (name, _), holder in self.holders.items():
            bench.home.group(name).holder_gone(holder)
        bench.asked(bench.home.people.kick, None, 10_000)
        bench.wait(10.0)
        worker = Holder("last", 60.0)
        for name, group in bench.home.lines.items():
            for _ in range(2_000):
                if not group.length:
                    break
                numbers = [ticket.number for ticket in bench.take(worker, 10, name)]
                assert bench.home.finish(group, worker, numbers) == []
                bench.pump()
            assert (len(group), group._busy, group._parked) == (0, {}, {})
            assert self.ended.get(name, set()) == self.safe, "what was safe has ended"
            if not self.loses_power:
                assert len(set(self.done[name])) == len(self.done[name]), "and was done once"
        bench.pump()
        if not self.loses_power:
            assert bench.notes() == set(), "and has left no name behind"
        assert bench.home.outcomes.watched == {}


@pytest.mark.parametrize("seed", range(10))
def test_what_was_safe_is_done_whenever_the_power_goes(seed: int) -> None:
    chaos = Chaos(seed, loses_power=True)
    chaos.run(200)
    chaos.end()


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_lost_or_doubled_over_a_store_that_is_slow_and_fails(seed: int) -> None:
    chaos = Chaos(seed, loses_power=False)
    chaos.run(200)
    chaos.end()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 1_100))
def test_nothing_is_lost_or_doubled_over_a_store_that_is_slow_and_fails_for_long(
    seed: int,
) -> None:
    for loses_power in (False, True):
        chaos = Chaos(seed, loses_power=loses_power)
        chaos.run(300)
        chaos.end()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 1_100))
def test_a_home_does_what_a_plain_model_does_for_long(seed: int) -> None:
    Driver(seed, None, has_restarts=True).run(250)
