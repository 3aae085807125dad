"""A stranger floods a keyed mesh with handshakes and forged announcements: it goes on."""

from __future__ import annotations

import contextlib
import json
import time

import mesh
from mesh.security import MeshKey
from tests.multihost.lab import Lab
from tests.multihost.nodes import Nodes, wait_right
from tests.multihost.test_strangers import check_unharmed, start_members
from tests.net.conftest import Measured
from tests.net.processes import NodeProcess, Script
from tests.net.test_strangers import listening_ports

HANDSHAKES = 200
PACKETS = 1000
SECONDS = 5.0
KEPT_RATE = 0.9
PAUSE = 0.0005
"""Seconds between two messages: a load that this machine carries with a core to spare. The
flooder runs on the same cores, so at full load it would take its share of them by its mere work."""


def rate(members: list[NodeProcess]) -> float:
    """Messages a second that came from one to the other, of those that were to come."""
    one, other = members
    before = len(other.ask("numbers"))
    began = time.monotonic()
    published, _ = one.ask(
        "publish_for", within=SECONDS + 30, subject="talk.flow", seconds=SECONDS, pause=PAUSE
    )
    one.ask("flush")
    took = time.monotonic() - began
    received = len(other.ask("numbers")) - before
    assert received == published, "none is lost"
    return received / took


def test_a_stranger_that_floods_slows_the_mesh_by_a_tenth_at_most(
    lab: Lab, nodes: Nodes, measured: Measured
) -> None:
    hosts = [lab.host(name) for name in ("one", "two", "flooder")]
    key = mesh.generate_key()
    members = start_members(nodes, hosts[:2], key=key)
    wait_right(members, 20.0)
    alone = rate(members)
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
        beside = rate(members)
        answered = []
        for _ in range(50):
            began = time.monotonic()
            assert members[0].ask("call", method="n2.echo", args=[1]) == 1
            answered.append(time.monotonic() - began)
        flooder.process.stdin.write("\n")
        flooder.process.stdin.flush()
        handshakes, packets, seconds = json.loads(flooder.process.stdout.readline())
    measured("messages/s alone:", alone)
    measured("messages/s beside a flood:", beside)
    measured("slowest call beside it, s:", max(answered))
    measured("handshakes/s:", handshakes / seconds)
    measured("forged packets/s:", packets / seconds)
    assert handshakes / seconds > HANDSHAKES * 0.9
    assert packets / seconds > PACKETS * 0.9
    assert beside >= alone * KEPT_RATE
    for member, other in (members, members[::-1]):
        check_unharmed(member, other)
        assert member.ask("counters")["connections_refused"] > 0
