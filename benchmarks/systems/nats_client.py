"""NATS: nats-py on a `nats-server` of its own, on a free port of the loopback.

Core NATS acknowledges nothing, so at groupcasts, which its queue groups are for, it plays twice.
Plain is its best case: published, sent on, and forgotten. With `acknowledged` each message names a
reply subject, the worker replies when it is through with it, and the publisher counts the replies
and keeps a window of messages open. That is the cheapest way in which a publisher learns that its
messages were handled, and it redelivers nothing; a JetStream work queue does, and was slower even
with its stream in memory. nats-py runs on uvloop if it is installed, as `mesh` does, and without
its check of each subject, which takes a sixth of its publisher's time.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from benchmarks.control import Control
from benchmarks.systems import (
    ANSWER_TIMEOUT_S,
    GROUP,
    MARK,
    SETUP_TIMEOUT_S,
    SUBJECT,
    Params,
    Role,
    Tally,
    role,
    subjects_of,
)
from benchmarks.systems.drivers import call_in_window, call_serially_async, flood_async
from benchmarks.systems.servers import cpu_s_of, end_with_parent

CHUNK = 64
"""Messages published between two looks at the clock."""

WINDOW = 4_096
"""Messages sent and not acknowledged: as many as four members of `mesh` take in advance."""

READY = "ready"
"""Where subscribers say that they are."""

STOP_TIMEOUT_S = 2.0
PORTS_POLL_S = 0.005


def broker(control: Control, _params: Params) -> None:
    """The server is this process's child: it ends with it, whatever ends it."""
    with tempfile.TemporaryDirectory() as folder, started_server(folder) as server:
        control.report(url=server_url(Path(folder), server))
        while control.receive() is not None:
            control.report(cpu_s=cpu_s_of(server.pid))


@contextmanager
def started_server(folder: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = ["nats-server", "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", folder]
    log = Path(folder, "log")
    server = subprocess.Popen([*argv, "-l", str(log)], preexec_fn=end_with_parent())
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def server_url(folder: Path, server: subprocess.Popen[bytes]) -> str:
    """Where it listens, as soon as it does."""
    deadline = time.monotonic() + SETUP_TIMEOUT_S
    path = folder / f"nats-server_{server.pid}.ports"
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urls: list[str] = json.loads(path.read_text())["nats"]
            return urls[0]
        except (FileNotFoundError, json.JSONDecodeError):
            time.sleep(PORTS_POLL_S)
    raise TimeoutError(f"nats-server does not listen, exit code {server.returncode}")


async def connect(params: Params) -> Client:
    return await nats.connect(params["broker"]["url"], skip_subject_validation=True)


async def member(control: Control, params: Params) -> None:
    tally = Tally(params["size"])
    hit = tally.hit_and_note

    async def on_message(message: Msg) -> None:
        hit(message.data)

    async def on_request(message: Msg) -> None:
        hit(message.data)
        await message.respond(b"")

    handler = on_request if params.get("acknowledged") else on_message
    async with await connect(params) as client:
        await client.subscribe(SUBJECT, GROUP, handler)
        await client.flush()
        control.report()
        while await control.receive_async() is not None:
            tally.report_handled(control)


async def caster(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    cast = cast_and_count if params.get("acknowledged") else cast_and_forget
    async with await connect(params) as client:
        control.report()
        while (command := await control.receive_async()) is not None:
            cpu_before_s = time.process_time()
            started_ns = time.monotonic_ns()
            end_ns = started_ns + int(command["seconds"] * 1e9)
            sent = await cast(client, payload, end_ns)
            control.report(
                sent=sent,
                started_ns=started_ns,
                ended_ns=time.monotonic_ns(),
                cpu_s=time.process_time() - cpu_before_s,
            )


async def cast_and_forget(client: Client, payload: bytes, end_ns: int) -> int:
    publish = client.publish
    sent = 0
    while time.monotonic_ns() < end_ns:
        for _ in range(CHUNK):
            await publish(SUBJECT, payload)
        sent += CHUNK
    await client.flush()
    return sent


async def cast_and_count(client: Client, payload: bytes, end_ns: int) -> int:
    publish = client.publish
    sent = acknowledged = 0
    has_room = asyncio.Event()

    async def on_reply(_message: Msg) -> None:
        nonlocal acknowledged
        acknowledged += 1
        if not acknowledged % CHUNK or acknowledged == sent:
            has_room.set()

    inbox = client.new_inbox()
    replies = await client.subscribe(inbox, cb=on_reply)
    while time.monotonic_ns() < end_ns:
        while sent - acknowledged > WINDOW - CHUNK:
            has_room.clear()
            await asyncio.wait_for(has_room.wait(), ANSWER_TIMEOUT_S)
        for _ in range(CHUNK):
            await publish(SUBJECT, payload, reply=inbox)
        sent += CHUNK
    while acknowledged < sent:
        has_room.clear()
        await asyncio.wait_for(has_room.wait(), ANSWER_TIMEOUT_S)
    await replies.unsubscribe()
    return sent


async def publisher(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    subjects = subjects_of(params)
    subjects = list(islice(cycle(subjects), max(CHUNK, len(subjects))))
    receivers = params["receivers"]
    ready = asyncio.Semaphore(0)
    async with await connect(params) as client:

        async def on_ready(_message: Msg) -> None:
            ready.release()

        await client.subscribe(READY, cb=on_ready)
        await client.flush()
        control.report()
        publish = client.publish
        is_ready = False

        async def wait_for_receivers() -> None:
            nonlocal is_ready
            if not is_ready:
                for _ in range(receivers):
                    await asyncio.wait_for(ready.acquire(), SETUP_TIMEOUT_S)
            is_ready = True

        async def publish_chunk() -> int:
            for subject in subjects:
                await publish(subject, payload)
            return len(subjects)

        async def mark() -> None:
            await publish(MARK, b"")
            await client.flush(int(ANSWER_TIMEOUT_S))

        await flood_async(control, wait_for_receivers, publish_chunk, mark)


async def subscriber(control: Control, params: Params) -> None:
    tally = Tally(params["size"])
    hit = tally.hit

    async def on_message(message: Msg) -> None:
        if message.data:
            hit(message.data)
        else:
            tally.close_at_mark(control, time.monotonic_ns())

    async with await connect(params) as client:
        # One subscription for both keeps the mark behind what was published before it.
        await client.subscribe("bench.>", cb=on_message, pending_msgs_limit=0)
        await client.flush()
        control.report()
        await client.publish(READY, b"ready")
        await control.receive_async()


async def echo_server(control: Control, params: Params) -> None:
    async def on_request(message: Msg) -> None:
        await message.respond(message.data)

    async with await connect(params) as client:
        await client.subscribe(SUBJECT, cb=on_request)
        await client.flush()
        control.report()
        await control.receive_async()


async def ask(client: Client, payload: bytes) -> bytes:
    reply = await client.request(SUBJECT, payload, timeout=ANSWER_TIMEOUT_S)
    return reply.data


async def window_client(control: Control, params: Params) -> None:
    async with await connect(params) as client:
        call = partial(ask, client)
        await call_in_window(control, os.urandom(params["size"]), params["in_flight"], call)


async def serial_client(control: Control, params: Params) -> None:
    async with await connect(params) as client:
        await call_serially_async(control, os.urandom(params["size"]), partial(ask, client))


ROLES: Final[dict[str, Role]] = {
    "broker": broker,
    "member": role(member),
    "caster": role(caster),
    "publisher": role(publisher),
    "subscriber": role(subscriber),
    "window_server": role(echo_server),
    "window_client": role(window_client),
    "serial_server": role(echo_server),
    "serial_client": role(serial_client),
}
