"""One law of a queue at its home each."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.stores.memory import MemoryStore
from patterns.errors import BadName, BadRequest, ConfigError, MeshError
from patterns.queues.checks import MAX_NUMBER
from patterns.queues.errors import LeaseLost, QueueClosed, QueueFull, StoreFailed
from patterns.queues.handles import Follower
from patterns.queues.home import Home
from patterns.queues.jobspec import HomeOptions, JobSpec, Put
from patterns.queues.line import Holder
from patterns.queues.outcomes import Outcome
from patterns.queues.ticket import State
from patterns.queues.window import SPARE
from tests.unit.patterns.queues.bench import Bench
from tests.unit.patterns.queues.sqlitebench import MemoryDesk


def job(**options: object) -> JobSpec:
    return JobSpec(b"x", **options)  # type: ignore[arg-type]


# Puts.


def test_a_job_is_handed_out_when_it_is_safe_and_not_before() -> None:
    bench = Bench()
    ends = bench.start_put(job())
    worker = Holder("worker", 10.0)
    assert bench.home.group("").take(worker, 1) == []
    assert not ends
    bench.pump()
    assert [put.is_new for put in ends[0]] == [True]  # type: ignore[union-attr]
    assert len(bench.take(worker)) == 1


def test_a_put_that_fails_leaves_nothing_behind() -> None:
    bench = Bench(max_length=2)
    plain = bench.start_put(job(), job())
    bench.store.commit(fails=True)
    assert isinstance(plain[0], StoreFailed)
    named = bench.start_put(job(unique="u", id="i"), job())
    joined = bench.start_put(job(unique="u"))
    bench.store.commit()  # the names are looked up
    bench.store.commit()  # there was no such note
    bench.store.commit(fails=True)
    assert isinstance(named[0], StoreFailed)
    assert joined[0] is named[0], "who joined it has the same error"
    assert bench.counts() == (0, 0, 0)
    assert bench.notes() == set()
    assert not bench.home.names.coming
    assert bench.put(job(unique="u", id="i"))[0].is_new
    assert len(bench.put(job())) == 1, "and its room is free"


def test_jobs_put_together_are_one_commit() -> None:
    bench = Bench()
    bench.home.group("a")
    bench.home.group("b")
    bench.pump()
    before = bench.store.commits
    bench.put(*[job() for _ in range(50)])
    assert bench.store.commits == before + 1
    assert bench.counts("a") == bench.counts("b") == (50, 0, 0)


def test_a_default_id_names_the_job() -> None:
    bench = Bench()
    (put,) = bench.put(job())
    assert put.id == f"{bench.store.id}-{put.number}"
    assert bench.asked(bench.home.number_of, put.id) == put.number
    assert bench.asked(bench.home.number_of, "nobody's") is None


@pytest.mark.parametrize("number", [MAX_NUMBER + 1, 2**63, 10**240])
def test_a_number_that_no_store_can_hold_is_the_id_of_no_job(number: int) -> None:
    # A file that is asked for one would fail, ask again, and answer nothing else.
    bench = Bench()
    assert bench.asked(bench.home.number_of, f"{bench.store.id}-{number}") is None


def test_a_draining_queue_takes_nothing_and_hands_out_what_it_has() -> None:
    bench = Bench()
    number = bench.put_one()
    bench.home.drain()
    with pytest.raises(QueueClosed, match="drained"):
        bench.put_one()
    assert bench.work_off() == [number]
    bench.home.undrain()
    bench.put_one()


def test_a_closed_home_leaves_no_timer_and_fails_what_it_has_not_put() -> None:
    bench = Bench()
    ends = bench.start_put(job(unique="u"))
    bench.home.close()
    bench.home.close()
    assert isinstance(ends[0], QueueClosed)
    bench.pump()
    assert bench.store.last_number == 0
    assert not [timer for _, _, timer in bench.clock._heap if timer.is_pending]
    with pytest.raises(QueueClosed):
        bench.put_one()


# Names.


def test_a_unique_job_is_the_same_while_it_is_queued_or_runs() -> None:
    bench = Bench()
    (first,) = bench.put(job(unique="u"))
    assert bench.put(job(unique="u")) == [Put(first.number, first.id, False)]
    worker = Holder("worker", 10.0)
    bench.take(worker)
    assert bench.put(job(unique="u")) == [Put(first.number, first.id, False)]
    bench.home.finish(bench.home.group(""), worker, [first.number])
    (second,) = bench.put(job(unique="u"))
    assert second.is_new
    assert second.number != first.number


def test_unique_jobs_that_are_put_at_once_are_one() -> None:
    bench = Bench()
    ends = [bench.start_put(job(unique="u"), job(), job(unique="u")) for _ in range(3)]
    bench.pump()
    answers = [[(put.number, put.is_new) for put in end[0]] for end in ends]  # type: ignore[union-attr]
    (first, _), _, twin = answers[0]
    assert answers[0][0] == (first, True)
    assert twin == (first, False)
    assert [answer[0] for answer in answers[1:]] == [(first, False)] * 2
    assert bench.counts() == (4, 0, 0)


def test_a_dead_job_frees_its_unique_name_and_does_not_take_it_again() -> None:
    bench = Bench()
    first = bench.put_one(unique="u")
    worker = Holder("worker", 10.0)
    bench.take(worker)
    bench.home.bury(bench.home.group(""), worker, first, "hopeless")
    (second,) = bench.put(job(unique="u"))
    assert second.is_new
    assert bench.asked(bench.home.people.kick_one, first)
    assert bench.work_off() == [first, second.number]
    assert bench.notes() == set()
    # The old one's end does not take the name from a newer one either.
    third = bench.put_one(unique="u")
    bench.take(worker)
    bench.home.bury(bench.home.group(""), worker, third, "hopeless")
    (fourth,) = bench.put(job(unique="u"))
    bench.asked(bench.home.people.kick_one, third)
    bench.home.group("").take(worker, 1)
    bench.home.finish(bench.home.group(""), worker, [third])
    assert bench.put(job(unique="u")) == [fourth._replace(is_new=False)]


def test_a_job_of_the_same_id_is_the_same_for_the_window_after_its_end() -> None:
    bench = Bench(dedup=10.0)
    (first,) = bench.put(job(id="order-1"))
    assert first.id == "order-1"
    bench.work_off()
    bench.wait(9.0)
    assert bench.put(job(id="order-1")) == [Put(first.number, "order-1", False)]
    assert bench.asked(bench.home.number_of, "order-1") == first.number
    bench.wait(2.0)
    assert bench.asked(bench.home.number_of, "order-1") is None
    assert bench.put(job(id="order-1"))[0].is_new


def test_the_id_of_a_dead_job_stays_until_another_takes_it_after_the_window() -> None:
    bench = Bench(dedup=10.0)
    worker = Holder("worker", 60.0)
    first = bench.put_one(id="order-1")
    bench.take(worker)
    bench.home.bury(bench.home.group(""), worker, first, "hopeless")
    assert not bench.put(job(id="order-1"))[0].is_new
    bench.wait(11.0)
    assert bench.asked(bench.home.number_of, "order-1") == first, "people may kick it by its id"
    (second,) = bench.put(job(id="order-1"))
    assert second.is_new
    bench.asked(bench.home.people.kick_one, first)
    bench.home.group("").take(worker, 1)
    assert bench.home.finish(bench.home.group(""), worker, [first]) == []
    assert bench.asked(bench.home.number_of, "order-1") == second.number


def test_a_deleted_job_frees_its_id() -> None:
    bench = Bench(dedup=100.0)
    first = bench.put_one(id="order-1", unique="u")
    assert bench.asked(bench.home.people.delete, first)
    assert bench.put(job(id="order-1", unique="u"))[0].is_new


def test_a_name_is_free_when_the_last_group_is_done() -> None:
    bench = Bench()
    bench.home.group("a")
    bench.home.group("b")
    bench.put(job(unique="u", id="i"))
    bench.work_off("a")
    assert not bench.put(job(unique="u"))[0].is_new
    assert not bench.put(job(id="i"))[0].is_new
    bench.work_off("b")
    assert bench.notes() == set()
    (second,) = bench.put(job(unique="u", id="i"))
    assert second.is_new
    assert bench.work_off("a") == bench.work_off("b") == [second.number]


def test_a_job_that_died_in_one_group_and_was_kicked_still_frees_its_name() -> None:
    bench = Bench()
    a, b = bench.home.group("a"), bench.home.group("b")
    worker, other = Holder("worker", 60.0), Holder("other", 60.0)
    number = bench.put_one(unique="u")
    bench.take(worker, group="a")
    bench.home.bury(a, worker, number, "hopeless")
    assert not bench.put(job(unique="u"))[0].is_new, "the other group has it"
    bench.asked(bench.home.people.kick_one, number)
    bench.take(other, group="b")
    bench.home.finish(b, other, [number])
    assert not bench.put(job(unique="u"))[0].is_new, "and now the first one has"
    bench.work_off("a")
    assert bench.notes() == set()


@pytest.mark.parametrize("fails", [True, False])
def test_a_name_is_free_if_a_put_that_took_it_over_fails_and_else_not(fails: bool) -> None:
    bench = Bench()
    for name in ("a", "b"):
        bench.home.group(name)
    bench.put(job(unique="u"))
    for name in ("a", "b"):
        worker = Holder("worker", 60.0)
        (ticket,) = bench.take(worker, group=name)
        bench.home.finish(bench.home.group(name), worker, [ticket.number])
    ends = bench.start_put(job(unique="u"))
    for _ in range(4):
        bench.store.commit()
        if bench.store.last_number > ticket.number:
            break
    bench.store.commit(fails=fails)
    bench.pump()
    assert isinstance(ends[0], StoreFailed) is fails
    assert bench.notes() == (set() if fails else {"unique:u"})


@pytest.mark.parametrize("is_dead", [False, True])
def test_a_note_that_a_crash_left_behind_is_no_job(is_dead: bool) -> None:
    bench = Bench()
    bench.home.group("a")
    bench.home.group("b")
    bench.put(job(unique="u", id="i"))
    worker = Holder("worker", 10.0)
    for name in ("a", "b"):
        line = bench.home.group(name)
        (ticket,) = bench.take(worker, group=name)
        if is_dead:
            bench.home.bury(line, worker, ticket.number, "hopeless")
        else:
            bench.home.finish(line, worker, [ticket.number])
    bench.store.commit()  # the ends, and not yet who was the last
    bench.lose_power()
    assert bench.notes() == {"unique:u", "id:i"}
    assert bench.put(job(unique="u", id="i"))[0].is_new


def test_the_end_of_a_job_and_of_its_names_is_one_commit() -> None:
    bench = Bench(dedup=10.0, keep_results=10.0)
    number = bench.put_one(unique="u", id="i")
    worker = Holder("worker", 10.0)
    bench.take(worker)
    bench.home.finish(bench.home.group(""), worker, [number], {number: b"result"})
    before = bench.store.commits
    bench.pump()
    assert bench.store.commits == before + 1
    assert bench.notes() == {"id:i", f"result:{number}:"}
    assert bench.store.on_disk["emails", ""].rows == {}


# Room.


def test_a_full_queue_takes_all_of_a_batch_or_nothing() -> None:
    bench = Bench(max_length=3)
    under_way = bench.start_put(job(), job())
    with pytest.raises(QueueFull, match="has 2 jobs, and room for 3"):
        bench.home.put([job(), job()], pytest.fail)
    bench.pump()
    assert under_way
    bench.put(job(unique="u"))
    with pytest.raises(QueueFull):
        bench.put(job())
    with pytest.raises(QueueFull):
        bench.put(job(id="i"))
    assert not bench.put(job(unique="u"))[0].is_new, "what is there already needs no room"
    assert bench.counts() == (3, 0, 0)
    bench.work_off()
    bench.put(job(), job(), job())


def test_the_oldest_that_wait_make_room() -> None:
    bench = Bench(max_length=3, overflow="drop_oldest")
    worker = Holder("worker", 10.0)
    first = bench.put_one()
    bench.take(worker)
    numbers = [first]
    heard = []
    for _ in range(5):
        number = bench.put_one()
        numbers.append(number)
        heard.append(bench.watch(number))
    assert bench.counts() == (2, 1, 0)
    assert bench.home.counters.dropped == 3
    gone = [(outcome.kind, outcome.reason) for outcomes in heard for outcome in outcomes]
    assert gone == [("gone", "dropped")] * 3
    assert bench.work_off() == numbers[-2:]
    bench.home.finish(bench.home.group(""), worker, [first])


# Time.


def test_what_has_expired_goes_without_being_asked_for() -> None:
    bench = Bench(ttl=5.0)
    kept = bench.put_one(ttl_ms=60_000)
    short = bench.put_one(unique="u")
    heard = bench.watch(short)
    bench.wait(4.0)
    assert bench.counts() == (2, 0, 0)
    bench.wait(2.0)
    assert bench.counts() == (1, 0, 0)
    assert [(o.kind, o.reason) for o in heard] == [("gone", "expired")]
    assert bench.home.counters.expired == 1
    assert bench.put(job(unique="u"))[0].is_new
    bench.restart()
    bench.wait(60.0)
    assert bench.counts() == (0, 0, 0), "and after a restart"
    assert kept


def test_a_dead_job_that_is_kicked_when_it_has_expired_goes() -> None:
    bench = Bench()
    number = bench.put_one(ttl_ms=1_000)
    worker = Holder("worker", 60.0)
    bench.take(worker)
    bench.home.bury(bench.home.group(""), worker, number, "hopeless")
    bench.restart()
    bench.wait(5.0)
    assert bench.counts() == (0, 0, 1)
    assert bench.asked(bench.home.people.kick, None, 1) == 1
    bench.wait(2.0)
    assert bench.counts() == (0, 0, 0)


def test_a_worker_may_finish_what_expires_while_it_works() -> None:
    bench = Bench(ttl=5.0)
    number = bench.put_one()
    worker = Holder("worker", 60.0)
    bench.take(worker)
    bench.wait(20.0)
    assert bench.home.finish(bench.home.group(""), worker, [number]) == []
    assert bench.home.counters.expired == 0


def test_a_delayed_job_is_due_and_a_lease_ends_in_time() -> None:
    bench = Bench()
    ready = []
    bench.home.group("").on_ready = lambda: ready.append(bench.clock.now())
    number = bench.put_one(delay_ms=2_500)
    bench.wait(3.0)
    assert ready == [2.5]
    worker = Holder("worker", 0.4)
    bench.take(worker)
    bench.wait(1.0)
    assert ready == [2.5, 3.4]
    assert bench.home.counters.leases_lost == 1
    assert bench.home.finish(bench.home.group(""), worker, [number]) == [number]
    patient = Holder("patient", 60.0)
    bench.take(patient)
    bench.home.retry(bench.home.group(""), patient, number, 700, "no luck")
    bench.wait(1.0)
    assert ready[2:] == [4.7]


def test_delayed_jobs_are_due_after_a_restart() -> None:
    bench = Bench()
    number = bench.put_one(delay_ms=500)
    bench.restart()
    bench.wait(0.6)
    assert bench.work_off() == [number]


# Workers.


def test_a_job_that_is_never_finished_is_dead_after_its_attempts() -> None:
    bench = Bench(max_attempts=3)
    number = bench.put_one(unique="u")
    heard = bench.watch(number)
    for attempt in range(3):
        assert bench.counts() == (1, 0, 0)
        bench.take(Holder(f"worker{attempt}", 1.0))
        bench.wait(1.0)
    assert bench.counts() == (0, 0, 1)
    assert [(o.kind, o.attempts) for o in heard] == [("dead", 3)]
    assert bench.put(job(unique="u"))[0].is_new
    (status,) = bench.asked(bench.home.status, number)
    assert (status.state, status.attempts, status.due_ms) == (State.DEAD, 3, 3_000)


def test_what_a_worker_has_lost_it_cannot_end() -> None:
    bench = Bench()
    number = bench.put_one()
    line = bench.home.group("")
    old, new = Holder("old", 1.0), Holder("new", 60.0)
    bench.take(old)
    bench.wait(1.0)
    bench.take(new)
    for say in (
        lambda: bench.home.retry(line, old, number, 0, ""),
        lambda: bench.home.bury(line, old, number, ""),
        lambda: bench.home.progress(line, old, number, (1, 2, None)),
        lambda: bench.home.commit(line, old, number, None, [], pytest.fail),
    ):
        with pytest.raises(LeaseLost):
            say()
    assert bench.home.finish(line, old, [number]) == [number]
    assert bench.home.finish(line, new, [number, number]) == [number]
    assert bench.home.counters.done == 1


# Outcomes.


def test_who_watches_hears_how_far_it_is_and_its_end_once_in_each_group() -> None:
    bench = Bench()
    bench.home.group("a")
    bench.home.group("b")
    number = bench.put_one()
    first, second = bench.watch(number), bench.watch(number)
    worker = Holder("worker", 10.0)
    a, b = bench.home.group("a"), bench.home.group("b")
    bench.take(worker, group="a")
    bench.home.progress(a, worker, number, (1, 2, b"half"))
    bench.home.finish(a, worker, [number], {number: b"result"})
    bench.take(worker, group="b")
    bench.home.bury(b, worker, number, "hopeless")
    bench.asked(bench.home.people.kick_one, number)
    bench.work_off("b")
    assert first == second
    assert first == [
        Outcome("progress", number, "a", progress=(1, 2, b"half")),
        Outcome("done", number, "a", b"result", "", 1),
        Outcome("dead", number, "b", None, "hopeless", 1),
    ]
    assert not bench.home.outcomes.watched


def test_who_watches_no_more_hears_nothing() -> None:
    bench = Bench()
    number = bench.put_one()
    heard: list[Outcome] = []
    hear = heard.append
    bench.home.watch(number, hear)
    bench.home.unwatch(number, hear)
    bench.home.unwatch(number, hear)
    bench.work_off()
    assert not heard
    assert not bench.home.outcomes.watched


def test_an_outcome_is_kept_as_long_as_was_asked_for_also_through_a_restart() -> None:
    bench = Bench(keep_results=100.0)
    long, short = bench.put_one(id="i"), bench.put_one(keep_result_ms=5_000)
    bench.work_off(result=b"result")
    bench.restart()
    outcome = bench.asked(bench.home.outcome, long, None)
    assert outcome == Outcome("done", long, "", b"result")
    assert bench.asked(bench.home.outcome, short, "") is not None
    assert bench.asked(bench.home.number_of, "i") == long
    bench.wait(50.0)
    assert bench.asked(bench.home.status, short) == []
    assert bench.asked(bench.home.outcome, long, "other") is None
    (status,) = bench.asked(bench.home.status, long)
    assert status.outcome == outcome
    bench.wait(120.0)
    assert bench.notes() == set(), "what is over is forgotten"


def test_a_job_that_ends_while_it_is_looked_for_is_found_by_its_outcome() -> None:
    bench = Bench(keep_results=100.0)
    number = bench.put_one()
    worker = Holder("worker", 60.0)
    bench.take(worker)
    group = bench.home.group("")

    def end() -> None:
        assert bench.home.finish(group, worker, [number], {number: b"result"}) == []

    # What is asked now has been read when this happens, and is not answered.
    bench.store.reads.append(lambda: end)
    outcome = bench.asked(bench.home.outcome, number, None)
    assert outcome == Outcome("done", number, "", b"result")


def test_who_follows_a_job_hears_how_it_has_ended_and_how_it_ends() -> None:
    bench = Bench()
    kept, gone, live = bench.put_one(keep_result_ms=5_000), bench.put_one(), bench.put_one()
    worker = Holder("worker", 60.0)
    group = bench.home.group("mail")
    bench.take(worker, group="mail")
    bench.home.group("books")
    bench.home.finish(group, worker, [kept, gone], {kept: b"result"})
    bench.pump()
    heard: dict[int, list[Outcome]] = {number: [] for number in (kept, gone, live, 99)}
    for number, outcomes in heard.items():
        bench.home.outcomes.follow(number, outcomes.append)
    assert not any(heard.values())
    bench.pump()
    told = {
        number: [(outcome.group, outcome.kind, outcome.packed) for outcome in outcomes]
        for number, outcomes in heard.items()
    }
    never = ("books", "gone", None)
    assert told == {
        kept: [never, ("mail", "done", b"result")],
        gone: [never, ("mail", "gone", None)],
        live: [never],
        99: [never, ("mail", "gone", None)],
    }
    assert list(bench.home.outcomes.watched) == [live], "nothing waits for what has ended"
    bench.home.bury(group, worker, live, "no such person")
    assert [(one.group, one.kind) for one in heard[live]] == [never[:2], ("mail", "dead")]
    assert not bench.home.outcomes.watched
    again: list[Outcome] = []
    bench.home.outcomes.follow(live, again.append)
    bench.pump()
    assert [(one.group, one.kind) for one in again] == [never[:2], ("mail", "dead")]
    assert again[1].reason == "no such person"


def test_no_result_is_an_outcome_too_and_a_dead_one_is_told_as_long_as_it_is_there() -> None:
    bench = Bench()
    done, dead = bench.put_one(keep_result_ms=5_000), bench.put_one()
    worker = Holder("worker", 10.0)
    bench.take(worker)
    line = bench.home.group("")
    bench.home.bury(line, worker, dead, "hopeless")
    bench.home.finish(line, worker, [done])
    assert bench.asked(bench.home.outcome, done, None) == Outcome("done", done, "")
    wanted = Outcome("dead", dead, "", None, "hopeless", 1)
    assert bench.asked(bench.home.outcome, dead, None) == wanted
    assert bench.asked(bench.home.people.purge, None) == 1
    assert bench.asked(bench.home.outcome, dead, None) is None


# Groups.


def test_the_first_group_takes_over_all_that_is_there_and_later_ones_begin_empty() -> None:
    bench = Bench()
    waiting, running = bench.put_one(), bench.put_one()
    line = bench.home.group("")
    worker = Holder("old", 60.0)
    (ticket,) = line.take(worker, 1)
    assert bench.home.group("a") is line
    assert bench.home.finish(line, worker, [ticket.number]) == [], "who has one goes on with it"
    assert bench.home.group("b").length == 0
    with pytest.raises(BadRequest, match="a, b"):
        bench.home.group("")
    third = bench.put_one()
    bench.restart()
    assert list(bench.home.lines) == ["a", "b"]
    assert bench.work_off("a") == [running if ticket.number == waiting else waiting, third]
    assert bench.work_off("b") == [third]


def test_the_figures_of_a_queue_are_of_one_moment() -> None:
    bench = Bench()
    told: list[Any] = []
    bench.home.stats(told.append)
    bench.put(job())
    bench.pump()
    (stats,) = told
    assert (stats.counters.put, stats.groups[0].ready) == (0, 0)


def test_groups_that_are_declared_have_copies_from_the_start_and_there_are_no_others() -> None:
    bench = Bench(groups=["b", "a"])
    bench.put(job())
    assert {name: group.length for name, group in bench.home.lines.items()} == {"a": 1, "b": 1}
    for name in ("", "c"):
        with pytest.raises(BadRequest, match="a, b"):
            bench.home.group(name)
    undeclared = Bench()
    undeclared.put(job())
    undeclared.options = HomeOptions(groups=["a", "b"])
    undeclared.restart()
    lengths = {name: group.length for name, group in undeclared.home.lines.items()}
    assert lengths == {"a": 1, "b": 0}, "the first has what the unnamed one had"
    for wrong in ("a", [], ["a b"]):
        with pytest.raises((ConfigError, BadName)):
            HomeOptions(groups=wrong)


def test_a_deleted_group_is_gone_with_its_jobs_for_good() -> None:
    bench = Bench()
    for name in ("a", "b"):
        bench.home.group(name)
    numbers = [bench.put_one(unique=f"u{n}") for n in range(3)]
    bench.put_one(delay_ms=1_000)
    lost = []
    line, worker = bench.home.group("a"), Holder("worker", 60.0)
    line.lost = lambda holder, numbers, reason: lost.append((holder.name, *numbers))
    line.take(worker, 1)
    heard = bench.watch(numbers[1])
    late = bench.start_put(job())
    ends: list[int] = []
    bench.home.drop_group("a", ends.append)
    with pytest.raises(QueueClosed, match="being deleted"):
        bench.home.group("a")
    bench.pump()
    assert late
    assert ends == [4]
    assert len(lost) == 1
    assert [(o.kind, o.group) for o in heard] == [("gone", "a")]
    assert not bench.put(job(unique="u0"))[0].is_new, "the other group has it still"
    bench.restart()
    assert list(bench.home.lines) == ["b"]
    assert bench.counts("b") == (5, 0, 0)
    assert bench.asked(bench.home.drop_group, "b") == 5
    assert bench.notes() == set()
    bench.put_one()
    assert bench.counts("") == (1, 0, 0)
    with pytest.raises(BadRequest, match="the unnamed group stays"):
        bench.home.drop_group("", pytest.fail)


# People.


def test_a_pause_lasts_through_a_restart_and_takes_nothing_away() -> None:
    bench = Bench()
    bench.home.group("a")
    bench.home.group("b")
    worker = Holder("worker", 60.0)
    numbers = [bench.put_one(), bench.put_one()]
    bench.home.group("a").take(worker, 1)
    bench.home.pause("a")
    assert bench.take(worker, group="a") == []
    assert bench.home.finish(bench.home.group("a"), worker, numbers[:1]) == []
    bench.restart()
    assert bench.take(worker, group="a") == []
    assert len(bench.take(worker, group="b")) == 2
    ready = []
    bench.home.group("a").on_ready = lambda: ready.append(True)
    bench.home.resume("a")
    assert ready
    bench.restart()
    assert bench.work_off("a") == numbers[1:]
    with pytest.raises(BadRequest, match="no group 'c'"):
        bench.home.pause("c")


def test_a_pause_stays_with_a_group_that_gets_a_name() -> None:
    bench = Bench()
    bench.put_one()
    bench.home.pause()
    bench.home.group("a")
    bench.restart()
    worker = Holder("worker", 60.0)
    assert bench.take(worker, group="a") == []
    # Also when the name comes before the store has said that it is paused.
    other = Bench()
    other.home.pause()
    other.pump()
    other.home.close()
    other.store = other.store.after_power_loss()
    home = other.home = Home("emails", other.store, other.clock, HomeOptions())
    home.open([""])
    assert home.group("").is_paused
    line = home.group("a")
    other.pump()
    assert line.is_paused
    assert other.notes() == {"paused:a"}
    home.resume()
    other.pump()
    assert not line.is_paused
    assert other.notes() == set()


def test_people_see_jobs_page_by_page_as_they_are() -> None:
    bench = Bench()
    numbers = [bench.put_one(priority=9 - n) for n in range(5)]
    delayed = bench.put_one(delay_ms=9_000)
    worker = Holder("worker", 60.0)
    (taken,) = bench.home.group("").take(worker, 1)
    peek = bench.home.people.peek
    seen, after = [], None
    while True:
        tickets, after = bench.asked(peek, "", State.READY, after, 2)
        seen += [ticket.number for ticket in tickets]
        if after is None:
            break
    assert seen == sorted(numbers, reverse=True)[1:]
    assert [t.number for t in bench.asked(peek, "", State.RESERVED, None, 9)[0]] == [taken.number]
    (shown,), _ = bench.asked(peek, "", State.DELAYED, None, 9)
    assert (shown.number, shown.state) == (delayed, State.DELAYED)
    assert bench.asked(peek, "", State.DEAD, None, 9) == ([], None)
    shown.body = b"no"
    assert bench.asked(peek, "", State.DELAYED, None, 9)[0][0].body == b"x"


def test_dead_jobs_are_kicked_so_many_or_one() -> None:
    bench = Bench()
    numbers = [bench.put_one() for _ in range(5)]
    worker = Holder("worker", 60.0)
    bench.take(worker)
    for number in numbers:
        bench.home.bury(bench.home.group(""), worker, number, "hopeless")
    assert bench.asked(bench.home.people.kick, None, 2) == 2
    assert bench.asked(bench.home.people.kick_one, numbers[4])
    assert not bench.asked(bench.home.people.kick_one, 99)
    assert bench.work_off() == [*numbers[:2], numbers[4]]
    assert bench.asked(bench.home.people.kick, "", 100) == 2
    assert bench.asked(bench.home.people.kick, "", 0) == 0
    assert bench.counts() == (2, 0, 0)


def test_who_has_a_job_that_is_deleted_hears_that() -> None:
    bench = Bench()
    number = bench.put_one()
    line, worker = bench.home.group(""), Holder("worker", 60.0)
    lost = []
    line.lost = lambda holder, numbers, reason: lost.append((holder, list(numbers)))
    bench.take(worker)
    heard = bench.watch(number)
    assert bench.asked(bench.home.people.delete, number)
    assert not bench.asked(bench.home.people.delete, number)
    assert lost == [(worker, [number])]
    assert [(o.kind, o.reason) for o in heard] == [("gone", "deleted")]
    assert bench.home.finish(line, worker, [number]) == [number]


def test_what_happens_to_a_job_while_it_is_looked_for_counts() -> None:
    bench = Bench()
    numbers = [bench.put_one() for _ in range(3)]
    line, worker = bench.home.group(""), Holder("worker", 60.0)
    ends: list[bool] = []
    for _ in range(2):
        bench.home.people.delete(numbers[2], ends.append)
    bench.pump()
    assert ends == [True, False]
    assert bench.counts() == (2, 0, 0)
    (ticket,) = line.take(worker, 1)
    bench.home.people.delete(99, lambda _: line.finish_many(worker, [ticket.number]))
    bench.home.people.delete(ticket.number, ends.append)
    bench.pump()
    assert ends[2:] == [False]
    assert bench.counts() == (1, 0, 0)


def test_a_dead_job_that_changes_while_it_is_looked_for_is_not_missed() -> None:
    bench = Bench()
    number = bench.put_one()
    line, worker = bench.home.group(""), Holder("worker", 60.0)
    line.take(worker, 1)
    bench.home.bury(line, worker, number, "hopeless")
    kicked: list[int] = []
    bench.home.people.edit(None, number, b"y", lambda _: None)
    bench.home.people.kick(None, 10, kicked.append)
    bench.pump()
    assert kicked == [1]


def test_a_job_is_edited_while_it_waits_or_is_dead() -> None:
    bench = Bench()
    number = bench.put_one()
    worker = Holder("worker", 60.0)
    edit = bench.home.people.edit
    assert bench.asked(edit, None, number, b"waiting")
    (ticket,) = bench.take(worker)
    assert ticket.body == b"waiting"
    assert not bench.asked(edit, None, number, b"running")
    bench.home.bury(bench.home.group(""), worker, number, "hopeless")
    assert bench.asked(edit, "", number, b"dead")
    bench.asked(bench.home.people.kick_one, number)
    (ticket,) = bench.take(worker)
    assert ticket.body == b"dead"


def test_what_waits_goes_while_workers_take_and_more_comes() -> None:
    bench = Bench()
    numbers = [put.number for put in bench.put(*[job() for _ in range(2_500)])]
    line, worker = bench.home.group(""), Holder("worker", 60.0)
    ends: list[int] = []
    taken = [t.number for t in line.take(worker, 10)]
    bench.home.people.empty(None, ends.append)
    late = bench.start_put(job())
    while not ends:
        taken += [t.number for t in line.take(worker, 10)]
        bench.store.commit()
    assert ends[0] == len(numbers) - len([n for n in taken if n in numbers])
    assert len(taken) >= 30
    assert late
    kept = {t.number for t in bench.take(worker)} | set(taken)
    assert kept == set(taken) | {numbers[-1] + 1}, "what came later stays"
    assert bench.home.finish(line, worker, sorted(kept)) == []
    assert bench.counts() == (0, 0, 0)


def test_figures_say_what_is_there_and_how_fast_it_goes() -> None:
    bench = Bench(max_length=1_000)
    for _ in range(20):
        bench.put(job(), job())
        bench.work_off()
        bench.wait(1.0)
    bench.put(job(), job(), job(delay_ms=60_000))
    bench.wait(5.0)
    worker = Holder("worker", 60.0)
    bench.take(worker, 1)
    stats = bench.asked(bench.home.stats)
    (group,) = stats.groups
    assert (group.ready, group.delayed, group.reserved, group.dead) == (1, 1, 1, 0)
    assert group.age_of_oldest == pytest.approx(5.0)
    assert (stats.counters.put, stats.counters.done) == (43, 40)
    assert stats.done_rate == pytest.approx(1.0, abs=0.3)
    assert stats.put_rate == pytest.approx(1.3, abs=0.3)
    assert (stats.name, stats.is_draining) == ("emails", False)
    assert stats.store.startswith("LaterStore")


def test_events_are_told_while_somebody_listens() -> None:
    bench = Bench()
    told: list[tuple[str, str, int]] = []
    bench.home.on_event = lambda event, group, number, detail: told.append((event, group, number))
    line, worker = bench.home.group(""), Holder("worker", 1.0)
    one, two = bench.put_one(), bench.put_one(ttl_ms=500)
    line.take(worker, 1)
    bench.home.retry(line, worker, one, 0, "no luck")
    line.take(worker, 1)
    bench.wait(1.0)
    line.take(worker, 1)
    bench.home.bury(line, worker, one, "hopeless")
    bench.asked(bench.home.people.delete, one)
    three = bench.put_one()
    bench.work_off()
    bench.home.on_event = None
    bench.put_one()
    assert told == [
        ("put", "", one),
        ("put", "", two),
        ("taken", "", one),
        ("retry", "", one),
        ("taken", "", one),
        *([("expired", "", two), ("retry", "", one)] if told[5][0] == "expired" else []),
        *([("retry", "", one), ("expired", "", two)] if told[5][0] == "retry" else []),
        ("taken", "", one),
        ("dead", "", one),
        ("dropped", "", one),
        ("put", "", three),
        ("taken", "", three),
        ("done", "", three),
    ]


# Transactions.


def commit(
    bench: Bench, worker: Holder, number: int, *specs: JobSpec, home: Home | None = None
) -> list[MeshError | None]:
    ends: list[MeshError | None] = []
    puts = [(home or bench.home, list(specs))]
    bench.home.commit(bench.home.group(""), worker, number, b"result", puts, ends.append)
    return ends


def other_home(bench: Bench, **options: object) -> Home:
    home = Home("next", bench.store, bench.clock, HomeOptions(**options))  # type: ignore[arg-type]
    home.open()
    return home


def test_a_job_is_done_and_others_are_put_in_one_commit() -> None:
    bench = Bench(keep_results=10.0)
    after = other_home(bench)
    number = bench.put_one(unique="u")
    heard = bench.watch(number)
    worker = Holder("worker", 60.0)
    bench.take(worker)
    before = bench.store.commits
    ends = commit(bench, worker, number, job(), job(), home=after)
    assert not ends
    assert not heard
    bench.store.commit()
    assert ends == [None]
    assert bench.store.commits == before + 1
    assert [outcome.packed for outcome in heard] == [b"result"]
    assert after.group("").length == 2
    assert bench.counts() == (0, 0, 0)
    assert bench.notes() == {f"result:{number}:"}
    assert bench.home.counters.done == 1


def test_a_commit_that_fails_changes_nothing_and_the_job_is_tried_again() -> None:
    bench = Bench(keep_results=10.0)
    after = other_home(bench)
    number = bench.put_one(unique="u")
    heard = bench.watch(number)
    worker = Holder("worker", 60.0)
    bench.take(worker)
    ends = commit(bench, worker, number, job(), home=after)
    bench.store.commit(fails=True)
    assert isinstance(ends[0], StoreFailed)
    bench.pump()
    assert not heard
    assert after.group("").length == 0
    assert bench.counts() == (1, 0, 0)
    assert bench.notes() == {"unique:u"}
    assert not bench.put(job(unique="u"))[0].is_new
    assert bench.work_off() == [number]


def test_a_commit_into_a_full_queue_or_of_a_lost_job_changes_nothing() -> None:
    bench = Bench()
    full = other_home(bench, max_length=1)
    number = bench.put_one()
    worker = Holder("worker", 2.0)
    bench.take(worker)
    ends: list[MeshError | None] = []
    puts = [(bench.home, [job()]), (full, [job(), job()])]
    bench.home.commit(bench.home.group(""), worker, number, None, puts, ends.append)
    assert isinstance(ends[0], QueueFull)
    assert full.under_way == bench.home.under_way == 0
    slow = commit(bench, worker, number, job(unique="u"), home=full)
    bench.clock.step(0.0)
    while bench.clock.step(3.0):
        pass
    bench.pump()
    assert isinstance(slow[0], LeaseLost)
    assert full.group("").length == 0
    assert not full.names.coming
    assert bench.counts() == (1, 0, 0)
    elsewhere = Bench()
    bench.take(worker)
    with pytest.raises(ConfigError, match="store of its own"):
        commit(bench, worker, number, job(), home=elsewhere.home)


# Ids that look like those of jobs without one.


def number_of(bench: Bench, id: str) -> int | None:
    found: list[int | None] = []
    bench.home.number_of(id, found.append)
    bench.pump()
    return found[0]


def test_the_id_of_a_job_of_another_queue_names_the_job_that_was_given_it() -> None:
    bench = Bench()
    bench.store.last_number = 7  # of which some are in another queue of this store
    lent = bench.home.id_of(3)
    (named,) = bench.put(job(id=lent))
    assert (named.is_new, named.number) == (True, 8)
    assert number_of(bench, lent) == 8
    assert not bench.put(job(id=lent))[0].is_new


def test_an_id_never_names_two_jobs() -> None:
    bench = Bench()
    first, _ = bench.put(job(), job())
    (same,) = bench.put(job(id=first.id))
    assert (same.is_new, same.number) == (False, first.number)
    with pytest.raises(BadName, match="will call"):
        bench.put(job(id=bench.home.id_of(3)))
    assert bench.put(job())[0].number == 3


@pytest.mark.parametrize("digits", ["", "0x1", "01", "9" * 30, "\u0663", "5"])
def test_what_is_the_id_of_no_job_is_known_to_be_none(digits: str) -> None:
    bench = Bench()
    bench.put(job())
    assert number_of(bench, f"{bench.store.id}-{digits}") is None


# What is gone is let go of.


def holds(bench: Bench) -> int:
    """Jobs that the line has in memory, those that are gone included."""
    line = bench.home.group("")
    parked = sum(map(len, line._parked.values()))
    return len(line.ready) + len(line.delayed) + parked


@pytest.mark.parametrize("key", [None, b"busy"])
def test_what_makes_room_is_let_go_of_though_nobody_takes_it(key: bytes | None) -> None:
    bench = Bench(MemoryDesk(MemoryStore()), max_length=10, overflow="drop_oldest")
    worker = Holder("worker", 3600.0)
    for _ in range(400):
        bench.put(*[job(key=key) for _ in range(10)])
        if key is not None:
            bench.take(worker)
    assert bench.home.group("").length == 10
    assert holds(bench) <= 2 * SPARE


@pytest.mark.parametrize("delay_ms", [0, 3_600_000])
def test_what_has_expired_is_let_go_of_though_nobody_takes_it(delay_ms: int) -> None:
    bench = Bench(MemoryDesk(MemoryStore()), ttl=1)
    bench.put(*[job(delay_ms=delay_ms, priority=n % 3) for n in range(2_500)])
    bench.wait(10.0)
    assert bench.counts() == (0, 0, 0)
    assert holds(bench) <= SPARE


@pytest.mark.parametrize("end", ["deleted", "edited"])
def test_what_was_ready_behind_its_key_and_is_gone_hides_no_other_job(end: str) -> None:
    bench = Bench()
    _, second, _ = bench.put(*[job(key=b"k") for _ in range(3)])
    line = bench.home.group("")
    assert len(bench.take(Holder("worker", 10.0), 3)) == 1
    ends: list[bool] = []
    if end == "deleted":
        bench.home.people.delete(second.number, ends.append)
    else:
        bench.home.people.edit(None, second.number, b"y", ends.append)
    bench.pump()
    assert ends == [True]
    bench.take(Holder("other", 10.0), 3)
    bench.put(job())
    assert line.ready.count - line.ready.aside == 1, "so a worker without credit hears of it"


class Ear:
    def tell(self, outcome: Outcome) -> None:
        raise AssertionError("nothing is to be heard")


def test_who_follows_a_job_and_is_gone_is_let_go_of() -> None:
    bench = Bench()
    (put,) = bench.put(job())
    for _ in range(1_000):
        bench.home.outcomes.follow(put.number, Follower(Ear()))
    bench.pump()
    assert len(bench.home.outcomes.watched[put.number].watchers) <= 2 * 64


def test_what_waits_to_be_tried_again_holds_up_its_key_through_a_restart() -> None:
    bench = Bench()
    first, second = bench.put(job(key=b"k"), job(key=b"k"))
    bench.put(*[job(delay_ms=1_000) for _ in range(3)])
    worker = Holder("worker", 10.0)
    bench.take(worker)
    bench.home.retry(bench.home.group(""), worker, first.number, 5_000, "later")
    bench.pump()
    bench.restart()
    bench.wait(2.0)
    worker = Holder("worker", 10.0)
    assert len(bench.take(worker)) == 3, "those without a key"
    bench.wait(4.0)
    assert [ticket.number for ticket in bench.take(worker)] == [first.number]
    bench.home.finish(bench.home.group(""), worker, [first.number])
    assert [ticket.number for ticket in bench.take(worker)] == [second.number]


@pytest.mark.parametrize("option", ["ttl", "dedup", "keep_results"])
@pytest.mark.parametrize("seconds", [-1.0, 1e12, float("inf"), float("nan")])
def test_no_time_is_longer_than_a_store_can_count(option: str, seconds: float) -> None:
    with pytest.raises(ConfigError, match=option):
        HomeOptions(**{option: seconds})  # type: ignore[arg-type]


def test_a_peek_ends_with_so_many_bytes_and_goes_on_behind_them() -> None:
    bench = Bench()
    body = bytes(1024 * 1024)
    numbers = [put.number for put in bench.put(*[JobSpec(body) for _ in range(20)])]
    shown: list[int] = []
    after = None
    for count in (8, 8, 4):
        tickets, after = bench.asked(bench.home.people.peek, "", State.READY, after, 1000)
        assert len(tickets) == count
        shown += [ticket.number for ticket in tickets]
    assert (shown, after) == (numbers, None)
