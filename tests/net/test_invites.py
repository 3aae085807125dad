"""Invites on real sockets: who gets in, once, and what strangers and slow ones can do."""

from __future__ import annotations

import asyncio
import functools
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from discovery import Local
from mesh.invites import Code, Inviter, NotInvited, exchange, inviter, join, joiner
from mesh.invites.exchange import Request, Welcome
from mesh.security.authority import Authority
from mesh.security.boxes import new_secret, public_of
from mesh.security.certificates import BadCertificate
from mesh.security.identity_file import IdentityFile
from patterns.errors import ConfigError, MeshError
from tests.net.processes import until_async

WITHIN = 30.0
HOST = "127.0.0.1"

Make = Callable[..., Inviter]


def on_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def main() -> None:
            await test(*args, **kwargs)

        asyncio.run(asyncio.wait_for(main(), WITHIN))

    return run


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "ca", "lab")


@pytest.fixture
def make(authority: Authority) -> Make:
    """Makes inviters on loopback, which nobody can find, for a machine "calc"."""

    def issue(node_key: bytes) -> Welcome:
        return Welcome.by(authority, authority.issue("calc", node_key, ["ops"]))

    return lambda **given: Inviter(
        Code.new(), **{"issue": issue, "host": HOST, "sources": ()} | given
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inviter, "DEADLINE", 0.3)
    monkeypatch.setattr(inviter, "WRONG_DELAY", 0.05)
    monkeypatch.setattr(joiner, "PAUSE", 0.05)


def address(inviter: Inviter) -> str:
    return inviter.addresses[0]


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


async def enter(invite: Inviter, code: Code | None = None, **given: Any) -> IdentityFile:
    settings: dict[str, Any] = {"keep": lambda identity: None, "at": address(invite)} | given
    return await join(code or invite.code, **settings)


async def ask(invite: Inviter, frame: bytes, within: float = 5.0) -> bytes:
    """What comes back for these bytes until the other side hangs up."""
    reader, writer = await asyncio.open_connection(HOST, invite.port)
    try:
        writer.write(frame)
        with suppress(ConnectionError):
            async with asyncio.timeout(within):
                return await reader.read()
        return b""
    finally:
        writer.close()


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


def framed(content: bytes) -> bytes:
    return len(content).to_bytes(4) + content


# Getting in


@on_a_loop
async def test_a_machine_gets_all_that_it_needs(
    make: Make, authority: Authority, tmp_path: Path
) -> None:
    authority.issue("lost", public_of(new_secret()))
    authority.revoke("lost")
    path = tmp_path / "lab.identity"
    async with make() as invite:
        made = await enter(invite, keep=lambda identity: identity.save(path))
        assert await invite.wait(5)
        assert invite.is_taken
    assert IdentityFile.load(path) == made
    assert (made.mesh, made.key, made.authority) == ("lab", authority.key, authority.public)
    assert made.identity.name == "calc"
    assert made.identity.roles == {"ops"}
    assert made.revocations == authority.revocations()
    assert [one.serial for one in authority.issued()][1:] == [made.certificate.serial]


@on_a_loop
async def test_the_inviter_is_found_without_an_address(make: Make) -> None:
    async with make(sources=(Local(),)) as invite:
        made = await enter(invite, at=None, sources=(Local(),))
        assert made.identity.name == "calc"


@on_a_loop
async def test_where_it_listens_may_be_given_as_a_name(make: Make) -> None:
    async with make(host="localhost") as invite:
        assert invite.addresses == (f"127.0.0.1:{invite.port}",)
        await enter(invite)


@pytest.mark.parametrize("host", [None, "*", "0.0.0.0", "::", "::1", "[::1]"])
@on_a_loop
async def test_it_is_reached_where_it_listens(make: Make, host: str | None) -> None:
    if host is not None and ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    async with make(host=host) as invite:
        assert invite.addresses
        is_ipv4 = host in (None, "*", "0.0.0.0")
        await enter(invite, at=f"127.0.0.1:{invite.port}" if is_ipv4 else f"[::1]:{invite.port}")


@on_a_loop
async def test_an_impostor_who_announces_the_fingerprint_only_delays(
    make: Make, quick: None
) -> None:
    """He knows the fingerprint, as everybody in the network does, and not the code."""
    asked = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1000))
        writer.write(framed(b""))
        writer.close()

    async with (
        await asyncio.start_server(refuse, HOST, 0) as server,
        make(sources=(Local(),)) as impostor,
        asyncio.TaskGroup() as tasks,
    ):
        invite = make(sources=(Local(),))
        impostor.code, impostor.port = invite.code, port_of(server)
        impostor._announce()
        keep: list[IdentityFile] = []
        joining = tasks.create_task(join(invite.code, keep.append, sources=(Local(),)))
        await until_async(lambda: asked)
        async with invite:
            assert (await joining).identity.name == "calc"


@on_a_loop
async def test_the_secret_and_the_code_do_not_travel(make: Make) -> None:
    heard = bytearray()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, invite.port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(1000):
                heard.extend(data)
                sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, back), pump(there, writer))

    async with make() as invite, await asyncio.start_server(relay, HOST, 0) as server:
        made = await enter(invite, at=f"{HOST}:{port_of(server)}")
        assert await invite.wait(5)
    assert len(heard) > 300
    for secret in (made.node_secret, invite.code.chars.encode(), made.key.encode(), b"calc"):
        assert secret not in heard
    # Nor can who recorded it and learns the code read what the machine got.
    size = int.from_bytes(heard[:4])
    reply = bytes(heard[4 + size + 4 :])[: int.from_bytes(heard[4 + size : 8 + size])]
    request = Request.unpack(invite.code.key, bytes(heard[4 : 4 + size]))
    assert Welcome.unpack(invite.code.key, made.node_secret, request, reply).mesh == "lab"
    with pytest.raises(exchange.BadFrame, match="another node key"):
        Welcome.unpack(invite.code.key, new_secret(), request, reply)


# Once


@on_a_loop
async def test_it_is_used_once(make: Make, authority: Authority) -> None:
    async with make() as invite:
        await enter(invite)
        assert await invite.wait(5)
        with pytest.raises(NotInvited, match="another machine has used"):
            await enter(invite)
    assert len(authority.issued()) == 1


@on_a_loop
async def test_of_many_at_once_one_gets_in(make: Make, authority: Authority, quick: None) -> None:
    async with make() as invite:
        outcomes = await asyncio.gather(*(enter(invite) for _ in range(3)), return_exceptions=True)
    assert sum(isinstance(outcome, IdentityFile) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, NotInvited) for outcome in outcomes) == 2
    assert len(authority.issued()) == 1


@on_a_loop
async def test_a_lost_answer_is_given_again_to_the_same_machine(
    make: Make, authority: Authority
) -> None:
    secret = new_secret()
    async with make() as invite:
        key = invite.code.key
        answers = []
        for last_word in (b"", framed(bytes(60))):
            request = Request(exchange.new_nonce(), public_of(secret))
            reader, writer = await asyncio.open_connection(HOST, invite.port)
            exchange.write_frame(writer, request.pack(key))
            frame = await exchange.read_frame(reader, exchange.MAX_WELCOME_BYTES)
            answers.append(Welcome.unpack(key, secret, request, frame))
            writer.write(last_word)  # not that it was saved
            writer.close()
        assert answers[0] == answers[1]
        assert not await invite.wait(0.1)
    assert len(authority.issued()) == 1


@on_a_loop
async def test_an_invite_that_nobody_uses_ends(make: Make, authority: Authority) -> None:
    async with make() as invite:
        began = time.monotonic()
        assert not await invite.wait(0.2)
        assert 0.1 < time.monotonic() - began < 5
    with pytest.raises(NotInvited, match="did not let us in: Connection refused"):
        await enter(invite, timeout=0.4)
    assert authority.issued() == []


# Strangers


@on_a_loop
async def test_a_wrong_code_is_refused_counted_and_does_no_harm(
    make: Make, authority: Authority, quick: None
) -> None:
    async with make() as invite:
        for number in range(5):
            with pytest.raises(NotInvited, match="wrong"):
                await enter(invite, Code.new())
            assert invite.wrong == number + 1
        assert authority.issued() == []
        assert (await enter(invite)).identity.name == "calc"


@on_a_loop
async def test_a_wrong_code_is_refused_slowly(make: Make) -> None:
    async with make() as invite:
        began = time.monotonic()
        assert await ask(invite, framed(bytes(100))) == framed(b"")
        assert time.monotonic() - began > inviter.WRONG_DELAY * 0.9


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x01\x01" + bytes(257),
        b"\x00\x00\x00\x00",
        framed(b"x"),
        framed(bytes(256)),
        b"\x00",
    ],
    ids=repr,
)
@on_a_loop
async def test_garbage_gets_nothing(
    make: Make, authority: Authority, quick: None, garbage: bytes
) -> None:
    async with make() as invite:
        assert await ask(invite, garbage) in (b"", framed(b""))
        assert authority.issued() == []
        await enter(invite)


@on_a_loop
async def test_the_slow_are_hung_up_on(make: Make, quick: None) -> None:
    async with make() as invite:
        reader, writer = await asyncio.open_connection(HOST, invite.port)
        began = time.monotonic()
        with suppress(ConnectionError):
            while not reader.at_eof() and time.monotonic() - began < 5:
                writer.write(b"\0")  # a byte at a time does not buy more
                await asyncio.sleep(0.05)
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await reader.read(1)
        assert time.monotonic() - began < 2
        writer.close()
        await until_async(lambda: not invite._tasks)


@on_a_loop
async def test_one_stranger_cannot_fill_all_places(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inviter, "DEADLINE", 20.0)
    async with make() as invite:
        slow = [await asyncio.open_connection(HOST, invite.port) for _ in range(40)]
        await until_async(
            lambda: sum(reader.at_eof() or bool(reader.exception()) for reader, _ in slow) == 36
        )
        assert len(invite._tasks) == inviter.MAX_PER_HOST
        with suppress(ConnectionError):
            assert await ask(invite, framed(b"no place")) == b""
        # From elsewhere there still is one.
        reader, writer = await asyncio.open_connection(
            HOST, invite.port, local_addr=("127.0.0.2", 0)
        )
        await until_async(lambda: len(invite._tasks) == inviter.MAX_PER_HOST + 1)
        for _, each in [*slow, (reader, writer)]:
            each.close()
        await enter(invite)


@on_a_loop
async def test_connections_are_bounded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inviter, "DEADLINE", 20.0)
    async with make() as invite:
        slow = []
        for number in range(30):
            source = (f"127.0.1.{number + 1}", 0)
            slow.append(await asyncio.open_connection(HOST, invite.port, local_addr=source))
        await until_async(
            lambda: sum(reader.at_eof() or bool(reader.exception()) for reader, _ in slow) == 14
        )
        assert len(invite._tasks) == inviter.MAX_CONNECTIONS
        for _, writer in slow:
            writer.close()
        await until_async(lambda: not invite._tasks)
        assert not invite._hosts


# What is answered


async def answering(answer: Callable[[bytes], bytes]) -> asyncio.Server:
    """An inviter that answers each request with what the function gives."""

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(framed(answer(await exchange.read_frame(reader, 1000))))
        writer.close()

    return await asyncio.start_server(on_connection, HOST, 0)


@on_a_loop
async def test_an_old_answer_is_refused(quick: None) -> None:
    """Replayed, of another key, turned around, or of nobody."""
    secret = new_secret()
    code = Code.new()
    old = Request(exchange.new_nonce(), public_of(secret))
    welcome = Welcome("lab", "words", b"", b"", b"")
    kept: list[IdentityFile] = []

    def for_another_nonce(frame: bytes) -> bytes:
        node_key = Request.unpack(code.key, frame).node_key
        return welcome.pack(code.key, Request(exchange.new_nonce(), node_key))

    for answer in (
        lambda frame: welcome.pack(code.key, old),
        for_another_nonce,
        lambda frame: frame,
        lambda frame: bytes(300),
        lambda frame: exchange.Used.pack(code.key, old.nonce),
        lambda frame: bytes(exchange.MAX_WELCOME_BYTES + 1),
    ):
        async with await answering(answer) as server:
            at = f"{HOST}:{port_of(server)}"
            with pytest.raises(NotInvited, match="does not know the code"):
                await join(code, kept.append, at=at, timeout=0.3)
    assert kept == []


@on_a_loop
async def test_an_answer_that_does_not_fit_together_is_not_kept(
    make: Make, authority: Authority, tmp_path: Path
) -> None:
    other = Authority.create(tmp_path / "other", "lab")
    kept: list[IdentityFile] = []

    def issue(node_key: bytes) -> Welcome:
        certificate = other.issue("calc", node_key)
        return Welcome("lab", authority.key, certificate.raw, authority.public, b"")

    async with make(issue=issue) as invite:
        with pytest.raises(BadCertificate, match="not signed"):
            await enter(invite, keep=kept.append)
        assert not await invite.wait(0.1)
    assert kept == []


@on_a_loop
async def test_what_cannot_be_saved_is_told_and_not_confirmed(make: Make, tmp_path: Path) -> None:
    async with make() as invite:
        with pytest.raises(MeshError, match=r"cannot be saved: .*No such file"):
            await enter(invite, keep=lambda made: made.save(tmp_path / "no" / "such"))
        assert not await invite.wait(0.1)
        assert invite.is_taken


@on_a_loop
async def test_a_certificate_that_cannot_be_made_ends_the_invite(make: Make, quick: None) -> None:
    def issue(node_key: bytes) -> Welcome:
        raise ConfigError("the index is full")

    async with make(issue=issue) as invite:
        joining = asyncio.create_task(enter(invite, timeout=0.5))
        with pytest.raises(ConfigError, match="index is full"):
            await invite.wait(5)
        with pytest.raises(NotInvited):
            await joining


# Codes


def test_a_code_is_read_however_it_is_written() -> None:
    code = Code.parse("01AB-CDEF-GHJK")
    assert str(code) == "01AB-CDEF-GHJK"
    for text in ("01abcdefghjk", " oi-ab cd-ef-gh-jk ", "OLAB-CDEF-GHJK", "0labcdefghjk"):
        assert Code.parse(text) == code
    assert Code.parse(str(made := Code.new())) == made
    assert code.chars not in repr(code)


@pytest.mark.parametrize(
    "text", ["", "01AB", "01AB-CDEF-GHJKM", "01AB-CDEF-GHJU", "Ä1AB-CDEF-GHJK"]
)
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="XXXX-XXXX-XXXX"):
        Code.parse(text)


def test_each_code_is_another_of_60_bits() -> None:
    made = [Code.new() for _ in range(2000)]
    assert len({code.chars for code in made}) == 2000
    used = {char for code in made for char in code.chars}
    assert len(used) == 32
    assert not used & set("ILOU")


def test_key_and_fingerprint_cost_a_stretching_and_are_not_the_same() -> None:
    code = Code.new()
    began = time.process_time()
    assert len(code.key) == 32
    assert time.process_time() - began > 0.02
    assert len(code.fingerprint) == 16
    assert bytes.fromhex(code.fingerprint) not in code.key
