"""``meshctl bench`` between two hosts: one command there, one command here, with the mesh's key."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.multihost.lab import Host, Lab
from tests.net.processes import Script, until

RUN_SECONDS = 60.0

ENVIRONMENT = {"MESH_NAME": "bench-lab", "MESH_KEY": "some words", "MESH_CONFIG": os.devnull}


@pytest.fixture
def here(lab: Lab) -> Iterator[Host]:
    """A host; on another one ``bench serve`` runs."""
    here, there = lab.host("a"), lab.host("b")
    words = ["-m", "mesh.cli", "bench", "serve"]
    server = Script(words, ENVIRONMENT, there.command)
    try:
        until(lambda: "serving as" in server.errors, RUN_SECONDS, "the server")
        yield here
        server.signal(signal.SIGTERM)
        assert server.wait(RUN_SECONDS) == 143
    finally:
        server.end()


def bench(host: Host, *words: str) -> dict[str, Any]:
    script = Script(["-m", "mesh.cli", "bench", *words, "--json"], ENVIRONMENT, host.command)
    try:
        assert script.wait(RUN_SECONDS) == 0, script.errors
        assert script.process.stdout is not None
        told: dict[str, Any] = json.loads(script.process.stdout.read())
        return told
    finally:
        script.end()


def test_what_is_sent_to_another_host_arrives_and_is_checked_there(here: Host) -> None:
    told = bench(here, "pubsub", "--remote", "--count", "2000", "--size", "1000")
    assert (told["delivered"], told["lost"], told["broken"]) == (2000, 0, 0)
    (subscriber,) = told["subscribers"]
    assert not subscriber["address"].startswith(here.address)
    told = bench(here, "groupcast", "--remote", "--count", "2000")
    assert (told["handled"], told["acknowledged"]) == (2000, True)
    told = bench(here, "rpc", "meshctl-bench.echo", "--size", "1000", "--count", "100")
    assert (told["answered"], told["errors"]) == (100, {})
