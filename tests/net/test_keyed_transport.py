"""Transports with keys: who speaks for whom, and what is cut off with a node that is out."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from mesh.engine.ports import Dial
from mesh.security import generate_key
from mesh.wire import frames
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

    def on_hello(self, id: bytes, link: int) -> None:
        super().on_hello(id, link)
        self.link = link

    def on_link_frame(self, dial: object, frame: bytes, payload: bytes) -> None:
        self.frames.append(frame)

    def on_request_frame(self, route: bytes, frame: bytes) -> None:
        self.frames.append(frame)

    def is_member(self, id: bytes) -> bool:
        return True

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


@runs
async def test_on_a_dial_only_its_node_is_heard() -> None:
    async with Watched() as host, Watched() as guest:
        hello, info = frames.pack_hello(host.id, 1), b"\1" + host.id
        host.transport.dial(guest.bound.addresses[0], hello, info)
        await until_async(lambda: guest.links == ["hello"])
        mine, forged = (
            frames.pack_link(host.id, guest.link, frames.CONTROL, sender, 0, 1)
            for sender in (guest.id, os.urandom(16))
        )
        for frame in (forged, mine, forged, mine):
            guest.transport.send_link(frame)
        await until_async(lambda: len(host.frames) + host.strangers == 4)
        assert host.frames == [mine, mine]


@runs
async def test_a_request_in_the_name_of_another_is_not_taken() -> None:
    async with Watched() as host, Watched() as guest:
        introduce(host, guest)
        lane = guest.transport.open_lane(f"127.0.0.1:{host.bound.rpc_port}", host.id)
        mine, forged = (
            frames.pack_data(frames.REQUEST, sender, host.id, 0, 1)
            for sender in (guest.id, os.urandom(16))
        )
        for frame in (forged, mine, forged, mine):
            assert guest.transport.send_request(lane, frame)
        await until_async(lambda: len(host.frames) + host.strangers == 4)
        assert host.frames == [mine, mine]


@runs
async def test_who_does_not_know_yet_what_is_new_is_told_again() -> None:
    async with Watched() as host, Watched() as guest:
        entrance = host.transport._entrance
        assert entrance is not None
        assert host.credentials is not None
        assert guest.credentials is not None
        await entrance.enter(guest.bound.addresses[0])
        order = host.credentials.order_rotation(generate_key(), 60)
        assert host.credentials.rotate(order)
        assert guest.credentials.key.text == KEY, "nobody was told"
        entrance._look()
        await until_async(lambda: guest.credentials.key.text == order.key)
        await until_async(lambda: host.credentials.is_up_to_date(guest.id))
