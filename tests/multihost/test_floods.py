"""A stranger floods a keyed mesh with handshakes and forged announcements: it goes on."""

from __future__ import annotations

import contextlib
import json
import time
from statistics import median

import mesh
from mesh.security import MeshKey
from tests.multihost.lab import Lab
from tests.multihost.nodes import Nodes, wait_right
from tests.multihost.test_strangers import check_unharmed, start_members
from tests.net.conftest import Measured
from tests.net.processes import NodeProcess, Script, until
from tests.net.test_strangers import listening_ports

HANDSHAKES = 200
PACKETS = 1000
SECONDS = 5.0
KEPT_RATE = 0.9
LOAD = 5_000
"""Messages a second: the flooder's own work, which is on the same two cores, fits beside it."""

AT_ONCE = 50_000
"""Messages as fast as they go."""

ROUNDS = 5


def rate(members: list[NodeProcess]) -> float:
    """Messages a second that came from one to the other, of ``LOAD`` that were to come."""
    one, other = members
    before = len(other.ask("numbers"))
    began = time.monotonic()
    published = one.ask(
        "publish_at", within=SECONDS + 30, subject="talk.flow", seconds=SECONDS, rate=LOAD
    )
    one.ask("flush", within=30.0, timeout=20.0)
    until(lambda: len(other.ask("numbers")) - before == published, what="all of them")
    return published / (time.monotonic() - began)


def full_rate(members: list[NodeProcess]) -> float:
    """Messages a second when there is nothing else to do, the median of some rounds."""
    one, other = members
    rates = []
    for _ in range(ROUNDS):
        for member in members:
            member.ask("forget")
        began = time.monotonic()
        one.ask("publish", within=60.0, subject="talk.flow", count=AT_ONCE)
        one.ask("flush", within=60.0, timeout=50.0)
        until(lambda: len(other.ask("numbers")) == AT_ONCE, 60.0, "all of them")
        rates.append(AT_ONCE / (time.monotonic() - began))
    return median(rates)


def test_a_stranger_that_floods_slows_the_mesh_by_a_tenth_at_most(
    lab: Lab, nodes: Nodes, measured: Measured
) -> None:
    hosts = [lab.host(name) for name in ("one", "two", "flooder")]
    key = mesh.generate_key()
    members = start_members(nodes, hosts[:2], key=key)
    wait_right(members, 20.0)
    alone, full_alone = rate(members), full_rate(members)
    doors = [member.address for member in members]
    settings = {
        "doors": doors,
        "links": [
            f"{door.rpartition(':')[0]}:{port}"
            for member, door in zip(members, doors, strict=True)
            for port in listening_ports(member.pid)
        ],
        "mesh": nodes.mesh,
        "fingerprint": MeshKey(key, nodes.mesh).fingerprint,
        "ids": [member.id for member in members],
        "host": hosts[2].address,
        "handshakes": HANDSHAKES,
        "packets": PACKETS,
    }
    with contextlib.ExitStack() as ends:
        arguments = ["-m", "tests.multihost.flooder", json.dumps(settings)]
        flooder = Script(arguments, prefix=hosts[2].command)
        ends.callback(flooder.end)
        assert flooder.process.stdout is not None
        assert flooder.process.stdin is not None
        assert json.loads(flooder.process.stdout.readline()) == "ready"
        beside, full_beside = rate(members), full_rate(members)
        answered = []
        for _ in range(50):
            began = time.monotonic()
            assert members[0].ask("call", method="n2.echo", args=[1]) == 1
            answered.append(time.monotonic() - began)
        assert flooder.process.poll() is None, flooder.errors
        flooder.process.stdin.write("\n")
        flooder.process.stdin.flush()
        handshakes, packets, seconds = json.loads(flooder.process.stdout.readline())
    measured("messages/s alone:", alone)
    measured("messages/s beside a flood:", beside)
    measured("messages/s alone, as fast as they go:", full_alone)
    measured("messages/s beside a flood, as fast as they go:", full_beside)
    measured("slowest call beside it, s:", max(answered))
    measured("handshakes/s:", handshakes / seconds)
    measured("forged packets/s:", packets / seconds)
    assert handshakes / seconds > HANDSHAKES * 0.9
    assert packets / seconds > PACKETS * 0.9
    assert beside >= alone * KEPT_RATE
    for member, other in (members, members[::-1]):
        check_unharmed(member, other)
        assert member.ask("counters")["connections_refused"] > 0
