"""What was under way when a node was put out is cut off as well."""

from __future__ import annotations

import asyncio
from typing import Any

from mesh.engine.ports import Dial
from tests.net.processes import until_async
from tests.net.test_work_plane import End, introduce, runs

KEY = "mesh1-" + "a" * 51 + "q"


class Watched(End):
    def __init__(self) -> None:
        super().__init__(KEY)
        self.refused: list[tuple[Dial, str]] = []
        self.expelled: list[bytes] = []

    def on_refused(self, dial: Any, code: str, text: str) -> None:
        self.refused.append((dial, code))
        self.transport.hang_up(dial)

    def on_expelled(self, id: bytes, reason: str) -> None:
        self.expelled.append(id)


@runs
async def test_a_dial_that_nobody_has_answered_yet_is_hung_up_when_its_node_is_out() -> None:
    async with Watched() as host, Watched() as guest:
        dial = host.transport.dial(guest.bound.addresses[0], b"\0hello", b"\1info")
        await until_async(lambda: dial.key)  # type: ignore[attr-defined]
        assert host.credentials is not None
        out = host.credentials.members.expel(lambda node: node.id == guest.id)
        host.credentials.on_expelled(out, "revoked")
        assert host.expelled == [guest.id]
        assert host.refused == [(dial, "expelled")]
        assert not host.transport._dials


@runs
async def test_work_of_a_node_that_is_out_is_not_taken() -> None:
    async with Watched() as host, Watched() as guest:
        introduce(host, guest)
        first = guest.frame(b"first")
        lane = await guest.lane_to(host.work_address, host.id, first)
        await until_async(lambda: host.frames == [first])
        assert host.credentials is not None
        host.credentials.members.expel(lambda node: node.id == guest.id)
        for number in range(100):
            assert guest.send(lane, guest.frame(b"%d" % number))
            await asyncio.sleep(0)
        await until_async(lambda: host.strangers == 100)
        assert host.frames == [first]
