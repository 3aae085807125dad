"""gRPC's asyncio face with bytes for messages: generic handlers, so nothing is generated.

What a `.proto` would add is the encoding of its messages; an echo of bytes has none.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any, Final

import grpc
import grpc.aio

from benchmarks.control import Control
from benchmarks.systems import ANSWER_TIMEOUT_S, SETUP_TIMEOUT_S, Params, Role, role
from benchmarks.systems.drivers import call_in_window, call_serially_async

SERVICE = "bench.Echo"
METHOD = "Echo"


async def echo_server(control: Control, _params: Params) -> None:
    async def echo(request: bytes, _context: Any) -> bytes:
        return request

    server = grpc.aio.server()
    handlers = {METHOD: grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    control.report(address=f"127.0.0.1:{port}")
    await control.receive_async()
    await server.stop(None)


def caller(channel: grpc.aio.Channel) -> Any:
    return partial(channel.unary_unary(f"/{SERVICE}/{METHOD}"), timeout=ANSWER_TIMEOUT_S)


async def window_client(control: Control, params: Params) -> None:
    async with grpc.aio.insecure_channel(params["peer"]["address"]) as channel:
        await caller(channel)(b"first", timeout=SETUP_TIMEOUT_S)
        payload = os.urandom(params["size"])
        await call_in_window(control, payload, params["in_flight"], caller(channel))


async def serial_client(control: Control, params: Params) -> None:
    async with grpc.aio.insecure_channel(params["peer"]["address"]) as channel:
        await caller(channel)(b"first", timeout=SETUP_TIMEOUT_S)
        await call_serially_async(control, os.urandom(params["size"]), caller(channel))


ROLES: Final[dict[str, Role]] = {
    "window_server": role(echo_server),
    "serial_server": role(echo_server),
    "window_client": role(window_client),
    "serial_client": role(serial_client),
}
