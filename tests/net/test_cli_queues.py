"""``meshctl queue`` and ``meshctl work``, against real homes and with real programs."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mesh
from mesh.cli.working.performing import MAX_JOB_BYTES, Performance, Performer
from mesh.cli.working.program import Limits
from patterns.queues.errors import JobFailed
from patterns.queues.retry import Retry
from tests.net.inside import Inside, inside, without_multicast
from tests.net.processes import Script, until, until_async
from tests.net.test_cli import ENDS_SECONDS, RUN_SECONDS, Meshctl

__all__ = ["inside", "without_multicast"]

MakeNode = Callable[..., mesh.Node]
MakeAsync = Callable[..., mesh.AsyncNode]


@pytest.fixture
def home(make_node: MakeNode) -> mesh.Node:
    node = make_node("shelf")
    node.queue("emails", keep_results=60.0)
    return node.start()


# queue


def test_what_is_put_is_seen_and_taken_in_hand(inside: Inside, home: mesh.Node) -> None:
    queue = home.queue("emails", keep_results=60.0)
    first, second = inside(
        "queue", "put", "emails", '{"to": "ada"}', "hello", "--json", "--header", "a=b"
    ).lines
    assert first["is_new"]
    inside("queue", "put", "emails", "--stdin", "--delay", "1h", stdin=b"1\n2\n3")
    (listed,) = inside("queue", "ls", "--json").json
    (group,) = listed["groups"]
    assert (listed["queue"], group["ready"], group["delayed"]) == ("emails", 2, 3)
    assert [one["name"] for one in listed["homes"]] == ["shelf"]
    peeked = inside("queue", "peek", "emails", "--json").json
    assert [job["data"] for job in peeked] == [{"to": "ada"}, "hello"]
    assert peeked[0]["headers"] == {"a": "b"}
    (status,) = inside("queue", "status", "emails", second["id"], "--json").json
    assert status["state"] == "ready"
    assert inside("queue", "cancel", "emails", second["id"]).code == 0
    gone = inside("queue", "cancel", "emails", second["id"])
    assert (gone.code, "there is no job" in gone.err) == (1, True)
    inside("queue", "pause", "emails")
    assert "paused" in inside("queue", "stats", "emails").out
    inside("queue", "resume", "emails")
    assert inside("queue", "drain", "emails").code == 0
    refused = inside("queue", "put", "emails", "1")
    assert (refused.code, "takes no jobs" in refused.err) == (1, True)
    inside("queue", "drain", "emails", "--undo")
    asked = inside("queue", "empty", "emails")
    assert (asked.code, "--yes" in asked.err) == (2, True)
    assert inside("queue", "empty", "emails", "--yes", "--json").json == {"jobs": 4}
    assert sum(group.ready for group in queue.stats().groups.values()) == 0


def test_the_dead_are_shown_changed_and_tried_again(inside: Inside, home: mesh.Node) -> None:
    queue = home.queue("emails", keep_results=60.0)

    @home.worker("emails", retry=lambda error, attempts: None)
    def send(job: Any) -> str:
        if job.data == "bad":
            raise ValueError("no \x1b[31msuch address")
        return f"sent {job.data}"

    failed = inside("queue", "put", "emails", "bad", "--wait")
    assert (failed.code, "was given up" in failed.err, "\x1b" in failed.err) == (1, True, False)
    (dead,) = inside("queue", "dead", "emails", "--json").json
    id = dead["id"]
    shown = inside("queue", "dead", "emails", "show", id)
    assert "Traceback" in shown.out
    assert "ValueError: no" in shown.out
    assert inside("queue", "dead", "emails", "edit", id, "good").code == 0
    assert "1 job\n" in inside("queue", "dead", "emails", "kick", id).out
    assert inside("queue", "result", "emails", id).out == "sent good\n"
    assert inside("queue", "kick", "emails", "5", "--json").json == {"jobs": 0}
    queue.put("bad")
    until(lambda: queue.stats().buried == 2)
    assert inside("queue", "dead", "emails", "purge", "--yes").out == "deleted 1 job\n"
    wrong = inside("queue", "dead", "emails", "show")
    assert (wrong.code, "which job" in wrong.err) == (2, True)


def test_a_queue_that_nobody_keeps_says_what_to_do(inside: Inside, home: mesh.Node) -> None:
    for command in (["put", "none", "1"], ["stats", "none"]):
        run = inside("queue", *command)
        assert run.code == 1
        assert run.err == (
            "meshctl: nobody keeps the queue 'none': start one with 'meshctl queue serve none'\n"
        )


def test_what_is_the_meshs_own_is_shown_to_who_asks(inside: Inside, home: mesh.Node) -> None:
    home.rpc("work")(lambda: 1)
    assert {s["service"] for s in inside("services", "--json").json} == {"shelf"}
    assert "_queue-emails" in inside("services", "--all").out
    assert "_queue-emails" not in inside("peers").out
    assert "_queue-emails" in inside("peers", "--all").out
    assert "_queue-emails" not in inside("describe", home.id).out
    assert "_queue-emails.put" in inside("describe", home.id, "--all").out


# work: its handler, in a node of this process


def performer(text: str, **how: Any) -> Performer:
    given: dict[str, Any] = {
        "command": ["sh", "-c", text],
        "limits": Limits(grace=0.1),
        "retry": Retry(2, base=0.01),
        "touch_lease": None,
        "is_raw": False,
        "has_result": True,
        "is_quiet": True,
    }
    return Performer(Performance(**given | how))


async def outcome(make_async: MakeAsync, text: str, data: Any, **put: Any) -> Any:
    how = put.pop("how", {})
    async with make_async("both") as node:
        queue = node.queue("q")
        node.worker("q", lease=60.0)(performer(text, **how).perform)
        job = await queue.put(data, **put)
        return await job.result(RUN_SECONDS)


def test_a_program_has_the_job_and_gives_its_result(make_async: MakeAsync) -> None:
    text = (
        'echo "[$(cat), \\"$MESH_QUEUE $MESH_ATTEMPTS $MESH_JOB_ID $MESH_JOB_KEY '
        '$MESH_HEADER_X_Y\\"]"'
    )
    got = asyncio.run(
        outcome(make_async, text, {"a": 1}, id="seven", key="k", headers={"x-y": "z"})
    )
    assert got == [{"a": 1}, "q 1 seven k z"]


def test_raw_bytes_come_as_they_are_and_bytes_go_back(make_async: MakeAsync) -> None:
    got = asyncio.run(outcome(make_async, "cat", b"\xff\x00\xfe", how={"is_raw": True}))
    assert got == b"\xff\x00\xfe"


@pytest.mark.parametrize(
    ("text", "attempts", "reason"),
    [
        ("echo no >&2; exit 65", 1, "exit code 65: no"),
        ("exit 100", 1, "exit code 100"),
        ("echo no >&2; exit 3", 2, "exit code 3: no"),
        ("kill -9 $$", 2, "ended by SIGKILL"),
        (f"head -c {MAX_JOB_BYTES + 1} /dev/zero", 1, "its output has more"),
        ('[ "$MESH_ATTEMPTS" = 4 ] && exit 65; exit 75', 4, "exit code 65"),
    ],
)
def test_the_exit_code_decides(
    make_async: MakeAsync, text: str, attempts: int, reason: str
) -> None:
    with pytest.raises(JobFailed) as failed:
        asyncio.run(outcome(make_async, text, 1))
    assert failed.value.attempts == attempts
    assert reason in failed.value.reason


def test_what_cannot_be_in_an_environment_is_dead(make_async: MakeAsync) -> None:
    with pytest.raises(JobFailed, match="environment"):
        asyncio.run(outcome(make_async, "exit 0", 1, key=b"a\0b"))


def test_a_lease_is_touched_while_the_program_runs(make_async: MakeAsync) -> None:
    async def main() -> tuple[Any, int]:
        async with make_async("both") as node:
            queue = node.queue("q")
            node.worker("q", lease=0.4)(performer("sleep 1; echo 7", touch_lease=0.4).perform)
            value = await (await queue.put(1)).result(RUN_SECONDS)
            return value, (await queue.stats()).leases_lost

    assert asyncio.run(main()) == (7, 0)


def test_a_program_whose_lease_is_lost_is_ended(make_async: MakeAsync, tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    async def main() -> None:
        async with make_async("both") as node:
            queue = node.queue("q")
            text = f"trap '' TERM; echo $$ >> {pids}; while true; do sleep 0.05; done"
            doing = performer(text)
            node.worker("q", lease=0.3)(doing.perform)
            job = await queue.put(1)

            def is_over() -> bool:
                """KILL came after the grace, it is reaped, and another has the job."""
                begun = pids.read_text().split() if pids.exists() else []
                return len(begun) > 1 and not Path(f"/proc/{begun[0]}").exists()

            await until_async(is_over, RUN_SECONDS)
            assert (await queue.stats()).leases_lost
            await job.cancel()
            doing.kill_all()
            await doing.wait_ended()

    asyncio.run(main())


# work and serve, as they are run


@pytest.fixture
def meshctl(mesh_name: str) -> Iterator[Meshctl]:
    runner = Meshctl(mesh_name)
    yield runner
    runner.end()


def said(script: Script, text: str) -> None:
    until(lambda: text in script.errors, RUN_SECONDS, text)


def test_a_signal_drains_and_the_second_one_kills(
    meshctl: Meshctl, inside: Inside, tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path}/jobs.db"
    serve = meshctl.start("queue", "serve", "slow", "--store", store, "--keep-results", "1h")
    text = 'read t; echo "began $t" >&2; sleep $t; echo "ended $t" >&2'
    work = meshctl.start("work", "-q", "slow", "--concurrency", "2", "--", "sh", "-c", text)
    for one in (serve, work):
        said(one, "Ctrl-C")
    (short, long) = inside("queue", "put", "slow", "1", "30", "--json").lines
    until(lambda: "began 1\n" in work.errors and "began 30\n" in work.errors, RUN_SECONDS)
    work.signal(signal.SIGTERM)
    said(work, "2 programs to end; again to kill")
    said(work, "ended 1\n")
    assert work.process.poll() is None
    work.signal(signal.SIGINT)
    assert work.wait(ENDS_SECONDS) == 128 + signal.SIGTERM
    (status,) = inside("queue", "status", "slow", short["id"], "--json").json
    assert status["state"] == "done"
    (status,) = inside("queue", "status", "slow", long["id"], "--json").json
    assert (status["state"], status["attempts"]) == ("ready", 1)
    serve.signal(signal.SIGTERM)
    assert serve.wait(ENDS_SECONDS) == 128 + signal.SIGTERM
    for one in (serve, work):
        one.check()


def test_tail_tells_what_happens(meshctl: Meshctl, home: mesh.Node) -> None:
    tail = meshctl.start("queue", "tail", "emails", "--json")
    said(tail, "tailing")
    events: list[dict[str, Any]] = []
    stdout = tail.process.stdout
    assert stdout is not None
    reading = threading.Thread(
        target=lambda: events.extend(json.loads(stdout.readline()) for _ in range(3))
    )
    reading.start()
    home.worker("emails")(lambda job: None)
    # It is there as soon as its own question has come; what is put before is not told.
    deadline = time.monotonic() + RUN_SECONDS
    while reading.is_alive() and time.monotonic() < deadline:
        home.queue("emails", keep_results=60.0).put(1)
        reading.join(0.1)
    assert {event["event"] for event in events} <= {"put", "taken", "done"}
    tail.signal(signal.SIGINT)
    assert tail.wait(ENDS_SECONDS) == 128 + signal.SIGINT


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-q", "a", "--", "no-such-program"], "no program"),
        (["-q", "a=1", "-q", "b", "--", "true"], "all of the queues a weight"),
        (["-q", "a b", "--", "true"], "bad queue name"),
        (["--", "true"], "Missing option"),
        (["-q", "a", "--hard-limit", "-1", "--", "true"], "above 0"),
    ],
)
def test_wrong_usage_of_work_is_told(inside: Inside, arguments: list[str], reason: str) -> None:
    run = inside("work", *arguments)
    assert (run.code, reason in run.err) == (2, True)
