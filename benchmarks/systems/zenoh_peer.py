"""Zenoh in peer mode: sessions that connect straight to each other over TCP on the loopback.

The publisher blocks when a subscriber is behind, or, with `drop`, lets messages go. Scouting is
off, so that nothing else on the network takes part; callbacks run on Zenoh's own threads, which is
the documented way. Shared memory is off, as it is by default.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import zenoh

from benchmarks.control import Control
from benchmarks.systems import (
    ANSWER_TIMEOUT_S,
    SETUP_TIMEOUT_S,
    Params,
    Role,
    Tally,
    subjects_of,
)
from benchmarks.systems.drivers import call_in_window, call_serially, flood

CHUNK = 64
"""Messages published between two looks at the clock."""

ECHO = "bench/echo"
READY = "ready"
MARK = "bench/mark"


def open_session(listen: str | None = None, connect: str | None = None) -> Any:
    config = zenoh.Config()
    config.insert_json5("mode", '"peer"')
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5("listen/endpoints", f'["{listen}"]' if listen else "[]")
    if connect:
        config.insert_json5("connect/endpoints", f'["{connect}"]')
    return zenoh.open(config)


def free_endpoint() -> str:
    """A port that nobody has just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"tcp/127.0.0.1:{server.getsockname()[1]}"


def publisher(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    drops = params.get("drop", False)
    control_of = zenoh.CongestionControl
    congestion = control_of.DROP if drops else control_of.BLOCK
    endpoint = free_endpoint()
    ready = threading.Semaphore(0)
    is_ready = False
    with open_session(listen=endpoint) as session:
        session.declare_subscriber(READY, lambda _: ready.release())
        puts = [
            session.declare_publisher(subject, congestion_control=congestion).put
            for subject in subjects_of(params, "/")
        ]
        puts = puts * max(1, CHUNK // len(puts))
        mark = session.declare_publisher(MARK, congestion_control=control_of.BLOCK)
        control.report(address=endpoint)

        def wait_for_receivers() -> None:
            nonlocal is_ready
            for _ in range(0 if is_ready else params["receivers"]):
                if not ready.acquire(timeout=SETUP_TIMEOUT_S):
                    raise TimeoutError("a subscriber did not come")
            is_ready = True

        def publish_chunk() -> int:
            for put in puts:
                put(payload)
            return len(puts)

        flood(control, wait_for_receivers, publish_chunk, partial(mark.put, b""))


def subscriber(control: Control, params: Params) -> None:
    tally = Tally(params["size"])
    hit = tally.hit

    def on_sample(sample: Any) -> None:
        payload = sample.payload.to_bytes()
        if payload:
            hit(payload)
        else:
            tally.close_at_mark(control, time.monotonic_ns())

    with open_session(connect=params["peer"]["address"]) as session:
        # One subscription for both keeps the mark behind what was published before it.
        session.declare_subscriber("bench/**", on_sample)
        control.report()
        session.put(READY, b"")
        control.receive()


def echo_server(control: Control, _params: Params) -> None:
    endpoint = free_endpoint()
    with open_session(listen=endpoint) as session:

        def answer(query: Any) -> None:
            query.reply(query.key_expr, query.payload.to_bytes())

        session.declare_queryable(ECHO, answer)
        control.report(address=endpoint)
        control.receive()


def connect_client(params: Params) -> Any:
    """A session whose queries are answered."""
    session = open_session(connect=params["peer"]["address"])
    deadline = time.monotonic() + SETUP_TIMEOUT_S
    while not ask(session, b"first"):
        if time.monotonic() > deadline:
            raise TimeoutError("nobody answers")
        time.sleep(0.01)
    return session


def ask(session: Any, payload: bytes) -> bytes:
    for reply in session.get(ECHO, payload=payload, timeout=ANSWER_TIMEOUT_S):
        return bytes(reply.ok.payload.to_bytes())
    return b""


def serial_client(control: Control, params: Params) -> None:
    with connect_client(params) as session:
        call_serially(control, os.urandom(params["size"]), partial(ask, session))


def window_client(control: Control, params: Params) -> None:
    """A callback for each reply, which wakes the task that waits for it."""
    asyncio.run(_window_client(control, params))


async def _window_client(control: Control, params: Params) -> None:
    loop = asyncio.get_running_loop()
    with connect_client(params) as session:

        def settle(future: asyncio.Future[bytes], value: bytes) -> None:
            if not future.done():
                future.set_result(value)

        def on_reply(future: asyncio.Future[bytes]) -> Callable[[Any], None]:
            return lambda reply: loop.call_soon_threadsafe(
                settle, future, reply.ok.payload.to_bytes()
            )

        async def call(payload: bytes) -> bytes:
            future: asyncio.Future[bytes] = loop.create_future()
            session.get(ECHO, on_reply(future), payload=payload, timeout=ANSWER_TIMEOUT_S)
            return await asyncio.wait_for(future, ANSWER_TIMEOUT_S)

        await call_in_window(control, os.urandom(params["size"]), params["in_flight"], call)


ROLES: Final[dict[str, Role]] = {
    "publisher": publisher,
    "subscriber": subscriber,
    "window_server": echo_server,
    "serial_server": echo_server,
    "window_client": window_client,
    "serial_client": serial_client,
}
