"""Work queues from the producer's side: what ``put`` promises, its options, results, people."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import mesh
from tests.net.processes import until_async
from tests.net.queue_help import Ledger, MakeAsync, counted, quick, started, url_of
from tests.net.test_async_node import runs


@runs
async def test_a_job_that_was_put_is_in_the_file_when_put_returns(
    make_async: MakeAsync, tmp_path: Path
) -> None:
    node = make_async("home")
    queue = node.queue("mail", store=url_of(tmp_path / "jobs.db"))
    async with started(node):
        job = await queue.put({"to": "ann"}, headers={"tenant": "7"}, priority=3, key="ann")
        await queue.put_many(range(5))
    again = make_async("home")
    queue = again.queue("mail", store=url_of(tmp_path / "jobs.db"))
    seen = Ledger()

    @again.worker("mail")
    def handle(one: mesh.HeldJob) -> None:
        seen.add((one.id, one.data, one.headers, one.key, one.attempts))

    async with started(again):
        await seen.wait(6)
        assert seen.seen[0] == (job.id, {"to": "ann"}, {"tenant": "7"}, b"ann", 1)
        assert [data for _, data, *_ in seen.seen[1:]] == list(range(5))


@pytest.mark.parametrize("is_named", [False, True])
@runs
async def test_a_put_that_returns_while_its_node_closes_is_in_the_file_and_none_waits(
    make_async: MakeAsync, tmp_path: Path, is_named: bool
) -> None:
    url = url_of(tmp_path / "jobs.db")
    node = make_async("home")
    queue = node.queue("mail", store=url)
    returned: set[int] = set()

    async def put(first: int) -> None:
        for number in itertools.count(first, 8):
            await queue.put(number, id=str(number) if is_named else None)
            returned.add(number)

    async with started(node):
        puts = [asyncio.create_task(put(first)) for first in range(8)]
        await until_async(lambda: len(returned) > 50)
    ends = await asyncio.wait_for(asyncio.gather(*puts, return_exceptions=True), 10)
    assert all(isinstance(end, mesh.MeshError) for end in ends)
    again = make_async("home")
    queue = again.queue("mail", store=url)
    async with started(again):
        assert {view.data for view in await queue.peek(limit=1000)} >= returned


@runs
async def test_jobs_are_handed_out_by_priority_and_then_in_order(make_async: MakeAsync) -> None:
    node = make_async("home")
    queue = node.queue("mail")
    seen = Ledger()
    async with started(node):
        for priority in (5, 1, 3, 1):
            await queue.put(priority, priority=priority)
        await queue.put("usual")

        @node.worker("mail", max_in_flight=1)
        async def handle(job: mesh.HeldJob) -> None:
            seen.add(job.data)

        assert await seen.wait(5) == [1, 1, 3, 5, "usual"]


@runs
async def test_a_delay_is_waited_for_and_a_ttl_ends_a_job(make_async: MakeAsync) -> None:
    node = make_async("home")
    queue = node.queue("mail")
    seen = Ledger()
    async with started(node):
        await queue.stats()  # a young node waits for others it may not know as yet
        now = datetime.now(UTC)
        clock = asyncio.get_running_loop().time
        begun = clock()
        late = await queue.put("late", at=now + timedelta(seconds=0.3))
        later = await queue.put("later", delay=0.4)
        short = await queue.put("short", ttl=0.02)
        assert (await queue.stats()).delayed == 2
        await asyncio.sleep(0.03)

        @node.worker("mail")
        async def handle(job: mesh.HeldJob) -> Any:
            seen.add((job.data, clock() - begun))
            return job.data

        assert await late.result(5) == "late"
        assert await later.result(5) == "later"
        with pytest.raises(mesh.JobGone, match="expired"):
            await short.result(5)
        assert [data for data, _ in seen.seen] == ["late", "later"]
        assert seen.seen[0][1] >= 0.29
        assert seen.seen[1][1] >= 0.4


@pytest.mark.parametrize("is_file", [False, True])
@runs
async def test_a_unique_job_is_one_while_it_is_queued_and_while_it_runs(
    make_async: MakeAsync, tmp_path: Path, is_file: bool
) -> None:
    node = make_async("home")
    queue = node.queue("mail", store=url_of(tmp_path / "jobs.db") if is_file else None)
    running, go_on = asyncio.Event(), asyncio.Event()
    async with started(node):
        first = await queue.put(1, unique="report")
        queued = await queue.put(2, unique="report")
        assert (first.is_new, queued.is_new) == (True, False)
        assert first.id == queued.id

        @node.worker("mail")
        async def handle(job: mesh.HeldJob) -> Any:
            running.set()
            await go_on.wait()
            return ["made", job.data]

        await running.wait()
        ended: list[Any] = []
        while_running = await queue.put(3, unique="report")
        while_running.on_done(ended.append)
        assert not while_running.is_new
        go_on.set()
        for one in (first, queued, while_running):
            assert await one.result(5) == ["made", 1]
        assert ended == [while_running]
        afterwards = await queue.put(4, unique="report")
        assert afterwards.is_new
        assert await afterwards.result(5) == ["made", 4]


@runs
async def test_jobs_of_one_key_run_one_by_one_and_in_order(make_async: MakeAsync) -> None:
    home, worker = make_async("home"), make_async("worker")
    queue = home.queue("mail")
    seen = Ledger()
    busy: dict[bytes | None, int] = {}

    @worker.worker("mail", concurrency=8, retry=quick())
    async def handle(job: mesh.HeldJob) -> None:
        assert busy.get(job.key, 0) == 0
        busy[job.key] = 1
        await asyncio.sleep(0.001)
        busy[job.key] = 0
        if job.data == 3 and job.attempts == 1:
            raise ValueError("again")
        seen.add((job.key, job.data))

    async with started(home, worker):
        for number in range(30):
            await queue.put(number // 3, key=f"k{number % 3}")
        await seen.wait(30)
        for key in (b"k0", b"k1", b"k2"):
            assert [data for of, data in seen.seen if of == key] == list(range(10))


@pytest.mark.parametrize("is_file", [False, True])
@runs
async def test_a_job_of_the_same_id_is_the_same_job_within_the_window(
    make_async: MakeAsync, tmp_path: Path, is_file: bool
) -> None:
    store = url_of(tmp_path / "jobs.db") if is_file else None
    node = make_async("home")
    queue = node.queue("mail", store=store, dedup=0.4, keep_results=0.2)
    async with started(node):

        @node.worker("mail")
        async def handle(job: mesh.HeldJob) -> Any:
            return job.data

        job = await queue.put(1, id="order-7")
        assert job.id == "order-7"
        assert await job.result(5) == 1
        again = await queue.put(2, id="order-7")
        told: list[Any] = []
        again.on_done(told.append)
        assert not again.is_new
        # It has ended: what is kept of it is what the second one gets.
        assert await again.result(5) == 1
        assert told == [again]
        assert await queue.job("order-7").result(5) == 1
        await asyncio.sleep(0.25)
        third = await queue.put(2, id="order-7")
        assert not third.is_new
        with pytest.raises(mesh.JobGone):
            await third.result(5)
        await asyncio.sleep(0.25)
        assert (await queue.put(2, id="order-7")).is_new


@runs
async def test_put_many_is_all_or_none(make_async: MakeAsync) -> None:
    node = make_async("home")
    queue = node.queue("mail", max_length=10)
    async with started(node):
        assert len(await queue.put_many(range(8))) == 8
        with pytest.raises(mesh.QueueFull):
            await queue.put_many(range(3))
        assert list(await queue.put_many([])) == []
        assert (await queue.stats()).ready == 8
        with pytest.raises(mesh.PayloadTooLarge):
            await queue.put_many([b"", bytes(2_000_000)])
        assert (await queue.stats()).ready == 8


@runs
async def test_a_queue_that_drops_its_oldest_has_room_for_new_ones(make_async: MakeAsync) -> None:
    node = make_async("home")
    queue = node.queue("mail", max_length=5, overflow="drop_oldest")
    async with started(node):
        jobs = [await queue.put(number) for number in range(8)]
        await counted(queue, ready=5, dropped=3)
        assert [view.data for view in await queue.peek()] == [3, 4, 5, 6, 7]
        with pytest.raises(mesh.JobGone, match="dropped"):
            await jobs[0].result(5)


@runs
async def test_how_a_job_ends_is_what_its_producer_is_told(make_async: MakeAsync) -> None:
    home, worker = make_async("home"), make_async("worker")
    queue = home.queue("mail")
    steps: list[Any] = []

    @worker.worker("mail", retry=quick(attempts=2), concurrency=4)
    async def handle(job: mesh.HeldJob) -> Any:
        match job.data:
            case "value":
                job.progress(1, 2, {"at": "half"})
                return {"sum": 3}
            case "nothing":
                return None
            case "dead":
                raise ValueError("no such person")
            case "long":
                await asyncio.sleep(60)
            case "unpackable":
                return object()
        return None

    async with started(home, worker):
        value = await queue.put("value")
        value.on_progress(steps.append)
        ended: list[Any] = []
        value.on_done(ended.append)
        assert await value.result(5) == {"sum": 3}
        assert ended == [value]
        late: list[Any] = []
        value.on_done(late.append)
        assert late == [value]
        assert steps == [mesh.Progress(1, 2, {"at": "half"})]
        assert value.progress == steps[0]
        assert await (await queue.put("nothing")).result(5) is None
        dead = await queue.put("dead")
        with pytest.raises(mesh.JobFailed, match="no such person") as failed:
            await dead.result(5)
        assert failed.value.attempts == 2
        (status,) = await dead.status()
        assert (status.state, status.attempts) == ("dead", 2)
        with pytest.raises(mesh.JobFailed, match="object"):
            await (await queue.put("unpackable")).result(5)
        long = await queue.put("long")
        with pytest.raises(mesh.Timeout):
            await long.result(0.02)
        assert await long.cancel()
        with pytest.raises(mesh.JobGone, match="deleted"):
            await long.result(5)
        assert not await long.cancel()
        waiting = await queue.put("value", delay=60)
        assert await waiting.cancel()
        assert await waiting.status() == []


@runs
async def test_the_outcome_of_a_job_is_found_after_a_restart_of_its_producer(
    make_async: MakeAsync, tmp_path: Path
) -> None:
    url = url_of(tmp_path / "jobs.db")
    node = make_async("home")
    queue = node.queue("mail", store=url)

    @node.worker("mail", retry=quick(attempts=1))
    async def handle(job: mesh.HeldJob) -> Any:
        if job.data == "bad":
            raise ValueError("bad")
        return [job.data]

    async with started(node):
        kept = await queue.put("kept", keep_result=60)
        named = await queue.put("named", keep_result=60, id="report-1")
        forgotten = await queue.put("forgotten")
        bad = await queue.put("bad")
        late = await queue.put("late", delay=0.5)
        for job in (kept, named, forgotten):
            await job.result(5)
        with pytest.raises(mesh.JobFailed):
            await bad.result(5)
    again = make_async("home")
    queue = again.queue("mail", store=url)
    again.worker("mail")(handle)
    async with started(again):
        assert await queue.job(kept.id).result(5) == ["kept"]
        assert [one.state for one in await queue.job(kept.id).status()] == ["done"]
        assert await queue.job("report-1").result(5) == ["named"]
        assert named.id == "report-1"
        with pytest.raises(mesh.JobGone):
            await queue.job(forgotten.id).result(5)
        with pytest.raises(mesh.JobGone):
            await queue.job("nothing").result(5)
        assert await queue.job("nothing").status() == []
        with pytest.raises(mesh.JobFailed):
            await queue.job(bad.id).result(5)
        told: list[Any] = []
        waits = queue.job(late.id)
        assert [one.state for one in await waits.status()] == ["delayed"]
        waits.on_done(told.append)
        assert await waits.result(5) == ["late"]
        assert told == [waits]


@runs
async def test_who_waits_for_a_result_when_the_node_closes_is_told_so(
    make_async: MakeAsync,
) -> None:
    node = make_async("home")
    queue = node.queue("mail")
    async with started(node):
        waiting = asyncio.create_task((await queue.put(1)).result())
        found = asyncio.create_task(queue.job((await queue.put(2)).id).result())
        await asyncio.sleep(0.02)
    for one in (waiting, found):
        with pytest.raises(mesh.NodeClosed):
            await asyncio.wait_for(one, 5)


@runs
async def test_a_home_finds_jobs_that_others_keep(make_async: MakeAsync) -> None:
    first, second = make_async("first"), make_async("second")
    here, there = first.queue("mail"), second.queue("mail")
    async with started(first, second):
        await first.wait_for("_queue-mail", count=1, timeout=10)
        job = await there.put("x", keep_result=5, id="far")
        await there.put("y", id="near")
        assert [one.state for one in await here.job("far").status()] == ["ready"]
        waits = asyncio.create_task(here.job("far").result())
        await asyncio.sleep(0.01)

        @second.worker("mail")
        async def handle(one: mesh.HeldJob) -> Any:
            return one.data

        assert await asyncio.wait_for(waits, 5) == "x"
        assert await job.result(5) == "x"
        stats = await counted(here, done=2)
        assert {peer.name for peer in stats.homes} == {"first", "second"}


@runs
async def test_the_dead_are_looked_at_edited_kicked_and_purged(make_async: MakeAsync) -> None:
    node = make_async("home")
    queue = node.queue("mail")
    seen = Ledger()
    async with started(node):

        @node.worker("mail", retry=quick(attempts=2))
        async def handle(job: mesh.HeldJob) -> None:
            if not isinstance(job.data, int):
                raise TypeError(f"not a number: {job.data}")
            seen.add((job.data, job.attempts))

        jobs = [await queue.put(word) for word in ("one", "two", "three", "four")]
        await counted(queue, buried=4)
        views = await queue.peek("dead")
        assert [view.data for view in views] == ["one", "two", "three", "four"]
        assert "not a number: one" in views[0].reason
        assert "Traceback" in views[0].reason
        assert views[0].attempts == 2
        await queue.edit(jobs[0].id, 1)
        await queue.edit(jobs[3].id, 4)
        assert await queue.kick(id=jobs[3].id) == 1
        assert await queue.kick(1) == 1
        assert sorted(await seen.wait(2)) == [(1, 1), (4, 1)]
        assert await queue.kick(10) == 2  # they die again
        stats = await counted(queue, buried=6)
        assert stats.groups[""].dead == 2
        assert await queue.purge() == 2
        assert await queue.peek("dead") == []
        with pytest.raises(mesh.JobGone):
            await queue.edit(jobs[1].id, 7)
        waiting = await queue.put(7, delay=60)
        await queue.edit(waiting.id, 8)
        assert await queue.kick(id=waiting.id) == 1
        assert (await seen.wait(3))[2] == (8, 1)


@runs
async def test_what_is_done_as_its_worker_closes_is_told_and_done_once(
    make_async: MakeAsync,
) -> None:
    home, worker = make_async("home"), make_async("worker")
    queue = home.queue("mail")
    closing: list[asyncio.Future[None]] = []

    @worker.worker("mail")
    async def handle(job: mesh.HeldJob) -> None:
        closing.append(asyncio.ensure_future(worker.close()))

    async with started(home, worker):
        await queue.put("once")
        await until_async(lambda: closing)
        await closing[0]
        await counted(queue, done=1, reserved=0, ready=0)


@runs
async def test_more_than_one_call_can_carry_is_refused_where_it_is_put(
    make_async: MakeAsync,
) -> None:
    producer = make_async("producer")
    async with started(producer):
        with pytest.raises(mesh.ConfigError, match="at most 1000"):
            await producer.queue("mail", hosts="home").put_many(range(1_001))


@runs
async def test_a_paused_queue_hands_out_nothing_also_after_a_restart(
    make_async: MakeAsync, tmp_path: Path
) -> None:
    url = url_of(tmp_path / "jobs.db")
    seen = Ledger()

    async def handle(job: mesh.HeldJob) -> None:
        seen.add(job.data)

    node = make_async("home")
    queue = node.queue("mail", store=url)
    node.worker("mail")(handle)
    async with started(node):
        await queue.pause()
        await queue.put(1)
        await asyncio.sleep(0.05)
        assert seen.seen == []
    again = make_async("home")
    queue = again.queue("mail", store=url)
    again.worker("mail")(handle)
    async with started(again):
        await queue.put(2)
        await asyncio.sleep(0.1)
        assert seen.seen == []
        assert [g.paused for g in (await queue.stats()).groups.values()] == [1]
        await queue.resume()
        assert await seen.wait(2) == [1, 2]


@runs
async def test_a_drained_queue_takes_nothing_and_hands_out_what_it_has(
    make_async: MakeAsync,
) -> None:
    node = make_async("home")
    queue = node.queue("mail")
    async with started(node):
        job = await queue.put(1)
        await queue.drain()
        assert (await queue.stats()).draining == 1
        with pytest.raises(mesh.QueueClosed):
            await queue.put(2)

        @node.worker("mail")
        async def handle(job: mesh.HeldJob) -> Any:
            return job.data

        assert await job.result(5) == 1
        await queue.undrain()
        assert await (await queue.put(2)).result(5) == 2


@runs
async def test_an_empty_queue_has_lost_what_waited_and_nothing_else(
    make_async: MakeAsync,
) -> None:
    node = make_async("home")
    queue = node.queue("mail")
    begun, go_on = asyncio.Event(), asyncio.Event()
    async with started(node):

        @node.worker("mail", max_in_flight=1)
        async def handle(job: mesh.HeldJob) -> Any:
            begun.set()
            await go_on.wait()
            return job.data

        held = await queue.put("held")
        await begun.wait()
        jobs = await queue.put_many(range(2500))
        await queue.put("delayed", delay=60)
        assert await queue.empty() == 2501
        go_on.set()
        assert await held.result(5) == "held"
        with pytest.raises(mesh.JobGone):
            await jobs[7].result(5)
        assert await queue.delete(held.id) is False


@runs
async def test_jobs_at_hosts_outlive_their_producer_and_a_host_that_restarts(
    make_async: MakeAsync, tmp_path: Path
) -> None:
    def host(number: int) -> mesh.AsyncNode:
        node = make_async("keepers")
        node.queue("mail", store=url_of(tmp_path / f"{number}.db"), keep_results=60)
        return node

    hosts = [host(0), host(1)]
    producer, worker = make_async("producer"), make_async("worker")
    queue = producer.queue("mail", hosts="keepers")
    seen = Ledger()
    async with started(*hosts):
        async with started(producer):
            await producer.wait_for("keepers", count=2, timeout=10)
            jobs = [await queue.put(number, key=f"k{number}") for number in range(20)]
            owners = [producer.owner("keepers", f"k{number}") for number in range(20)]
            stats = await queue.stats()
            put = {peer.id: home["counters"]["put"] for peer, home in stats.homes.items()}
            assert put == {h.id: sum(o.id == h.id for o in owners) for h in hosts}
            assert min(put.values()) > 0
            unique = await queue.put("u", unique="u")
            assert (await queue.put("u", unique="u")).id == unique.id
        await hosts[1].close()
        hosts[1] = host(1)
        await hosts[1].start()

        @worker.worker("mail", concurrency=4)
        async def handle(job: mesh.HeldJob) -> Any:
            seen.add(job.data)
            return job.data

        async with started(worker):
            await seen.wait(21)
            asking = make_async("producer")
            async with started(asking):
                await asking.wait_for("keepers", count=2, timeout=10)
                again = asking.queue("mail", hosts="keepers")
                for job in jobs[:4]:
                    assert await again.job(job.id).result(5) == jobs.index(job)
                # Who does not wait is told as well.
                told = Ledger()
                for id in (jobs[0].id, "no-such"):
                    again.job(id).on_done(told.add)
                late = [await again.put(n, key=n, delay=0.3) for n in range(20, 26)]
                for job in late:
                    job.on_done(told.add)
                await told.wait(8)
                ids = {one.id for one in told.seen}
                assert ids == {
                    jobs[0].id,
                    "no-such",
                    *(j.id for j in late),
                }
    assert sorted(map(str, seen.seen)) == sorted([*map(str, range(26)), "u"])
    await hosts[1].close()


@runs
async def test_who_asks_for_a_result_while_the_job_ends_gets_it(
    make_async: MakeAsync, tmp_path: Path
) -> None:
    home, producer = make_async("home"), make_async("producer")
    home.queue("mail", store=url_of(tmp_path / "jobs.db"), keep_results=60)
    home.queue("soon", store=url_of(tmp_path / "jobs.db"))
    kept, soon = producer.queue("mail", hosts="home"), producer.queue("soon", hosts="home")
    async with started(home, producer):
        await producer.wait_for("home", timeout=10)
        for queue in (kept, soon):
            jobs = await queue.put_many(range(100))
            asking = [asyncio.create_task(job.result(20)) for job in jobs]
            await asyncio.sleep(0.05)

            @producer.worker(queue.name, concurrency=50)
            async def handle(job: mesh.HeldJob) -> Any:
                return job.data

            results = await asyncio.gather(*asking, return_exceptions=True)
            # Of those that are not kept nothing is known to who asks when they have ended.
            wrong = [r for n, r in enumerate(results) if r != n and queue is kept]
            assert wrong == []
            assert all(r == n or isinstance(r, mesh.JobGone) for n, r in enumerate(results))


@runs
async def test_a_queue_that_began_with_a_transaction_is_there_after_a_restart(
    make_async: MakeAsync, tmp_path: Path
) -> None:
    url = url_of(tmp_path / "jobs.db")
    node = make_async("home")
    queue = node.queue("mail", store=url)

    @node.worker("mail")
    async def begin(job: mesh.HeldJob) -> None:
        async with node.transaction(job) as transaction:
            transaction.put("next", job.data, delay=0.05)

    async with started(node):
        await queue.put("late")
        await counted(queue, done=1)
    home, worker = make_async("home"), make_async("worker")
    home.queue("mail", store=url)
    seen = Ledger()

    @worker.worker("next")
    async def handle(job: mesh.HeldJob) -> None:
        seen.add(job.data)

    async with started(home, worker):
        assert await seen.wait(1) == ["late"]
        # The program may still say how it is kept, once.
        home.queue("next", store=url, max_length=9)
        assert len(await home.queue("next", store=url, max_length=9).put_many(range(5))) == 5
        await counted(home.queue("next", store=url, max_length=9), done=6)
        with pytest.raises(mesh.ConfigError, match="in another way"):
            home.queue("next", store=url, max_length=6)


@runs
async def test_a_handle_finds_its_job_at_a_host_that_was_restarted(
    make_async: MakeAsync, tmp_path: Path
) -> None:
    def host() -> mesh.AsyncNode:
        node = make_async("keepers")
        node.queue("mail", store=url_of(tmp_path / "jobs.db"), keep_results=60)
        return node

    producer = make_async("producer")
    queue = producer.queue("mail", hosts="keepers")
    async with started(producer):
        async with started(host()):
            await producer.wait_for("keepers", timeout=10)
            job = await queue.put(1)
            waiting = asyncio.create_task(job.result())
            await asyncio.sleep(0.05)
        with pytest.raises(mesh.PeerLost):
            await asyncio.wait_for(waiting, 5)
        with pytest.raises(mesh.NoProvider):
            await job.result(5)
        async with started(host()):
            await producer.wait_for("keepers", timeout=10)

            @producer.worker("mail")
            async def handle(one: mesh.HeldJob) -> Any:
                return one.data

            assert await job.result(5) == 1


@pytest.mark.parametrize("store", ["sqlite:///", "sqlite:///:memory:", "jobs.db", ""])
def test_a_store_that_is_no_file_is_refused(make_async: MakeAsync, store: str) -> None:
    with pytest.raises(mesh.ConfigError, match="for a file"):
        make_async("home").queue("mail", store=store)
