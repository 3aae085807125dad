"""What members can do to a queue that they may use: nothing to who else uses it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import mesh
from mesh.queues.keeping import MAX_UNREAD
from mesh.queues.people import TAILS
from mesh.queues.registry import MAX_BESIDE, MAX_QUEUES
from mesh.queues.specs import MAX_HEADERS_BYTES
from mesh.testing import SimMesh
from patterns.queues import messages as m
from patterns.queues.naming import service_of


class Scene:
    """A home of the queue ``mail``, and a member who speaks to it as it likes."""

    def __init__(self) -> None:
        self.sim = SimMesh(seed=1)
        self.home = self.sim.node("home")
        self.queue = self.home.queue("mail")
        self.evil = self.sim.node("evil")

    async def work(self, **headers: str) -> mesh.AsyncStream:
        await self.evil.wait_for("home")
        headers = {"lease": "60", "worker": "evil", **headers}
        return await self.evil.open_stream(f"{service_of('mail')}.work", headers=headers)

    async def draw(self) -> tuple[mesh.AsyncStream, int]:
        """A stream with a job, and its number."""
        stream = await self.work()
        await stream.send([m.TOUCH, []])
        await stream.send([m.CREDIT, 1])
        while (message := await stream.receive())[0] != m.JOBS:
            continue
        return stream, message[2][0]

    def run(self, body: Any) -> None:
        with self.sim:
            self.sim.run(body)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {str(number): "" for number in range(129)}},
        {"headers": {"a": "x" * MAX_HEADERS_BYTES}},
        {"headers": {"a": "é" * (MAX_HEADERS_BYTES // 2)}},
        {"key": b"k" * 1025},
        {"id": "\x1b[2J"},
        {"id": "a\nb"},
        {"unique": "a\0b"},
    ],
)
def test_a_job_that_no_worker_would_take_is_not_put(scene: Scene, options: Any) -> None:
    async def body() -> None:
        await scene.evil.wait_for("home")
        with pytest.raises(mesh.MeshError):
            await scene.queue.put(1, **options)
        with pytest.raises(mesh.RemoteError, match="BadRequest"):
            await scene.evil.call("_queue-mail.put", [[b"\x01", options]])
        assert (await scene.queue.stats()).put == 0

    scene.run(body())


def test_a_batch_with_the_longest_headers_and_keys_reaches_its_worker(scene: Scene) -> None:
    def make() -> mesh.AsyncNode:
        node = mesh.AsyncNode("worker")

        @node.worker("mail")
        def handle(job: mesh.HeldJob) -> int:
            return job.attempts

        return node

    async def body() -> None:
        headers = {"a": "x" * (MAX_HEADERS_BYTES - 1)}
        jobs = [
            await scene.queue.put(1, headers=headers, key=f"{number:01024}", priority=0)
            for number in range(256)
        ]
        scene.sim.add(make)
        assert [await job.result(30) for job in jobs] == [1] * 256

    scene.run(body())


def test_a_commit_of_what_is_not_held_makes_no_queues(scene: Scene) -> None:
    async def body() -> None:
        stream = await scene.work()
        await stream.receive()
        await stream.send([m.COMMIT, 1, 99, None, [["other", b"\x01", {}]]])
        assert (await stream.receive())[2][0] == "LeaseLost"
        assert "other" not in scene.home.queues.keepers

    scene.run(body())


def test_commits_begin_so_many_queues_and_the_home_can_serve_on(scene: Scene) -> None:
    async def body() -> None:
        await scene.queue.put(1)
        stream, number = await scene.draw()
        for ref, count in enumerate((MAX_BESIDE, 1)):
            puts = [[f"q{ref}-{at}", b"\x01", {}] for at in range(count)]
            await stream.send([m.COMMIT, ref, number, None, puts])
            answer = await stream.receive()
            if ref == 0:
                assert answer == [m.COMMITTED, 0, None]
                await scene.queue.put(2)
                stream.abort("to have the next")
                stream, number = await scene.draw()
        assert answer[2][0] == "ConfigError"
        scene.home.queue("mine")

    scene.run(body())


def test_who_reads_nothing_of_what_it_is_told_is_cut_off(scene: Scene) -> None:
    async def body() -> None:
        stream = await scene.work()
        asked = list(range(2**61, 2**61 + 10_000))  # 90 kB, and as much is the answer

        async def flood() -> None:
            for _ in range(2 * MAX_UNREAD // 90_000):
                await stream.send([m.TOUCH, asked])
            await stream.receive()

        with pytest.raises(mesh.StreamAborted, match="reads nothing"):
            await flood()

    scene.run(body())


@pytest.mark.parametrize("lease", ["nan", "inf", "-1", "0", "much", ""])
def test_a_worker_that_is_refused_makes_no_group(scene: Scene, lease: str) -> None:
    async def body() -> None:
        with pytest.raises(mesh.RemoteError, match="BadRequest"):
            await (await scene.work(lease=lease, group="other")).receive()
        assert list((await scene.queue.stats()).groups) == [""]

    scene.run(body())


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01"])
def test_what_cannot_be_decoded_is_told_to_who_waits_for_it(scene: Scene, data: bytes) -> None:
    async def body() -> None:
        job = await scene.queue.put(1)
        stream, number = await scene.draw()
        await stream.send([m.PROGRESS, number, 1, 2, data])
        await asyncio.sleep(1)
        assert job.progress == mesh.Progress(1, 2)
        await stream.send([m.DONE, [number, 1], {number: data}])
        with pytest.raises(mesh.BadPayload, match="result"):
            await job.result(10)

    scene.run(body())


LIES: list[Any] = [
    None, 5, {}, {"groups": 5}, {"groups": [{}], "counters": {}}, [[]], [[1] * 12], ["x" * 12],
    [["id", "", "ready", 1, 1, "", 2**62, None, None, None, None, b"\x01"]],
    [["ready", "", 1, "", 2**62]], [[1, 2]], [1] * 6, ["done", 1, "", 5, "", 1],
]  # fmt: skip


def test_a_home_that_lies_is_a_typed_error_whatever_it_is_asked() -> None:
    class Liar:
        lie: Any = None

        def put(self, jobs: Any) -> Any:
            return self.lie

        def look(self, *args: Any) -> Any:
            return self.lie

        manage = result = look

    liar = Liar()
    with SimMesh(seed=1) as sim:
        evil, user = sim.node("evil"), sim.node("user")
        evil.serve(liar, service=service_of("mail"))

        async def body() -> None:
            await user.wait_for("evil")
            (peer,) = user.peers()
            queue = user.queue("mail", hosts="*")
            questions = [
                queue.stats,
                queue.peek,
                lambda: queue.show("x"),
                queue.job("x").status,
                lambda: queue.put(1),
                lambda: queue.kick(1),
                queue.purge,
                lambda: queue.ask_outcome("x", peer, None, 1.0),
            ]
            told = 0
            for liar.lie in LIES:
                for ask in questions:
                    try:
                        await ask()
                    except mesh.BadPayload as error:
                        assert "told what cannot be understood" in str(error)  # noqa: PT017
                        told += 1
            assert told > len(LIES) * len(questions) * 3 / 4

        sim.run(body())


def test_one_more_who_looks_on_is_told_that_there_are_too_many(scene: Scene) -> None:
    async def body() -> None:
        await scene.evil.wait_for("home")
        name = f"{service_of('mail')}.tail"
        streams = [await scene.evil.open_stream(name) for _ in range(TAILS)]
        await asyncio.sleep(0.1)
        await scene.queue.put(1)
        assert [(await stream.receive())[0] for stream in streams] == ["put"] * TAILS
        with pytest.raises(mesh.RemoteError, match="Overloaded"):
            await (await scene.evil.open_stream(name)).receive()
        streams[0].abort("enough")
        await asyncio.sleep(0.1)
        await scene.evil.open_stream(name)

    scene.run(body())


def test_a_node_keeps_so_many_queues_and_says_so(scene: Scene) -> None:
    async def body() -> None:
        for number in range(MAX_QUEUES - 1):
            scene.home.queue(f"{number:057}")
        for _ in range(2):
            with pytest.raises(mesh.ConfigError, match="one too many"):
                scene.home.queue("more")
        # And others still learn of what it serves.
        await scene.evil.wait_for("home")
        await scene.evil.call("_queue-mail.look", "stats")

    scene.run(body())
