"""``meshctl send`` and ``meshctl receive``: whole, resumed, refused; nowhere but in the folder."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mesh
from mesh.cli.transfer import SERVICE
from mesh.cli.transfer import receiving as receiving_module
from mesh.cli.transfer.folder import Folder
from mesh.cli.transfer.receiving import Event, Receiver
from tests.net.inside import Inside, inside, without_multicast
from tests.net.processes import ROOT, Script, until
from tests.net.test_cli import RUN_SECONDS, Meshctl, is_one_line

__all__ = ["inside", "without_multicast"]

MakeNode = Callable[..., mesh.Node]

MB = 1_000_000
LARGE_MB = 100
KILLED_AT_MB = 5
SMALL = b"some bytes\n" * 100_000


@pytest.fixture
def meshctl(mesh_name: str) -> Iterator[Meshctl]:
    runner = Meshctl(mesh_name)
    yield runner
    runner.end()


@pytest.fixture
def target_folder(tmp_path: Path) -> Path:
    path = tmp_path / "received"
    path.mkdir()
    return path


class Here:
    """A receiver in the test's own process."""

    def __init__(self, node: mesh.Node, folder: Path) -> None:
        self.events: list[Event] = []
        self.node = node
        receiver = Receiver(Folder(folder, False), self.events.append)
        node.stream(SERVICE)(receiver.serve)
        node.start()

    @property
    def kinds(self) -> list[str]:
        return [event.what for event in self.events]


@pytest.fixture
def here(make_node: MakeNode, target_folder: Path) -> Here:
    return Here(make_node("nas"), target_folder)


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def receiving(meshctl: Meshctl, folder: Path, *words: str) -> Script:
    script = meshctl.start("receive", "--dir", str(folder), "--name", "nas", *words)
    until(lambda: "receiving as" in script.errors, RUN_SECONDS, "the receiver")
    return script


def test_a_file_arrives_and_both_say_so(
    meshctl: Meshctl, tmp_path: Path, target_folder: Path
) -> None:
    receiver = receiving(meshctl, target_folder, "--once", "--json")
    done = meshctl.run("send", write(tmp_path / "a.txt", SMALL), "nas")
    assert (done.code, done.err) == (0, "")
    digest = hashlib.sha256(SMALL).hexdigest()
    first, second = done.out.splitlines()
    assert first.startswith("sent to nas/")
    assert "as a.txt: 1.1 MB in" in first
    assert second == f"sha256 {digest}"
    assert receiver.wait(RUN_SECONDS) == 0
    assert receiver.process.stdout is not None
    begun, saved = (json.loads(line) for line in receiver.process.stdout)
    assert (begun["event"], saved["event"]) == ("begun", "saved")
    assert (saved["name"], saved["bytes"], saved["sha256"]) == ("a.txt", len(SMALL), digest)
    assert {p.name: p.read_bytes() for p in target_folder.iterdir()} == {"a.txt": SMALL}


def test_a_receiver_that_is_killed_goes_on_where_it_was(
    meshctl: Meshctl, tmp_path: Path, target_folder: Path
) -> None:
    path = tmp_path / "film.mkv"
    noise = os.urandom(MB)
    with path.open("wb") as file:
        for number in range(LARGE_MB):
            file.write(number.to_bytes(4) + noise[4:])
    receiver = receiving(meshctl, target_folder)
    sender = meshctl.start("send", str(path), "nas", "--json", "--wait", "60s")
    part = target_folder / ".film.mkv.part"
    until(
        lambda: part.exists() and part.stat().st_size > KILLED_AT_MB * MB, RUN_SECONDS, "the part"
    )
    receiver.kill()
    kept = part.stat().st_size
    assert kept < LARGE_MB * MB
    receiver = receiving(meshctl, target_folder)
    assert sender.wait(2 * RUN_SECONDS) == 0, sender.errors
    assert "waiting for nas to come back" in sender.errors
    assert sender.process.stdout is not None
    told = json.loads(sender.process.stdout.read())
    assert (told["cuts"], told["saved"], told["bytes"]) == (1, "film.mkv", LARGE_MB * MB)
    assert told["carried"] < LARGE_MB * MB + kept, "it did not begin anew"
    assert told["sha256"] == sha256(path) == sha256(target_folder / "film.mkv")
    assert [p.name for p in target_folder.iterdir()] == ["film.mkv"]
    receiver.signal(signal.SIGINT)
    assert receiver.wait(RUN_SECONDS) == 130


@pytest.mark.parametrize("is_same", [True, False])
def test_what_is_there_of_it_is_kept_just_when_it_is_the_same(
    inside: Inside, here: Here, tmp_path: Path, target_folder: Path, is_same: bool
) -> None:
    beginning = SMALL[:500_000] if is_same else b"older " * 100_000
    write(target_folder / ".a.txt.part", beginning)
    done = inside("send", write(tmp_path / "a.txt", SMALL), "nas", "--json")
    assert (done.code, done.json["cuts"]) == (0, 0)
    assert done.json["carried"] == len(SMALL) - (len(beginning) if is_same else 0)
    assert (target_folder / "a.txt").read_bytes() == SMALL


def test_a_part_longer_than_the_file_is_begun_anew(
    inside: Inside, here: Here, tmp_path: Path, target_folder: Path
) -> None:
    write(target_folder / ".a.txt.part", SMALL + b"more")
    done = inside("send", write(tmp_path / "a.txt", SMALL), "nas", "--json")
    assert (done.code, done.json["carried"]) == (0, 0), "its beginning is the same"
    assert (target_folder / "a.txt").read_bytes() == SMALL


def test_nothing_is_overwritten_unless_it_is_wanted(
    inside: Inside, here: Here, make_node: MakeNode, tmp_path: Path, target_folder: Path
) -> None:
    write(target_folder / "a.txt", b"mine")
    path = write(tmp_path / "a.txt", b"theirs")
    for _ in range(2):
        assert inside("send", path, "nas").code == 0
    empty = write(tmp_path / "empty", b"")
    assert inside("send", empty, "nas", "--json").json["bytes"] == 0
    assert {p.name: p.read_bytes() for p in target_folder.iterdir()} == {
        "a.txt": b"mine",
        "a (1).txt": b"theirs",
        "a (2).txt": b"theirs",
        "empty": b"",
    }
    other = make_node("other")
    other.stream(SERVICE)(Receiver(Folder(target_folder, True), lambda event: None).serve)
    other.start()
    assert inside("send", path, "other").code == 0
    assert (target_folder / "a.txt").read_bytes() == b"theirs"


def give(node: mesh.Node, name: str, data: bytes, digest: str, size: int | None = None) -> Any:
    """Send a file as somebody might who has not read the rules; the trailers."""
    size = len(data) if size is None else size
    headers = {"name": name, "size": str(size)}
    with node.open_stream(SERVICE, headers=headers) as stream:
        try:
            stream.receive()
            stream.send({"from": 0})
            stream.write(data)
            stream.send({"digest": digest})
            stream.receive(RUN_SECONDS)
        except (mesh.EndOfStream, mesh.StreamAborted):
            until(lambda: stream.trailers is not None, RUN_SECONDS, "the trailers")
        return stream.trailers


def test_a_name_leads_nowhere_else(
    here: Here, make_node: MakeNode, tmp_path: Path, target_folder: Path
) -> None:
    node = make_node().start()
    node.wait_for(SERVICE)
    right = hashlib.sha256(b"x").hexdigest()
    names = ("../evil", "/etc/evil", "..", "", "a\\b\\evil", ".bashrc", "up\x1b[2J", "d/.part")
    saved = [give(node, name, b"x", right)["saved"] for name in names]
    assert saved == [
        "evil", "evil (1)", "file", "file (1)", "evil (2)", "bashrc", "up_[2J", "part",
    ]  # fmt: skip
    assert sorted(p.name for p in target_folder.iterdir()) == sorted(saved)
    assert [p.name for p in tmp_path.iterdir()] == [target_folder.name]


def test_what_is_wrong_is_refused_and_leaves_no_file(
    here: Here, make_node: MakeNode, tmp_path: Path, target_folder: Path
) -> None:
    node = make_node().start()
    node.wait_for(SERVICE)
    right = hashlib.sha256(b"abc").hexdigest()
    outside = tmp_path / "outside"
    outside.write_bytes(b"")
    (target_folder / ".link.part").symlink_to(outside)
    for name, size, digest, text in (
        ("a", 3, "0" * 64, "damaged"),
        ("b", 2, right, "more came"),
        ("c", 4, right, "before its end"),
        ("d", 10**17, right, "no room"),
        ("e", -1, right, "no size"),
        ("link", 3, right, "cannot be kept"),
    ):
        assert text in give(node, name, b"abc", digest, size)["refused"]
    assert set(here.kinds) <= {"begun", "refused"}
    assert not [p for p in target_folder.iterdir() if not p.name.startswith(".")]
    assert outside.read_bytes() == b""


def test_two_files_of_one_name_do_not_mix(here: Here, make_node: MakeNode) -> None:
    node = make_node().start()
    node.wait_for(SERVICE)
    with node.open_stream(SERVICE, headers={"name": "a", "size": "3"}) as stream:
        assert stream.receive()["offset"] == 0
        trailers = give(node, "x/a", b"abc", "")
        assert "coming already" in trailers["refused"]
        assert trailers["busy"] == "1"
        stream.abort()
    until(lambda: "cut" in here.kinds, RUN_SECONDS, "the cut")
    assert give(node, "a", b"abc", hashlib.sha256(b"abc").hexdigest())["saved"] == "a"


def test_other_bytes_there_are_a_failure(
    inside: Inside, make_node: MakeNode, tmp_path: Path
) -> None:
    node = make_node("liar")

    @node.stream(SERVICE)
    async def lie(stream: mesh.AsyncStream) -> None:
        await stream.send({"offset": 0, "digest": hashlib.sha256(b"").hexdigest()})
        assert await stream.receive() == {"from": 0}
        assert await stream.receive() == b"abc"
        assert (await stream.receive()).keys() == {"digest"}
        stream.end({"saved": "a", "digest": "0" * 64})

    node.start()
    done = inside("send", write(tmp_path / "a", b"abc"), "liar")
    assert (done.code, done.out) == (1, "")
    assert is_one_line(done.err)
    assert "other bytes" in done.err


def test_nobody_who_receives_is_a_failure(
    inside: Inside, make_node: MakeNode, tmp_path: Path
) -> None:
    make_node("calc").start()
    path = write(tmp_path / "a", b"abc")
    for peer, text in (("nobody", "nobody is here"), ("calc", "does not receive")):
        done = inside("send", path, peer)
        assert (done.code, done.out) == (1, "")
        assert is_one_line(done.err)
        assert text in done.err
        assert "meshctl receive" in done.err
    assert inside("send", str(tmp_path), "calc").code == 2
    assert inside("send", path, "calc", "--wait", "soon").code == 2


def test_a_terminal_shows_how_far_it_is(
    mesh_name: str, here: Here, tmp_path: Path, target_folder: Path
) -> None:
    path = write(tmp_path / "a\x1b[31m.txt", SMALL)
    master, slave = os.openpty()
    environment = dict(os.environ, MESH_NAME=mesh_name, TERM="xterm", COLUMNS="100")
    sender = subprocess.Popen(
        [sys.executable, "-m", "mesh.cli", "send", path, "nas"],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=slave, text=True,
    )  # fmt: skip
    os.close(slave)
    shown = b""
    try:
        while data := os.read(master, 4096):
            shown += data
    except OSError:  # so a terminal says that nobody writes to it any more
        assert sender.wait(RUN_SECONDS) == 0
    finally:
        sender.kill()
        out, _ = sender.communicate()
        os.close(master)
    assert b"1.1/1.1 MB" in shown
    assert b"a\\x1b[31m.txt" in shown
    assert "sent to nas/" in out
    assert [p.name for p in target_folder.iterdir()] == ["a_[31m.txt"]


def test_a_sender_that_says_nothing_gives_its_place_to_others(
    make_node: MakeNode, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving_module, "SILENCE_SECONDS", 0.2)
    node = make_node("mute").start()
    node.wait_for(SERVICE)
    stream = node.open_stream(SERVICE, headers={"name": "a.txt", "size": "1"})
    assert stream.receive(RUN_SECONDS)["offset"] == 0
    with pytest.raises(mesh.StreamAborted, match="nothing came"):
        stream.receive(RUN_SECONDS)
    until(lambda: here.kinds == ["cut"], RUN_SECONDS)
