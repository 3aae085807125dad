"""Hosts find each other: by multicast, by a seed, by DNS, on the interface that reaches."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.multihost.lab import Host, Lab
from tests.multihost.nodes import Nodes, wait_right
from tests.net.conftest import Measured
from tests.net.processes import NodeProcess, until

SOON = 20.0
"""Seconds: ten times and more what is aimed at."""

FIRST_CALL = """
import sys, time
import mesh
began = time.monotonic()
node = mesh.Node(mesh=sys.argv[1], insecure=True, discovery=("mdns",)).start()
assert node.call("n1.echo", 7) == 7
print(time.monotonic() - began)
node.close()
"""


def use_every_verb(processes: list[NodeProcess]) -> None:
    """Between all pairs, in both directions; each is subscribed to "news" and in "crew"."""
    for caller, served in itertools.permutations(processes, 2):
        name = f"n{processes.index(served) + 1}"
        assert caller.ask("call", method=f"{name}.echo", args=[caller.id]) == caller.id
        assert caller.ask("send", peer=served.id, subject="news", data=[1]) is True
    count = len(processes)
    for process in processes:
        assert process.ask("publish", subject="news") == [count]
        assert process.ask("broadcast", group="crew", data=[2]) == count
    for process in processes:
        process.ask("begin_casts", group="crew", first=0, count=100)
    for process in processes:
        assert until(lambda p=process: p.ask("casts_end") is not None, SOON)
        assert process.ask("casts_end") == ""
        process.ask("flush")
    each = (count - 1) + count + count
    until(lambda: sum(len(p.ask("received")) for p in processes) == count * (each + 100), SOON)


LISTENING = {"subscribe": ("news",), "member": ("crew",)}


def test_three_hosts_meet_by_multicast_alone_and_every_verb_works(
    lab: Lab, nodes: Nodes, measured: Measured
) -> None:
    hosts = [lab.host(name) for name in "abc"]
    processes = nodes.start(hosts, discovery=["mdns"], **LISTENING)
    measured("all know all, s:", wait_right(processes, SOON))
    use_every_verb(processes)
    assert {p.address.rpartition(":")[0] for p in processes} == {h.address for h in hosts}


def test_without_multicast_one_seed_is_enough_and_every_verb_works(lab: Lab, nodes: Nodes) -> None:
    hosts = [lab.host(name) for name in "abc"]
    for host in hosts:
        host.eth0.block_multicast()
    seed = nodes.begin(hosts[0], "n1", port=7946, discovery=["exchange"], **LISTENING)
    others = [
        nodes.begin(
            host,
            f"n{host.number}",
            seeds=[f"{hosts[0].address}:7946"],
            discovery=["exchange"],
            **LISTENING,
        )
        for host in hosts[1:]
    ]
    processes = [p.wait_started() for p in (seed, *others)]
    wait_right(processes, SOON)
    use_every_verb(processes)


@pytest.fixture
def resolver(lab: Lab) -> Iterator[Host]:
    """A host with a DNS server, which all hosts made later ask."""
    host = lab.host("dns")
    lab.nameserver = host.address
    records = Path(__file__).with_name("nameserver.py")
    with subprocess.Popen(
        [*host.command, sys.executable, str(records)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        host.server = server
        yield host
        server.kill()


def set_record(resolver: Host, name: str, kind: str, *values: str) -> None:
    assert resolver.server is not None
    assert resolver.server.stdin is not None
    assert resolver.server.stdout is not None
    resolver.server.stdin.write(" ".join((name, kind, *values)) + "\n")
    resolver.server.stdin.flush()
    assert resolver.server.stdout.readline() == "set\n"


@pytest.mark.parametrize("kind", ["A", "SRV"])
def test_hosts_meet_by_names_of_dns_also_those_that_are_added_later(
    lab: Lab, nodes: Nodes, resolver: Host, kind: str
) -> None:
    pytest.importorskip("dns.resolver", reason="the DNS server of this test needs dnspython")
    hosts = [lab.host(name) for name in "abc"]

    def register(*known: Host) -> None:
        if kind == "A":
            set_record(resolver, "mesh.test", "A", *(host.address for host in known))
            return
        for host in known:
            set_record(resolver, f"h{host.number}.test", "A", host.address)
        targets = [f"0_1_7946_h{host.number}.test." for host in known]
        set_record(resolver, "_mesh._tcp.test", "SRV", *targets)

    register(*hosts[:2])
    seed = "mesh.test:7946" if kind == "A" else "_mesh._tcp.test"
    settings = {"port": 7946, "seeds": [seed], "discovery": []}
    processes = nodes.start(hosts[:2], **settings)
    wait_right(processes, SOON)
    [late] = nodes.start(hosts[2:], **settings | {"seeds": []})
    register(*hosts)
    wait_right([*processes, late], SOON)


def test_of_three_interfaces_the_one_that_reaches_the_others_is_found(
    lab: Lab, nodes: Nodes, measured: Measured
) -> None:
    there = lab.host("there")
    here = lab.host("here", segment=None)
    here.attach("eth1", lab.segment("empty1"))
    here.attach("eth2", lab.segment("empty2"))
    here.attach("eth3", lab.segment())
    processes = nodes.start([here, there])
    measured("all know all, s:", wait_right(processes, SOON))
    assert there.address in processes[1].address
    assert processes[1].ask("address_of", peer=processes[0].id).startswith("10.77.1.")


@pytest.mark.parametrize("name", ["tun0", "eth9"])
def test_an_interface_that_swallows_packets_costs_a_moment_at_most(
    lab: Lab, nodes: Nodes, measured: Measured, name: str
) -> None:
    """By its name it is skipped; with an innocent name it is tried, beside the others."""
    hosts = [lab.host(host, segment=None) for host in "ab"]
    for host in hosts:
        # Before the other one, so that its address is the first that is announced.
        host.attach(name, lab.segment("void")).cut_outgoing()
        host.attach("wlan0", lab.segment())
    processes = nodes.start(hosts)
    measured("all know all, s:", wait_right(processes, SOON))
    assert name == "eth9" or all("10.77.1." not in process.address for process in processes)


@pytest.mark.parametrize("ipv6", ["fd77::{host}/64", None])
def test_hosts_with_ipv6_alone_meet_also_on_link_local_addresses(
    lab: Lab, nodes: Nodes, ipv6: str | None
) -> None:
    hosts = [lab.host(name, segment=None) for name in "ab"]
    for host in hosts:
        host.attach("eth0", lab.segment(), ipv4=None, ipv6=ipv6)
    processes = nodes.start(hosts, **LISTENING)
    wait_right(processes, SOON)
    use_every_verb(processes)
    address = processes[0].ask("address_of", peer=processes[1].id)
    assert address.startswith("[fd77::" if ipv6 else "[fe80::")


@pytest.mark.parametrize("times", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_the_first_call_between_hosts_is_answered_at_once(
    lab: Lab, nodes: Nodes, measured: Measured, times: int
) -> None:
    served, calling = lab.host("served"), lab.host("calling")
    nodes.start([served])
    took = [float(calling.run(sys.executable, "-c", FIRST_CALL, nodes.mesh)) for _ in range(times)]
    measured("start to first answered call, median s:", statistics.median(took))
    assert statistics.median(took) < 3.0


def test_two_meshes_on_the_same_hosts_never_mix(lab: Lab, nodes: Nodes) -> None:
    hosts = [lab.host(name) for name in "ab"]
    blue = nodes.start(hosts)
    red = [nodes.begin(host, f"r{host.number}", **{"mesh": "red"}) for host in hosts]
    red = [process.wait_started() for process in red]
    wait_right(blue, SOON)
    wait_right(red, SOON)
    wait_right(blue, SOON)
