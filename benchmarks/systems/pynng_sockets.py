"""pynng, the sockets of nng: Pub0/Sub0 and Req0/Rep0, blocking, over TCP on the loopback.

Pub0 drops for a subscriber that is behind, and there is no way to make it wait; so a flood says
what was lost. Req0 has contexts for several calls at once, which its asynchronous face uses.
"""

from __future__ import annotations

import asyncio
import os
import time
from itertools import cycle, islice
from typing import Final

import pynng

from benchmarks.control import Control
from benchmarks.systems import (
    ANSWER_TIMEOUT_S,
    SETUP_TIMEOUT_S,
    Params,
    Role,
    Tally,
    role,
    subjects_of,
)
from benchmarks.systems.drivers import call_in_window, call_serially, flood

LOOPBACK = "tcp://127.0.0.1:0"
CHUNK = 64
BUFFER = 8192
"""Messages that nng keeps for a peer, the most it allows."""

MARK = b"\x00mark"
MARK_PAUSE_S = 0.2
"""What Pub0 has in its buffers leaves in a moment; the mark must not be dropped as well."""

IDLE_POLL_MS = 200


def address_of(socket: pynng.Socket) -> str:
    return f"tcp://{socket.listeners[0].local_address}"


def publisher(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    messages = [subject.encode() + b"\x00" + payload for subject in subjects_of(params)]
    messages = list(islice(cycle(messages), max(CHUNK, len(messages))))
    with pynng.Pub0(listen=LOOPBACK, send_buffer_size=BUFFER) as pub:
        control.report(address=address_of(pub))

        def wait_for_receivers() -> None:
            deadline = time.monotonic() + SETUP_TIMEOUT_S
            while len(pub.pipes) < params["receivers"]:
                if time.monotonic() > deadline:
                    raise TimeoutError("a subscriber did not come")
                time.sleep(0.01)

        def publish_chunk() -> int:
            for message in messages:
                pub.send(message)
            return len(messages)

        def mark() -> None:
            time.sleep(MARK_PAUSE_S)
            pub.send(MARK)

        flood(control, wait_for_receivers, publish_chunk, mark)


def subscriber(control: Control, params: Params) -> None:
    tally = Tally(params["size"])
    hit = tally.hit
    last_ns = 0
    with pynng.Sub0(recv_buffer_size=BUFFER, recv_timeout=IDLE_POLL_MS) as sub:
        sub.subscribe(b"")
        sub.dial(params["peer"]["address"], block=True)
        control.report()
        while True:
            try:
                message = sub.recv()
            except pynng.Timeout:
                if control.stopping():
                    return
                continue
            if message == MARK:
                tally.close_at_mark(control, last_ns)
                continue
            hit(message.partition(b"\x00")[2])
            last_ns = time.monotonic_ns()


def echo_server(control: Control, _params: Params) -> None:
    with pynng.Rep0(listen=LOOPBACK, recv_timeout=IDLE_POLL_MS) as rep:
        control.report(address=address_of(rep))
        while True:
            try:
                rep.send(rep.recv())
            except pynng.Timeout:
                if control.stopping():
                    return


def serial_client(control: Control, params: Params) -> None:
    timeout_ms = int(ANSWER_TIMEOUT_S * 1000)
    with pynng.Req0(recv_timeout=timeout_ms) as req:
        req.dial(params["peer"]["address"], block=True)

        def call(payload: bytes) -> bytes:
            req.send(payload)
            return req.recv()

        call_serially(control, os.urandom(params["size"]), call)


async def window_server(control: Control, _params: Params) -> None:
    with pynng.Rep0(listen=LOOPBACK) as rep:
        control.report(address=address_of(rep))

        async def serve() -> None:
            with rep.new_context() as context:
                while True:
                    await context.asend(await context.arecv())

        tasks = [asyncio.create_task(serve()) for _ in range(64)]
        await control.receive_async()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def window_client(control: Control, params: Params) -> None:
    with pynng.Req0() as req:
        req.dial(params["peer"]["address"], block=True)
        contexts = [req.new_context() for _ in range(params["in_flight"])]

        async def call(payload: bytes) -> bytes:
            context = contexts.pop()
            await context.asend(payload)
            reply = await context.arecv()
            contexts.append(context)
            return reply

        await call_in_window(control, os.urandom(params["size"]), params["in_flight"], call)
        for context in contexts:
            context.close()


ROLES: Final[dict[str, Role]] = {
    "publisher": publisher,
    "subscriber": subscriber,
    "serial_server": echo_server,
    "serial_client": serial_client,
    "window_server": role(window_server),
    "window_client": role(window_client),
}
