"""The discovery sources on real sockets: loopback, and network namespaces of their own.

Other nodes may run on this machine, so mDNS tests look for their own ids only, and rendezvous tests
use a port of their own.
"""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import uvloop
from zeroconf import ServiceInfo, ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

from discovery import Announcement, Candidate, Discovery, Local, Mdns, Seeds, Source
from discovery.datagram import Kind, decode, encode
from discovery.local import ANSWER_BURST, ANSWER_RATE, REMIND_EVERY
from discovery.service import SERVICE_TYPE, instance_name
from tests.unit.discovery.helpers import run_virtual

ROOT = Path(__file__).parents[2]
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
on_both_loops = pytest.mark.parametrize("loop", LOOPS)
needs_namespaces = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode != 0,
    reason="network namespaces need privileges",
)

NODE = """
import asyncio, json, sys, uvloop
from discovery import *

async def main(node_id, host, source):
    def found(candidate):
        print(json.dumps({"id": candidate.id, "mesh": candidate.mesh,
                          "addresses": candidate.addresses}), flush=True)
    finder = Discovery([eval(source)], found)
    await finder.start(Announcement(node_id, "test", 1, (host,), 5000))
    print(json.dumps({"states": [[s.status, s.reason] for s in finder.states().values()]}),
          flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await finder.close()

loop = uvloop.new_event_loop if sys.argv[1] == "uvloop" else asyncio.new_event_loop
with asyncio.Runner(loop_factory=loop) as runner:
    runner.run(main(*sys.argv[2:]))
"""


def new_id() -> str:
    return uuid.uuid4().hex


def announcement(node_id: str, **fields: Any) -> Announcement:
    return Announcement(node_id, "test", 1, **{"hosts": ("127.0.0.1",), "port": 5000} | fields)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run(loop: str, main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main)


async def until(condition: Callable[[], object], within: float = 5.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.005)


def descriptors() -> set[str]:
    """The open files of this process; the directory that lists them is not one of them."""
    links = set()
    for number in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            links.add(f"{number} {os.readlink(f'/dev/fd/{number}')}")
    return {link for link in links if "/fd" not in link}


class Node:
    """A node in a process of its own, perhaps in a network namespace of its own."""

    def __init__(
        self,
        source: str,
        loop: str = "asyncio",
        inside: tuple[str, ...] = (),
        host: str = "127.0.0.1",
    ) -> None:
        self.id = new_id()
        self.lines: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [*inside, sys.executable, "-W", "error", "-c", NODE, loop, self.id, host, source],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,))
        self._reader.start()

    def _read(self, out: IO[str]) -> None:
        for line in out:
            self.lines.append(json.loads(line) | {"at": time.monotonic()})

    def sees(self, other: "Node") -> dict[str, Any] | None:
        return next((line for line in self.lines if line.get("id") == other.id), None)

    @property
    def states(self) -> list[list[str]] | None:
        return next((line["states"] for line in self.lines if "states" in line), None)

    def stop(self) -> str:
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        errors = self.process.stderr.read()
        self.process.stderr.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return errors


def wait(condition: Callable[[], object], within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.005)


@contextlib.contextmanager
def nodes(*made: Node) -> Iterator[tuple[Node, ...]]:
    """Stops the nodes, which must have written nothing to their standard error."""
    errors = []
    try:
        yield made
    finally:
        errors = [node.stop() for node in made]
    assert errors == [""] * len(made)
    assert [node.process.returncode for node in made] == [0] * len(made)


# Two processes


@on_both_loops
def test_two_processes_see_each_other_by_mdns_on_loopback(loop: str) -> None:
    source = "Mdns(loopback_only=True)"
    with nodes(Node(source, loop), Node(source, loop)) as (one, two):
        wait(lambda: one.sees(two) and two.sees(one))
        seen = one.sees(two)
        assert seen is not None
        assert (seen["mesh"], seen["addresses"]) == ("test", ["127.0.0.1:5000"])


@on_both_loops
def test_two_processes_see_each_other_by_rendezvous_within_a_second(loop: str) -> None:
    source = f"Local({free_port()})"
    with nodes(Node(source, loop)) as (one,):
        wait(lambda: one.states)
        with nodes(Node(source, loop)) as (two,):
            wait(lambda: one.sees(two) and two.sees(one) and two.states)
            ready = next(line["at"] for line in two.lines if "states" in line)
            for line in (one.sees(two), two.sees(one)):
                assert line is not None
                assert line["at"] - ready < 1.0


@contextlib.contextmanager
def namespace(*within: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """A network namespace of its own, as the process that holds it and the way inside."""
    with subprocess.Popen([*within, "unshare", "-n", "cat"], stdin=subprocess.PIPE) as holder:
        path = f"/proc/{holder.pid}/ns/net"
        outside = {os.stat("/proc/self/ns/net").st_ino}
        if within:
            outside.add(os.stat(within[1].removeprefix("--net=")).st_ino)
        wait(lambda: os.stat(path).st_ino not in outside)
        inside = ("nsenter", f"--net={path}")
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        yield holder.pid, inside


@needs_namespaces
def test_default_mdns_works_where_there_is_no_network_but_loopback() -> None:
    with (
        namespace() as (_, inside),
        nodes(Node("Mdns()", inside=inside), Node("Mdns()", inside=inside)) as (one, two),
    ):
        wait(lambda: one.sees(two) and two.sees(one))


@needs_namespaces
@on_both_loops
def test_two_hosts_of_a_network_see_each_other_by_mdns_and_not_by_rendezvous(loop: str) -> None:
    with namespace() as (_, here), namespace(*here) as (there_pid, there):
        link = f"link add west type veth peer name east netns {there_pid}"
        subprocess.run([*here, "ip", *link.split()], check=True)
        for inside, name, address in ((here, "west", "10.9.0.1"), (there, "east", "10.9.0.2")):
            subprocess.run(
                [*inside, "ip", "address", "add", f"{address}/24", "dev", name], check=True
            )
            subprocess.run([*inside, "ip", "link", "set", name, "up"], check=True)
        one = Node("Mdns()", loop, here, "10.9.0.1")
        two = Node("Mdns()", loop, there, "10.9.0.2")
        apart = Node("Local()", loop, there, "10.9.0.2")
        with nodes(one, two, apart, Node("Local()", loop, here, "10.9.0.1")):
            wait(lambda: one.sees(two) and two.sees(one) and apart.states)
            seen = one.sees(two)
            assert seen is not None
            assert seen["addresses"] == ["10.9.0.2:5000"]
        assert [line for line in apart.lines if "id" in line] == []


@needs_namespaces
@pytest.mark.slow
def test_a_latecomer_hears_of_all_nodes_of_its_host_at_its_first_question() -> None:
    # A second question follows after a second. RFC 6762 lets a record be multicast once a second,
    # so a latecomer that asks just after another does wait: the best of three counts.
    def takes(others: tuple[Node, ...], inside: tuple[str, ...]) -> float:
        with nodes(Node("Mdns()", inside=inside)) as (late,):
            wait(lambda: late.states and all(late.sees(other) for other in others))
            ready = next(line["at"] for line in late.lines if "states" in line)
            answered = [line["at"] for line in late.lines if "id" in line]
            return max(answered[: len(others)]) - ready

    with namespace() as (_, inside):
        crowd = [Node("Mdns()", inside=inside) for _ in range(4)]
        with nodes(*crowd) as others:
            wait(
                lambda: all(
                    node.sees(other) for node in others for other in others if node is not other
                )
            )
            quickest = 10.0
            for _ in range(3):
                quiet = time.monotonic() + 1.5
                wait(lambda quiet=quiet: time.monotonic() > quiet)
                quickest = min(quickest, takes(others, inside))
            assert quickest < 0.6


@needs_namespaces
@pytest.mark.parametrize(
    ("source", "reason"),
    [("Local()", "loopback broadcast"), ("Mdns()", "no interface with this address is up")],
)
def test_without_any_interface_a_source_fails_with_the_reason(source: str, reason: str) -> None:
    node = Node(source, inside=("unshare", "-n"))
    try:
        wait(lambda: node.states)
        assert node.states is not None
        [[status, why]] = node.states
        assert status == "failing"
        assert reason in why
    finally:
        errors = node.stop()
    assert "fails" in errors
    assert "Traceback" not in errors
    assert node.process.returncode == 0


# mDNS


def test_start_does_not_wait_for_the_announcements() -> None:
    async def main() -> None:
        mdns = Mdns(loopback_only=True)
        before = time.monotonic()
        await mdns.start(announcement(new_id()), lambda _: None)
        assert time.monotonic() - before < 0.2  # zeroconf announces for 0.45 s
        assert mdns.state.status == "working"
        await mdns.close()

    run("asyncio", main())


@on_both_loops
def test_the_loop_turns_while_zeroconf_is_imported_by_a_thread_that_ends(loop: str) -> None:
    script = f"""
import asyncio, sys, threading, uvloop
from discovery import *
assert "zeroconf" not in sys.modules

async def main():
    turns = 0
    mdns = Mdns(loopback_only=True)
    me = Announcement({new_id()!r}, "test", 1, ("127.0.0.1",), 5000)
    starting = asyncio.create_task(mdns.start(me, print))
    while not starting.done():
        await asyncio.sleep(0)
        turns += 1
    assert "zeroconf" in sys.modules
    assert threading.active_count() == 1, threading.enumerate()
    await mdns.close()
    assert turns > 20, turns

factory = {loop}.new_event_loop
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(main())
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=ROOT, check=True)


@on_both_loops
def test_a_node_is_announced_at_once_and_says_goodbye_by_mdns(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        node_id = new_id()
        changes: list[ServiceStateChange] = []

        def on_change(name: str, state_change: ServiceStateChange, **_: Any) -> None:
            if name == instance_name(node_id):
                changes.append(state_change)

        observer = AsyncZeroconf(interfaces=["127.0.0.1"])
        browser = AsyncServiceBrowser(observer.zeroconf, SERVICE_TYPE, handlers=[on_change])
        try:
            mdns = Mdns(loopback_only=True)
            await mdns.start(announcement(node_id), lambda _: None)
            await until(lambda: ServiceStateChange.Added in changes, 0.5)  # probing takes 1.2 s
            before = time.monotonic()
            await mdns.close()
            assert time.monotonic() - before < 0.6
            await until(lambda: ServiceStateChange.Removed in changes)
            # Announcements that were still to come must not undo the goodbye.
            before = time.monotonic()
            await until(lambda: time.monotonic() - before > 0.5)
            assert changes[-1] is ServiceStateChange.Removed
            assert caplog.records == []  # not cut short
        finally:
            await browser.async_cancel()
            await observer.async_close()

    run(loop, main())


def test_a_node_that_said_goodbye_no_longer_counts_as_seen() -> None:
    async def main() -> None:
        ids = [new_id() for _ in range(2)]
        seen: list[Candidate] = []
        one, two = Mdns(loopback_only=True), Mdns(loopback_only=True)
        await one.start(announcement(ids[0]), seen.append)
        await two.start(announcement(ids[1]), lambda _: None)
        await until(lambda: any(candidate.id == ids[1] for candidate in seen))
        assert one._hints is not None
        assert ids[1] in one._hints._known
        await two.close()
        await until(lambda: one._hints is not None and ids[1] not in one._hints._known)
        await one.close()

    run("asyncio", main())


@contextlib.asynccontextmanager
async def announced_by_a_stranger(
    node_id: str, port: int = 5000, hosts: tuple[str, ...] = ("127.0.0.1",), **text: str
) -> Any:
    stranger = AsyncZeroconf(interfaces=["127.0.0.1"])
    service = ServiceInfo(
        SERVICE_TYPE,
        instance_name(node_id),
        port,
        server=f"{node_id}.local.",
        parsed_addresses=list(hosts),
        properties={"id": node_id, "mesh": "test", "v": "1", "fp": ""} | text,
    )
    try:
        await stranger.async_register_service(service, cooperating_responders=True)
        yield stranger, service
    finally:
        await stranger.async_close()


@pytest.mark.parametrize(
    "forged",
    [{"id": "f" * 32}, {"mesh": "a\nb"}, {"v": "x"}, {"port": 0}, {"node_id": "printer"}],
    ids=lambda forged: next(iter(forged)),
)
def test_a_forged_announcement_is_ignored_and_counted(forged: dict[str, Any]) -> None:
    async def main() -> None:
        seen: list[Candidate] = []
        mdns = Mdns(loopback_only=True)
        await mdns.start(announcement(new_id()), seen.append)
        fields = {"node_id": new_id()} | forged
        async with announced_by_a_stranger(**fields):
            await until(lambda: mdns.ignored)
            # An honest one that comes later gets through.
            honest = new_id()
            async with announced_by_a_stranger(honest):
                await until(lambda: any(candidate.id == honest for candidate in seen))
        assert all(candidate.id not in (fields["node_id"], "f" * 32) for candidate in seen)
        assert mdns.state.status == "working"
        await mdns.close()

    run("asyncio", main())


def test_a_node_that_moves_to_another_port_is_told_again() -> None:
    async def main() -> None:
        node_id = new_id()
        seen: list[tuple[str, ...]] = []

        def found(candidate: Candidate) -> None:
            if candidate.id == node_id:
                seen.append(candidate.addresses)

        mdns = Mdns(loopback_only=True)
        await mdns.start(announcement(new_id()), found)
        async with announced_by_a_stranger(node_id) as (stranger, service):
            await until(lambda: ("127.0.0.1:5000",) in seen)
            service.port = 5001
            await (await stranger.async_update_service(service))
            await until(lambda: ("127.0.0.1:5001",) in seen)
        await mdns.close()

    run("asyncio", main())


def test_a_node_never_hears_of_itself() -> None:
    async def main() -> None:
        ids = [new_id() for _ in range(2)]
        seen: list[Candidate] = []
        sources: list[Source] = [Mdns(loopback_only=True), Local(free_port())]
        for source in sources:
            await source.start(announcement(ids[0]), seen.append)
        # The witness hears the node's announcement; so the node did, too.
        heard: list[Candidate] = []
        witness = Mdns(loopback_only=True)
        await witness.start(announcement(ids[1]), heard.append)
        await until(lambda: any(candidate.id == ids[0] for candidate in heard))
        for source in [*sources, witness]:
            await source.close()
        assert ids[0] not in [candidate.id for candidate in seen]

    run("asyncio", main())


def test_loopback_addresses_are_announced_on_loopback_only() -> None:
    async def main() -> None:
        mdns = Mdns()
        await mdns.start(announcement(new_id()), lambda _: None)
        assert mdns._zeroconf is not None
        sockets = mdns._zeroconf.zeroconf._interfaces
        assert sockets == ["127.0.0.1"]
        await mdns.close()

    run("asyncio", main())


def test_an_interface_that_is_missing_is_named_and_the_others_are_used() -> None:
    async def main() -> None:
        mdns = Mdns(interfaces=["192.0.2.200", "127.0.0.1"])
        await mdns.start(announcement(new_id(), hosts=("192.0.2.200",)), lambda _: None)
        assert mdns.state.status == "working"
        assert mdns.state.reason == "192.0.2.200: no interface with this address is up"
        await mdns.close()

    run("asyncio", main())


# Rendezvous


@on_both_loops
def test_fifty_nodes_of_one_host_all_see_each_other(loop: str) -> None:
    async def main() -> None:
        port = free_port()
        ids = {new_id() for _ in range(50)}
        seen: dict[str, set[str | None]] = {node_id: set() for node_id in ids}
        sources = []
        for node_id in ids:
            source = Local(port)
            sources.append(source)
            known = seen[node_id]
            await source.start(announcement(node_id), lambda c, known=known: known.add(c.id))
        await until(lambda: all(known == ids - {own} for own, known in seen.items()), 1.0)
        assert {source.state.seen for source in sources} == {49}
        assert sum(source.ignored + source.unanswered for source in sources) == 0
        for source in sources:
            await source.close()

    run(loop, main())


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


def test_a_flood_of_hellos_is_answered_at_a_bounded_rate() -> None:
    async def main() -> None:
        port = free_port()
        local = Local(port)
        await local.start(announcement(new_id()), lambda _: None)
        hello = encode(Kind.HELLO, announcement(new_id()))
        answers = 0
        before = time.monotonic()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooder:
            flooder.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            flooder.bind(("127.0.0.1", 0))
            flooder.setblocking(False)
            for _ in range(3 * ANSWER_BURST // 32):
                for _ in range(32):
                    flooder.sendto(hello, ("127.255.255.255", port))
                await asyncio.sleep(0.001)
                with contextlib.suppress(BlockingIOError):
                    while flooder.recv(2000):
                        answers += 1
            await until(lambda: local.unanswered)
        allowed = ANSWER_BURST + ANSWER_RATE * (time.monotonic() - before) + 1
        assert ANSWER_BURST / 2 < answers <= allowed
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


def test_hellos_are_repeated_at_growing_intervals_and_then_only_reminders_follow() -> None:
    async def main() -> None:
        port = free_port()
        loop = asyncio.get_running_loop()
        node = announcement(new_id())
        heard: list[tuple[Kind, float]] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.255.255.255", port))
            listener.setblocking(False)

            def listen() -> None:
                kind, sender = decode(listener.recv(2000))
                assert sender == node
                heard.append((kind, loop.time()))

            loop.add_reader(listener, listen)
            local = Local(port)
            await local.start(node, lambda _: None)
            await asyncio.sleep(60)
            await local.close()
            total = len(heard)
            await asyncio.sleep(60)
            assert len(heard) == total
            loop.remove_reader(listener)
        assert heard[:3] == [(Kind.HELLO, pytest.approx(at)) for at in (0.0, 0.2, 1.2)]
        assert {kind for kind, _ in heard[3:]} == {Kind.HERE}
        gaps = [later - sooner for (_, sooner), (_, later) in itertools.pairwise(heard[2:])]
        assert all(0.8 * REMIND_EVERY <= gap <= 1.2 * REMIND_EVERY for gap in gaps)
        assert len(gaps) >= 9

    run_virtual(main())


def test_a_source_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        port = free_port()
        seen: list[Candidate] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
            holder.bind(("127.255.255.255", port))  # not shared
            finder = Discovery([Local(port), Seeds(["127.0.0.1:5001"])], seen.append)
            await finder.start(announcement(new_id()))
            await until(lambda: seen)
            states = finder.states()
            assert states["local"].status == "failing"
            assert "holds the port for itself" in states["local"].reason
            assert states["seeds"].status == "working"
            await finder.close()
        assert {state.status for state in finder.states().values()} == {"closed"}
        assert len([r for r in caplog.records if r.name == "discovery"]) == 1

    run("asyncio", main())


# Closing


@on_both_loops
@pytest.mark.parametrize(
    "make",
    [lambda: Mdns(loopback_only=True), lambda: Local(free_port()), lambda: Seeds(["a:1"])],
    ids=["mdns", "local", "seeds"],
)
def test_close_leaves_no_descriptor_task_timer_thread_or_warning(
    loop: str, make: Callable[[], Source], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        await asyncio.sleep(0)
        threads, files = threading.active_count(), descriptors()
        for wait_for_sockets in (True, False):
            source = make()
            await source.start(announcement(new_id()), lambda _: None)
            if wait_for_sockets and source.name != "seeds":
                await until(lambda: len(descriptors()) > len(files))
            await source.close()
            await source.close()
            assert source.state.status == "closed"
            await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
            await until(lambda: descriptors() == files)
            await asyncio.sleep(0)
            assert threading.active_count() == threads
            timers = getattr(asyncio.get_running_loop(), "_scheduled", ())
            assert [timer for timer in timers if not timer.cancelled()] == []
        assert caplog.records == []

    run(loop, main())


def test_mdns_that_is_closed_while_it_starts_leaves_nothing() -> None:
    async def main() -> None:
        threads, files = threading.active_count(), descriptors()
        for cancelled in (True, False):
            mdns = Mdns(loopback_only=True)
            starting = asyncio.create_task(mdns.start(announcement(new_id()), lambda _: None))
            await asyncio.sleep(0)
            if cancelled:
                starting.cancel()
            await mdns.close()
            await asyncio.gather(starting, return_exceptions=True)
            assert mdns.state.status == "closed"
            await until(lambda: descriptors() == files)
            assert threading.active_count() == threads

    run("asyncio", main())
