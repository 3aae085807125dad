"""Forty nodes on four hosts, all cold: how soon all know all, and what that costs the network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.multihost.lab import Lab
from tests.net.conftest import Measured
from tests.net.processes import Script
from tests.net.test_crowd import go_on, heard

HOSTS = 4
NODES = 10
"""On each host, in one process."""

KNOW_WITHIN = 3.0 * 10
"""Seconds: ten times what is aimed at."""

MDNS_PACKETS = 300
"""Sent by one host until all know all, on IPv4 and IPv6 together: three announcements of each node,
and some questions and answers of each process. It must not grow with the square of the nodes."""


@pytest.fixture
def crowd(lab: Lab) -> Iterator[list[Script]]:
    everywhere = str(HOSTS * NODES)
    scripts = [
        Script(
            ["-m", "tests.net.crowd", "crowd", str(NODES), everywhere],
            {"MESH_INSECURE": "1"},
            prefix=lab.host(f"h{number}").command,
        )
        for number in range(HOSTS)
    ]
    yield scripts
    for script in scripts:
        script.end()


@pytest.fixture
def sniffer(lab: Lab, crowd: list[Script]) -> Iterator[Script]:
    ports = [host.eth0.port for host in lab.hosts.values()]
    script = Script(["-m", "tests.multihost.sniffer", *ports], prefix=lab.switch_command)
    yield script
    script.end()


def test_forty_nodes_on_four_hosts_all_know_all_with_a_bounded_number_of_packets(
    crowd: list[Script], sniffer: Script, measured: Measured
) -> None:
    assert heard(sniffer)
    assert all(heard(script)["ready"] for script in crowd)
    for script in crowd:
        go_on(script)
    known = [heard(script) for script in crowd]
    assert {state for line in known for state in line["states"]} == {"alive"}
    took = max(line["known"] for line in known) - min(line["began"] for line in known)
    measured("all know all after s:", took)
    go_on(sniffer)
    packets, size = heard(sniffer)
    measured("mDNS packets of a host until then, at most:", max(packets.values()))
    measured("mDNS bytes of a host until then, at most:", max(size.values()))
    for script in crowd:
        go_on(script)
    for script in crowd:
        heard(script)
        assert script.wait(20.0) == 0
    go_on(sniffer)
    packets, _ = heard(sniffer)
    measured("mDNS packets of a host in all, goodbyes included, at most:", max(packets.values()))
    assert min(packets.values()) > 0
    assert max(packets.values()) < MDNS_PACKETS
    assert took < KNOW_WITHIN
