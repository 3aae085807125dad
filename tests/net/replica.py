"""A replica that is stopped and started again by a supervisor: ``python -m tests.net.replica``.

Arguments: the mesh, and a file for its notes. It serves calls, handles groupcasts and a queue
group's copies, and leaves by ``run()`` when it is told to.
"""

from __future__ import annotations

import asyncio
import os
import sys

import mesh
from tests.net.workers import Worker

CALL_SECONDS = 0.005


def main(mesh_name: str, notes: str) -> None:
    node = mesh.Node("replica", mesh=mesh_name, discovery=("local", "exchange"))

    @node.rpc
    async def work(number: int) -> int:
        await asyncio.sleep(CALL_SECONDS)
        return os.getpid()

    Worker(node, {"group": "crew", "mode": "async", "seconds": 0.002, "notes": notes})
    node.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
