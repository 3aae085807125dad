"""`mesh.Node`, the blocking face, at both ends; the server's handler runs on its loop thread."""

from __future__ import annotations

import os
import time
from typing import Final

import mesh
from benchmarks.control import Control
from benchmarks.systems import SETUP_TIMEOUT_S, Params, Role, latency_percentiles


def new_node(name: str, params: Params) -> mesh.Node:
    """A node of this run's own mesh."""
    return mesh.Node(name, mesh=f"bench-{params['run']}", discovery=("local",))


def serial_server(control: Control, params: Params) -> None:
    node = new_node("echo", params)

    @node.rpc(inline=True)
    def echo(payload: bytes) -> bytes:
        return payload

    with node:
        control.report()
        control.receive()


def serial_client(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    with new_node("client", params) as node:
        node.wait_for("echo", timeout=SETUP_TIMEOUT_S)
        control.report()
        while (command := control.receive()) is not None:
            latencies_ns: list[int] = []
            answered = 0
            now_ns = time.monotonic_ns()
            end_ns = now_ns + int(command["seconds"] * 1e9)
            while now_ns < end_ns:
                answered += node.call("echo.echo", payload) == payload
                before_ns, now_ns = now_ns, time.monotonic_ns()
                latencies_ns.append(now_ns - before_ns)
            control.report(
                issued=len(latencies_ns), answered=answered, **latency_percentiles(latencies_ns)
            )


ROLES: Final[dict[str, Role]] = {
    "serial_server": serial_server,
    "serial_client": serial_client,
}
