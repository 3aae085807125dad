"""Many nodes in one process and one loop: started together, told when all know all.

Started by ``test_crowd.py`` with mesh name and counts as arguments. Prints one JSON line when it
is ready, one when each of its nodes knows everybody, one when all are closed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import mesh

WITHIN = 60.0


async def main(mesh_name: str, here: int, everywhere: int) -> None:
    loop = asyncio.get_running_loop()
    nodes = [mesh.AsyncNode("crowd", mesh=mesh_name) for _ in range(here)]
    tell(ready=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    began = time.monotonic()
    await asyncio.gather(*(node.start() for node in nodes))
    await asyncio.gather(
        *(node.wait_for("crowd", count=everywhere, timeout=WITHIN) for node in nodes)
    )
    known = time.monotonic()
    states = {peer.state for node in nodes for peer in node.peers(all=True)}
    ids = sorted(node.id for node in nodes)
    tell(began=began, known=known, ids=ids, states=sorted(states))
    await loop.run_in_executor(None, sys.stdin.readline)
    tell(closing=await asyncio.gather(*(closing_time(node) for node in nodes)))


async def closing_time(node: mesh.AsyncNode) -> float:
    began = time.monotonic()
    await node.close()
    return time.monotonic() - began


def tell(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
