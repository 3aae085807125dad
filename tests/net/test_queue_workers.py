"""Workers of queues: how jobs are run, how they end, and what becomes of those that are lost."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

import mesh
from patterns.queues.jobspec import JobSpec
from tests.net.processes import until, until_async
from tests.net.queue_help import Ledger, MakeAsync, counted, quick, started, url_of
from tests.net.test_async_node import runs


@runs
async def test_what_a_handler_raises_decides_what_becomes_of_its_job(
    make_async: MakeAsync,
) -> None:
    home, worker = make_async("home"), make_async("worker")
    queue = home.queue("mail")
    seen = Ledger()

    @worker.worker("mail", concurrency=4, retry=quick(attempts=3, fatal=(KeyError,)))
    async def handle(job: mesh.HeldJob) -> None:
        seen.add((job.data, job.attempts))
        match job.data:
            case "later" if job.attempts == 1:
                raise mesh.RetryLater(0.2, "not yet")
            case "dead":
                raise mesh.Dead("no such person")
            case "fatal":
                raise KeyError("fatal")
            case "thrice":
                raise ValueError("again")
            case "exit":
                raise SystemExit(3)

    async with started(home, worker):
        await queue.stats()  # a young node waits for others it may not know as yet
        later = await queue.put("later")
        await seen.wait(1)
        begun = time.monotonic()
        await asyncio.sleep(0.02)
        (status,) = await later.status()
        assert (status.state, status.attempts, status.reason) == ("delayed", 1, "not yet")
        await later.result(5)
        assert time.monotonic() - begun >= 0.19
        for data, reason, attempts in (
            ("dead", "no such person", 1),
            ("fatal", "KeyError", 1),
            ("thrice", "ValueError: again", 3),
            ("exit", "SystemExit: 3", 3),
        ):
            with pytest.raises(mesh.JobFailed, match=reason) as failed:
                await (await queue.put(data)).result(5)
            assert failed.value.attempts == attempts
        reasons = {view.data: view.reason for view in await queue.peek("dead")}
        assert reasons["dead"] == "no such person"
        assert 'raise ValueError("again")' in reasons["thrice"]


@runs
async def test_a_policy_of_ones_own_is_asked_and_one_that_raises_is_not_trusted(
    make_async: MakeAsync,
) -> None:
    node = make_async("home")
    queue = node.queue("mail")
    asked: list[Any] = []

    def policy(error: BaseException, attempts: int) -> float | None:
        asked.append((str(error), attempts))
        if "bug" in str(error) and attempts == 1:
            raise ZeroDivisionError
        return 0.001 if attempts < 2 else None

    @node.worker("mail", retry=policy)
    async def handle(job: mesh.HeldJob) -> None:
        raise ValueError(job.data)

    async with started(node):
        with pytest.raises(mesh.JobFailed) as failed:
            await (await queue.put("x")).result(5)
        assert failed.value.attempts == 2
        assert asked == [("x", 1), ("x", 2)]
        await queue.put("bug")
        await counted(queue, delayed=1)  # by the usual policy: a second


@pytest.mark.parametrize("mode", ["async", "pool", "inline"])
@runs
async def test_so_many_run_at_once_as_was_said(make_async: MakeAsync, mode: str) -> None:
    node = make_async("home")
    queue = node.queue("mail")
    running: set[int] = set()
    most, wanted = 0, 1 if mode == "inline" else 4
    threads: set[str] = set()
    lock = threading.Lock()

    def begin(number: int) -> None:
        nonlocal most
        with lock:
            running.add(number)
            threads.add(threading.current_thread().name)
            most = max(most, len(running))

    if mode == "async":

        @node.worker("mail", concurrency=4)
        async def handle(job: mesh.HeldJob) -> Any:
            begin(job.data)
            await until_async(lambda: most >= wanted)
            await asyncio.sleep(0.002)
            running.discard(job.data)
            return job.data

    else:

        @node.worker("mail", concurrency=4, inline=mode == "inline")
        def handle_here(job: mesh.HeldJob) -> Any:
            begin(job.data)
            until(lambda: most >= wanted)
            time.sleep(0.002)
            with lock:
                running.discard(job.data)
            return job.data

    async with started(node):
        jobs = await queue.put_many(range(40))
        assert [await job.result(5) for job in jobs] == list(range(40))
    assert most == wanted
    assert len(threads) == 1 if mode != "pool" else len(threads) >= wanted


@runs
async def test_one_job_takes_one_thread_whatever_the_concurrency(make_async: MakeAsync) -> None:
    node = make_async("home")
    queue = node.queue("mail")

    @node.worker("mail", concurrency=50, inline=False)
    def handle(job: mesh.HeldJob) -> Any:
        return threading.current_thread().name

    async with started(node):
        names = {await (await queue.put(number)).result(5) for number in range(5)}
        threads = [one.name for one in threading.enumerate() if one.name.startswith("mesh-worker")]
        assert len(threads) <= 2, names


def test_the_blocking_face_puts_works_and_commits(make_node: Any) -> None:
    home, worker = make_node("home"), make_node("worker")
    queue, second = home.queue("mail"), home.queue("second")
    done: list[Any] = []
    steps: list[Any] = []

    @worker.worker("mail", concurrency=2, retry=quick())
    def handle(job: mesh.HeldJob) -> Any:
        job.progress(1, 2)
        job.touch()
        if job.data == "chain":
            with worker.transaction(job) as transaction:
                transaction.put("second", ["from", job.id])
                transaction.result("chained")
            return "ignored"
        if job.data == "exit" and job.attempts == 1:
            raise SystemExit
        return [job.data, job.remaining > 50, job.is_lost]

    @worker.worker("second")
    def handle_second(job: mesh.HeldJob) -> Any:
        done.append(job.data)

    with home, worker:
        worker.wait_for("home", timeout=10)
        job = queue.put("x")
        job.on_progress(steps.append)
        assert job.result(10) == ["x", True, False]
        assert queue.put("exit").result(10) == ["exit", True, False]
        chained = queue.put("chain")
        assert chained.result(10) == "chained"
        assert steps
        deadline = time.monotonic() + 10
        while not done and time.monotonic() < deadline:
            time.sleep(0.005)
        assert done == [["from", chained.id]]
        many = queue.put_many(range(3))
        assert [one.result(10)[0] for one in many] == [0, 1, 2]
        assert [one.state for one in queue.put("later", delay=60).status()] == ["delayed"]
        with home.transaction() as transaction:
            transaction.put("mail", "a", keep_result=5, id="a")
            transaction.put("second", "b")
        assert queue.job("a").result(10)[0] == "a"
        assert queue.stats().put == 8
        assert second.stats().put == 2


@runs
async def test_a_batch_lingers_and_its_jobs_are_settled_one_by_one(make_async: MakeAsync) -> None:
    home, worker = make_async("home"), make_async("worker")
    queue = home.queue("mail")
    batches: list[list[tuple[Any, int]]] = []

    @worker.worker("mail", batch=5, linger=0.1, retry=quick(attempts=2))
    async def handle(jobs: list[mesh.HeldJob]) -> None:
        batches.append([(job.data, job.attempts) for job in jobs])
        for job in jobs:
            match job.data:
                case "done":
                    job.done({"by": "hand"})
                case "retry" if job.attempts == 1:
                    job.retry(0.0, "once more")
                case "retry":
                    job.done()
                case "bury":
                    job.bury("by hand")
        if any(job.data == "raise" for job in jobs):
            raise ValueError("the rest")

    async with started(home, worker):
        done = await queue.put("done")
        retried, bury = await queue.put("retry"), await queue.put("bury")
        rest = await queue.put("raise")
        assert await done.result(5) == {"by": "hand"}
        assert await retried.result(5) is None
        with pytest.raises(mesh.JobFailed, match="by hand"):
            await bury.result(5)
        with pytest.raises(mesh.JobFailed, match="the rest"):
            await rest.result(5)
        assert batches[0] == [("done", 1), ("retry", 1), ("bury", 1), ("raise", 1)]
        batches.clear()
        for job in await queue.put_many(range(12)):
            await job.result(5)
        assert [len(batch) for batch in batches] == [5, 5, 2]
        bad = await queue.put_many(["x", "y"])
        await asyncio.gather(*(one.result(5) for one in bad))


@runs
async def test_no_more_jobs_a_second_are_taken_than_was_said(make_async: MakeAsync) -> None:
    node = make_async("home")
    queue = node.queue("mail")
    times: list[float] = []

    @node.worker("mail", rate=100, concurrency=8)
    async def handle(job: mesh.HeldJob) -> None:
        times.append(time.monotonic())

    async with started(node):
        for job in await queue.put_many(range(60)):
            await job.result(5)
    assert 0.2 <= times[-1] - times[0] <= 2.0


@runs
async def test_who_touches_a_job_keeps_it_beyond_its_lease(make_async: MakeAsync) -> None:
    home, worker, other = make_async("home"), make_async("worker"), make_async("other")
    queue = home.queue("mail")
    seen = Ledger()
    soon: list[str] = []

    @worker.worker("mail", lease=0.5, on_deadline_soon=lambda job: soon.append(job.id))
    @other.worker("mail", lease=0.5)
    async def handle(job: mesh.HeldJob) -> Any:
        seen.add(job.attempts)
        for _ in range(6):
            await asyncio.sleep(0.2)
            job.touch()
        return "kept"

    async with started(home, worker, other):
        assert await (await queue.put(1)).result(10) == "kept"
    assert seen.seen == [1]


@runs
async def test_a_job_whose_lease_is_lost_is_cancelled_here_and_handled_elsewhere(
    make_async: MakeAsync,
) -> None:
    node = make_async("home")
    queue = node.queue("mail")
    story: list[Any] = []
    soon: list[bool] = []

    @node.worker(
        "mail", lease=0.4, concurrency=2, on_deadline_soon=lambda job: soon.append(job.is_lost)
    )
    async def handle(job: mesh.HeldJob) -> Any:
        if job.attempts > 1:
            story.append("again")
            return "second"
        begun = time.monotonic()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            story.append((job.is_lost, job.remaining, 0.2 < time.monotonic() - begun < 0.4))
            with pytest.raises(mesh.LeaseLost):
                job.done("late")
            with pytest.raises(mesh.LeaseLost):
                job.touch()
            raise

    async with started(node):
        job = await queue.put(1)
        assert await job.result(5) == "second"
        assert story == [(True, 0.0, True), "again"]
        assert soon == [False]
        assert await (await queue.put(2)).result(5) == "second"
        assert node.queues.desks[0].worker.in_flight <= 10
        assert (await queue.stats()).leases_lost == 2


@pytest.mark.parametrize("inline", [False, True])
@runs
async def test_a_plain_handler_that_sleeps_beyond_its_lease_breaks_nothing_else(
    make_async: MakeAsync, inline: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Blocking the loop, too: nobody could tell it before it has ended."""
    home, slow = make_async("home"), make_async("slow")
    queue = home.queue("mail")
    late: list[Any] = []

    @slow.worker("mail", lease=0.2, concurrency=1, max_in_flight=3, inline=inline)
    def handle(job: mesh.HeldJob) -> Any:
        if job.data == "slow" and job.attempts == 1:
            time.sleep(0.35)
            try:
                job.done("late")
            except mesh.LeaseLost:
                late.append("lost")
                if inline:
                    raise
        if job.data == "silent" and job.attempts == 1:
            time.sleep(0.35)  # and what it returns comes too late
        return ["slow", job.data]

    async with started(home, slow):
        job = await queue.put("slow")
        behind = await queue.put_many(range(2))
        await until_async(lambda: late)
        assert await job.result(5) == ["slow", "slow"]
        assert [await one.result(5) for one in behind] == [["slow", 0], ["slow", 1]]
        silent = await queue.put("silent")
        assert await silent.result(5) == ["slow", "silent"]
        assert (await queue.stats()).leases_lost >= 2
        jobs = await queue.put_many(range(20))
        assert [await one.result(5) for one in jobs] == [["slow", n] for n in range(20)]
        (desk,) = slow.queues.desks
        # Nothing is thought to be held for ever.
        await until_async(lambda: not desk.worker._demand.held)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


@runs
async def test_a_job_that_is_lost_while_it_waits_for_its_turn_is_not_begun(
    make_async: MakeAsync,
) -> None:
    node = make_async("home")
    queue = node.queue("mail")
    begun = Ledger()

    @node.worker("mail", lease=0.3, concurrency=1, max_in_flight=3)
    async def handle(job: mesh.HeldJob) -> Any:
        begun.add((job.data, job.is_lost, job.attempts))
        if job.data == 0 and job.attempts == 1:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(0.1)  # it takes a while to end
                raise
        return job.data

    async with started(node):
        jobs = await queue.put_many(range(3))
        assert [await job.result(5) for job in jobs] == [0, 1, 2]
    assert not any(is_lost for _, is_lost, _ in begun.seen)
    assert all(attempts == 2 for data, _, attempts in begun.seen[1:])


@runs
async def test_a_time_limit_ends_an_async_handler(make_async: MakeAsync) -> None:
    node = make_async("home")
    queue = node.queue("mail")

    @node.worker("mail", time_limit=0.05, retry=quick(attempts=2))
    async def handle(job: mesh.HeldJob) -> Any:
        await asyncio.sleep(60 if job.attempts == 1 or job.data == "bad" else 0)
        return job.attempts

    async with started(node):
        assert await (await queue.put("x")).result(5) == 2
        with pytest.raises(mesh.JobFailed, match=r"longer than 0\.05 s"):
            await (await queue.put("bad")).result(5)
    with pytest.raises(mesh.ConfigError):
        node.worker("mail", time_limit=1)(lambda job: None)


@runs
async def test_a_cancelled_job_that_runs_is_cancelled_at_its_worker(make_async: MakeAsync) -> None:
    home, worker = make_async("home"), make_async("worker")
    queue = home.queue("mail")
    begun, ended = asyncio.Event(), asyncio.Event()
    lost: list[bool] = []

    @worker.worker("mail")
    async def handle(job: mesh.HeldJob) -> Any:
        if job.data == "next":
            return "next"
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            lost.append(job.is_lost)
            ended.set()

    async with started(home, worker):
        job = await queue.put("long")
        await begun.wait()
        assert await job.cancel()
        await asyncio.wait_for(ended.wait(), 5)
        assert lost == [True]
        assert await (await queue.put("next")).result(5) == "next"


@runs
async def test_each_group_gets_each_job_and_the_first_takes_over_what_was_there(
    make_async: MakeAsync, caplog: pytest.LogCaptureFixture
) -> None:
    home, mail, books = make_async("home"), make_async("mail"), make_async("books")
    queue = home.queue("orders")
    seen: dict[str, list[Any]] = {"mail": [], "books": []}

    @mail.worker("orders", group="mail")
    async def send(job: mesh.HeldJob) -> Any:
        seen["mail"].append(job.data)
        return "sent"

    @books.worker("orders", group="books")
    async def book(job: mesh.HeldJob) -> Any:
        seen["books"].append(job.data)
        return "booked"

    async with started(home):
        early = await queue.put("early")
        async with started(mail):
            assert await early.result(5, group="mail") == "sent"
            async with started(books):
                await counted(queue, done=1)
                await until_async(lambda: queue.keeper.home.lines.keys() == {"mail", "books"})
                job = await queue.put("both")
                assert await job.result(5, group="books") == "booked"
                assert await job.result(5, group="mail") == "sent"
                stats = await queue.stats()
                assert {n: g.workers for n, g in stats.groups.items()} == {"mail": 1, "books": 1}
                assert seen == {"mail": ["early", "both"], "books": ["both"]}

                @books.worker("orders")
                async def unnamed(job: mesh.HeldJob) -> None: ...

                await until_async(lambda: "say group=" in caplog.text)
            # Nobody is there of one group: its copy waits.
            await queue.put("third")
            stats = await counted(queue, done=4)
            assert stats.groups["books"].ready == 1


@runs
async def test_workers_of_a_group_that_is_deleted_make_it_anew(make_async: MakeAsync) -> None:
    home, worker = make_async("home"), make_async("worker")
    queue = home.queue("orders")
    seen = Ledger()
    lost: list[bool] = []

    @worker.worker("orders", group="books", max_in_flight=1)
    async def handle(job: mesh.HeldJob) -> None:
        seen.add(job.data)
        if job.data == "long":
            try:
                await asyncio.sleep(60)
            finally:
                lost.append(job.is_lost)

    async with started(home, worker):
        jobs = [await queue.put("long"), await queue.put("behind")]
        await seen.wait(1)
        assert await queue.delete_group("books") == 2
        for job in jobs:
            with pytest.raises(mesh.JobGone, match="deleted"):
                await job.result(5)
        await until_async(lambda: queue.keeper.home.lines.keys() == {"books"})
        await queue.put("new")
        assert await seen.wait(2) == ["long", "new"]
        assert lost == [True]
        assert len(queue.keeper._counters) == 1


@runs
async def test_one_worker_draws_from_several_queues_in_order_or_by_weight(
    make_async: MakeAsync,
) -> None:
    node = make_async("home")
    urgent, bulk = node.queue("urgent"), node.queue("bulk")
    left, right = node.queue("left"), node.queue("right")
    strict: list[str] = []
    weighed: list[str] = []
    async with started(node):
        for queue in (urgent, bulk, left, right):
            await queue.put_many(range(100))

        @node.worker(["urgent", "bulk"], max_in_flight=1)
        async def handle(job: mesh.HeldJob) -> None:
            strict.append(job.queue)

        @node.worker({"left": 3, "right": 1}, max_in_flight=1)
        async def weigh(job: mesh.HeldJob) -> None:
            weighed.append(job.queue)

        await until_async(lambda: len(strict) == len(weighed) == 200)
    assert strict[:100].count("urgent") >= 90
    assert strict[:100].count("bulk") >= 3
    assert 60 <= weighed[:100].count("left") <= 90


@runs
async def test_who_comes_later_gets_work_and_whose_home_comes_later_is_found(
    make_async: MakeAsync,
) -> None:
    first, worker, late = (make_async(name) for name in ("a", "worker", "late"))
    seen = Ledger()

    def hire(node: mesh.AsyncNode) -> None:
        @node.worker("mail", concurrency=1, max_in_flight=1)
        async def handle(job: mesh.HeldJob) -> None:
            seen.add((node.name, job.data))
            await asyncio.sleep(0.002)

    hire(worker)
    hire(late)
    async with started(worker, first):
        here = first.queue("mail")  # after the start
        await here.put("first")
        await seen.wait(1)
        for number in range(3):  # homes that are gone take no credit with them
            second = make_async("b")
            async with started(second):
                there = second.queue("mail")
                await there.put("second")
                await seen.wait(2 + number)
        async with started(late):
            await here.put_many(range(60))
            await seen.wait(64)
    assert {name for name, _ in seen.seen} == {"worker", "late"}


@pytest.mark.parametrize("is_file", [False, True])
@runs
async def test_a_drained_node_hands_out_what_is_in_memory_and_keeps_what_is_in_a_file(
    make_async: MakeAsync, tmp_path: Path, is_file: bool
) -> None:
    home, worker = make_async("home"), make_async("worker")
    queue = home.queue("mail", store=url_of(tmp_path / "jobs.db") if is_file else None)
    seen = Ledger()

    @worker.worker("mail", concurrency=2)
    @home.worker("mail", concurrency=2)
    async def handle(job: mesh.HeldJob) -> None:
        await asyncio.sleep(0.003)
        seen.add(job.data)

    async with started(home, worker):
        await queue.put_many(range(200))
        await seen.wait(10)
        await home.drain(10)
        with pytest.raises((mesh.QueueClosed, mesh.NodeClosed)):
            await queue.put("more")
    if is_file:
        again = make_async("home")
        queue = again.queue("mail", store=url_of(tmp_path / "jobs.db"))
        again.worker("mail")(handle)
        async with started(again):
            await until_async(lambda: len(set(seen.seen)) == 200)
    assert sorted(seen.seen) == list(range(200))


@runs
async def test_a_drained_worker_ends_what_it_holds_and_takes_no_more(make_async: MakeAsync) -> None:
    home, worker = make_async("home"), make_async("worker")
    queue = home.queue("mail")
    seen = Ledger()

    @worker.worker("mail", concurrency=2)
    async def handle(job: mesh.HeldJob) -> None:
        seen.add(job.attempts)
        await asyncio.sleep(0.1)

    async with started(home, worker):
        await queue.put_many(range(50))
        await seen.wait(2)
        await worker.drain(10)
        stats = await queue.stats()
        assert stats.done == len(seen.seen)
        assert (stats.retried, stats.leases_lost, stats.reserved) == (0, 0, 0)
        assert stats.ready == 50 - stats.done


@runs
async def test_what_a_node_holds_that_closes_is_handed_out_again_at_once(
    make_async: MakeAsync,
) -> None:
    home, worker, other = make_async("home"), make_async("worker"), make_async("other")
    queue = home.queue("mail")
    begun = Ledger()
    done = Ledger()

    @worker.worker("mail", concurrency=3, max_in_flight=5)
    async def hold(job: mesh.HeldJob) -> None:
        begun.add(job.data)
        if job.data >= 1:
            await asyncio.sleep(60)

    @other.worker("mail")
    async def handle(job: mesh.HeldJob) -> None:
        done.add((job.data, job.attempts))

    async with started(home, other):
        async with started(worker):
            await home.wait_for("worker", timeout=10)
            await queue.pause()
            await queue.put_many(range(10))
            await queue.resume()
            await begun.wait(3)
        since = time.monotonic()
        await done.wait(9)
        assert time.monotonic() - since < 5  # and not a lease of 60 s
    assert {data for data, attempts in done.seen if attempts == 2} >= set(begun.seen) - {0}


@runs
async def test_a_transaction_ends_a_job_and_puts_others_or_does_nothing(
    make_async: MakeAsync, tmp_path: Path
) -> None:
    home, worker = make_async("home"), make_async("worker")
    url = url_of(tmp_path / "jobs.db")
    first, second = home.queue("first", store=url), home.queue("second", store=url, max_length=3)
    elsewhere = home.queue("elsewhere")
    errors = Ledger()

    @worker.worker("first", retry=quick(attempts=3))
    async def handle(job: mesh.HeldJob) -> Any:
        try:
            async with worker.transaction(job) as transaction:
                for number in range(job.data["count"]):
                    transaction.put(job.data["to"], [job.id, number])
                transaction.result("both")
                if job.data.get("raise"):
                    raise ValueError("nothing of it")
        except mesh.MeshError as error:
            errors.add(error)
            raise

    async with started(home, worker):
        job = await first.put({"to": "second", "count": 2})
        assert await job.result(5) == "both"
        assert (await second.stats()).ready == 2
        raised = await first.put({"to": "second", "count": 1, "raise": True})
        with pytest.raises(mesh.JobFailed, match="nothing of it"):
            await raised.result(5)
        for data, kind in (
            ({"to": "second", "count": 5}, mesh.QueueFull),
            ({"to": "elsewhere", "count": 1}, mesh.MeshError),
        ):
            errors.seen.clear()
            with pytest.raises(mesh.JobFailed) as failed:
                await (await first.put(data)).result(5)
            assert failed.value.attempts == 3
            assert all(isinstance(error, kind) for error in errors.seen)
        assert (await second.stats()).ready == 2
        assert (await elsewhere.stats()).put == 0
        fresh = await first.put({"to": "fresh", "count": 1})  # begins there
        assert await fresh.result(5) == "both"
        assert [view.data for view in await home.queue("fresh", store=url).peek()] == [
            [fresh.id, 0]
        ]
        async with home.transaction() as transaction:
            transaction.put("second", "x", headers={"a": "b"})
            transaction.put("fresh", "y")
        assert (await second.stats()).ready == 3
        full = home.transaction()
        full.put("fresh", "z")
        full.put("second", "z")
        with pytest.raises(mesh.QueueFull):
            await full.commit()
        assert (await home.queue("fresh", store=url).stats()).ready == 2
        apart = home.transaction()
        apart.put("fresh", "z")
        apart.put("elsewhere", "z")
        with pytest.raises(mesh.ConfigError):
            await apart.commit()


@runs
async def test_a_handler_that_does_not_wait_for_its_commit_stalls_nothing(
    make_async: MakeAsync, tmp_path: Path
) -> None:
    home, worker = make_async("home"), make_async("worker")
    url = url_of(tmp_path / "jobs.db")
    first, second = home.queue("first", store=url), home.queue("second", store=url, max_length=1)
    tasks: list[asyncio.Task[None]] = []

    @worker.worker("first", retry=quick(attempts=1))
    async def handle(job: mesh.HeldJob) -> Any:
        transaction = worker.transaction(job)
        transaction.put("second", 1)
        tasks.append(asyncio.create_task(transaction.commit()))
        await asyncio.sleep(0)
        return "returned"

    async with started(home, worker):
        one = await first.put(1)
        assert await one.result(5) is None  # the commit has no result
        two = await first.put(2)
        assert await two.result(5) == "returned"  # the commit failed: its return counts
        assert (await second.stats()).ready == 1
        assert [type(e) for e in await asyncio.gather(*tasks, return_exceptions=True)] == [
            type(None),
            mesh.QueueFull,
        ]


@runs
async def test_large_jobs_results_and_commits_pass_or_are_refused(make_async: MakeAsync) -> None:
    home, worker = make_async("home"), make_async("worker")
    queue, second = home.queue("mail"), home.queue("second")
    large = bytes(1024 * 1024 - 100)

    @worker.worker("mail", retry=quick(attempts=1), concurrency=4)
    async def handle(job: mesh.HeldJob) -> Any:
        if job.data == "too large":
            return bytes(1024 * 1024)
        if isinstance(job.data, int):
            async with worker.transaction(job) as transaction:
                for _ in range(job.data):
                    transaction.put("second", large)
            return None
        return job.data

    async with started(home, worker):
        jobs = [await queue.put(large) for _ in range(6)]
        for job in jobs:
            assert await job.result(20) == large
        with pytest.raises(mesh.JobFailed, match="keep it elsewhere"):
            await (await queue.put("too large")).result(5)
        assert await (await queue.put(2)).result(5) is None
        with pytest.raises(mesh.JobFailed, match="PayloadTooLarge"):
            await (await queue.put(30)).result(5)
        assert (await second.stats()).put == 2
        assert await (await queue.put(b"x")).result(5) == b"x"


@runs
async def test_a_body_that_cannot_be_read_is_dead_and_holds_up_nothing(
    make_async: MakeAsync,
) -> None:
    node = make_async("home")
    queue = node.queue("mail")
    async with started(node):
        bad = JobSpec(b"\xc1", 1024, 0, None, None, None, None, None, None)
        await queue.keeper.put([bad])
        seen = Ledger()

        @node.worker("mail")
        async def handle(job: mesh.HeldJob) -> None:
            seen.add(job.data)

        await queue.put("good")
        assert await seen.wait(1) == ["good"]
        (view,) = await queue.peek("dead")
        assert "cannot be decoded" in view.reason
        assert not view.is_readable


@runs
async def test_nothing_is_left_of_queues_when_their_node_closes(
    make_async: MakeAsync, tmp_path: Path
) -> None:
    def descriptors() -> set[str]:
        return {
            os.readlink(f"/proc/self/fd/{fd}")
            for fd in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{fd}")
        }

    async def life(drains: bool) -> None:
        node = make_async("home")
        queue = node.queue("mail", store=url_of(tmp_path / "jobs.db"))

        @node.worker("mail", concurrency=3, inline=False)
        def handle(job: mesh.HeldJob) -> None:
            time.sleep(0.01)

        @node.worker("mail", concurrency=3)
        async def handle_too(job: mesh.HeldJob) -> None:
            await asyncio.sleep(0.01)

        async with started(node):
            await queue.put_many(range(50))
            if drains:
                await node.drain(10)

    threads = set(threading.enumerate())
    for drains in (False, True):
        await life(drains)
        assert set(threading.enumerate()) == threads
        assert not [name for name in descriptors() if "jobs.db" in name]


@runs
async def test_a_worker_of_a_group_that_was_deleted_makes_it_anew(make_async: MakeAsync) -> None:
    home, worker = make_async("home"), make_async("worker")
    queue = home.queue("mail")
    seen = Ledger()

    @worker.worker("mail", group="billing")
    async def bill(job: mesh.HeldJob) -> None:
        seen.add(job.data)

    async with started(home, worker):
        await queue.put("before")
        await seen.wait(1)
        await queue.delete_group("billing")
        await queue.put("after")
        assert await seen.wait(2) == ["before", "after"]
        assert list((await queue.stats()).groups) == ["billing"]


@runs
async def test_nothing_keeps_a_node_that_had_a_worker_when_it_is_closed(
    make_async: MakeAsync,
) -> None:
    def work(job: mesh.HeldJob) -> None:
        pass

    async def life() -> weakref.ref[mesh.AsyncNode]:
        node = make_async("home")
        queue = node.queue("mail")
        node.worker("mail")(work)
        async with started(node):
            await (await queue.put(1)).result(10)
        return weakref.ref(node)

    lives = [await life() for _ in range(2)]
    async with asyncio.timeout(10):
        while lives[0]() is not None:
            await asyncio.sleep(0.05)
            gc.collect()
