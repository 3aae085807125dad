"""The discovery sources on real sockets: loopback, and network namespaces of their own."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from zeroconf import ServiceInfo, ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

from discovery import Candidate, Discovery, Local, Mdns, Seeds, Source
from discovery.datagram import Kind, encode
from discovery.local import ANSWER_BURST, ANSWER_RATE
from discovery.service import SERVICE_TYPE, instance_name
from tests.unit.discovery.nodes import (
    ROOT,
    Node,
    announcement,
    descriptors,
    free_port,
    namespace,
    needs_namespaces,
    new_id,
    nodes,
    on_both_loops,
    run,
    until,
    wait,
)

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


def has_carrier(inside: tuple[str, ...], name: str) -> bool:
    command = [*inside, "ip", "-br", "link", "show", name]
    return "LOWER_UP" in subprocess.run(command, capture_output=True, text=True).stdout


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
        wait(lambda: has_carrier(here, "west") and has_carrier(there, "east"))
        one = Node("Mdns()", loop, here, "10.9.0.1")
        two = Node("Mdns()", loop, there, "10.9.0.2")
        apart = Node("Local()", loop, there, "10.9.0.2")
        with nodes(one, two, apart, Node("Local()", loop, here, "10.9.0.1")):
            wait(lambda: one.sees(two) and two.sees(one) and apart.states)
            seen = one.sees(two)
            assert seen is not None
            assert seen["addresses"][0] == "10.9.0.2:5000"
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
def test_zeroconf_is_imported_and_lives_in_a_thread_that_ends_with_the_last_node(loop: str) -> None:
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
    other = Mdns(loopback_only=True)
    await other.start(Announcement({new_id()!r}, "test", 1, ("127.0.0.1",), 5001), print)
    assert [t.name for t in threading.enumerate()] == ["MainThread", "discovery-mdns"]
    await mdns.close()
    assert threading.active_count() == 2
    await other.close()
    assert threading.active_count() == 1, threading.enumerate()
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
        assert ids[1] in one._hints._known
        await two.close()
        await until(lambda: ids[1] not in one._hints._known)
        await until(lambda: seen[-1].is_gone)
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
        assert mdns._hub is not None
        assert mdns._hub._usable == ["127.0.0.1"]
        await mdns.close()

    run("asyncio", main())


def test_an_interface_that_is_missing_is_named_and_this_host_is_searched_at_least() -> None:
    async def main() -> None:
        mdns = Mdns(interfaces=["192.0.2.200"])
        await mdns.start(announcement(new_id(), hosts=("192.0.2.200",)), lambda _: None)
        assert mdns.state.status == "failing"
        assert "192.0.2.200: no interface is, or has, that" in mdns.state.reason
        assert mdns._hub is not None
        assert mdns._hub._usable == ["127.0.0.1"]
        await mdns.close()

    run("asyncio", main())


def test_nodes_of_one_process_share_one_zeroconf_and_hear_of_each_other() -> None:
    async def main() -> None:
        ids = [new_id() for _ in range(10)]
        seen: dict[str, set[str | None]] = {node_id: set() for node_id in ids}
        sources = []
        for node_id in ids:
            source = Mdns(loopback_only=True)
            sources.append(source)
            known = seen[node_id]
            mesh = announcement(node_id, port=5000 + len(sources))
            await source.start(mesh, lambda c, known=known: known.add(c.id))
        assert len({source._hub for source in sources}) == 1
        await until(lambda: all(known >= set(ids) - {own} for own, known in seen.items()))
        await asyncio.gather(*(source.close() for source in sources))

    run("asyncio", main())


@pytest.mark.slow
@needs_namespaces
def test_three_hundred_advertisers_are_all_found_by_a_newcomer() -> None:
    crowd = """
import asyncio, sys, uuid
from discovery import *

async def main():
    sources = [Mdns() for _ in range(100)]
    for port, source in enumerate(sources, 5000):
        me = Announcement(uuid.uuid4().hex, "test", 1, ("127.0.0.1",), port)
        await source.start(me, lambda candidate: None)
    print(flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.gather(*(source.close() for source in sources))

asyncio.run(main())
"""
    with namespace() as (_, inside):
        command = [*inside, sys.executable, "-c", crowd]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": ROOT}
        processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline()
        with nodes(Node("Mdns()", inside=inside)) as (late,):
            wait(lambda: len({line["id"] for line in late.lines if "id" in line}) == 300, 30.0)
        for process in processes:
            process.communicate(timeout=20)
            assert process.returncode == 0


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
