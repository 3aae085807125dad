"""Who has seen a node's announcement announces it as its own, and keeps what he is told.

Settings come as JSON in the first argument: ``id``, ``mesh``, ``fingerprint``, ``host`` (where he
is), ``door`` (of the node whose record it was). He listens at ``host``, counts who comes and keeps
what they say; says all of it to the real door; and tells it as JSON for each line on stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import discovery as d
from mesh.wire import frames

TOLD_BYTES = 1 << 20


class Thief:
    def __init__(self, door: str) -> None:
        self._door = d.parse_address(door)
        self.visits = 0
        self.told = bytearray()
        self.answers: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        said = await reader.read(65536)
        if len(self.told) < TOLD_BYTES:
            self.told += said
        # A door's greeting, as a node without a key says it, and then what was said.
        writer.write(b"\xff" + bytes(8) + b"\x7f\x03" if self.visits % 2 else said)
        task = asyncio.ensure_future(self._repeat(said))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        writer.close()

    async def _repeat(self, said: bytes) -> None:
        """What another said at our door, at the real one."""
        reader, writer = await asyncio.open_connection(*self._door)
        writer.write(said)
        try:
            answer = await asyncio.wait_for(reader.read(), 3.0)
        except (OSError, TimeoutError):
            answer = b""
        self.answers.append(answer.hex())
        writer.close()


async def main(settings: dict[str, Any]) -> None:
    thief = Thief(settings["door"])
    server = await asyncio.start_server(thief.hear, settings["host"], 0)
    port = server.sockets[0].getsockname()[1]
    found = d.Discovery([d.Mdns()], lambda candidate: None)
    await found.start(
        d.Announcement(
            id=settings["id"],
            mesh=settings["mesh"],
            protocol=frames.PROTOCOL_VERSION,
            hosts=(settings["host"],),
            port=port,
            fingerprint=settings["fingerprint"],
        )
    )
    loop = asyncio.get_running_loop()
    print(json.dumps("ready"), flush=True)  # noqa: T201  the test waits for it
    while await loop.run_in_executor(None, sys.stdin.readline):
        told = {"visits": thief.visits, "told": thief.told.hex(), "answers": thief.answers}
        print(json.dumps(told), flush=True)  # noqa: T201
    await found.close()
    server.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
