"""The program of one process of the demo: ``python -m mesh.cli.demo.role ROLE MESH``.

Each line it prints is JSON: ``{"ready": id}``, then what it handled, as it handles it. It serves
until its standard input ends, so it also ends when the demo is killed; then it says goodbye to
the mesh and exits with 0. Handlers that report run inline, so that reports keep the order in
which messages arrived.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

import mesh
from mesh.cli.demo.crew import serve_crew

__all__ = ["ROLES", "build", "main", "report"]

WORK_SECONDS = 0.03
"""How long a call of ``work`` takes: enough that some are in flight when a process is killed."""


def report(**what: Any) -> None:
    """Tell the demo, past the mesh. One write, so that lines never mix."""
    os.write(sys.stdout.fileno(), f"{json.dumps(what)}\n".encode())


def serve_calc(node: mesh.Node) -> None:
    """A replica of the service "calc", and a member of groups and of a queue group."""

    @node.rpc
    def add(a: int, b: int) -> int:
        return a + b

    @node.rpc
    def divide(a: float, b: float) -> float:
        return a / b

    @node.rpc
    def who() -> str:
        return node.id

    @node.rpc
    async def work() -> str:
        report(got="work begun")
        await asyncio.sleep(WORK_SECONDS)
        report(got="work done")
        return node.id

    @node.rpc
    def square(n: int) -> None:
        node.publish("results.square", n * n)

    @node.member("workers", inline=True)
    def on_broadcast(message: mesh.Message) -> None:
        report(got="broadcast", data=message.data)

    @node.subscriber("notes", inline=True)
    def on_note(message: mesh.Message) -> None:
        report(got=message.kind, data=message.data)

    serve_crew(node, report)


def serve_display(node: mesh.Node) -> None:
    """Shows temperatures, of whatever room."""

    @node.subscriber("sensors.*.temp", inline=True)
    def show(message: mesh.Message) -> None:
        report(got="sensor", subject=message.subject, data=message.data)


def serve_archive(node: mesh.Node) -> None:
    """Keeps all that sensors say, and all orders."""

    @node.subscriber("sensors.>", inline=True)
    def keep(message: mesh.Message) -> None:
        report(got="sensor", subject=message.subject, data=message.data)

    @node.subscriber("orders.>", inline=True)
    def file(message: mesh.Message) -> None:
        report(got="order", data=message.data)


ROLES = {"calc": serve_calc, "display": serve_display, "archive": serve_archive}


def build(role: str, mesh_name: str) -> mesh.Node:
    """The node of a role: what the role serves, and what all roles do for the demo."""
    node = mesh.Node(role, mesh=mesh_name, host="127.0.0.1")
    ROLES[role](node)

    class Common:
        def others(self) -> int:
            """How many other nodes this one sees."""
            return len(node.peers())

    node.serve(Common(), service=role)

    @node.subscriber("demo.mark", inline=True)
    def on_mark(message: mesh.Message) -> None:
        report(got="mark", data=message.data)

    return node


def main(role: str, mesh_name: str) -> None:
    """Serve until standard input ends."""
    # Ctrl-C in the terminal reaches every process there; stopping this one is the demo's task.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with build(role, mesh_name) as node:
        report(ready=node.id)
        for _ in sys.stdin.buffer:
            continue


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
