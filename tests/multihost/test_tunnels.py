"""``meshctl expose`` on one host, ``meshctl forward`` on another, and ``curl`` in front of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.multihost.lab import Host, Lab
from tests.multihost.webserver import body_of
from tests.net.processes import Script, until

RUN_SECONDS = 60.0
AT_ONCE = 100
PORT = 3000
SIZE = 60_000_000

ENVIRONMENT = {"MESH_NAME": "tunnels-lab", "MESH_KEY": "some words", "MESH_CONFIG": os.devnull}


@pytest.fixture
def scripts() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(scripts: ExitStack, host: Host, *words: str) -> tuple[Script, str]:
    """A program on that host, and its first line."""
    script = Script(["-m", *words], ENVIRONMENT, host.command)
    scripts.callback(script.end)
    assert script.process.stdout is not None
    line = script.process.stdout.readline()
    assert line, script.errors
    return script, line


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no program 'curl'")
def test_curl_reads_through_a_tunnel_from_another_host_a_hundred_times_at_once(
    lab: Lab, scripts: ExitStack, tmp_path: Path
) -> None:
    here, there = lab.host("a"), lab.host("b")
    web = ("tests.multihost.webserver", str(PORT), str(AT_ONCE))
    server, _ = start(scripts, there, *web)
    start(scripts, there, "mesh.cli", "expose", "web", str(PORT), "--json")
    forwarder, line = start(scripts, here, "mesh.cli", "forward", "0", "web", "--json")
    port = int(json.loads(line)["address"].rpartition(":")[2])
    url = f"http://127.0.0.1:{port}/[1-{AT_ONCE}]"
    parallel = ("--parallel", "--parallel-immediate", "--parallel-max", str(AT_ONCE))
    options = ("-sS", "--fail", "--max-time", str(RUN_SECONDS))
    here.run("curl", *options, *parallel, url, "-o", f"{tmp_path}/#1")
    got = {int(path.name): path.read_bytes() for path in tmp_path.iterdir()}
    assert got == {number: body_of(number) for number in range(1, AT_ONCE + 1)}
    assert forwarder.errors == ""
    assert server.process.poll() is None


@pytest.mark.slow
def test_a_file_goes_on_after_the_network_was_cut(
    lab: Lab, scripts: ExitStack, tmp_path: Path
) -> None:
    """For so long that both have given each other up."""
    here, there = lab.host("a"), lab.host("b")
    here.eth0.throttle(10_000_000)
    folder = tmp_path / "received"
    folder.mkdir()
    path = tmp_path / "film.mkv"
    path.write_bytes(os.urandom(SIZE))
    words = ("receive", "--dir", str(folder), "--name", "nas")
    receiver = Script(["-m", "mesh.cli", *words], ENVIRONMENT, there.command)
    scripts.callback(receiver.end)
    until(lambda: "receiving as" in receiver.errors, RUN_SECONDS, "the receiver")
    sender = Script(
        ["-m", "mesh.cli", "send", str(path), "nas", "--json"], ENVIRONMENT, here.command
    )
    scripts.callback(sender.end)
    part = folder / ".film.mkv.part"
    until(lambda: part.exists() and part.stat().st_size > SIZE // 10, RUN_SECONDS, "the part")
    here.eth0.unplug()
    until(lambda: "cut off" in sender.errors, RUN_SECONDS, "the cut")
    here.eth0.plug()
    assert sender.wait(RUN_SECONDS) == 0, sender.errors
    assert sender.process.stdout is not None
    told = json.loads(sender.process.stdout.read())
    assert (told["cuts"], told["saved"]) == (1, "film.mkv")
    assert told["carried"] < 1.5 * SIZE
    assert (folder / "film.mkv").read_bytes() == path.read_bytes()
