"""Names behind which the addresses change: the system's resolver, and a DNS server for SRV."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from discovery import Candidate, Dns
from discovery import names as discovery_names
from tests.unit.discovery.nodes import announcement, new_id, run, until

dns_message = pytest.importorskip("dns.message", reason="SRV records need dnspython")
dns_rrset = pytest.importorskip("dns.rrset")
dns_resolver = pytest.importorskip("dns.resolver")


class NameServer:
    """Answers questions of DNS by UDP with what `records` has: {(name, type): [text, ...]}."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while (packet := self._socket.recvfrom(4096))[0]:
            question = dns_message.from_wire(packet[0])
            answer = dns_message.make_response(question)
            [asked] = question.question
            kind = asked.rdtype.name
            found = self.records.get((asked.name.to_text(omit_final_dot=True), kind))
            if found:
                answer.answer.append(dns_rrset.from_text(asked.name, 1, "IN", kind, *found))
            else:
                answer.set_rcode(3)
            self._socket.sendto(answer.to_wire(), packet[1])

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer()
    resolver = dns_resolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = server.port
    monkeypatch.setattr(dns_resolver, "Resolver", lambda: resolver)
    yield server
    server.close()


def test_srv_records_have_the_ports_and_what_is_no_longer_there_is_withdrawn(
    name_server: NameServer,
) -> None:
    service = "_mesh._tcp.example.test"
    name_server.records[(service, "SRV")] = ["5 1 7002 127.0.0.2.", "0 1 7001 127.0.0.1."]

    async def main() -> None:
        told: list[Candidate] = []
        source = Dns([service], interval=0.05)
        await source.start(announcement(new_id()), told.append)
        await until(lambda: len(told) >= 2)
        assert [c.addresses for c in told[:2]] == [("127.0.0.1:7001",), ("127.0.0.2:7002",)]
        assert source.state.status == "working"
        name_server.records[(service, "SRV")] = ["0 1 7001 127.0.0.1."]
        await until(lambda: any(c.is_gone for c in told))
        assert [c.addresses for c in source.state.candidates] == [("127.0.0.1:7001",)]
        del name_server.records[(service, "SRV")]
        await until(lambda: source.state.status == "failing")
        assert "does not exist" in source.state.reason
        assert source.state.seen == 1, "it may be there yet"
        await source.close()

    run("asyncio", main())


def test_a_name_stands_for_all_of_its_addresses_with_that_port() -> None:
    async def main() -> None:
        told: list[Candidate] = []
        source = Dns(["localhost:7001", "no-such-name.invalid:1"], interval=0.05)
        await source.start(announcement(new_id()), told.append)
        await until(lambda: ("127.0.0.1:7001",) in [c.addresses for c in told], 20.0)
        await until(lambda: source.state.status == "failing", 20.0)
        assert source.state.reason.startswith("no-such-name.invalid: ")
        await source.close()

    run("asyncio", main())


def test_without_dnspython_the_reason_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "dns.resolver", None)
    answer = discovery_names.look_up("_mesh._tcp.example.test")
    assert isinstance(answer, str)
    assert "pip install 'mesh-p2p[dns]'" in answer


def test_without_a_descriptor_for_the_question_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(dns_resolver.Resolver, "resolve", fail)
    answer = discovery_names.look_up("_mesh._tcp.example.test")
    assert isinstance(answer, str)
    assert "Too many open files" in answer


def test_close_does_not_wait_for_a_resolver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    hung, over = threading.Event(), threading.Event()

    def hang(name: str) -> str:
        hung.set()
        over.wait(30.0)
        return "too late"

    monkeypatch.setattr(discovery_names, "look_up", hang)

    async def main() -> None:
        told: list[Candidate] = []
        source = Dns(["calc:1"])
        await source.start(announcement(new_id()), told.append)
        await until(hung.is_set)
        before = time.monotonic()
        await source.close()
        assert time.monotonic() - before < 0.5
        threads = [t for t in threading.enumerate() if t.name == "discovery-names"]
        over.set()
        for thread in threads:
            await asyncio.to_thread(thread.join, 5.0)
        assert not any(thread.is_alive() for thread in threads)
        assert told == []

    run("asyncio", main())
