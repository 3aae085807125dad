"""Strangers on the network of a keyed mesh: they see no payload and cause no handler to run.

Everything that crosses the switch is captured and searched for what members say to each other. That
the search finds what is there is shown by the same mesh without a key.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mesh
from mesh.security import MeshKey
from tests.multihost.lab import Host, Lab
from tests.multihost.nodes import Nodes, wait_right
from tests.net.identities import Mint
from tests.net.processes import NodeProcess, Script, until

PAYLOAD = "what-members-say-to-each-other-" * 4
NEEDLE = PAYLOAD[:31].encode()
TALK_SECONDS = 1.5


class Tapped:
    """Bytes searched for at every port of the lab's switch."""

    def __init__(self, lab: Lab) -> None:
        ports = [i.port for host in lab.hosts.values() for i in host.interfaces.values()]
        arguments = ["-m", "tests.multihost.capture", NEEDLE.hex(), *ports]
        self._script = Script(arguments, prefix=lab.switch_command)
        self._line()

    def _line(self) -> Any:
        assert self._script.process.stdout is not None
        return json.loads(self._script.process.stdout.readline())

    def found(self) -> tuple[int, int]:
        """Packets seen so far, and how many had what is searched for."""
        assert self._script.process.stdin is not None
        self._script.process.stdin.write("\n")
        self._script.process.stdin.flush()
        packets, _, found = self._line()
        return packets, found[NEEDLE.hex()]

    def end(self) -> None:
        self._script.end()


@pytest.fixture
def tap(lab: Lab) -> Iterator[Callable[[], Tapped]]:
    """Begins to capture; ask for it when the hosts are there."""
    made: list[Tapped] = []

    def begin() -> Tapped:
        made.append(Tapped(lab))
        return made[-1]

    yield begin
    for tapped in made:
        tapped.end()


def start_members(nodes: Nodes, hosts: list[Host], **settings: Any) -> list[NodeProcess]:
    processes = [
        nodes.begin(host, f"n{host.number}", insecure=False, subscribe=("talk.>",), **settings)
        for host in hosts
    ]
    return [process.wait_started() for process in processes]


def talk(members: list[NodeProcess]) -> int:
    """Publish and call for a while, to and fro; returns how many messages were published."""
    published = 0
    ends = time.monotonic() + TALK_SECONDS
    while time.monotonic() < ends:
        for one, other in (members, members[::-1]):
            one.ask("send", peer=other.id, subject="talk.secret", data=PAYLOAD)
            method = f"n{members.index(other) + 1}.echo"
            assert one.ask("call", method=method, args=[PAYLOAD]) == PAYLOAD
            published += 1
    return published


def test_without_a_key_what_is_said_can_be_read_on_the_wire(
    lab: Lab, nodes: Nodes, tap: Callable[[], Tapped]
) -> None:
    """The others prove something only if this search finds what is there."""
    hosts = [lab.host(name) for name in ("one", "two")]
    tapped = tap()
    processes = [nodes.begin(host, f"n{host.number}", subscribe=("talk.>",)) for host in hosts]
    members = [process.wait_started() for process in processes]
    wait_right(members, 20.0)
    said = talk(members)
    packets, found = tapped.found()
    assert packets > said
    assert found >= said


def check_shut_out(stranger: NodeProcess, members: list[NodeProcess], tapped: Tapped) -> None:
    """It is no member, got nothing, started nothing, and nothing could be read by anybody."""
    said = talk(members)
    wait_right(members, 20.0)
    assert stranger.ask("peers") == {}
    assert stranger.ask("received") == []
    with pytest.raises(AssertionError, match=r"NoProvider|Timeout"):
        stranger.ask("call", method="n1.work", args=[666], timeout=1.0)
    for member in members:
        assert stranger.id not in member.ask("peers", all=True)
        assert member.ask("started") == []
    packets, found = tapped.found()
    assert packets > said
    assert found == 0


def check_unharmed(one: NodeProcess, other: NodeProcess) -> None:
    """It has not lost sight of the other."""
    seen = {kind for _, kind, *_ in one.ask("seen", peer=other.id)}
    assert seen <= {"PeerJoined", "PeerUpdated"}


@pytest.mark.parametrize("key", [None, "mesh1-" + "b" * 51 + "q"], ids=["no key", "another key"])
def test_a_stranger_sees_nothing_and_starts_nothing(
    lab: Lab, nodes: Nodes, tap: Callable[[], Tapped], key: str | None
) -> None:
    hosts = [lab.host(name) for name in ("one", "two", "stranger")]
    tapped = tap()
    members = start_members(nodes, hosts[:2], key=mesh.generate_key())
    wait_right(members, 20.0)
    seeds = [member.address for member in members]
    stranger = nodes.begin(
        hosts[2], "stranger", key=key, insecure=key is None, seeds=seeds, subscribe=(">",)
    ).wait_started()
    check_shut_out(stranger, members, tapped)
    if key is not None:
        found = stranger.ask("discovery")
        assert set(found["mdns"]) == {"of another key"}
        assert set(found["seeds"]) == {"refused: it has another mesh key"}


def test_a_stolen_announcement_gets_its_thief_nothing(
    lab: Lab, nodes: Nodes, tap: Callable[[], Tapped]
) -> None:
    """He announces a member's id, mesh and fingerprint at his own address, hears who knocks, and
    repeats at the real door what he has heard."""
    hosts = [lab.host(name) for name in ("one", "two", "thief")]
    tapped = tap()
    key = mesh.generate_key()
    members = start_members(nodes, hosts[:2], key=key)
    wait_right(members, 20.0)
    stolen = {
        "id": "ab" * 16,
        "mesh": nodes.mesh,
        "fingerprint": MeshKey(key, nodes.mesh).fingerprint,
        "host": hosts[2].address,
        "door": members[0].address,
    }
    with contextlib.ExitStack() as ends:
        scripts = []
        # The id of a member is known and linked: that record is not even dialled.
        for id in (members[0].id, stolen["id"]):
            arguments = ["-m", "tests.multihost.thief", json.dumps(stolen | {"id": id})]
            script = Script(arguments, prefix=hosts[2].command)
            ends.callback(script.end)
            scripts.append(script)
        for script in scripts:
            assert _asked(script, is_first=True) == "ready"
        said = talk(members)
        until(lambda: _asked(scripts[1])["visits"] > 1, 20.0, "somebody to knock at the thief's")
        until(lambda: _asked(scripts[1])["answers"], 20.0, "the real door's answer")
        told = _asked(scripts[1])
        assert NEEDLE not in bytes.fromhex(told["told"])
        assert bytes.fromhex(members[0].id) not in bytes.fromhex(told["told"])
        for answer in told["answers"]:
            assert NEEDLE not in bytes.fromhex(answer)
    wait_right(members, 20.0)
    for one, other in (members, members[::-1]):
        check_unharmed(one, other)
    packets, found = tapped.found()
    assert packets > said
    assert found == 0


def _asked(script: Script, *, is_first: bool = False) -> Any:
    assert script.process.stdin is not None
    assert script.process.stdout is not None
    if not is_first:
        script.process.stdin.write("\n")
        script.process.stdin.flush()
    return json.loads(script.process.stdout.readline())


def test_a_revoked_identity_is_cut_off_at_once_and_stays_out(
    lab: Lab, nodes: Nodes, tap: Callable[[], Tapped], tmp_path: Path
) -> None:
    hosts = [lab.host(name) for name in ("one", "two", "lost")]
    tapped = tap()
    mint = Mint(tmp_path, nodes.mesh)
    members = [
        nodes.begin(
            host,
            f"n{host.number}",
            mesh=None,
            insecure=None,
            identity=str(mint.identity(host.namespace)),
            subscribe=("talk.>",),
        )
        for host in hosts
    ]
    for member in members:
        member.wait_started()
    wait_right(members, 20.0)
    lost = members.pop()
    # A copy, which does not learn what the machine itself is told.
    copied = tmp_path / "copied.identity"
    copied.touch(0o600)
    copied.write_bytes(mint.path(hosts[2].namespace).read_bytes())
    before = len(lost.ask("received"))
    revocations = mint.authority.revoke(hosts[2].namespace)
    # One is told; the other hears of it from that one.
    members[0].ask("revoke", raw=revocations.raw.hex())
    for member in members:
        member.ask("wait_state", peer=lost.id, states=["failed"], timeout=20.0)
    talk(members)
    assert len(lost.ask("received")) == before
    with pytest.raises(AssertionError, match=r"NoProvider|Timeout|PeerLost"):
        lost.ask("call", method="n1.work", args=[666], timeout=1.0)
    assert members[0].ask("started") == []
    lost.close()
    # It starts again, as somebody who has stolen the machine might.
    again = nodes.begin(
        hosts[2],
        "again",
        mesh=None,
        insecure=None,
        identity=str(copied),
        seeds=[members[0].address],
        subscribe=(">",),
    ).wait_started()
    check_shut_out(again, members, tapped)
    assert "revoked" in again.ask("discovery")["seeds"][0]


def test_who_knows_only_a_key_that_was_rotated_out_is_a_stranger(
    lab: Lab, nodes: Nodes, tap: Callable[[], Tapped], tmp_path: Path
) -> None:
    hosts = [lab.host(name) for name in ("one", "two", "late")]
    tapped = tap()
    old = mesh.generate_key()
    files = [tmp_path / f"{host.namespace}.key" for host in hosts[:2]]
    for file in files:
        file.write_text(old + "\n")
    members = [
        nodes.begin(
            host, f"n{host.number}", insecure=False, key_file=str(file), subscribe=("talk.>",)
        )
        for host, file in zip(hosts, files, strict=False)
    ]
    for member in members:
        member.wait_started()
    wait_right(members, 20.0)
    new = members[0].ask("rotate", grace=2)
    until(lambda: all(file.read_text().split() == [new] for file in files), 30.0, "the grace's end")
    for one, other in (members, members[::-1]):
        check_unharmed(one, other)
    late = nodes.begin(
        hosts[2],
        "late",
        insecure=False,
        key=old,
        seeds=[members[0].address],
        subscribe=(">",),
    ).wait_started()
    check_shut_out(late, members, tapped)
    assert late.ask("discovery")["seeds"] == ["refused: it has another mesh key"]
