"""``meshctl expose`` and ``meshctl forward``: TCP through the mesh, and how connections end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import mesh
from mesh.cli.tunnel import forwarding
from mesh.cli.tunnel.address import Address
from mesh.cli.tunnel.telling import Teller
from tests.net.identities import Mint
from tests.net.inside import Inside, inside, without_multicast
from tests.net.processes import Script, free_ports, until, until_async
from tests.net.servers import MIB, RESET_ON_CLOSE, Server, block, connect, read_all
from tests.net.test_cli import RUN_SECONDS, Meshctl, is_one_line

__all__ = ["inside", "without_multicast"]

MakeNode = Callable[..., mesh.Node]

MANY = 100
BODY_BYTES = 100_000

FLOOD_MIB = 96
IN_BETWEEN_MIB = 48
"""What the systems of four sockets on loopback may keep, with the windows and a margin."""


@dataclass
class Tunnel:
    """A server, and the port at which its forwarded connections arrive."""

    server: Server
    port: int
    forwarder: Script
    exposer: Script

    def connect(self, first: bytes) -> socket.socket:
        connection = connect(self.port)
        connection.sendall(first + b"\n")
        return connection


def first_event(script: Script) -> dict[str, Any]:
    assert script.process.stdout is not None
    event: dict[str, Any] = json.loads(script.process.stdout.readline())
    return event


def port_of(forwarder: Script) -> int:
    event = first_event(forwarder)
    assert event["event"] == "listening"
    return int(event["address"].rpartition(":")[2])


def open_tunnel(meshctl: Meshctl, port: int) -> tuple[int, Script, Script]:
    exposer = meshctl.start("expose", "web", str(port), "--json")
    assert first_event(exposer)["event"] == "listening"
    forwarder = meshctl.start("forward", "0", "web", "--json")
    return port_of(forwarder), forwarder, exposer


@pytest.fixture
def meshctl(mesh_name: str) -> Iterator[Meshctl]:
    runner = Meshctl(mesh_name)
    yield runner
    runner.end()


@pytest.fixture(scope="module")
def tunnel() -> Iterator[Tunnel]:
    """One for all tests that leave it as it was."""
    for name in [name for name in os.environ if name.startswith("MESH_")]:
        del os.environ[name]  # the fixture of each test does so, too, but is not there yet
    meshctl = Meshctl(f"test-{uuid.uuid4().hex[:16]}")
    with Server() as server:
        try:
            port, forwarder, exposer = open_tunnel(meshctl, server.port)
            yield Tunnel(server, port, forwarder, exposer)
            for script in (forwarder, exposer):
                assert script.process.poll() is None
                script.check()
        finally:
            meshctl.end()


def test_what_the_client_ends_is_ended_and_the_answer_still_comes(tunnel: Tunnel) -> None:
    with tunnel.connect(b"count") as client:
        client.sendall(b"x" * 3 * MIB)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == str(3 * MIB).encode()


def test_what_the_server_ends_is_ended_and_the_client_goes_on(tunnel: Tunnel) -> None:
    with tunnel.connect(b"first") as client:
        assert read_all(client) == b"bye"
        client.sendall(b"one, ")
        time.sleep(0.05)
        client.sendall(b"two")
        client.shutdown(socket.SHUT_WR)
        assert tunnel.server.outcomes.get(timeout=RUN_SECONDS) == b"one, two"


def test_a_reset_of_the_server_is_one_for_the_client(tunnel: Tunnel) -> None:
    with tunnel.connect(b"reset") as client, pytest.raises(ConnectionResetError):
        read_all(client)


def test_a_reset_of_the_client_is_one_for_the_server(tunnel: Tunnel) -> None:
    client = tunnel.connect(b"hold")
    assert client.recv(7) == b"holding"
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    client.close()
    assert tunnel.server.outcomes.get(timeout=RUN_SECONDS) == "ConnectionResetError"


def test_many_connections_at_once_have_each_its_own_bytes(tunnel: Tunnel) -> None:
    everybody = threading.Barrier(MANY, timeout=RUN_SECONDS)

    def ask(number: int) -> bool:
        body = number.to_bytes(4) * (BODY_BYTES // 4)
        with tunnel.connect(b"echo") as client:
            client.sendall(body[:4])
            got = client.recv(4)
            everybody.wait()  # all of them are open now
            client.sendall(body[4:])
            client.shutdown(socket.SHUT_WR)
            return got + read_all(client) == body

    with ThreadPoolExecutor(MANY) as pool:
        assert all(pool.map(ask, range(MANY)))


def test_a_slow_reader_holds_back_the_sender_and_nobody_else(tunnel: Tunnel) -> None:
    with tunnel.connect(b"flood %d" % FLOOD_MIB) as slow:
        sent = -1
        while sent != tunnel.server.sent or not sent:
            sent = tunnel.server.sent
            time.sleep(0.3)
        assert sent < IN_BETWEEN_MIB * MIB
        with tunnel.connect(b"echo") as other:
            other.sendall(b"still here")
            other.shutdown(socket.SHUT_WR)
            assert read_all(other) == b"still here"
        with slow.makefile("rb") as file:
            assert all(file.read(MIB) == block(number) for number in range(FLOOD_MIB))
            assert file.read() == b""


def test_a_refused_connection_is_told_and_the_tunnel_lives_on(meshctl: Meshctl) -> None:
    (port,) = free_ports(1)
    local, forwarder, exposer = open_tunnel(meshctl, port)
    with connect(local) as client, pytest.raises(ConnectionResetError):
        read_all(client)
    for script in (forwarder, exposer):
        until(lambda s=script: "refused" in s.errors, RUN_SECONDS, "the line")  # type: ignore[misc]
        line = script.errors.splitlines()[-1]
        assert f"no connection to 127.0.0.1:{port}" in line
    with Server(port), connect(local) as client:
        client.sendall(b"count\nabc")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"3"
    for script, number, code in ((forwarder, signal.SIGINT, 130), (exposer, signal.SIGTERM, 143)):
        script.signal(number)
        assert script.wait(RUN_SECONDS) == code
    assert forwarder.process.stdout is not None
    events = [json.loads(line) for line in forwarder.process.stdout]
    # The refusal may be here before it is known that the stream was open.
    failed, closed = (event for event in events if event["event"] != "opened")
    assert (failed["event"], failed["connection"]) == ("failed", 1)
    assert "refused" in failed["error"]
    assert (closed["event"], closed["connection"]) == ("closed", 2)
    assert (closed["received"], closed["sent"], closed["peer"]["name"]) == (9, 1, "web")


def test_when_the_exposer_is_killed_the_client_is_reset_and_another_is_found(
    meshctl: Meshctl, make_node: MakeNode
) -> None:
    with Server() as server:
        local, forwarder, exposer = open_tunnel(meshctl, server.port)
        with connect(local) as client:
            client.sendall(b"hold\n")
            assert client.recv(7) == b"holding"
            exposer.kill()
            with pytest.raises(ConnectionResetError):
                read_all(client)
    other = make_node("other")

    @other.stream("web")
    async def web(stream: mesh.AsyncStream) -> None:
        await stream.write(b"the other")

    other.start()

    def answer() -> bytes:
        with connect(local) as client:
            client.shutdown(socket.SHUT_WR)
            try:
                return read_all(client)
            except ConnectionResetError:
                return b""

    until(lambda: answer() == b"the other", RUN_SECONDS, "the other")
    assert forwarder.process.poll() is None


def test_connections_are_shared_and_a_peer_or_a_key_chooses(
    meshctl: Meshctl, make_node: MakeNode
) -> None:
    nodes = [make_node(name) for name in ("ada", "ben")]
    for node in nodes:

        async def serve(stream: mesh.AsyncStream, node: mesh.Node = node) -> None:
            await stream.write(node.id.encode())

        node.stream("web")(serve)
        node.start()
    for node in nodes:
        node.wait_for("web", count=2)
    forwarders = [
        meshctl.start("forward", "0", "web", "--json", *words)
        for words in ((), ("--peer", "ben"), ("--key", "user:7"))
    ]
    ports = [port_of(forwarder) for forwarder in forwarders]

    def who(port: int) -> str:
        with connect(port) as client:
            client.shutdown(socket.SHUT_WR)
            return read_all(client).decode()

    assert {who(ports[0]) for _ in range(20)} == {node.id for node in nodes}
    assert {who(ports[1]) for _ in range(5)} == {nodes[1].id}
    assert {who(ports[2]) for _ in range(5)} == {nodes[0].owner("web", "user:7").id}


def test_what_a_service_says_last_arrives_though_it_reads_no_more(
    meshctl: Meshctl, make_node: MakeNode
) -> None:
    node = make_node("web")

    @node.stream
    async def web(stream: mesh.AsyncStream) -> None:
        await stream.write(block(7) * 4)

    node.start()
    port = port_of(meshctl.start("forward", "0", "web", "--json"))
    with connect(port) as client:
        client.sendall(b"nobody reads this" * 10_000)
        time.sleep(0.2)
        client.sendall(b"nor this")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == block(7) * 4


def test_a_policy_says_who_may_connect(
    meshctl: Meshctl, make_node: MakeNode, tmp_path: Path, mesh_name: str
) -> None:
    mint = Mint(tmp_path, mesh_name)
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'default = "deny"\n'
        '[[rule]]\nname = "guests"\nwho = ["guest"]\ndeny.call = [">"]\n'
        '[[rule]]\nname = "operators"\nwho = ["role:operator"]\nallow.call = ["web.*"]\n'
    )
    identity = str(mint.identity("web"))
    node = make_node("web", mesh=None, identity=identity, policy=str(policy), host="127.0.0.1")

    @node.stream
    async def web(stream: mesh.AsyncStream) -> None:
        await stream.write(b"welcome")

    node.start()
    forwarders = {
        name: meshctl.start(
            "forward", "0", "web", "--json", "--host", "127.0.0.1",
            "--identity", str(mint.identity(name, *roles)),
        )
        for name, roles in {"ann": ("operator",), "guest": ()}.items()
    }  # fmt: skip
    with connect(port_of(forwarders["ann"])) as client:
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"welcome"
    with connect(port_of(forwarders["guest"])) as client, pytest.raises(ConnectionResetError):
        read_all(client)
    until(lambda: "guests" in forwarders["guest"].errors, RUN_SECONDS, "the rule")


def test_one_connection_too_many_is_reset_and_the_others_go_on(
    make_async: Callable[..., mesh.AsyncNode],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(forwarding, "MAX_CONNECTIONS", 2)

    async def echo(stream: mesh.AsyncStream) -> None:
        async for data in stream:
            await stream.write(data)

    async def ask(client: Any) -> bytes:
        reader, writer = client
        writer.write(b"hello")
        return bytes(await reader.readexactly(5))

    async def run() -> None:
        async with make_async("web") as node:
            node.stream("web")(echo)
            (port,) = free_ports(1)
            target = forwarding.Target("web", None, None, 5.0)
            forwarder = forwarding.Forwarder(node, target, Teller("web", True))
            running = asyncio.ensure_future(forwarder.run(Address("127.0.0.1", port)))
            await until_async(lambda: "listening" in capsys.readouterr().out)
            clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            assert [await ask(client) for client in clients] == [b"hello"] * 2
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
            assert "2 connections are open" in capsys.readouterr().err
            assert [await ask(client) for client in clients] == [b"hello"] * 2
            running.cancel()
            await asyncio.wait([running])
            for reader, writer in clients:
                with pytest.raises(ConnectionResetError):
                    await reader.read()
                writer.close()

    asyncio.run(run())


def test_nobody_there_closes_the_connection_with_a_line(meshctl: Meshctl) -> None:
    forwarder = meshctl.start("forward", "0", "nothing", "--json")
    port = port_of(forwarder)
    with connect(port) as client, pytest.raises(ConnectionResetError):
        read_all(client)
    until(lambda: "connection 1" in forwarder.errors, RUN_SECONDS, "the line")
    assert "'nothing'" in forwarder.errors.splitlines()[-1]
    assert forwarder.process.poll() is None
    assert forwarder.process.stdout is not None
    forwarder.process.stdout.close()
    assert forwarder.wait(RUN_SECONDS) == 0, "nobody reads what it tells"


def test_a_port_that_is_taken_is_a_failure(inside: Inside) -> None:
    with Server() as server:
        done = inside("forward", str(server.port), "web")
    assert (done.code, done.out) == (1, "")
    assert "in use" in done.err.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [
        ("expose", "no good", "3000"),
        ("expose", "web", "0"),
        ("expose", "web", "::1:3000"),
        ("expose", "web", "70000"),
        ("forward", "eighty", "web"),
        ("forward", ":80", "web"),
        ("forward", "0", "web", "--key", "a", "--peer", "b"),
    ],
)
def test_wrong_usage(inside: Inside, words: tuple[str, ...]) -> None:
    done = inside(*words)
    assert (done.code, done.out) == (2, "")
    assert is_one_line(done.err)
