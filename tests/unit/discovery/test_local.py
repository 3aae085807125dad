"""The rules of the same-host rendezvous, on real loopback sockets and virtual time."""

import asyncio
import itertools
import socket

import pytest

from discovery import Candidate, Local
from discovery.datagram import Kind, decode, encode
from discovery.local import REPEAT_EVERY
from tests.unit.discovery.helpers import run_virtual
from tests.unit.discovery.nodes import announcement, free_port, new_id, run, until


def test_invalid_datagrams_are_ignored_and_counted() -> None:
    async def main() -> None:
        port = free_port()
        seen: list[Candidate] = []
        local = Local(port)
        await local.start(announcement(new_id()), seen.append)
        rubbish = [b"", b"hello", b"mesh\x01\xc1", b"mesh\x02\x90", b"mesh\x01" + b"\x90" * 2000]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            for data in rubbish:
                stranger.sendto(data, ("127.255.255.255", port))
            await until(lambda: local.ignored == len(rubbish))
            honest = announcement(new_id())
            stranger.sendto(encode(Kind.HERE, honest), ("127.255.255.255", port))
            await until(lambda: seen)
        assert seen == [honest.candidate("local")]
        await local.close()

    run("asyncio", main())


def test_a_hello_is_answered_to_its_sender_and_a_reminder_is_not() -> None:
    async def main() -> None:
        port = free_port()
        seen: list[Candidate] = []
        node = announcement(new_id())
        local = Local(port)
        await local.start(node, seen.append)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as newcomer:
            newcomer.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            newcomer.bind(("127.0.0.1", 0))
            newcomer.setblocking(False)
            own = announcement(new_id())
            for kind in (Kind.HERE, Kind.HELLO):
                newcomer.sendto(encode(kind, own), ("127.255.255.255", port))
            await until(lambda: len(seen) == 2)
            answer, sender = newcomer.recvfrom(2000)
            assert answer == encode(Kind.HERE, node)
            assert sender[0] == "127.0.0.1"
            with pytest.raises(BlockingIOError):
                newcomer.recv(2000)
        await local.close()

    run("asyncio", main())


def test_a_node_says_hello_until_it_knows_of_another_and_then_only_reminds() -> None:
    async def main() -> None:
        port = free_port()
        loop = asyncio.get_running_loop()
        node = announcement(new_id())
        heard: list[tuple[Kind, float]] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            other.bind(("127.255.255.255", port))
            other.setblocking(False)

            def listen() -> None:
                kind, sender = decode(other.recv(2000))
                if sender == node:
                    heard.append((kind, loop.time()))

            loop.add_reader(other, listen)
            local = Local(port)
            await local.start(node, lambda _: None)
            await asyncio.sleep(60)
            alone = len(heard)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                here = encode(Kind.HERE, announcement(new_id()))
                sender.sendto(here, ("127.255.255.255", port))
            await asyncio.sleep(60)
            await local.close()
            total = len(heard)
            await asyncio.sleep(60)
            assert len(heard) == total
            loop.remove_reader(other)
        assert [at for _, at in heard[:3]] == pytest.approx([0.0, 0.2, 1.2])
        gaps = [later - sooner for (_, sooner), (_, later) in itertools.pairwise(heard[2:])]
        assert all(0.8 * REPEAT_EVERY <= gap <= 1.2 * REPEAT_EVERY for gap in gaps)
        assert {kind for kind, _ in heard[:alone]} == {Kind.HELLO}
        assert {kind for kind, _ in heard[alone:]} == {Kind.HERE}
        assert min(alone, total - alone) >= 9

    run_virtual(main())
