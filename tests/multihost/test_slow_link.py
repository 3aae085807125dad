"""A link of 0.4 MB/s, as over a bad access point: large payloads pass, nobody is taken for dead."""

from __future__ import annotations

import time

from tests.multihost.lab import Lab
from tests.multihost.nodes import Nodes, events_about
from tests.net.conftest import Measured
from tests.net.processes import until

SPEED = 400_000
SIZE = 1_000_000
SMALL_CALL_WITHIN = 5.0
"""Seconds; aimed at is a half."""


def test_a_large_payload_on_a_slow_link_delays_nobody_and_is_no_death(
    lab: Lab, nodes: Nodes, measured: Measured
) -> None:
    hosts = [lab.host("a"), lab.host("b")]
    one, two = nodes.start(hosts, discovery=["mdns"], subscribe=["large"])
    for node, other in ((one, two), (two, one)):
        node.ask("wait_for", name=f"n{1 if other is one else 2}")
    hosts[0].eth0.throttle(SPEED)
    assert one.ask("publish", subject="large", size=SIZE) == [2]
    assert one.ask("publish", subject="large", count=10, size=100_000, first=1) == [2]
    began, took = time.monotonic(), []
    while not two.ask("wait_received", count=11, timeout=0.1) >= 11:
        asked = time.monotonic()
        assert one.ask("call", method="n2.echo", args=[1]) == 1
        took.append(time.monotonic() - asked)
        assert time.monotonic() - began < 20 * (2 * SIZE / SPEED)
    measured("2 MB in s", time.monotonic() - began)
    measured("slowest small call in s", max(took))
    assert max(took) < SMALL_CALL_WITHIN
    until(lambda: sorted(two.ask("numbers")) == list(range(11)))
    for node, other in ((one, two), (two, one)):
        assert events_about(node, other) == ["PeerJoined"]
