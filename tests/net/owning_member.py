"""A member of "cart" in a process of its own, which writes down when it handled which key.

``python -m tests.net.owning_member MESH INSTANCE FILE``: a line for each begin and each end, on the
clock that all processes of a host share. SIGTERM drains it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TextIO

import mesh

__all__ = ["main"]


def main(mesh_name: str, instance: str, file: str) -> None:
    with Path(file).open("w", buffering=1, encoding="utf-8") as out:
        asyncio.run(serve(mesh_name, instance, out))


async def serve(mesh_name: str, instance: str, out: TextIO) -> None:
    node = mesh.AsyncNode("cart", mesh=mesh_name, instance=instance, discovery=("local",))
    number = 0

    @node.on_ownership("cart")
    async def moved(change: mesh.OwnershipChange) -> None:
        await asyncio.sleep(0.005)

    @node.rpc
    async def work(seconds: float, request: mesh.Request) -> None:
        nonlocal number
        number += 1
        mine = number
        begun = [mine, request.key, time.monotonic(), request.fence]
        out.write(json.dumps(begun) + "\n")
        try:
            await asyncio.sleep(seconds)
        finally:
            out.write(json.dumps([mine, time.monotonic()]) + "\n")

    await node.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
