"""NATS JetStream as a work queue, by nats-py: a stream with the retention `workqueue`.

Published asynchronously, with a window of messages that are not acknowledged as yet; one consumer
that is pulled from in batches, and one acknowledgement a message, for such a stream takes no other.
The acknowledgements of done jobs are not acknowledged themselves; they are sent on before a batch
counts.

Durable is a stream in files with `sync_interval: always`, which takes nats-server 2.10. With
`unsynced` it is synced each two minutes, which is the default: acknowledged is what the kernel has.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import nats
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StorageType, StreamConfig

from benchmarks.control import Control
from benchmarks.systems import ANSWER_TIMEOUT_S, QUEUE, Params, Role, Tally, role
from benchmarks.systems.drivers import put_async, work_async
from benchmarks.systems.servers import cpu_s_of, listening

BATCH = 256
"""Messages pulled at once, and published between two looks at what is acknowledged."""

WINDOW = 2_048
"""Messages published and not acknowledged."""

IDLE_S = 0.1

SYNCED = "sync_interval: always"


def broker(control: Control, params: Params) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_config(folder, SYNCED if params["durable"] and not is_unsynced(params) else "")

        def command(port: int) -> list[str]:
            return ["nats-server", "-a", "127.0.0.1", "-p", str(port), "-c", path]

        with listening(command, folder) as (server, port):
            control.report(url=f"nats://127.0.0.1:{port}")
            while control.receive() is not None:
                control.report(cpu_s=cpu_s_of(server.pid))


def is_unsynced(params: Params) -> bool:
    return bool(params.get("unsynced"))


def write_config(folder: str, line: str) -> str:
    path = Path(folder, "server.conf")
    path.write_text(f'jetstream {{\n  store_dir: "{folder}"\n  {line}\n}}\n')
    return str(path)


def can_sync() -> bool:
    """Whether the nats-server that is installed knows how to."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_config(folder, SYNCED)
        return (
            subprocess.run(["nats-server", "-t", "-c", path], capture_output=True).returncode == 0
        )


async def connect(params: Params) -> Client:
    return await nats.connect(params["broker"]["url"], skip_subject_validation=True)


async def worker(control: Control, params: Params) -> None:
    tally = Tally(params["size"])
    storage = StorageType.FILE if params["durable"] else StorageType.MEMORY
    async with await connect(params) as client:
        stream = client.jetstream()
        await stream.add_stream(
            StreamConfig(
                name=QUEUE,
                subjects=[QUEUE],
                retention=RetentionPolicy.WORK_QUEUE,
                storage=storage,
            )
        )
        config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, max_ack_pending=4 * BATCH)
        jobs = await stream.pull_subscribe(QUEUE, durable="workers", config=config)

        async def work_batch() -> int:
            try:
                messages = await jobs.fetch(BATCH, timeout=IDLE_S)
            except TimeoutError:
                return 0
            for message in messages:
                tally.hit(message.data)
                await client.publish(message.reply, b"+ACK")
            await client.flush(ANSWER_TIMEOUT_S)
            return len(messages)

        await work_async(control, tally, work_batch)


async def putter(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    async with await connect(params) as client:
        stream = client.jetstream(publish_async_max_pending=WINDOW)

        async def put_batch() -> int:
            waiting = [await stream.publish_async(QUEUE, payload) for _ in range(BATCH)]
            await asyncio.wait_for(waiting[-1], ANSWER_TIMEOUT_S)
            return BATCH

        async def put_one() -> int:
            await stream.publish(QUEUE, payload, timeout=ANSWER_TIMEOUT_S)
            return 1

        at_once = params["at_once"]
        # Alone, it has several batches open, so that the server never waits for it.
        await put_async(
            control,
            put_one if at_once > 1 else put_batch,
            at_once if at_once > 1 else WINDOW // BATCH,
        )


ROLES: Final[dict[str, Role]] = {"broker": broker, "putter": role(putter), "worker": role(worker)}
