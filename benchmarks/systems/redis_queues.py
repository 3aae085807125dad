"""Redis as a work queue, by redis-py (with hiredis, if that is installed), in three ways.

`plain`   a list, `LPUSH` and `RPOP`: who takes a job and dies loses it
`safe`    a list, and one for each worker with what it has: `LMOVE`, and `LREM` when it is done
`stream`  `XADD`, `XREADGROUP` by a consumer group, `XACK` and `XDEL`: an entry that is only
          acknowledged stays in the stream

Each does as much with one command, or one pipeline, as it can. Durable is an append-only file that
is synced before anything is answered; what comes at once is synced at once. The producers of
`at_once` are the commands of one pipeline, which is how an asynchronous client sends them.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any, Final

import redis

from benchmarks.control import Control
from benchmarks.systems import ANSWER_TIMEOUT_S, QUEUE, Params, Role, Tally
from benchmarks.systems.drivers import put, work
from benchmarks.systems.servers import cpu_s_of, listening

BATCH = 256
"""Jobs for a round trip."""

IDLE_S = 0.02
TAKEN = f"{QUEUE}-taken"
GROUP = "workers"


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


def connect(params: Params) -> redis.Redis:
    port = params["broker"]["port"]
    return redis.Redis("127.0.0.1", port, socket_timeout=ANSWER_TIMEOUT_S)


def putter(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    with connect(params) as client:
        if params["at_once"] > 1 or params["way"] == "stream":
            count = params["at_once"] if params["at_once"] > 1 else BATCH

            def put_batch() -> int:
                pipeline = client.pipeline(transaction=False)
                for _ in range(count):
                    if params["way"] == "stream":
                        pipeline.xadd(QUEUE, {b"body": payload})
                    else:
                        pipeline.lpush(QUEUE, payload)
                pipeline.execute()
                return count
        else:
            batch = [payload] * BATCH

            def put_batch() -> int:
                client.lpush(QUEUE, *batch)
                return BATCH

        put(control, put_batch, lambda: None)


def worker(control: Control, params: Params) -> None:
    tally = Tally(params["size"])
    with connect(params) as client:
        if params["way"] == "stream":
            client.xgroup_create(QUEUE, GROUP, mkstream=True)
        work_batch = {"plain": take, "safe": move, "stream": read}[params["way"]]
        work(control, tally, lambda: work_batch(client, tally))


def take(client: redis.Redis, tally: Tally) -> int:
    bodies: Any = client.rpop(QUEUE, BATCH)
    if not bodies:
        first: Any = client.brpop([QUEUE], IDLE_S)
        bodies = [] if first is None else [first[1]]
    for body in bodies:
        tally.hit(body)
    return len(bodies)


def move(client: redis.Redis, tally: Tally) -> int:
    pipeline = client.pipeline(transaction=False)
    for _ in range(BATCH):
        pipeline.lmove(QUEUE, TAKEN, "RIGHT", "LEFT")
    bodies = [body for body in pipeline.execute() if body is not None]
    if not bodies:
        first: Any = client.blmove(QUEUE, TAKEN, IDLE_S, "RIGHT", "LEFT")
        bodies = [] if first is None else [first]
    for body in bodies:
        tally.hit(body)
        pipeline.lrem(TAKEN, 1, body)
    if bodies:
        pipeline.execute()
    return len(bodies)


def read(client: redis.Redis, tally: Tally) -> int:
    found: Any = client.xreadgroup(
        GROUP, "one", {QUEUE: ">"}, count=BATCH, block=round(IDLE_S * 1000)
    )
    if not found:
        return 0
    ((_, entries),) = found
    for _, fields in entries:
        tally.hit(fields[b"body"])
    numbers = [number for number, _ in entries]
    pipeline = client.pipeline(transaction=False)
    pipeline.xack(QUEUE, GROUP, *numbers)
    pipeline.xdel(QUEUE, *numbers)
    pipeline.execute()
    return len(entries)


ROLES: Final[dict[str, Role]] = {"broker": broker, "putter": putter, "worker": worker}
