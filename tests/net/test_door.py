"""The door of a keyed node: members are answered, strangers bounded, and neither is confused."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import mesh
from mesh.security import Credentials, MeshKey, NodeKey
from mesh.security.curve import bind_id
from mesh.security.knocking import HEADER_BYTES, MAGIC, BadKnock, Card, new_token
from mesh.transport import door as limits
from mesh.transport.door import CURVE_GREETING, Door, knock
from mesh.transport.listening import listen
from tests.net.processes import until, until_async

Make = Callable[..., mesh.Node]

KEY = "mesh1-" + "a" * 51 + "q"
GREETING = b"\xff\0\0\0\0\0\0\0\1\x7f"
"""What ZeroMQ says first (RFC 23)."""


def runs(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 60))  # type: ignore[arg-type]

    return run


def credentials(key: str = KEY) -> Credentials:
    node = NodeKey.generate()
    return Credentials(bind_id(node.public), "mesh", [MeshKey(key, "mesh")], node)


@contextlib.asynccontextmanager
async def opened(host: Credentials | None = None) -> AsyncIterator[Door]:
    door = Door(listen("127.0.0.1", 0), (host or credentials()).answer)
    await door.start()
    try:
        yield door
    finally:
        door.close()
        await door.wait_closed()


async def visit(guest: Credentials, port: int) -> object:
    token = new_token()
    question = guest.question(guest.key, token)
    return guest.take_answer(await knock("127.0.0.1", port, lambda: question), guest.key, token)


async def said_after(port: int, data: bytes) -> bytes:
    """Everything that the door says to who says ``data``, until it has closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@runs
async def test_a_member_is_answered() -> None:
    host, guest = credentials(), credentials()
    async with opened(host) as door:
        card = await visit(guest, door.port)
        assert isinstance(card, Card)
        assert card.id == host.id
        assert door.refused == 0


@runs
@pytest.mark.parametrize(
    "data",
    [b"G", b"GET / HTTP/1.1\r\n\r\n", GREETING, MAGIC + bytes(HEADER_BYTES), MAGIC + b"\1\1" * 30],
    ids=["letter", "http", "zeromq", "zeros", "nonsense"],
)
async def test_a_stranger_is_told_nothing_and_sent_away_at_once(data: bytes) -> None:
    async with opened() as door:
        if len(data) >= len(MAGIC):
            said = await asyncio.wait_for(said_after(door.port, data), 1.0)
            assert said == (CURVE_GREETING if data == GREETING else b"")
        else:
            # What has not yet said anything wrong has its two seconds.
            assert await said_after(door.port, data) == b""
        assert door.refused == 1
        assert isinstance(await visit(credentials(), door.port), Card)


@runs
async def test_a_wrong_key_is_told_so_and_no_more() -> None:
    other = credentials("mesh1-" + "b" * 51 + "q")
    host = credentials()
    async with opened(host) as door:
        question = other.question(other.key, new_token())
        answer = await said_after(door.port, question)
        assert len(answer) == HEADER_BYTES
        assert len(host.members) == 1


@runs
async def test_visitors_who_say_nothing_are_bounded_and_leave_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_AT_DOOR", 8)
    async with opened() as door:
        silent = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(20)]
        await until_async(lambda: door.refused == 12, what="those too many to be closed")
        # They have a place, and give it back when their time is over.
        await until_async(lambda: door.refused == 20, what="the time of the others to be over")
        for _, writer in silent:
            writer.close()


@contextlib.asynccontextmanager
async def from_address(address: str, port: int) -> AsyncIterator[socket.socket]:
    """A connection from another address of this machine."""
    with socket.socket() as tcp:
        tcp.setblocking(False)
        tcp.bind((address, 0))
        await asyncio.get_running_loop().sock_connect(tcp, ("127.0.0.1", port))
        yield tcp


@runs
async def test_who_sits_at_the_door_leaves_room_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_OF_HOST", 4)
    async with opened() as door, contextlib.AsyncExitStack() as seats:
        for _ in range(300):
            await seats.enter_async_context(from_address("127.0.0.2", door.port))
        await until_async(lambda: door.refused == 296)
        for _ in range(8):
            assert isinstance(await visit(credentials(), door.port), Card)


@runs
async def test_who_comes_too_often_is_not_heard_and_others_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "VISITS_AT_ONCE", 10)
    monkeypatch.setattr(limits, "VISITS_PER_SECOND", 10.0)
    async with opened() as door:
        for _ in range(30):
            async with from_address("127.0.0.2", door.port) as tcp:
                await asyncio.get_running_loop().sock_sendall(tcp, b"GET / HTTP/1.1\r\n\r\n")
        await until_async(lambda: door.refused == 30)
        assert isinstance(await visit(credentials(), door.port), Card)
        assert door._paces["127.0.0.2"].dropped >= 10


@runs
async def test_a_check_that_connects_and_closes_locks_nobody_out() -> None:
    async with opened() as door:
        for _ in range(700):
            (await asyncio.open_connection("127.0.0.1", door.port))[1].close()
        assert isinstance(await visit(credentials(), door.port), Card)


@runs
async def test_the_visits_of_countless_hosts_are_not_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_HOSTS", 4)
    async with opened() as door:
        for last in range(1, 12):
            async with from_address(f"127.0.0.{last}", door.port) as tcp:
                await asyncio.get_running_loop().sock_sendall(tcp, b"wrong")
        await until_async(lambda: door.refused == 11)
        assert len(door._paces) == 4


@runs
async def test_a_door_that_closes_lets_go_of_its_visitors_and_its_port() -> None:
    async with opened() as door:
        port = door.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(MAGIC)
        await asyncio.sleep(0.05)
        door.close()
        await door.wait_closed()
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 1.0) == b""
        writer.close()
    with pytest.raises(OSError, match=str(port)):
        await asyncio.open_connection("127.0.0.1", port)
    listen("127.0.0.1", port).close()


@runs
async def test_a_visit_that_has_not_begun_when_the_door_closes_is_let_go_of() -> None:
    """A task that is cancelled before its first step runs nothing of itself."""
    writers: list[asyncio.StreamWriter] = []
    async with opened() as door:

        def come_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            door._on_connection(reader, writer)
            door.close()

        server = await asyncio.start_server(come_and_close, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 5.0) == b""
            writer.close()
        await door.wait_closed()
    assert writers[0].transport.is_closing()


@runs
async def test_where_no_door_is_a_knock_says_what_is_there() -> None:
    async def zeromq(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(zeromq, "127.0.0.1", 0)
    async with server:
        with pytest.raises(BadKnock, match="without a key"):
            await visit(credentials(), server.sockets[0].getsockname()[1])


def test_a_port_in_use_is_named() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            listen("127.0.0.1", port)


def test_a_door_on_all_interfaces_takes_both_versions_of_ip() -> None:
    with listen("*", 0) as everywhere:
        port = everywhere.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), 1.0).close()
        if socket.has_dualstack_ipv6():
            with contextlib.suppress(OSError):
                socket.create_connection(("::1", port), 1.0).close()


# Nodes.


def test_nodes_with_one_key_meet_and_with_another_say_why_they_do_not(make_node: Make) -> None:
    host = make_node("host", key=KEY, host="127.0.0.1", discovery=()).start()
    friend = make_node("friend", key=KEY, discovery=(), seeds=[host.me.address]).start()
    assert friend.wait_for("host", timeout=10.0)
    other = make_node(
        "other", key=mesh.generate_key(), host="127.0.0.1", discovery=(), seeds=[host.me.address]
    ).start()
    keyless = make_node("keyless", discovery=(), seeds=[host.me.address]).start()

    def outcome(node: mesh.Node) -> str:
        return node.discovery()["seeds"].found[0].outcome

    until(lambda: outcome(other) == "refused: it has another mesh key")
    until(lambda: "no answer" in outcome(keyless))
    assert not other.peers()
    assert not keyless.peers()
    # They rest between two attempts: there are a few, and not seven a second for ever.
    refused = host.counters()["connections_refused"]
    time.sleep(3.0)
    assert host.counters()["connections_refused"] - refused <= 6


def test_a_keyed_node_says_that_a_seed_has_no_key(make_node: Make) -> None:
    keyless = make_node("keyless", discovery=()).start()
    keyed = make_node(
        "keyed", key=KEY, host="127.0.0.1", discovery=(), seeds=[keyless.me.address]
    ).start()
    until(lambda: "no" in keyed.discovery()["seeds"].found[0].outcome)
    assert not keyed.peers()
