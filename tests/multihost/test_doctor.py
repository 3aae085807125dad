"""``meshctl doctor`` between hosts: each of seven faults is named, and nothing where there is none.

All of them at the same time, each in a mesh of its own: nodes and doctors take their time to start,
and they wait for each other's network, not for each other.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

import mesh
from tests.multihost.lab import Host, Lab
from tests.multihost.nodes import Nodes, wait_right
from tests.net.processes import NodeProcess, Script

ENVIRONMENT = {"MESH_CONFIG": os.devnull}
PORT = 7946
SECONDS = 15.0
"""For a doctor: three times what it takes by default, for a machine under load."""

RUN_SECONDS = 120.0
SOON = 30.0


Found = dict[str, dict[str, Any]]
"""Findings by their codes."""


def by_code(document: dict[str, Any]) -> Found:
    found: Found = {finding["code"]: finding for finding in document["findings"]}
    assert document["ok"] is not bool(problems(found))
    return found


def problems(found: Found) -> set[str]:
    return {code for code, finding in found.items() if finding["gravity"] == "problem"}


class Hospital:
    """The hosts, the nodes, and who is wrong in which way. A mesh is named like its fault."""

    def __init__(self, lab: Lab, nodes: Nodes) -> None:
        self.lab = lab
        self.nodes = nodes
        self.scripts: list[Script] = []
        self.here = lab.host("here")
        self.there = lab.host("there")
        self.guarded = lab.host("guarded")
        self.astray = lab.host("astray", segment=None)
        self.astray.attach("eth0", lab.segment("empty"))
        self.astray.attach("eth1", lab.segment())
        self.deaf = lab.host("deaf")
        self.deaf.eth0.block_multicast()
        self.filtered = [lab.host(name, segment="filtered") for name in ("lost", "found", "mute")]
        for host in self.filtered:
            host.eth0.block_multicast()

    def fill(self) -> None:
        """Start the nodes; until those that can are linked."""
        there, guarded, lost = self.there, self.guarded, self.filtered[1]
        self.well = [self.begin(host, "well") for host in (there, guarded)]
        self.keyed = self.begin(there, "keyed", key=mesh.generate_key(), insecure=None)
        self.later = self.begin(there, "later", protocol=99)
        self.blocked = self.begin(guarded, "blocked", port=PORT)
        self.unheard = self.begin(lost, "filtered", port=PORT)
        guarded.close_port(PORT)
        for node in (*self.well, self.keyed, self.later, self.blocked, self.unheard):
            node.wait_started()
        wait_right(self.well, SOON)

    def cases(self) -> dict[Host, dict[str, dict[str, Any]]]:
        """On which hosts which doctors look, and with what options."""
        at = f"{self.filtered[1].address}:{PORT}"
        return {
            self.here: {
                "well": {"mesh_name": "well"},
                "other_mesh": {"mesh_name": "nobody"},
                "other_key": {"mesh_name": "keyed", "mesh_key": mesh.generate_key()},
                "other_protocol": {"mesh_name": "later"},
                "blocked_port": {"mesh_name": "blocked"},
            },
            self.astray: {"wrong_interface": {"mesh_name": "well", "interface": ["eth0"]}},
            self.deaf: {"multicast_one_way": {"mesh_name": "well"}},
            self.filtered[0]: {"multicast_filtered": {"mesh_name": "filtered", "focus": at}},
            self.filtered[2]: {"silence": {"mesh_name": "filtered"}},
        }

    def examine(self) -> dict[str, Found]:
        """What each of them finds; they work at the same time."""
        running = [(cases, self._run(host, cases)) for host, cases in self.cases().items()]
        found: dict[str, Found] = {}
        for cases, script in running:
            documents = self._told_by(script)
            for name, document in zip(cases, documents, strict=True):
                found[name] = by_code(document)
        return found

    def _run(self, host: Host, cases: dict[str, dict[str, Any]]) -> Script:
        jobs = [
            {"seconds": SECONDS, "insecure": None if "mesh_key" in case else True, **case}
            for case in cases.values()
        ]
        return self._start(host, "tests.multihost.doctors", json.dumps(jobs))

    def _start(self, host: Host, *arguments: str) -> Script:
        script = Script(["-m", *arguments], ENVIRONMENT, host.command)
        self.scripts.append(script)
        return script

    def _told_by(self, script: Script, code: int = 0) -> Any:
        assert script.wait(RUN_SECONDS) == code, script.errors
        assert script.process.stdout is not None
        return json.loads(script.process.stdout.read())

    def command(self, host: Host, *words: str, code: int) -> Found:
        """What the command itself says."""
        seconds = f"--timeout={SECONDS:g}"
        script = self._start(host, "mesh.cli", "doctor", *words, "--insecure", "--json", seconds)
        return by_code(self._told_by(script, code))

    def check_well(self, found: Found) -> None:
        assert problems(found) == set()
        assert "2 nodes linked with us, and each with each" in found["linked"]["what"]
        assert {"multicast", "interfaces"} <= found.keys()

    def check_other_mesh(self, found: Found) -> None:
        assert problems(found) == {"other-mesh", "alone"}
        there = {node.id for node in (*self.well, self.keyed, self.later, self.blocked)}
        assert there <= set(found["other-mesh"]["nodes"])

    def check_other_key(self, found: Found) -> None:
        assert problems(found) == {"other-key", "alone"}
        assert found["other-key"]["nodes"] == [self.keyed.id]
        assert "its fingerprint is" in found["other-key"]["why"]

    def check_other_protocol(self, found: Found) -> None:
        assert problems(found) == {"other-protocol", "alone"}
        assert found["other-protocol"]["nodes"] == [self.later.id]
        assert "protocol 99" in found["other-protocol"]["why"]

    def check_blocked_port(self, found: Found) -> None:
        assert problems(found) == {"blocked-one-way", "alone"}
        assert found["blocked-one-way"]["nodes"] == [self.blocked.id]
        assert f"{self.guarded.address}:{PORT}" in found["blocked-one-way"]["what"]

    def check_wrong_interface(self, found: Found) -> None:
        assert problems(found) == {"wrong-interface", "alone"}
        # Other doctors are heard there, too.
        assert set(found["wrong-interface"]["nodes"]) >= {node.id for node in self.well}
        assert "--interface eth1" in found["wrong-interface"]["do"]

    def check_multicast_one_way(self, found: Found) -> None:
        assert problems(found) == set()
        assert set(found["linked"]["nodes"]) == {node.id for node in self.well}
        assert self.there.address in found["multicast-not-heard"]["what"]

    def check_silence(self, found: Found) -> None:
        """Without a word of where somebody should be, nothing is claimed."""
        assert problems(found) == {"alone"}
        assert "multicast-silent" in found

    def check_multicast_filtered(self, found: Found) -> None:
        assert problems(found) == {"multicast-filtered"}
        assert found["seen"]["nodes"] == [self.unheard.id]

    def check_stopped(self, found: Found) -> None:
        assert problems(found) == {"stopped"}
        assert found["stopped"]["nodes"] == [self.well[1].id]
        assert found["linked"]["nodes"] == [self.well[0].id]

    def begin(self, host: Host, fault: str, **settings: Any) -> NodeProcess:
        return self.nodes.begin(host, f"{fault}-{host.number}", **{"mesh": fault, **settings})


@pytest.fixture
def hospital(lab: Lab, nodes: Nodes) -> Iterator[Hospital]:
    made = Hospital(lab, nodes)
    yield made
    for script in made.scripts:
        script.end()


@pytest.mark.timeout(300)
def test_each_fault_is_named_and_none_where_all_is_well(hospital: Hospital) -> None:
    hospital.fill()
    for name, found in hospital.examine().items():
        getattr(hospital, f"check_{name}")(found)
    # One of those that were well stands still from now on.
    hospital.well[1].signal(signal.SIGSTOP)
    hospital.check_stopped(hospital.command(hospital.here, "--mesh=well", code=1))


HOG = """
import socket, sys
taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
taken.bind(("", 5353))
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_a_firewall_that_lets_only_the_link_in_and_a_port_that_is_taken_are_named(
    hospital: Hospital,
) -> None:
    h = hospital
    node = h.begin(h.guarded, "linked", port=PORT).wait_started()
    listening = h.guarded.run("ss", "-tlnH").splitlines()
    for port in {int(line.split()[3].rpartition(":")[2]) for line in listening} - {PORT}:
        h.guarded.close_port(port)
    found = h.command(h.here, "--mesh=linked", code=1)
    assert problems(found) == {"calls-blocked"}
    assert found["calls-blocked"]["nodes"] == [node.id]
    hog = Script(["-c", HOG], prefix=h.astray.command)
    h.scripts.append(hog)
    assert hog.process.stdout is not None
    assert hog.process.stdout.readline() == "taken\n"
    found = h.command(h.astray, "--mesh=linked", code=1)
    assert problems(found) == {"mdns-port-taken", "alone"}
    assert f"(pid {hog.pid}) has it" in found["mdns-port-taken"]["what"]
