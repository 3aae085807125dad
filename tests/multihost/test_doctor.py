"""``meshctl doctor`` between hosts: each of seven faults is named, and nothing where there is none.

All of them at the same time, each in a mesh of its own: nodes and doctors take their time to start,
and they wait for each other's network, not for each other.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mesh
from tests.multihost.lab import Host, Lab
from tests.multihost.nodes import Nodes, wait_right
from tests.net.processes import NodeProcess, Script

ENVIRONMENT = {"MESH_CONFIG": os.devnull}
PORT = 7946
RUN_SECONDS = 60.0
SOON = 30.0


class Doctor:
    """One run of the command on a host, under way."""

    def __init__(self, host: Host, *words: str) -> None:
        arguments = ["-m", "mesh.cli", "doctor", *words, "--json"]
        self._script = Script(arguments, ENVIRONMENT, host.command)

    def end(self) -> None:
        self._script.end()

    def findings(self, *, code: int) -> dict[str, dict[str, Any]]:
        """What it tells, by the codes."""
        told = self._script.wait(RUN_SECONDS)
        assert self._script.process.stdout is not None
        document = json.loads(self._script.process.stdout.read() or "null")
        assert told == code, (document, self._script.errors)
        assert document["ok"] is (code == 0)
        return {finding["code"]: finding for finding in document["findings"]}


def problems(found: dict[str, dict[str, Any]]) -> set[str]:
    return {code for code, finding in found.items() if finding["gravity"] == "problem"}


class Hospital:
    """The hosts, the nodes, and who is wrong in which way. A mesh is named like its fault."""

    def __init__(self, lab: Lab, nodes: Nodes) -> None:
        self.lab = lab
        self.nodes = nodes
        self.doctors: list[Doctor] = []
        self.here = lab.host("here")
        self.there = lab.host("there")
        self.guarded = lab.host("guarded")
        self.astray = lab.host("astray", segment=None)
        self.astray.attach("eth0", lab.segment("empty"))
        self.astray.attach("eth1", lab.segment())
        self.deaf = lab.host("deaf")
        self.deaf.eth0.block_multicast()
        self.filtered = [lab.host(name, segment="filtered") for name in ("lost", "found")]
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

    def cases(self) -> dict[str, Callable[[], Doctor]]:
        """What sends the doctor for each."""
        send, here, lost = self.send, self.here, self.filtered[0]
        at = f"{self.filtered[1].address}:{PORT}"
        return {
            "well": lambda: send(here, "well"),
            "other_mesh": lambda: send(here, "nobody"),
            "other_key": lambda: send(here, "keyed", "--key", mesh.generate_key()),
            "other_protocol": lambda: send(here, "later"),
            "blocked_port": lambda: send(here, "blocked"),
            "wrong_interface": lambda: send(self.astray, "well", "--interface", "eth0"),
            "multicast_one_way": lambda: send(self.deaf, "well"),
            "silence": lambda: send(lost, "filtered"),
            "multicast_filtered": lambda: send(lost, "filtered", at),
        }

    def check_well(self, doctor: Doctor) -> None:
        found = doctor.findings(code=0)
        assert problems(found) == set()
        assert "2 nodes linked with us, and each with each" in found["linked"]["what"]
        assert {"multicast", "interfaces"} <= found.keys()

    def check_other_mesh(self, doctor: Doctor) -> None:
        found = doctor.findings(code=1)
        assert problems(found) == {"other-mesh", "alone"}
        there = {node.id for node in (*self.well, self.keyed, self.later, self.blocked)}
        assert there <= set(found["other-mesh"]["nodes"])

    def check_other_key(self, doctor: Doctor) -> None:
        found = doctor.findings(code=1)
        assert problems(found) == {"other-key", "alone"}
        assert found["other-key"]["nodes"] == [self.keyed.id]
        assert "its fingerprint is" in found["other-key"]["why"]

    def check_other_protocol(self, doctor: Doctor) -> None:
        found = doctor.findings(code=1)
        assert problems(found) == {"other-protocol", "alone"}
        assert found["other-protocol"]["nodes"] == [self.later.id]
        assert "protocol 99" in found["other-protocol"]["why"]

    def check_blocked_port(self, doctor: Doctor) -> None:
        found = doctor.findings(code=1)
        assert problems(found) == {"blocked-one-way", "alone"}
        assert found["blocked-one-way"]["nodes"] == [self.blocked.id]
        assert f"{self.guarded.address}:{PORT}" in found["blocked-one-way"]["what"]

    def check_wrong_interface(self, doctor: Doctor) -> None:
        found = doctor.findings(code=1)
        assert problems(found) == {"wrong-interface", "alone"}
        assert set(found["wrong-interface"]["nodes"]) == {node.id for node in self.well}
        assert "--interface eth1" in found["wrong-interface"]["do"]

    def check_multicast_one_way(self, doctor: Doctor) -> None:
        found = doctor.findings(code=0)
        assert set(found["linked"]["nodes"]) == {node.id for node in self.well}
        assert self.there.address in found["multicast-not-heard"]["what"]

    def check_silence(self, doctor: Doctor) -> None:
        """Without a word of where somebody should be, nothing is claimed."""
        found = doctor.findings(code=1)
        assert problems(found) == {"alone"}
        assert "multicast-silent" in found

    def check_multicast_filtered(self, doctor: Doctor) -> None:
        found = doctor.findings(code=1)
        assert problems(found) == {"multicast-filtered"}
        assert found["seen"]["nodes"] == [self.unheard.id]

    def check_stopped(self, doctor: Doctor) -> None:
        found = doctor.findings(code=1)
        assert problems(found) == {"stopped"}
        assert found["stopped"]["nodes"] == [self.well[1].id]
        assert found["linked"]["nodes"] == [self.well[0].id]

    def begin(self, host: Host, fault: str, **settings: Any) -> NodeProcess:
        return self.nodes.begin(host, f"{fault}-{host.number}", **{"mesh": fault, **settings})

    def send(self, host: Host, fault: str, *words: str) -> Doctor:
        key = () if "--key" in words else ("--insecure",)
        doctor = Doctor(host, "--mesh", fault, *key, *words)
        self.doctors.append(doctor)
        return doctor


@pytest.fixture
def hospital(lab: Lab, nodes: Nodes) -> Iterator[Hospital]:
    made = Hospital(lab, nodes)
    yield made
    for doctor in made.doctors:
        doctor.end()


def test_each_fault_is_named_and_none_where_all_is_well(hospital: Hospital) -> None:
    hospital.fill()
    doctors = {name: begin() for name, begin in hospital.cases().items()}
    for name, doctor in doctors.items():
        getattr(hospital, f"check_{name}")(doctor)
    # One of those that were well stands still from now on.
    hospital.well[1].signal(signal.SIGSTOP)
    hospital.check_stopped(hospital.send(hospital.here, "well"))
