"""pyzmq's own asyncio sockets: what somebody writes who wants raw sockets on a loop."""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial
from itertools import cycle, islice
from typing import Any, Final

import zmq
import zmq.asyncio

from benchmarks.control import Control
from benchmarks.systems import Params, Role, Tally, role, subjects_of
from benchmarks.systems.drivers import call_in_window, call_serially_async, flood_async
from benchmarks.systems.raw import LOOPBACK, MARK_PAYLOAD, SENDS_PER_CLOCK_CHECK, TOPIC

FULL_PAUSE_S = 0.0005


def new_socket(context: zmq.asyncio.Context, kind: int) -> zmq.asyncio.Socket:
    socket = context.socket(kind)
    socket.linger = 0
    return socket


async def publisher(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    topics = [subject.encode() for subject in subjects_of(params)]
    topics = list(islice(cycle(topics), max(len(topics), SENDS_PER_CLOCK_CHECK)))
    connected = 0
    with zmq.asyncio.Context() as context, new_socket(context, zmq.XPUB) as xpub:
        xpub.setsockopt(zmq.XPUB_NODROP, 1)
        xpub.setsockopt(zmq.XPUB_VERBOSE, 1)
        xpub.bind(LOOPBACK)
        control.report(address=xpub.get_string(zmq.LAST_ENDPOINT))

        async def wait_for_receivers() -> None:
            nonlocal connected
            while connected < params["receivers"]:
                await xpub.recv()
                connected += 1

        async def publish(topic: bytes, payload: bytes) -> None:
            # An XPUB that does not drop calls itself writable when it is not.
            while True:
                try:
                    await xpub.send_multipart([topic, payload])
                    return
                except zmq.Again:
                    await asyncio.sleep(FULL_PAUSE_S)

        async def publish_chunk() -> int:
            for topic in topics:
                await publish(topic, payload)
            return len(topics)

        async def mark() -> None:
            await publish(TOPIC, MARK_PAYLOAD)

        await flood_async(control, wait_for_receivers, publish_chunk, mark)


async def subscriber(control: Control, params: Params) -> None:
    tally = Tally(params["size"])
    hit = tally.hit
    with zmq.asyncio.Context() as context, new_socket(context, zmq.SUB) as sub:
        sub.connect(params["peer"]["address"])
        sub.setsockopt(zmq.SUBSCRIBE, TOPIC)
        control.report()

        async def read() -> None:
            while True:
                _topic, payload = await sub.recv_multipart()
                if payload:
                    hit(payload)
                else:
                    tally.close_at_mark(control, time.monotonic_ns())

        await until_told_to_stop(control, read())


async def until_told_to_stop(control: Control, work: Any) -> None:
    task = asyncio.create_task(work)
    await control.receive_async()
    task.cancel()
    await asyncio.wait({task})


async def echo_server(control: Control, _params: Params) -> None:
    with zmq.asyncio.Context() as context, new_socket(context, zmq.ROUTER) as router:
        router.bind(LOOPBACK)
        control.report(address=router.get_string(zmq.LAST_ENDPOINT))

        async def serve() -> None:
            while True:
                await router.send_multipart(await router.recv_multipart())

        await until_told_to_stop(control, serve())


async def window_client(control: Control, params: Params) -> None:
    with zmq.asyncio.Context() as context, new_socket(context, zmq.DEALER) as dealer:
        dealer.connect(params["peer"]["address"])

        async def call(payload: bytes) -> bytes:
            await dealer.send(payload)
            reply: bytes = await dealer.recv()
            return reply

        await call_in_window(control, os.urandom(params["size"]), params["in_flight"], call)


async def serial_server(control: Control, _params: Params) -> None:
    with zmq.asyncio.Context() as context, new_socket(context, zmq.REP) as rep:
        rep.bind(LOOPBACK)
        control.report(address=rep.get_string(zmq.LAST_ENDPOINT))

        async def serve() -> None:
            while True:
                await rep.send(await rep.recv())

        await until_told_to_stop(control, serve())


async def ask(req: zmq.asyncio.Socket, payload: bytes) -> bytes:
    await req.send(payload)
    reply: bytes = await req.recv()
    return reply


async def serial_client(control: Control, params: Params) -> None:
    with zmq.asyncio.Context() as context, new_socket(context, zmq.REQ) as req:
        req.connect(params["peer"]["address"])
        await call_serially_async(control, os.urandom(params["size"]), partial(ask, req))


ROLES: Final[dict[str, Role]] = {
    "publisher": role(publisher),
    "subscriber": role(subscriber),
    "window_server": role(echo_server),
    "window_client": role(window_client),
    "serial_server": role(serial_server),
    "serial_client": role(serial_client),
}
