"""A machine is let in from another one: found by multicast, and by its address."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mesh.security.identity_file import IdentityFile
from tests.multihost.lab import Host, Lab
from tests.net.processes import Script, until

RUN_SECONDS = 60.0

Start = Callable[..., Script]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts ``meshctl`` on a host, which has a configuration of its own."""
    started: list[Script] = []

    def start(host: Host, *words: str) -> Script:
        environment = {
            "XDG_CONFIG_HOME": str(tmp_path / str(host.number)),
            "MESH_NAME": "lab",
            "MESH_CONFIG": os.devnull,
        }
        started.append(Script(["-m", "mesh.cli", *words], environment, host.command))
        return started[-1]

    yield start
    for script in started:
        script.check()
        script.end()


def invited(start: Start, host: Host) -> tuple[Script, str, str]:
    """An invite that waits there, its code and its first address."""
    assert start(host, "ca", "init", "--name", "desk").wait(RUN_SECONDS) == 0
    inviter = start(host, "invite", "pi")
    found = until(
        lambda: re.search(r"meshctl join (\S+)@(\S+)", inviter.errors), RUN_SECONDS, "the invite"
    )
    return inviter, found[1], found[2]


@pytest.mark.parametrize("multicast", [True, False])
def test_a_machine_is_let_in(lab: Lab, start: Start, tmp_path: Path, multicast: bool) -> None:
    desk, pi = lab.host("desk"), lab.host("pi")
    if not multicast:
        pi.eth0.block_multicast()
    inviter, code, address = invited(start, desk)
    assert address.startswith(f"{desk.address}:")
    if not multicast:
        lost = start(pi, "join", code, "--timeout", "2")
        assert lost.wait(RUN_SECONDS) == 1
        assert "nobody was found" in lost.errors
    joining = start(pi, "join", code if multicast else f"{code}@{address}")
    assert joining.wait(RUN_SECONDS) == 0, joining.errors
    assert inviter.wait(RUN_SECONDS) == 0, inviter.errors
    made = IdentityFile.load(tmp_path / str(pi.number) / "mesh" / "lab.identity")
    assert made.certificate.name == "pi"
