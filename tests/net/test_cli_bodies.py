"""What ``meshctl`` sends from files and stdin, and what ``sub`` makes of what comes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mesh
from tests.net.inside import Inside, inside, without_multicast
from tests.net.processes import ROOT, until
from tests.net.test_cli import RUN_SECONDS, Meshctl, is_one_line, meshctl

__all__ = ["inside", "meshctl", "without_multicast"]

MakeNode = Callable[..., mesh.Node]


@pytest.fixture
def got(make_node: MakeNode) -> list[Any]:
    """What is published to ``bodies.>``, broadcast and groupcast to ``crew``."""
    got: list[Any] = []
    node = make_node("listener")
    node.subscriber("bodies.>")(lambda message: got.append(message.data))
    node.member("crew")(lambda message: got.append(message.data))
    node.rpc("echo")(lambda *args, **kwargs: [list(args), kwargs])
    node.start()
    return got


def test_every_verb_that_sends_reads_files_and_stdin(
    inside: Inside, got: list[Any], tmp_path: Path
) -> None:
    path = tmp_path / "body.json"
    path.write_text('{"id": 7}\n')
    sends = [
        ("pub", "bodies.a", f"@{path}"),
        ("pub", "bodies.a", "-", "--binary"),
        ("broadcast", "crew", "--file", str(path), "--text"),
        ("groupcast", "crew", f"@{path}"),
    ]
    for number, words in enumerate(sends, start=1):
        done = inside(*words, stdin=b"\xff\n")
        assert (done.code, done.err) == (0, ""), words
        until(lambda number=number: len(got) == number)
    assert got == [{"id": 7}, b"\xff\n", '{"id": 7}\n', {"id": 7}]
    done = inside("call", "--json", "listener.echo", "-", f"x=@{path}", "y=@@", stdin=b"[1]")
    assert done.json == [[[1]], {"x": {"id": 7}, "y": "@"}]


def test_pub_sends_each_line_as_a_message(
    inside: Inside, got: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes: list[float] = []
    flush = mesh.Node.flush
    monkeypatch.setattr(
        mesh.Node, "flush", lambda node, timeout: (flushes.append(timeout), flush(node, timeout))
    )
    count = 700  # more than leave at once
    stdin = b"".join(b"%d\n" % n for n in range(count))
    done = inside("pub", "bodies.line", "--lines", "--json", stdin=stdin)
    assert done.json == {"subject": "bodies.line", "messages": count, "nodes": 1}
    until(lambda: len(got) == count)
    assert got == list(range(count))
    assert len(flushes) > 2, "it sends no faster than they leave"
    large = "x" * 250_000
    stdin = b"".join(b"1\r\n%s\n" % large.encode() for _ in range(10))
    flushes.clear()
    done = inside("pub", "bodies.line", "--lines", "--text", stdin=stdin)
    assert done.out == "sent 20 messages to 1 node\n"
    assert len(flushes) > 2
    until(lambda: got[count:] == ["1", large] * 10)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["pub", "bodies.a", "@/nowhere/at/all"], 2, "/nowhere/at/all: No such file"),
        (["pub", "bodies.a", "@"], 2, "@@ stands for a literal @"),
        (["pub", "bodies.a", "1", "--file", "x"], 2, "DATA and --file"),
        (["groupcast", "crew", "1", "--file", "x"], 2, "DATA and --file"),
        (["broadcast", "crew", "@/bin/ls"], 2, "/bin/ls is no UTF-8 text; --binary"),
        (["pub", "bodies.a", "1", "--lines"], 2, "--lines takes stdin"),
        (["call", "listener.echo", "-", "x=-"], 2, "once only"),
        (["pub", "bodies.a", "@/dev/zero", "--binary"], 1, "longer than 16 MiB"),
        (["pub", "bodies.a", "--lines", "--file", "/dev/zero"], 1, "longer than 16 MiB"),
        (["sub", "a", "--raw", "--json"], 2, "--raw goes with neither"),
    ],
)
def test_what_cannot_be_sent_is_one_line(
    inside: Inside, words: list[str], code: int, says: str
) -> None:
    done = inside(*words)
    assert (done.code, done.out) == (code, "")
    assert is_one_line(done.err)
    assert says in done.err


def test_lines_are_sent_as_they_come(meshctl: Meshctl, got: list[Any], mesh_name: str) -> None:
    script = meshctl.start("pub", "bodies.tail", "--lines")
    assert script.process.stdin is not None
    for number in range(2):
        script.process.stdin.write(f"{number}\n")
        script.process.stdin.flush()
        until(lambda number=number: got == list(range(number + 1)), within=RUN_SECONDS)
    script.signal(signal.SIGINT)
    assert script.wait(RUN_SECONDS) == 130


# sub


def test_sub_tells_the_rate_and_the_sums(meshctl: Meshctl, make_node: MakeNode) -> None:
    node = make_node("shop").start()
    listener = meshctl.listen("rate", "--rate", "--json", "--count", "500")
    for number in range(500):
        node.publish("rate", "x" * 10 if number else b"12345")
    assert listener.process.stdout is not None
    seconds = [json.loads(line) for line in listener.process.stdout]
    assert sum(second["messages"] for second in seconds) == 500
    assert sum(second["bytes"] for second in seconds) == 499 * 10 + 5
    assert seconds[-1]["total"] == 500
    assert all(second["seconds"] > 0 and second["missed"] == 0 for second in seconds)
    assert listener.wait() == 0
    assert "meshctl: 500 messages, 5.0 kB in " in listener.errors


def test_sub_in_a_queue_group_shares_the_messages(meshctl: Meshctl, make_node: MakeNode) -> None:
    node = make_node("shop").start()
    listeners = [meshctl.start("sub", "work.>", "--group", "crew", "--raw") for _ in range(2)]
    for listener in listeners:
        until(lambda it=listener: "listening" in it.errors, within=RUN_SECONDS)
    until(lambda: len(node.peers()) == 2, what="both to take work, and so to be no observers")
    count = 20
    for number in range(count):
        assert node.publish("work.a", number) == 1
    node.flush(RUN_SECONDS)
    for listener in listeners:
        listener.signal(signal.SIGINT)
        assert listener.wait(RUN_SECONDS) == 130
    shares = [listener.process.stdout.read().split() for listener in listeners]  # type: ignore[union-attr]
    assert sorted(int(word) for share in shares for word in share) == list(range(count))


def test_without_a_stdin_there_is_nothing_to_read(mesh_name: str) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m mesh.cli pub a - <&-', sys.executable],
        cwd=ROOT,
        env=os.environ | {"MESH_NAME": mesh_name},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert "there is no stdin" in done.stderr
