"""Redis as a work queue, by redis-py (with hiredis, if that is installed), in three ways.

`plain`   a list, `LPUSH` and `RPOP`: who takes a job and dies loses it
`safe`    a list, and one for each worker with what it has: `LMOVE`, and `LREM` when it is done
`stream`  `XADD`, `XREADGROUP` by a consumer group, `XACK` and `XDEL`: an entry that is only
          acknowledged stays in the stream

Each does as much with one command, or one pipeline, as it can. Commands that are the same each time
are packed once, and go to a connection of the client: its own pipelines take 50 µs for a command.
Durable is an append-only file that is synced before anything is answered; what comes at once is
synced at once. The producers of `at_once` are the commands of one pipeline, which is how an
asynchronous client sends them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from benchmarks.control import Control
from benchmarks.systems import ANSWER_TIMEOUT_S, QUEUE, Params, Role, Tally
from benchmarks.systems.drivers import put, work
from benchmarks.systems.servers import cpu_s_of, listening

BATCH = 256
"""Jobs for a round trip."""

IDLE_S = 0.02
TAKEN = f"{QUEUE}-taken"
GROUP = "workers"

REMOVE = b"*4\r\n$4\r\nLREM\r\n$%d\r\n%b\r\n$1\r\n1\r\n" % (len(TAKEN), TAKEN.encode())
REMOVE += b"$%d\r\n%b\r\n"
"""The one command that is another for each job, packed by hand: that is ten times as quick."""


def broker(control: Control, params: Params) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = ["--appendonly", "yes", "--appendfsync", "always"] if params["durable"] else []

        def command(port: int) -> list[str]:
            place = ["--bind", "127.0.0.1", "--port", str(port), "--dir", folder]
            return ["redis-server", *place, "--save", "", *log]

        with listening(command, folder) as (server, port):
            control.report(port=port)
            while control.receive() is not None:
                control.report(cpu_s=cpu_s_of(server.pid))


class Pipeline:
    """Sends commands at once, and reads all answers."""

    def __init__(self, params: Params) -> None:
        self._connection: Any = redis.Connection(
            "127.0.0.1",
            params["broker"]["port"],
            socket_timeout=ANSWER_TIMEOUT_S,
            protocol=2,
            retry=Retry(NoBackoff(), 0),  # a server that is gone has been stopped
        )
        self._connection.connect()

    def pack(self, *commands: tuple[Any, ...]) -> list[bytes]:
        packed: list[bytes] = self._connection.pack_commands(commands)
        return packed

    def run(self, packed: list[bytes], count: int) -> list[Any]:
        """The answers to so many commands."""
        self._connection.send_packed_command(packed)
        read = self._connection.read_response
        return [read() for _ in range(count)]

    def do(self, *command: Any) -> Any:
        """The answer to one."""
        return self.run(self.pack(command), 1)[0]


def putter(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    pipeline, at_once = Pipeline(params), params["at_once"]
    jobs = at_once if at_once > 1 else BATCH
    if params["way"] == "stream":
        commands = [("XADD", QUEUE, "*", "body", payload)] * jobs
    elif at_once > 1:
        commands = [("LPUSH", QUEUE, payload)] * jobs
    else:
        commands = [("LPUSH", QUEUE, *[payload] * jobs)]
    packed = pipeline.pack(*commands)

    def put_batch() -> int:
        pipeline.run(packed, len(commands))
        return jobs

    put(control, put_batch, lambda: None)


def worker(control: Control, params: Params) -> None:
    tally, pipeline = Tally(params["size"]), Pipeline(params)
    if params["way"] == "stream":
        pipeline.do("XGROUP", "CREATE", QUEUE, GROUP, "$", "MKSTREAM")
    way = {"plain": take, "safe": move, "stream": read}[params["way"]]
    work(control, tally, way(pipeline, tally))


def take(pipeline: Pipeline, tally: Tally) -> Callable[[], int]:
    pop, wait = pipeline.pack(("RPOP", QUEUE, BATCH)), pipeline.pack(("BRPOP", QUEUE, IDLE_S))

    def work_batch() -> int:
        (bodies,) = pipeline.run(pop, 1)
        if not bodies:
            (first,) = pipeline.run(wait, 1)
            bodies = [] if first is None else [first[1]]
        for body in bodies:
            tally.hit(body)
        return len(bodies)

    return work_batch


def move(pipeline: Pipeline, tally: Tally) -> Callable[[], int]:
    moves = pipeline.pack(*[("LMOVE", QUEUE, TAKEN, "RIGHT", "LEFT")] * BATCH)
    wait = pipeline.pack(("BLMOVE", QUEUE, TAKEN, "RIGHT", "LEFT", IDLE_S))

    def work_batch() -> int:
        bodies = [body for body in pipeline.run(moves, BATCH) if body is not None]
        if not bodies:
            bodies = [body for body in pipeline.run(wait, 1) if body is not None]
        for body in bodies:
            tally.hit(body)
        if bodies:
            pipeline.run([b"".join([REMOVE % (len(body), body) for body in bodies])], len(bodies))
        return len(bodies)

    return work_batch


def read(pipeline: Pipeline, tally: Tally) -> Callable[[], int]:
    wait_ms = round(IDLE_S * 1000)
    more = pipeline.pack(
        (
            "XREADGROUP",
            "GROUP",
            GROUP,
            "one",
            "COUNT",
            BATCH,
            "BLOCK",
            wait_ms,
            "STREAMS",
            QUEUE,
            ">",
        )
    )

    def work_batch() -> int:
        (found,) = pipeline.run(more, 1)
        if not found:
            return 0
        ((_, entries),) = found
        for _, (_, body) in entries:
            tally.hit(body)
        numbers = [number for number, _ in entries]
        done = pipeline.pack(("XACK", QUEUE, GROUP, *numbers), ("XDEL", QUEUE, *numbers))
        pipeline.run(done, 2)
        return len(entries)

    return work_batch


ROLES: Final[dict[str, Role]] = {"broker": broker, "putter": putter, "worker": worker}
