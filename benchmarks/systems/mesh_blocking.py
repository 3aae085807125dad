"""`mesh.Node`, the blocking face, at both ends; of a server the handler runs on its loop thread,
unless `pool` is asked for. With `threads` that many publish at once."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from itertools import cycle, islice
from typing import Final

import mesh
from benchmarks.control import Control
from benchmarks.systems import (
    ANSWER_TIMEOUT_S,
    MARK,
    SETUP_TIMEOUT_S,
    Params,
    Role,
    Tally,
    pattern_of,
    subjects_of,
)
from benchmarks.systems.drivers import call_serially, chunk_of, flood


def new_node(name: str, params: Params) -> mesh.Node:
    """A node of this run's own mesh."""
    key = params.get("key")
    return mesh.Node(name, mesh=f"bench-{params['run']}", discovery=("local",), key=key)


def publisher(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    chunk = chunk_of(len(payload))
    subjects = list(islice(cycle(subjects_of(params)), chunk))
    threads = params.get("threads", 1)
    with new_node("publisher", params) as node:
        control.report()
        publish = node.publish

        def publish_all() -> None:
            for subject in subjects:
                publish(subject, payload)

        def publish_chunk() -> int:
            others = [threading.Thread(target=publish_all) for _ in range(threads - 1)]
            for other in others:
                other.start()
            publish_all()
            for other in others:
                other.join()
            node.flush(timeout=ANSWER_TIMEOUT_S)
            return chunk * threads

        def mark() -> None:
            publish(MARK)
            node.flush(timeout=ANSWER_TIMEOUT_S)

        def wait_for_receivers() -> None:
            node.wait_for("subscriber", count=params["receivers"], timeout=SETUP_TIMEOUT_S)

        flood(control, wait_for_receivers, publish_chunk, mark)


def subscriber(control: Control, params: Params) -> None:
    tally = Tally(params["size"])
    node = new_node("subscriber", params)

    @node.subscriber(pattern_of(params), inline=True)
    def on_data(message: mesh.Message) -> None:
        tally.count += 1
        tally.last = message.data

    @node.subscriber(MARK, inline=True)
    def on_mark(_message: mesh.Message) -> None:
        tally.close_at_mark(control, time.monotonic_ns())

    with node:
        control.report()
        control.receive()


def serial_server(control: Control, params: Params) -> None:
    node = new_node("echo", params)

    @node.rpc(inline=not params.get("pool"))
    def echo(payload: bytes) -> bytes:
        return payload

    with node:
        control.report()
        control.receive()


def serial_client(control: Control, params: Params) -> None:
    with new_node("client", params) as node:
        node.wait_for("echo", timeout=SETUP_TIMEOUT_S)
        call_serially(control, os.urandom(params["size"]), partial(node.call, "echo.echo"))


ROLES: Final[dict[str, Role]] = {
    "publisher": publisher,
    "subscriber": subscriber,
    "serial_server": serial_server,
    "serial_client": serial_client,
}
